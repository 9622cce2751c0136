"""Average the measurements by species and sex."""

from datetime import date

from src.pipeline.database import Connection, run_sql

STAGE = "analyze"
AFTER = "enrich"


def run(conn: Connection, *, since: date | None = None) -> dict[str, int]:
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
        CREATE TABLE summary (
            species TEXT,
            sex TEXT,
            penguins INTEGER,
            culmen_length_mm DOUBLE PRECISION,
            flipper_length_mm DOUBLE PRECISION,
            body_mass_g DOUBLE PRECISION,
            culmen_ratio DOUBLE PRECISION,
            first_egg TEXT,
            last_egg TEXT
        )
        """
    )
    run_sql(
        conn,
        """
        INSERT INTO summary
        WITH
            chosen AS (
                SELECT * FROM enriched WHERE coalesce(date_egg, '') >= ?
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
        since.isoformat() if since else "",
    )
    species, groups = conn.execute(
        "SELECT count(DISTINCT species), count(*) FROM summary"
    ).fetchone()
    return {"species": species, "groups": groups}
