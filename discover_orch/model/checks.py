"""The checks of a tool, which judge what it has done before that is committed, and how they ended, also as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

#: Columns of a text that is not shown on a terminal, and the least that a column of a table keeps.
PLAIN_WIDTH, LEAST_COLUMN = 80, 6


class Check(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function of a tool that judges what it has done. `arguments` are all that it can be given."""

    name: str
    line: int
    arguments: tuple[str, ...] = ()

    @property
    def only_warns(self) -> bool:
        return self.name.startswith("warn_")


class CheckResult(Struct, frozen=True, kw_only=True):
    """How a check ended. `message` says in one line why it did not pass, and `detail` more: the values in a failing
    `assert`, or a traceback. `path` and `line` are where that was.

    `columns` and `rows` are the first rows that violate it, as texts; None is NULL. `has_more`: there are more.
    """

    name: str
    status: Literal["passed", "failed", "warned"]
    message: str = ""
    path: str = ""
    line: int = 0
    detail: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str | None, ...], ...] = ()
    has_more: bool = False


def checks_text(checks: Iterable[CheckResult], width: int = PLAIN_WIDTH) -> str:
    """Those that did not pass, each with what is known of it; a table of its rows has at most this width."""
    lines: list[str] = []
    for one in checks:
        if one.status == "passed":
            continue
        word = "warning: " if one.status == "warned" else ""
        lines.append(f"{word}{one.name}  {one.path}:{one.line}  {one.message}")
        for line in one.detail.split("\n") if one.detail else ():
            is_value = not line.startswith((" ", "Traceback"))
            lines.append(_cut(f"    {line}", width) if is_value else f"  {line}")
        lines += [f"    {line}" for line in _table_lines(one, width - 4)]
    return "".join(f"{line}\n" for line in lines)


def _table_lines(check: CheckResult, width: int) -> Iterator[str]:
    rows = [["NULL" if cell is None else cell for cell in row] for row in check.rows]
    table = [[*check.columns], *rows] if check.columns else rows
    if not table:
        return
    yield from table_lines(table, width)
    if check.has_more:
        yield "..."


def table_lines(table: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """The rows in columns; what does not fit the width is cut."""
    table = [[" ".join(cell.split()) for cell in row] for row in table]
    number = max(map(len, table))
    table = [[*row, *[""] * (number - len(row))] for row in table]
    most = (width + 2) // (LEAST_COLUMN + 2)
    if number > most:
        table = [[*row[: most - 1], "..."] for row in table]
    for row in _fitted(table, width):
        yield "  ".join(row).rstrip()


def _fitted(table: Sequence[Sequence[str]], width: int) -> Iterator[list[str]]:
    """The rows with columns of one width, the widest of them cut until all fit."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    while (over := sum(widths) + 2 * (len(widths) - 1) - width) > 0 and max(widths) > LEAST_COLUMN:
        widest = widths.index(max(widths))
        second = max([one for one in widths if one < widths[widest]], default=LEAST_COLUMN)
        widths[widest] = max(widths[widest] - over, second - 1, LEAST_COLUMN)
    for row in table:
        yield [f"{_cut(cell, size):{size}}" for cell, size in zip(row, widths, strict=True)]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
