"""What happens to the tools of a run: what a worker tells, what a terminal shows, and what the journal keeps. Pure.

A tool is named by its `module`. Its `name`, which users write, and the `time` are known of events in a journal.
`execution/run_events.py` has the events that no journal keeps in this form.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from discover_orch.model.documents import Outcome
from discover_orch.model.errors import Problem
from discover_orch.model.observation import Observation

Seconds = Annotated[float, Meta(ge=0, lt=1e12)]
Stream = Literal["stdout", "stderr"]
ToolStatus = Literal[
    "passed",
    "failed",
    "unknown",
    "blocked",
    "not_run",
    "interrupted",
    "cancelled",
    "fresh",
    "done",
    "rolled_back",
]

RunStatus = Literal["passed", "failed", "interrupted", "cancelled", "killed"]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    """What the events have in common: the field that says which one it is."""


class ToolOrdered(Event, frozen=True, kw_only=True, tag="tool_ordered"):
    """The step was sent to the executor; another tool may still run. It can start before `ToolStarted` is read, so
    where the run was killed then, the tool may have begun."""

    module: str


class ToolDeclined(Event, frozen=True, kw_only=True, tag=True):
    """The step was ordered, and will not start, since the run was interrupted."""

    module: str


class ToolStarted(Event, frozen=True, kw_only=True, tag="tool_started"):
    """`worker` is the number of the worker that runs the tool, from 1."""

    module: str
    worker: int = 1
    name: str = ""
    time: datetime | None = None


class ToolOutput(Event, frozen=True, kw_only=True, tag="tool_output"):
    """Whole lines of one stream, each with its newline. Only the last may lack one."""

    module: str
    stream: Stream
    text: str


class ToolProgress(Event, frozen=True, kw_only=True, tag=True):
    """The line that the tool is redrawing, such as a progress bar, as it is now; empty if there is none any more. Its
    last state comes as `ToolOutput`."""

    module: str
    text: str


class UsedData(Struct, frozen=True, kw_only=True):
    """The files and tables that a tool read and wrote."""

    files_read: tuple[str, ...] = ()
    files_written: tuple[str, ...] = ()
    tables_read: tuple[str, ...] = ()
    tables_written: tuple[str, ...] = ()


class TableHead(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first rows of a table as texts; None is NULL. `has_more` says whether there are more rows. Of many columns,
    the last name is `…`."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...] = ()
    has_more: bool = False


class ToolEnd(Outcome, frozen=True, kw_only=True, omit_defaults=True):
    """How a tool ended, and its transaction with it. `duration` is 0.0 if it did not start, and None if it is not
    known. `commit_seconds` is the part of it that its commit took. `seen` is what the tool was observed to do, None if
    it did not end by itself.

    `checks` are those of its checks that ran, in their order. `notes` are sentences for the user ("committed by
    itself"). `blocked_by` is a module; in a journal its name. `is_settled`: the database says how it ended, and what
    it used is not known. In a journal, `data` and `versions` are those of what it used, `printed` is the end of what
    an attempt that failed printed, and `changes` is SQLite's counter of changes when a tool that used the project's
    database had ended.
    """

    name: str = ""
    duration: Seconds | None = None
    is_settled: bool = False
    data: UsedData = UsedData()
    versions: Mapping[str, str] = field(default_factory=dict)
    changes: int | None = None
    time: datetime | None = None
    seen: Observation | None = None
    commit_seconds: float = 0.0
    printed: str = ""


class ToolFinished(ToolEnd, frozen=True, kw_only=True, tag_field="event", tag="tool_finished"):
    """`loaded` maps project files, relative to the root, to hashes: those that this tool was the first to load in its
    worker; `loaded_as` maps them to names of modules. `tables` are those that it wrote, as they were when it had
    ended. `returned` is what `run()` returned, as JSON, if a check takes it as `previous` and it is small, else "".
    `record` is the name of this success in the database, "" where that has no record of it. `removed` are the tables
    that were dropped before it ran."""

    status: ToolStatus
    duration: Seconds = 0.0
    loaded: Mapping[str, str] = field(default_factory=dict)
    loaded_as: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[TableHead, ...] = ()
    returned: str = ""
    record: str = ""
    removed: tuple[str, ...] = ()


class TablesMade(Event, frozen=True, kw_only=True, tag="tables_made"):
    """In a journal alone: the `tables` of a tool that has passed."""

    module: str
    tables: tuple[TableHead, ...]


class TransactionEnded(Event, frozen=True, kw_only=True, tag="transaction_ended"):
    """The end of a run that is one transaction. Its tools that were `done` have this status from now on."""

    status: Literal["passed", "rolled_back", "unknown"]


class RunNote(Event, frozen=True, kw_only=True, tag="run_note"):
    """A problem outside any tool: a resource that raised when it was closed, threads that are still running."""

    problem: Problem
    traceback: str = ""
    time: datetime | None = None


class RunFinished(Event, frozen=True, kw_only=True, tag="run_finished"):
    """The end of a run. `exit_code` and `counts`, the numbers of tools by status, are added after all other
    events. `signal` is the number of the signal that interrupted the run, or 0. Only a journal has `killed` runs."""

    status: RunStatus
    duration: Seconds
    exit_code: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    signal: int = 0
    time: datetime | None = None


class SecretFound(Event, frozen=True, kw_only=True, tag=True):
    """A tool or a module is about to set a variable that holds this secret: it is masked from now on. This event never
    leaves `execution`."""

    text: str


class DatabaseWritten(Event, frozen=True, kw_only=True, tag=True):
    """Another program has written to the SQLite database that the run uses, since the last step began or ended,
    whichever was later."""


class DebuggerOpened(Event, frozen=True, kw_only=True, tag=True):
    """A tool is about to be debugged on the terminal: nothing else may write there. The worker waits for the parent's
    answer, `Terminal`. The terminal is the parent's again when the tool has ended."""

    module: str


WorkerSaid = (
    ToolDeclined
    | ToolStarted
    | ToolOutput
    | ToolProgress
    | ToolFinished
    | TransactionEnded
    | RunNote
    | SecretFound
    | DatabaseWritten
    | DebuggerOpened
)
