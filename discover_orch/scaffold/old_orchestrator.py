"""What a hand-written orchestrator says: its dict or list of steps, its `STAGES`, and where it defines
`get_connection`.

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
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.discovery.scanner import is_tool_name
from discover_orch.model.conventions import SQL_SUFFIX
from discover_orch.model.errors import DiscoveryError, Location, Problem, ProjectError
from discover_orch.scaffold.file_changes import read_file
from discover_orch.scaffold.old_calls import CallReader
from discover_orch.scaffold.old_connections import find_lost_arguments
from discover_orch.scaffold.old_kinds import build_refusal
from discover_orch.scaffold.step_lists import (
    Step,
    StepList,
    StepReader,
    find_changes,
    top_assignments,
)
from discover_orch.source.command_line import ParsedOption, find_options
from discover_orch.source.facts import BrokenTool
from discover_orch.source.read_module import read_conf

#: The name that is read also where none of its values is found in the project.
TOOL_MAP = "TOOL_MAP"
#: The names of a list of steps, and its place.
NamedList = tuple[str, tuple[str, ...], Location]

#: Runs the file as an import does and writes its values as JSON to stdout. Arguments are the file, the name
#: of its dict or list, and folders for `sys.path`. What the file prints goes to stderr.
_ASK = """
import json, os, runpy, sys, traceback
path, wanted, *folders = sys.argv[1:]
sys.path[:1], sys.argv[:] = folders, [path]
answer = os.dup(1)
os.dup2(2, 1)

def plain(one):
    if hasattr(one, "__qualname__"):
        return f"{one.__module__}:{one.__qualname__}"
    if hasattr(one, "__iter__"):
        return list(one)
    return getattr(one, "value", None) or getattr(one, "__name__", repr(one))

try:
    module = runpy.run_path(path, run_name=os.path.splitext(os.path.basename(path))[0])
    pairs = {}
    for name in (wanted, "STAGES"):
        value = module.get(name) or {}
        name_of = lambda one: getattr(one[0], "value", one[0])
        is_pair = lambda one: isinstance(one, (tuple, list)) and len(one) == 2 and isinstance(name_of(one), str)
        if hasattr(value, "items") or all(map(is_pair, value)):
            pairs[name] = [(name_of((key,)), one) for key, one in dict(value).items()]
        else:
            pairs[name] = [("", one) for one in value]
    said = json.dumps(pairs, default=plain)
except BaseException as error:
    lines = [one.lineno for one in traceback.extract_tb(error.__traceback__) if one.filename == path]
    said = {"error": f"{type(error).__name__}: {error}", "line": lines[-1] if lines else None}
    said = json.dumps(said)
with open(answer, "w", encoding="utf-8") as file:
    file.write(said)
