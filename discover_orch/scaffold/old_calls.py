"""What a hand-written orchestrator does beside calling its steps: `orch adopt` refuses what it cannot carry over.

A run of orch passes to each tool the connection and the options of the command line, and nothing else. So fixed
arguments, values that one step hands to the next, and code that prepares something before the steps are said with
their lines. Only text is read.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from discover_orch.model.errors import Location, Problem
from discover_orch.scaffold.old_decisions import Known, find_decisions
from discover_orch.scaffold.step_lists import find_changed
from discover_orch.source.command_line import is_guard

#: Names by which `run()` may take the connection.
CONNECTIONS = frozenset({"conn", "connection", "con", "db", "database", "cnx"})
#: Modules and functions whose calls start a step that their argument names.
_STARTERS = ("subprocess", "os.system", "os.popen", "runpy", "exec")
#: Calls that give what their argument names.
_LOOKUPS = ("import_module", "getattr", "__import__", "globals")
#: Calls that change nothing that a tool could see. The first part of the name is enough.
_HARMLESS = frozenset(
    {"log", "logger", "logging", "LOG", "LOGGER", "argparse", "traceback", "time", "datetime"}
    | {"tqdm", "rich", "console", "importlib", *dir(builtins)} - {"exec", "eval", "open"}
)
_METHODS = frozenset(
    name for kind in (str, list, dict, set, tuple) for name in dir(kind) if name[0] != "_"
)
_NOT_HARMLESS = frozenset({"logging.basicConfig", "logging.config.dictConfig", "time.sleep"})
#: Methods of a connection that are work of their own.
_CHANGES_DATA = (".execute", ".executemany", ".executescript", ".sql", ".query", ".run")
#: In a command: that it runs a script, which is a step in all likelihood.
_PYTHON = re.compile(r"python|sys\.executable|\.py\b")
_KEYWORDS = frozenset({"check", "capture_output", "text", "shell", "stdout", "stderr", "run_name"})
#: What to write for what a process is given.
_HINTS = {
    "cwd": "tools run in the folder of orch.toml: let the modules open their files from there",
    "env": "set it in the modules, or with env_file in the settings",
    "timeout": 'ORCH = {"timeout": 60} in a module limits its time, in seconds',
}
_Names = set[str]
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class CallReader:
    """`names` are the dicts and lists of steps in the file at `path`, and `imported` what it imports of the project;
    `stays` is whether orch still imports the file afterwards, so that its top level is executed."""

    def __init__(
        self,
        tree: ast.Module,
        path: str,
        names: Iterable[str],
        *,
        imported: Collection[str],
        stays: bool,
    ) -> None:
        self._tree, self._path, self._stays = tree, path, stays
        self._of_project = imported
        self._functions = _find_functions(tree)
        self._imported = {
            (one.asname or one.name).partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for one in node.names
        }
        self._names = frozenset(names)
        bound = self._bound = [*_bindings(tree, self._functions)]
        #: Names that stand for steps, for what orch passes too, and for what changes nothing.
        self._steps = _spread(bound, names, _names_step)
        self._carried = _spread(bound, CONNECTIONS, _is_carried)
        #: All options in one object.
        self._namespaces = _spread(bound, (), _is_namespace)
        self._harmless = _spread(bound, _HARMLESS, _is_call_of)
        #: Names of what functions of steps returned, and of how their processes ended.
        self._results, self._processes = set[str](), set[str]()
        for targets, value in bound:
            if isinstance(value, ast.Call) and _is_step(value, self._steps):
                (self._processes if _starts_process(value) else self._results).update(targets)
        self._empty = _find_empty(tree, self._functions)
        self.has_calls = False
        #: Options of the command line, and the parameters that the steps get them as; "" by position.
        self.passed: dict[str, str] = {}

    def find_refusals(self, orders: Sequence[Sequence[str]]) -> Iterator[Problem]:
        """One for each line of the file that orch cannot carry over. `orders` are the names in each list."""
        seen: set[str] = set()
        for statement in self._tree.body:
            yield from self._visit([statement], seen, self._stays and not is_guard(statement))
        known = Known(
            names=self._names,
            steps=self._steps,
            carried=self._carried,
            processes=self._processes,
            results=self._results,
            bound=self._bound,
            changed=find_changed(self._tree),
            orders=orders,
            is_step=lambda call: _is_step(call, self._steps),
            is_function=lambda call: _is_step(call, self._steps) and not _starts_process(call),
        )
        for node, message, hint in find_decisions(self._tree, known):
            yield self._problem(node, message, hint)

    def find_work_of_import(self) -> int:
        """The line at the top level that would run the steps in an import; 0 where there is none."""
        waiting = [one for one in reversed(self._tree.body) if not is_guard(one)]
        while waiting:
            statement = waiting.pop()
            if isinstance(statement, _Function | ast.ClassDef):
                continue
            for node in _own_nodes(statement):
                if isinstance(node, ast.Call) and (
                    _is_step(node, self._steps)
                    or (_starts_process(node) and _PYTHON.search(ast.unparse(node)))
                    or (
                        isinstance(statement, ast.Expr | ast.Raise)
                        and _root(node.func) in {*self._functions, *self._of_project}
                    )
                ):
                    return node.lineno
            for block in _blocks(statement):
                waiting += reversed(block)
        return 0

    def _visit(self, body: list[ast.stmt], seen: set[str], allows: bool) -> Iterator[Problem]:
        for statement in body:
            if isinstance(statement, _Function | ast.ClassDef | ast.Import | ast.ImportFrom):
                continue
            calls = [one for one in _own_nodes(statement) if isinstance(one, ast.Call)]
            steps = [call for call in calls if _is_step(call, self._steps)]
            for call in steps:
                self.has_calls = True
                yield from self._find_arguments(call)
            if not steps and not allows and (doing := self._find_work(statement, calls)):
                hint = (
                    "move it into a module that the tools import, or into a resource of orchconf.py"
                )
                if (
                    isinstance(statement, ast.Assign)
                    and _root(statement.targets[0]) in self._carried
                ):
                    hint = "let each run() that takes it do this, or make it the default of its parameter"
                    if _root(statement.targets[0]) in CONNECTIONS:
                        hint = "put it into get_connection() at the top level, which orch will still use"
                if "connect" in doing or "create_engine" in doing:
                    hint = (
                        "put it into get_connection() at the top level, which orch will still use"
                    )
                if doing == "time.sleep()":
                    hint = 'leave it out; ORCH = {"retries": 2} in a module tries its step again, after a pause'
                message = f"{doing} is not part of a step, so orch would not run it"
                yield self._problem(statement, message, hint)
            for call in calls:
                name = _callee(call.func, self._imported)
                if name in self._functions and name not in seen:
                    if name == "get_connection" or name in self._steps:
                        continue
                    seen.add(name)
                    yield from self._visit(self._functions[name].body, seen, allows)
            for block in _blocks(statement):
                yield from self._visit(block, seen, allows)

    def _find_work(self, statement: ast.stmt, calls: list[ast.Call]) -> str:
        """What the statement does that the tools may rest on; "" for nothing."""
        match statement:
            case ast.Assign(targets=[ast.Subscript() | ast.Attribute() as target]) if _root(
                target
            ) in {*self._imported, *self._carried}:
                return f"{ast.unparse(target)} = ..."
            case ast.Expr() | ast.With() | ast.Assign():
                for call in calls:
                    name = ast.unparse(call.func)
                    is_kept = isinstance(statement, ast.Assign) and not name.startswith(_STARTERS)
                    is_kept = is_kept and not name.endswith(("connect", "create_engine"))
                    if not is_kept and not self._is_harmless(call, name):
                        return f"{name}()"
        return ""

    def _is_harmless(self, call: ast.Call, name: str) -> bool:
        root = _root(call.func)
        if name in _NOT_HARMLESS:
            return False
        if root in self._carried and name.endswith(_CHANGES_DATA):
            return False
        if root in {*self._carried, *self._functions, *self._harmless, "sys"}:
            return True
        is_method = isinstance(call.func, ast.Attribute) and call.func.attr in _METHODS
        return name.endswith("get_connection") or (is_method and root not in self._imported)

    def _find_arguments(self, call: ast.Call) -> Iterator[Problem]:
        called = ast.unparse(call.func)
        if _starts_process(call):
            for word in _fixed_words(call, self._steps | self._empty):
                hint = "make it the default of a parameter of run()"
                yield self._problem(call, f"{word} is passed to each step", hint)
            for keyword in call.keywords:
                if keyword.arg and keyword.arg not in _KEYWORDS:
                    hint = _HINTS.get(keyword.arg, "do this in the modules themselves")
                    yield self._problem(call, f"{called}() sets {keyword.arg} for its steps", hint)
            return
        for name, node in [
            *(("", one) for one in call.args),
            *((keyword.arg, keyword.value) for keyword in call.keywords),
        ]:
            if name is None:
                hint = (
                    "name each option of the command line here, as in run(conn, since=args.since)"
                )
                message = f"**{ast.unparse(node)} does not say what is passed to a step"
                yield self._problem(call, message, hint)
                continue
            inner = node.value if isinstance(node, ast.Starred) else node
            if isinstance(node, ast.Starred) and _names(node) <= self._empty:
                continue
            shown = ast.unparse(node)
            if isinstance(inner, ast.Name) and inner.id in self._namespaces:
                hint = "let run() take each option by its name: def run(conn, *, limit: int = 500):"
                yield self._problem(call, f"{shown} has all options in one object", hint)
                continue
            if _is_carried(inner, self._carried):
                if isinstance(inner, ast.Attribute):
                    self.passed[inner.attr] = name
                continue
            if isinstance(inner, ast.Constant):
                hint = "make it the default of a parameter of run()"
                yield self._problem(call, f"{shown} is passed to each step", hint)
            elif _names(inner) & self._results:
                hint = "write it to a file or a table in one tool, and read that in the next"
                yield self._problem(
                    call, f"{shown} is passed on in memory, from one step to the next", hint
                )
            else:
                hint = "compute it in run(), or in a resource of orchconf.py"
                yield self._problem(call, f"{shown} is passed to each step", hint)

    def _problem(self, node: ast.stmt | ast.expr, message: str, hint: str) -> Problem:
        place = Location(path=self._path, line=node.lineno)
        return Problem(code="adopt", message=message, hint=hint).at(place)


def _spread(
    bound: Sequence[tuple[_Names, ast.expr]],
    start: Iterable[str],
    includes: Callable[[ast.expr, _Names], bool],
) -> _Names:
    """`start`, and all names that are bound to something that is included, through any number of names."""
    found = {*start}
    size = -1
    while size != len(found):
        size = len(found)
        for targets, value in bound:
            if includes(value, found):
                found |= targets
    return found


def _bindings(
    tree: ast.Module, functions: Mapping[str, _Function]
) -> Iterator[tuple[_Names, ast.expr]]:
    """The names that are bound anywhere in the file, parameters of its functions too, and to what."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[target], value=value)
                | ast.NamedExpr(target=target, value=value)
            ):
                yield _targets(target), value
            case (
                ast.For(target=target, iter=value)
                | ast.comprehension(target=target, iter=value)
                | ast.withitem(optional_vars=ast.expr() as target, context_expr=value)
            ):
                yield _targets(target), value
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if (
                name in functions
            ):
                params = [one for one in functions[name].args.args if one.arg != "self"]
                for param, value in zip(params, args, strict=False):
                    yield {param.arg}, value
                for keyword in keywords:
                    yield {keyword.arg or ""}, keyword.value


