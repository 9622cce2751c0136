"""Split the rows into those to train with and those to evaluate with."""

from sqlite3 import Connection

import pandas as pd
from sklearn.model_selection import train_test_split

STAGE = "model"


def run(conn: Connection, *, test_size: float = 0.2, random_state: int = 3) -> dict[str, int]:
    """Split.

    Args:
        test_size: the part of the rows that is kept for the evaluation
        random_state: the seed; the same one gives the same rows
    """
    rows = pd.read_sql("SELECT * FROM model_input", conn)
    train, test = train_test_split(rows, test_size=test_size, random_state=random_state)
    train.to_sql("train_rows", conn, index=False, if_exists="replace")
    test.to_sql("test_rows", conn, index=False, if_exists="replace")
    return {"train": len(train), "test": len(test)}
