"""Where a function reads the command line itself, and the signature whose parameters would be the same options."""

from __future__ import annotations

import ast

_Function = ast.FunctionDef | ast.AsyncFunctionDef


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
                    return node.lineno, _build_signature(tree)
                case ast.Attribute(value=ast.Name(id="sys"), attr="argv"):
                    return node.lineno, "run(*, source: str)"
                case ast.Call(func=ast.Name(id=called)) if called not in seen:
                    seen.add(called)
                    waiting.append(called)
    return 0, ""


def _build_signature(tree: ast.Module) -> str:
    """That of the options which the module adds to a parser of argparse."""
    params = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="add_argument"), args=args, keywords=keywords):
                flags = [one.value for one in args if isinstance(one, ast.Constant)]
                names = [str(one) for one in flags if str(one)[:2] == "--" or str(one)[:1] != "-"]
                if names:
                    options = {one.arg: one.value for one in keywords if one.arg}
                    params.append(_build_param(names[0], options))
    params.sort(key=lambda one: "=" in one)
    return f"run(*, {', '.join(params)})" if params else "run()"


def _build_param(flag: str, options: dict[str, ast.expr]) -> str:
    """`rows: int = 1` for `--rows`, `type=int, default=1`."""
    name = flag.lstrip("-").replace("-", "_")
    if isinstance(dest := options.get("dest"), ast.Constant):
        name = str(dest.value)
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
