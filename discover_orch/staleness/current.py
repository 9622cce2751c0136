"""What tools depend on, as it is now: their code, parameters, files, database and packages.

`CurrentState.fingerprint` gives the present counterpart of a fingerprint of the last success. Reads and hashes files;
writes nothing and imports nothing of the user's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence

from discover_orch.config.project import Project, masked_url
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.model.conventions import CONF_MODULE, GLOB_CHARACTERS
from discover_orch.model.observation import FileStat
from discover_orch.model.tool import Tool
from discover_orch.staleness.all_fresh_cache import CacheKey
from discover_orch.staleness.code_hashes import CodeIndex, CodeState
from discover_orch.staleness.file_hashes import FileHashes, read_database
from discover_orch.staleness.fingerprint import DatabaseIdentity, Fingerprint
from discover_orch.staleness.memory import KnownDatabase, Memory, Success, ToolResult

GET_CONNECTION = "get_connection()"
UNKNOWN_EPOCH = -1
IN_MEMORY = ("sqlite://", "sqlite:///", "sqlite:///:memory:")
_CONN = "conn"

Params = Mapping[str, tuple[str, ...]]
_NOTHING: Mapping[str, ToolResult] = {}
_UNSIGNED: Mapping[str, str] = {}


class CurrentState:
    """A project at one time. What a tool depends on is found out when it is asked for."""

    def __init__(
        self,
        project: Project,
        registry: Registry,
        memory: Memory,
        results: Mapping[str, ToolResult] = _NOTHING,
        signatures: Mapping[str, str] = _UNSIGNED,
        code: CodeIndex | None = None,
    ) -> None:
        """`results` are those of the tools that will be asked about; `signatures` as of `CodeIndex`; `code` is a
        `CodeIndex` that is kept anyway."""
        self.project, self.registry, self.results = project, registry, results
        self.databases: Mapping[str, KnownDatabase] = memory.databases()
        self.database_name = (
            GET_CONNECTION
            if uses_get_connection(registry, project)
            else masked_url(project.database)
        )
        known = self.databases.get(self.database_name)
        self.file_hashes = FileHashes(
            project.root, known.path if known else file_of(project.database)
        )
        self._epoch: int | None = None
        self._versions: Mapping[str, str] | None = None
        self.python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        self.code = CodeIndex(project, signatures) if code is None else code
        self._codes: Mapping[str, CodeState] = {}

    def read_code(self, modules: Iterable[str]) -> Mapping[str, CodeState]:
        """The code of these tools, of the modules that they loaded beyond their imports, and of `orchconf.py`."""
        wanted = dict.fromkeys(modules)
        for module in tuple(wanted):
            success = self._success(module)
            wanted.update(dict.fromkeys(success.modules if success else ()))
        if self.registry.conf is not None:
            wanted[CONF_MODULE] = None
        self._codes = self.code.read(tuple(wanted))
        return self._codes

    def code_of(
        self, tool: Tool, code: Mapping[str, CodeState], more: Sequence[str] = ()
    ) -> dict[str, str]:
        """The hash of the syntax tree of each file of the tool's code; `more` are modules that it loads besides."""
        found: dict[str, str] = {}
        for one in self._parts(tool, code, more):
            found.update(one.meanings)
        return found

    def hashes_of(self, tool: Tool, code: Mapping[str, CodeState]) -> dict[str, str]:
        """The hashes of the bytes of the same files."""
        found: dict[str, str] = {}
        for one in self._parts(tool, code, ()):
            found.update(one.hashes)
        return found

    def third_party_of(self, tool: Tool, code: Mapping[str, CodeState]) -> set[str]:
        """The installed modules that its code imports."""
        return {name for one in self._parts(tool, code, ()) for name in one.third_party}

    def _parts(
        self, tool: Tool, code: Mapping[str, CodeState], more: Sequence[str]
    ) -> list[CodeState]:
        modules = [tool.module, *more]
        if tool.resources and takes_orchconf(tool, self.registry, self.project):
            modules.append(CONF_MODULE)
        return [code[module] for module in modules if module in code]

    def fingerprint(
        self, tool: Tool, code: Mapping[str, CodeState], params: Params, success: Success | None
    ) -> tuple[Fingerprint, dict[str, FileStat]]:
        """What all that `success` depended on is now, and the `FileStat` of each file that was hashed."""
        then = success.fingerprint if success else Fingerprint()
        known = success.file_stats if success else {}
        file_stats = {}
        files = {}
        own = self.file_hashes.own(then.written, tool.outputs)
        paths, patterns = self.file_hashes.declared(tool.inputs, own)
        for path in dict.fromkeys((*then.files, *paths)):
            files[path], stat = self.file_hashes.file(
                path, then.files.get(path, ""), known.get(path)
            )
            if stat is not None:
                file_stats[path] = stat
        return Fingerprint(
            code=self.code_of(tool, code, success.modules if success else ()),
            python=self.python,
            distributions=self.installed(then.distributions) if then.distributions else {},
            params=params,
            files=files,
            folders={path: self.file_hashes.folder(path, own) for path in then.folders},
            patterns=patterns,
            missed=tuple(path for path in then.missed if not self.file_hashes.exists(path)),
            written=tuple(path for path in self.outputs(tool, then.written) if self.is_there(path)),
            database=self.database_of(tool),
        ), file_stats

    def cache_key(self) -> CacheKey | None:
        """What the freshness of all tools depends on; None where names of files do not say it all."""
        if self.database_name in IN_MEMORY or any(
            GLOB_CHARACTERS & {*one}
            for tool in self.registry.tools.values()
            for one in (*tool.inputs, *tool.outputs)
        ):
            return None
        present: dict[str, None] = {}
        absent: dict[str, None] = {}
        has_packages = False
        for one in self._codes.values():
            present.update(dict.fromkeys(one.meanings))
            absent.update(dict.fromkeys(one.missing))
        for result in self.results.values():
            if result.success is not None:
                then = result.success.fingerprint
                if then.patterns:  # also a folder, of which all below counts
                    return None
                for paths in (then.files, then.folders, then.written):
                    present.update(dict.fromkeys(paths))
                absent.update(dict.fromkeys(then.missed))
                has_packages |= bool(then.distributions)
        for tool in self.registry.tools.values():
            present.update(dict.fromkeys((*tool.inputs, *tool.outputs)))
        known = self.databases.get(self.database_name)
        for path in (known.path if known else "", self._named_file()):
            if path:
                present[path] = None
        return CacheKey(present=tuple(present), absent=tuple(absent), has_packages=has_packages)

    def outputs(self, tool: Tool, written: Iterable[str]) -> tuple[str, ...]:
        """What must exist after a success: the files that the tool wrote, and those that it declares."""
        return tuple(dict.fromkeys((*written, *tool.outputs)))

    def is_there(self, path: str) -> bool:
        if GLOB_CHARACTERS & set(path):
            return bool(self.file_hashes.matches(path))
        return self.file_hashes.is_there(path)

    def database_of(self, tool: Tool) -> DatabaseIdentity | None:
        if not takes_connection(tool, self.registry):
            return None
        return DatabaseIdentity(name=self.database_name, epoch=self.epoch)

    @property
    def epoch(self) -> int:
        """The epoch of the present database: the known one, or the next one where another has taken its place.

        0 where there is no database, and UNKNOWN_EPOCH where there is one that is not known yet.
        """
        if self._epoch is None:
            self._epoch = self._find_epoch()
        return self._epoch

    def note_database(self, memory: Memory) -> None:
        """Remembers the present database where none is known."""
        if self.epoch == UNKNOWN_EPOCH:
            path = file_of(self.project.database)
            known = KnownDatabase(path=path, epoch=1, stat=read_database(self.project.root, path))
            self.databases = {**self.databases, self.database_name: known}
            memory.write_databases(self.databases)
            self._epoch = 1

    def _find_epoch(self) -> int:
        known = self.databases.get(self.database_name)
        if self.database_name in IN_MEMORY:
            return 0
        if known is None:
            path = self._named_file()
            return UNKNOWN_EPOCH if path and read_database(self.project.root, path) else 0
        if not known.path:
            return known.epoch
        path = self._named_file() or known.path
        stat = read_database(self.project.root, path)
        if stat is None:
            return 0
        is_same = known.stat is not None and stat.is_same(known.stat)
        return known.epoch + (not is_same or not self._is_at(path, known.path))

    def _named_file(self) -> str:
        """The file that the URL names, which may be a link to another database by now; "" where orch opens no file."""
        return "" if self.database_name == GET_CONNECTION else file_of(self.project.database)

    def _is_at(self, path: str, known: str) -> bool:
        """Whether both paths lead to the same file."""
        here, there = (
            os.path.realpath(os.path.join(self.project.root, one)) for one in (path, known)
        )
        return here == there

    def installed(self, names: Iterable[str]) -> dict[str, str]:
        if self._versions is None:
            from discover_orch.staleness.installed_packages import (
                find_versions,  # few tools load any
            )

            self._versions = find_versions(sys.path)
        return {name: self._versions[name] for name in names if name in self._versions}

    def _success(self, module: str) -> Success | None:
        result = self.results.get(module)
        return None if result is None else result.success


def file_of(url: str) -> str:
    """The path of the SQLite file of a URL, relative to the root or absolute; "" for other databases."""
    path = url.removeprefix("sqlite:///")
    return "" if path == url or url in IN_MEMORY else path


def takes_connection(tool: Tool, registry: Registry) -> bool:
    """Whether the tool gets `conn`, itself or through a resource."""
    return bool(tool.resources) and _CONN in all_resources(tool, registry)


def takes_orchconf(tool: Tool, registry: Registry, project: Project) -> bool:
    """Whether the tool gets something that `orchconf.py` makes."""
    taken = all_resources(tool, registry)
    if _CONN in taken and uses_get_connection(registry, project):
        return True
    return bool(taken - {_CONN})


def all_resources(tool: Tool, registry: Registry) -> set[str]:
    """The resources that the tool takes, and those that these take."""
    needs = {one.name: one.needs for one in registry.conf.resources} if registry.conf else {}
    seen: set[str] = set()
    waiting = list(tool.resources)
    while waiting:
        name = waiting.pop()
        if name not in seen and (name == _CONN or name in needs):
            seen.add(name)
            waiting.extend(other for other, _ in needs.get(name, ()))
    return seen
