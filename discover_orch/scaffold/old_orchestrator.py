"""What a hand-written orchestrator says: its `TOOL_MAP`, its `STAGES`, and where it defines `get_connection`.

Literals are read from its source. Anything else is asked of the file itself, in a child process, and only where the
user said so (`orch adopt FILE --import`).
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.errors import Location, ProjectError
from discover_orch.scaffold.file_changes import read_file
from discover_orch.source.facts import BrokenTool
from discover_orch.source.read_module import read_conf

#: The name and the value of an entry of a dict, and its place.
Entry = tuple[str, object, Location]
#: The methods of dicts and lists that change them. After a call of one, a literal is not the whole value.
_CHANGES = (
    *("append", "clear", "extend", "insert", "pop", "popitem"),
    *("remove", "reverse", "setdefault", "sort", "update"),
)

#: Runs the file as an import does and writes its values as JSON to stdout. Arguments are the file, and folders for
#: `sys.path`. What the file prints goes to stderr.
_ASK = """
import json, os, runpy, sys, traceback
path, *folders = sys.argv[1:]
sys.path[:1], sys.argv[:] = folders, [path]
answer = os.dup(1)
os.dup2(2, 1)

def plain(one):
    if callable(one):
        return f"{one.__module__}:{one.__qualname__}"
    if hasattr(one, "__iter__"):
        return list(one)
    return getattr(one, "value", None) or getattr(one, "__name__", repr(one))

try:
    module = runpy.run_path(path, run_name=os.path.splitext(os.path.basename(path))[0])
    values = {name: dict(module.get(name) or {}) for name in ("TOOL_MAP", "STAGES")}
    pairs = {
        name: [(getattr(key, "value", key), one) for key, one in value.items()]
        for name, value in values.items()
    }
    said = json.dumps(pairs, default=plain)
except BaseException as error:
    lines = [one.lineno for one in traceback.extract_tb(error.__traceback__) if one.filename == path]
    said = {"error": f"{type(error).__name__}: {error}", "line": lines[-1] if lines else None}
    said = json.dumps(said)
with open(answer, "w", encoding="utf-8") as file:
    file.write(said)
"""


class Orchestrator(Struct, frozen=True, kw_only=True):
    """The entries of `TOOL_MAP` and `STAGES` as the file at `path` has them. `connection` is the line of
    `get_connection`, None if there is none. `is_context`: it is a context manager."""

    path: str
    tools: tuple[Entry, ...]
    lists: tuple[Entry, ...]
    connection: int | None
    is_context: bool


def read_orchestrator(root: str, path: str, *, asks: bool = False) -> Orchestrator:
    """With `asks`, the file is run in a child process. Raises ProjectError if the text is not Python, or if it
    does not say what `TOOL_MAP` or `STAGES` is."""
    data = read_file(root, path) or b""
    conf = read_conf(data, path)
    if isinstance(conf, BrokenTool):
        raise ProjectError(replace(conf.problems[0], hint="fix the file"))
    tree = ast.parse(data)
    read = _ask(root, path) if asks else partial(_read_literal, tree, path)
    tools, lists = read("TOOL_MAP"), read("STAGES")
    if not tools:
        message = "there is no TOOL_MAP, or it is empty"
        hint = 'orch adopt reads TOOL_MAP = {"parse": "src.pipeline.parse"} at the top level'
        raise _error(path, None, message, hint)
    decorators = [
        ast.unparse(decorator)
        for one in tree.body
        if isinstance(one, ast.FunctionDef) and one.name == "get_connection"
        for decorator in one.decorator_list
    ]
    return Orchestrator(
        path=path,
        tools=tools,
        lists=lists,
        connection=conf.connection_line,
        is_context=any("contextmanager" in one for one in decorators),
    )


def search_folders(path: str) -> list[str]:
    """The folders in which the file at `path` finds modules, relative to the root."""
    return list(dict.fromkeys([os.path.dirname(path) or ".", ".", "src"]))


def _changes(node: ast.AST, name: str) -> bool:
    """Whether the node binds the name, or changes what is in its value, as `STAGES["full"].append("a")` does."""
    match node:
        case ast.alias(name=imported, asname=known_as):
            return (known_as or imported) == name
        case ast.Call(func=ast.Attribute(value=owner, attr=method)) if method in _CHANGES:
            changed = owner
        case ast.Name(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
            changed = node
        case _:
            return False
    while isinstance(changed, ast.Subscript | ast.Attribute):
        changed = changed.value
    return isinstance(changed, ast.Name) and changed.id == name


def _read_literal(tree: ast.Module, path: str, name: str) -> tuple[Entry, ...]:
    """The entries of a dict of literals that the top level assigns to the name, if nothing else changes it."""
    changes = [node for node in ast.walk(tree) if _changes(node, name)]
    for statement in tree.body:
        match statement:
            case (
                ast.Assign(targets=[target], value=ast.Dict() as node)
                | ast.AnnAssign(target=target, value=ast.Dict() as node)
            ) if changes == [target]:
                with contextlib.suppress(ValueError, TypeError, RecursionError):
                    lines = {ast.literal_eval(key): key.lineno for key in node.keys if key}
                    return tuple(
                        (str(key), value, Location(path=path, line=lines[key]))
                        for key, value in ast.literal_eval(node).items()
                    )
    if not changes and name == "STAGES":
        return ()
    said = f"{name} is not written out in {path} as a dict of strings"
    raise _error(
        path,
        getattr(changes[0], "lineno", None) if changes else None,
        said if changes else f"there is no {name}",
        f"orch adopt {path} --import runs the file, as an import does, and reads {name}",
    )


def _ask(root: str, path: str) -> Callable[[str], tuple[Entry, ...]]:
    """The values that the file has after its import, by their names. Raises ProjectError."""
    folders = [os.path.normpath(os.path.join(root, one)) for one in search_folders(path)]
    words = [sys.executable, "-B", "-c", _ASK, os.path.join(root, path), *folders]
    ended = subprocess.run(
        words, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
    )
    try:
        said = json.loads(ended.stdout)
    except ValueError:
        said = {"error": f"its process ended with {ended.returncode}", "line": None}
    if "error" in said:
        hint = 'an import must only define things: put what runs under if __name__ == "__main__":'
        raise _error(path, said["line"], f"the file cannot be imported: {said['error']}", hint)
    place = Location(path=path)
    return lambda name: tuple((str(key), value, place) for key, value in said[name])


def _error(path: str, line: int | None, message: str, hint: str) -> ProjectError:
    return ProjectError.of("adopt", message, hint, Location(path=path, line=line))
