from pathlib import Path

import pandas as pd
import work

STAGE = "model"
AFTER = "train"


def run(conn, *, share: float = 0.2):
    score = work.evaluate(
        pd.read_sql("SELECT * FROM model_input", conn),
        pd.read_sql("SELECT * FROM model", conn),
        share,
    )
    Path("score.txt").write_text(f"{score:.3f}\n")
