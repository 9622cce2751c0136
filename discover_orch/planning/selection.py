"""Words typed → which tools, in the order that they were asked for.

In: the targets of the command line, what `--exclude` names, and a `Registry`. Out: a `Selection` that
remembers which word chose which tool, or a UsageError with all words that mean nothing. Pure.
"""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.config.project import ALL_STAGES
from discover_orch.discovery.registry import BrokenTool, Registry
from discover_orch.model.errors import (
    NO_TOOLS,
    DiscoveryError,
    EmptyError,
    Location,
    Problem,
    UsageError,
    nearest,
)

GLOB_MARKS = frozenset("*?[")


class Selection(Struct, frozen=True, kw_only=True):
    """The chosen tools by identity, in order; `because` has the word that chose each.

    `ways` has `upstream` or `downstream` for those that only a `+` added. `warnings` tells of files that
    cannot be read and could not have been meant.
    """

    tools: tuple[str, ...] = ()
    because: Mapping[str, str] = field(default_factory=dict)
    ways: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()


class TypedAt(Struct, frozen=True, kw_only=True):
    """Where words were typed: `root` absolute, `folder` relative to it (`""` is the root itself)."""

    root: str = ""
    folder: str = ""


def select(
    words: Sequence[str],
    registry: Registry,
    *,
    exclude: Sequence[str] = (),
    place: TypedAt | None = None,
) -> Selection:
    """Raises UsageError for unknown or ambiguous words, DiscoveryError where a file that cannot be read
    could be meant, and EmptyError where nothing is left."""
    where = place or TypedAt()
    problems: list[Problem] = []
    targets = tuple(words) or (ALL_STAGES,)
    chosen: dict[str, str] = {}
    ways: dict[str, str] = {}
    reached, spared = _Reached(), _Reached()
    for word in targets:
        for module, way in _expand(word, registry, where, problems, reached).items():
            if module not in chosen:
                chosen[module], ways[module] = word, way
    dropped: set[str] = set()
    for word in exclude:
        dropped.update(_expand(word, registry, where, problems, spared))
    if problems:
        raise UsageError(*problems)
    reached.maybe.extend(one for one in registry.broken if one.concerns_all)
    safe = {one.path for one in spared.sure if not one.concerns_all}
    blocking = {one.path: one for one in (*reached.sure, *reached.maybe) if one.path not in safe}
    if blocking:
        raise DiscoveryError(*_problems(blocking.values()))
    tools = tuple(module for module in chosen if module not in dropped)
    if not tools:
        raise EmptyError(_nothing_left(targets, registry, excluded=bool(chosen)))
    others = [one for one in registry.broken if one.path not in blocking]
    return Selection(
        tools=tools,
        because={module: chosen[module] for module in tools},
        ways={module: ways[module] for module in tools if ways[module]},
        words=targets,
        warnings=tuple(_as_warning(problem) for problem in _problems(others)),
    )


def complete(registry: Registry, *, forced: bool = False) -> list[tuple[str, str]]:
    """Every word that can be a target, with what it is, for completion: stages, groups, tools; `forced`
    gives the words that say which of them is meant, `stage:ingest` and `tool:fetch`."""
    stages = [stage.name for stage in registry.stages if stage.tools]
    tools = [(registry.tools[module].name, registry.tools[module].doc) for module in registry.order]
    if forced:
        return [
            *((f"stage:{name}", "stage") for name in stages),
            *((f"tool:{name}", doc) for name, doc in tools),
        ]
    return [
        *((name, "stage") for name in stages),
        (ALL_STAGES, "all stages in order"),
        *((name, "group") for name in registry.groups),
        *tools,
    ]


class _Reached:
    """Files that cannot be read: those that a word means for `sure`, and those that it `maybe` means."""

    def __init__(self) -> None:
        self.sure: list[BrokenTool] = []
        self.maybe: list[BrokenTool] = []


