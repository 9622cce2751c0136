"""What the parent and a worker send each other: orders one way, messages the other, one JSON line each.

Both sides have the same version (the parent starts the worker from its own package), so a line carries no
version number. Nothing is pickled and nothing is evaluated. This module opens no pipe.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from discover_orch.model.checks import Check
from discover_orch.model.conventions import SQL_SUFFIX
from discover_orch.model.encoding import build_decoder, decode, encode
from discover_orch.model.parameter import ParamType
from discover_orch.model.success_record import Attempt, SuccessRecord
from discover_orch.model.tool_events import WorkerSaid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.model.tool import Tool

INSIDE = "ORCH_INSIDE"  # set in the environment of tools: the root of the project that runs them
TIME_TO_END = 10.0  # seconds that an observer has after the end of the run, or of orch
OBSERVER_FAILED = (
    b"\0orch failure: "  # begins the line in which its process says how its function failed
)
CHANNEL_LOST = 94  # exit code of a worker whose tool closed the pipes to the parent


class WireArgument(Struct, frozen=True, kw_only=True):
    """The value of one argument as typed; the worker converts it with `Param.convert`."""

    texts: tuple[str, ...]
    type: ParamType


def build_defaults(tool: Tool) -> dict[str, WireArgument]:
    """The defaults of a tool in SQL, which has no signature for the worker to read. What is missing is NULL."""
    if not tool.path.endswith(SQL_SUFFIX):
        return {}
    given = (one for one in tool.params if one.default_texts)
    return {one.name: WireArgument(texts=one.default_texts, type=one.type) for one in given}


class Greet(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The first order, before anything is known of the project.

    `watches_death`: the parent started the worker from its main thread, so the kernel can signal the
    parent's death. (The kernel signals the end of the thread, not of the process.)
    """

    parent: int
    watches_death: bool


class Preload(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """For a warm worker, before `Prepare`: import these modules, each with its names in `from` imports. A worker
    that cannot be used then ends.

    None of them is the project's. `pythonpath` is absolute and not on `sys.path` yet: it tells which of the
    imported modules a tool would have got from the project instead.
    """

    root: str
    pythonpath: tuple[str, ...]
    modules: tuple[tuple[str, tuple[str, ...]], ...]


class Prepare(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The order before all steps: what holds for each of them. Paths are absolute.

    `resources` are those of `orchconf.py`, each with the arguments that it needs. `environment` replaces the
    worker's own, which may be older. `is_one_of_several`: other workers
    use the same database. `project`: successes of steps that write to the
    database are recorded there under this name, "" for none. `is_remote`:
    another machine than the parent's, or one that may be, so a database in a local file is refused.
    `is_traced`: the kernel may be asked which files the tools use. `table_version_rows` and `secrets` are the
    settings of these names.
    """

    root: str
    pythonpath: tuple[str, ...]
    database: str
    transaction: str = "tool"
    orchconf: str | None = None
    has_connection: bool = False
    is_one_of_several: bool = False
    is_remote: bool = False
    resources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    raw_output: bool = False
    post_mortem: bool = False
    all_frames: bool = False
    project: str = ""
    table_version_rows: int = 0
    secrets: tuple[str, ...] = ()
    is_traced: bool = True
    environment: Mapping[str, str] | None = None


class RunStep(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Run one tool. Its `outputs` must exist when it has ended. If its signature is not readable from the source, it
    gets those of the `resources` that it really asks for. `check_resources` are only for its `checks`, and `previous`
    is what it returned at its last success, as JSON, "" for nothing. `code` are the files that it imports, directly or
    not, as far as the parent knows. `run` and `key` are those of the run, for the record. `writes_alone`: no
    other worker writes to the database.

    `is_traced` is as of the worker's `Prepare`. The parent sends it when the step before has ended. After `timeout`
    seconds it interrupts the tool. `drops`, `empties` and `may_drop` are tables that are removed in its transaction
    first, as `removal.remove_tables` says. `value` is what the rows of an item have in the `column`, if it writes no
    others.
    """

    module: str
    name: str
    path: str
    arguments: Mapping[str, WireArgument] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    resources: tuple[str, ...] = ()
    is_readable: bool = True
    checks: tuple[Check, ...] = ()
    check_resources: tuple[str, ...] = ()
    previous: str = ""
    outputs: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    commits_by_itself: bool = False
    attempt: int = 1
    run: int = 0
    key: str = ""
    writes_alone: bool = False
    is_traced: bool = True
    timeout: float | None = None
    drops: tuple[str, ...] = ()
    empties: tuple[str, ...] = ()
    may_drop: tuple[str, ...] = ()
    column: str = ""
    value: str = ""


class Ask(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """What has the database recorded of this project? Documents come only where another success is `known` of a tool,
    or none. Before that: hold the lock of the project under this name until the worker ends; make these attempts void;
    store these records; delete the rows with these names, by `keys.py`. With `has_tables`: which tables and views
    are there, and what do `tables` contain?"""

    project: str = ""
    known: Mapping[str, str] = field(default_factory=dict)
    lock_name: str = ""
    waits: bool = False
    voids: tuple[Attempt, ...] = ()
    records: tuple[SuccessRecord, ...] = ()
    deletes: tuple[str, ...] = ()
    has_tables: bool = False
    tables: tuple[str, ...] = ()


class Terminal(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The answer to `DebuggerOpened`: whether the worker has the terminal now."""

    granted: bool


class Finish(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Close every resource, answer `Closed`, and end. `commits`: all steps of a run that is one transaction have
    succeeded, so commit it first, and say `TransactionEnded`. `records`: what the database is to remember of tools."""

    commits: bool = False
    records: tuple[SuccessRecord, ...] = ()


# The messages that are no events of a run.


class Committing(Struct, frozen=True, kw_only=True, tag=True, tag_field="event"):
    """The worker is about to commit what this tool has written. If it dies before `ToolFinished`, the commit may have
    happened."""

    module: str


class Closed(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, tag_field="event"):
    """All resources are closed. `threads` are still running."""

    threads: tuple[str, ...] = ()


class Answer(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, tag_field="event"):
    """To an `Ask`; the database cannot be asked if there is a `problem`. `has_lock`: locks of a project are held
    there, and not in `.orch` alone. `holder` is who holds it, if that is another run. `tables`: the names of all
    tables and views, as they are shown; None where they cannot be asked for. `contents` are the versions of the tables
    that were asked for, "?" of one that has too many rows now."""

    records: tuple[SuccessRecord, ...] = ()
    has_lock: bool = False
    holder: str = ""
    tables: tuple[str, ...] | None = None
    contents: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


Order = Greet | Preload | Prepare | RunStep | Ask | Terminal | Finish
Message = WorkerSaid | Committing | Closed | Answer


def decode_order(line: bytes) -> Order:
    """The value that `encode_line` wrote; ValueError for any other line."""
    order: Order = decode(line, Order)
    return order


def decode_message(line: bytes) -> Message:
    """The value that `encode_line` wrote; ValueError for any other line."""
    message: Message = decode(line, Message)
    return message


def prepare_for_orders() -> None:
    """Build the decoder of orders, which takes 1 ms. Processes that are forked afterwards share it."""
    build_decoder(Order)


def encode_line(value: Struct) -> bytes:
    """One line of JSON, with its newline."""
    return encode(value) + b"\n"
