"""Write the table of months as a CSV file."""

import csv
from pathlib import Path
from typing import Any

STAGE = "report"


def run(conn: Any, *, report: Path = Path("output/months.csv")) -> dict[str, int]:
    """Write the report.

    Args:
        report: the file to write
    """
    rows = conn.execute("SELECT month, shop, amount FROM months ORDER BY month, shop").fetchall()
    report.parent.mkdir(exist_ok=True)
    with report.open("w", newline="") as file:
        csv.writer(file).writerows([("month", "shop", "amount"), *rows])
    return {"rows": len(rows)}
