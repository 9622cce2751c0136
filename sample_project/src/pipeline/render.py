"""Write the report: a chart and the figures, as one web page."""

import os
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

from src.pipeline.chart import Culmen, draw, draw_key
from src.pipeline.database import Connection

STAGE = "render"

TEMPLATE = Path("templates/report.html")
REPORT = Path("output/report.html")


class Group(NamedTuple):
    """A row of the table `summary`."""

    species: str
    sex: str
    penguins: int
    culmen_length_mm: float | None
    flipper_length_mm: float | None
    body_mass_g: float | None
    culmen_ratio: float | None
    first_egg: str | None
    last_egg: str | None


def run(conn: Connection) -> dict[str, int]:
    """Read the tables `enriched` and `summary`; write output/report.html."""
    summary = conn.execute("SELECT * FROM summary ORDER BY species, sex <> 'all', sex")
    groups = [Group(*row) for row in summary.fetchall()]
    culmens = read_culmens(conn)
    page = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        lede=render_lede(groups),
        chart=render_chart(culmens, groups),
        rows=render_rows(groups),
    )
    write_atomically(REPORT, page)
    print(f"the report is in {REPORT}")
    return {"groups": len(groups), "marks": len(culmens)}


def read_culmens(conn: Connection) -> list[Culmen]:
    rows = conn.execute(
        """
        SELECT species, individual, sex, season, culmen_length_mm, culmen_depth_mm
        FROM enriched
        WHERE culmen_length_mm IS NOT NULL AND culmen_depth_mm IS NOT NULL
        ORDER BY number
        """
    ).fetchall()
    return [
        Culmen(species, ", ".join(filter(None, (species, *details))), length, depth)
        for species, *details, length, depth in rows
    ]


def render_lede(groups: Sequence[Group]) -> str:
    """The sentence under the heading: how many penguins, from when to when, of which sex."""
    if not groups:
        return "No penguins match the parameters."
    sexes = Counter[str]()
    for group in groups:
        sexes[group.sex] += group.penguins
    total = sexes.pop("all")
    first = min((group.first_egg for group in groups if group.first_egg), default="?")
    last = max((group.last_egg for group in groups if group.last_egg), default="?")
    split = ", ".join(f"{count} {sex}" for sex, count in sorted(sexes.items()))
    return escape(f"{total} adults at their nests, {first} to {last}: {split}.")


def render_chart(culmens: Sequence[Culmen], groups: Sequence[Group]) -> str:
    if not culmens:
        return '<p class="none">No rows to draw.</p>'
    ratios = {g.species: g.culmen_ratio for g in groups if g.sex == "all" and g.culmen_ratio}
    return draw(culmens, ratios)


def render_rows(groups: Sequence[Group]) -> str:
    if not groups:
        return '<tr><td class="none" colspan="6">No rows.</td></tr>'
    return "\n".join(render_row(group) for group in groups)


def render_row(group: Group) -> str:
    means = (
        group.culmen_length_mm,
        group.flipper_length_mm,
        group.body_mass_g,
        group.culmen_ratio,
    )
    cells = [str(group.penguins), *("n/a" if mean is None else f"{mean:.2f}" for mean in means)]
    whole = group.sex == "all"
    name = draw_key(group.species) + escape(group.species) if whole else escape(group.sex)
    return (
        f'<tr class="{"species" if whole else "sex"}"><th scope="row">{name}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
    )


def write_atomically(path: Path, text: str) -> None:
    """A reader sees the old page or the new one, never half of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
