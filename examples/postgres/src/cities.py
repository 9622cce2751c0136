"""Sum what the customers of each city have spent."""

import psycopg

STAGE = "report"


def run(conn: psycopg.Connection) -> dict[str, int]:
    conn.execute("DROP TABLE IF EXISTS cities")
    conn.execute(
        "CREATE TABLE cities AS SELECT city, sum(spent) AS spent FROM customers GROUP BY city"
    )
    rows = conn.execute("SELECT city, spent FROM cities ORDER BY city").fetchall()
    for city, spent in rows:
        print(f"{city}: {spent}")
    return {"cities": len(rows)}
