"""Which statement of a text ends a transaction, and which only look like it."""

from __future__ import annotations

import pytest

from discover_orch.databases.postgres_text import read_text


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("SELECT 1", ""),
        ("commit", "commit"),
        (" /* x; */ -- y\n COMMIT WORK ; ", "COMMIT WORK"),
        ("end transaction", "end transaction"),
        ("COMMIT AND CHAIN", "COMMIT AND CHAIN"),
        ("COMMIT PREPARED 'x'", ""),
        ("abort", "abort"),
        ("ROLLBACK TO SAVEPOINT a", ""),
        ("rollback work to a", ""),
        ("ROLLBACK PREPARED 'x'", ""),
        ("SAVEPOINT a; RELEASE a", ""),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY", ""),
        ("START TRANSACTION", ""),
        ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION ''"),
        ("PREPARE p AS SELECT 1", ""),
        ("/* /* */ */ COMMIT", "COMMIT"),
        ("SELECT 1; /* a /* ; b */ ; */ -- /*\n END", "END"),
        ("SELECT '/* /*'; COMMIT; SELECT '*/ */'", "COMMIT"),
        ("/* /* */ COMMIT */ SELECT 1", ""),
        ("/* /* */ COMMIT", ""),
        ("INSERT INTO t VALUES (1); COMMIT; SELECT ';'; SELECT 2", "COMMIT"),
        ("SELECT '; COMMIT'", ""),
        ("SELECT 'it''s; COMMIT;'", ""),
        (r"SELECT E'\'; COMMIT; '", ""),
        ('SELECT 1 AS "; COMMIT; "', ""),
        ("SELECT 1 -- ; COMMIT\n", ""),
        ("DO $$ BEGIN PERFORM 1; END; $$", ""),
        ("DO $a$ BEGIN PERFORM $$;$$; END; $a$; END", "END"),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", ""),
        ("SELECT CASE WHEN true THEN 1 END", ""),
        ("SELECT a AS begin, b FROM t; SELECT 1", ""),
        ("", ""),
    ],
)
def test_the_statement_that_ends_the_transaction_is_found(text: str, end: str) -> None:
    assert read_text(text).end == end
