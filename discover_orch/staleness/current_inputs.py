"""What tools depend on, as it is now: their code, parameters, files, database, environment and packages.

`CurrentState.inputs` gives the present counterpart of what a success depended on. Reads and hashes files; imports
nothing of the user's, and writes only what it keeps of files in `.orch`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.model.conventions import CONF_MODULE
from discover_orch.model.encoding import encode, short_hash
from discover_orch.model.items import tool_of
from discover_orch.model.keys import Key, is_table_key
from discover_orch.model.pieces import Pieces
from discover_orch.model.tool import Tool
from discover_orch.staleness.code_versions import version_now
from discover_orch.staleness.database_identity import CurrentDatabase
from discover_orch.staleness.import_graph import CodeState, ImportGraph
from discover_orch.staleness.input_versions import Versions, write_hashes
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.rule import compare_code
from discover_orch.staleness.tool_result import (
    ABSENT,
    Inputs,
    Success,
    ToolResult,
    Write,
    join_paths,
    paths_in,
)
from discover_orch.staleness.variables_and_packages import SpelledNames

_CONN = "conn"

#: The value of each parameter as text, by name.
Params = Mapping[str, str]
_NOTHING: Mapping[str, ToolResult] = {}
_NO_WRITES: Mapping[Key, Write] = {}
_NO_MARKS: Mapping[Key, str] = {}


class CurrentState:
    """A project at one time. What a tool depends on is found out when it is asked for."""

    def __init__(
        self,
        project: Project,
        registry: Registry,
        memory: Memory,
        results: Mapping[str, ToolResult] = _NOTHING,
        code: ImportGraph | SourceFiles | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`results` are those of the tools that will be asked about; `code` is a graph that a watch
        keeps, or the files of a scan that was just made; `environ` is the environment that tools get."""
        self.project, self.registry, self.results = project, registry, results
        #: Of tools that were deleted, disabled or renamed, and whose writes may still be there.
        self.gone = tuple(memory.results(find_gone(registry)).values())
        self.environ = environ
        self.database = CurrentDatabase(project, registry, memory, environ)
        self.versions = Versions(project.root, self.database.path, environ)
        self._packages: Mapping[str, str] | None = None
        self.python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        self.code = code if isinstance(code, ImportGraph) else ImportGraph(project, code)
        self.spelled = SpelledNames(project.root)

    def read_code(
        self, modules: Iterable[str], *, is_tolerant: bool = False
    ) -> Mapping[str, CodeState]:
        """The code of these tools, of the modules that they loaded beyond their imports, and of `orchconf.py`;
        `is_tolerant` as of `ImportGraph`."""
        wanted: dict[str, None] = {}
        for key in modules:
            wanted[tool_of(key)] = None
            result = self.results.get(key)
            if result is not None and result.success is not None:
                wanted.update(dict.fromkeys(result.success.modules))
        if self.registry.conf is not None:
            wanted[CONF_MODULE] = None
        return self.code.read_code(wanted, is_tolerant=is_tolerant)

    def code_of(
        self, tool: Tool, code: Mapping[str, CodeState], more: Sequence[str] = ()
    ) -> Mapping[str, str]:
        """The hash of the syntax tree of each file of the tool's code; `more` are modules that it loads besides."""
        parts = self._parts(tool, code, more)
        if len(parts) == 1:
            return parts[0].meanings
        return {path: meaning for one in parts for path, meaning in one.meanings.items()}

    def pieces_of(
        self, tool: Tool, code: Mapping[str, CodeState], more: Sequence[str] = ()
    ) -> Mapping[str, Pieces]:
        """The pieces of the same files, of those that are divided into pieces."""
        return {
            path: one for part in self._parts(tool, code, more) for path, one in part.pieces.items()
        }

    def versions_of(
        self,
        tool: Tool,
        code: Mapping[str, CodeState],
        then: Mapping[str, str],
        more: Sequence[str] = (),
    ) -> dict[str, str]:
        """What of each file of its code counted at the time `then`, as it is now."""
        pieces = self.pieces_of(tool, code, more)
        return {
            path: version_now(then.get(path), meaning, pieces.get(path))
            for path, meaning in self.code_of(tool, code, more).items()
        }

    def is_of_present_code(
        self, tool: Tool, success: Success, code: Mapping[str, CodeState]
    ) -> bool:
        """Whether the code of the tool means the same as at that success."""
        now = self.versions_of(tool, code, success.inputs.code, success.modules)
        return not any(compare_code(success.inputs.code, now))

    def modules_of(self, tool: Tool, more: Sequence[str] = ()) -> list[str]:
        """The modules that its code starts from; `more` are those that it loads besides."""
        modules = [tool.source_module, *more]
        if tool.resources and takes_orchconf(tool, self.registry, self.project):
            modules.append(CONF_MODULE)
        return modules

    def hashes_of(self, tool: Tool, code: Mapping[str, CodeState]) -> Mapping[str, str]:
        """The hashes of the bytes of the same files."""
        parts = self._parts(tool, code, ())
        if len(parts) == 1:
            return parts[0].hashes
        return {path: content for one in parts for path, content in one.hashes.items()}

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
        if success is not None and "database" in success.inputs.other:
            other["database"] = self.database.version
        if success is not None:
            other |= self.find_versions(success.inputs, success.marks)
        if tool.inputs:
            own = result.writes if result else _NO_WRITES
            for key in self.declared_inputs(tool, own):
                other.setdefault(key, self.versions.version(key))
        more = success.modules if success else ()
        then = success.inputs.code if success else _NO_MARKS
        return Inputs(code=self.versions_of(tool, code, then, more), other=other)

    def find_versions(self, then: Inputs, marks: Mapping[Key, str] = _NO_MARKS) -> dict[Key, str]:
        """The present versions of the files, variables and packages among these inputs. `marks` are the states of
        files that stand for their versions of then."""
        found = {}
        for key, version in then.other.items():
            kind, _, name = key.partition(":")
            if kind in ("file", "folder", "glob", "there", "stat", "link", "env"):
                found[key] = self.versions.version(key, version, marks.get(key, ABSENT))
            elif kind == "environ":
                known = paths_in(version)
                others = {one for one in self.environ if f"env:{one}" not in then.other}
                new = self.spelled.find(others.difference(known), then.code, then.other)
                found[key] = join_paths((*known, *new)) if new else version
            elif kind == "package":
                found[key] = self.installed((name,)).get(name, ABSENT)
        return found

    def surroundings(self, tool: Tool, params: Params) -> dict[Key, str]:
        """The versions of its parameters, of Python, and of the database."""
        other = {f"param:{name}": text for name, text in params.items()}
        other["python"] = self.python
        if takes_connection(tool, self.registry):
            other["database"] = self.database.version
        return other

    def declared_inputs(self, tool: Tool, own: Mapping[Key, Write]) -> Iterable[Key]:
        """The keys of its declared inputs, without the files that it writes itself."""
        found = self.versions.declared(tool.inputs)
        return [key for key in found if key not in own]

    def mark(self, key: Key) -> str:
        """The present state of a file or a table."""
        if is_table_key(key):
            return self.database.mark(key)
        return self.versions.mark(key)

    def version(self, key: Key) -> str:
        """The present version of a file by its content."""
        return self.versions.version(key)

    @property
    def foreign_write(self) -> float:
        """When another program wrote to the database last."""
        return self.database.foreign_write

    @property
    def looked(self) -> float:
        """When the tables of the database were last looked for."""
        return self.database.looked

    def write(self) -> None:
        """Keeps what was read of code and of large files for the next command."""
        self.code.files.write()
        write_hashes(self.project.root)

    def installed(self, names: Iterable[str]) -> dict[str, str]:
        """The versions of those of these distributions that are installed."""
        if self._packages is None:
            from discover_orch.staleness.variables_and_packages import (
                find_versions,  # few tools load any
            )

            self._packages = find_versions(sys.path)
        return {name: self._packages[name] for name in names if name in self._packages}


def hash_meanings(meanings: Mapping[str, str]) -> str:
    """One hash for the code of a tool, as `CurrentState.code_of` gives it."""
    return short_hash(encode(meanings, is_sorted=True))


def find_gone(registry: Registry) -> list[str]:
    """The steps that were observed and exist no longer. A tool that cannot be read may be fixed later."""
    broken = {one.module for one in registry.broken}
    return sorted(
        key for key in registry.observed - registry.tools.keys() if tool_of(key) not in broken
    )


def takes_connection(tool: Tool, registry: Registry) -> bool:
    """Whether the tool gets `conn`, itself or through a resource."""
    return _CONN in tool.resources or _CONN in all_resources(tool, registry)


def takes_orchconf(tool: Tool, registry: Registry, project: Project) -> bool:
    """Whether the tool gets something that `orchconf.py` makes."""
    if registry.conf is None:
        return False
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
