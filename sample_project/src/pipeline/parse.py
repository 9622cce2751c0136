"""Turn the raw text into typed records."""

from datetime import date

from src.pipeline.database import Connection, insert_rows

STAGE = "ingest"
AFTER = "fetch"

SPECIES = {"Adelie", "Chinstrap", "Gentoo"}
MISSING = {"", ".", "NA"}


def run(conn: Connection) -> dict[str, int]:
    """Read the table `raw`; write the table `penguins`, with NULL for what is missing."""
    rows = conn.execute("SELECT * FROM raw ORDER BY number").fetchall()
    penguins = [parse_row(*row) for row in rows]
    conn.execute("DROP TABLE IF EXISTS penguins")
    conn.execute(
        """
        CREATE TABLE penguins (
            number INTEGER NOT NULL,
            species TEXT NOT NULL,
            island TEXT,
            individual TEXT,
            date_egg TEXT,
            sex TEXT,
            culmen_length_mm DOUBLE PRECISION,
            culmen_depth_mm DOUBLE PRECISION,
            flipper_length_mm DOUBLE PRECISION,
            body_mass_g DOUBLE PRECISION
        )
        """
    )
    insert_rows(conn, "penguins", penguins)
    return {"rows": len(penguins)}


def parse_row(number: int, *cells: str) -> tuple[str | float | None, ...]:
    """One typed record; ValueError, with the number of the row, if a cell makes no sense."""
    species, island, individual, date_egg, sex, *measurements = cells
    try:
        return (
            number,
            parse_species(species),
            parse_text(island),
            parse_text(individual),
            parse_date(date_egg),
            parse_text(sex.lower()),
            *(parse_number(measurement) for measurement in measurements),
        )
    except ValueError as error:
        raise ValueError(f"row {number} of raw: {error}") from error


def parse_species(text: str) -> str:
    """`Adelie` for `Adelie Penguin (Pygoscelis adeliae)`."""
    species = text.strip().partition(" ")[0].capitalize()
    if species not in SPECIES:
        raise ValueError(f"unknown species {text!r}")
    return species


def parse_text(text: str) -> str | None:
    text = text.strip()
    return None if text.upper() in MISSING else text


def parse_date(text: str) -> str | None:
    """ISO 8601, which compares and sorts as text; the detour checks that the day exists."""
    known = parse_text(text)
    return None if known is None else date.fromisoformat(known).isoformat()


def parse_number(text: str) -> float | None:
    known = parse_text(text)
    return None if known is None else float(known)
