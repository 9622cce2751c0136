"""What a file is that starts steps in a way that `orch adopt` does not convert, and which section shows the way.

The sections are those of the page "From scripts to tools" of the documentation.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator

from discover_orch.model.errors import Location, Problem

_MANY = 4  # names are listed up to this number
_TARGET = re.compile(r"^([A-Za-z0-9][\w./-]*)\s*:(?!=)", re.MULTILINE)


def build_refusal(path: str, data: bytes, tree: ast.Module | None) -> Problem:
    """What the file is. `tree` is None where it is not Python."""
    what, section = _describe_text(path, data) if tree is None else _describe(tree)
    line, name = None, ""
    if tree is not None and section == "Functions in a row":
        line, name = next(_find_handed_on(tree), (None, ""))
    if name:
        what += f", and passes {name} from one to another in memory"
    message = f"this is {what}; orch adopt converts a dict or list of steps in a Python file"
    hint = (
        f'the section "{section}" of the page "From scripts to tools" shows how this becomes tools'
    )
    return Problem(code="adopt", message=message, hint=hint).at(Location(path=path, line=line))


def _find_handed_on(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The lines that pass on what a function has returned: `rows = extract()`, then `load(rows)`."""
    steps = _find_functions(tree)
    returned = {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_call_of(node.value, steps)
        for target in node.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_call_of(node, steps):
            for value in node.args:
                if isinstance(value, ast.Name) and value.id in returned:
                    yield node.lineno, value.id


def _is_call_of(node: ast.expr, functions: set[str]) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions
    )


def _find_functions(tree: ast.Module) -> set[str]:
    """Those that the file defines at its top level or imports by name, which may be steps."""
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    imported = {
        one.asname or one.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for one in node.names
    }
    return (functions | imported) - {"main", "get_connection"}


def _describe_text(path: str, data: bytes) -> tuple[str, str]:
    name = os.path.basename(path)
    text = data.decode("utf-8", "replace")
    if name.lower() in ("makefile", "gnumakefile") or name.endswith(".mk"):
        return f"a Makefile with {_count('target', _TARGET.findall(text))}", "A Makefile"
    if name.endswith((".sh", ".bash")) or re.match(r"#!.*\b(ba|z|da)?sh\b", text):
        return "a shell script", "Scripts in a row"
    return "no Python file, Makefile or shell script", "A hand-written orchestrator"


def _describe(tree: ast.Module) -> tuple[str, str]:
    commands = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(".command" in ast.unparse(one) for one in node.decorator_list)
    ]
    if commands:
        return f"a group of {_count('command', commands)}", "A click group"
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    processes = [one for one in calls if ast.unparse(one.func).startswith(("subprocess", "os.sys"))]
    if processes:
        plural = "es" if len(processes) > 1 else ""
        return f"a script that starts {len(processes)} process{plural}", "Scripts in a row"
    chosen = [
        str(node.comparators[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and isinstance(node.comparators[0], ast.Constant)
        and isinstance(node.comparators[0].value, str)
        and node.comparators[0].value != "__main__"
        and re.match(r"sys\.argv|arg|opt|\w*(step|stage|task|command|cmd)", ast.unparse(node.left))
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.match_case) and isinstance(node.pattern, ast.MatchValue):
            chosen += [ast.unparse(node.pattern).strip("'\"")]
    if len(chosen) > 1:
        return f"a choice of {_count('step', chosen)}", "`if` and `elif` on an argument"
    functions = _find_functions(tree)
    called = [
        node.func.id
        for node in calls
        if isinstance(node.func, ast.Name) and node.func.id in functions
    ]
    if len({*called}) > 1:
        return f"a script that calls {_count('function', called)}", "Functions in a row"
    return "a script", '`if __name__ == "__main__"`'


def _count(what: str, names: Iterable[str]) -> str:
    found = [*dict.fromkeys(names)]
    more = ", …" if len(found) > _MANY else ""
    plural = "" if len(found) == 1 else "s"
    return (
        f"{len(found)} {what}{plural} ({', '.join(found[:_MANY])}{more})" if found else f"no {what}"
    )
