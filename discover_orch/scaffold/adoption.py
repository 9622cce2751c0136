"""`orch adopt`: from a hand-written orchestrator to tags, settings and `orchconf.py`.

It decides what to write, makes the changes in a copy of the source and reads that as orch would: each list must select
the same tools in the same order.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.file import SHARED_FILE, find_root
from discover_orch.model.conventions import CONF_FILE, OWN_OPTIONS
from discover_orch.model.errors import Location, OrchError, Problem
from discover_orch.planning.project_reader import read_project
from discover_orch.planning.project_view import ProjectView, plan_targets
from discover_orch.scaffold.files import FileChange, is_searched, read_file, write_changes
from discover_orch.scaffold.orchestrator import Orchestrator, search_folders
from discover_orch.scaffold.stage_lists import divide, find_after
from discover_orch.scaffold.text_edits import CannotEdit, add_settings, add_tags, toml_table
from discover_orch.source.facts import ModuleFacts
from discover_orch.source.read_module import read_module

#: Names by which `run()` may take the connection, beside `conn`.
_CONNECTIONS = frozenset({"connection", "con", "db", "database", "cnx"})

#: The tools of a list that were found, and where it is written.
FoundList = tuple[tuple[str, ...], Location]


class FoundTool(Struct, frozen=True, kw_only=True):
    """A tool of `TOOL_MAP` whose module was found: its file relative to the root, and the folder on `sys.path`.
    `place` is that of the entry."""

    name: str
    module: str
    path: str
    base: str
    place: Location
    facts: ModuleFacts


class Adoption(Struct, frozen=True, kw_only=True):
    """What to write, what cannot be expressed (`problems`), and what a reader should know (`notes`). `tools` and
    `lists` are the numbers of those that were found."""

    changes: tuple[FileChange, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    tools: int
    lists: int


def build_adoption(root: str, old: Orchestrator) -> Adoption:
    """The changes for the project at `root`. Raises ProjectError for a file that cannot be read."""
    return _Adopter(root, old).build()


def _select(view: ProjectView, target: str) -> list[str]:
    try:
        return [one.tool.module for one in plan_targets(view, [target], is_partial=True).steps]
    except OrchError:
        return []


@contextmanager
def _copy_of_source(root: str) -> Iterator[str]:
    """A folder with the Python and TOML files of the project."""
    with tempfile.TemporaryDirectory(prefix="orch-adopt-") as place:
        copy = os.path.join(os.path.realpath(place), "copy")
        for folder, inner, files in os.walk(root, followlinks=True):
            inner[:] = [one for one in inner if is_searched(os.path.join(folder, one))]
            target = os.path.join(copy, os.path.relpath(folder, root))
            os.makedirs(target, exist_ok=True)
            for name in files:
                source = os.path.join(folder, name)
                if name.endswith((".py", ".toml")) and os.path.isfile(source):
                    shutil.copy(source, target)
        yield copy


class _Adopter:
    """Builds an `Adoption`: each step adds what it cannot express to `problems`, and what to know to `notes`."""

    def __init__(self, root: str, old: Orchestrator) -> None:
        self._root = root
        self._old = old
        self._problems: list[Problem] = []
        self._notes: list[str] = []
        self._tools = {tool.name: tool for tool in self._find_tools()}

    def build(self) -> Adoption:
        found = dict(self._find_lists())
        paths = {name: tool.module for name, tool in self._tools.items()}
        lists = {name: members for name, (members, _) in found.items()}
        words = {
            name: name if self._is_alone(tool) else tool.module
            for name, tool in self._tools.items()
        }
        divided = divide(lists, words)
        if divided.added and len(divided.stages) > 1:
            tools = ", ".join(divided.stages[divided.added])
            self._notes.append(
                f'in no list that became a stage, so they are in the new stage "{divided.added}": {tools}'
            )
        for name, new in divided.renamed.items():
            self._notes.append(
                f"the list {name} is the group {new}: orch run {name} always means all stages in order"
            )
        targets = {name: divided.renamed.get(name, name) for name in lists}
        everything = [tool for members in divided.stages.values() for tool in members]
        for (
            name,
            members,
        ) in lists.items():  # one that disagrees with the stages on the order of two tools
            for first, second in pairwise(members):
                if everything.index(first) > everything.index(second):
                    self._notes.append(
                        f"the list {name} runs {first} before {second}, and orch run runs {second} before "
                        f"{first}: orch run {targets[name]} keeps the order of the list"
                    )
                    break
        after = {
            tool: words[before]
            for members in divided.stages.values()
            for tool, before in find_after(members, paths).items()
        }
        made = [
            self._tag(tool, divided.stage_of(name), after.get(name, ""))
            for name, tool in self._tools.items()
        ]
        conf = self._conf()
        made += [self._config(list(divided.stages), divided.groups), conf]
        changes = tuple(one for one in made if one is not None)
        with _copy_of_source(self._root) as copy:
            write_changes(copy, changes)
            try:
                self._check(read_project(copy, copy, {}), found, targets)
            except OrchError as error:
                self._problems += error.problems
        return Adoption(
            changes=changes,
            problems=tuple(self._problems),
            notes=tuple(self._notes),
            tools=len(self._tools),
            lists=len(lists),
        )

    def _check(
        self, view: ProjectView, lists: Mapping[str, FoundList], targets: Mapping[str, str]
    ) -> None:
        """Warns where a list or a name does not mean the same in the changed copy. Adds a note on the flags."""
        self._problems += view.errors
        for tool in self._tools.values():
            if view.registry.names.find(tool.name) != (tool.module,):
                message = f"the name {tool.name} would mean more than the tool {tool.module}"
                self._warn(tool.place, message, "rename one of the tools")
        for name, (members, place) in lists.items():
            selected = _select(view, targets[name])
            if selected != [self._tools[one].module for one in members]:
                shown = ", ".join(map(view.registry.display, selected)) or "nothing"
                message = (
                    f"orch run {targets[name]} would run {shown}, which is not the list {name}"
                )
                self._warn(place, message, "arrange the tools with AFTER, or rename the list")
        params = [one for tool in view.registry.tools.values() for one in tool.params]
        flags = {f"-p {one.name}=" if one.name in OWN_OPTIONS else one.flag for one in params}
        if flags:
            self._notes.append(
                f"the parameters of run() are the flags of orch run now: {', '.join(sorted(flags))}. "
                "Compare their types and defaults with the old ones: orch run --help"
            )

    def _warn(self, place: Location, message: str, hint: str = "") -> None:
        self._problems.append(
            Problem(code="adopt", message=message, hint=hint, location=place, severity="warning")
        )

    def _find_tools(self) -> Iterator[FoundTool]:
        """The tools whose modules are there and have `run()`."""
        seen: dict[str, str] = {}
        bases = search_folders(self._old.path)
        for name, value, entry in self._old.tools:
            text = ":".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            module, _, function = text.partition(":")
            if module.endswith(".py"):
                module = module.removesuffix(".py").removeprefix("./").replace("/", ".")
            first = seen.setdefault(module, name)
            if first != name:
                hint = f'a module is one tool: use {first}, or a group {name} = ["{first}"]'
                self._warn(entry, f"{name} is the same module as {first}: {module}", hint)
                continue
            base, path = self._find_module(bases, module)
            if not path:
                hint = f"correct the entry or remove it (looked in {', '.join(bases)})"
                self._warn(entry, f"the module of {name} was not found: {module}", hint)
                continue
            facts = read_module(read_file(self._root, path) or b"", module=module, path=path)
            if not isinstance(facts, ModuleFacts):
                problem = facts.problem
                self._problems.append(replace(problem, hint="fix the file", severity="warning"))
                continue
            if facts.run is None or function not in ("", "run"):
                message = f"{name} was called as {function}(), and orch calls run()"
                hint = "define run() at the top level of the module"
                if function not in ("", "run"):
                    hint += f", for example with the line: run = {function}"
                message = message if facts.run else f"{name} has no run()"
                self._warn(Location(path=path), message, hint)
            if facts.run is not None:
                yield FoundTool(
                    name=name, module=module, path=path, base=base, place=entry, facts=facts
                )

    def _find_module(self, bases: Collection[str], module: str) -> tuple[str, str]:
        """(the folder on `sys.path`, the file), both relative to the root; empty if there is none."""
        parts = module.split(".")
        for base in bases if all(map(str.isidentifier, parts)) else ():
            for ending in (".py", "/__init__.py"):
                path = os.path.normpath(os.path.join(base, *parts)) + ending
                if os.path.isfile(os.path.join(self._root, path)):
                    return base, path.replace(os.sep, "/")
        return "", ""

    def _find_lists(self) -> Iterator[tuple[str, FoundList]]:
        """The tools of each list that were found."""
        known = {name for name, _, _ in self._old.tools}
        if not self._old.lists:
            hint = 'orch adopt reads STAGES = {"ingest": ["parse"]} at the top level'
            message = "no STAGES was found, so all tools are in one stage"
            self._warn(Location(path=self._old.path), message, hint)
        for name, value, place in self._old.lists:
            items = value if isinstance(value, list | tuple | dict | set) else [value]
            members = [str(one) for one in items]
            for one in dict.fromkeys(members):
                if one not in known:
                    self._warn(place, f"in the list {name}: {one} is not in TOOL_MAP")
                elif members.count(one) > 1:
                    hint = "orch runs a tool once in a run"
                    self._warn(place, f"the list {name} runs {one} twice", hint)
            if known.isdisjoint(members):
                self._warn(place, f"the list {name} has no tools")
            found = tuple(one for one in dict.fromkeys(members) if one in self._tools)
            if found:
                yield name, (found, place)

    def _is_alone(self, tool: FoundTool) -> bool:
        """Whether its name names no other tool; the name is then also the end of no other module."""
        others = (one for one in self._tools.values() if one is not tool)
        return not any(f".{one.module}".endswith(f".{tool.name}") for one in others)

    def _tag(self, tool: FoundTool, stage: str, after: str) -> FileChange | None:
        facts = tool.facts
        has = {
            "STAGE": facts.stage and (facts.stage.line, facts.stage.words),
            "AFTER": facts.after and (facts.after.line, facts.after.words),
            "ORCH": facts.orch and (facts.orch.line, facts.orch.values),
        }
        wanted: dict[str, object] = {"STAGE": (stage,)}
        if after:
            wanted["AFTER"] = (after,)
        if not (self._is_alone(tool) and f".{tool.module}".endswith(f".{tool.name}")):
            wanted["ORCH"] = {"name": tool.name}
        tags = {}
        for name, value in wanted.items():
            text = json.dumps(value[0] if isinstance(value, tuple) else value, ensure_ascii=False)
            match has[name]:
                case None:
                    tags[name] = text
                case (line, said) if said != value:
                    message = f"the module has another {name} than {name} = {text}"
                    hint = "change the line, or rename the constant"
                    self._warn(Location(path=tool.path, line=line), message, hint)
        data = read_file(self._root, tool.path) or b""
        try:
            new = add_tags(data, tags)
        except CannotEdit as error:
            self._warn(Location(path=tool.path), str(error), "add the tags by hand")
            return None
        return FileChange(path=tool.path, old=data, new=new) if new != data else None

    def _config(
        self, stages: list[str], groups: Mapping[str, tuple[str, ...]]
    ) -> FileChange | None:
        tools = self._tools.values()
        tops = {tool.path.split("/")[0] if "/" in tool.path else "." for tool in tools}
        packages = ["."] if "." in tops else sorted(tops)
        bases = list(dict.fromkeys(os.path.normpath(tool.base) for tool in tools))
        home = os.path.dirname(self._old.path) or "."
        if self._old.connection is not None and home not in bases:
            bases.append(home)
        table: dict[str, object] = {
            "packages": None if packages == ["src"] else packages,
            "pythonpath": None if bases in ([], ["."]) else bases,
            "stages": stages,
            "groups": groups,
        }
        text = toml_table("tool.orch", table).replace("\n", " ").strip()
        if find_root(self._root, self._root)[1] is not None:
            project = read_project(self._root, self._root, {}).project
            if (list(project.stages), dict(project.groups)) != (stages, groups):
                place = Location(path=project.config or SHARED_FILE)
                self._warn(place, "the project already has orch settings", f"set there: {text}")
            return None
        try:
            return add_settings(self._root, table)
        except CannotEdit as error:
            self._warn(Location(path=SHARED_FILE), str(error), f"write it by hand: {text}")
            return None

    def _conf(self) -> FileChange | None:
        """`orchconf.py`, or its end where it exists: it imports the connection from the old file, which so stays."""
        old, before = self._old, read_file(self._root, CONF_FILE)
        if before is not None and b"get_connection" in before:
            return None
        if old.connection is None:
            self._notes.append(
                f"{old.path} has no get_connection() at its top level: conn connects to the database setting"
            )
            return None
        place = Location(path=old.path, line=old.connection)
        module = os.path.basename(old.path).removesuffix(".py")
        if not module.isidentifier():
            message = f"{CONF_FILE} cannot import get_connection() from a file of this name"
            self._warn(place, message, "rename the file, such as run_pipeline.py")
            return None
        if old.needs:
            message = f"get_connection() requires the argument {old.needs}"
            self._warn(place, message, "give the argument a default")
        if old.starts is not None:
            message = (
                f"{CONF_FILE} imports this file for get_connection(), and so runs this line too"
            )
            hint = (
                'put it under if __name__ == "__main__":, or move get_connection() to another file'
            )
            self._warn(Location(path=old.path, line=old.starts), message, hint)
        self._notes.append(f"conn comes from get_connection() of {old.path}, so that file stays")
        text = f"from {module} import get_connection\n"
        if old.is_context:
            text = (
                f"from {module} import get_connection as open_connection\n\n\n"
                "def get_connection():\n    with open_connection() as conn:\n        yield conn\n"
            )
        taken = {
            one.name
            for tool in self._tools.values()
            for one in (tool.facts.run.arguments if tool.facts.run else ())
            if one.default_source is None
        }
        aliases = sorted(taken & _CONNECTIONS)
        if aliases:
            text = "from discover_orch import resource\n" + text
        for name in aliases:
            text += f"\n\n@resource\ndef {name}(conn):\n    return conn\n"
        start = b'"""The database connection of the tools."""\n\n'
        if before is not None:
            start = before.rstrip(b"\n") + b"\n\n\n"
        return FileChange(path=CONF_FILE, old=before, new=start + text.encode())