def _names_step(node: ast.expr, steps: _Names) -> bool:
    return bool(_names(node) & steps) and not (isinstance(node, ast.Call) and _is_step(node, steps))


def _is_step(call: ast.Call, steps: _Names) -> bool:
    """Whether the call runs a step: of `step`, `STEPS[name]` or `import_module(name).run`, or of a process."""
    func = call.func
    if _starts_process(call):
        return any(_names(one) & steps for one in call.args)
    if isinstance(func, ast.Attribute) and func.attr in _METHODS | {"import_module"}:
        return False
    return bool(_callee_names(func) & steps)


def _starts_process(call: ast.Call) -> bool:
    return ast.unparse(call.func).startswith(_STARTERS)


def _callee_names(func: ast.expr) -> _Names:
    """The names that say what is called. Of `Pipeline(STEPS).run` that is the class, and not what it is given."""
    found: _Names = set()
    waiting: list[ast.AST] = [func]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call) and not ast.unparse(node.func).endswith(_LOOKUPS):
            waiting.append(node.func)
            continue
        found |= _own_names(node)
        waiting += ast.iter_child_nodes(node)
    return found


def _find_functions(tree: ast.Module) -> dict[str, _Function]:
    """All functions and methods by name; a class has the name of its `__init__`."""
    found = {one.name: one for one in ast.walk(tree) if isinstance(one, _Function)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            makers = {one.name: one for one in node.body if isinstance(one, _Function)}
            found |= {node.name: makers["__init__"]} if "__init__" in makers else {}
    return found


def _find_empty(tree: ast.Module, functions: Mapping[str, _Function]) -> _Names:
    """The `*args` of functions that no call in the file gives any."""
    given = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (name := _callee(node.func, ())) in functions
        and len(node.args) > len(functions[name].args.args)
    }
    return {
        one.args.vararg.arg
        for name, one in functions.items()
        if one.args.vararg is not None and name not in given
    }


