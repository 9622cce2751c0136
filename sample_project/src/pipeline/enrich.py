"""Add the breeding season and the shape of the bill."""

from datetime import date

from src.pipeline.database import Connection, run_sql

STAGE = "analyze"


def run(conn: Connection, *, since: date | None = None) -> dict[str, int]:
    """Read the table `penguins`; write the table `enriched`.

    Args:
        conn: the database; orch commits what was written once the tool has succeeded.
        since: leave out penguins whose egg was seen before this day.
    """
    conn.execute("DROP TABLE IF EXISTS enriched")
    conn.execute(
        """
        CREATE TABLE enriched AS
        SELECT
            *,
            culmen_length_mm / culmen_depth_mm AS culmen_ratio,
            first_year || '/' || substr(CAST(first_year + 1 AS TEXT), 3) AS season
        FROM (
            SELECT
                *,
                -- A season spans New Year and begins in the second half of a year.
                CAST(substr(date_egg, 1, 4) AS INTEGER)
                    - CASE WHEN substr(date_egg, 6, 2) < '07' THEN 1 ELSE 0 END AS first_year
            FROM penguins
        ) AS dated
        """
    )
    if since:
        run_sql(conn, "DELETE FROM enriched WHERE coalesce(date_egg, '') < ?", since.isoformat())
    (rows,) = conn.execute("SELECT count(*) FROM enriched").fetchone()
    return {"rows": rows}
