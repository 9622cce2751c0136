"""What the tools of a run made, as a part of the report page: images, HTML, texts, and the first rows of tables. Pure.

An image is shown as an image and HTML in a frame that runs no script, sends no form and loads nothing.
"""

from __future__ import annotations

import binascii
import csv
import io
from collections.abc import Mapping, Sequence
from itertools import islice
from posixpath import splitext

from discover_orch.model.items import last_items
from discover_orch.model.keys import shown_table
from discover_orch.model.secret_masking import mask_text
from discover_orch.model.tool_events import TableHead
from discover_orch.render.markup import NOTHING, Html, h, join, lines
from discover_orch.render.report_tools import ReportTool, section, size_text
from discover_orch.render.style import Style, count, cut
from discover_orch.staleness.made_files import MOST_IN_ALL, MOST_OF_ITEMS, START, MadeFile

#: With more results than this, they are folded at first.
MOST_OPEN = 20
#: Rows, columns and characters of a value that are shown of a CSV file; names of what is not shown, for each tool.
MOST_ROWS, MOST_COLUMNS, LONGEST_VALUE, MOST_NAMES = 10, 30, 500, 50
_MEDIA = {"jpg": "image/jpeg", "svg": "image/svg+xml"}
#: Before the text of a page. The policy of the report holds in the frame too.
_POLICY = (
    '<!DOCTYPE html><meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">"
)


def results_html(
    tools: Sequence[ReportTool],
    tables: Mapping[str, Sequence[TableHead]],
    made: Mapping[str, Sequence[MadeFile]],
    secrets: Sequence[str],
) -> Html:
    """The results by tool. `secrets` are masked in files; in `tables` they are already."""
    room = MOST_IN_ALL - sum(len(one.data or b"") for files in made.values() for one in files)
    parts: list[Html] = []
    total = 0
    with_results = [one.record.module for one in tools if one.record.module in {*made, *tables}]
    last = {*last_items(with_results, MOST_OF_ITEMS)}
    for tool in tools:
        record = tool.record
        if record.module not in last:
            continue
        shown: list[Html] = []
        named: list[str] = []
        for file in made.get(record.module, ()):
            figure = _file(file, secrets)
            if figure:
                shown.append(figure)
            else:  # its name, and why it is not shown
                why = file.change or size_text(file.size)
                named.append(join([file.path, " ", h("small", f"({why})")]))
        for table in tables.get(record.module, ()):
            figure = _table(shown_table(table.name), table)
            room -= len(figure)
            if room >= 0:
                shown.append(figure)
            else:
                named.append(shown_table(table.name))
        total += len(shown) + len(named)
        if named:
            more = len(named) - MOST_NAMES
            names = named[:MOST_NAMES] + ([f"and {more:,} more"] if more > 0 else [])
            shown.append(h("p", join(names, ", ")))
        if shown:
            doc = record.step.doc
            if record.status == "fresh":
                doc = "fresh, made by an earlier run" + (f": {doc}" if doc else "")
            heading = h("h3", tool.link, " ", h("small", doc))
            parts.append(h("article", heading, *shown))
    if not parts:
        return NOTHING
    summary = h("summary", f"{count(total, 'result')} of {count(len(parts), 'tool')}")
    folded = h("details", summary, *parts, class_="made", open=total <= MOST_OPEN)
    return section("made", "Results", folded)


def _file(file: MadeFile, secrets: Sequence[str]) -> Html:
    """The file as it is shown; nothing where only its name is."""
    data = file.data
    if data is None:
        return NOTHING
    name, size = file.path, size_text(file.size)
    end = splitext(name)[1][1:].lower()
    if file.kind == "image" and end != "svg":
        return _figure(name, size, _image(name, _MEDIA.get(end, f"image/{end}"), data))
    text = _text(data, is_part=len(data) < file.size)
    if text is None:
        return NOTHING
    text = mask_text(text, secrets)
    match file.kind:
        case "image":
            content = _image(name, _MEDIA[end], text.encode("utf-8"))
        case "page":
            page = lines(_POLICY + text)
            content = h("iframe", sandbox="", title=name, loading="lazy", srcdoc=page)
        case "rows":
            return _rows(file, text)
        case _:
            content = h("pre", lines(text), tabindex=0, aria_label=name)
    return _figure(name, size, content)


def checks_html(tools: Sequence[ReportTool]) -> Html:
    """The checks that did not pass, with the first rows that violate them."""
    parts = []
    for tool in tools:
        for check in tool.record.checks:
            if check.status == "passed":
                continue
            title = h("h3", tool.link, f": {check.name} {check.status}")
            said = h("p", f"{check.path}:{check.line}: {check.message}")
            detail = h("pre", lines(check.detail), tabindex=0) if check.detail else NOTHING
            rows = TableHead(
                name=check.name, columns=check.columns, rows=check.rows, has_more=check.has_more
            )
            found = _table(check.name, rows) if check.rows else NOTHING
            parts.append(h("article", title, said, detail, found, class_="made"))
    return section("checks", "Checks", *parts) if parts else NOTHING


def _text(data: bytes, *, is_part: bool) -> str | None:
    """None for what is no text. Of a part, the last line may not be whole."""
    if is_part:
        data = data[: data.rfind(b"\n") + 1]
    return None if (not data and is_part) or b"\0" in data else data.decode("utf-8-sig", "replace")


def _figure(name: str, said: str, content: Html) -> Html:
    return h("figure", h("figcaption", name, " ", h("small", said)), content)


def _image(name: str, media: str, data: bytes) -> Html:
    packed = binascii.b2a_base64(data, newline=False).decode("ascii")
    return h("img", alt=name, loading="lazy", src=join([f"data:{media};base64,", Html(packed)]))


def _rows(file: MadeFile, text: str) -> Html:
    """The first rows of a CSV file; nothing if it is none."""
    separator = max(",;\t", key=text.partition("\n")[0].count)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        columns, *rows = [*islice(lines, MOST_ROWS + 2)] or [[]]
    except csv.Error:  # a value is too long
        return NOTHING
    has_more_columns = any(len(row) > MOST_COLUMNS for row in (columns, *rows))
    table = TableHead(
        name=file.path,
        columns=(*columns[:MOST_COLUMNS], *(["…"] if has_more_columns else [])),
        rows=tuple(tuple(row[:MOST_COLUMNS]) for row in rows[:MOST_ROWS]),
        has_more=len(rows) > MOST_ROWS or file.size > START,
    )
    return _table(file.path, table, f"{size_text(file.size)} · ")


def _table(name: str, table: TableHead, size: str = "") -> Html:
    number = len(table.rows)
    said = f"first {number:,} rows" if table.has_more else count(number, "row")
    head = h("tr", *(h("th", _cut(one), scope="col") for one in table.columns))
    rows = (h("tr", *map(_cell, row)) for row in table.rows)
    grid = h("table", h("thead", head), h("tbody", *rows))
    box = h("div", grid, class_="scroll", tabindex=0, role="group", aria_label=name)
    return _figure(name, size + said, box)


def _cell(value: str | None) -> Html:
    return h("td", h("small", "NULL") if value is None else _cut(value))


def _cut(text: str) -> str:
    return cut(text, LONGEST_VALUE, Style(), is_prose=False)
