"""`orch adopt`: from a hand-written orchestrator to tags, settings and `orchconf.py`.

`build_adoption` decides what to write. `check_adoption` makes the changes in a copy of the source and reads that as
orch would: each list must select the same tools in the same order.
"""

from __future__ import annotations

import ast
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import cast

from msgspec import Struct

from discover_orch.config.file import SHARED_FILE, find_root
from discover_orch.model.conventions import CONF_FILE
from discover_orch.model.errors import Location, OrchError, Problem
from discover_orch.planning.project_reader import read_project
from discover_orch.planning.project_view import ProjectView, plan_targets
from discover_orch.scaffold.adopted_tools import (
    FoundTool,
    adopt_problem,
    find_importers,
    find_source_files,
    find_tools,
)
from discover_orch.scaffold.connection_text import build_conf
from discover_orch.scaffold.files import FileChange, read_file, write_changes
from discover_orch.scaffold.module_text import CannotTag, add_tags
from discover_orch.scaffold.orchestrator import Orchestrator
from discover_orch.scaffold.passed_flags import (
    describe_flags,
    find_unknown,
)
from discover_orch.scaffold.stage_lists import StageLists, divide, find_after
from discover_orch.scaffold.toml_text import CannotEdit, append_table, toml_table, toml_value


class Adoption(Struct, frozen=True, kw_only=True):
    """What to write, what cannot be expressed (`problems`), and what a reader should know (`notes`). `is_imported`:
    other files import the old one."""

    changes: tuple[FileChange, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    is_imported: bool = False
    lists: tuple[tuple[str, str, tuple[str, ...], Location], ...] = ()  # name, target, modules
    tools: tuple[tuple[str, str, Location], ...] = ()  # name, module


def build_adoption(root: str, old: Orchestrator) -> Adoption:
    """The changes for the project at `root`. Raises ProjectError for a file that cannot be read."""
    problems = list(old.problems)
    tools = list(find_tools(root, old, problems))
    names = [tool.name for tool in tools]
    lists = {
        one.name: tuple(name for name in one.tools if name in names)
        for one in old.lists
        if any(name in names for name in one.tools)
    }
    paths = {tool.name: tool.module for tool in tools}
    words = {tool.name: _find_word(tool, tools) for tool in tools}
    divided = divide(lists, words)
    places = {one.name: one.place for one in old.lists}
    notes = [*_describe(divided), *_describe_orders(divided, lists, places)]
    after: dict[str, str] = {}
    for members in divided.stages.values():
        found = find_after(members, paths)
        after |= {tool: words[before] for tool, before in found.items()}
    changes = [
        change for tool in tools if (change := _tag(root, tool, divided, after, tools, problems))
    ]
    signatures = {tool.name: (tool.path, tool.signature) for tool in tools}
    flags = describe_flags(old, signatures)
    problems += flags.problems
    aliases = _find_aliases(old, tools)
    problems += find_unknown(old.path, signatures, {"conn", *aliases, *flags.passed})
    importers = tuple(find_importers(root, old.path))
    problems += importers
    conf = _conf(root, old, aliases, problems, notes)
    config = _config(root, divided, tools, flags.params, problems)
    return Adoption(
        changes=(*changes, *(one for one in (config, conf) if one is not None)),
        problems=tuple(problems),
        notes=(*notes, *flags.notes),
        is_imported=bool(importers),
        lists=tuple(
            (
                name,
                divided.renamed.get(name, name),
                tuple(paths[one] for one in members),
                places[name],
            )
            for name, members in lists.items()
        ),
        tools=tuple((tool.name, tool.module, tool.place) for tool in tools),
    )


def check_adoption(root: str, adoption: Adoption) -> tuple[Problem, ...]:
    """Why a list or a name would not mean the same afterwards, with its line. Nothing of the project is changed."""
    with _copy_of_source(root) as copy:
        write_changes(copy, adoption.changes)
        try:
            view = read_project(copy, copy, {})
        except OrchError as error:
            return error.problems
        found = list(view.errors)
        for name, module, place in adoption.tools:
            if view.registry.names.find(name) != (module,):
                found.append(
                    adopt_problem(
                        place.path,
                        place.line,
                        f"the name {name} would mean more than the tool {module}",
                        "rename one of the tools",
                    )
                )
        for name, target, modules, place in adoption.lists:
            selected = _select(view, target)
            if selected != modules:
                shown = ", ".join(view.registry.display(one) for one in selected) or "nothing"
                found.append(
                    adopt_problem(
                        place.path,
                        place.line,
                        f"orch run {target} would run {shown}, which is not the list {name}",
                        "arrange the tools with AFTER, or rename the list",
                    )
                )
        return tuple(found)


def _select(view: ProjectView, target: str) -> tuple[str, ...]:
    try:
        plan = plan_targets(view, [target], is_partial=True)
    except OrchError:
        return ()
    return tuple(step.tool.module for step in plan.steps)


@contextmanager
def _copy_of_source(root: str) -> Iterator[str]:
    """A folder with the Python and TOML files of the project."""
    with tempfile.TemporaryDirectory(prefix="orch-adopt-") as copy:
        for path in find_source_files(root):
            target = os.path.join(copy, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(os.path.join(root, path), target)
        yield os.path.realpath(copy)


# The tags.


def _tag(
    root: str,
    tool: FoundTool,
    divided: StageLists,
    after: Mapping[str, str],
    tools: Sequence[FoundTool],
    problems: list[Problem],
) -> FileChange | None:
    tags = {"STAGE": toml_value(divided.stage_of(tool.name))}
    if tool.name in after:
        tags["AFTER"] = toml_value(after[tool.name])
    if not _is_named_by_module(tool, tools):
        tags["ORCH"] = f'{{"name": {toml_value(tool.name)}}}'
    for name, (line, written) in tool.signature.tags.items():
        if name in tags and _means_same(written, tags[name]):
            del tags[name]
        else:
            wanted = (
                f", not {name} = {tags.pop(name)}"
                if name in tags
                else ", which orch reads as a tag"
            )
            problems.append(
                adopt_problem(
                    tool.path,
                    line,
                    f"the module has {name} = {written}{wanted}",
                    "change the line, or rename the constant",
                )
            )
    data = read_file(root, tool.path) or b""
    try:
        new = add_tags(data, tags)
    except CannotTag as error:
        problems.append(adopt_problem(tool.path, None, str(error), "add the tags by hand"))
        return None
    return FileChange(path=tool.path, old=data, new=new) if new != data else None


def _means_same(one: str, other: str) -> bool:
    try:
        return bool(ast.literal_eval(one) == ast.literal_eval(other))
    except (ValueError, SyntaxError):
        return False


def _find_word(tool: FoundTool, tools: Sequence[FoundTool]) -> str:
    """What names this tool alone: its name, or its module where that ends in the name of another one."""
    others = (one for one in tools if one is not tool)
    is_alone = not any(f".{one.module}".endswith(f".{tool.name}") for one in others)
    return tool.name if is_alone else tool.module


def _is_named_by_module(tool: FoundTool, tools: Sequence[FoundTool]) -> bool:
    """Whether the word names this module alone, without `ORCH`."""
    named = [one for one in tools if f".{one.module}".endswith(f".{tool.name}")]
    return named == [tool]


# Settings.


def _config(
    root: str,
    divided: StageLists,
    tools: Sequence[FoundTool],
    params: Mapping[str, object],
    problems: list[Problem],
) -> FileChange | None:
    packages = _find_packages(tools)
    bases = list(dict.fromkeys(os.path.normpath(tool.base) for tool in tools))
    table: dict[str, object] = {
        "packages": None if packages == ["src"] else packages,
        "pythonpath": None if bases in ([], ["."]) else bases,
        "stages": list(divided.stages),
        "groups": {name: list(words) for name, words in divided.groups.items()},
        "params": dict(params),
    }
    _, config, _ = find_root(root, root)
    if config is not None:
        problem = _compare_config(root, table)
        if problem:
            problems.append(problem)
        return None
    old = read_file(root, SHARED_FILE)
    try:
        new = append_table((old or b"").decode(), "tool.orch", table)
    except (CannotEdit, ValueError) as error:
        line = toml_table("tool.orch", table).replace("\n", " ")
        problems.append(
            adopt_problem(
                SHARED_FILE,
                None,
                f"[tool.orch] cannot be added: {error}",
                f"write it by hand: {line}",
            )
        )
        return None
    return FileChange(path=SHARED_FILE, old=old, new=new.encode())


def _compare_config(root: str, table: Mapping[str, object]) -> Problem | None:
    """A problem if the configuration that exists differs from the one that would be written."""
    project = read_project(root, root, {}).project
    stages, groups = table["stages"], table["groups"]
    params = cast(dict[str, object], table["params"])
    missing = {name: value for name, value in params.items() if name not in project.params}
    same = (
        list(project.stages) == stages
        and {name: list(words) for name, words in project.groups.items()} == groups
        and not missing
    )
    if same:
        return None
    wanted = {"stages": stages, **({"groups": groups} if groups else {})}
    wanted |= {"params": missing} if missing else {}
    text = "; ".join(f"{key} = {toml_value(value)}" for key, value in wanted.items())
    return adopt_problem(
        project.config or SHARED_FILE,
        None,
        "the project already has orch settings",
        f"set there: {text}",
    )


def _find_packages(tools: Sequence[FoundTool]) -> list[str]:
    """The folders to scan: the uppermost ones below the root."""
    tops = {tool.path.split("/")[0] if "/" in tool.path else "." for tool in tools}
    return ["."] if "." in tops else sorted(tops)


def _find_aliases(old: Orchestrator, tools: Sequence[FoundTool]) -> list[str]:
    """Other names than `conn` by which `run()` takes the connection."""
    place = old.calls.connection
    if place is None:
        return []
    taken = (tool.signature.positional[place : place + 1] for tool in tools)
    return sorted({name for names in taken for name in names} - {"conn"})


def _conf(
    root: str, old: Orchestrator, aliases: Sequence[str], problems: list[Problem], notes: list[str]
) -> FileChange | None:
    """`orchconf.py`, or its end where it exists."""
    made = build_conf(old.text, aliases)
    problems += [
        adopt_problem(old.path, line, message, hint) for line, message, hint in made.problems
    ]
    if not made.text:
        if not made.problems:
            notes.append(
                "no get_connection() was found: conn connects to the database setting, by default data.db"
            )
        return None
    if os.path.dirname(old.path) and "__file__" in made.text:
        problems.append(
            adopt_problem(
                old.path,
                None,
                "get_connection() uses __file__, which is another folder in orchconf.py",
                f"correct the path in {CONF_FILE}",
            )
        )
    before = read_file(root, CONF_FILE)
    if before is None:
        text = f'"""The database connection of the tools."""\n\n{made.text}'
        return FileChange(path=CONF_FILE, old=None, new=text.encode())
    if b"get_connection" in before:
        return None
    return FileChange(
        path=CONF_FILE, old=before, new=before.rstrip(b"\n") + b"\n\n\n" + made.text.encode()
    )


def _describe(divided: StageLists) -> list[str]:
    notes = []
    if divided.added and len(divided.stages) > 1:
        tools = ", ".join(divided.stages[divided.added])
        notes.append(
            f'in no list that became a stage, so they are in the new stage "{divided.added}": {tools}'
        )
    notes += [
        f"the list {name} is the group {new}: orch run {name} always means all stages in order"
        for name, new in divided.renamed.items()
    ]
    return notes


def _describe_orders(
    divided: StageLists, lists: Mapping[str, tuple[str, ...]], places: Mapping[str, Location]
) -> Iterator[str]:
    """What differs where lists disagree on the order of two tools."""
    everything = [tool for members in divided.stages.values() for tool in members]
    found = False
    for name, members in lists.items():
        turned = [
            (first, second)
            for first, second in pairwise(members)
            if everything.index(first) > everything.index(second)
        ]
        if not turned:
            continue
        found = True
        first, second = turned[0]
        others = [
            f", as the list {other} (line {places[other].line})"
            for other, tools in lists.items()
            if {first, second} <= {*tools} and tools.index(second) < tools.index(first)
        ]
        yield (
            f"the list {name} (line {places[name].line}) runs {first} before {second}; "
            f"orch run runs {second} before {first}{others[0] if others else ''}. "
            f"orch run {divided.renamed.get(name, name)} keeps the order of the list"
        )
    if found:
        yield f"orch run, with all tools, runs {', '.join(everything)}"
