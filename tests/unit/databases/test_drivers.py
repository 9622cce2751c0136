"""Which connections are listened to."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from discover_orch.databases.drivers import find_driver


@pytest.fixture
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as conn:
        conn.execute("CREATE TABLE t AS SELECT 1 AS a")
        conn.execute("CREATE TABLE u (a INTEGER)")
        yield conn


def test_only_two_kinds_of_connections_are_known(duck: duckdb.DuckDBPyConnection) -> None:
    assert find_driver(None) is None
    assert find_driver(object()) is None
    assert find_driver(duck) is find_driver(duck.cursor())
