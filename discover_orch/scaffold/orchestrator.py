"""What a hand-written orchestrator says: the tools of its `TOOL_MAP`, the lists of its `STAGES`, the flags that it
passes on to `run()`, and how it passes the connection. Its source is read, never run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from discover_orch.model.errors import Location, Problem, ProjectError
from discover_orch.scaffold.static_values import Ref, Text, Unknown, line_of, read_values

_TOOL_NAMES = ("TOOL_MAP", "TOOLS", "tool_map", "tools")
_LIST_NAMES = ("STAGES", "stages")
#: What a connection is called where it is passed to `run()`.
_CONNECTIONS = frozenset({"conn", "connection", "con", "db", "database", "cnx"})


class OldTool(Struct, frozen=True, kw_only=True):
    """An entry of `TOOL_MAP`. `function` is what is called in the module where that is written out, else ""."""

    name: str
    module: str
    line: int
    function: str = ""


class OldList(Struct, frozen=True, kw_only=True):
    """An entry of `STAGES`: the names of its tools in order."""

    name: str
    tools: tuple[str, ...]
    line: int


class OldFlag(Struct, frozen=True, kw_only=True):
    """A flag of argparse, such as `--since`. `param` is the parameter of `run()` that gets it: "" where none does, "*"
    where it may be any of that name. `default` is an `Unknown` where it is not known; `type` is as written."""

    flag: str
    dest: str
    line: int
    param: str = ""
    default: Any = None
    type: str = ""
    is_switch: bool = False
    is_required: bool = False


class Orchestrator(Struct, frozen=True, kw_only=True):
    """`function` is what is called in each module, `run` as a rule. `connection` is the number of the argument that
    gets the connection by position, None where it is passed by name or not at all. `problems` have their lines."""

    path: str
    text: str
    tools: tuple[OldTool, ...] = ()
    lists: tuple[OldList, ...] = ()
    flags: tuple[OldFlag, ...] = ()
    function: str = "run"
    connection: int | None = None
    problems: tuple[Problem, ...] = field(default_factory=tuple)


def read_orchestrator(path: str, text: str) -> Orchestrator:
    """Raises ProjectError if the text is not Python or has no `TOOL_MAP`."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise _error(
            path, line, f"not valid Python: {getattr(error, 'msg', error)}", "fix the syntax error"
        ) from None
    values = read_values(tree)
    problems: list[Problem] = []
    tools = tuple(_read_tools(values, path, problems))
    if not tools:
        raise _error(
            path,
            None,
            "no TOOL_MAP was found: a dict from the names of tools to their modules",
            'orch adopt reads TOOL_MAP = {"parse": "src.pipeline.parse"} and STAGES = {"ingest": ["parse"]}, at the '
            "top level or in a class",
        )
    lists = tuple(_read_lists(values, {tool.name for tool in tools}, path, problems))
    calls = list(_find_calls(tree))
    function = next(
        (call.func.attr for call in calls if isinstance(call.func, ast.Attribute)), "run"
    )
    return Orchestrator(
        path=path,
        text=text,
        tools=tools,
        lists=lists,
        flags=tuple(_read_flags(tree, calls)),
        function=function,
        connection=_connection_place(calls),
        problems=tuple(problems),
    )


