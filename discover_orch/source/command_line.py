"""What a script does beside its function: where it reads the command line itself, and the signature whose parameters
would be the same options; and what stands under its `if __name__ == "__main__":`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from msgspec import Struct

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class ParsedOption(Struct, frozen=True, kw_only=True):
    """An option that a module adds to a parser of argparse. `name` is that of its value, and `param` is the parameter
    that would be the same option: `rows: int = 1`."""

    flag: str
    name: str
    param: str
    line: int


def find_command_line(tree: ast.Module, name: str) -> tuple[int, str]:
    """The line where the function of the module, or one that it calls, parses the command line; and the signature to
    write: `run(*, rows: int = 1)`. 0 where none does."""
    functions = {one.name: one for one in tree.body if isinstance(one, _Function)}
    waiting, seen = [name], {name}
    while waiting:
        function = functions.get(waiting.pop())
        for node in ast.walk(function) if function is not None else ():
            match node:
                case ast.Call(func=ast.Attribute(attr="parse_args" | "parse_known_args")):
                    return node.lineno, build_signature(find_options(tree))
                case ast.Attribute(value=ast.Name(id="sys"), attr="argv"):
                    return node.lineno, "run(*, source: str)"
                case ast.Call(func=ast.Name(id=called)) if called not in seen:
                    seen.add(called)
                    waiting.append(called)
    return 0, ""


def find_lost_by_guard(tree: ast.Module, name: str) -> tuple[int, str, str]:
    """What a script does under `if __name__ == "__main__":` that is more than to call its function, and that a tool
    would not do: the line, what it is, and what to do about it. A line of 0 where there is nothing."""
    guards = (one for one in tree.body if is_guard(one))
    for guard in guards:
        for statement in getattr(guard, "body", ()):
            match statement:
                case (
                    ast.Expr(value=ast.Call(func=ast.Name(id=called)) as call)
                    | ast.Expr(value=ast.Call(args=[ast.Call(func=ast.Name(id=called)) as call]))
                    | ast.Raise(exc=ast.Call(args=[ast.Call(func=ast.Name(id=called)) as call]))
                ) if called == name:
                    pass
                case _:
                    shown = ast.unparse(statement).splitlines()[0]
                    what = f"{shown} is not part of {name}(), so orch would not run it"
                    return statement.lineno, what, f"move it into {name}()"
            if call.args or call.keywords:
                what = f"the script calls {ast.unparse(call)}, and orch would call {name}()"
                return statement.lineno, what, "make these the defaults of its parameters"
            is_exit_code = not (isinstance(statement, ast.Expr) and statement.value is call)
            if is_exit_code and _returns_value(tree, name):
                what = f"what {name}() returns is the exit code of the script, which orch ignores"
                hint = (
                    f"raise an error in {name}() where it returns an exit code, and call it alone"
                )
                return statement.lineno, what, hint
    return 0, "", ""


def is_guard(statement: ast.stmt) -> bool:
    """Whether this is `if __name__ == "__main__":`, which an import does not enter."""
    return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)


def _returns_value(tree: ast.Module, name: str) -> bool:
    functions = (one for one in tree.body if isinstance(one, _Function) and one.name == name)
    return any(
        isinstance(node, ast.Return)
        and node.value is not None
        and ast.unparse(node.value) != "None"
        for function in functions
        for node in ast.walk(function)
    )


def find_options(tree: ast.Module) -> Iterator[ParsedOption]:
    """A default that is a constant of the module is its value."""
    constants = {
        ast.unparse(node.targets[0]): node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="add_argument"), args=args, keywords=keywords):
                flags = [one.value for one in args if isinstance(one, ast.Constant)]
                names = [str(one) for one in flags if str(one)[:2] == "--" or str(one)[:1] != "-"]
                if names:
                    options = {
                        one.arg: constants.get(ast.unparse(one.value), one.value)
                        for one in keywords
                        if one.arg
                    }
                    yield _read_option(names[0], options, node.lineno)


def build_signature(options: Iterable[ParsedOption]) -> str:
    params = sorted((one.param for one in options), key=lambda one: "=" in one)
    return f"run(*, {', '.join(params)})" if params else "run()"


def _read_option(flag: str, options: dict[str, ast.expr], line: int) -> ParsedOption:
    name = flag.lstrip("-").replace("-", "_")
    if isinstance(dest := options.get("dest"), ast.Constant):
        name = str(dest.value)
    return ParsedOption(flag=flag, name=name, param=_build_param(flag, name, options), line=line)


def _build_param(flag: str, name: str, options: dict[str, ast.expr]) -> str:
    text = {key: ast.unparse(value) for key, value in options.items()}
    if text.get("action", "").strip("'\"") in ("store_true", "store_false"):
        return f"{name}: bool = {'False' if 'true' in text['action'] else 'True'}"
    default = options.get("default")
    kind = text.get("type", "")
    if not kind and isinstance(default, ast.Constant) and default.value is not None:
        kind = type(default.value).__name__
    if isinstance(choices := options.get("choices"), ast.List | ast.Tuple):
        kind = f"Literal[{', '.join(map(ast.unparse, choices.elts))}]"
    kind = kind or "str"
    if "nargs" in text:
        kind = f"list[{kind}]"
    if default is not None and text["default"] != "None":
        return f"{name}: {kind} = {text['default']}"
    is_required = flag[:1] != "-" or text.get("required") == "True"
    return f"{name}: {kind}" if is_required else f"{name}: {kind} | None = None"
