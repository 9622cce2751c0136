"""Tools that were moved or renamed: each takes over what is remembered of it under its old name.

A tool that vanished and one that is new are the same if they are in the same file, as where `pythonpath` has changed,
or if their modules mean the same. Reads the memory and the files of new tools; writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, with_observed
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.model.conventions import module_of
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.items import tool_of
from discover_orch.model.tool import OldPlace
from discover_orch.staleness.code_versions import whole_of
from discover_orch.staleness.current_inputs import find_gone
from discover_orch.staleness.memory import Memory, rename_flows

Key = Callable[[str], object]


def with_moved(
    registry: Registry, project: Project, flows: Mapping[str, Dataflow], sources: SourceFiles
) -> Registry:
    """The registry with the tools that were moved since they ran, in the order that their data flow gives. `flows` are
    those that are remembered."""
    seen: dict[str, str] = {}  # a step of each tool
    for key in flows:
        seen.setdefault(tool_of(key), key)
    new = [module for module in registry.tools if module not in seen]
    gone = [seen.get(module, module) for module in find_gone(registry)] if new else []
    if not gone:
        return registry
    memory = Memory(project.root)
    places: dict[str, str] = {}  # of those that are gone: their files, and what these meant
    meanings: dict[str, str] = {}
    for key, result in memory.results(gone).items():
        module = tool_of(key)
        code = result.success.inputs.code if result.success else {}
        path = _find_own_path(module, code)
        if path:
            places[module], meanings[module] = path, whole_of(code[path])
    new = [module for module in new if module not in memory.results(new)]
    moved = _match({one: registry.tools[one].path for one in new}, places, meanings, sources)
    if not moved:
        return registry
    return with_observed(replace(registry, moved=moved), rename_flows(flows, moved))


def _match(
    new: Mapping[str, str], old: Mapping[str, str], meanings: Mapping[str, str], files: SourceFiles
) -> dict[str, OldPlace]:
    """The old place of each new tool that has one, by the paths of both, and what the old ones meant."""

    def meaning_of(module: str) -> str:
        file = files.read(new[module])
        return file.meaning if file is not None and file.problem is None else ""

    found: dict[str, OldPlace] = {}
    left = dict(old)
    keys: list[tuple[Key, Key]] = [
        (lambda one: old[one], lambda one: new[one]),
        # Of copies of one text the name tells which is which.
        (lambda one: (meanings[one], _last(one)), lambda one: (meaning_of(one), _last(one))),
        (lambda one: meanings[one], meaning_of),
    ]
    for old_key, new_key in keys:
        before = _group(left, old_key)
        for key, modules in _group(new.keys() - found.keys() if left else (), new_key).items():
            if len(modules) == len(before.get(key, ())) == 1:
                module = before[key][0]
                found[modules[0]] = OldPlace(module=module, path=left.pop(module))
    return found


def _group(modules: Iterable[str], key_of: Key) -> dict[object, list[str]]:
    groups: dict[object, list[str]] = {}
    for module in modules:
        groups.setdefault(key_of(module), []).append(module)
    return groups


def _find_own_path(module: str, paths: Iterable[str]) -> str:
    """Which of the files of its code is the tool itself. The folder in front of its name is not known."""
    found = [
        path
        for path in paths
        if f".{module_of(path)}".endswith((f".{module}", f".{module}.__init__"))
    ]
    return min(found, key=len, default="")


def _last(module: str) -> str:
    return module.rpartition(".")[2]
