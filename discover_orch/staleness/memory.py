"""What orch remembers of the tools of a project: how each ended last, and what its last success depended on.

Each tool has a small file below `.orch/tools`; one more file has the databases. A file that is damaged or of another
version counts as no file. Only the process that runs tools writes here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.observation import FileStat
from discover_orch.staleness.file_hashes import DatabaseStat
from discover_orch.staleness.fingerprint import DatabaseIdentity, Fingerprint
from discover_orch.state.flows import write_flows
from discover_orch.state.store import FOLDER, append_sealed, file_name, read_sealed, write_sealed

_TOOL, _DATABASES = "tool 2", "databases 2"
#: When something was done: the number of the run, and how many tools had ended in that run before.
Moment = tuple[int, int]
_AFTER_ALL_TOOLS = 1 << 40


class LastOutcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a tool ended last. `run` is the id of the run; `status` a status word, or `accepted`; `at` the local time,
    ISO 8601; `duration` in seconds."""

    run: str
    status: str
    at: str = ""
    duration: float = 0.0


class Success(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last success of a tool.

    `number` is how many tools had ended in that run before. `file_stats` are those of the files in the fingerprint: a
    file that still has its own has not changed. `modules` are those that the tool loaded though no import in its
    source names them. `flow` is what it was seen to read and write. `accepted` is None unless the tool was marked as
    fresh without running: then it is the number of the latest run at that time, 0 before the first run.
    """

    run: int
    number: int = 0
    at: str = ""
    duration: float = 0.0
    accepted: int | None = None
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    file_stats: Mapping[str, FileStat] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    flow: Dataflow = field(default_factory=Dataflow)

    @property
    def is_accepted(self) -> bool:
        return self.accepted is not None

    @property
    def moment(self) -> Moment:
        return self.run, self.number

    @property
    def valid_until(self) -> Moment:
        """What another tool wrote after this moment makes the tool stale."""
        if self.accepted is None:
            return self.moment
        return max(self.moment, (self.accepted, _AFTER_ALL_TOOLS))


class UncertainWrites(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What attempts that failed since the last success may have left in the database, since the tool had committed by
    itself. `moment` is that of the latest attempt; `is_unclear` as in `Dataflow`."""

    moment: Moment
    tables: tuple[str, ...] = ()
    is_unclear: bool = False
    database: DatabaseIdentity | None = None


class ToolResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is remembered of one tool."""

    module: str
    last: LastOutcome
    success: Success | None = None
    uncertain: UncertainWrites | None = None

    def was_accepted_after(self, run: str) -> bool:
        """Whether the tool was marked as fresh during that run or later."""
        last = self.last
        return last.status == "accepted" and last.run.isdecimal() and int(last.run) >= int(run)


class KnownDatabase(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A database as it was at the end of the last run that used it. `path` is "" where it is no file; `epoch` counts
    how often another file has taken its place."""

    path: str
    epoch: int
    stat: DatabaseStat | None


class Memory:
    """The memory of one project. `is_lost` once something could not be written."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folder = os.path.join(root, FOLDER)
        self.is_lost = False

    def results(self, modules: Iterable[str]) -> dict[str, ToolResult]:
        """The results of those of these tools that have one."""
        found = {}
        for module in modules:
            result = read_sealed(self._path(module), _TOOL, ToolResult)
            if result is not None and result.module == module:  # not a file that was renamed
                found[module] = result
        return found

    def durations(self, modules: Iterable[str]) -> dict[str, float]:
        """Seconds that each of these tools took at its last success."""
        return {
            module: result.success.duration
            for module, result in self.results(modules).items()
            if result.success is not None and not result.success.is_accepted
        }

    def write(self, result: ToolResult) -> None:
        self.is_lost |= not append_sealed(self._path(result.module), _TOOL, result)

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
