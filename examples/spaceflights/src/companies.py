"""Preprocess the companies: ratings as fractions, approval as a flag."""

from pathlib import Path
from sqlite3 import Connection

import pandas as pd

STAGE = "preprocess"


def run(conn: Connection, *, companies_file: Path = Path("data/companies.csv")) -> dict[str, int]:
    companies = pd.read_csv(companies_file)
    companies["company_rating"] = companies["company_rating"].str.rstrip("%").astype(float) / 100
    companies["iata_approved"] = (companies["iata_approved"] == "t").astype(int)
    companies.to_sql("companies", conn, index=False, if_exists="replace")
    return {"companies": len(companies)}
