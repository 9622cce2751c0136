"""What a call of a function gives: whether it runs at all, and a returned value that orch ignores.

Only what the source says for certain is reported. The functions inside the function are not read.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Protocol

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_NESTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)

#: Classes of data frames and arrays, whatever library they are from.
_FRAMES = frozenset({"DataFrame", "LazyFrame", "GeoDataFrame", "Series", "ndarray"})
_FRAME_LIBRARIES = frozenset({"pandas", "polars", "geopandas"})
_PLAIN = frozenset({"str", "int", "float", "bool", "list"})
_DISPLAYS: tuple[tuple[type[ast.expr], str], ...] = (
    (ast.List, "a list"),
    (ast.ListComp, "a list"),
    (ast.Tuple, "a tuple"),
    (ast.Set, "a set"),
    (ast.SetComp, "a set"),
    (ast.GeneratorExp, "a generator"),
    (ast.JoinedStr, "a str"),
    (ast.Lambda, "a function"),
)


class ImportedNames(Protocol):
    """What names mean in the module of the function."""

    def qualified(self, node: ast.expr) -> str | None: ...


def find_yield(function: _Function) -> int | None:
    """The line of the first `yield` in its own body: a call would only make a generator."""
    body = [function.body] if isinstance(function, ast.Lambda) else function.body
    pending: list[ast.AST] = [*reversed(body)]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return node.lineno
        pending.extend(reversed([*_evaluated(node)]))
    return None


def find_ignored_return(function: _Function, names: ImportedNames) -> tuple[int, str] | None:
    """The line and the kind ("a list") of a value that is certainly neither None nor a mapping."""
    if isinstance(function, ast.Lambda):
        return None  # a call in one line, of a function that does the work
    if function.returns is not None and (kind := _kind_of_annotation(function.returns, names)):
        return function.lineno, kind
    for statement in _statements(function.body):
        if isinstance(statement, ast.Return) and statement.value is not None:
            value = statement.value
            if isinstance(value, ast.Name):
                value = _only_value(value.id, function) or value
            if kind := _kind_of_value(value, names):
                return statement.lineno, kind
    return None


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node that belong to the function itself: of a function in it the decorators and defaults."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from node.decorator_list
            yield node.args
        case ast.Lambda():
            yield node.args
        case ast.ClassDef():
            yield from (*node.decorator_list, *node.bases, *node.keywords)
        case _:
            yield from ast.iter_child_nodes(node)


def _kind_of_annotation(node: ast.expr, names: ImportedNames) -> str | None:
    if isinstance(node, ast.Subscript):
        node = node.value
    return _kind_of_class(names.qualified(node) or "")


def _kind_of_class(name: str) -> str | None:
    module, _, last = name.rpartition(".")
    if module == "builtins" and last in _PLAIN:
        return f"an {last}" if last == "int" else f"a {last}"
    return f"a {last}" if module and last in _FRAMES else None


def _kind_of_value(node: ast.expr, names: ImportedNames) -> str | None:
    if isinstance(node, ast.Constant) and node.value is not None:
        kind = type(node.value).__name__
        return f"an {kind}" if kind in ("int", "ellipsis") else f"a {kind}"
    if isinstance(node, ast.Call):
        name = names.qualified(node.func) or ""
        top, _, rest = name.partition(".")
        if top in _FRAME_LIBRARIES and rest.startswith(("read_", "scan_")):
            return "a DataFrame"
        return _kind_of_class(name)
    return next((kind for display, kind in _DISPLAYS if isinstance(node, display)), None)


def _only_value(name: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.expr | None:
    """What a name of the function is bound to, if it is bound once, by a plain assignment."""
    values = [
        statement.value
        for statement in _statements(function.body)
        if isinstance(statement, ast.Assign)
        and len(statement.targets) == 1
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id == name
    ]
    if len(values) != 1:
        return None
    bound = 0
    for node in ast.walk(function):
        if isinstance(node, (ast.Global, ast.Nonlocal)) and name in node.names:
            return None
        bound += isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
    return values[0] if bound == 1 else None


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a function at any depth, in their order."""
    pending = [*reversed(body)]
    while pending:
        statement = pending.pop()
        yield statement
        if isinstance(statement, _NESTED):
            continue
        inner: list[ast.stmt] = []
        for name in ("body", "handlers", "cases", "orelse", "finalbody"):
            for child in getattr(statement, name, ()):
                inner += [child] if isinstance(child, ast.stmt) else child.body
        pending.extend(reversed(inner))
