"""The text of `orch list`, made from a `ListingSummary`.

A warm `orch list` loads hardly anything else, so this imports little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from discover_orch.discovery.listing_cache import ListingSummary, Row
from discover_orch.render.style import Style, count, cut, cut_name, one_line, table, wrap


def listing_text(summary: ListingSummary, style: Style, *, verbose: bool = False) -> str:
    """The tools by stage: one line per tool if all fit, else a second line for path and options."""
    stages, off = summary["stages"], _cleaned(summary["disabled"])
    is_ordered = any(has_place for _, has_place, _ in stages)
    groups: list[tuple[str, Sequence[Row]]] = []
    for name, has_place, tools in stages:
        title = style.paint(name, "stage")
        if is_ordered and not has_place:
            title += style.paint("  (not listed in stages = [...])", "dim")
        groups.append((wrap(title, style, "  "), _cleaned(tools)))
    if off:
        groups.append((style.paint("disabled", "stage"), off))
    tools = [row for _, members in groups for row in members]
    widths = [max(map(len, column)) for column in zip(*(row[:4] for row in tools), strict=True)]
    is_wide = sum(widths) + 8 <= style.width
    pad = " " * (min(widths[0], 24) + 4 if widths else 0)
    rows: list[Sequence[str]] = []
    for title, members in groups:
        rows.append(title)
        for row in members:
            rows += _rows(row, style, pad, is_wide=is_wide)
    out = table(rows, style, shares=(1,))
    for title, found in _others(summary).items() if verbose else ():
        out += [style.paint(title, "stage")] if found else []
        cells = [(one_line(name), style.paint(about, "dim")) for name, about in found]
        out += table(cells, style)
    if tools:
        names = {row[0] for _, _, members in stages for row in members}  # a tool may be in several
        total = f"{count(len(names), 'tool')} in {count(len(stages), 'stage')}"
        out += ["", total + (f", {len(off):,} disabled" if off else "")]
    return "\n".join(out) + "\n" if out else ""


def _others(summary: ListingSummary) -> dict[str, list[tuple[str, str]]]:
    """What is no tool, by title: its name or place, and what it is."""
    passed_over = [
        (one["is_check"], (_place(one), one["reason"])) for one in summary["passed_over"]
    ]
    return {
        "observers": [(one["name"], _place(one)) for one in summary["observers"]],
        "checks": [(name, ", ".join(checks)) for name, checks in summary["checks"]],
        "not tools": [one for is_check, one in passed_over if not is_check],
        "not checks": [one for is_check, one in passed_over if is_check],
    }


def _cleaned(rows: Sequence[Row]) -> list[Row]:
    return [[*map(one_line, row)] for row in rows]


def _rows(row: Row, style: Style, pad: str, *, is_wide: bool) -> Iterator[Sequence[str]]:
    """Of one tool, with the files of `--sources`. `pad` stands below its name."""
    name, doc, path, options, *sources = row
    room = style.width - len(pad)
    details = style.paint(f"{cut_name(path, room, style)}  {options}".rstrip(), "dim")
    if is_wide:
        yield name, doc, details
    else:
        name = cut_name(name, style.width // 2 if doc else style.width - 2, style)
        first = f"  {name:<{len(pad) - 4}}  "
        yield (first + cut(doc, style.width - len(first), style)).rstrip()
        yield wrap(pad + details, style, pad)
    for source in sources:
        yield f"{pad}{style.mark('←', '<-')} {source}"


def _place(one: Mapping[str, Any]) -> str:
    return f"{one['path']}:{one['line']}" if one["line"] else str(one["path"])
