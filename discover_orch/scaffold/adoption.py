"""`orch adopt`: from a hand-written orchestrator to tags, settings and `orchconf.py`.

It decides what to write, makes the changes in a copy of the source and reads that as orch would: each list must select
the same tools in the same order.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.file import SHARED_FILE, find_root
from discover_orch.discovery.scanner import is_tool_name
from discover_orch.model.conventions import ALL_STAGES, CONF_FILE, OWN_OPTIONS, SQL_SUFFIX
from discover_orch.model.errors import Location, OrchError, Problem
from discover_orch.planning.project_view import ProjectView, plan_targets, read_project
from discover_orch.scaffold.file_changes import (
    CannotEdit,
    FileChange,
    Table,
    add_alias,
    add_settings,
    add_tags,
    is_searched,
    read_file,
    toml_table,
    write_changes,
)
from discover_orch.scaffold.old_calls import CONNECTIONS
from discover_orch.scaffold.old_options import compare_options
from discover_orch.scaffold.old_orchestrator import Finder, Orchestrator
from discover_orch.scaffold.step_lists import Step
from discover_orch.source.command_line import find_command_line, find_lost_by_guard
from discover_orch.source.facts import BrokenTool, ModuleFacts
from discover_orch.source.read_module import read_module

#: The tools of a list that were found, and where it is written.
FoundList = tuple[tuple[str, ...], Location]


class FoundTool(Struct, frozen=True, kw_only=True):
    """A step whose module was found: its file relative to the root, and the folder on `sys.path`. `place` is that of
    the entry; `function` is the one that becomes `run`, "" where the module has one."""

    name: str
    module: str
    path: str
    base: str
    place: Location
    facts: ModuleFacts
    function: str = ""


def _select(view: ProjectView, target: str) -> list[str]:
    try:
        return [one.tool.module for one in plan_targets(view, [target], is_partial=True).steps]
    except OrchError:
        return []


def _ignored(folder: str, names: Sequence[str]) -> list[str]:
    """What is not copied: all but the Python and TOML files of the project, and the folders that may hold some."""

    def is_copied(name: str) -> bool:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            return is_searched(path)
        return name.endswith((".py", ".toml")) and os.path.isfile(path)

    return [name for name in names if not is_copied(name)]


class Adopter:
    """Decides what to write. Each step adds what it cannot express to `problems`, and what a reader should know to
    `notes`. `tools` and `lists` are those that were found. Raises ProjectError for a file that cannot be read."""

    def __init__(self, root: str, old: Orchestrator) -> None:
        self._root = root
        self.old = old
        self.problems: list[Problem] = [*old.refusals]
        self.notes: list[str] = []
        if not old.calls_steps:
            self.notes.append(
                f"no call of the steps is in {old.path}: see that each run() gets the same arguments"
            )
        self.tools = {tool.name: tool for tool in self._find_tools()}
        self.lists = dict(self._find_lists())

    def build(self) -> tuple[FileChange, ...]:
        """The changes; none where something is refused. They are made in a copy first, and what that says is compared
        with the lists."""
        if any(problem.severity == "error" for problem in self.problems):
            return ()
        paths = {name: tool.module for name, tool in self.tools.items()}
        lists = {name: members for name, (members, _) in self.lists.items()}
        words = {
            name: name if self._is_alone(tool) else tool.module for name, tool in self.tools.items()
        }
        divided = divide(lists, words)
        for name, new in divided.targets.items():
            if name != new:
                self.notes.append(
                    f"the list {name} is the group {new}: orch run {name} always means all stages in order"
                )
        made: list[FileChange | None] = []
        for stage, members in divided.stages.items():
            after = find_after(members, paths)
            made += [
                self._tag(self.tools[one], stage, words.get(after.get(one, ""), ""))
                for one in members
            ]
        conf = self._conf()
        made += [self._config(list(divided.stages), divided.groups), conf]
        changes = tuple(one for one in made if one is not None)
        with tempfile.TemporaryDirectory(prefix="orch-adopt-") as place:
            copy = os.path.join(os.path.realpath(place), "copy")
            with suppress(shutil.Error):  # a loop of links, or a folder that cannot be read
                shutil.copytree(self._root, copy, ignore=_ignored)
            write_changes(copy, changes)
            try:
                self._check(read_project(copy, copy, {}), divided.targets)
            except OrchError as error:
                self.problems += error.problems
        return changes

    def _check(self, view: ProjectView, targets: Mapping[str, str]) -> None:
        """Warns where a list or a name does not mean the same in the changed copy. Adds notes on the options."""
        self.problems += view.errors
        for tool in self.tools.values():
            if view.registry.names.find(tool.name) != (tool.module,):
                message = f"the name {tool.name} would not mean the tool {tool.module} alone"
                self._warn(tool.place, message, "rename one of the tools")
        for name, (members, place) in self.lists.items():
            selected = _select(view, targets[name])
            if selected != [self.tools[one].module for one in members]:
                shown = ", ".join(map(view.registry.display, selected)) or "nothing"
                message = (
                    f"orch run {targets[name]} would run {shown}, which is not the list {name}"
                )
                self._warn(
                    place, message, "correct STAGE and AFTER in its tools, or rename the list"
                )
        modules = {one.module for one in self.tools.values()}
        tools = [one for one in view.registry.tools.values() if one.module in modules]
        refusals, notes = compare_options(self.old, tools)
        self.problems += refusals
        self.notes += notes
        params = {param.name for tool in tools for param in tool.params}
        for name in sorted(params & OWN_OPTIONS):
            self.notes.append(
                f"orch run has an option --{name.replace('_', '-')} of its own: rename the parameter {name}, "
                f"or set it with -p {name}=VALUE"
            )

    def _refuse(self, place: Location, message: str, hint: str) -> None:
        """What makes that nothing is written."""
        self.problems.append(Problem(code="adopt", message=message, hint=hint).at(place))

    def _warn(self, place: Location, message: str, hint: str = "") -> None:
        self.problems.append(
            Problem(code="adopt", message=message, hint=hint, severity="warning").at(place)
        )

    def _find_tools(self) -> Iterator[FoundTool]:
        """The steps whose modules are there and have `run()`, or a function that can be it."""
        seen: dict[str, str] = {}
        finder = Finder(self._root, self.old.path)
        for step in self.old.steps:
            if step.problem:
                self._refuse(step.place, step.problem, step.hint)
                continue
            text, _, function = step.text.partition(":")
            base, path = finder.find(text)
            if not path:
                looked = ", ".join(finder.folders)
                message = f"there is no {text} for {step.name} (looked in {looked})"
                self._refuse(step.place, message, "correct the entry, or remove it")
                continue
            if seen.setdefault(path, step.name) != step.name:
                first = seen[path]
                message = f"{step.name} is in the same module as {first}: {path}"
                self._refuse(step.place, message, "a module is one tool: move one of them")
                continue
            if path.endswith(SQL_SUFFIX):
                hint = "its first comment needs the line: -- STAGE: NAME"
                self._refuse(step.place, f"{path} is SQL, which orch adopt does not change", hint)
                continue
            data = read_file(self._root, path) or b""
            module = os.path.relpath(path, base).removesuffix(".py")
            module = module.removesuffix("/__init__").replace("/", ".")
            facts = read_module(data, module=module, path=path)
            if isinstance(facts, BrokenTool):
                self.problems.append(replace(facts.problems[0], hint="fix the file"))
            elif (run := self._find_function(step, function, data, facts)) is not None:
                yield FoundTool(
                    name=step.name,
                    module=module,
                    path=path,
                    base=base,
                    place=step.place,
                    facts=facts,
                    function=run,
                )

    def _find_function(
        self, step: Step, wanted: str, data: bytes, facts: ModuleFacts
    ) -> str | None:
        """The function that becomes `run`, "" where it has this name already; None where there is none."""
        tree = ast.parse(data)
        name = wanted or ("main" if facts.run is None else "run")
        if step.text.endswith(".py") and not self._keeps_all(step, tree, name):
            return None
        if facts.run is not None and name == "run":
            return ""
        aliases = (one for one in tree.body if isinstance(one, ast.Assign))
        if any(ast.unparse(one) == f"run = {name}" for one in aliases):
            return ""  # it was adopted before
        if facts.run is not None:
            message = f"{facts.path} has run() beside {name}(), and orch calls run()"
            self._refuse(step.place, message, "move one of them into another module")
            return None
        functions = {
            one.name: one
            for one in tree.body
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        if name not in functions:
            message = f"{facts.path} has no function {name}() at its top level"
            self._refuse(step.place, message, "move its code into a function run()")
            return None
        for node in tree.body:
            if isinstance(node, ast.Expr) and ast.unparse(node).startswith(f"{name}("):
                hint = 'put this line under if __name__ == "__main__":'
                place = Location(path=facts.path, line=node.lineno)
                self._refuse(place, f"an import of this file calls {name}()", hint)
                return None
        line, signature = find_command_line(tree, name)
        if line:
            message = f"{name}() reads the command line itself"
            hint = f"orch passes the options to run(), so write: def {signature}:"
            self._refuse(Location(path=facts.path, line=line), message, hint)
            return None
        return name

    def _keeps_all(self, step: Step, tree: ast.Module, name: str) -> bool:
        """Whether the script does nothing beside its function that a tool would not do."""
        path = Finder(self._root, self.old.path).find(step.text)[1]
        line, what, hint = find_lost_by_guard(tree, name)
        if line:
            self._refuse(Location(path=path, line=line), what, hint)
        return not line

    def _find_lists(self) -> Iterator[tuple[str, FoundList]]:
        """The tools of each list that were found. Without lists, all are one, `full`."""
        known = {step.name for step in self.old.steps}
        place = Location(path=self.old.path)
        lists = self.old.lists
        if not lists:
            self.notes.append("all tools are in one stage, in the order of the file")
            lists = ((ALL_STAGES, tuple(step.name for step in self.old.steps), place),)
        for name, members, place in lists:
            for one in dict.fromkeys(members):
                if one not in known:
                    self._warn(place, f"{self.old.name} has no {one}, which is in the list {name}")
                elif members.count(one) > 1:
                    hint = "orch runs a tool once in a run"
                    self._warn(
                        place,
                        f"the list {name} runs {one} twice"
                        if self.old.lists
                        else f"{self.old.name} runs {one} twice",
                        hint,
                    )
            found = tuple(one for one in dict.fromkeys(members) if one in self.tools)
            if found:
                yield name, (found, place)
            elif known.isdisjoint(members):
                self._warn(place, f"the list {name} has no tools")

    def _is_alone(self, tool: FoundTool) -> bool:
        """Whether its name names no other tool; the name is then also the end of no other module."""
        others = (one for one in self.tools.values() if one is not tool)
        return not any(f".{one.module}".endswith(f".{tool.name}") for one in others)

    def _tag(self, tool: FoundTool, stage: str, after: str) -> FileChange | None:
        """The module with the tags that it does not have yet. What it has stays, and `_check` judges it."""
        facts = tool.facts
        wanted: dict[str, object] = {} if facts.stage else {"STAGE": stage}
        if after and not facts.after:
            wanted["AFTER"] = after
        is_own_name = self._is_alone(tool) and f".{tool.module}".endswith(f".{tool.name}")
        if not is_own_name and not facts.orch:
            wanted["ORCH"] = {"name": tool.name}
        tags = {name: json.dumps(one, ensure_ascii=False) for name, one in wanted.items()}
        if not tags and not tool.function:
            return None
        data = read_file(self._root, tool.path) or b""
        try:
            new = add_alias(data, tool.function) if tool.function else data
            return FileChange(path=tool.path, old=data, new=add_tags(new, tags) if tags else new)
        except CannotEdit as error:
            self._warn(Location(path=tool.path), str(error), "add the tags by hand")
            return None

    def _config(
        self, stages: list[str], groups: Mapping[str, tuple[str, ...]]
    ) -> FileChange | None:
        tools = self.tools.values()
        tops = {tool.path.split("/")[0] if "/" in tool.path else "." for tool in tools}
        packages = ["."] if "." in tops else sorted(tops)
        bases = [os.path.normpath(tool.base) for tool in tools]
        if self.old.connection is not None:
            bases.append(self.old.connection_from[1])
        bases = list(dict.fromkeys(bases))
        table: Table = {
            "packages": None if packages == ["src"] else packages,
            "pythonpath": None if bases in ([], ["."]) else bases,
            "stages": stages,
            "groups": groups,
        }
        try:
            if find_root(self._root, self._root)[1] is None:
                return add_settings(self._root, table)
            message = "the project already has orch settings"
        except CannotEdit as error:
            message = str(error)
        project = read_project(self._root, self._root, {}).project
        if (list(project.stages), dict(project.groups)) != (stages, groups):
            text = toml_table("tool.orch", table).replace("\n", " ").strip()
            place = Location(path=project.config or SHARED_FILE)
            self._warn(place, message, f"set there: {text}")
        return None

    def _conf(self) -> FileChange | None:
        """`orchconf.py`, or its end where it exists: it imports the connection, from the old file where that defines
        it, which so stays."""
        old, before = self.old, read_file(self._root, CONF_FILE)
        if before is not None and b"get_connection" in before:
            return None
        taken = {
            one.name
            for tool in self.tools.values()
            for one in (tool.facts.run.arguments if tool.facts.run else ())
            if one.default_source is None
        }
        if old.connection is None:
            if taken & CONNECTIONS:
                message = f"{old.path} has no get_connection() at its top level: conn connects to the database setting"
                self.notes.append(message)
            return None
        place = Location(path=old.path, line=old.connection)
        file, base = old.connection_from
        module = os.path.relpath(file, base).removesuffix(".py").removesuffix("/__init__")
        module = module.replace("/", ".")
        if not is_tool_name(module):
            message = f"{CONF_FILE} cannot import get_connection() from a file of this name"
            self._warn(place, message, "rename the file, such as run_pipeline.py")
            return None
        if file == old.path:
            self.notes.append(
                f"{CONF_FILE} imports get_connection() from {old.path}, so that file stays: "
                'put what an import should not do under if __name__ == "__main__":'
            )
        if file == old.path and old.imports_steps:
            self.notes.append(
                f"{old.path} imports the steps, so an edit of one of them counts for all tools: "
                "move get_connection() into a module of its own"
            )
        text = f"from {module} import get_connection\n"
        if old.is_context:
            text = (
                f"from {module} import get_connection as open_connection\n\n\n"
                "def get_connection():\n    with open_connection() as conn:\n        yield conn\n"
            )
        aliases = sorted(taken & CONNECTIONS - {"conn"})
        if aliases:
            text = "from discover_orch import resource\n" + text
        for name in aliases:
            text += f"\n\n@resource\ndef {name}(conn):\n    return conn\n"
        start = b'"""The database connection of the tools."""\n\n'
        if before is not None:
            start = before.rstrip(b"\n") + b"\n\n\n"
        return FileChange(path=CONF_FILE, old=before, new=start + text.encode())


Lists = Mapping[str, tuple[str, ...]]


class StageLists(Struct, frozen=True, kw_only=True):
    """`stages`: the tools of each stage, in the order of the stages; one that no list has is for tools that are in
    no other. `groups`: words for `orch run`. `targets`: the word for each list."""

    stages: Lists
    groups: Lists
    targets: Mapping[str, str]


def divide(lists: Lists, words: Mapping[str, str]) -> StageLists:
    """`words` has all tools, and the word that names each alone. Lists without a common tool become stages, in the
    order of the list `full` if there is one. A list that is made of other lists, or shares a tool with a stage,
    becomes a group."""
    stages: dict[str, tuple[str, ...]] = {}
    for name, members in lists.items():
        is_free = set(members).isdisjoint(_all(stages))
        if name != ALL_STAGES and is_free and not _is_made_of_others(name, lists):
            stages[name] = members
    full = lists.get(ALL_STAGES, ())
    order = [*dict.fromkeys((*full, *_all(stages), *_all(lists), *words))]
    left = sorted(words.keys() - _all(stages), key=order.index)
    if left:
        added = _free_name("other" if stages else "pipeline", {*lists, *words})
        stages[added] = tuple(left)
    by_order = sorted(stages, key=lambda one: min(map(order.index, stages[one])))
    stages = {name: stages[name] for name in by_order}
    groups, targets = {}, {name: name for name in lists}
    for name, members in lists.items():
        if name in stages or (name == ALL_STAGES and [*members] == _all(stages)):
            continue
        if name == ALL_STAGES:
            targets[name] = _free_name(f"{ALL_STAGES}_list", {*lists, *words, *stages})
        groups[targets[name]] = tuple(
            f"tool:{words[one]}" if words[one] in (*stages, *lists) else words[one]
            for one in members
        )
    return StageLists(stages=stages, groups=groups, targets=targets)


def find_after(members: Sequence[str], sort_key: Mapping[str, str]) -> dict[str, str]:
    """The tools of a stage that need `AFTER`, and the tool before them, so that they run in this order.

    Of the tools that may run, the one with the smallest `sort_key`, its module path, is next: so it is in a run. A
    tool without `AFTER` would run before an earlier one with a larger key.
    """
    return {
        tool: members[place - 1]
        for place, tool in enumerate(members)
        if any(sort_key[tool] < sort_key[one] for one in members[:place])
    }


def _all(lists: Lists) -> list[str]:
    return [tool for members in lists.values() for tool in members]


def _is_made_of_others(name: str, lists: Lists) -> bool:
    """Whether its tools are those of shorter lists together."""
    own = set(lists[name])
    parts = [set(members) for members in lists.values() if set(members) < own]
    return set().union(*parts) == own


def _free_name(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name
