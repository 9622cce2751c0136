"""Which URLs orch opens, and sentences for the others."""

from __future__ import annotations

import pytest

from discover_orch.model.database_url import CannotOpen, find_file, is_in_memory, read_database_url


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
    ],
)
def test_a_url_means_a_file(url: str, path: str) -> None:
    assert read_database_url(url).file == path
    assert (find_file(url), is_in_memory(url)) == (path, not path)


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("data.db", "is not a database URL", "sqlite:///data.db"),
        ("sqlite://data.db", "names a server", "sqlite:///data.db"),
        (
            "postgresql://u:secret@h/d",
            "orch does not open postgresql://",
            'pip install "discover-orch[postgres]"',
        ),
        (
            "duckdb:///d.duckdb",
            "orch does not open duckdb://",
            'pip install "discover-orch[duckdb]"',
        ),
        ("sqlite:///d.db?mod=ro", "unknown parameter 'mod'", "did you mean mode?"),
        (
            "sqlite:///file:d.db?uri=true",
            "unknown parameter 'uri'",
            "known: mode, cache, immutable",
        ),
        ("sqlite:///d.db?mode=r", "mode=r in a SQLite URL", "write mode=ro or rw or rwc or memory"),
        ("sqlite:///d.db?mode", "mode= in a SQLite URL", "write mode=ro or rw or rwc or memory"),
        ("sqlit:///d", "unknown kind of database: sqlit://", "did you mean sqlite://?"),
        (
            "mysql://h/d",
            "unknown kind of database: mysql://",
            "known: sqlite://, postgresql://, duckdb://",
        ),
    ],
)
def test_any_other_url_raises_with_a_hint(url: str, message: str, hint: str) -> None:
    with pytest.raises(CannotOpen) as told:
        read_database_url(url)
    assert message in str(told.value)
    assert hint in told.value.hint
    assert (find_file(url), is_in_memory(url)) == ("", False)
    assert "secret" not in str(told.value) + told.value.hint
