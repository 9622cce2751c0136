"""Load the customers."""

import psycopg

STAGE = "load"


def run(conn: psycopg.Connection, *, rows: int = 100) -> dict[str, int]:
    """Load the customers.

    Args:
        rows: how many
    """
    conn.execute(
        "CREATE TABLE IF NOT EXISTS customers (id int PRIMARY KEY, city text, spent numeric)"
    )
    conn.execute("DELETE FROM customers")
    with conn.cursor() as cursor, cursor.copy("COPY customers FROM STDIN") as copy:
        for number in range(rows):
            copy.write_row((number, ("Oslo", "Rome", "Lima")[number % 3], number * 1.5))
    return {"customers": rows}
