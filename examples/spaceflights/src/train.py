"""Fit the price of a shuttle by least squares."""

from sqlite3 import Connection

import numpy as np
import pandas as pd
from src.features import COLUMNS, matrix, split

STAGE = "model"


def run(conn: Connection, *, share: float = 0.2) -> dict[str, int]:
    """Train.

    Args:
        share: the part of the rows that is kept for the evaluation
    """
    rows, _ = split(pd.read_sql("SELECT * FROM model_input", conn), share)
    weights, *_ = np.linalg.lstsq(matrix(rows), rows["price"].to_numpy(), rcond=None)
    model = pd.DataFrame({"feature": ["intercept", *COLUMNS], "weight": weights})
    model.to_sql("model", conn, index=False, if_exists="replace")
    return {"rows": len(rows)}
