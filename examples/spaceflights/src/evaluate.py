"""Say how much of the variance of the price the model explains."""

from pathlib import Path
from sqlite3 import Connection

import pandas as pd
from src.features import matrix, split

STAGE = "model"
AFTER = "train"


def run(
    conn: Connection, *, share: float = 0.2, target: Path = Path("output/score.txt")
) -> dict[str, float]:
    """Evaluate.

    Args:
        share: the part of the rows that is evaluated
        target: the file for the score
    """
    _, rows = split(pd.read_sql("SELECT * FROM model_input", conn), share)
    weights = pd.read_sql("SELECT weight FROM model", conn)["weight"].to_numpy()
    price = rows["price"].to_numpy()
    rest = ((price - matrix(rows) @ weights) ** 2).sum()
    score = float(1 - rest / ((price - price.mean()) ** 2).sum())
    target.parent.mkdir(exist_ok=True)
    target.write_text(f"R2 = {score:.3f} on {len(rows)} shuttles\n")
    print(target.read_text().strip())
    return {"r2": round(score, 3)}
