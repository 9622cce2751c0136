"""Fit the price of a shuttle by linear regression."""

import pickle
from pathlib import Path
from sqlite3 import Connection

import pandas as pd
from sklearn.linear_model import LinearRegression
from src.features import FEATURES

STAGE = "model"
AFTER = "split"


def run(conn: Connection, *, model: Path = Path("output/regressor.pickle")) -> dict[str, int]:
    rows = pd.read_sql("SELECT * FROM train_rows", conn)
    regressor = LinearRegression().fit(rows[FEATURES], rows["price"])
    model.parent.mkdir(exist_ok=True)
    model.write_bytes(pickle.dumps(regressor))
    return {"rows": len(rows)}
