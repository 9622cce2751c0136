"""The state of a SQLite database that a tool opens by itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from discover_orch.worker.opened_databases import database_mark


def test_a_database_has_another_sign_once_anything_was_written_to_it(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    assert database_mark(path) == (None, None)
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE t(a)")
        made = database_mark(path)
        assert made[0] is not None
        assert made[1] is None
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA wal_autocheckpoint = 0")
        before = database_mark(path)
        conn.execute("INSERT INTO t VALUES (1)")
        conn.commit()
        after = database_mark(path)
    assert after[0] == before[0]  # it was not moved into the file yet
    assert after[1] != before[1]
    assert database_mark(path) != after
