"""Check that a full run of the sample project arrived at the published figures.

Usage: python .ci/check_figures.py [SAMPLE_PROJECT]

Reads data.db and output/report.html of the sample project (default: the one beside this folder)
and computes nothing that the pipeline should have computed. Prints a line for each check that
failed and exits 1, or prints one line and exits 0.
"""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

# Gorman, Williams and Fraser (2014): rows, mean culmen and flipper length (mm), body mass (g).
SPECIES = {
    "Adelie": ("152", "38.79", "189.95", "3700.66"),
    "Chinstrap": ("68", "48.83", "195.82", "3733.09"),
    "Gentoo": ("124", "47.50", "217.19", "5076.02"),
}
ROWS = 344
SEXES = {"female": 165, "male": 168, "unknown": 11}
DATES = ("2007-11-09", "2009-12-01")


class Page(HTMLParser):
    """The rows of the tables of a page, and all of its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text = ""
        self._in_cell = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in {"th", "td"}:
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in {"th", "td"}:
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.rows[-1][-1] += data.strip()


def main(arguments: list[str]) -> int:
    if len(arguments) > 1:
        print(__doc__, file=sys.stderr)
        return 2
    default = Path(__file__).resolve().parent.parent / "sample_project"
    project = Path(arguments[0]) if arguments else default
    failures = [*check_database(project / "data.db"), *check_report(project / "output/report.html")]
    for failure in failures:
        print(f"failed: {failure}")
    if not failures:
        print("ok: data.db and output/report.html hold the published figures")
    return 1 if failures else 0


def check_database(path: Path) -> Iterator[str]:
    if not path.is_file():
        yield f"{path} is not there"
        return
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as conn:
            yield from check_tables(conn)
    except sqlite3.Error as error:
        yield f"{path}: {error}"


def check_tables(conn: sqlite3.Connection) -> Iterator[str]:
    for table in ("raw", "penguins", "enriched"):
        (rows,) = conn.execute(f"SELECT count(*) FROM {table}").fetchone()
        yield from differs(f"rows of {table}", ROWS, rows)

    sexes = conn.execute("SELECT coalesce(sex, 'unknown'), count(*) FROM penguins GROUP BY sex")
    yield from differs("penguins by sex", SEXES, dict(sexes.fetchall()))

    dates = conn.execute("SELECT min(date_egg), max(date_egg) FROM penguins").fetchone()
    yield from differs("first and last date of penguins", DATES, dates)

    summary = conn.execute(
        """
        SELECT
            species,
            CAST(penguins AS TEXT),
            printf('%.2f', culmen_length_mm),
            printf('%.2f', flipper_length_mm),
            printf('%.2f', body_mass_g)
        FROM summary
        WHERE sex = 'all'
        """
    )
    figures = {species: tuple(values) for species, *values in summary}
    yield from differs("species of summary", sorted(SPECIES), sorted(figures))
    for species, expected in SPECIES.items():
        yield from differs(f"{species} in summary", expected, figures.get(species))

    by_sex = conn.execute("SELECT sex, sum(penguins) FROM summary WHERE sex <> 'all' GROUP BY sex")
    yield from differs("penguins of summary by sex", SEXES, dict(by_sex.fetchall()))


def check_report(path: Path) -> Iterator[str]:
    if not path.is_file():
        yield f"{path} is not there"
        return
    page = Page(path.read_text(encoding="utf-8"))
    figures = {name: tuple(cells[:4]) for name, *cells in page.rows if name in SPECIES}
    for species, expected in SPECIES.items():
        yield from differs(f"{species} in the report", expected, figures.get(species))

    sexes = dict.fromkeys(SEXES, 0)
    for name, *cells in page.rows:
        if name in sexes:
            sexes[name] += int(cells[0])
    yield from differs("penguins of the report by sex", SEXES, sexes)

    for day in DATES:
        if day not in page.text:
            yield f"date in the report: {day} is not there"


def differs(what: str, expected: object, found: object) -> Iterator[str]:
    if found != expected:
        yield f"{what}: expected {expected}, found {found}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
