"""The code of an attempt as it ran: the files that its worker loaded and its child processes ran, and the installed
packages that it imports. Reads files, writes none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from discover_orch.discovery.source_files import PythonPath, path_module
from discover_orch.discovery.tree import stat_file
from discover_orch.execution.attempt_reads import ReadFiles
from discover_orch.model.conventions import CONF_MODULE
from discover_orch.model.keys import Key
from discover_orch.model.observation import CONNECTED, STARTED_CHILD, Observation
from discover_orch.model.tool import Tool
from discover_orch.model.tool_events import ToolFinished
from discover_orch.staleness.code_versions import build_version, find_counted, union, version_now
from discover_orch.staleness.current_inputs import CurrentState, takes_orchconf
from discover_orch.staleness.import_graph import CodeState
from discover_orch.staleness.tool_result import ABSENT, UNSURE, ToolResult


class CodeAsRun(Struct, frozen=True, kw_only=True):
    """The version of each file, the modules that no import statement names, and the files that were loaded with
    another text than the plan knew. `with_earlier` has the versions with what counted for the last success too."""

    versions: Mapping[str, str]
    with_earlier: Mapping[str, str]
    modules: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


class CodeReader:
    """For the tools of one run, in the order in which they end: `add_event`, then `read`."""

    def __init__(
        self,
        present: CurrentState,
        code: Mapping[str, CodeState],
        files: ReadFiles,
        *,
        is_live: bool,
    ) -> None:
        """`is_live`: a watch learns of changes during the run, so a tool that has loaded what is there now depends on
        that."""
        self._is_live = is_live
        self._current, self._code, self._files = present, code, files
        self._loaded: dict[str, str] = {}  # project files that the workers loaded → hash
        self._loaded_as: dict[str, list[str]] = {}  # first part of a module's name → these files
        #: By module, and by path the names of functions: those that ran while it was loaded, and those of it and of
        #: what it imports that ran in tools that have left something in it.
        self._ran_loading: dict[str, dict[str, set[str]]] = {}
        self._ran_keeping: dict[str, dict[str, set[str]]] = {}

    def add_event(self, event: ToolFinished) -> None:
        if (seen := event.seen) is not None:
            for owner, ran in seen.ran_loading.items():
                _add(self._ran_loading.setdefault(owner, {}), ran)
            for path in seen.kept:
                name = PythonPath(self._current.project).name(path) or path_module(path)
                reached = self._current.code.reach(name)
                for ran in (seen.ran, *seen.ran_loading.values()):
                    inside = {one: names for one, names in ran.items() if one in reached}
                    _add(self._ran_keeping.setdefault(path, {}), inside)
        self._loaded.update(event.loaded)
        for path, name in event.loaded_as.items():
            self._loaded_as.setdefault(name.partition(".")[0], []).append(path)

    def known(self, tool: Tool) -> Mapping[str, str]:
        """The files of its code as the plan knows them, with their meaning."""
        return self._current.code_of(tool, self._code)

    def read(
        self, tool: Tool, event: ToolFinished, shared: Iterable[Observation], before: ToolResult
    ) -> CodeAsRun:
        """The code of the attempt that has ended so. `shared` is what it shares with other tools."""
        seen = event.seen or Observation()
        observed = (seen, *shared)
        names = [name for one in observed for name in one.names("module", "read")]
        code = {**self.known(tool)}
        hashes: Mapping[str, str] = self._current.hashes_of(tool, self._code)
        modules: tuple[str, ...] = ()
        read = {*seen.names("file", "read")}
        ran = [path for path in seen.ran if path not in read]
        found = dict.fromkeys((*event.loaded, *ran, *self._find_elsewhere(tool)))
        extra = [path for path in found if path not in code]
        written = seen.names("file", "written", "appended")
        child_code = [path for path in seen.names("code", "read") if path not in written]
        if extra or names or child_code:
            space = PythonPath(self._current.project)
            named = (space.name(path) or path_module(path) for path in extra)
            by_path = (path_module(path) for path in child_code)
            modules = tuple(dict.fromkeys((*named, *names, *by_path)))
            for one in self._current.code.read_code(modules).values():
                code |= one.meanings
                hashes = {**hashes, **one.hashes}
        changed = [
            path
            for path, content in hashes.items()
            if self._loaded.get(path, content) != content and not self._means_the_same(path, code)
        ]
        if changed and self._is_live:
            now = self._current.code.read_code((tool.source_module, *modules))
            known = {path: one for state in now.values() for path, one in state.hashes.items()}
            same = [path for path in changed if known.get(path) == self._loaded[path]]
            meanings = self._current.code_of(tool, now, modules)
            code |= {path: meanings[path] for path in same if path in meanings}
            changed = [path for path in changed if path not in same]
        for path in child_code:
            state = stat_file(os.path.join(self._current.project.root, path))
            if state is None or self._files.is_changed_meanwhile(
                path, state.st_ctime_ns, seen.began
            ):
                changed.append(path)
        for path in changed:
            code[path] = UNSURE
        versions: Mapping[str, str] = code
        with_earlier = versions
        if event.seen is not None:
            is_known = not any(map(_has_code_elsewhere, observed))
            known_ran = self._find_ran(seen, code) if is_known else None
            versions, with_earlier = self._count(tool, known_ran, code, modules, before)
        return CodeAsRun(
            versions=versions,
            with_earlier=with_earlier,
            modules=modules,
            changed=tuple(changed),
        )

    def _count(
        self,
        tool: Tool,
        ran: Mapping[str, Collection[str]] | None,
        code: Mapping[str, str],
        modules: Sequence[str],
        before: ToolResult,
    ) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """The version of each file of this code by what of it counts, and the same with what counted earlier. `ran` is
        None where functions may have run unseen."""
        current = self._current
        states = current.code.read_code((*current.modules_of(tool), *modules)).values()
        pieces = {
            path: one
            for state in states
            for path, one in state.pieces.items()
            if code.get(path) == state.meanings[path]
        }
        counted = find_counted(pieces, ran)
        conf = current.code.reach(CONF_MODULE) if tool.resources else ()
        takes_conf = bool(conf) and takes_orchconf(tool, current.registry, current.project)
        tokens = {
            path: found
            for path, found in counted.items()
            if not (takes_conf and path in conf)
            and all(map(pieces[path].has, (ran or {}).get(path, ())))
        }

        def build(*earlier: Mapping[str, str]) -> dict[str, str]:
            found = {**code}
            for path, own in tokens.items():
                more = union(one.get(path) for one in earlier)
                found[path] = build_version(code[path], pieces[path], (*own, *more))
            return found

        past = before.success.inputs.code if before.success else {}
        now, tried = build(past), before.tried.code
        with_earlier = build(past, tried) if tried else now
        if now == past:
            return now, with_earlier
        is_as_past = all(
            version_now(version, code.get(path, ABSENT), pieces.get(path)) == version
            for path, version in past.items()
        )
        return now if is_as_past else build(), with_earlier

    def _find_ran(self, seen: Observation, code: Iterable[str]) -> Mapping[str, Collection[str]]:
        """The functions that count as run: those of the tool, those that ran while a module of its code was loaded,
        and, where a module keeps what was computed, those that may have computed it."""
        found: dict[str, set[str]] = {}
        _add(found, seen.ran)
        paths = {*code}
        for path in paths & self._ran_loading.keys():
            _add(found, self._ran_loading[path])
        for path in paths & self._ran_keeping.keys():
            _add(found, self._ran_keeping[path])
        return found

    def _find_elsewhere(self, tool: Tool) -> Iterable[str]:
        """The files of modules that its code imports and that are not in `pythonpath`, but where code that changes
        `sys.path` has Python find them: this tool or one before it has loaded them."""
        found: dict[str, None] = {}
        names = self._current.third_party_of(tool, self._code)
        while new := [
            path for name in names for path in self._loaded_as.get(name, ()) if path not in found
        ]:
            found.update(dict.fromkeys(new))
            states = self._current.code.read_code(map(path_module, new)).values()
            names = {name for one in states for name in one.third_party}
        return found

    def _means_the_same(self, path: str, code: Mapping[str, str]) -> bool:
        """Whether the text that was loaded is what is there now, and means what the plan knew: as where an editor has
        called a formatter after it saved the file."""
        now = self._current.code.files.look_at(path)
        if now is None or now.problem is not None:
            return False
        return (now.hash, now.meaning) == (self._loaded[path], code[path])

    def packages(self, tool: Tool, modules: Iterable[str]) -> dict[Key, str]:
        """The versions of the distributions that its code imports, and of what these require; "" for a module that no
        distribution brings: one of that name may be installed later."""
        states = self._current.code.read_code(modules).values()
        names = self._current.third_party_of(tool, self._code).union(
            *(one.third_party for one in states)
        )
        if not names:
            return {}
        from discover_orch.staleness.variables_and_packages import (  # few tools import any
            normalise,
            read_installed,
        )

        packages = read_installed(sys.path)
        found = {*packages.find_needed(names), *map(normalise, names - packages.owners.keys())}
        installed = self._current.installed(found)
        return {f"package:{name}": installed.get(name, ABSENT) for name in sorted(found)}


def _add(into: dict[str, set[str]], ran: Mapping[str, Iterable[str]]) -> None:
    for path, names in ran.items():
        into.setdefault(path, set()).update(names)


def _has_code_elsewhere(seen: Observation) -> bool:
    """Whether functions may have run unseen: in a child process that runs Python, or that was not followed,
    or somewhere in the network."""
    gaps = seen.names("gap", "unclear")
    is_elsewhere = any(one.startswith((STARTED_CHILD, CONNECTED)) for one in gaps)
    return is_elsewhere or bool(seen.code_gap or seen.find("code", "read"))