def _callee(func: ast.expr, imported: Collection[str]) -> str:
    """The name of the function, method or class of this file that is called, as far as the text says."""
    if isinstance(func, ast.Attribute):
        return "" if _root(func) in imported else func.attr
    return func.id if isinstance(func, ast.Name) else ""


def _is_carried(node: ast.expr, carried: _Names) -> bool:
    """Whether orch passes it too: the connection, or something of the command line."""
    match node:
        case ast.Name(id=name):
            return name in carried
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return name in CONNECTIONS or f"self.{name}" in carried
        case ast.Attribute(value=owner):
            return _is_carried(owner, carried)
        case ast.Call(func=func):
            return ast.unparse(func).rpartition(".")[2] in ("get_connection", "parse_args")
    return False


def _is_namespace(node: ast.expr, found: _Names) -> bool:
    """Whether it is what argparse gives."""
    match node:
        case ast.Name(id=name):
            return name in found
        case ast.Call(func=func):
            return ast.unparse(func).endswith(("parse_args", "parse_known_args"))
    return False


def _is_call_of(node: ast.expr, harmless: _Names) -> bool:
    return isinstance(node, ast.Call) and _root(node.func) in harmless


def _fixed_words(call: ast.Call, steps: _Names) -> Iterator[str]:
    """What the command of a process has beside the interpreter and the step."""
    parts: list[ast.expr] = []
    for node in call.args[:1]:
        parts += node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
    for part in parts:
        match part:
            case ast.Constant(value=str(text)):
                words = text.split()
            case ast.JoinedStr(values=values):
                # The text around the name of the step may be its folder and its ending.
                text = "".join(
                    str(one.value) if isinstance(one, ast.Constant) else "\0" for one in values
                )
                words = [word for word in text.split() if "\0" not in word]
                if not _names(part) & steps:
                    words = [ast.unparse(part)]
            case _ if _names(part) & steps or ast.unparse(part).lstrip("*").startswith(
                ("sys.executable", "sys.argv")
            ):
                continue
            case _:
                words = [ast.unparse(part)]
        for word in words:
            if word.rstrip("0123456789.") not in ("python", "bash", "sh", "-m", "-u"):
                yield word


def _names(node: ast.AST) -> _Names:
    return {name for one in ast.walk(node) for name in _own_names(one)}


def _own_names(node: ast.AST) -> _Names:
    """`a` for a name, `self.a` for an attribute of the object itself."""
    match node:
        case ast.Name(id=name):
            return {name}
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return {f"self.{name}"}
    return set()


def _targets(node: ast.expr) -> _Names:
    """The names that an assignment binds."""
    return {
        name
        for one in ast.walk(node)
        if isinstance(getattr(one, "ctx", None), ast.Store)
        for name in _own_names(one)
    }


def _root(node: ast.expr) -> str:
    """`a` for `a.b[0].c()`; "" where it is no name."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks of statements in one statement."""
    for field in ("body", "orelse", "finalbody"):
        yield getattr(statement, field, [])
    for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield part.body


def _own_nodes(statement: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a statement, without those of its blocks, and without functions."""
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case | ast.Lambda):
            yield child
            yield from _own_nodes(child)
