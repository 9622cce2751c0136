import pandas as pd
import work

STAGE = "preprocess"


def run(conn):
    table = work.shuttles(pd.read_csv("data/shuttles.csv"))
    table.to_sql("shuttles", conn, index=False, if_exists="replace")
