"""What tools depend on, as it is now: their code, parameters, files, database, environment and packages.

`CurrentState.inputs` gives the present counterpart of what a success depended on. Reads and hashes files; writes
nothing and imports nothing of the user's.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.model.conventions import CONF_MODULE, GLOB_CHARACTERS
from discover_orch.model.database_url import database_name, find_file, is_in_memory
from discover_orch.model.digest import short_hash
from discover_orch.model.tool import Tool
from discover_orch.staleness.all_fresh_cache import CacheKey
from discover_orch.staleness.code_hashes import CodeIndex, CodeState
from discover_orch.staleness.compare import compare_code
from discover_orch.staleness.database_file import read_database, read_tables
from discover_orch.staleness.environment_names import SpelledNames
from discover_orch.staleness.fingerprint import (
    ABSENT,
    ANY,
    EXISTS,
    Inputs,
    Key,
    Seq,
    Success,
    ToolResult,
    join_paths,
    paths_in,
)
from discover_orch.staleness.memory import KnownDatabase, Memory
from discover_orch.staleness.versions import Versions
from discover_orch.state.journal import find_runs, has_ended

GET_CONNECTION = "get_connection()"
#: The number of a database that exists and is not known yet, and of one that does not exist.
UNKNOWN, MISSING = -1, 0
_CONN = "conn"

#: The value of each parameter as text, by name.
Params = Mapping[str, str]
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
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`results` are those of the tools that will be asked about; `signatures` as of `CodeIndex`; `code` is a
        `CodeIndex` that is kept anyway; `environ` is the environment that tools get."""
        self.project, self.registry, self.results = project, registry, results
        #: Of tools that were deleted, disabled or renamed, and whose writes may still be there.
        self.gone = tuple(memory.results(find_gone(registry)).values())
        self.environ = environ
        self.database = CurrentDatabase(project, registry, memory, environ)
        self.versions = Versions(project.root, self.database.path, environ)
        self._packages: Mapping[str, str] | None = None
        self.python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        self.code = CodeIndex(project, signatures) if code is None else code
        self._codes: Mapping[str, CodeState] = {}
        self.spelled = SpelledNames(project.root)
        #: What modules that cannot be read now meant when they last could be. Only a watch knows.
        self.last_good: Mapping[str, str] = {}

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
        if self.last_good:
            found |= {path: self.last_good[path] for path in found.keys() & self.last_good.keys()}
        return found

    def is_of_present_code(
        self, tool: Tool, success: Success, code: Mapping[str, CodeState]
    ) -> bool:
        """Whether the code of the tool means the same as at that success."""
        now = self.code_of(tool, code, success.modules)
        return not any(compare_code(success.inputs.code, now))

    def modules_of(self, tool: Tool, more: Sequence[str] = ()) -> list[str]:
        """The modules that its code starts from; `more` are those that it loads besides."""
        modules = [tool.module, *more]
        if tool.resources and takes_orchconf(tool, self.registry, self.project):
            modules.append(CONF_MODULE)
        return modules

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
        modules = self.modules_of(tool, more)
        return [code[module] for module in modules if module in code]

    def inputs(
        self,
        tool: Tool,
        code: Mapping[str, CodeState],
        params: Params,
        result: ToolResult | None,
    ) -> Inputs:
        """What all that the tool's last success depended on is now, and what a success now would depend on besides."""
        success = result.success if result else None
        other = self.surroundings(tool, params)
        if success is not None:
            for key, then in success.inputs.other.items():
                kind, _, name = key.partition(":")
                if kind in ("file", "folder", "glob", "env"):
                    other[key] = self.versions.version(key, then, success.marks.get(key, ABSENT))
                elif kind == "environ":
                    known = paths_in(then)
                    new = self.spelled.find(self.environ.keys() - {*known}, success.inputs.code)
                    other[key] = join_paths((*known, *new)) if new else then
                elif kind == "package":
                    other[key] = self.installed((name,)).get(name, ABSENT)
        if tool.inputs:
            own = result.writes if result else {}
            for key in self.declared_inputs(tool, own):
                other.setdefault(key, self.versions.version(key))
        more = success.modules if success else ()
        return Inputs(code=self.code_of(tool, code, more), other=other)

    def surroundings(self, tool: Tool, params: Params) -> dict[Key, str]:
        """The versions of its parameters, of Python, and of the database."""
        other = {f"param:{name}": text for name, text in params.items()}
        other["python"] = self.python
        if takes_connection(tool, self.registry):
            other["database"] = self.database.version
        return other

    def declared_inputs(self, tool: Tool, own: Mapping[Key, object]) -> Iterable[Key]:
        """The keys of its declared inputs, without the files that it writes itself."""
        return [key for key in self.versions.declared(tool.inputs) if key not in own]

    def mark(self, key: Key) -> str:
        """The present state of a file or a table."""
        return self.database.mark(key) if key.startswith("table:") else self.versions.mark(key)

    def cache_key(self) -> CacheKey | None:
        """What the freshness of all tools depends on; None where names of files do not say it all."""
        tools = self.registry.tools.values()
        has_globs = any(
            GLOB_CHARACTERS & {*one} for tool in tools for one in (*tool.inputs, *tool.outputs)
        )
        depends_on_time = any(tool.max_age is not None for tool in tools)
        if is_in_memory(self.database.name) or has_globs or depends_on_time:
            return None
        present: dict[str, None] = {}
        absent: dict[str, None] = {}
        environment: dict[str, str] = {}
        variables: tuple[str, ...] = ()
        has_packages = False
        for one in self._codes.values():
            present.update(dict.fromkeys(one.meanings))
            absent.update(dict.fromkeys(one.missing))
        for result in self.results.values():
            if result.success is None:
                continue
            for key, version in result.success.inputs.other.items():
                kind, _, path = key.partition(":")
                if kind == "glob":
                    return None
                if kind == "env":
                    environment[path] = version
                elif kind == "environ":
                    variables = tuple(self.environ)
                if kind in ("file", "folder"):
                    (present if version != ABSENT else absent)[path] = None
                has_packages |= kind == "package"
            for key, write in result.writes.items():
                if key.startswith("file:"):
                    (present if write.mark != ABSENT else absent)[key[5:]] = None
        for tool in self.registry.tools.values():
            present.update(dict.fromkeys((*tool.inputs, *tool.outputs)))
        for path in (self.database.path, self.database.named_file):
            if path:
                present[path] = None
        return CacheKey(
            present=tuple(present),
            absent=tuple(absent),
            environment=environment,
            variables=variables,
            has_packages=has_packages,
        )

    def installed(self, names: Iterable[str]) -> dict[str, str]:
        """The versions of those of these distributions that are installed."""
        if self._packages is None:
            from discover_orch.staleness.installed_packages import (
                find_versions,  # few tools load any
            )

            self._packages = find_versions(sys.path)
        return {name: self._packages[name] for name in names if name in self._packages}

    def _success(self, module: str) -> Success | None:
        result = self.results.get(module)
        return None if result is None else result.success


