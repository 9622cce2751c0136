"""Join shuttles, companies and reviews; leave out incomplete rows."""

from pathlib import Path
from sqlite3 import Connection

import pandas as pd

STAGE = "preprocess"
AFTER = ("companies", "shuttles")


def run(conn: Connection, *, reviews_file: Path = Path("data/reviews.csv")) -> dict[str, int]:
    reviews = pd.read_csv(reviews_file)
    shuttles = pd.read_sql("SELECT * FROM shuttles", conn)
    companies = pd.read_sql("SELECT * FROM companies", conn)
    table = shuttles.merge(reviews, left_on="id", right_on="shuttle_id").merge(
        companies.rename(columns={"id": "company_id"}), on="company_id"
    )
    table = table.dropna()
    table.to_sql("model_input", conn, index=False, if_exists="replace")
    return {"rows": len(table)}
