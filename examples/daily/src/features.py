"""What each shop sold in one day."""

import csv
import json
from collections import Counter
from datetime import date
from pathlib import Path

STAGE = "features"
ORCH = {"each": "clean"}  # the items of the tool clean


def run(*, day: date):
    sold: Counter[str] = Counter()
    with open(f"clean/{day}.csv", newline="") as file:
        for shop, amount in csv.reader(file):
            sold[shop] += int(amount)
    Path("features").mkdir(exist_ok=True)
    Path(f"features/{day}.json").write_text(json.dumps(sold))
