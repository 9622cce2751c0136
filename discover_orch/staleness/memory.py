"""The door to what orch remembers of the tools of a project: a small file each under `.orch/tools`, one with what all
were seen to read and write, and one with the databases.

In and out: values. A file that is damaged, of another version or not there costs what it held, and no more. Only the
process that runs tools writes here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from msgspec import Struct

from discover_orch.model.dataflow import Dataflow
from discover_orch.staleness.file_hashes import DatabaseStat
from discover_orch.staleness.last_result import ToolResult, from_row, to_row
from discover_orch.state.flows import write_flows
from discover_orch.state.store import (
    FOLDER,
    append_sealed,
    file_name,
    read_sealed,
    write_sealed,
)


class KnownDatabase(Struct, frozen=True, kw_only=True):
    """A database as it was at the end of the last run that used it. `path` is "" where it is no file; `epoch` counts
    how often another file has taken its place."""

    path: str
    epoch: int
    mark: DatabaseStat | None


class Memory:
    """Of one project. `is_lost` once something could not be written."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folder = os.path.join(root, FOLDER)
        self.is_lost = False

    def results(self, modules: Iterable[str]) -> dict[str, ToolResult]:
        """Of those tools that have one."""
        found = {}
        for module in modules:
            row = read_sealed(self._path(module), "tool")
            if row is None:
                continue
            try:
                result = from_row(row)
            except ValueError:
                continue
            if result.module == module:  # or the file was put there under another name
                found[module] = result
        return found

    def durations(self, modules: Iterable[str]) -> dict[str, float]:
        """Seconds that each of these tools took when it passed last."""
        return {
            module: result.success.duration
            for module, result in self.results(modules).items()
            if result.success is not None and not result.success.is_accepted
        }

    def write(self, result: ToolResult) -> None:
        self.is_lost |= not append_sealed(self._path(result.module), "tool", to_row(result))

    def databases(self) -> dict[str, KnownDatabase]:
        """By name."""
        row = read_sealed(os.path.join(self._folder, "databases"), "databases") or {}
        found = {}
        try:
            for name, (path, epoch, mark) in row.get("databases", {}).items():
                found[name] = KnownDatabase(
                    path=str(path), epoch=int(epoch), mark=_read_mark(mark) if mark else None
                )
        except (TypeError, ValueError, AttributeError, OverflowError):
            return {}
        return found

    def write_databases(self, known: Mapping[str, KnownDatabase]) -> None:
        rows = {
            name: [one.path, one.epoch, one.mark and _mark_row(one.mark)]
            for name, one in known.items()
        }
        self._write(os.path.join(self._folder, "databases"), "databases", {"databases": rows})

    def write_flows(self, flows: Mapping[str, Dataflow]) -> None:
        self.is_lost |= not write_flows(self._root, flows)

    def _write(self, path: str, kind: str, row: dict[str, object]) -> None:
        self.is_lost |= not write_sealed(path, kind, row)

    def _path(self, module: str) -> str:
        return f"{self._folder}/tools/{file_name(module)}"


def _mark_row(mark: DatabaseStat) -> list[object]:
    return [mark.inode, mark.size, mark.counter, mark.header]


def _read_mark(row: object) -> DatabaseStat:
    if not isinstance(row, list):
        raise TypeError("not a mark")
    inode, size, counter, header = row
    return DatabaseStat(inode=int(inode), size=int(size), counter=int(counter), header=str(header))