"""


class Orchestrator(Struct, frozen=True, kw_only=True):
    """The steps and lists of the file at `path`. `name` is that of the dict or list that has the steps. `refusals`
    are what orch cannot carry over. `connection` is the line of `get_connection`, None if there is none, and
    `connection_from` the file that defines it and its folder on `sys.path`. `is_context`: it is a context manager.
    `calls_steps`: a call of its steps was seen in the file. `options` are those of its command line, and `passed` the
    parameters that the steps get them as, "" by position. `imports_steps`: its top level imports their modules."""

    path: str
    name: str
    steps: tuple[Step, ...]
    lists: tuple[NamedList, ...]
    refusals: tuple[Problem, ...] = ()
    connection: int | None
    connection_from: tuple[str, str]
    is_context: bool
    calls_steps: bool = True
    options: tuple[ParsedOption, ...] = ()
    passed: Mapping[str, str] = {}
    imports_steps: bool = False


def read_orchestrator(root: str, path: str, name: str = "", *, asks: bool = False) -> Orchestrator:
    """`name` is the dict or list to read. With `asks`, the file is run in a child process. Raises OrchError if the
    text is not Python, or if it does not say what the steps are."""
    data = read_file(root, path) or b""
    if not path.endswith(".py"):
        raise DiscoveryError(build_refusal(path, data, None))
    conf = read_conf(data, path)
    if isinstance(conf, BrokenTool):
        raise ProjectError(replace(conf.problems[0], hint="fix the file"))
    tree = ast.parse(data)
    reader = StepReader(tree, path, Finder(root, path).find)
    values = dict(top_assignments(tree))
    wanted = name or _choose(reader, path, values, data, tree, asks=asks)
    folder, defined_in = _find_connection(tree, path, Finder(root, path))
    calls = CallReader(
        tree,
        path,
        {wanted, "STAGES"},
        imported=reader.imported,
        stays=conf.connection_line is not None and defined_in == path,
    )
    if asks:
        if line := calls.find_work_of_import():
            message = "an import of this file would run its steps"
            hint = 'put this line under if __name__ == "__main__":'
            raise _error(path, line, message, hint)
        steps, lists = _ask(root, path, wanted, reader)
    else:
        steps, lists = _read(
            tree, path, wanted, values, reader, may_ask=not calls.find_work_of_import()
        )
    if not steps:
        message = f"there is no {wanted}, or it is empty"
        raise _error(path, None, message, _EXAMPLE)
    orders = [[step.name for step in steps], [name for name, _, _ in lists]]
    options = tuple(find_options(tree))
    defining = tree if defined_in == path else ast.parse(read_file(root, defined_in) or b"")
    opening = [
        one
        for one in defining.body
        if isinstance(one, ast.FunctionDef) and one.name == "get_connection"
    ]
    refusals = [*calls.find_refusals(orders)]
    for one in opening:
        refusals += find_lost_arguments(tree, path, one, defined_in, options)
    decorators = [ast.unparse(each) for one in opening for each in one.decorator_list]
    return Orchestrator(
        path=path,
        name=wanted,
        steps=steps,
        lists=lists,
        refusals=tuple(sorted(refusals, key=lambda one: one.line or 0)),
        connection=conf.connection_line,
        connection_from=(defined_in, folder),
        is_context=any("contextmanager" in one for one in decorators),
        calls_steps=calls.has_calls,
        options=options,
        passed=calls.passed,
        imports_steps=_imports_steps(tree, reader),
    )


_EXAMPLE = (
    'orch adopt reads STEPS = {"parse": "src.pipeline.parse"} at the top level, under any name'
)


def _find_connection(tree: ast.Module, path: str, finder: Finder) -> tuple[str, str]:
    """(the folder on `sys.path`, the file) of the module that defines `get_connection`."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported = [one for one in node.names if one.name == "get_connection"]
            folder, found = finder.find(node.module) if imported else ("", "")
            if found:
                return folder, found
    return os.path.dirname(path) or ".", path


def _imports_steps(tree: ast.Module, reader: StepReader) -> bool:
    return any(
        (alias.asname or alias.name).partition(".")[0] in reader.imported
        for node in _imports(tree)
        for alias in node.names
    )


def _choose(
    reader: StepReader,
    path: str,
    values: Mapping[str, ast.expr],
    data: bytes,
    tree: ast.Module,
    *,
    asks: bool,
) -> str:
    """The name of the dict or list that has the steps. `asks`: it may be one that only a run of the file makes."""
    if TOOL_MAP in values or any(TOOL_MAP in ast.unparse(node) for node in _imports(tree)):
        return TOOL_MAP
    found = dict(reader.find_names())
    if len(found) > 1:
        found.pop("STAGES", None)
    if not found and asks:
        return TOOL_MAP
    if not found:
        raise DiscoveryError(build_refusal(path, data, tree))
    [first, *others] = found
    if others:
        names = ", ".join(f"{name} (line {line})" for name, line in found.items())
        message = f"several dicts and lists name steps: {names}"
        raise _error(path, found[first], message, f"say which one: orch adopt {path} {first}")
    return first


