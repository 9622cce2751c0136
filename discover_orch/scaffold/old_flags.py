"""The flags of a hand-written orchestrator, and the calls that pass them on to `run()`. Its source is read, never run.

Flags are those of argparse and click, and the parameters of a function that typer or fire calls.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.scaffold.value_kinds import Unknown

#: The names of a `TOOL_MAP`.
TOOL_NAMES = ("TOOL_MAP", "TOOLS", "tool_map", "tools")
#: What a connection is called where it is passed to `run()`.
CONNECTIONS = frozenset({"conn", "connection", "con", "db", "database", "cnx"})
_CLICK_TYPES = {"STRING": "str", "INT": "int", "FLOAT": "float", "BOOL": "bool"} | {
    "Choice": "str",
    "Path": "str",
    "IntRange": "int",
    "FloatRange": "float",
    "DateTime": "datetime",
}


class OldFlag(Struct, frozen=True, kw_only=True):
    """A flag, such as `--since`. `param` is the parameter of `run()` that gets it: "" where none does, "*" where it
    may be any of that name. `default` is an `Unknown` where it is not known; `type` is as written. `is_many`: it gives
    a list."""

    flag: str
    dest: str
    line: int
    param: str = ""
    default: Any = None
    type: str = ""
    is_switch: bool = False
    is_many: bool = False
    is_required: bool = False


class OldArgument(Struct, frozen=True, kw_only=True):
    """A keyword that `run()` gets and that no flag gives: a literal, or an `Unknown`."""

    param: str
    line: int
    value: Any


class OldCalls(Struct, frozen=True, kw_only=True):
    """How the old file calls a tool. `function` is what is called in each module, `run` as a rule. `connection` is the
    number of the argument that gets the connection by position, None where it is passed by name or not at all.
    `is_found`: there is such a call at all."""

    flags: tuple[OldFlag, ...] = ()
    arguments: tuple[OldArgument, ...] = ()
    function: str = "run"
    connection: int | None = None
    is_found: bool = False


def read_calls(tree: ast.Module) -> OldCalls:
    calls = list(_find_calls(tree))
    names = (call.func.attr for call in calls if isinstance(call.func, ast.Attribute))
    passed, takes_any = _find_passed(calls)
    flags = [
        _with_param(one, passed, takes_any=takes_any)
        for one in (*_argument_flags(tree), *_function_flags(tree))
    ]
    known = {one.dest for one in flags}
    return OldCalls(
        flags=tuple(flags),
        arguments=tuple(_find_arguments(calls, known)),
        function=next((one for one in names if one != "get"), "run"),
        connection=_connection_place(calls),
        is_found=bool(calls),
    )


# Calls.


def _find_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls that run a tool: of an attribute of what `import_module` or `TOOL_MAP[...]` gave."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _gives_module(node.value):
            modules.update(one.id for one in node.targets if isinstance(one, ast.Name))
    functions: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute | ast.Call):
            source = _inner(node.value)
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
            case ast.Name(id=name) if name in modules and _is_used_as_function(name, tree):
                yield node
            case ast.Subscript(value=owner) if name_of(owner) in TOOL_NAMES:
                yield node
            case ast.Call(func=ast.Name(id="getattr"), args=[inner, *_]) if _gives_module(inner):
                yield node


def _inner(value: ast.Attribute | ast.Call) -> ast.expr:
    """What `module.run`, `getattr(module, "run")` and `module.run()` are taken of."""
    is_getattr = isinstance(value, ast.Call) and name_of(value.func) == "getattr" and value.args
    source = value.args[0] if isinstance(value, ast.Call) and is_getattr else value
    return source.value if isinstance(source, ast.Attribute) else source


def _is_used_as_function(name: str, tree: ast.AST) -> bool:
    """Whether `name` is what `TOOL_MAP[...]` gave, which can be a function; a module cannot be called."""
    return any(
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Subscript)
        and any(isinstance(one, ast.Name) and one.id == name for one in node.targets)
        for node in ast.walk(tree)
    )


def _gives_module(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=function) if name_of(function) in ("import_module", "__import__"):
            return True
        case ast.Call(func=ast.Attribute(value=owner, attr="get")):
            return name_of(owner) in TOOL_NAMES
        case ast.Subscript(value=owner):
            return name_of(owner) in TOOL_NAMES
    return False


def _connection_place(calls: Sequence[ast.Call]) -> int | None:
    for call in calls:
        for place, one in enumerate(call.args):
            if _is_connection(one):
                return place
    return None


def _is_connection(node: ast.expr) -> bool:
    name = name_of(node.func) if isinstance(node, ast.Call) else name_of(node)
    return name == "get_connection" or not CONNECTIONS.isdisjoint((name, name.rpartition("_")[2]))


def _find_passed(calls: Sequence[ast.Call]) -> tuple[dict[str, str], bool]:
    """The parameter that gets each name, and whether `run()` may get all of them."""
    passed: dict[str, str] = {}
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
            for name in _names_in(one) - CONNECTIONS:
                passed.setdefault(name, "*")
    return passed, takes_any


def _find_arguments(calls: Sequence[ast.Call], flags: Collection[str]) -> Iterator[OldArgument]:
    for call in calls:
        for keyword in call.keywords:
            is_given = keyword.arg is not None and not _names_in(keyword.value) & {*flags}
            if is_given and keyword.arg not in CONNECTIONS and not _is_connection(keyword.value):
                value = _literal(keyword.value)
                yield OldArgument(param=keyword.arg or "", line=keyword.value.lineno, value=value)


def _with_param(flag: OldFlag, passed: Mapping[str, str], *, takes_any: bool) -> OldFlag:
    return replace(flag, param=passed.get(flag.dest, "*" if takes_any else ""))


# Flags.


def _argument_flags(tree: ast.AST) -> Iterator[OldFlag]:
    """Of `parser.add_argument("--since")` and `@click.option("--since")`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or name_of(node.func) not in ("add_argument", "option"):
            continue
        words = [
            one.value
            for one in node.args
            if isinstance(one, ast.Constant) and isinstance(one.value, str)
        ]
        flag = next((one for one in words if one.startswith("--")), words[0] if words else "")
        if not flag.startswith("-"):
            continue
        options = {one.arg: one.value for one in node.keywords if one.arg}
        action = _literal(options.get("action"))
        word = action if isinstance(action, str) else ""
        is_switch = word.startswith("store_") or "Boolean" in ast.unparse(
            options.get("action", ast.Constant(value=""))
        )
        is_switch = is_switch or "/" in flag or _literal(options.get("is_flag")) is True
        default = _literal(options.get("default"))
        if "default" not in options and is_switch:
            default = word == "store_false"
        names = [one for one in words if not one.startswith("-")]
        flag = flag.partition("/")[0]
        dest = _literal(options.get("dest"))
        own = dest if isinstance(dest, str) else names[0] if names else flag.lstrip("-")
        yield OldFlag(
            flag=flag,
            dest=own.replace("-", "_"),
            line=node.lineno,
            default=default,
            type=_type_text(options.get("type")),
            is_switch=is_switch,
            is_many=word in ("append", "extend")
            or _literal(options.get("multiple")) is True
            or _literal(options.get("nargs")) in ("*", "+"),
            is_required=bool(_literal(options.get("required"))),
        )


