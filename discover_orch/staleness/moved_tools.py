"""Tools that were moved or renamed: each takes over what is remembered of it under its old name.

A tool that vanished and one that is new are the same if they are in the same file, as where `pythonpath` has changed,
or if their modules mean the same. Reads the memory and the files of new tools; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, with_observed
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.tool import OldPlace
from discover_orch.staleness.current import find_gone
from discover_orch.staleness.memory import Memory, rename_flows


def with_moved(
    registry: Registry, project: Project, flows: Mapping[str, Dataflow], sources: SourceFiles
) -> Registry:
    """The registry with the tools that were moved since they ran, in the order that their data flow gives. `flows` are
    those that are remembered."""
    new = [module for module in registry.tools if module not in flows]
    gone = find_gone(registry) if new else []
    if not gone:
        return registry
    memory = Memory(project.root)
    places: dict[str, str] = {}  # of those that are gone: their files, and what these meant
    meanings: dict[str, str] = {}
    for module, result in memory.results(gone).items():
        code = result.success.inputs.code if result.success else {}
        path = _find_own_path(module, code)
        if path:
            places[module], meanings[module] = path, code[path]
    new = [module for module in new if module not in memory.results(new)]
    moved, lost = _match(new, places, meanings, registry, sources)
    if not moved and not lost:
        return registry
    found = replace(registry, moved=moved, lost=lost)
    return with_observed(found, rename_flows(flows, moved)) if moved else found


def _match(
    new: Iterable[str],
    places: Mapping[str, str],
    meanings: Mapping[str, str],
    registry: Registry,
    files: SourceFiles,
) -> tuple[dict[str, OldPlace], dict[str, str]]:
    """The old place of each new tool that has one, and for others the tool of the same name whose memory is lost."""
    moved: dict[str, OldPlace] = {}
    own = {module: registry.tools[module].path for module in new}
    by_path = {path: module for module, path in places.items()}
    left = dict(places)
    for module, path in own.items():
        if path in by_path:
            moved[module] = OldPlace(module=by_path[path], path=path)
            del left[by_path[path]]
    by_meaning: dict[str, list[str]] = {}
    for module in left:
        by_meaning.setdefault(meanings[module], []).append(module)
    waiting: dict[str, list[str]] = {}
    for module in own.keys() - moved.keys() if left else ():
        file = files.read(own[module])
        if file is not None and file.problem is None and file.meaning in by_meaning:
            waiting.setdefault(file.meaning, []).append(module)
    for meaning, candidates in waiting.items():
        for module in sorted(candidates):
            others = [one for one in by_meaning[meaning] if one in left]
            if len(candidates) > 1 or len(others) > 1:  # copies of one text
                others = [one for one in others if _last(one) == _last(module)]
            if len(others) == 1:
                moved[module] = OldPlace(module=others[0], path=left.pop(others[0]))
    lost: dict[str, str] = {}
    for module in own.keys() - moved.keys():
        others = [one for one in left if _last(one) == _last(module)]
        if len(others) == 1:
            lost[module] = others[0]
    return moved, lost


def _find_own_path(module: str, paths: Iterable[str]) -> str:
    """Which of the files of its code is the tool itself. The folder in front of its name is not known."""
    found = [
        path
        for path in paths
        if f".{path.removesuffix('.py').replace('/', '.')}".endswith(
            (f".{module}", f".{module}.__init__")
        )
    ]
    return min(found, key=len, default="")


def _last(module: str) -> str:
    return module.rpartition(".")[2]
