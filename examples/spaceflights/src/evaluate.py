"""Say how well the model predicts prices that it has not seen."""

import pickle
from pathlib import Path
from sqlite3 import Connection

import pandas as pd
from sklearn.metrics import max_error, mean_absolute_error, r2_score
from src.features import FEATURES

STAGE = "model"
AFTER = "train"


def run(
    conn: Connection,
    *,
    model: Path = Path("output/regressor.pickle"),
    target: Path = Path("output/score.txt"),
) -> dict[str, float]:
    """Evaluate.

    Args:
        model: the file that train wrote
        target: the file for the score
    """
    rows = pd.read_sql("SELECT * FROM test_rows", conn)
    regressor = pickle.loads(model.read_bytes())
    price, predicted = rows["price"], regressor.predict(rows[FEATURES])
    score = r2_score(price, predicted)
    target.write_text(f"R2 = {score:.3f} on {len(rows)} shuttles\n")
    print(target.read_text().strip())
    return {
        "r2": round(score, 3),
        "mae": round(mean_absolute_error(price, predicted), 1),
        "max_error": round(max_error(price, predicted), 1),
    }
