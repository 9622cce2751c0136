"""Which URLs orch opens, and sentences for the others."""

from __future__ import annotations

import pytest

from discover_orch.model.database_url import (
    CannotOpen,
    OtherUrl,
    PostgresUrl,
    database_name,
    find_file,
    is_in_memory,
    read_database_url,
)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///data.db", "data.db"),
        ("sqlite:///sub/data.db", "sub/data.db"),
        ("sqlite:////tmp/data.db", "/tmp/data.db"),
        ("sqlite:///data.db?mode=ro&immutable=1", "data.db"),
        ("sqlite://", ""),
        ("sqlite:///", ""),
        ("sqlite:///:memory:", ""),
        ("sqlite:///shared?mode=memory&cache=shared", ""),
        ("duckdb:///d.duckdb?threads=2", "d.duckdb"),
        ("duckdb:////tmp/d.duckdb", "/tmp/d.duckdb"),
        ("duckdb://", ""),
        ("duckdb:///:memory:", ""),
    ],
)
def test_a_url_means_a_file(url: str, path: str) -> None:
    assert read_database_url(url).file == path
    assert (find_file(url), is_in_memory(url)) == (path, not path)


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
        ("duckdb:///d?access_mode=ro", "access_mode=ro in a DuckDB URL", "read_only or read_write"),
    ],
)
def test_a_wrong_url_raises_with_a_hint(url: str, message: str, hint: str) -> None:
    with pytest.raises(CannotOpen) as told:
        read_database_url(url)
    assert message in str(told.value)
    assert hint in told.value.hint
    assert (find_file(url), is_in_memory(url)) == ("", False)
    assert "secret" not in str(told.value) + told.value.hint


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_psycopg_opens_each_url_that_is_meant_for_it(scheme: str) -> None:
    url = f"{scheme}://u@h/d?connect_timeout=3"
    assert read_database_url(url) == PostgresUrl(url="postgresql://u@h/d?connect_timeout=3")
    assert (find_file(url), is_in_memory(url)) == ("", False)


def test_any_other_url_is_left_to_sqlalchemy() -> None:
    assert read_database_url("mysql://h/d") == OtherUrl(url="mysql://h/d", scheme="mysql")
    assert (find_file("mysql://h/d"), is_in_memory("mysql://h/d")) == ("", False)


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
