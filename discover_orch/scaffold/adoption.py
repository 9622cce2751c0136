"""`orch adopt`: from a hand-written orchestrator to tags, settings and `orchconf.py`.

`build_adoption` decides what to write. `check_adoption` makes the changes in a copy of the source and reads that as
orch would: each list must select the same tools in the same order.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.file import SHARED_FILE, find_root
from discover_orch.discovery.registry import Registry
from discover_orch.model.conventions import CONF_FILE
from discover_orch.model.errors import Location, OrchError, Problem
from discover_orch.planning.project_reader import read_project
from discover_orch.planning.project_view import ProjectView, plan_targets
from discover_orch.scaffold.files import FileChange, read_file, write_changes
from discover_orch.scaffold.module_text import CannotTag, add_tags
from discover_orch.scaffold.orchestrator import Orchestrator, adopt_problem, search_folders
from discover_orch.scaffold.stage_lists import StageLists, divide, find_after
from discover_orch.scaffold.toml_text import CannotEdit, append_table, toml_table
from discover_orch.source.facts import ModuleFacts
from discover_orch.source.read_module import read_module

_SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages"})
#: Names by which `run()` may take the connection, beside `conn`.
_CONNECTIONS = frozenset({"connection", "con", "db", "database", "cnx"})


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
    """What to write, what cannot be expressed (`problems`), and what a reader should know (`notes`)."""

    changes: tuple[FileChange, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    lists: tuple[tuple[str, str, tuple[str, ...], Location], ...] = ()  # name, target, modules
    tools: tuple[FoundTool, ...] = ()


def build_adoption(root: str, old: Orchestrator) -> Adoption:
    """The changes for the project at `root`. Raises ProjectError for a file that cannot be read."""
    problems = list(old.problems)
    tools = list(_find_tools(root, old, problems))
    paths = {tool.name: tool.module for tool in tools}
    lists = {one.name: tuple(name for name in one.tools if name in paths) for one in old.lists}
    lists = {name: members for name, members in lists.items() if members}
    words = {tool.name: _find_word(tool, tools) for tool in tools}
    divided = divide(lists, words)
    notes = [*_describe(divided), *_describe_orders(divided, lists)]
    after: dict[str, str] = {}
    for members in divided.stages.values():
        found = find_after(members, paths)
        after |= {tool: words[before] for tool, before in found.items()}
    tagged = [_tag(root, tool, divided, after, tools, problems) for tool in tools]
    bases = list(dict.fromkeys(os.path.normpath(tool.base) for tool in tools))
    conf = _conf(root, old, tools, problems, notes)
    home = os.path.dirname(old.path) or "."
    if old.connection is not None and home not in bases:
        bases.append(home)
    changes = (*tagged, _config(root, divided, tools, bases, problems), conf)
    places = {one.name: one.place for one in old.lists}
    return Adoption(
        changes=tuple(one for one in changes if one is not None),
        problems=tuple(problems),
        notes=tuple(notes),
        lists=tuple(
            (
                name,
                divided.renamed.get(name, name),
                tuple(paths[one] for one in members),
                places[name],
            )
            for name, members in lists.items()
        ),
        tools=tuple(tools),
    )


def check_adoption(root: str, adoption: Adoption) -> Adoption:
    """With further problems where a list or a name would not mean the same afterwards: errors if the result cannot be
    read at all. Adds a note on the flags. Nothing of the project is changed."""
    with _copy_of_source(root) as copy:
        write_changes(copy, adoption.changes)
        try:
            view = read_project(copy, copy, {})
        except OrchError as error:
            return replace(adoption, problems=(*adoption.problems, *error.problems))
    found = list(view.errors)
    for tool in adoption.tools:
        if view.registry.names.find(tool.name) != (tool.module,):
            message = f"the name {tool.name} would mean more than the tool {tool.module}"
            found.append(adopt_problem(tool.place, message, "rename one of the tools"))
    for name, target, modules, place in adoption.lists:
        selected = _select(view, target)
        if selected != modules:
            shown = ", ".join(view.registry.display(one) for one in selected) or "nothing"
            message = f"orch run {target} would run {shown}, which is not the list {name}"
            hint = "arrange the tools with AFTER, or rename the list"
            found.append(adopt_problem(place, message, hint))
    notes = (*adoption.notes, *_describe_flags(view.registry))
    return replace(adoption, problems=(*adoption.problems, *found), notes=notes)


def _select(view: ProjectView, target: str) -> tuple[str, ...]:
    try:
        plan = plan_targets(view, [target], is_partial=True)
    except OrchError:
        return ()
    return tuple(step.tool.module for step in plan.steps)


@contextmanager
def _copy_of_source(root: str) -> Iterator[str]:
    """A folder with the Python and TOML files of the project."""

    def find_others(folder: str, names: list[str]) -> list[str]:
        return [
            name
            for name in names
            if name in _SKIPPED
            or name.startswith(".")
            or os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
            or (
                not os.path.isdir(os.path.join(folder, name))
                and not name.endswith((".py", ".toml"))
            )
        ]

    with tempfile.TemporaryDirectory(prefix="orch-adopt-") as folder:
        copy = os.path.join(os.path.realpath(folder), "copy")
        shutil.copytree(root, copy, ignore=find_others, ignore_dangling_symlinks=True)
        yield copy


# The tools.


def _find_tools(root: str, old: Orchestrator, problems: list[Problem]) -> Iterator[FoundTool]:
    """The tools whose modules are there and have `run()`. What is wrong with the others is added to `problems`."""
    bases = search_folders(old.path)
    for tool in old.tools:
        place = _find_module(root, bases, tool.module)
        if place is None:
            message = f"the module of {tool.name} was not found: {tool.module}"
            hint = f"correct the entry or remove it (looked in {', '.join(bases)})"
            problems.append(adopt_problem(tool.place, message, hint))
            continue
        base, path = place
        facts = read_module(read_file(root, path) or b"", module=tool.module, path=path)
        if not isinstance(facts, ModuleFacts):
            problems.append(replace(facts.problem, hint="fix the file", severity="warning"))
            continue
        called = tool.function or "run"
        if facts.run is None or called != "run":
            message = f"{tool.name} was called as {called}(), and orch calls run()"
            message = message if facts.run else f"{tool.name} has no run()"
            hint = "define run() at the top level of the module"
            hint += "" if called == "run" else f", for example with the line: run = {called}"
            problems.append(adopt_problem(Location(path=path), message, hint))
        if facts.run is not None:
            yield FoundTool(
                name=tool.name,
                module=tool.module,
                path=path,
                base=base,
                place=tool.place,
                facts=facts,
            )


def _find_module(root: str, bases: Sequence[str], module: str) -> tuple[str, str] | None:
    """(the folder on `sys.path`, the file), both relative to the root."""
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for base in bases:
        for ending in (".py", "/__init__.py"):
            path = os.path.normpath(os.path.join(base, *parts)) + ending
            if os.path.isfile(os.path.join(root, path)):
                return base, path.replace(os.sep, "/")
    return None


def _find_word(tool: FoundTool, tools: Sequence[FoundTool]) -> str:
    """What names this tool alone: its name, or its module where that ends in the name of another one."""
    others = (one for one in tools if one is not tool)
    is_alone = not any(f".{one.module}".endswith(f".{tool.name}") for one in others)
    return tool.name if is_alone else tool.module


# The tags.


def _tag(
    root: str,
    tool: FoundTool,
    divided: StageLists,
    after: Mapping[str, str],
    tools: Sequence[FoundTool],
    problems: list[Problem],
) -> FileChange | None:
    facts = tool.facts
    has = {
        "STAGE": facts.stage and (facts.stage.line, facts.stage.words),
        "AFTER": facts.after and (facts.after.line, facts.after.words),
        "ORCH": facts.orch and (facts.orch.line, facts.orch.values),
    }
    wanted: dict[str, object] = {"STAGE": (divided.stage_of(tool.name),)}
    if tool.name in after:
        wanted["AFTER"] = (after[tool.name],)
    if [one for one in tools if f".{one.module}".endswith(f".{tool.name}")] != [tool]:
        wanted["ORCH"] = {"name": tool.name}
    tags = {}
    for name, value in wanted.items():
        text = json.dumps(value[0] if isinstance(value, tuple) else value, ensure_ascii=False)
        match has[name]:
            case None:
                tags[name] = text
            case (line, said) if said != value:
                place = Location(path=tool.path, line=line)
                message = f"the module has another {name} than {name} = {text}"
                hint = "change the line, or rename the constant"
                problems.append(adopt_problem(place, message, hint))
    data = read_file(root, tool.path) or b""
    try:
        new = add_tags(data, tags)
    except CannotTag as error:
        place = Location(path=tool.path)
        problems.append(adopt_problem(place, str(error), "add the tags by hand"))
        return None
    return FileChange(path=tool.path, old=data, new=new) if new != data else None


# Settings.


def _config(
    root: str,
    divided: StageLists,
    tools: Sequence[FoundTool],
    bases: Sequence[str],
    problems: list[Problem],
) -> FileChange | None:
    tops = {tool.path.split("/")[0] if "/" in tool.path else "." for tool in tools}
    packages = ["."] if "." in tops else sorted(tops)
    table: dict[str, object] = {
        "packages": None if packages == ["src"] else packages,
        "pythonpath": None if bases in ([], ["."]) else list(bases),
        "stages": list(divided.stages),
        "groups": {name: list(words) for name, words in divided.groups.items()},
    }
    text = toml_table("tool.orch", table).replace("\n", " ").strip()
    if find_root(root, root)[1] is not None:
        project = read_project(root, root, {}).project
        groups = {name: list(words) for name, words in project.groups.items()}
        if (list(project.stages), groups) != (table["stages"], table["groups"]):
            place = Location(path=project.config or SHARED_FILE)
            message = "the project already has orch settings"
            problems.append(adopt_problem(place, message, f"set there: {text}"))
        return None
    old = read_file(root, SHARED_FILE)
    try:
        new = append_table((old or b"").decode(), "tool.orch", table)
    except (CannotEdit, ValueError) as error:
        message = f"[tool.orch] cannot be added: {error}"
        problems.append(
            adopt_problem(Location(path=SHARED_FILE), message, f"write it by hand: {text}")
        )
        return None
    return FileChange(path=SHARED_FILE, old=old, new=new.encode())


def _conf(
    root: str,
    old: Orchestrator,
    tools: Sequence[FoundTool],
    problems: list[Problem],
    notes: list[str],
) -> FileChange | None:
    """`orchconf.py`, or its end where it exists: it imports the connection from the old file, which so stays."""
    before = read_file(root, CONF_FILE)
    if before is not None and b"get_connection" in before:
        return None
    connection = old.connection
    if connection is None:
        notes.append(
            f"{old.path} has no get_connection() at its top level: conn connects to the database setting"
        )
        return None
    place = Location(path=old.path, line=connection.line)
    module = os.path.basename(old.path).removesuffix(".py")
    if not module.isidentifier():
        message = f"{CONF_FILE} cannot import get_connection() from a file of this name"
        problems.append(adopt_problem(place, message, "rename the file, such as run_pipeline.py"))
        return None
    if connection.needs:
        message = f"get_connection() requires the argument {connection.needs}"
        problems.append(adopt_problem(place, message, "give the argument a default"))
    if old.starts is not None:
        message = f"{CONF_FILE} imports this file for get_connection(), and so runs this line too"
        hint = 'put it under if __name__ == "__main__":, or move get_connection() to another file'
        problems.append(adopt_problem(Location(path=old.path, line=old.starts), message, hint))
    notes.append(f"conn comes from get_connection() of {old.path}, so that file stays")
    aliases = {
        one.name
        for tool in tools
        for one in (tool.facts.run.arguments if tool.facts.run else ())
        if one.name in _CONNECTIONS and one.default_source is None
    }
    text = f"from {module} import get_connection\n"
    if connection.is_context:
        text = (
            f"from {module} import get_connection as open_connection\n\n\n"
            "def get_connection():\n    with open_connection() as conn:\n        yield conn\n"
        )
    if aliases:
        text = "from discover_orch import resource\n" + text
    for name in sorted(aliases):
        text += f"\n\n@resource\ndef {name}(conn):\n    return conn\n"
    if before is None:
        new = f'"""The database connection of the tools."""\n\n{text}'.encode()
        return FileChange(path=CONF_FILE, old=None, new=new)
    return FileChange(
        path=CONF_FILE, old=before, new=before.rstrip(b"\n") + b"\n\n\n" + text.encode()
    )


# Notes.


def _describe(divided: StageLists) -> Iterator[str]:
    if divided.added and len(divided.stages) > 1:
        tools = ", ".join(divided.stages[divided.added])
        yield f'in no list that became a stage, so they are in the new stage "{divided.added}": {tools}'
    for name, new in divided.renamed.items():
        yield f"the list {name} is the group {new}: orch run {name} always means all stages in order"


def _describe_orders(divided: StageLists, lists: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """What differs where lists disagree on the order of two tools."""
    everything = [tool for members in divided.stages.values() for tool in members]
    for name, members in lists.items():
        for first, second in pairwise(members):
            if everything.index(first) > everything.index(second):
                yield (
                    f"the list {name} runs {first} before {second}, and orch run runs {second} before "
                    f"{first}: orch run {divided.renamed.get(name, name)} keeps the order of the list"
                )
                break


def _describe_flags(registry: Registry) -> Iterator[str]:
    """Which flags there are now, so that a reader can compare."""
    flags = sorted({one.flag for tool in registry.tools.values() for one in tool.params})
    if flags:
        yield (
            f"the parameters of run() are the flags of orch run now: {', '.join(flags)}. "
            "Compare their types and defaults with the old ones: orch run --help"
        )