class Finder:
    """Finds what a step names. `folders` are those in which the file at `path` finds modules, relative to the root."""

    def __init__(self, root: str, path: str) -> None:
        self._root = root
        self.folders = list(dict.fromkeys([os.path.dirname(path) or ".", ".", "src"]))

    def find(self, text: str) -> tuple[str, str]:
        """(the folder on `sys.path`, the file) of a module or a path, both relative to the root; empty if there is
        none. A script finds modules in its own folder."""
        if text.endswith((".py", SQL_SUFFIX)):
            for folder in self.folders:
                path = os.path.normpath(os.path.join(folder, text)).replace(os.sep, "/")
                if not path.startswith("../") and os.path.isfile(os.path.join(self._root, path)):
                    return os.path.dirname(path) or ".", path
            return "", ""
        parts = text.split(".")
        for folder in self.folders if is_tool_name(text) else ():
            for ending in (".py", "/__init__.py"):
                path = os.path.normpath(os.path.join(folder, *parts)) + ending
                if os.path.isfile(os.path.join(self._root, path)):
                    return folder, path.replace(os.sep, "/")
        return "", ""


def _imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    return (node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))


def _read(
    tree: ast.Module,
    path: str,
    name: str,
    values: Mapping[str, ast.expr],
    reader: StepReader,
    *,
    may_ask: bool,
) -> tuple[tuple[Step, ...], tuple[NamedList, ...]]:
    """The steps and the lists, where they are written out. Raises ProjectError."""
    found = reader.read(name, values[name]) if name in values else None
    stages = "STAGES" if "STAGES" in values and name != "STAGES" else ""
    lists = found.lists if found else ()
    changed = find_changes(tree, name)
    wrong = "" if found and not changed else name
    if not wrong and stages:
        changed = find_changes(tree, stages)
        read = _read_names(values[stages], path)
        wrong = "" if read is not None and not changed else stages
        lists = read or ()
    if not wrong:
        assert found is not None
        if not stages and not lists:
            lists = tuple(_find_lists(found, values, path))
        return found.steps, lists
    line = changed[0] if changed else values[wrong].lineno if wrong in values else None
    if line is None:
        raise _error(path, None, f"there is no {wrong}", _EXAMPLE)
    message = f"{wrong} is not written out in {path} as a dict or list of strings or functions"
    more = "" if name == TOOL_MAP else f" {name}"
    hint = f"orch adopt {path}{more} --import runs the file, as an import does, and reads {wrong}"
    if not may_ask:
        hint = "write its entries out: an import of this file would run its steps"
    place = Location(path=path, line=line)
    raise DiscoveryError.of("adopt", message, hint, place)


def _find_lists(found: StepList, values: Mapping[str, ast.expr], path: str) -> Iterator[NamedList]:
    """The lists of another dict, if all that it has are lists of the names of these steps."""
    known = {step.name for step in found.steps}
    for name, value in values.items():
        lists = _read_names(value, path) if name != found.name else None
        if lists and all(members and known.issuperset(members) for _, members, _ in lists):
            yield from lists
            return


def _read_names(value: ast.expr, path: str) -> tuple[NamedList, ...] | None:
    """The lists of a dict of lists of strings; None where it is none."""
    if not isinstance(value, ast.Dict):
        return None
    lists = []
    for key, node in zip(value.keys, value.values, strict=True):
        if key is None:
            return None
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            said, members = ast.literal_eval(key), ast.literal_eval(node)
            items = members if isinstance(members, list | tuple | dict | set) else [members]
            place = Location(path=path, line=key.lineno)
            lists.append((str(said), tuple(map(str, items)), place))
    return tuple(lists) if len(lists) == len(value.keys) else None


def _ask(
    root: str, path: str, name: str, reader: StepReader
) -> tuple[tuple[Step, ...], tuple[NamedList, ...]]:
    """The values that the file has after its import. Raises ProjectError."""
    folders = [os.path.normpath(os.path.join(root, one)) for one in Finder(root, path).folders]
    words = [sys.executable, "-B", "-c", _ASK, os.path.join(root, path), name, *folders]
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
    steps = tuple(reader.read_value(str(key), value, place) for key, value in said[name])
    lists = said["STAGES"] if name != "STAGES" else []
    return steps, tuple(
        (
            str(key),
            tuple(
                map(
                    str,
                    value
                    if isinstance(value, Sequence) and not isinstance(value, str)
                    else [value],
                )
            ),
            place,
        )
        for key, value in lists
    )


def _error(path: str, line: int | None, message: str, hint: str) -> ProjectError:
    return ProjectError.of("adopt", message, hint, Location(path=path, line=line))