def _expand(
    word: str,
    registry: Registry,
    place: TypedAt,
    problems: list[Problem],
    reached: _Reached,
    seen: tuple[str, ...] = (),
) -> dict[str, str]:
    """The tools that one word means, in the order that its kind asks for, each with its way."""
    core, above, below = word, word.startswith("+"), word.endswith("+")
    core = core[1:] if above else core
    core = core[:-1] if below and core else core
    found = _expand_core(core, word, registry, place, problems, reached, seen)
    ways = dict.fromkeys(found, "")
    if not (above or below):
        return ways
    if above:
        ways = dict.fromkeys(registry.upstream(found), "upstream") | ways
        reached.maybe += [one for one in registry.broken if _is_above(one, found, registry)]
    if below:
        ways = dict.fromkeys(registry.downstream(found), "downstream") | ways
        reached.maybe += [one for one in registry.broken if _is_below(one, found, registry)]
    return {module: ways[module] for module in in_plan_order(ways, registry)}


def _expand_core(
    core: str,
    word: str,
    registry: Registry,
    place: TypedAt,
    problems: list[Problem],
    reached: _Reached,
    seen: tuple[str, ...],
) -> tuple[str, ...]:
    if core == ALL_STAGES:
        reached.sure.extend(registry.broken)
        return registry.order
    kind, _, rest = core.partition(":")
    if kind == "stage" and rest:
        return _stage_tools(rest, word, registry, problems, reached)
    if kind == "tool" and rest:
        return _tool(rest, word, registry, place, problems, reached)
    stage = registry.stage(core)
    if stage is not None and (stage.tools or not registry.names.find(core)):
        return _stage_tools(core, word, registry, problems, reached)
    if core in registry.groups:
        if core in seen:
            problems.append(
                Problem(
                    code="group-circle",
                    message=f'group "{core}" contains itself',
                    hint="take it out of its own list",
                )
            )
            return ()
        top = TypedAt(root=place.root)  # paths in the configuration are relative to the root
        members: dict[str, None] = {}
        told = len(problems)
        for item in registry.groups[core]:
            found = _expand(item, registry, top, problems, reached, (*seen, core))
            members |= dict.fromkeys(found)
        problems[told:] = [
            replace(one, message=f'{one.message} (in group "{core}")') for one in problems[told:]
        ]
        return tuple(members)
    if any(mark in core for mark in GLOB_MARKS) and "/" not in core:
        return _glob(core, word, registry, problems, reached)
    if any(core in one.stages for one in registry.broken):
        return _stage_tools(core, word, registry, problems, reached)
    return _tool(core, word, registry, place, problems, reached)


def _stage_tools(
    name: str,
    word: str,
    registry: Registry,
    problems: list[Problem],
    reached: _Reached,
) -> tuple[str, ...]:
    broken = [one for one in registry.broken if one.could_be_in(name)]
    stage = registry.stage(name)
    if stage is None and not any(name in one.stages for one in broken):
        problems.append(_unknown(word, [one.name for one in registry.stages], "is no stage"))
        return ()
    for one in broken:
        (reached.sure if one.stages else reached.maybe).append(one)
    return stage.tools if stage else ()


def _glob(
    pattern: str,
    word: str,
    registry: Registry,
    problems: list[Problem],
    reached: _Reached,
) -> tuple[str, ...]:
    """Module paths and their dotted suffixes; `*` crosses dots; never stages."""
    found = [module for module in registry.order if _glob_matches(pattern, module)]
    broken = [one for one in registry.broken if _glob_matches(pattern, one.module)]
    reached.sure.extend(broken)
    if not found and not broken:
        problems.append(_unknown(word, [], "matches no tool"))
    return tuple(found)


def _glob_matches(pattern: str, module: str) -> bool:
    parts = module.split(".")
    return any(fnmatch.fnmatchcase(".".join(parts[start:]), pattern) for start in range(len(parts)))


def _tool(
    name: str,
    word: str,
    registry: Registry,
    place: TypedAt,
    problems: list[Problem],
    reached: _Reached,
) -> tuple[str, ...]:
    path = _as_path(name, place)
    if path is not None:
        at = [module for module, tool in registry.tools.items() if tool.path == path]
        if at:
            return tuple(at)
    found = registry.names.find(name)
    if len(found) == 1 and found[0] in registry.tools:
        return found
    if len(found) > 1:
        names = ", ".join(registry.display(module) for module in found)
        problems.append(
            Problem(
                code="ambiguous",
                message=f'"{name}" could be several tools',
                hint=f"write one of {names}",
            )
        )
        return ()
    broken = [
        one
        for one in registry.broken
        if one.path == path or one.module in found or f".{one.module}".endswith(f".{name}")
    ]
    if broken:
        reached.sure.extend(broken)
        return ()
    problems.append(_no_such_tool(name, word, path, registry, place))
    return ()