def _find(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The value of the first of `names`, at the top level or in a class."""
    for name in names:
        for known, value in values.items():
            if known.rpartition(".")[2] == name and isinstance(value, dict | list):
                return value
    return None


def _read_tools(values: Mapping[str, Any], path: str, problems: list[Problem]) -> Iterator[OldTool]:
    table = _find(values, _TOOL_NAMES)
    if isinstance(table, list):  # names of modules
        table = {
            Text(str(one).rpartition(".")[2], line_of(one, 1)): one
            for one in table
            if isinstance(one, str)
        }
    seen: dict[str, str] = {}
    for name, value in (table or {}).items():
        line = line_of(name, line_of(value, 1))
        if not isinstance(name, str):
            _add(
                problems,
                path,
                line,
                f"the entry {_written(name)} of TOOL_MAP cannot be read from the source",
            )
            continue
        match value:
            case Text():
                module, _, function = value.partition(":")
            case Ref(name=full):
                module, function = full, "?"
            case [Text() as module, Text() as function]:
                pass
            case _:
                _add(
                    problems,
                    path,
                    line,
                    f"the module of {name} cannot be read from the source: {_written(value)}",
                )
                continue
        if module in seen:
            _add(
                problems,
                path,
                line,
                f"{name} is the same module as {seen[module]}: {module}",
                f'a module is one tool: use {seen[module]}, or a group {name} = ["{seen[module]}"]',
            )
            continue
        seen[module] = name
        yield OldTool(name=str(name), module=str(module), line=line, function=str(function))


def _read_lists(
    values: Mapping[str, Any], known: set[str], path: str, problems: list[Problem]
) -> Iterator[OldList]:
    for name, value in (_find(values, _LIST_NAMES) or {}).items():
        line = line_of(name, line_of(value, 1))
        if not isinstance(name, str) or not isinstance(value, list | dict | str):
            _add(
                problems,
                path,
                line,
                f"the list {_written(name)} of STAGES cannot be read from the source: {_written(value)}",
            )
            continue
        tools: list[str] = []
        for item in [value] if isinstance(value, str) else list(value):
            place = line_of(item, line)
            if not isinstance(item, str):
                _add(
                    problems,
                    path,
                    place,
                    f"in the list {name}: {_written(item)} cannot be read from the source",
                )
            elif item not in known:
                _add(
                    problems,
                    path,
                    place,
                    f"in the list {name}: {item} is not in TOOL_MAP, or could not be read there",
                )
            elif item in tools:
                _add(
                    problems,
                    path,
                    place,
                    f"the list {name} runs {item} twice",
                    "orch runs a tool once in a run",
                )
            else:
                tools.append(str(item))
        if tools:
            yield OldList(name=str(name), tools=tuple(tools), line=line)
        else:
            _add(problems, path, line, f"the list {name} has no tools")


def _find_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls that run a tool: of an attribute of what `import_module` or `TOOL_MAP[...]` gave."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _gives_module(node.value):
            modules.update(one.id for one in node.targets if isinstance(one, ast.Name))
    functions: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute | ast.Call):
            source = (
                node.value.args[0]
                if isinstance(node.value, ast.Call)
                and _name(node.value.func) == "getattr"
                and node.value.args
                else node.value
            )
            if isinstance(source, ast.Attribute):
                source = source.value
            if isinstance(source, ast.Name) and source.id in modules:
                functions.update(one.id for one in node.targets if isinstance(one, ast.Name))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Attribute(value=ast.Name(id=name)) if name in modules:
                yield node
            case ast.Attribute(value=inner, attr="run" | "main") if _gives_module(inner):
                yield node
            case ast.Name(id=name) if name in functions:
                yield node


def _gives_module(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=function) if _name(function) in ("import_module", "__import__"):
            return True
        case ast.Call(func=ast.Attribute(value=owner, attr="get")):
            return _name(owner) in _TOOL_NAMES
        case ast.Subscript(value=owner):
            return _name(owner) in _TOOL_NAMES
    return False


def _connection_place(calls: list[ast.Call]) -> int | None:
    for call in calls:
        for place, one in enumerate(call.args):
            if _name(one).rpartition("_")[2] in _CONNECTIONS or _name(one) in _CONNECTIONS:
                return place
    return None


def _read_flags(tree: ast.AST, calls: list[ast.Call]) -> Iterator[OldFlag]:
    passed: dict[str, str] = {}  # dest -> the parameter that gets it
    takes_any = False
    for call in calls:
        for keyword in call.keywords:
            if keyword.arg is None:
                takes_any = True
                continue
            for name in _names_in(keyword.value):
                passed[name] = keyword.arg
        for one in call.args:
            if isinstance(one, ast.Starred):
                takes_any = True
            for name in _names_in(one) - _CONNECTIONS:
                passed.setdefault(name, "*")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _name(node.func) != "add_argument":
            continue
        flags = [
            one.value
            for one in node.args
            if isinstance(one, ast.Constant) and isinstance(one.value, str)
        ]
        flag = next((one for one in flags if one.startswith("--")), flags[0] if flags else "")
        if not flag.startswith("-"):
            continue
        options = {one.arg: one.value for one in node.keywords if one.arg}
        dest = flag.lstrip("-").replace("-", "_")
        if isinstance(given := options.get("dest"), ast.Constant):
            dest = str(given.value)
        action = options.get("action")
        word = str(action.value) if isinstance(action, ast.Constant) else ""
        default = _literal(options.get("default"))
        if "default" not in options and word in ("store_true", "store_false"):
            default = word == "store_false"
        yield OldFlag(
            flag=flag,
            dest=dest,
            line=node.lineno,
            param=passed.get(dest, "*" if takes_any else ""),
            default=default,
            type=ast.unparse(options["type"]) if "type" in options else "",
            is_switch=word.startswith("store_"),
            is_required=bool(_literal(options.get("required"))),
        )


def _literal(node: ast.expr | None) -> Any:
    if node is None:
        return None
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return Unknown(line=node.lineno, text=ast.unparse(node))


def _names_in(node: ast.AST) -> set[str]:
    """The last parts of the names in an expression: `since` of `args.since`."""
    found = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    return found | {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _written(value: object) -> str:
    match value:
        case Unknown(text=text):
            return text
        case Ref(name=name):
            return name
    return str(value) if isinstance(value, str) else type(value).__name__


def _add(problems: list[Problem], path: str, line: int, message: str, hint: str = "") -> None:
    place = Location(path=path, line=line)
    problems.append(
        Problem(code="adopt", message=message, hint=hint, location=place, severity="warning")
    )


def _error(path: str, line: int | None, message: str, hint: str) -> ProjectError:
    place = Location(path=path, line=line)
    return ProjectError(Problem(code="adopt", message=message, hint=hint, location=place))
