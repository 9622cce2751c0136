"""What a hand-written orchestrator passes to its `get_connection()`, which orch calls without arguments: `orch adopt`
refuses what would be lost. Only text is read.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from discover_orch.model.errors import Location, Problem
from discover_orch.source.command_line import ParsedOption


def find_lost_arguments(
    tree: ast.Module,
    path: str,
    opening: ast.FunctionDef,
    defined_in: str,
    options: Sequence[ParsedOption],
) -> Iterator[Problem]:
    """`opening` is `get_connection()`, in the file `defined_in`; the file at `path` calls it and has the `options`."""
    params = [*opening.args.posonlyargs, *opening.args.args]
    defaults = {
        param.arg: ast.unparse(value)
        for param, value in (
            *zip(reversed(params), reversed(opening.args.defaults), strict=False),
            *zip(opening.args.kwonlyargs, opening.args.kw_defaults, strict=True),
        )
        if value is not None
    }
    needed = [one.arg for one in (*params, *opening.args.kwonlyargs) if one.arg not in defaults]
    if needed:
        message = f"get_connection() needs {', '.join(needed)}, and orch calls it without arguments"
        hint = f"give it a default: def get_connection({needed[0]}=...):"
        yield _problem(defined_in, opening, message, hint)
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) != "get_connection":
            continue
        given = dict(zip([one.arg for one in params], node.args, strict=False))
        given |= {one.arg: one.value for one in node.keywords if one.arg}
        for name, value in given.items():
            said = _read_value(value, options)
            if said != defaults.get(name):
                message = f"get_connection() gets {said} here, and orch calls it without arguments"
                hint = f"make that its default: def get_connection({name}={said}):"
                yield _problem(path, node, message, hint)


def _read_value(node: ast.expr, options: Sequence[ParsedOption]) -> str:
    """The argument as text; of an option its default."""
    match node:
        case ast.BoolOp(op=ast.Or(), values=[*_, last]):
            return _read_value(last, options)
        case ast.Attribute(attr=attr):
            for option in options:
                if option.name == attr and " = " in option.param:
                    return option.param.partition(" = ")[2]
    return ast.unparse(node)


def _problem(path: str, node: ast.stmt | ast.expr, message: str, hint: str) -> Problem:
    return Problem(code="adopt", message=message, hint=hint).at(
        Location(path=path, line=node.lineno)
    )
