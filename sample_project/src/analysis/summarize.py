"""Average the measurements by species and sex."""

import sqlite3
from datetime import date

STAGE = "analyze"
AFTER = "enrich"


def run(conn: sqlite3.Connection, *, since: date | None = None) -> dict[str, int]:
    """Read the table `enriched`; write the table `summary`.

    Every penguin counts twice: for its sex (`female`, `male` or `unknown`) and for its whole
    species (`all`). A mean is over the penguins that have the value.

    Args:
        conn: the database; orch commits what was written once the tool has succeeded.
        since: leave out penguins whose egg was seen before this day.
    """
    conn.execute("DROP TABLE IF EXISTS summary")
    conn.execute(
        """
        CREATE TABLE summary AS
        WITH
            chosen AS (
                SELECT * FROM enriched WHERE :since IS NULL OR date_egg >= :since
            ),
            member AS (
                SELECT 'all' AS part, * FROM chosen
                UNION ALL
                SELECT coalesce(sex, 'unknown') AS part, * FROM chosen
            )
        SELECT
            species,
            part AS sex,
            count(*) AS penguins,
            avg(culmen_length_mm) AS culmen_length_mm,
            avg(flipper_length_mm) AS flipper_length_mm,
            avg(body_mass_g) AS body_mass_g,
            avg(culmen_ratio) AS culmen_ratio,
            min(date_egg) AS first_egg,
            max(date_egg) AS last_egg
        FROM member
        GROUP BY species, part
        ORDER BY species, part
        """,
        {"since": since and since.isoformat()},
    )
    species, groups = conn.execute(
        "SELECT count(DISTINCT species), count(*) FROM summary"
    ).fetchone()
    return {"species": species, "groups": groups}
