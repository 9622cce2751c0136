"""That DuckDB is asked to explain changes nothing for the tool."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from discover_orch.databases.drivers import find_database
from discover_orch.databases.duckdb_tables import DuckdbLog

Conn = duckdb.DuckDBPyConnection


@pytest.fixture
def conn() -> Iterator[Conn]:
    with duckdb.connect() as conn:
        conn.execute("CREATE TABLE t AS SELECT range AS a FROM range(10_000)")
        conn.execute("CREATE VIEW v AS SELECT a FROM t; CREATE SEQUENCE ids")
        log = find_database(conn).open_log(lambda name: None)
        assert log is not None
        log.begin_step()
        conn.begin()
        yield conn
        DuckdbLog.latest = None


def may_go_on(conn: Conn) -> bool:
    """Before version 2, not every error ends the transaction."""
    try:
        return conn.execute("SELECT count(*) FROM t WHERE a = 1").fetchall() == [(2,)]
    except duckdb.TransactionException:
        return False


@pytest.mark.parametrize(
    "sql",
    [
        "FROM absent",
        "SELEC 1",
        "SELECT nothing FROM t",
        "FROM read_csv('absent.csv')",
        "INSERT INTO t VALUES ('x')",
        "COPY t FROM 'absent.csv'",
        "SELECT error('boom')",
        "CREATE TABLE t (a INTEGER)",
        "FROM absent; FROM t",
        "FROM t; FROM absent",
    ],
)
def test_the_error_is_that_of_the_statement(conn: Conn, sql: str) -> None:
    with duckdb.connect() as other:
        other.execute("CREATE TABLE t AS SELECT range AS a FROM range(10_000)")
        other.begin()
        other.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(duckdb.Error) as plain:
            other.execute(sql)
        is_open = may_go_on(other)
    conn.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(duckdb.Error) as seen:
        conn.execute(sql)
    assert (type(seen.value), str(seen.value)) == (type(plain.value), str(plain.value))
    assert may_go_on(conn) is is_open


def test_explaining_calls_no_function_of_python(conn: Conn) -> None:
    pytest.importorskip("numpy")  # without it DuckDB calls none
    calls = []
    conn.create_function("count_up", lambda a: calls.append(a) or a, ["INTEGER"], "INTEGER")  # type: ignore[func-returns-value]
    assert conn.execute("SELECT count_up(1)").fetchall() == [(1,)]
    assert len(calls) == 1


def test_explaining_runs_nothing(conn: Conn, tmp_path: Path) -> None:
    assert conn.execute("SELECT nextval('ids')").fetchall() == [(1,)]
    conn.execute("INSERT INTO t VALUES (-1)")
    assert conn.execute("SELECT count(*) FROM t WHERE a < 0").fetchall() == [(1,)]
    assert conn.execute("DELETE FROM t WHERE a = 1 RETURNING a").fetchall() == [(1,)]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread = threading.Thread(target=pipe.write_text, args=("a\n1\n2\n",))
    thread.start()
    found = conn.execute(
        f"FROM read_csv('{pipe}', header = true, columns = {{'a': 'INTEGER'}})"
    ).fetchall()
    thread.join()
    assert found == [(1,), (2,)]


def test_the_settings_and_a_result_that_is_still_read_stay_as_they_are(conn: Conn) -> None:
    conn.execute("SET explain_output = 'optimized_only'")
    conn.execute("FROM v").fetchall()
    asked = "SELECT current_setting('explain_output')"
    assert conn.execute(asked).fetchall() == [("optimized_only",)]
    conn.execute("SELECT a FROM t ORDER BY a")
    assert conn.fetchone() == (0,)
    relation = conn.sql("WITH t AS (FROM v) FROM t")
    assert relation.columns == ["a"]
    assert len(conn.fetchall()) == 9_999
    assert len(relation.fetchall()) == 10_000


@pytest.mark.parametrize("values", [[1], (1,), {"a": 1}], ids=["list", "tuple", "dict"])
def test_values_and_variables_of_the_tool_are_found(conn: Conn, values: Any) -> None:
    rows = conn.sql("SELECT 1 AS a")  # noqa: F841 (DuckDB finds it)
    place = "$a" if isinstance(values, dict) else "?"
    text = f"SELECT a FROM rows WHERE a = {place}"
    assert conn.execute(text, values).fetchall() == [(1,)]
    assert conn.sql(text, params=values).fetchall() == [(1,)]
    conn.executemany("INSERT INTO t VALUES (?)", [[-1], [-2]])
    assert conn.execute("SELECT min(a) FROM t").fetchall() == [(-2,)]
    assert conn.execute("SELECT 1; SELECT 2 AS a, ?", [3]).fetchall() == [(2, 3)]


def test_a_broken_view_of_the_name_of_a_with_ends_no_transaction(conn: Conn) -> None:
    conn.execute("CREATE TABLE gone (a INTEGER)")
    conn.execute("CREATE VIEW broken AS SELECT * FROM gone")
    conn.execute("ALTER TABLE gone RENAME a TO b; DROP TABLE gone")
    conn.execute("INSERT INTO t VALUES (-1)")
    assert conn.execute("WITH broken AS (FROM t) SELECT min(a) FROM broken").fetchall() == [(-1,)]
    conn.commit()
    assert conn.execute("SELECT min(a) FROM t").fetchall() == [(-1,)]
