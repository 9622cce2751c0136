"""Which tools a change of files reaches, and which of them to run again: never one too few.

The reach of a module before and after the change counts, so that a deleted module is in the old one, and a new one in
the new one or among the paths that were missing. Compares values; reads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from discover_orch.discovery.registry import Registry
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.tool import Tool

Scope = Literal["stage", "tool", "downstream"]

_NOTHING: Mapping[str, frozenset[str]] = {}
_WILD = re.compile(
    r"(?P<deep>(?:^|(?<=/))\*\*/)|(?P<rest>\*\*)|\*|\?|\[(?P<not>!)?(?P<set>\]?[^\]]*)\]"
)


class ImportReach(Struct, frozen=True, kw_only=True):
    """The files that a module imports, directly or not. Paths are relative to the root. `ImportGraph` makes it.

    `paths` are project files that exist. `missing` are paths that would change what is imported if they appeared:
    those of modules that the project does not have, and those that would be found first. One that ends in `/` is a
    folder that does not exist: any file in it makes it a package. `has_unread`: some import could not be read, so that
    any module may be imported.
    """

    paths: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    has_unread: bool = False


class ToolInputs(Struct, frozen=True, kw_only=True):
    """What a tool was seen to read beside its code. These are paths, never globs.

    `reads` are files, `missed` those that it looked for and that did not exist, `folders` those whose names it listed,
    "." for the root. `own` is what it wrote itself, which is no input.
    """

    reads: frozenset[str] = frozenset()
    missed: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()

    def find_cause(self, changed: frozenset[str], names: Collection[str]) -> str | None:
        """The first of these changes that is an input; `names` are the paths that were added or removed."""
        hits = (changed & self.reads) | (changed & self.missed)
        if self.folders and names:
            hits |= {path for path in names if _folder_of(path) in self.folders} - self.own
        return min(hits, default=None)


def find_inputs(tool: Tool, *flows: Dataflow) -> ToolInputs:
    """The inputs of a tool by all of these data flows."""
    own = frozenset(path for flow in flows for path in flow.writes)

    def is_input(path: str) -> bool:
        return path not in own and not (tool.outputs and meets_input(path, tool.outputs))

    return ToolInputs(
        reads=frozenset(path for flow in flows for path in flow.reads if is_input(path)),
        missed=frozenset(path for flow in flows for path in flow.missed if is_input(path)),
        folders=frozenset(path for flow in flows for path in flow.folders),
        own=own,
    )


def is_python(path: str) -> bool:
    return path.endswith(".py")


def select_affected(
    changed: Collection[str],
    tools: Mapping[str, Tool],
    before: Mapping[str, ImportReach],
    after: Mapping[str, ImportReach],
    seen: Mapping[str, frozenset[str]] = _NOTHING,
    is_module: Callable[[str], bool] = is_python,
    inputs: Mapping[str, ToolInputs] | None = None,
    names: Collection[str] = (),
) -> dict[str, str]:
    """The tools of `after` that a change reaches, in its order, each with the path that did it.

    `changed` are the paths that were added or removed, or whose meaning changed; `names` those of them that were added
    or removed. `seen` are the project files that a tool loaded in its last run, `inputs` what it was seen to read. A
    tool with an import that cannot be read, and that was never seen, is affected by every module (`is_module`). A tool
    that is not in `before` is new, and affected.
    """
    ordered = sorted(set(changed))
    all_changed = frozenset(ordered)
    #: For a path that was missing: the first changed file at it, or below it where it is a folder.
    met: dict[str, str] = {}
    for path in ordered:
        for place in (path, *folders_above(path)):
            met.setdefault(place, path)
    places = frozenset(met)
    first_module = next(filter(is_module, ordered), None)
    found = {}
    for identity, now in after.items():
        tool = tools.get(identity)
        then = before.get(identity)
        reaches = (now,) if then is None else (now, then)
        reason = None
        if tool is not None and tool.path in all_changed:
            reason = tool.path  # of several changes the one of the tool itself says most
        elif hits := all_changed.intersection(seen.get(identity, ())).union(
            *(all_changed & one.paths for one in reaches)
        ):
            reason = min(hits)
        elif hits := frozenset().union(*(places & one.missing for one in reaches)):
            reason = min(met[place] for place in hits)
        elif any(one.has_unread for one in reaches) and identity not in seen:
            reason = first_module
        if reason is None and tool is not None and tool.inputs:
            reason = _first_input(ordered, tool.inputs)
        if reason is None and inputs and identity in inputs:
            reason = inputs[identity].find_cause(all_changed, names)
        if reason is None and then is None:
            reason = tool.path if tool is not None else min(now.paths, default=identity)
        if reason is not None:
            found[identity] = reason
    return found


def expand(
    found: Collection[str], registry: Registry, scope: Scope, targets: Collection[str]
) -> tuple[str, ...]:
    """The tools to run again, in the order of `full`; only targets count and are run.

    `tool`: those found. `stage`: all tools of each stage that holds one of these. `downstream`: those found, and all
    tools downstream of them.
    """
    wanted = frozenset(found).intersection(targets)
    if scope == "stage":
        in_stages = [stage.tools for stage in registry.stages if not wanted.isdisjoint(stage.tools)]
        wanted = wanted.union(*in_stages)
    elif scope == "downstream":
        wanted |= registry.downstream(wanted)
    return tuple(one for one in registry.order if one in wanted and one in targets)


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0] or "."


def folders_above(path: str) -> Iterator[str]:
    """`a/` and `a/b/` for `a/b/c`."""
    position = path.find("/")
    while position >= 0:
        yield path[: position + 1]
        position = path.find("/", position + 1)


def meets_input(path: str, inputs: Iterable[str]) -> bool:
    """Whether one of these paths, globs or folders matches the file."""
    return any(_compile(one).match(path) for one in inputs)


def _first_input(ordered: Iterable[str], inputs: Sequence[str]) -> str | None:
    return next((path for path in ordered if meets_input(path, inputs)), None)


@lru_cache(maxsize=4096)
def _compile(pattern: str) -> re.Pattern[str]:
    """`*` stays in its folder, `**` crosses folders, and a folder matches all below it."""
    text = pattern.removeprefix("./").rstrip("/")
    if text in ("", ".") and not pattern.startswith("/"):
        return re.compile("")
    parts = []
    end = 0
    for match in _WILD.finditer(text):
        parts.append(re.escape(text[end : match.start()]))
        end = match.end()
        if match["deep"]:
            parts.append("(?:[^/]+/)*")
        elif match["rest"]:
            parts.append(".*")
        elif match[0] == "*":
            parts.append("[^/]*")
        elif match[0] == "?":
            parts.append("[^/]")
        else:
            inside = re.sub(r"[\\\[\]&~|^]", r"\\\g<0>", match["set"]).replace("--", r"\-\-")
            parts.append(f"[{'^/' if match['not'] else ''}{inside}]")
    parts.append(re.escape(text[end:]))
    try:
        return re.compile("".join(parts) + "(?:/.*)?\\Z", re.DOTALL)
    except re.error:  # a set that is none, as [z-a]
        return re.compile(re.escape(text) + "(?:/.*)?\\Z", re.DOTALL)