class CurrentDatabase:
    """The database of the project at one time: which one it is, and whether another program has written to it."""

    def __init__(
        self,
        project: Project,
        registry: Registry,
        memory: Memory,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._root = project.root
        self.all_known: Mapping[str, KnownDatabase] = memory.databases()
        is_named = not uses_get_connection(registry, project)
        self.name = database_name(project.database, environ) if is_named else GET_CONNECTION
        #: The file that the URL names, which may be a link to another database by now; "" where orch opens no file.
        self.named_file = find_file(project.database) if is_named else ""
        self.path = self.known.path if self.known else find_file(project.database)
        self.ignores_foreign = project.external_writes == "ignore"
        self._number: int | None = None

    @property
    def known(self) -> KnownDatabase | None:
        return self.all_known.get(self.name)

    @property
    def version(self) -> str:
        return f"{self.number} {self.name}"

    @property
    def number(self) -> int:
        """The number of the present database: the known one, or a new one where another has taken its place. MISSING
        where there is no database, UNKNOWN where there is one that is not known yet."""
        if self._number is None:
            self._number = self._find_number()
        return self._number

    @property
    def next_number(self) -> int:
        return max((one.number for one in self.all_known.values()), default=0) + 1

    def mark(self, key: Key) -> str:
        """Whether a table exists."""
        _, number, name = key.split(":", 2)
        if number != str(self.number) or name in ("", ANY) or "." in name:
            return EXISTS
        tables = self._tables
        return EXISTS if tables is None or name in tables else ABSENT

    @cached_property
    def _tables(self) -> frozenset[str] | None:
        return read_tables(self._root, self.path)

    @property
    def foreign_write(self) -> float:
        """When another program wrote to it last: infinite if no run has noticed that yet."""
        if self.known is None:
            return 0
        return math.inf if self.was_written else self.known.foreign_write

    @cached_property
    def was_written(self) -> bool:
        """Whether another program has written to it since the last run. What a killed run has written is its own."""
        known = self.known
        if known is None or known.stat is None or not known.path or self.number != known.number:
            return False
        found = read_database(self._root, known.path)
        if found is None or not found.was_written_since(known.stat):
            return False
        runs = find_runs(self._root)
        return not runs or has_ended(self._root, runs[0])

    def remember(self, memory: Memory, known: KnownDatabase) -> None:
        databases = {**self.all_known, self.name: known}
        if databases != self.all_known:
            self.all_known = databases
            memory.write_databases(databases)

    def note_present(self, memory: Memory, now: Seq) -> None:
        """Remembers the present database where none is known, and that another program wrote to it before `now`."""
        known = self.known
        if self.number == UNKNOWN:
            self._number = self.next_number
            stat = read_database(self._root, self.named_file)
            self.remember(
                memory, KnownDatabase(path=self.named_file, number=self._number, stat=stat)
            )
        elif known is not None and self.number not in (known.number, MISSING):
            path = self.named_file or known.path
            stat = read_database(self._root, path)
            self.remember(memory, KnownDatabase(path=path, number=self.number, stat=stat))
        elif known is not None and self.was_written:
            stat = read_database(self._root, known.path)
            self.remember(memory, replace(known, stat=stat, foreign_write=now - 1))

    def _find_number(self) -> int:
        known = self.known
        if is_in_memory(self.name):
            return MISSING
        if known is None:
            has_file = self.named_file and read_database(self._root, self.named_file)
            return UNKNOWN if has_file else MISSING
        if not known.path:
            return known.number
        path = self.named_file or known.path
        stat = read_database(self._root, path)
        if stat is None:
            return MISSING
        is_same = known.stat is not None and stat.is_same(known.stat)
        return known.number if is_same and self._is_at(path, known.path) else self.next_number

    def _is_at(self, path: str, known: str) -> bool:
        """Whether both paths lead to the same file."""
        here, there = (os.path.realpath(os.path.join(self._root, one)) for one in (path, known))
        return here == there


def hash_code(meanings: Mapping[str, str]) -> str:
    """One hash for the code of a tool, as `CurrentState.code_of` gives it."""
    text = "\0".join(f"{path}\0{meaning}" for path, meaning in sorted(meanings.items()))
    return short_hash(text.encode("utf-8", "surrogateescape"))


def find_gone(registry: Registry) -> list[str]:
    """The tools that were observed and exist no longer. One that cannot be read may be fixed later."""
    known = registry.tools.keys() | {one.module for one in registry.broken}
    return sorted(registry.observed - known)


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
