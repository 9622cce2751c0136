import pandas as pd
import work

STAGE = "model"


def run(conn, *, share: float = 0.2):
    model = work.train(pd.read_sql("SELECT * FROM model_input", conn), share)
    model.to_sql("model", conn, index=False, if_exists="replace")
