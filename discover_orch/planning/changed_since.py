"""Which tools mean something else in the working tree than at a commit of git, and what is downstream of them.

git says which files differ. Of those alone the old text is read, by the functions that read the present one, so that a
comment changes nothing. Files that git ignores have no old text and do not count. Writes nothing.
"""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.file import OWN_FILE, SHARED_FILE, build_project
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, build_registry, with_lock
from discover_orch.discovery.scanner import collect
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.model.conventions import TOOL_SUFFIXES
from discover_orch.model.errors import ProjectError, UsageError
from discover_orch.model.items import tool_of
from discover_orch.model.keys import file_key
from discover_orch.model.tool import Tool
from discover_orch.planning.param_values import GivenParams, param_versions
from discover_orch.planning.plan import Plan, keep_steps
from discover_orch.planning.project_view import ProjectView
from discover_orch.staleness.code_versions import version_now
from discover_orch.staleness.current_inputs import CurrentState, takes_connection
from discover_orch.staleness.input_versions import meets_input
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.tool_result import Success
from discover_orch.state.flow_lock import LOCK_FILE, parse_lock, read_lock
from discover_orch.state.git_files import GitProblem, read_old_files
from discover_orch.state.sealed_files import read_flows

#: The files that differ, by path: their bytes then, None for those that are new.
OldTexts = Mapping[str, bytes | None]


class Difference(Struct, frozen=True, kw_only=True):
    """`files` are the paths that differ, and `names` those of them that are new or gone. `code` are the modules among
    them that mean something else, and `gone_modules` the names of those that are gone."""

    files: frozenset[str]
    names: frozenset[str]
    code: frozenset[str]
    gone_modules: frozenset[str]


def find_changed(view: ProjectView, ref: str) -> dict[str, str]:
    """The changed tools and all downstream of them, by module, each with a reason. Raises UsageError where git cannot
    tell."""
    try:
        old = read_old_files(view.project.root, ref)
    except GitProblem as problem:
        raise UsageError.of("git", str(problem), problem.hint) from None
    if not old:
        return {}
    registry = view.registry
    if view.lock.problems:  # then some tools would not be seen to have changed
        raise UsageError(*view.lock.errors)
    then = _read_old_project(view.project, old)
    sources = view.sources.at(then or view.project, old)
    reasons = {tool.module: reason for tool, reason in _find_own(view, old, then, sources, ref)}
    if any(text is not None and b"STAGE" in text for text in old.values()):
        before = _read_old_registry(view, old, then or view.project, sources)
        here = registry.by_tool.tools
        for module in sorted(before.tools.keys() - here.keys()):
            why = f"downstream of {before.display(module)}, which was removed since {ref}"
            for other in registry.steps_of(before.downstream([module]) & here.keys()):
                reasons.setdefault(other, why)
    view.sources.write()
    affected, first = registry.downstream(reasons), next(iter(reasons), "")
    for module in affected - reasons.keys():
        above = (*registry.before.get(module, ()), *registry.flow.get(module, ())[::-1])
        nearest = next((one for one in above if one in affected), first)
        reasons[module] = f"downstream of {registry.display(nearest)}"
    return reasons


def keep_changed(plan: Plan, view: ProjectView, ref: str) -> Plan:
    """The steps of the plan whose tools are changed, with the reasons. Raises UsageError as `find_changed` does, and
    where a required value of them is missing."""
    reasons = find_changed(view, ref)
    steps = keep_steps(plan.steps, reasons)
    absent = [one for step in steps for one in plan.missing.get(step.tool.module, ())]
    if absent:
        raise UsageError(*absent)
    if not steps:
        return replace(plan, steps=(), intro=f"nothing to run: no tool has changed since {ref}")
    # A resumed run continues with these, and not with all that the words mean.
    names = tuple(step.tool.name for step in steps)
    verbs = ("has", "is") if len(steps) == 1 else ("have", "are")
    intro = f"{len(steps):,} of {len(plan.steps):,} tools {verbs[0]} changed since {ref}, or {verbs[1]} downstream"
    return replace(plan, steps=steps, targets=names, intro=intro)


def _read_old_project(project: Project, old: OldTexts) -> Project | None:
    """The project as it was configured then; None where that cannot be read."""
    names = [project.config] if project.config else (OWN_FILE, SHARED_FILE)
    name = next((one for one in names if one in old), None)
    if name is None:
        return project
    data = old[name]
    if data is None:
        return None  # it was in another file, or there was none
    try:
        return build_project((project.root, name, None), data, os.environ)[0]
    except ProjectError:
        return None


def _read_old_registry(
    view: ProjectView, old: OldTexts, project: Project, sources: SourceFiles
) -> Registry:
    """The tools of then, from the facts of the files that are the same and the old text of the others."""
    there = {*view.sources.marks} - old.keys()
    there |= {
        path for path, text in old.items() if text is not None and path.endswith(TOOL_SUFFIXES)
    }
    inside = tuple(f"{one}/" if one != "." else "" for one in project.packages)
    paths = sorted(path for path in there if path.startswith(inside))
    lock = parse_lock(old[LOCK_FILE] or b"") if LOCK_FILE in old else read_lock(project.root)
    flows = read_flows(project.root)
    return with_lock(build_registry(collect(paths, sources), project, flows), flows, lock.flows)


