"""The DuckDB database of this project."""

import duckdb


def get_connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect("data.duckdb")
