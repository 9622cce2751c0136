"""Preprocess the shuttles: prices as numbers, checks as a flag."""

from pathlib import Path
from sqlite3 import Connection

import pandas as pd

STAGE = "preprocess"


def run(conn: Connection, *, shuttles_file: Path = Path("data/shuttles.csv")) -> dict[str, int]:
    shuttles = pd.read_csv(shuttles_file)
    shuttles["price"] = shuttles["price"].str.replace(r"[$,]", "", regex=True).astype(float)
    shuttles["d_check_complete"] = (shuttles["d_check_complete"] == "t").astype(int)
    shuttles.to_sql("shuttles", conn, index=False, if_exists="replace")
    return {"shuttles": len(shuttles)}
