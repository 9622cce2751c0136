"""What an attempt of a tool depends on and its data flow does not show: what other tools keep in memory, what native
code and children did, and the code that children ran.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterable

from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.model.observation import ChildCode, Observation, SharedUse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.staleness.import_graph import ImportGraph


class ChildCodeFinder:
    """Finds the code of child processes by their command lines."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._sources: dict[tuple[str, ...], ImportGraph] = {}

    def find(self, modules: Collection[ChildCode]) -> tuple[str, ...]:
        """The files of the project that these modules, run by a child process, import, themselves included."""
        found: dict[str, None] = {}
        for one in modules:
            if one.folders not in self._sources:
                from discover_orch.staleness.import_graph import ImportGraph  # loads the parser

                project = self._project
                places = tuple(dict.fromkeys((*one.folders, *project.pythonpath)))
                self._sources[one.folders] = ImportGraph(replace(project, pythonpath=places))
            reach = self._sources[one.folders].reach(one.name)
            found.update(dict.fromkeys(sorted(reach)))
            if one.path and one.path not in reach:  # its name has a dot
                found[one.path] = None
        return tuple(path for path in found if not path.startswith("../"))


def without_states(use: SharedUse, written: Collection[str]) -> SharedUse:
    """The same without the states of files that the tool wrote itself: it is not known what it read before."""
    read = tuple((row[0], -1, 0, 0, 0) if row[0] in written else row for row in use.read)
    return replace(use, read=read)


def without_used(use: SharedUse, seen: Observation) -> SharedUse:
    """The same without the databases that the tool of `seen` used itself, and the tables that it wrote."""
    used = {*(path for path, *_ in seen.read), *seen.written}.intersection(use.databases)
    return replace(
        use,
        read=tuple(row for row in use.read if row[0] not in used),
        tables_read=tuple(name for name in use.tables_read if name not in seen.tables_written),
    )


def natively_seen(seen: Observation) -> Observation:
    """What makes the tool stale and says nothing of its data flow."""
    return Observation(listed=seen.native_listed, missed=seen.native_missed, began=seen.began)


def find_output_files(fds: Iterable[int] = (1, 2)) -> frozenset[int]:
    """The inodes of the files that orch writes its own output to, as with `orch run > run.log`. Who reads such a file
    while a tool runs, as `tail -f` does, is not the tool."""
    found = set()
    for fd in fds:
        with contextlib.suppress(OSError):
            state = os.fstat(fd)
            if stat.S_ISREG(state.st_mode):
                found.add(state.st_ino)
    return frozenset(found)
