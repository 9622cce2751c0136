"""Average the trips by zone: a table, and a Parquet file for others."""

from pathlib import Path

import duckdb

STAGE = "summarize"


def run(
    conn: duckdb.DuckDBPyConnection,
    *,
    trips: Path = Path("output/trips.parquet"),
    zones: Path = Path("output/zones.parquet"),
) -> dict[str, int]:
    """Average the trips.

    Args:
        trips: the Parquet file to read
        zones: the Parquet file to write
    """
    conn.execute(
        f"""
        CREATE OR REPLACE TABLE zones AS
        SELECT zone, count(*) AS trips, avg(minutes) AS minutes
        FROM read_parquet('{trips}') GROUP BY zone ORDER BY zone
        """
    )
    conn.execute(f"COPY zones TO '{zones}' (FORMAT parquet)")
    found = conn.execute("SELECT count(*) FROM zones").fetchone()
    return {"zones": found[0] if found else 0}
