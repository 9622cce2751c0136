"""Which statements of a text begin or end a transaction, and which only look like it."""

from __future__ import annotations

import pytest

from discover_orch.databases.transaction_texts import find_transaction_parts


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("SELECT 1", ""),
        ("commit", "commit"),
        (" /* x; */ -- y\n COMMIT WORK ; ", "commit"),
        ("end transaction", "commit"),
        ("COMMIT AND CHAIN", "commit"),
        ("COMMIT PREPARED 'x'", ""),
        ("abort", "rollback"),
        ("ROLLBACK TO SAVEPOINT a", "savepoint"),
        ("rollback work to a", "savepoint"),
        ("ROLLBACK PREPARED 'x'", ""),
        ("SAVEPOINT a; RELEASE a", "savepoint savepoint"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY", "begin"),
        ("START TRANSACTION", "begin"),
        ("PREPARE TRANSACTION 'x'", "prepare"),
        ("PREPARE p AS SELECT 1", ""),
        ("/* /* */ */ COMMIT", "commit"),
        ("SELECT 1; /* a /* ; b */ ; */ -- /*\n END", "- commit"),
        ("SELECT '/* /*'; COMMIT; SELECT '*/ */'", "- commit -"),
        ("/* /* */ COMMIT */ SELECT 1", ""),
        ("/* /* */ COMMIT", ""),
        ("INSERT INTO t VALUES (1); COMMIT; SELECT ';'; SELECT 2", "- commit -"),
        ("SELECT '; COMMIT'", ""),
        ("SELECT 'it''s; COMMIT;'", ""),
        (r"SELECT E'\'; COMMIT; '", ""),
        ('SELECT 1 AS "; COMMIT; "', ""),
        ("SELECT 1 -- ; COMMIT\n", ""),
        ("DO $$ BEGIN PERFORM 1; END; $$", ""),
        ("DO $a$ BEGIN PERFORM $$;$$; END; $a$; END", "- commit"),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", ""),
        ("SELECT CASE WHEN true THEN 1 END", ""),
        ("SELECT a AS begin, b FROM t; SELECT 1", ""),
        ("", ""),
    ],
)
def test_statements_that_concern_the_transaction_are_found(text: str, kinds: str) -> None:
    found = find_transaction_parts(text)
    assert " ".join(part.kind or "-" for part in found) == kinds


def test_what_stands_between_them_is_kept_as_it_was() -> None:
    parts = find_transaction_parts("BEGIN READ ONLY; SELECT 1; SELECT 2; COMMIT AND CHAIN")
    assert [(part.text.strip(), part.rest.strip()) for part in parts] == [
        ("BEGIN READ ONLY", "READ ONLY"),
        ("SELECT 1; SELECT 2", ""),
        ("COMMIT AND CHAIN", "AND CHAIN"),
    ]
    assert [part.is_chained for part in parts] == [False, False, True]
    assert not find_transaction_parts("COMMIT AND NO CHAIN")[0].is_chained
