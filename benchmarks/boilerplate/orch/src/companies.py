import pandas as pd
import work

STAGE = "preprocess"


def run(conn):
    table = work.companies(pd.read_csv("data/companies.csv"))
    table.to_sql("companies", conn, index=False, if_exists="replace")
