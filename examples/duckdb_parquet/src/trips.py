"""Make a Parquet file of trips, as it would come from elsewhere."""

from pathlib import Path

import duckdb

STAGE = "make"


def run(
    conn: duckdb.DuckDBPyConnection, *, trips: Path = Path("output/trips.parquet"), rows: int = 1000
) -> dict[str, int]:
    """Make the trips.

    Args:
        trips: the Parquet file to write
        rows: how many trips
    """
    trips.parent.mkdir(exist_ok=True)
    conn.execute(
        f"""
        COPY (SELECT i AS trip, i % 7 AS zone, (i * 37) % 90 AS minutes FROM range({rows}) AS n(i))
        TO '{trips}' (FORMAT parquet)
        """
    )
    return {"rows": rows}
