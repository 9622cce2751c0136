"""`orchconf.py` made from the `get_connection()` of a hand-written orchestrator, with what that needs."""

from __future__ import annotations

import ast
import builtins
import textwrap
from collections.abc import Sequence

from msgspec import Struct

_BUILT_INS = frozenset(dir(builtins)) | {"__file__", "__name__"}


class ConnectionText(Struct, frozen=True, kw_only=True):
    """The text of `orchconf.py`, "" where there is nothing for it, and what it cannot do: (line, sentence, hint)."""

    text: str = ""
    problems: tuple[tuple[int, str, str], ...] = ()


def build_conf(text: str, aliases: Sequence[str] = ()) -> ConnectionText:
    """`text` is that of the orchestrator; `aliases` are other names by which tools take the connection."""
    tree = ast.parse(text)
    found = _find_connection(tree)
    if found is None:
        return ConnectionText(text=_with_aliases("", aliases))
    if isinstance(found, ast.Import | ast.ImportFrom):
        return ConnectionText(text=_with_aliases(_import_line(found, "get_connection"), aliases))
    problem = _refuse(found)
    if problem:
        return ConnectionText(text=_with_aliases("", aliases), problems=(problem,))
    parts = _collect(tree, found)
    unknown = [name for name in parts.unknown if name not in _BUILT_INS]
    problems = tuple(
        (
            found.lineno,
            f"get_connection() uses {name}, which is not defined at the top level",
            "correct get_connection() in orchconf.py",
        )
        for name in unknown
    )
    source = "\n".join(parts.imports)
    blocks = [_segment(text, one) for one in parts.assignments]
    if blocks:
        source += "\n\n" + "\n".join(blocks)
    for function in (*parts.functions, found):
        source += "\n\n\n" + _function_text(text, function)
    return ConnectionText(text=_with_aliases(source.strip("\n") + "\n", aliases), problems=problems)


class _Parts(Struct):
    imports: list[str]
    assignments: list[ast.stmt]
    functions: list[ast.FunctionDef]
    unknown: list[str]


def _find_connection(tree: ast.Module) -> ast.FunctionDef | ast.Import | ast.ImportFrom | None:
    """At the top level, else in a class."""
    classes = [one for one in tree.body if isinstance(one, ast.ClassDef)]
    for body in (tree.body, *(one.body for one in classes)):
        for statement in reversed(body):
            if isinstance(statement, ast.FunctionDef) and statement.name == "get_connection":
                return statement
            if isinstance(statement, ast.Import | ast.ImportFrom) and any(
                (one.asname or one.name) == "get_connection" for one in statement.names
            ):
                return statement
    return None


def _refuse(function: ast.FunctionDef) -> tuple[int, str, str] | None:
    taken = [*function.args.posonlyargs, *function.args.args]
    if taken and taken[0].arg in ("self", "cls"):
        uses = [
            one
            for one in ast.walk(function)
            if isinstance(one, ast.Name) and one.id == taken[0].arg
        ]
        if uses:
            return (
                uses[0].lineno,
                f"get_connection() uses {taken[0].arg}",
                "write get_connection() in orchconf.py, as a function without arguments",
            )
        taken = taken[1:]
    needed = len(taken) - len(function.args.defaults)
    required = [one.arg for one in taken[: max(needed, 0)]]
    required += [
        one.arg
        for one, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
        if default is None
    ]
    if required:
        return (
            function.lineno,
            f"get_connection() requires the argument {required[0]}",
            "write get_connection() in orchconf.py without arguments; read settings from the environment",
        )
    return None


def _collect(tree: ast.Module, function: ast.FunctionDef) -> _Parts:
    """What the function uses of the top level, and what that uses in turn, in the order of the source."""
    bound: dict[str, ast.stmt] = {}
    for top in tree.body:
        for name in _names_bound(top):
            bound[name] = top
    parts = _Parts(imports=[], assignments=[], functions=[], unknown=[])
    waiting, seen = [*_names_used(function)], {"get_connection"}
    needed: list[tuple[str, ast.stmt]] = []
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        statement = bound.get(name)
        if statement is None:
            parts.unknown.append(name)
            continue
        needed.append((name, statement))
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            waiting += _names_used(statement)
    for name, statement in sorted(needed, key=lambda one: one[1].lineno):
        match statement:
            case ast.Import() | ast.ImportFrom():
                parts.imports.append(_import_line(statement, name).rstrip("\n"))
            case ast.FunctionDef():
                parts.functions.append(statement)
            case _ if statement not in parts.assignments:
                parts.assignments.append(statement)
    parts.imports = list(dict.fromkeys(parts.imports))
    return parts


def _names_bound(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [one.asname or one.name.partition(".")[0] for one in names]
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.If() | ast.Try():
            return [
                one.id
                for one in ast.walk(statement)
                if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
            ]
    return []


def _names_used(node: ast.AST) -> list[str]:
    """Names read that the node does not bind by itself. Decorators of a connection are dropped, and so are theirs."""
    own = {
        one.id
        for one in ast.walk(node)
        if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load)
    }
    own |= {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
    own |= {
        alias.asname or alias.name.partition(".")[0]
        for one in ast.walk(node)
        if isinstance(one, ast.Import | ast.ImportFrom)
        for alias in one.names
    }
    own |= {one.name for one in ast.walk(node) if isinstance(one, ast.ExceptHandler) and one.name}
    decorators = {one for each in getattr(node, "decorator_list", []) for one in ast.walk(each)}
    read = [
        one.id
        for one in ast.walk(node)
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load) and one not in decorators
    ]
    is_top = not isinstance(node, ast.FunctionDef | ast.ClassDef)
    return [name for name in dict.fromkeys(read) if is_top or name not in own]


def _import_line(statement: ast.Import | ast.ImportFrom, name: str) -> str:
    """The import of this one name."""
    names = [one for one in statement.names if (one.asname or one.name.partition(".")[0]) == name]
    if isinstance(statement, ast.Import):
        return ast.unparse(ast.Import(names=names)) + "\n"
    return ast.unparse(ast.ImportFrom(module=statement.module, names=names, level=0)) + "\n"


def _function_text(text: str, function: ast.FunctionDef) -> str:
    """The function as written, at the top level, without `self` and without decorators: a generator that yields the
    connection needs none."""
    lines = text.split("\n")[function.lineno - 1 : function.end_lineno]
    source = textwrap.dedent("\n".join(line.rstrip("\r") for line in lines))
    taken = [*function.args.posonlyargs, *function.args.args]
    if taken and taken[0].arg in ("self", "cls"):
        head, found, rest = source.partition(taken[0].arg)
        source = head + rest.lstrip(", ") if found else source
    return source


def _segment(text: str, statement: ast.stmt) -> str:
    lines = text.split("\n")[statement.lineno - 1 : statement.end_lineno]
    return "\n".join(line.rstrip("\r") for line in lines)


def _with_aliases(source: str, aliases: Sequence[str]) -> str:
    """A resource for each other name of the connection."""
    if not aliases:
        return source
    functions = "".join(
        f"\n\n@resource\ndef {name}(conn):\n    return conn\n" for name in sorted(aliases)
    )
    return "from discover_orch import resource\n" + source + functions
