"""The text of `orch list`, made from a `ListingSummary`.

A warm `orch list` loads hardly anything else, so this imports little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from discover_orch.discovery.listing_cache import ListingSummary, Row
from discover_orch.render.style import Style, count, cut, cut_name, one_line, wrap


def listing_text(summary: ListingSummary, style: Style, *, verbose: bool = False) -> str:
    """The tools by stage: one line per tool if all fit, else a second line for path and options."""
    stages = [(name, has_place, _cleaned(rows)) for name, has_place, rows in summary["stages"]]
    off = _cleaned(summary["disabled"])
    shown = [row for _, _, rows in stages for row in rows] + off
    lines = _Lines(shown, style)
    is_ordered = any(has_place for _, has_place, _ in stages)
    out: list[str] = []
    for name, has_place, rows in stages:
        title = style.paint(name, "stage")
        if is_ordered and not has_place:
            title += style.paint("  (not listed in stages = [...])", "dim")
        out.append(wrap(title, style, "  "))
        out += [lines.text(row) for row in rows]
    if off:
        out.append(style.paint("disabled", "stage"))
        out += [lines.text(row) for row in off]
    if verbose and summary["observers"]:
        out.append(style.paint("observers", "stage"))
        out += [
            wrap(f"  {one_line(one['name'])}  {style.paint(_place(one), 'dim')}", style, "      ")
            for one in summary["observers"]
        ]
    if verbose and summary["checks"]:
        out.append(style.paint("checks", "stage"))
        for name, checks in summary["checks"]:
            text = f"  {one_line(name)}  {style.paint(', '.join(checks), 'dim')}"
            out.append(wrap(text, style, "      "))
    for title, is_check in (("not tools", False), ("not checks", True)) if verbose else ():
        found = [one for one in summary["passed_over"] if one["is_check"] == is_check]
        out += [style.paint(title, "stage")] if found else []
        out += [_passed_over(one, style) for one in found]
    if shown:
        names = {row[0] for _, _, rows in stages for row in rows}  # a tool may be in several stages
        total = f"{count(len(names), 'tool')} in {count(len(stages), 'stage')}"
        out += ["", total + (f", {len(off):,} disabled" if off else "")]
    return "\n".join(out) + "\n" if out else ""


def _cleaned(rows: Sequence[Row]) -> list[Row]:
    return [[one_line(text) for text in row] for row in rows]


class _Lines:
    """The layout of the rows, which depends on whether each of them fits on one line."""

    def __init__(self, rows: Sequence[Row], style: Style) -> None:
        self._style = style
        name = max([len(row[0]) for row in rows], default=0)
        doc = max([len(row[1]) for row in rows], default=0)
        details = max([len(row[2]) + len(row[3]) + 2 for row in rows], default=0)
        self._is_wide = name + doc + details + 6 <= style.width
        self._pad = name if self._is_wide else min(name, 24)
        self._name = name if self._is_wide else min(name, style.width // 2)
        self._doc = doc
        self._room = style.width - self._pad - 4

    def text(self, row: Row) -> str:
        name, doc, path, options = row[:4]
        details = self._style.paint(f"{path}  {options}" if options else path, "dim")
        if self._is_wide:
            line = f"  {name:<{self._pad}}  {doc:<{self._doc}}  {details}"
        else:
            name = cut_name(name, self._name if doc else self._style.width - 2, self._style)
            room = self._style.width - max(self._pad, len(name)) - 4
            doc = cut(doc, room, self._style)
            first = f"  {name:<{self._pad}}  {doc}" if doc else f"  {name}"
            if len(path) + len(options) + 2 > self._room:
                details = self._broken(path, options)
            line = f"{first}\n  {'':<{self._pad}}  {details}"
        return line if len(row) == 4 else line + self._sources(row[4:])

    def _broken(self, path: str, options: str) -> str:
        """Path and options on several lines, at most as wide as the screen if the words allow it."""
        lines, line = [cut_name(path, self._room, self._style)], ""
        for option in options.split("  ") if options else ():
            if line and len(line) + 2 + len(option) > self._room:
                lines.append(line)
                line = option
            else:
                line = f"{line}  {option}" if line else option
        lines += [line] if line else []
        return f"\n  {'':<{self._pad}}  ".join(self._style.paint(one, "dim") for one in lines)

    def _sources(self, paths: Sequence[str]) -> str:
        """The files of `--sources`, one per line."""
        arrow = self._style.mark("←", "<-")
        return "".join(f"\n  {'':<{self._pad}}  {arrow} {path}" for path in paths)


def _passed_over(one: Mapping[str, Any], style: Style) -> str:
    return wrap(f"  {_place(one)}  {style.paint(one['reason'], 'dim')}", style, "      ")


def _place(one: Mapping[str, Any]) -> str:
    return one_line(one["path"]) + (f":{one['line']}" if one["line"] else "")
