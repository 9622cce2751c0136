"""Which URLs orch opens, and sentences for the others."""

from __future__ import annotations

import pytest

from discover_orch.model.database_url import (
    CannotOpen,
    database_name,
    find_database_file,
    is_in_memory,
    read_database_url,
)


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("data.db", '"data.db" is not a database URL', "sqlite:///data.db"),
        ("postgresql:/h/d", "is not a database URL", "postgresql://user:password@host:port/name"),
        ("sqlite://data.db", "names a server", "sqlite:///data.db"),
        ("sqlite:///d.db?mod=ro", "unknown parameter 'mod'", "did you mean mode?"),
        (
            "sqlite:///file:d.db?uri=true",
            "unknown parameter 'uri'",
            "known: mode, cache, immutable",
        ),
        ("sqlite:///d.db?mode=r", "mode=r in a SQLite URL", "write mode=ro or rw or rwc or memory"),
        ("sqlite:///d.db?mode", "mode= in a SQLite URL", "write mode=ro or rw or rwc or memory"),
        ("duckdb://d", "duckdb://d names a server", "write duckdb:///d"),
    ],
)
def test_a_wrong_url_raises_with_a_hint(url: str, message: str, hint: str) -> None:
    with pytest.raises(CannotOpen) as told:
        read_database_url(url)
    assert message in str(told.value)
    assert hint in told.value.hint
    assert (find_database_file(url), is_in_memory(url)) == ("", False)
    assert "secret" not in str(told.value) + told.value.hint


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://u:secret@h:1/d", "postgresql://u@h:1/d"),
        ("postgresql://u@h:1/d", "postgresql://u@h:1/d"),
        ("postgresql://u:@h/d", "postgresql://u@h/d PGPORT=7"),
        ("postgresql:///", "postgresql:/// PGPORT=7 PGDATABASE=x"),
        ("postgresql:///d?port=1", "postgresql:///d?port=1"),
        ("postgresql://?dbname=d&host=/tmp", "postgresql://?dbname=d&host=/tmp PGPORT=7"),
        ("mysql://u:secret@h/d", "mysql://u@h/d"),
        ("sqlite:///data.db", "sqlite:///data.db"),
    ],
)
def test_the_name_of_a_database_has_no_password_and_all_that_libpq_adds(
    url: str, name: str
) -> None:
    assert database_name(url, {"PGPORT": "7", "PGDATABASE": "x", "PGPASSWORD": "y"}) == name