def _type_text(node: ast.expr | None) -> str:
    if node is None:
        return ""
    name = name_of(node.func) if isinstance(node, ast.Call) else name_of(node)
    return _CLICK_TYPES.get(name, ast.unparse(node))


def _function_flags(tree: ast.Module) -> Iterator[OldFlag]:
    """The parameters of functions that typer or fire makes flags of."""
    called = {
        one.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("typer.run", "fire.Fire", "Fire")
        for one in node.args
        if isinstance(one, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        made_by = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
        is_click = any(name_of(one) == "option" for one in made_by)
        is_command = any(
            isinstance(one, ast.Attribute) and one.attr == "command" for one in made_by
        )
        if node.name in called or (is_command and not is_click):
            yield from _signature_flags(node)


def _signature_flags(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[OldFlag]:
    """None for a parameter without a default: it is an argument by position."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    pairs = [
        *zip(positional[len(positional) - len(given.defaults) :], given.defaults, strict=True),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
    ]
    for one, default in pairs:
        annotation = one.annotation
        match annotation:  # Annotated[str, typer.Option()]
            case ast.Subscript(value=owner, slice=ast.Tuple(elts=[inner, *_])) if (
                name_of(owner) == "Annotated"
            ):
                annotation = inner
        is_required = False
        match default:
            case ast.Call(func=function_name) if name_of(function_name) == "Option":
                words = {word.arg: word.value for word in default.keywords}
                default = default.args[0] if default.args else words.get("default")
                is_required = default is None or _literal(default) is ...
        value = None if is_required else _literal(default)
        written = "" if annotation is None else ast.unparse(annotation)
        yield OldFlag(
            flag="--" + one.arg.replace("_", "-"),
            dest=one.arg,
            line=one.lineno,
            default=value,
            type=written or ("" if value is None else type(value).__name__),
            is_switch=isinstance(value, bool),
            is_many=written.lower().startswith("list["),
            is_required=is_required,
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


def name_of(node: ast.AST) -> str:
    """The last part of a name; "" for any other expression."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
