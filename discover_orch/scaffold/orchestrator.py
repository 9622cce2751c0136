"""What a hand-written orchestrator says: the tools of its `TOOL_MAP` and the lists of its `STAGES`.

Literals are read from its source. Anything else is asked of the file itself, in a child process, and only where the
user said so (`orch adopt FILE --import`).
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from discover_orch.model.errors import Location, Problem, ProjectError
from discover_orch.scaffold.files import read_file

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
out, sys.stdout = os.dup(1), sys.stderr
os.dup2(2, 1)
name = os.path.splitext(os.path.basename(path))[0]
spec = importlib.util.spec_from_file_location(name, path)
module = sys.modules[name] = importlib.util.module_from_spec(spec)

def tool(one):
    if isinstance(one, (tuple, list)) and len(one) == 2:
        return ":".join(map(str, one))
    if callable(one):
        return f"{one.__module__}:{one.__qualname__}"
    return one if isinstance(one, str) else getattr(one, "__name__", repr(one))

said = {}
try:
    spec.loader.exec_module(module)
    for word in ("TOOL_MAP", "STAGES"):
        value = getattr(module, word, None)
        pairs = value.items() if hasattr(value, "items") else value or ()
        said[word] = [
            (str(getattr(key, "value", key)), tool(one) if word == "TOOL_MAP" else
             [one] if isinstance(one, str) else [str(getattr(name, "value", name)) for name in one])
            for key, one in pairs
        ]
except BaseException as error:
    lines = [one.lineno for one in traceback.extract_tb(error.__traceback__) if one.filename == path]
    said = {"error": f"{type(error).__name__}: {error}", "line": lines[-1] if lines else None}
with open(answer, "w", encoding="utf-8") as file:
    json.dump(said, file)
"""


class OldTool(Struct, frozen=True, kw_only=True):
    """An entry of `TOOL_MAP`: its module, which may be a path, and the function that is called there, "" if it is not
    named. `place` is where the entry is written, as far as that is known."""

    name: str
    module: str
    place: Location
    function: str = ""


class OldList(Struct, frozen=True, kw_only=True):
    """An entry of `STAGES`: the names of its tools in order, and where it is written."""

    name: str
    tools: tuple[str, ...]
    place: Location


class OldConnection(Struct, frozen=True, kw_only=True):
    """`get_connection` of the old file. `is_context`: it is a context manager. `needs`: an argument without
    default."""

    line: int
    is_context: bool = False
    needs: str = ""


class Orchestrator(Struct, frozen=True, kw_only=True):
    """`starts` is the line of a call at the top level that begins the work, which an import of the file would do."""

    path: str
    starts: int | None = None
    tools: tuple[OldTool, ...] = ()
    lists: tuple[OldList, ...] = ()
    connection: OldConnection | None = None
    problems: tuple[Problem, ...] = ()


def read_orchestrator(root: str, path: str, *, asks: bool = False) -> Orchestrator:
    """With `asks`, the file is imported in a child process. Raises ProjectError if the text is not Python, or if it
    does not say what `TOOL_MAP` or `STAGES` is."""
    try:
        tree = ast.parse(read_file(root, path) or b"")
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        message = f"not valid Python: {getattr(error, 'msg', error)}"
        raise _error(path, line, message, "fix the syntax error") from None
    values = _ask(root, path) if asks else {}
    problems: list[Problem] = []
    found: dict[str, list[Entry]] = {}
    for name in ("TOOL_MAP", "STAGES"):
        changes = [node for node in ast.walk(tree) if _changes(node, name)]
        node = _find_literal(tree, name) if len(changes) == 1 else None
        if asks:
            found[name] = _with_lines(values[name], node, path)
        elif node is not None:
            found[name] = _read_literal(node, path)
        elif name == "TOOL_MAP" or changes:
            raise _error(
                path,
                getattr(changes[0], "lineno", None) if changes else None,
                f"{name} is not written out in {path} as a dict of strings",
                f"orch adopt {path} --import runs the file, as an import does, and reads {name}",
            )
    if not found["TOOL_MAP"]:
        message = (
            "there is no TOOL_MAP, or it is empty: a dict from names of tools to their modules"
        )
        hint = 'orch adopt reads TOOL_MAP = {"parse": "src.pipeline.parse"} at the top level'
        raise _error(path, None, message, hint)
    lists = found.get("STAGES", [])
    if not lists:
        hint = 'orch adopt reads STAGES = {"ingest": ["parse"]} at the top level'
        message = "no STAGES was found, so all tools are in one stage"
        problems.append(adopt_problem(Location(path=path), message, hint))
    tools = tuple(_read_tools(found["TOOL_MAP"], problems))
    functions = {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}
    return Orchestrator(
        path=path,
        starts=next(_find_starts(tree, functions), None),
        tools=tools,
        lists=tuple(_read_lists(lists, {tool.name for tool in tools}, problems)),
        connection=_find_connection(tree),
        problems=tuple(problems),
    )


def search_folders(path: str) -> list[str]:
    """The folders in which the file at `path` finds modules, relative to the root."""
    return list(dict.fromkeys([os.path.dirname(path) or ".", ".", "src"]))


