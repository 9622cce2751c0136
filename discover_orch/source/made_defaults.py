"""Reads defaults that are made from literals: `Path("data") / "x.csv"`, `Color.RED`, `date(2024, 1, 31)`.

Each is given as the text that one would type for it, so that a typed default can be recognized. Nothing is evaluated:
an impossible date is a text that does not convert.
"""

from __future__ import annotations

import ast
from typing import Protocol

from discover_orch.model.parameter import Choice, EnumChoice, Scalar
from discover_orch.source.literals import NotLiteral, literal, text_of


class DefaultNames(Protocol):
    """What names mean in the module of the default."""

    def qualified(self, node: ast.expr) -> str | None: ...

    def enum_choice(self, node: ast.expr) -> EnumChoice | None: ...


def items_of(node: ast.expr, *, is_many: bool) -> list[ast.expr]:
    """The expressions of the single values: those in a list, or the one itself. Empty where it should be a list."""
    if not is_many:
        return [node]
    return node.elts if isinstance(node, (ast.List, ast.Tuple)) else []


def typed_text(
    node: ast.expr, base: Scalar | Choice | EnumChoice, names: DefaultNames
) -> str | None:
    """The text of one value of this type; None where the source does not tell the value."""
    match base:
        case EnumChoice():
            if isinstance(node, ast.Attribute) and names.enum_choice(node.value) == base:
                return base.text_of(node.attr)
        case Scalar(kind="path"):
            return _path_text(node, names)
        case Scalar(kind="date"):
            return _date_text(_values(node, "datetime.date", names))
        case Scalar(kind="datetime"):
            return _time_text(_values(node, "datetime.datetime", names))
        case Scalar(kind="decimal"):
            return _only_text(_values(node, "decimal.Decimal", names), (str, int))
        case Scalar(kind="uuid"):
            return _only_text(_values(node, "uuid.UUID", names), (str,))
    return None


def _values(node: ast.expr, function: str, names: DefaultNames) -> list[object] | None:
    """The positional arguments of a call of this function, if all are literals."""
    if not isinstance(node, ast.Call) or node.keywords:
        return None
    if names.qualified(node.func) != function:
        return None
    try:
        return [literal(value) for value in node.args]
    except NotLiteral:
        return None


def _path_text(node: ast.expr, names: DefaultNames) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        part = text_of(node.right)
        if part is None:
            return None
        parts.append(part)
        node = node.left
    first = _values(node, "pathlib.Path", names)
    if first is None:
        return None
    every = [part for part in (*first, *reversed(parts)) if isinstance(part, str)]
    if len(every) != len(first) + len(parts):
        return None
    from pathlib import PurePosixPath  # only where a default is a path

    return str(PurePosixPath(*every))


def _date_text(values: list[object] | None) -> str | None:
    numbers = _numbers(values, 3, 3)
    return "{:04}-{:02}-{:02}".format(*numbers) if numbers else None


def _time_text(values: list[object] | None) -> str | None:
    numbers = _numbers(values, 3, 6)
    if not numbers:
        return None
    padded = (*numbers, 0, 0, 0)[:6]
    return "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}".format(*padded)


def _numbers(values: list[object] | None, least: int, most: int) -> list[int]:
    found = [one for one in values or () if isinstance(one, int) and not isinstance(one, bool)]
    return found if len(found) == len(values or ()) and least <= len(found) <= most else []


def _only_text(values: list[object] | None, kinds: tuple[type, ...]) -> str | None:
    if values is None or len(values) != 1 or isinstance(values[0], bool):
        return None
    return str(values[0]) if isinstance(values[0], kinds) else None
