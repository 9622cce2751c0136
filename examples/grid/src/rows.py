"""Make the rows to learn from. Another project would load a file."""

import math
import random

STAGE = "data"


def run(conn):
    conn.execute("DROP TABLE IF EXISTS rows")
    conn.execute("CREATE TABLE rows (x REAL, y REAL, is_test INTEGER)")
    rng = random.Random(7)
    for number in range(200):
        x = rng.uniform(-1, 1)
        y = math.sin(3 * x) + rng.gauss(0, 0.1)
        conn.execute("INSERT INTO rows VALUES (?, ?, ?)", (x, y, number % 4 == 0))