def adopt_problem(place: Location, message: str, hint: str = "") -> Problem:
    """A warning of `orch adopt`."""
    return Problem(code="adopt", message=message, hint=hint, location=place, severity="warning")


# Literals.


def _find_literal(tree: ast.Module, name: str) -> ast.expr | None:
    """The literal that `name` is assigned at the top level."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and name in _targets(statement):
            try:
                ast.literal_eval(statement.value or "")
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                return None
            return statement.value
    return None


def _targets(statement: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return [one.id for one in targets if isinstance(one, ast.Name)]


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


def _read_literal(node: ast.expr, path: str) -> list[Entry]:
    """The entries of a dict, or of a list of pairs."""
    try:
        return _with_lines(list(dict(ast.literal_eval(node)).items()), node, path)
    except (TypeError, ValueError):
        return []


def _with_lines(
    pairs: Sequence[tuple[object, object]], node: ast.expr | None, path: str
) -> list[Entry]:
    """Each entry with its line, where the source has them one by one."""
    items = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
    lines = [getattr(one, "lineno", None) for one in items]
    lines = lines if len(lines) == len(pairs) else [None] * len(pairs)
    return [
        (str(key), value, Location(path=path, line=line))
        for (key, value), line in zip(pairs, lines, strict=True)
    ]


# Asking the file.


def _ask(root: str, path: str) -> Mapping[str, list[tuple[object, object]]]:
    """The values that the file has after its import. Raises ProjectError."""
    with tempfile.TemporaryDirectory(prefix="orch-adopt-") as folder:
        answer = os.path.join(folder, "answer.json")
        folders = [os.path.normpath(os.path.join(root, one)) for one in search_folders(path)]
        words = [sys.executable, "-B", "-c", _ASK, os.path.join(root, path), answer, *folders]
        ended = subprocess.run(words, cwd=root, stdin=subprocess.DEVNULL, check=False)
        try:
            with open(answer, encoding="utf-8") as file:
                said = json.load(file)
        except (OSError, ValueError):
            said = {"error": f"its process ended with {ended.returncode}", "line": None}
    if "error" in said:
        hint = 'an import must only define things: put what runs under if __name__ == "__main__":'
        raise _error(path, said["line"], f"the file cannot be imported: {said['error']}", hint)
    values: Mapping[str, list[tuple[object, object]]] = said
    return values


# The entries.


def _read_tools(table: Sequence[Entry], problems: list[Problem]) -> Iterator[OldTool]:
    seen: dict[str, str] = {}
    for name, value, place in table:
        match value:
            case str():
                module, _, function = value.partition(":")
            case (str() as module, str() as function):
                pass
            case _:
                problems.append(
                    adopt_problem(place, f"the module of {name} is not text: {value!r}")
                )
                continue
        if module.endswith(".py"):
            module = module.removesuffix(".py").removeprefix("./").replace("/", ".")
        if module in seen:
            hint = (
                f'a module is one tool: use {seen[module]}, or a group {name} = ["{seen[module]}"]'
            )
            problems.append(
                adopt_problem(place, f"{name} is the same module as {seen[module]}: {module}", hint)
            )
            continue
        seen[module] = name
        yield OldTool(name=name, module=module, place=place, function=function)


def _read_lists(
    lists: Sequence[Entry], known: set[str], problems: list[Problem]
) -> Iterator[OldList]:
    for name, value, place in lists:
        if not isinstance(value, str | list | tuple | dict | set):
            problems.append(
                adopt_problem(place, f"the list {name} of STAGES is not a list: {value!r}")
            )
            continue
        tools: list[str] = []
        for item in map(str, [value] if isinstance(value, str) else value):
            if item not in known:
                message = (
                    f"in the list {name}: {item} is not in TOOL_MAP, or could not be read there"
                )
                problems.append(adopt_problem(place, message))
            elif item in tools:
                hint = "orch runs a tool once in a run"
                problems.append(adopt_problem(place, f"the list {name} runs {item} twice", hint))
            else:
                tools.append(item)
        if tools:
            yield OldList(name=name, tools=tuple(tools), place=place)
        else:
            problems.append(adopt_problem(place, f"the list {name} has no tools"))


# The rest of the file.


def _find_connection(tree: ast.Module) -> OldConnection | None:
    """At the top level: defined, imported or assigned."""
    found = None
    for statement in tree.body:
        match statement:
            case ast.FunctionDef(name="get_connection", args=args, decorator_list=decorators):
                needed = [*args.posonlyargs, *args.args]
                needed = needed[: len(needed) - len(args.defaults)]
                needed += [
                    one
                    for one, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)
                    if d is None
                ]
                found = OldConnection(
                    line=statement.lineno,
                    is_context=any("contextmanager" in ast.unparse(one) for one in decorators),
                    needs=needed[0].arg if needed else "",
                )
            case ast.Assign() | ast.AnnAssign() if "get_connection" in _targets(statement):
                found = OldConnection(line=statement.lineno)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                if any(_changes(one, "get_connection") for one in names):
                    found = OldConnection(line=statement.lineno)
    return found


def _find_starts(tree: ast.Module, functions: set[str]) -> Iterator[int]:
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
    place = Location(path=path, line=line)
    return ProjectError(Problem(code="adopt", message=message, hint=hint, location=place))
