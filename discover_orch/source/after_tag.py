"""Adds an `AFTER` to the text of a module, below its `STAGE`. Nothing else of the text changes."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Sequence
from io import BytesIO

from discover_orch.source.parse import PARSE_ERRORS, ignore_warnings, parse

_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n|\Z)")


def after_line(names: Sequence[str]) -> str:
    """`AFTER = "fetch"`; `AFTER = ()` for none."""
    shown = [f'"{name}"' for name in names]
    return f"AFTER = {shown[0]}" if len(shown) == 1 else f"AFTER = ({', '.join(shown)})"


def add_after(data: bytes, names: Sequence[str]) -> bytes | None:
    """The text with that line; None if it has no `STAGE` below which a line can stand, or has an `AFTER`."""
    with ignore_warnings():
        try:
            before = parse(data)
            place = _line_below_stage(before)
            if place is None:
                return None
            encoding, _ = tokenize.detect_encoding(BytesIO(data).readline)
            lines = [line for line in _LINE.findall(data) if line]
            end = re.search(rb"[\r\n]*\Z", lines[place - 1])
            newline = end[0] if end and end[0] else b"\n"
            if not lines[place - 1].endswith(newline):
                lines[place - 1] += newline
            lines.insert(place, after_line(names).encode(encoding.removesuffix("-sig")) + newline)
            changed = b"".join(lines)
            return changed if _differ_by_after(before, parse(changed)) else None
        except PARSE_ERRORS:  # also a name that the encoding of the file does not have
            return None


def _line_below_stage(tree: ast.Module) -> int | None:
    """The line below which `AFTER` can stand: that where `STAGE` is assigned last, with all that begins on it."""
    place = None
    for statement in tree.body:
        names = _assigned(statement)
        if "AFTER" in names:
            return None
        if "STAGE" in names:
            place = statement.end_lineno
        elif place is not None and statement.lineno <= place:
            place = max(place, statement.end_lineno or 0)
    return place


def _assigned(statement: ast.stmt) -> list[str]:
    targets: Sequence[ast.expr] = ()
    match statement:
        case ast.Assign(targets=found):
            targets = found
        case ast.AnnAssign(target=target):
            targets = (target,)
        case _:
            pass
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _differ_by_after(before: ast.Module, after: ast.Module) -> bool:
    left = [one for one in after.body if "AFTER" not in _assigned(one)]
    return len(left) + 1 == len(after.body) and [*map(ast.dump, left)] == [
        *map(ast.dump, before.body)
    ]
