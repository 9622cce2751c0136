"""The flags of a hand-written orchestrator beside the parameters of `run()`, which are the flags afterwards."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.model.conventions import OWN_OPTIONS
from discover_orch.model.errors import Location, Problem
from discover_orch.scaffold.old_flags import OldArgument, OldFlag
from discover_orch.scaffold.orchestrator import Orchestrator
from discover_orch.scaffold.value_kinds import Unknown

_TAGS = ("STAGE", "AFTER", "ORCH")


class RunSignature(Struct, frozen=True, kw_only=True):
    """`run()` of a module as far as it is written out: the names of arguments that can be given by position, and of
    all parameters the annotation and the default as written, "" where there is none. `tags`: constants of the module
    that orch would read, with their lines. `names`: what the module defines or imports at its top level."""

    has_run: bool = False
    line: int | None = None
    takes_extra: bool = False
    positional: tuple[str, ...] = ()
    params: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    tags: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    names: frozenset[str] = frozenset()


class FlagsDescribed(Struct, frozen=True, kw_only=True):
    """`passed`: the parameters that flags give. `params`: defaults for the configuration."""

    passed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    params: Mapping[str, object] = field(default_factory=dict)


def read_signature(data: bytes) -> RunSignature:
    """Of a module's source; without `run` where that cannot be read."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError):
        return RunSignature()
    found = RunSignature()
    tags: dict[str, tuple[int, str]] = {}
    for statement in tree.body:
        match statement:
            case ast.FunctionDef(name="run") | ast.AsyncFunctionDef(name="run"):
                found = _read_function(statement)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                if any((one.asname or one.name) == "run" for one in names):
                    found = RunSignature(has_run=True, line=statement.lineno)
            case ast.Assign(targets=[ast.Name(id="run")]):
                found = RunSignature(has_run=True, line=statement.lineno)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in _TAGS:
                tags[name] = (statement.lineno, ast.unparse(value))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if (
                name in _TAGS
            ):
                tags[name] = (statement.lineno, ast.unparse(value))
    return replace(found, tags=tags, names=frozenset(_find_names(tree)))


def _find_names(tree: ast.Module) -> Iterator[str]:
    """Also those under `if` and `try`, and none that is local to a function or a class."""
    waiting: list[ast.AST] = [*tree.body]
    while waiting:
        match node := waiting.pop():
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.alias():
                yield node.asname or node.name
            case _:
                waiting += ast.iter_child_nodes(node)


