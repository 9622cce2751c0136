"""Load each CSV file of the folder `seeds` into a table."""

from pathlib import Path

from duckdb import DuckDBPyConnection

STAGE = "seeds"


def run(conn: DuckDBPyConnection) -> dict[str, int]:
    files = sorted(Path("seeds").glob("*.csv"))
    for file in files:
        conn.execute(f"CREATE OR REPLACE TABLE raw_{file.stem} AS SELECT * FROM read_csv('{file}')")
    return {"seeds": len(files)}
