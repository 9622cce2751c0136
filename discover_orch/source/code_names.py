"""The names that code mentions: those that it calls, or mentions otherwise, so that a function is found that a piece
could have called, or has handed on. Nothing is resolved: one name stands for all functions that have it.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator

from discover_orch.model.pieces import ASKS, COMPUTES, HANDS_ON, READS_SOURCE

_COMPUTING = frozenset((
    "vars", "dir", "globals", "locals", "eval", "exec", "getmembers", "resolve_name",
    "__all__", "__dict__", "__globals__", "f_globals",
))  # fmt: skip
_READING_SOURCE = frozenset((
    "inspect", "linecache", "dis", "__code__", "getsource", "__closure__", "interpreters", "_interpreters",
    "InterpreterPoolExecutor",
))  # fmt: skip
_READING_DOCSTRINGS = frozenset(("pydoc", "doctest", "getdoc", "help"))
#: Functions that take a name, and which argument that is.
_NAME_AT = {"getattr": 1, "hasattr": 1, "attrgetter": 0, "methodcaller": 0}
#: Attributes by which a function is got out of what holds it, or its values and types out of it: then somebody has it,
#: as if it were named alone.
_GIVING = frozenset((
    "__wrapped__", "__func__", "func", "fget", "fset", "fdel", "dispatch", "registry",
    "__defaults__", "__kwdefaults__", "__annotations__", "__annotate__", "__type_params__",
))  # fmt: skip
_CHECKING = frozenset(("isinstance", "issubclass"))
_NAME = re.compile(r"(?:[\w.]+[.:])?([^\W\d]\w*)")
_LONGEST_NAME = 120
_BUILTINS = frozenset(dir(builtins))
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_CALLABLES = (*_FUNCTIONS, ast.Lambda)
#: In these, names can be local.
SCOPES = (*_CALLABLES, ast.ClassDef)


def find_names(
    statements: Iterable[ast.AST], imported: set[str], *, is_loaded: bool = False
) -> tuple[set[str], set[str]]:
    """Those that it calls or imports, and those that it mentions in another way."""
    calls: set[str] = set()
    values: set[str] = set()
    for one in statements:
        _add_names(one, imported, calls, values, is_loaded=is_loaded)
    named = calls | values
    if not (_COMPUTING.isdisjoint(named) and _NAME_AT.keys().isdisjoint(values)):
        calls.add(COMPUTES)
    if not _READING_DOCSTRINGS.isdisjoint(named):
        values.add("__doc__")
    if not _READING_SOURCE.isdisjoint(named):
        calls.add(READS_SOURCE)
    return calls, values


def _add_names(
    statement: ast.AST,
    imported: set[str],
    calls: set[str],
    values: set[str],
    *,
    is_loaded: bool,
) -> None:
    local = _find_locals(statement)
    has_try = False
    called: set[str] = set()
    waiting: list[tuple[ast.AST, bool]] = [(statement, False)]
    while waiting:
        node, is_called = waiting.pop()
        into = calls if is_called else values
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load) and node.id not in local:
                into.add(node.id)
                if node.id in imported and not is_called:
                    values.add(f"{HANDS_ON}{node.id}")
                called.add(node.id)
        elif isinstance(node, ast.Attribute):
            if isinstance(node.ctx, ast.Load):
                into.add(node.attr)
                called.add(node.attr)
                calls.update(_find_in_module(node, imported, is_called=is_called))
            waiting.append((node.value, node.attr not in _GIVING))
        elif isinstance(node, ast.Constant):
            text = node.value
            is_short = isinstance(text, str) and len(text) <= _LONGEST_NAME
            if isinstance(text, str) and is_short and (found := _NAME.fullmatch(text)):
                values.add(found[1])
        elif _uses_nothing(node):
            continue
        elif isinstance(node, ast.Import | ast.ImportFrom):
            calls.update(_find_imported(node))
        else:
            if isinstance(node, ast.Call):
                calls.update(_find_asked(node))
            elif isinstance(node, _CALLABLES) and (node is not statement or is_loaded):
                values.update(_find_called(node))  # somebody may keep it and call it later
            has_try |= isinstance(node, ast.Try | ast.TryStar)
            waiting += _children(node)
    if has_try:  # that a name is missing may be caught
        calls.update(f"{ASKS}{name}" for name in called - _BUILTINS - imported)


def _uses_nothing(node: ast.AST) -> bool:
    """A docstring, and what a star imports: whoever uses that list finds names by computation."""
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List() | ast.Tuple() as names):
            return all(isinstance(one, ast.Constant) for one in names.elts)
    return False


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """What is in a node, and whether a name there is only called, or looked at as a type."""
    called: list[ast.AST | None] = []
    if isinstance(node, ast.Call):
        called = [node.func]
        if isinstance(node.func, ast.Name) and node.func.id in _CHECKING:
            types = [one.elts if isinstance(one, ast.Tuple) else [one] for one in node.args[1:]]
            called += [each for one in types for each in one]
            yield from ((one, False) for one in node.args[:1])
            yield from ((one, True) for one in called if one is not None)
            return
    elif isinstance(node, _FUNCTIONS):
        called = [*node.decorator_list, node.returns]
    elif isinstance(node, ast.ClassDef):
        called = [*node.decorator_list, *node.bases]
    elif isinstance(node, ast.ExceptHandler):
        called = [node.type, *(node.type.elts if isinstance(node.type, ast.Tuple) else ())]
    elif isinstance(node, ast.AnnAssign | ast.arg):
        called = [node.annotation]
    elif isinstance(node, ast.MatchClass):
        called = [node.cls]
    ids = {*map(id, called)}
    for one in ast.iter_child_nodes(node):
        if isinstance(one, ast.Tuple) and isinstance(node, ast.ExceptHandler):
            yield from ((each, True) for each in one.elts)
        else:
            yield one, id(one) in ids


def _find_imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for one in node.names:
            yield from one.name.split(".")
        return
    module = node.module or ""
    yield from module.split(".")
    for one in node.names:
        is_all = one.name == "*"
        yield COMPUTES if is_all else f"{module.rpartition('.')[2]}{ASKS}{one.name}"


def _find_asked(node: ast.Call) -> Iterator[str]:
    """What a call finds by a name."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in _NAME_AT:
            place = _NAME_AT[name]
            match node.args[place : place + 1]:
                case [ast.Constant(value=str(text))]:
                    yield f"{ASKS}{text}"
                case _:
                    yield COMPUTES


def _find_in_module(node: ast.Attribute, imported: set[str], *, is_called: bool) -> Iterator[str]:
    """A name of a module may be missing there, and somebody catches that; or it is a module that is passed on."""
    base = home = node.value
    while isinstance(home, ast.Attribute):
        home = home.value
    if isinstance(home, ast.Name) and home.id in imported:
        yield f"{base.attr if isinstance(base, ast.Attribute) else home.id}{ASKS}{node.attr}"
        if not is_called:
            yield f"{HANDS_ON}{node.attr}"


def _find_called(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        match one:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                yield name


def _find_locals(function: ast.AST) -> set[str]:
    """The local variables of a function in which there is no other scope."""
    if not isinstance(function, _FUNCTIONS):
        return set()
    found: set[str] = set()
    outer: set[str] = set()
    for one in ast.walk(function):
        if isinstance(one, SCOPES) and one is not function:
            return set()
        if isinstance(one, ast.arg):
            found.add(one.arg)
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            found.add(one.id)
        elif isinstance(one, ast.Global):
            outer.update(one.names)
    return found - outer