def _read_function(function: ast.FunctionDef | ast.AsyncFunctionDef) -> RunSignature:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults += arguments.defaults
    pairs = [
        *zip(positional, defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return RunSignature(
        has_run=True,
        line=function.lineno,
        takes_extra=arguments.kwarg is not None,
        positional=tuple(one.arg for one in positional),
        params={
            one.arg: (
                "" if one.annotation is None else ast.unparse(one.annotation),
                "" if default is None else ast.unparse(default),
            )
            for one, default in pairs
        },
    )


def describe_flags(
    old: Orchestrator, tools: Mapping[str, tuple[str, RunSignature]]
) -> FlagsDescribed:
    """What becomes of each flag. `tools` has the file and the signature of each by name."""
    notes: list[str] = []
    problems: list[Problem] = []
    params: dict[str, object] = {}
    gone, passed = [], []
    lines: dict[str, int] = {}  # of the flag that gave the default of a parameter
    for flag in old.calls.flags:
        param = flag.dest if flag.param == "*" else flag.param
        takers = {name: one for name, one in tools.items() if param and param in one[1].params}
        if not takers:
            gone.append(f"{flag.flag} (line {flag.line})")
            continue
        passed.append(param)
        new = "--" + param.replace("_", "-")
        notes.append(_describe_new(flag, param, new, takers))
        match flag.default:
            case Unknown(text=text):
                _add(
                    problems,
                    old.path,
                    flag.line,
                    f"the default of {flag.flag} is not known: {text}",
                    f"set it in [tool.orch.params]: {param} = ...",
                )
            case str() | int() | float() if param in lines:
                if flag.default != params.get(param, flag.default):
                    message = f"{flag.flag} has another default here than on line {lines[param]}: {flag.default!r}"
                    hint = f"[tool.orch.params] gets the other one, {params[param]!r}"
                    _add(problems, old.path, flag.line, message, hint)
            case str() | int() | float():
                lines[param] = flag.line
                if _is_other_default(flag.default, param, takers):
                    params[param] = flag.default
            case _ if not flag.is_required:
                _add_missing_defaults(problems, flag, param, takers)
        for name, (path, signature) in takers.items():
            problem = _compare_type(flag, name, param, *signature.params[param])
            if problem:
                _add(problems, path, signature.line, *problem)
        for path, signature in (one for one in tools.values() if one[1].takes_extra):
            if param not in signature.params:
                _add(
                    problems,
                    path,
                    signature.line,
                    f"run() got {param} in **kwargs; {new} does not reach it",
                    f"name the parameter in run(): {param}=None; or give it with -p {param}=VALUE",
                )
    for argument in old.calls.arguments:
        _describe_argument(argument, old.path, tools, params, notes, problems)
    if gone:
        notes.append(f"not passed on to run(), so not needed: {', '.join(gone)}")
    return FlagsDescribed(
        passed=tuple(passed),
        notes=tuple(dict.fromkeys(notes)),
        problems=tuple(problems),
        params=params,
    )


def find_unknown(
    old_path: str, tools: Mapping[str, tuple[str, RunSignature]], known: Collection[str]
) -> Iterator[Problem]:
    """A problem for each parameter without a default that is not `known`: orch would ask for it as an option."""
    for name, (path, signature) in tools.items():
        for param, (_, default) in signature.params.items():
            if not default and param not in known:
                yield Problem(
                    code="adopt",
                    message=f"run() of {name} requires {param}, and no flag of {old_path} gives it",
                    hint=f"write a resource {param} in orchconf.py, or give it with --{param.replace('_', '-')}",
                    location=Location(path=path, line=signature.line),
                    severity="warning",
                )


def _describe_argument(
    argument: OldArgument,
    path: str,
    tools: Mapping[str, tuple[str, RunSignature]],
    params: dict[str, object],
    notes: list[str],
    problems: list[Problem],
) -> None:
    """What becomes of a keyword that no flag gives: a literal is a setting."""
    param = argument.param
    takers = {name: one for name, one in tools.items() if param in one[1].params}
    match argument.value:
        case _ if not takers:
            return
        case Unknown(text=text):
            message = f"run() gets {param}={text}, which no flag gives"
            hint = f"let run() compute it, or give it with --{param.replace('_', '-')}"
            _add(problems, path, argument.line, message, hint)
        case value if not _is_other_default(value, param, takers):
            return
        case str() | int() | float() as value if param not in params:
            params[param] = value
            notes.append(f"run() got {param}={value!r} (line {argument.line}), now a setting")
        case value:
            message = f"run() gets {param}={value!r}, which no setting can express"
            _add(problems, path, argument.line, message, "make it the default in run()")


def _is_other_default(
    value: object, param: str, takers: Mapping[str, tuple[str, RunSignature]]
) -> bool:
    """Whether `run()` would get another value if nothing is typed."""
    written = {signature.params[param][1] for _, signature in takers.values()}
    return any(not text or not _is_equal(text, value) for text in written)


def _describe_new(flag: OldFlag, param: str, new: str, takers: Iterable[str]) -> str:
    tools = ", ".join(takers)
    if param in OWN_OPTIONS:
        value = "true" if flag.is_switch else "VALUE"
        return f"{new} is an option of orch run itself: give the parameter of {tools} with -p {param}={value}"
    kept = f"{flag.flag} stays" if new == flag.flag else f"{flag.flag} becomes {new}"
    return f"{kept}, as a parameter of {tools}"


def _add_missing_defaults(
    problems: list[Problem],
    flag: OldFlag,
    param: str,
    takers: Mapping[str, tuple[str, RunSignature]],
) -> None:
    """For a default such as None, which no setting can express: only `run()` itself can have it."""
    for name, (path, signature) in takers.items():
        annotation, default = signature.params[param]
        if default and _is_equal(default, flag.default):
            continue
        now = f"has the default {default}" if default else "requires it"
        if annotation and flag.default is None and not re.search("None|Optional", annotation):
            annotation = f"{annotation} | None"
        fixed = f"{param}: {annotation} = " if annotation else f"{param}="
        _add(
            problems,
            path,
            signature.line,
            f"{flag.flag} (line {flag.line}) has the default {flag.default!r}, and run() of {name} {now}",
            f"write {fixed}{flag.default!r} in the signature",
        )


def _is_equal(text: str, value: object) -> bool:
    try:
        return bool(ast.literal_eval(text) == value)
    except (ValueError, SyntaxError):
        return False


def _compare_type(
    flag: OldFlag, tool: str, param: str, annotation: str, default: str
) -> tuple[str, str] | None:
    """What `run()` gets afterwards if that is of another type than before."""
    was = "bool" if flag.is_switch else "list" if flag.is_many else _made_type(flag.type)
    plain = annotation.strip("'\"").replace("Optional[", "").rstrip("]").partition("|")[0].strip()
    now = plain.partition("[")[0].rpartition(".")[2].replace("List", "list") or _type_of(default)
    if now == was:
        return None
    got = was or f"the result of {flag.type}"
    if not annotation:
        example = was or f"the type that {flag.type} gives"
        return (
            f"{param} of {tool} was {got} and becomes {now}, because run() has no annotation for it",
            f"annotate the parameter: {param}: {example}",
        )
    return (
        f"{param} of {tool} was {got} and becomes {now}, as run() says",
        "check what run() does with it",
    )


def _made_type(written: str) -> str:
    """The type of what `type=` of argparse makes, "" where that is a function that does not say it."""
    if not re.fullmatch(r"[\w.]*", written):
        return ""
    name = written.removesuffix(".fromisoformat").rpartition(".")[2]
    is_type = name in ("str", "int", "float", "bool", "date", "datetime", "time")
    return (name or "str") if is_type or name[:1].isupper() or not name else ""


def _type_of(default: str) -> str:
    try:
        value = ast.literal_eval(default) if default else None
    except (ValueError, SyntaxError):
        return "str"
    return "str" if value is None else type(value).__name__


def _add(problems: list[Problem], path: str, line: int | None, message: str, hint: str) -> None:
    place = Location(path=path, line=line)
    problems.append(
        Problem(code="adopt", message=message, hint=hint, location=place, severity="warning")
    )
