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

from discover_orch.model.secret_masking import mask_text
from discover_orch.model.table_name import shown_table
from discover_orch.model.tool_events import TableHead
from discover_orch.render.markup import escape, escape_lines
from discover_orch.render.report_tools import ReportTool, size_text
from discover_orch.render.style import Style, count, cut
from discover_orch.staleness.report_files import MOST_IN_ALL, START, MadeFile

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
) -> str:
    """The results by tool. `secrets` are masked in files; in `tables` they are already."""
    room = MOST_IN_ALL - sum(len(one.data or b"") for files in made.values() for one in files)
    parts: list[str] = []
    number = 0
    for tool in tools:
        module = tool.record.module
        shown: list[str] = []
        named: list[str] = []
        for file in made.get(module, ()):
            figure = _file(file, secrets)
            (shown if figure else named).append(figure or _name(file))
        for table in tables.get(module, ()):
            figure = _table(shown_table(table.name), table)
            room -= len(figure)
            if room >= 0:
                shown.append(figure)
            else:
                named.append(escape(shown_table(table.name)))
        number += len(shown) + len(named)
        if named:
            more = len(named) - MOST_NAMES
            names = named[:MOST_NAMES] + ([f"and {more:,} more"] if more > 0 else [])
            shown.append(f"<p>{', '.join(names)}</p>")
        if shown:
            about = escape(tool.record.step.doc)
            parts.append(
                f'<article><h3><a href="#t{tool.number}" data-t="{tool.number}">'
                f"{escape(tool.record.name)}</a> <small>{about}</small></h3>"
                f"{''.join(shown)}</article>"
            )
    if not parts:
        return ""
    opened = " open" if number <= MOST_OPEN else ""
    summary = f"{count(number, 'result')} of {count(len(parts), 'tool')}"
    return (
        f'<section aria-labelledby="h-made"><h2 id="h-made">Results</h2><details class="made"{opened}>'
        f"<summary>{summary}</summary>{''.join(parts)}</details></section>"
    )


def _name(file: MadeFile) -> str:
    """A file that is not shown, and why."""
    why = file.change or size_text(file.size)
    return f"{escape(file.path)} <small>({escape(why)})</small>"


def _file(file: MadeFile, secrets: Sequence[str]) -> str:
    """The file as it is shown; "" where only its name is."""
    data = file.data
    if data is None:
        return ""
    name, size = escape(file.path), size_text(file.size)
    end = splitext(file.path)[1][1:].lower()
    if file.kind == "image" and end != "svg":
        return _figure(name, size, _image(name, _MEDIA.get(end, f"image/{end}"), data))
    text = _text(data, is_part=len(data) < file.size)
    if text is None:
        return ""
    text = mask_text(text, secrets)
    match file.kind:
        case "image":
            content = _image(name, _MEDIA[end], text.encode("utf-8"))
        case "page":
            page = escape_lines(_POLICY + text)
            content = f'<iframe sandbox="" title="{name}" loading="lazy" srcdoc="{page}"></iframe>'
        case "rows":
            return _rows(file, text)
        case _:
            content = f'<pre tabindex="0" aria-label="{name}">{escape_lines(text)}</pre>'
    return _figure(name, size, content)


def _text(data: bytes, *, is_part: bool) -> str | None:
    """None for what is no text. Of a part, the last line may not be whole."""
    if is_part:
        data = data[: data.rfind(b"\n") + 1]
    return None if (not data and is_part) or b"\0" in data else data.decode("utf-8-sig", "replace")


def _figure(name: str, said: str, content: str) -> str:
    caption = f"<figcaption>{name} <small>{said}</small></figcaption>"
    return f"<figure>{caption}{content}</figure>"


def _image(name: str, media: str, data: bytes) -> str:
    packed = binascii.b2a_base64(data, newline=False).decode("ascii")
    return f'<img alt="{name}" loading="lazy" src="data:{media};base64,{packed}">'


def _rows(file: MadeFile, text: str) -> str:
    """The first rows of a CSV file; "" if it is none."""
    separator = max(",;\t", key=text.partition("\n")[0].count)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        columns, *rows = [*islice(lines, MOST_ROWS + 2)] or [[]]
    except csv.Error:  # a value is too long
        return ""
    has_more_columns = any(len(row) > MOST_COLUMNS for row in (columns, *rows))
    table = TableHead(
        name=file.path,
        columns=(*columns[:MOST_COLUMNS], *(["…"] if has_more_columns else [])),
        rows=tuple(tuple(row[:MOST_COLUMNS]) for row in rows[:MOST_ROWS]),
        has_more=len(rows) > MOST_ROWS or file.size > START,
    )
    return _table(file.path, table, f"{size_text(file.size)} · ")


def _table(name: str, table: TableHead, size: str = "") -> str:
    number, shown = len(table.rows), escape(name)
    rows = f"first {number:,} rows" if table.has_more else count(number, "row")
    head = "".join(f'<th scope="col">{escape(_cut(one))}</th>' for one in table.columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    grid = (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{shown}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    return _figure(shown, size + rows, grid)


def _cell(value: str | None) -> str:
    return "<td><small>NULL</small></td>" if value is None else f"<td>{escape(_cut(value))}</td>"


def _cut(text: str) -> str:
    return cut(text, LONGEST_VALUE, Style(), is_prose=False)