def _compare(view: ProjectView, old: OldTexts, sources: SourceFiles) -> Difference:
    """What differs, as tools see it."""
    code, gone = set(), set()
    for path in old:
        if not path.endswith(TOOL_SUFFIXES):
            continue
        now, then = view.sources.read(path), sources.read(path)
        if now is None:
            gone.add(view.sources.name(path))
        if (now and now.version) != (then and then.version):
            code.add(path)
    return Difference(
        files=frozenset(old),
        names=frozenset(
            path
            for path, text in old.items()
            if text is None or not os.path.lexists(os.path.join(view.project.root, path))
        ),
        code=frozenset(code),
        gone_modules=frozenset(gone - {""}),
    )


def _find_own(
    view: ProjectView, old: OldTexts, then: Project | None, sources: SourceFiles, ref: str
) -> Iterator[tuple[Tool, str]]:
    """The tools that mean something else by themselves, with why."""
    registry, project = view.registry, view.project
    memory = Memory(project.root, registry)
    results = memory.results(registry.order)
    present = CurrentState(project, registry, memory, results, view.sources)
    code = present.read_code(registry.order)
    different = _compare(view, old, sources)
    variables = _find_variables(project, old)
    locked = registry.locked
    for tool in map(registry.tools.__getitem__, registry.order):
        result = results.get(tool.module)
        success = result.success if result else None
        paths = {*present.code_of(tool, code, success.modules if success else ())}
        keys: Collection[str] = success.inputs.other if success else ()
        flow = registry.flows[tool.module]
        if tool.module in locked:
            paths.update(view.lock.tools[tool_of(tool.module)].code)
            keys = [file_key(one) for one in (*flow.reads, *flow.missed)]
            keys += [f"folder:{one}" for one in flow.folders]
        if then is None or (then.pythonpath, then.packages) != (
            project.pythonpath,
            project.packages,
        ):
            yield tool, f"the configuration changed since {ref}"
        elif found := _find_code(different, paths, success, view.sources, sources):
            yield tool, f"{found[0]} changed since {ref}"
        elif name := _find_gone_module(different, paths, view.sources):
            yield tool, f"the module {name} was removed since {ref}"
        elif file := _find_input(different, flow.inputs, keys):
            yield tool, f"{file} changed since {ref}"
        elif variables and (success is None or not variables.isdisjoint(keys)):
            yield tool, f"{project.env_file} changed since {ref}"
        elif name := _find_setting(tool, registry, then, project):
            yield tool, f"{name} was configured differently at {ref}"


def _find_code(
    different: Difference,
    paths: Collection[str],
    success: Success | None,
    now: SourceFiles,
    then: SourceFiles,
) -> list[str]:
    """The files of its code that differ in what counted of them at its last success."""
    known = success.inputs.code if success else {}

    def version(files: SourceFiles, path: str) -> str:
        file = files.read(path)
        return version_now(known.get(path), file.version, file.pieces) if file else ""

    found = sorted(different.code.intersection(paths))
    return [path for path in found if version(now, path) != version(then, path)]


def _find_variables(project: Project, old: OldTexts) -> set[str]:
    """The keys of the variables that the `env_file` sets otherwise."""
    path = os.path.normpath(project.env_file) if project.env_file else ""
    if path not in old:
        return set()
    from dotenv import dotenv_values  # few projects have such a file

    then = (old[path] or b"").decode("utf-8-sig", "replace")
    before = dotenv_values(stream=io.StringIO(then), interpolate=False)
    now = dotenv_values(os.path.join(project.root, path), interpolate=False)
    return {f"env:{name}" for name, _ in before.items() ^ now.items()}


def _find_gone_module(different: Difference, paths: Collection[str], sources: SourceFiles) -> str:
    """A module that the code still imports, or ""."""
    if not different.gone_modules:
        return ""
    names = (name for path in paths for name in sources.names(path))
    return next((name for name in names if name in different.gone_modules), "")


def _find_input(different: Difference, inputs: tuple[str, ...], keys: Collection[str]) -> str:
    """A file that the tool declares as input, or was seen to use."""
    for path in sorted(different.files):
        if meets_input(path, inputs):
            return path
    for key in keys:
        kind, _, name = key.partition(":")
        if kind in ("file", "stat", "link") and name in different.files:
            return name
        if kind == "there" and name in different.names:
            return name
        if kind == "folder":
            inside = "" if name == "." else f"{name}/"
            if path := next((one for one in different.names if one.startswith(inside)), ""):
                return path
    return ""


def _find_setting(tool: Tool, registry: Registry, then: Project, now: Project) -> str:
    """A parameter whose configured value differs, or the database of a tool that takes the connection; or ""."""
    if then is now:
        return ""
    old: Mapping[str, str] = param_versions(tool, registry, then, GivenParams())
    new = param_versions(tool, registry, now, GivenParams())
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            return f"the parameter {name}"
    if then.database != now.database and takes_connection(tool, registry):
        return "the database"
    return ""
