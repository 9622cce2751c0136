"""Fetch the raw penguin records, from a file or the web."""

import csv
import io
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from src.pipeline.database import Connection, insert_rows

STAGE = "ingest"

# The columns of the file that the pipeline uses, in the order of the table `raw`.
COLUMNS = (
    "Species",
    "Island",
    "Individual ID",
    "Date Egg",
    "Sex",
    "Culmen Length (mm)",
    "Culmen Depth (mm)",
    "Flipper Length (mm)",
    "Body Mass (g)",
)


def run(conn: Connection, *, source: str = "data/penguins_raw.csv") -> dict[str, int]:
    """Store the records unchanged, as text, with a number each, in the table `raw`.

    Args:
        conn: the database; orch commits what was written once the tool has succeeded.
        source: CSV file to read: a path relative to the project, or an http(s) or file URL.
    """
    records = read_records(source)
    conn.execute("DROP TABLE IF EXISTS raw")
    conn.execute(
        """
        CREATE TABLE raw (
            number INTEGER,
            species TEXT,
            island TEXT,
            individual TEXT,
            date_egg TEXT,
            sex TEXT,
            culmen_length_mm TEXT,
            culmen_depth_mm TEXT,
            flipper_length_mm TEXT,
            body_mass_g TEXT
        )
        """
    )
    insert_rows(conn, "raw", [(number, *record) for number, record in enumerate(records, start=1)])
    print(f"{len(records)} records from {source}")
    return {"rows": len(records)}


def read_records(source: str) -> list[list[str]]:
    """The cells of `COLUMNS`, row by row; ValueError if it is not a penguin file."""
    reader = csv.DictReader(io.StringIO(read_text(source), newline=""))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"{source} is not a penguin file: it has no column {', '.join(missing)}")

    records = []
    for row in reader:
        if None in row.values():
            raise ValueError(f"{source}, line {reader.line_num}: the row is cut short")
        records.append([row[column] for column in COLUMNS])
    return records


def read_text(source: str) -> str:
    """The text of a file or a URL; RuntimeError if it cannot be read."""
    try:
        if urlsplit(source).scheme in {"http", "https", "file"}:
            with urlopen(source, timeout=30) as response:
                content: bytes = response.read()
        else:
            content = Path(source).read_bytes()
        return content.decode("utf-8-sig")
    except (OSError, HTTPException, UnicodeDecodeError) as error:
        raise RuntimeError(f"cannot read {source}: {error}") from error
