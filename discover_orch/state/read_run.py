"""Reads a run from the lines of its journal.

The lines are those of `orch run --json`. Any of them may be damaged or missing: a line that cannot be read is ignored,
keys that are not known are ignored too, and lines without the start of a run are no run. Reads no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from discover_orch.model.errors import Failure
from discover_orch.state.run_record import RecordedStep, RunRecord, Settled, ToolRecord
from discover_orch.state.store import decode_json

_NOTHING_SETTLED = Settled()


class WriterProcess(Struct, frozen=True, kw_only=True):
    """The process that wrote a journal, as `process.is_alive` needs it."""

    pid: int
    process: int | None = None
    boot: str | None = None


_Seconds = Annotated[float, Meta(ge=0, lt=1e12)]


class _Event(Struct, frozen=True, kw_only=True, tag_field="event"):
    pass


class _RunStarted(_Event, frozen=True, kw_only=True, tag="run_started"):
    run: str
    targets: tuple[str, ...]
    tools: tuple[str, ...]
    modules: tuple[str, ...]
    pid: int = 0
    process: int | None = None
    boot: str | None = None
    started: str = ""
    kind: str = "run"
    plan: tuple[RecordedStep, ...] = ()
    database: str = ""
    database_origin: str = ""
    resumes: str | None = None
    passed_before: tuple[str, ...] = ()
    ledger: str = ""
    transaction: str = "tool"


class _ToolOrdered(_Event, frozen=True, kw_only=True, tag="tool_ordered"):
    """The worker has the order: where the run was killed, the tool may have begun."""

    module: str


class _ToolStarted(_Event, frozen=True, kw_only=True, tag="tool_started"):
    module: str


class _ToolFinished(_Event, frozen=True, kw_only=True, tag="tool_finished"):
    name: str
    module: str
    status: str
    duration: _Seconds
    metrics: dict[str, object] = {}
    error: Failure | None = None
    notes: tuple[str, ...] = ()
    attempt: int = 1


class _ToolRetried(_Event, frozen=True, kw_only=True, tag="tool_retried"):
    """An attempt failed, and another one was to follow."""

    name: str
    module: str
    attempt: int
    duration: _Seconds
    error: Failure | None = None


class _TransactionEnded(_Event, frozen=True, kw_only=True, tag="transaction_ended"):
    """The tools of a run that is one transaction have this status, if they were done."""

    status: str


class _RunFinished(_Event, frozen=True, kw_only=True, tag="run_finished"):
    status: str
    exit_code: int
    duration: _Seconds
    counts: dict[str, int]


_AnyEvent = (
    _RunStarted
    | _ToolOrdered
    | _ToolStarted
    | _ToolFinished
    | _ToolRetried
    | _TransactionEnded
    | _RunFinished
)


def read_writer(lines: Iterable[bytes]) -> WriterProcess | None:
    """The process that wrote these lines; None where the end of the run is recorded, or the start is not."""
    writer = None
    for event in _read_events(lines):
        match event:
            case _RunStarted(pid=pid, process=process, boot=boot):
                writer = WriterProcess(pid=pid, process=process, boot=boot)
            case _RunFinished():
                return None
            case _:
                pass
    return writer


def read_run(
    lines: Iterable[bytes], is_alive: bool, settled: Settled = _NOTHING_SETTLED
) -> RunRecord | None:
    """`is_alive`: the process that wrote the lines still exists. None where the lines are not those of a run."""
    start: _RunStarted | None = None
    end: _RunFinished | None = None
    begun: set[str] = set()
    ordered: set[str] = set()
    attempts: dict[str, int] = {}
    ended: dict[str, _ToolFinished] = {}
    for event in _read_events(lines):
        match event:
            case _RunStarted() if start is None:
                start = event
            case _ToolOrdered(module=module):
                ordered.add(module)
                ended.pop(module, None)  # another attempt
            case _ToolStarted(module=module):
                begun.add(module)
                ended.pop(module, None)
            case _ToolFinished(module=module):
                ended[module] = event
            case _ToolRetried(module=module):
                attempts[module] = event.attempt + 1
                ended[module] = _ToolFinished(
                    name=event.name,
                    module=module,
                    status="failed",
                    duration=event.duration,
                    error=event.error,
                    attempt=event.attempt,
                )
            case _TransactionEnded(status=word):
                ended = {
                    module: replace(one, status=word) if one.status == "done" else one
                    for module, one in ended.items()
                }
            case _RunFinished():
                end = event
            case _:
                pass
    if start is None:
        return None
    status = end.status if end else "running" if is_alive else "killed"
    tools = tuple(
        _finished_tool(ended[module], module in begun)
        if module in ended
        else replace(
            _unfinished_tool(module, name, status, module in begun, module in ordered),
            attempt=attempts.get(module, 1),
        )
        for module, name in zip(start.modules, start.tools, strict=True)
    )
    if status == "killed":
        if start.transaction == "run":
            tools = _end_killed_transaction(tools)
        tools = tuple(_settle(one, settled) for one in tools)
    return _build_record(start, end, status, tools)


def read_first_and_last(first: bytes, last: bytes) -> RunRecord | None:
    """The run without its tools, from the first line and the last one; None where these do not say how it ended."""
    start, end = _read_event(first), _read_event(last)
    if not (isinstance(start, _RunStarted) and isinstance(end, _RunFinished)):
        return None
    if end.status == "killed":  # then some tool has no end
        return None
    return _build_record(start, end, end.status, ())


def has_clean_end(line: bytes) -> bool:
    """Whether this last line is the end of a run that was not killed."""
    end = _read_event(line)
    return isinstance(end, _RunFinished) and end.status != "killed"


def _build_record(
    start: _RunStarted, end: _RunFinished | None, status: str, tools: tuple[ToolRecord, ...]
) -> RunRecord:
    counts: Mapping[str, int] = end.counts if end else {}
    if status in ("killed", "running"):
        words = [tool.status for tool in tools]
        counts = {word: words.count(word) for word in dict.fromkeys(words)}
    return RunRecord(
        run=start.run,
        status=status,
        started=start.started,
        kind=start.kind,
        targets=start.targets,
        tools=tools,
        plan=start.plan,
        duration=end.duration if end else None,
        exit_code=end.exit_code if end else None,
        database=start.database,
        database_origin=start.database_origin,
        resumes=start.resumes,
        passed_before=start.passed_before,
        counts=counts,
        ledger=start.ledger,
    )


def _unfinished_tool(
    module: str, name: str, run_status: str, has_started: bool, is_ordered: bool
) -> ToolRecord:
    status = "not_run"
    if run_status == "running":
        status = "running" if has_started else "not_run"
    elif has_started or is_ordered:
        status = "unknown"
    return ToolRecord(name=name, module=module, status=status, has_started=has_started)


def _end_killed_transaction(tools: tuple[ToolRecord, ...]) -> tuple[ToolRecord, ...]:
    """Only a run all of whose tools are done can have been committed when it was killed."""
    is_all_done = all(one.status in ("done", "fresh") for one in tools)
    return tuple(
        replace(one, status="unknown" if is_all_done else "rolled_back")
        if one.status == "done" or (one.status == "unknown" and not is_all_done)
        else one
        for one in tools
    )


def _settle(tool: ToolRecord, settled: Settled) -> ToolRecord:
    is_committed = settled.committed.get(tool.module)
    if tool.status != "unknown" or is_committed is None:
        return tool
    if is_committed:
        note = "the run was killed after the commit of this tool, according to the ledger"
        return replace(tool, status="passed", notes=(note,), is_settled=True)
    message = "the run was killed before the commit of this tool, according to the ledger"
    error = Failure(kind="crash", type="crash", message=message)
    return replace(tool, status="failed", error=error, is_settled=True)


def _finished_tool(event: _ToolFinished, has_started: bool) -> ToolRecord:
    return ToolRecord(
        name=event.name,
        module=event.module,
        status=event.status,
        duration=event.duration if has_started else None,
        metrics=event.metrics,
        error=event.error,
        notes=event.notes,
        attempt=event.attempt,
        has_started=has_started,
    )


def _read_events(lines: Iterable[bytes]) -> Iterator[_AnyEvent]:
    return (event for event in map(_read_event, lines) if event is not None)


def _read_event(line: bytes) -> _AnyEvent | None:
    """None for a line of another shape, and for one without its end, which was torn off."""
    if not line.endswith(b"\n"):
        return None
    try:
        event: _AnyEvent = decode_json(line, _AnyEvent)  # type: ignore[arg-type]
    except (ValueError, RecursionError):
        return None
    if isinstance(event, _RunStarted) and len(event.tools) != len(event.modules):
        return None
    return event
