"""Reads the text of one module into facts: the tags, `run()`, the first line of its docstring.

Gives `ModuleFacts`, or a `BrokenTool` where Python cannot compile the file. Top-level statements count in their
order, and of several bindings of a name the last one. Nothing is opened, imported or executed, and no bytes make
it raise.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from msgspec.structs import replace

from discover_orch.model.conventions import CHECK_PREFIXES, CONF_MODULE
from discover_orch.model.errors import Problem
from discover_orch.source.command_line import find_command_line
from discover_orch.source.facts import (
    BrokenTool,
    CheckFacts,
    ConfFacts,
    ModuleFacts,
    ObserverFacts,
    OrchTag,
    ResourceFacts,
    RunFacts,
    Tag,
)
from discover_orch.source.literals import NotLiteral, docstring_of, first_line, literal, text_of
from discover_orch.source.parse import (
    PARSE_ERRORS,
    build_problem,
    ignore_warnings,
    parse,
    parse_strictly,
)
from discover_orch.source.scope import Binding, Definition, Lookup, ModuleScope, Unreadable
from discover_orch.source.signature import find_yield, read_function

RESOURCE = "discover_orch.resource"
OBSERVER = "discover_orch.observer"
NO_STAGE = "has run() but no STAGE"


def read_module(
    data: bytes,
    *,
    module: str,
    path: str,
    tree: ast.Module | None = None,
    lookup: Lookup = lambda _: None,
) -> ModuleFacts | BrokenTool:
    """The facts of a file that contains the word STAGE; `tree` where it was parsed already. `lookup` gives what the
    names of other modules mean."""
    with ignore_warnings():
        try:
            return _read_tree(parse_strictly(data, tree), module, path, lookup)
        except PARSE_ERRORS as error:
            problem = build_problem(error, data, path)
            stages = _stages_before(problem, data, module, lookup)
            return BrokenTool(path=path, module=module, problems=(problem,), stages=stages)


def read_near_miss(data: bytes, *, module: str, path: str) -> ModuleFacts | None:
    """The facts of a file without the word STAGE, if it looks like a tool because it has a `run`."""
    with ignore_warnings():
        try:
            facts = _read_tree(parse(data), module, path, lambda _: None)
        except PARSE_ERRORS:
            return None
    return facts if facts.miss else None


def read_conf(data: bytes, path: str) -> ConfFacts | BrokenTool:
    """What `orchconf.py` offers: `get_connection`, and functions marked with `@resource` or `@observer`."""
    with ignore_warnings():
        try:
            tree = parse_strictly(data)
            scope = ModuleScope(tree, CONF_MODULE)
            found = [_read_resource(name, scope) for name in scope.bindings]
            connection = scope.last("get_connection")
            has_observers = b"observer" in data  # few have, and all of the tree is searched
            observers = tuple(_read_observers(tree, scope)) if has_observers else ()
            taken = {"get_connection", *(one.name for one in (*found, *observers) if one)}
            return ConfFacts(
                path=path,
                connection_line=None if connection is None else connection.line,
                resources=tuple(resource for resource in found if resource is not None),
                observers=observers,
                others=tuple(
                    (name, bindings[-1].line)
                    for name, bindings in scope.bindings.items()
                    if isinstance(bindings[-1].node, (ast.FunctionDef, ast.AsyncFunctionDef))
                    and name not in taken
                    and not name.startswith("_")
                ),
            )
        except PARSE_ERRORS as error:
            problem = build_problem(error, data, path)
            if problem.code == "syntax":
                problem = replace(
                    problem, hint="fix the syntax error: orchconf.py is loaded before every tool"
                )
            return BrokenTool(path=path, module=CONF_MODULE, problems=(problem,))


def _read_tree(tree: ast.Module, module: str, path: str, lookup: Lookup) -> ModuleFacts:
    """The facts of a file that is parsed. Raises one of PARSE_ERRORS."""
    scope = ModuleScope(tree, module, path.endswith("__init__.py"), lookup)
    doc = first_line(docstring_of(tree.body))
    run, function, miss, miss_line = _read_run(scope)
    if function is not None and not doc:
        doc = first_line(docstring_of(function.body))
    if run is not None and function is not None:
        line, signature = find_command_line(tree, function.name)
        run = replace(run, parses_line=line, parsed=signature) if line else run
    stage = None
    binding = scope.last("STAGE")
    if binding is None:
        if run is not None:
            miss, miss_line = NO_STAGE, run.line
        elif miss:
            miss = ""  # neither STAGE nor a function run: not a tool
    elif isinstance(binding.node, str) and not binding.where:
        miss = "STAGE is imported, not assigned in this module"
        miss_line = binding.line
    else:
        stage = _read_tag("STAGE", binding, scope)
    after = scope.last("AFTER")
    orch = scope.last("ORCH")
    return ModuleFacts(
        module=module,
        path=path,
        doc=doc,
        stage=stage,
        after=None if after is None else _read_tag("AFTER", after, scope),
        orch=None if orch is None else _read_orch(orch),
        run=run,
        checks=() if run is None or stage is None else tuple(_read_checks(tree, scope)),
        miss=miss,
        miss_line=miss_line,
    )


def _read_tag(name: str, binding: Binding, scope: ModuleScope) -> Tag:
    line = binding.line
    if binding.where:
        return Tag(line=line, problem=f"{name} is set {binding.where}")
    if isinstance(binding.node, str):
        return Tag(line=line, problem=f"{name} is imported")
    if not isinstance(binding.node, ast.expr):
        return Tag(line=line, problem=f"{name} is a function or a class")
    try:
        value = scope.value(binding.node, binding.index)
    except Unreadable as reason:
        return Tag(line=line, problem=f"{name} cannot be read: {reason}")
    except RecursionError:
        return Tag(line=line, problem=f"{name} is nested too deeply")
    if value is None:
        return Tag(line=line, is_off=True)
    if isinstance(value, str):
        value = (value,)
    if not value and name == "STAGE":
        return Tag(line=line, problem="STAGE is empty")
    if not all(word.strip() for word in value):
        return Tag(line=line, problem=f"{name} contains an empty string")
    return Tag(line=line, words=value)


def _read_orch(binding: Binding) -> OrchTag:
    """`ORCH = {...}`: only a dict literal is read, and no constant in it is followed."""
    if binding.where:
        return OrchTag(line=binding.line, problem=f"ORCH is set {binding.where}")
    return read_orch_literal(binding.node, binding.line)


def read_orch_literal(node: object, start: int) -> OrchTag:
    """The same of the value, which begins in line `start`."""
    if not isinstance(node, ast.Dict):
        return OrchTag(line=start, problem="ORCH is not a dict literal")
    values: dict[str, object] = {}
    lines: dict[str, int] = {}
    for key, item in zip(node.keys, node.values, strict=True):
        name = None if key is None else text_of(key)
        if key is None or name is None:
            line = start if key is None else key.lineno
            return OrchTag(line=line, problem="ORCH has a key that is not a string")
        try:
            literal(key)
            values[name] = literal(item)
        except NotLiteral:
            return OrchTag(line=key.lineno, problem=f"ORCH[{name!a}] is not a literal")
        lines[name] = key.lineno
    return OrchTag(line=start, values=values, lines=lines)


_Function = ast.FunctionDef | ast.AsyncFunctionDef
_NO_FUNCTIONS = (ast.Constant, ast.Dict, ast.List, ast.Tuple, ast.JoinedStr)


def _read_run(scope: ModuleScope) -> tuple[RunFacts | None, _Function | None, str, int]:
    """(facts of `run`, its `def` if it is in this module, why it is not a function, the line of that)."""
    binding = scope.last("run")
    if binding is None:
        return None, None, "", 1
    line = binding.line
    if binding.where:
        return None, None, f"run is set {binding.where}; define it at the top level", line
    try:
        found = scope.find(ast.Name(id="run"))
    except (Unreadable, RecursionError):
        found = None
    match found:
        case Definition(node=ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() as node):
            run = read_function(node, found.scope)
            if found.scope is not scope:
                if not isinstance(node, ast.Lambda):
                    alone = ast.Module(body=[node], type_ignores=[])
                    parses_line, parsed = find_command_line(alone, node.name)
                    run = replace(run, parses_line=parses_line, parsed=parsed)
                return _seen_from(line, run), None, "", 1
            return replace(run, line=line), None if isinstance(node, ast.Lambda) else node, "", 1
        case Definition(node=ast.ClassDef(), scope=one) if one is scope:
            return None, None, "run is a class, not a function", line
        case Definition(node=node, scope=one) if one is scope and isinstance(node, _NO_FUNCTIONS):
            return None, None, "run is a value, not a function", line
    return RunFacts(line=line, is_readable=False), None, "", 1


def _read_checks(tree: ast.Module, scope: ModuleScope) -> list[CheckFacts]:
    """The checks of a tool, and what looks like one, in the order of the file."""
    names = [name for name in scope.bindings if name.startswith(CHECK_PREFIXES)]
    found = []
    called = _find_called(tree) if names else ()
    for name in names:
        binding = scope.last(name)
        if binding is None or isinstance(binding.node, _NO_FUNCTIONS):
            continue
        check = _read_check(name, binding, scope)
        if check is None:
            continue
        if not check.miss and name in called:
            check = replace(check, miss="the module calls it itself")
        earlier = [one for one in scope.bindings[name] if isinstance(one.node, _Function)]
        if len(earlier) > 1 and earlier[-1].node is binding.node:
            check = replace(check, repeats=earlier[-2].line)
        found.append(check)
    return sorted(found, key=lambda one: one.line)


def _read_check(name: str, binding: Binding, scope: ModuleScope) -> CheckFacts | None:
    """None for what is no function at all: a constant, a module, a variable of a loop."""
    line, node = binding.line, binding.node
    if binding.where:
        is_function = isinstance(node, _Function)
        miss = f"it is set {binding.where}, not at the top level"
        return CheckFacts(name=name, line=line, miss=miss) if is_function else None
    try:
        found = scope.find(ast.Name(id=name))
    except (Unreadable, RecursionError):
        found = None
    match found:
        case Definition(node=ast.ClassDef()):
            return CheckFacts(name=name, line=line, miss="it is a class, not a function")
        case Definition(node=ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() as function):
            facts = read_function(function, found.scope)
        case _:
            place = "imported from outside of the project" if isinstance(node, str) else "no `def`"
            miss = f"it is {place}, so its arguments are not known"
            return CheckFacts(name=name, line=line, miss=miss)
    needs = tuple((one.name, one.default_source is not None) for one in facts.arguments)
    fixed = [one.name for one in facts.arguments if one.is_positional_only]
    return CheckFacts(
        name=name,
        line=line,
        needs=needs,
        yield_line=facts.yield_line and (line if found.scope is not scope else facts.yield_line),
        miss=f'its argument "{fixed[0]}" is positional-only' if fixed else "",
    )


def _find_called(tree: ast.Module) -> set[str]:
    """The names that the module calls, other than in `if __name__ == "__main__":`, which no run executes."""
    body = [one for one in tree.body if not _is_for_scripts(one)]
    calls = (one for node in body for one in ast.walk(node) if isinstance(one, ast.Call))
    return {one.func.id for one in calls if isinstance(one.func, ast.Name)}


def _is_for_scripts(node: ast.stmt) -> bool:
    match node:
        case ast.If(test=ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()])):
            return True
    return False


def _seen_from(line: int, run: RunFacts) -> RunFacts:
    """A function of another module, with the line that names it here: its own lines are of another file."""
    return replace(
        run,
        line=line,
        arguments=tuple(replace(argument, line=line) for argument in run.arguments),
        yield_line=line if run.yield_line else 0,
        parses_line=line if run.parses_line else 0,
    )


def _read_resource(name: str, scope: ModuleScope) -> ResourceFacts | None:
    binding = scope.last(name)
    if binding is None or binding.where:
        return None
    node = binding.node
    if not isinstance(node, _Function) or not _is_marked(node, RESOURCE, scope):
        return None
    run = read_function(node, scope)
    return ResourceFacts(
        name=name,
        line=node.lineno,
        needs=tuple(
            (argument.name, argument.default_source is not None) for argument in run.arguments
        ),
    )


def _read_observers(tree: ast.Module, scope: ModuleScope) -> Iterator[ObserverFacts]:
    """All that is marked, also where no observer can be."""
    for node in ast.walk(tree):
        if isinstance(node, _Function | ast.ClassDef) and _is_marked(node, OBSERVER, scope):
            binding = scope.last(node.name)
            is_global = binding is not None and binding.node is node and not binding.where
            problem = _find_misuse(node) if is_global else _MISPLACED
            yield ObserverFacts(name=node.name, line=node.lineno, problem=problem)


_MISPLACED = "is not the last definition of its name at the top level"


def _find_misuse(node: _Function | ast.ClassDef) -> str:
    """Why a call of the observer would execute nothing, or ""; what it says itself of other mistakes is shown."""
    if isinstance(node, ast.ClassDef) or len(node.decorator_list) > 1:
        return ""
    is_empty = isinstance(node, ast.AsyncFunctionDef) or find_yield(node)
    return "is async or contains yield, so calling it would execute nothing" if is_empty else ""


def _is_marked(node: _Function | ast.ClassDef, mark: str, scope: ModuleScope) -> bool:
    """Whether it has the decorator of this absolute name."""
    for decorator in node.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        if scope.outside(target) == mark:
            return True
    return False


def _stages_before(problem: Problem, data: bytes, module: str, lookup: Lookup) -> tuple[str, ...]:
    """The stages that the text before the line of a problem states."""
    line = problem.line or 1
    lines = data.splitlines(keepends=True)[: line - 1]
    for _ in range(2):
        try:
            scope = ModuleScope(parse(b"".join(lines)), module, lookup=lookup)
            binding = scope.last("STAGE")
            return _read_tag("STAGE", binding, scope).words if binding else ()
        except PARSE_ERRORS:
            while lines and lines.pop()[:1].isspace():  # the statement that is broken off there
                pass
    return ()
