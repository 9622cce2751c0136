"""Opening databases, and sentences for those that cannot be used."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from discover_orch.databases.drivers import find_database
from discover_orch.databases.error_hints import find_hint
from discover_orch.databases.opening import open_sqlite, open_url
from discover_orch.model.database_url import CannotOpen
from tests.support.permissions import bound_by_permissions


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
        from discover_orch.databases.opening import open_sqlite
        from discover_orch.model.database_url import CannotOpen
        try:
            open_sqlite({os.fspath(path)!r})
        except CannotOpen as error:
            print(error, "|", error.hint)
    """
    done = subprocess.run(
        [*command, sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    tmp_path.chmod(0o755)
    assert "cannot open the database" in done.stdout
    assert "may read and write there" in done.stdout


def test_an_error_of_sqlite_gets_a_hint_where_its_words_do_not_say_what_to_do() -> None:
    assert find_hint(ValueError("no such table: t")) == ""
    assert find_hint(sqlite3.OperationalError("near t: syntax error")) == ""
    assert "AFTER" in find_hint(sqlite3.OperationalError("no such table: t"))
    misspelled = sqlite3.OperationalError("no such table: main.Slaes")
    close = find_hint(misspelled, tables=("customers", "sales"))
    assert close.startswith("did you mean sales? Otherwise run the tool that creates this table")
    assert "did you mean" not in find_hint(misspelled, tables=("customers",))


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
        find_database(conn).open_transaction("tool").close()
        at_the_end = path.read_bytes()
        assert other.execute("SELECT a FROM t").fetchall() == [(1,)]
    assert path.read_bytes() == at_the_end
    assert not path.with_name("data.db-wal").exists()


def test_the_parameters_of_a_url_are_sqlite_s(tmp_path: Path) -> None:
    path = tmp_path / "a ?#%20.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE t (a)")
    with closing(open_sqlite(str(path), "mode=ro&cache=private")) as conn:
        assert conn.execute("SELECT * FROM t").fetchall() == []
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            conn.execute("INSERT INTO t VALUES (1)")
    with closing(open_url("sqlite:///new.db?mode=rwc", str(tmp_path))) as conn:
        conn.execute("CREATE TABLE t (a)")
    with closing(open_url("sqlite:///other.db?mode=memory&cache=shared", str(tmp_path))) as conn:
        conn.execute("CREATE TABLE t (a)")
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name, "new.db"]


@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_a_database_that_must_exist_is_not_made(tmp_path: Path, mode: str) -> None:
    with pytest.raises(CannotOpen, match="unable to open"):
        open_url(f"sqlite:///no.db?mode={mode}", str(tmp_path))
    assert list(tmp_path.iterdir()) == []
