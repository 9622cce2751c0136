"""URLs, and sentences for databases that cannot be used."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from discover_orch.databases.transactions import (
    CannotOpen,
    choose_transaction,
    find_hint,
    find_path,
    open_sqlite,
    read_url,
)
from tests.support.permissions import bound_by_permissions


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///data.db", "/project/data.db"),
        ("sqlite:///sub/data.db", "/project/sub/data.db"),
        ("sqlite:////tmp/data.db", "/tmp/data.db"),
        ("sqlite://", ":memory:"),
        ("sqlite:///", ":memory:"),
        ("sqlite:///:memory:", ":memory:"),
    ],
)
def test_a_url_means_a_file(url: str, path: str) -> None:
    assert read_url(url, "/project") == path


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
        read_url(url, "/project")
    assert message in str(told.value)
    assert hint in told.value.hint
    assert "secret" not in str(told.value) + told.value.hint


@pytest.mark.parametrize("what", ["file", "folder"])
def test_missing_permissions_are_explained(tmp_path: Path, what: str) -> None:
    command = bound_by_permissions()
    path = tmp_path / "data.db"
    if what == "file":
        path.touch()
        path.chmod(0)
    else:
        tmp_path.chmod(0o555)
    code = f"""if True:
        from discover_orch.databases.transactions import CannotOpen, open_sqlite
        try:
            open_sqlite({os.fspath(path)!r})
        except CannotOpen as error:
            print(error, "|", error.hint)
    """
    done = subprocess.run(
        [*command, sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    tmp_path.chmod(0o755)
    assert "no permission to" in done.stdout
    assert "chmod u+" in done.stdout


def test_a_write_to_a_read_only_database_gets_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE t (a)")
    with (
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn,
        pytest.raises(sqlite3.OperationalError) as told,
    ):
        conn.execute("INSERT INTO t VALUES (1)")
    assert "make the database file" in find_hint(told.value)
    assert find_hint(ValueError("readonly")) == ""
    assert find_hint(sqlite3.OperationalError("near t: syntax error")) == ""
    assert "AFTER" in find_hint(sqlite3.OperationalError("no such table: t"))


def test_only_a_url_of_a_file_has_a_path() -> None:
    assert find_path("sqlite:///data.db", "/project") == "/project/data.db"
    assert [find_path(url, "/project") for url in ("sqlite://", "mysql://h/d", "x")] == [""] * 3


def test_at_the_end_the_log_is_in_the_file_though_another_program_has_it_open(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE t(a)")
        conn = open_sqlite(str(path))
        conn.execute("INSERT INTO t VALUES (1)")
        conn.commit()
        choose_transaction(conn, "tool").close()
        at_the_end = path.read_bytes()
        assert other.execute("SELECT a FROM t").fetchall() == [(1,)]
    assert path.read_bytes() == at_the_end
    assert not path.with_name("data.db-wal").exists()
