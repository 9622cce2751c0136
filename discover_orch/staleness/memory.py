"""What orch remembers of the tools of a project: how each ended last, and what its last success depended on.

Each tool has a small file below `.orch/tools`; one more file has the databases. A file that is damaged or of another
version counts as no file. Only the process that runs tools writes here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.items import tool_of
from discover_orch.model.tool import OldPlace
from discover_orch.staleness.database_file import DatabaseStat
from discover_orch.staleness.result_updates import cut_off, rename_result
from discover_orch.staleness.tool_result import SETTLED, LastOutcome, Seq, ToolResult, end_of_run
from discover_orch.state.journal import read_open_run
from discover_orch.state.recorded_run import RunRecord
from discover_orch.state.sealed_files import (
    FOLDER,
    append_sealed,
    file_name,
    has_other_scheme,
    read_flows,
    read_sealed,
    seal_text,
    unseal_text,
    write_flows,
    write_sealed,
)

#: In place of a status: the result was written by a version of orch that compared tools differently.
UPGRADED = "upgraded"
_TOOL, _DATABASES = "tool 7", "databases 5"


class KnownDatabase(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A database as it was at the end of the last run that used it. `path` is "" where it is no file; `number` differs
    for every database that this project has had. `foreign_write` is when another program was found to have written
    to it. `looked` is when tables were last looked for on a server, and `missing` are those that were not there. `run`
    is the greatest number of a run that has left a record in it. `read` is when the content of tables was last looked
    at, and `contents` are the versions that they had then. `latest` is the last number that was given between runs.
    `is_unread`: it was taken over from records of another checkout, and its tables have not been read since."""

    path: str
    number: int
    stat: DatabaseStat | None
    foreign_write: Seq = 0
    looked: Seq = 0
    missing: tuple[str, ...] = ()
    run: int = 0
    read: Seq = 0
    contents: Mapping[str, str] = {}
    latest: Seq = 0
    is_unread: bool = False


def find_unended(run: RunRecord | None, results: Mapping[str, ToolResult]) -> dict[str, ToolResult]:
    """The results of the tools that an open run left without an end. `results` are those that are remembered. What
    earlier runs left open is among these, since the run after a killed one writes it."""
    if run is None:
        return {}
    found = {}
    for one in run.tools:
        is_open = one.status in ("unknown", "running", "rolled_back") or one.is_settled
        result = results.get(one.module) or ToolResult(module=one.module)
        if not is_open or result.was_accepted_after(run.run):
            continue
        if one.status != "running":
            result = cut_off(result, end_of_run(int(run.run)))
        last = LastOutcome(
            run=run.run,
            status=SETTLED if one.status == "passed" else one.status,
            at=run.started,
            has_started=one.has_started,
            cause="killed"
            if one.status == "failed"
            else "worker lost"
            if one.status == "unknown" and one.error is not None
            else "",
        )
        found[one.module] = replace(result, last=last)
    return found


def with_unended(root: str, results: Mapping[str, ToolResult]) -> dict[str, ToolResult]:
    """The same results, with those of the tools that the latest run left without an end."""
    return {**results, **find_unended(read_open_run(root), results)}


def rename_flows(
    flows: Mapping[str, Dataflow], moved: Mapping[str, OldPlace]
) -> dict[str, Dataflow]:
    """The same under the new names."""
    names = {tool_of(old.module): tool_of(module) for module, old in moved.items()}
    return {
        f"{names.get(tool_of(key), tool_of(key))}{key[len(tool_of(key)) :]}": flow
        for key, flow in flows.items()
    }


class Memory:
    """The memory of one project. `is_lost` once something could not be written."""

    def __init__(self, root: str, registry: Registry | None = None) -> None:
        """`registry` knows the tools that were moved."""
        self._root, self._registry = root, registry or Registry()
        self._folder = os.path.join(root, FOLDER)
        self.is_lost = False

    def results(self, modules: Iterable[str]) -> dict[str, ToolResult]:
        """The results of those of these tools that have one."""
        found = {}
        for module in modules:
            if module in self._registry.moved:
                found[module] = self._read_moved(module)
                continue
            result = read_sealed(self._path(module), _TOOL, ToolResult)
            if result is not None and result.module == module:  # not a file that was renamed
                found[module] = result
            elif result is None and has_other_scheme(self._path(module), _TOOL):
                found[module] = ToolResult(module=module, last=LastOutcome(status=UPGRADED))
        return found

    def _read_moved(self, module: str) -> ToolResult:
        old, path = self._registry.moved[module], self._registry.tools[module].path
        result = read_sealed(self._path(module), _TOOL, ToolResult)
        if result is not None:  # `settle_moves` has written it
            return result
        known = read_sealed(self._path(old.module), _TOOL, ToolResult)
        return rename_result(known or ToolResult(module=module), module, old.path, path)

    def find_damaged(self, modules: Iterable[str]) -> list[str]:
        """Those of these modules without a result that have a file all the same: it cannot be read."""
        return [module for module in modules if os.path.lexists(self._path(module))]

    def settle_moves(self) -> None:
        """Writes what is remembered of tools that were moved under their new names."""
        moved = self._registry.moved
        if not moved:
            return
        for module, result in self.results(moved).items():
            self.write(result)
            with contextlib.suppress(OSError):
                os.unlink(self._path(moved[module].module))
        self.write_flows(rename_flows(read_flows(self._root), moved))

    def write(self, result: ToolResult) -> None:
        self.is_lost |= not append_sealed(self._path(result.module), _TOOL, result)

    def seal(self, result: ToolResult) -> str:
        """What the database keeps of it."""
        return seal_text(_TOOL, result)

    def unseal(self, module: str, text: str) -> ToolResult | None:
        """What the database has of a tool; None where that is damaged, or of another version of orch."""
        result = unseal_text(text, _TOOL, ToolResult)
        return result if result is not None and result.module == module else None

    def databases(self) -> dict[str, KnownDatabase]:
        """All known databases, by name."""
        return read_sealed(self._databases_path, _DATABASES, dict[str, KnownDatabase]) or {}

    def write_databases(self, known: Mapping[str, KnownDatabase]) -> None:
        self.is_lost |= not write_sealed(self._databases_path, _DATABASES, known)

    def write_flows(self, flows: Mapping[str, Dataflow]) -> None:
        self.is_lost |= not write_flows(self._root, flows)

    @property
    def _databases_path(self) -> str:
        return f"{self._folder}/databases"

    def _path(self, module: str) -> str:
        return f"{self._folder}/tools/{file_name(module)}"