def _no_such_tool(
    name: str, word: str, path: str | None, registry: Registry, place: TypedAt
) -> Problem:
    for tool in registry.disabled:
        if (
            name in (tool.name, tool.module)
            or tool.path == path
            or (f".{tool.module}".endswith(f".{name}"))
        ):
            return Problem(
                code="disabled",
                message=f'"{tool.name}" is disabled',
                hint="its module says STAGE = None",
                location=Location(path=tool.path, line=tool.line),
            )
    if path is not None:
        for one in registry.passed_over:
            if one.path == path:
                return Problem(
                    code="not-a-tool",
                    message=f"{path} is no tool: {one.reason}",
                    location=Location(path=path, line=one.line),
                )
        inside = [tool for tool in registry.tools.values() if tool.path.startswith(path + "/")]
        if inside:
            deeper = inside[0].path.removeprefix(path).count("/")
            folder = ".".join(inside[0].module.split(".")[:-deeper])
            return Problem(
                code="unknown-target",
                message=f'"{word}" is a folder, which is no target',
                hint=f'all tools below it are "{folder}.*"',
            )
        start = place.folder or "."
        files = [posixpath.relpath(tool.path, start) for tool in registry.tools.values()]
        return _unknown(word, files, "is no tool's file")
    candidates = [one.name for one in registry.stages] + list(registry.groups)
    candidates += [ALL_STAGES, *registry.names.words]
    return _unknown(word, candidates, "is neither a stage nor a tool")


def _as_path(word: str, place: TypedAt) -> str | None:
    """The path relative to the root that a word means as a file, or None where it is no path."""
    if "/" not in word and not word.endswith(".py"):
        return None
    if word.startswith("/"):
        return posixpath.relpath(word, place.root) if place.root else word
    return posixpath.normpath(posixpath.join(place.folder, word))


def _unknown(word: str, candidates: Iterable[str], what: str) -> Problem:
    plain = word.strip("+").removeprefix("stage:").removeprefix("tool:")
    close = nearest(plain, candidates)
    return Problem(
        code="unknown-target",
        message=f'"{word}" {what}',
        hint=f'did you mean "{close}"? (orch list shows all)' if close else "orch list shows all",
    )


def in_plan_order(modules: Iterable[str], registry: Registry) -> tuple[str, ...]:
    wanted = set(modules)
    return tuple(module for module in registry.order if module in wanted)


def _is_above(one: BrokenTool, found: tuple[str, ...], registry: Registry) -> bool:
    """A file that cannot be read may feed whatever stands in its stage or a later one."""
    rank = _rank(one, registry)
    return rank is None or not found or rank <= max(registry.rank[module] for module in found)


def _is_below(one: BrokenTool, found: tuple[str, ...], registry: Registry) -> bool:
    """It may likewise be fed by whatever stands in its stage or an earlier one."""
    rank = _rank(one, registry)
    return rank is None or not found or rank >= min(registry.rank[module] for module in found)


def _rank(one: BrokenTool, registry: Registry) -> int | None:
    """The place of its first stage, or None where that cannot be told."""
    names = [stage.name for stage in registry.stages]
    if not one.stages or not set(one.stages) <= set(names):
        return None
    return min(names.index(name) for name in one.stages)


def _problems(files: Iterable[BrokenTool]) -> Iterable[Problem]:
    """Each once: a cycle is a problem of every tool on it."""
    return dict.fromkeys(problem for one in files for problem in one.problems)


def _nothing_left(targets: tuple[str, ...], registry: Registry, *, excluded: bool) -> Problem:
    if excluded:
        return Problem(
            code="empty", message="nothing is left to run", hint="--exclude took every tool away"
        )
    if not registry.tools:
        return NO_TOOLS
    return Problem(
        code="empty",
        message=f"no tool is selected by {', '.join(targets)}",
        hint="orch list shows the stages and their tools",
    )


def _as_warning(problem: Problem) -> Problem:
    return replace(problem, severity="warning")
