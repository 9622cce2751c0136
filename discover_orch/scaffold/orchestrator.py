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
import tempfile
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from discover_orch.model.errors import Location, ProjectError
from discover_orch.scaffold.files import read_file
from discover_orch.source.facts import ConfFacts
from discover_orch.source.read_module import read_conf
from discover_orch.source.resolve import read_exports

#: The name and the value of an entry of a dict, and its place.
Entry = tuple[str, object, Location]
#: Methods that change nothing. After a call of any other one, a literal is not the whole value.
_READS = frozenset({"copy", "get", "index", "items", "keys", "values"})

#: Imports the file and writes its values as JSON: arguments are the file, where to write, and folders for `sys.path`.
#: What the file prints goes to stderr.
_ASK = """
import importlib.util, json, os, sys, traceback
path, answer, *folders = sys.argv[1:]
sys.path[:1], sys.argv[:] = folders, [path]
os.dup2(2, 1)
sys.stdout = sys.stderr
name = os.path.splitext(os.path.basename(path))[0]
spec = importlib.util.spec_from_file_location(name, path)
module = sys.modules[name] = importlib.util.module_from_spec(spec)

def plain(one):
    if hasattr(one, "value"):
        return one.value
    if callable(one):
        return f"{one.__module__}:{one.__qualname__}"
    return list(one) if hasattr(one, "__iter__") else getattr(one, "__name__", repr(one))

try:
    spec.loader.exec_module(module)
    values = {name: getattr(module, name, None) or () for name in ("TOOL_MAP", "STAGES")}
    pairs = {
        name: [(getattr(key, "value", key), one) for key, one in (value.items() if hasattr(value, "items") else value)]
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
    `get_connection`, None if there is none. `is_context`: it is a context manager. `needs`: an argument of it without
    default. `starts` is the line of a call at the top level that begins the work, which an import of the file would
    do."""

    path: str
    tools: tuple[Entry, ...]
    lists: tuple[Entry, ...]
    connection: int | None
    is_context: bool
    needs: str
    starts: int | None


def read_orchestrator(root: str, path: str, *, asks: bool = False) -> Orchestrator:
    """With `asks`, the file is imported in a child process. Raises ProjectError if the text is not Python, or if it
    does not say what `TOOL_MAP` or `STAGES` is."""
    data = read_file(root, path) or b""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        message = f"not valid Python: {getattr(error, 'msg', error)}"
        raise _error(path, line, message, "fix the syntax error") from None
    values = _ask(root, path) if asks else {}
    found: dict[str, tuple[Entry, ...]] = {}
    for name in ("TOOL_MAP", "STAGES"):
        changes = [node for node in ast.walk(tree) if _changes(node, name)]
        node = _find_literal(tree, changes)
        if node is None and not asks and (name == "TOOL_MAP" or changes):
            raise _error(
                path,
                getattr(changes[0], "lineno", None) if changes else None,
                f"{name} is not written out in {path} as a dict of strings",
                f"orch adopt {path} --import runs the file, as an import does, and reads {name}",
            )
        found[name] = tuple(_with_lines(values.get(name), node, path))
    if not found["TOOL_MAP"]:
        message = (
            "there is no TOOL_MAP, or it is empty: a dict from names of tools to their modules"
        )
        hint = 'orch adopt reads TOOL_MAP = {"parse": "src.pipeline.parse"} at the top level'
        raise _error(path, None, message, hint)
    functions = {one.name: one for one in tree.body if isinstance(one, ast.FunctionDef)}
    opening = functions.get("get_connection")
    made = read_exports(tree, "").functions.get("get_connection")
    arguments = () if made is None else made.arguments
    conf = read_conf(data, path)
    return Orchestrator(
        path=path,
        tools=found["TOOL_MAP"],
        lists=found["STAGES"],
        connection=conf.connection_line if isinstance(conf, ConfFacts) else None,
        is_context=any(
            "contextmanager" in ast.unparse(one) for one in getattr(opening, "decorator_list", ())
        ),
        needs=next((one.name for one in arguments if one.default_source is None), ""),
        starts=next(_find_starts(tree, functions), None),
    )


def search_folders(path: str) -> list[str]:
    """The folders in which the file at `path` finds modules, relative to the root."""
    return list(dict.fromkeys([os.path.dirname(path) or ".", ".", "src"]))


def _changes(node: ast.AST, name: str) -> bool:
    """Whether the node binds the name, or changes what is in its value."""
    match node:
        case ast.alias(name=imported, asname=known_as):
            return (known_as or imported) == name
        case ast.Call(func=ast.Attribute(value=owner, attr=method)):
            return method not in _READS and _root_of(owner) == name
        case ast.Name(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
            return _root_of(node) == name
    return False


def _root_of(node: ast.expr) -> str:
    """The name with which an expression such as `STAGES["full"]` begins; "" for any other."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _find_literal(tree: ast.Module, changes: list[ast.AST]) -> ast.expr | None:
    """The literal of an assignment at the top level that is the only change of its name."""
    for statement in tree.body:
        match statement:
            case (
                ast.Assign(targets=[target], value=value)
                | ast.AnnAssign(target=target, value=ast.expr() as value)
            ) if changes == [target]:
                with contextlib.suppress(ValueError, TypeError, MemoryError, RecursionError):
                    ast.literal_eval(value)
                    return value
    return None


def _with_lines(said: object, node: ast.expr | None, path: str) -> Iterator[Entry]:
    """The entries that the file `said`, else those of the literal `node`, a dict or a list of pairs: each with its
    line, where the source has them one by one."""
    items = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
    if said is None and node is not None:
        with contextlib.suppress(TypeError, ValueError):
            said = list(dict(ast.literal_eval(node)).items())
    pairs = said if isinstance(said, list) else []
    for number, (key, value) in enumerate(pairs):
        line = getattr(items[number], "lineno", None) if len(items) == len(pairs) else None
        yield str(key), value, Location(path=path, line=line)


def _ask(root: str, path: str) -> Mapping[str, object]:
    """The pairs of the values that the file has after its import. Raises ProjectError."""
    with tempfile.TemporaryDirectory(prefix="orch-adopt-") as folder:
        answer = os.path.join(folder, "answer.json")
        folders = [os.path.normpath(os.path.join(root, one)) for one in search_folders(path)]
        words = [sys.executable, "-B", "-c", _ASK, os.path.join(root, path), answer, *folders]
        ended = subprocess.run(words, cwd=root, stdin=subprocess.DEVNULL, check=False)
        try:
            with open(answer, encoding="utf-8") as file:
                said: dict[str, object] = json.load(file)
        except (OSError, ValueError):
            said = {"error": f"its process ended with {ended.returncode}", "line": None}
    if "error" in said:
        hint = 'an import must only define things: put what runs under if __name__ == "__main__":'
        line = said["line"] if isinstance(said["line"], int) else None
        raise _error(path, line, f"the file cannot be imported: {said['error']}", hint)
    return said


def _find_starts(tree: ast.Module, functions: Iterable[str]) -> Iterator[int]:
    """The lines of statements at the top level that call a function of the file, or `parse_args()`."""
    for statement in tree.body:
        if isinstance(statement, ast.Expr | ast.Assign | ast.For | ast.With | ast.Try):
            for call in ast.walk(statement):
                match call:
                    case ast.Call(func=ast.Name(id=name)) if name in functions:
                        yield statement.lineno
                    case ast.Call(func=ast.Attribute(attr="parse_args")):
                        yield statement.lineno


def _error(path: str, line: int | None, message: str, hint: str) -> ProjectError:
    return ProjectError.of("adopt", message, hint, Location(path=path, line=line))
