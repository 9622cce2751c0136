"""Clean one day: no row twice, in order."""

import csv
from datetime import date
from pathlib import Path

STAGE = "clean"
ORCH = {"each": "raw/{day}.csv"}  # one item for each file


def run(*, day: date):
    with open(f"raw/{day}.csv", newline="") as file:
        rows = sorted({(row["shop"], int(row["amount"])) for row in csv.DictReader(file)})
    Path("clean").mkdir(exist_ok=True)
    with open(f"clean/{day}.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return {"rows": len(rows)}
