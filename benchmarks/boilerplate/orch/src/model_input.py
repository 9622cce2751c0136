import pandas as pd
import work

STAGE = "preprocess"
AFTER = ("companies", "shuttles")


def run(conn):
    table = work.model_input(
        pd.read_sql("SELECT * FROM shuttles", conn),
        pd.read_sql("SELECT * FROM companies", conn),
        pd.read_csv("data/reviews.csv"),
    )
    table.to_sql("model_input", conn, index=False, if_exists="replace")
