"""Everything that the journal has of one run, for its report: when each attempt ran and on which worker, what it used,
why it ran, and with which versions.

Reads the same lines as `run_record`, from which the report has statuses and parameters. Older journals have less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.model.errors import Failure
from discover_orch.state.store import decode_json


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt of a tool. `start` and `end` are seconds since the start of the run; `status` is empty where no end
    is recorded."""

    start: float
    end: float
    worker: int = 1
    status: str = ""
    error: Failure | None = None
    traceback: str = ""


class UsedData(Struct, frozen=True, kw_only=True):
    """The files and tables that a tool read and wrote."""

    files_read: tuple[str, ...] = ()
    files_written: tuple[str, ...] = ()
    tables_read: tuple[str, ...] = ()
    tables_written: tuple[str, ...] = ()


class PlannedStep(Struct, frozen=True, kw_only=True):
    """Why a tool was to run, and after which modules of the plan."""

    module: str
    stage: str = ""
    path: str = ""
    after: tuple[str, ...] = ()
    reason: str = ""


class RunDetails(Struct, frozen=True, kw_only=True):
    """By module: `attempts`, in order, `data`, the `versions` of what a tool that passed used, `steps`, the `stages`
    of all tools, and by which tool one was `blocked_by` (a name). `sources` has a hash for each project file of the
    tools' code. `order` has all modules in the order of the pipeline. `commit` is the hash of the git commit; empty
    texts are not known."""

    orch: str = ""
    python: str = ""
    system: str = ""
    commit: str = ""
    workers: int = 1
    attempts: Mapping[str, tuple[Attempt, ...]] = field(default_factory=dict)
    data: Mapping[str, UsedData] = field(default_factory=dict)
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    steps: Mapping[str, PlannedStep] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    blocked_by: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()


class ToolEnd(Struct, frozen=True, kw_only=True):
    """How a tool ended in an earlier run."""

    module: str
    status: str
    duration: float
    metrics: Mapping[str, object] = field(default_factory=dict)


class _Event(Struct, frozen=True, kw_only=True, tag_field="event"):
    time: str = ""


class _RunStarted(_Event, frozen=True, kw_only=True, tag="run_started"):
    modules: tuple[str, ...] = ()
    plan: tuple[PlannedStep, ...] = ()
    orch: str = ""
    python: str = ""
    system: str = ""
    commit: str = ""
    workers: int = 1
    fresh_stages: tuple[str, ...] = ()
    sources: dict[str, str] = {}
    order: tuple[str, ...] = ()


class _ToolStarted(_Event, frozen=True, kw_only=True, tag="tool_started"):
    module: str
    worker: int = 1


class _ToolRetried(_Event, frozen=True, kw_only=True, tag="tool_retried"):
    module: str
    duration: float
    error: Failure | None = None
    traceback: str = ""


class _ToolFinished(_Event, frozen=True, kw_only=True, tag="tool_finished"):
    module: str
    status: str
    duration: float
    error: Failure | None = None
    traceback: str = ""
    data: UsedData = UsedData()
    versions: dict[str, str] = {}
    blocked_by: str = ""


_AnyEvent = _RunStarted | _ToolStarted | _ToolRetried | _ToolFinished
_END = b'{"event":"tool_finished"'


def read_details(lines: Iterable[bytes]) -> RunDetails:
    """From the lines of a journal. A line that cannot be read is ignored."""
    head = _RunStarted()
    begun: dict[str, tuple[float, int]] = {}
    attempts: dict[str, list[Attempt]] = {}
    data: dict[str, UsedData] = {}
    versions: dict[str, dict[str, str]] = {}
    blocked_by: dict[str, str] = {}
    zero = 0.0
    for line in lines:
        event = _read_event(line)
        match event:
            case _RunStarted() if not head.time:
                head, zero = event, _seconds(event.time)
            case _ToolStarted(module=module):
                begun[module] = _seconds(event.time) - zero, event.worker
            case _ToolRetried(module=module) if module in begun:
                ended = _attempt(event, zero, begun.pop(module), "failed")
                attempts.setdefault(module, []).append(ended)
            case _ToolFinished(module=module):
                if module in begun:
                    ended = _attempt(event, zero, begun.pop(module), event.status)
                    attempts.setdefault(module, []).append(ended)
                if event.blocked_by:
                    blocked_by[module] = event.blocked_by
                data[module] = event.data
                if event.versions:
                    versions[module] = event.versions
            case _:
                pass
    for module, (start, worker) in begun.items():
        attempts.setdefault(module, []).append(Attempt(start=start, end=start, worker=worker))
    steps = {one.module: one for one in head.plan}
    fresh = islice(reversed(head.modules), len(head.fresh_stages))
    return RunDetails(
        orch=head.orch,
        python=head.python,
        system=head.system,
        commit=head.commit,
        workers=head.workers,
        attempts=_without_overlaps(attempts),
        data=data,
        versions=versions,
        steps=steps,
        stages={
            **{one.module: one.stage for one in head.plan},
            **dict(zip(fresh, reversed(head.fresh_stages), strict=False)),
        },
        blocked_by=blocked_by,
        sources=head.sources,
        order=head.order or head.modules,
    )


def read_ends(lines: Iterable[bytes]) -> list[ToolEnd]:
    """The tools that ended in a run, and nothing else of it: fast, since a report reads several runs."""
    found = []
    for line in lines:
        if line.startswith(_END):
            try:
                found.append(decode_json(line, ToolEnd))
            except (ValueError, RecursionError):
                continue
    return found


def _attempt(
    event: _ToolRetried | _ToolFinished, zero: float, begun: tuple[float, int], status: str
) -> Attempt:
    """Both events have the time at which orch read them, so the tool started and ended no later than that."""
    start, worker = begun
    start = max(min(start, _seconds(event.time) - zero - event.duration), 0.0)
    return Attempt(
        start=start,
        end=start + event.duration,
        worker=worker,
        status=status,
        error=event.error,
        traceback=event.traceback,
    )


def _without_overlaps(
    attempts: Mapping[str, Sequence[Attempt]],
) -> dict[str, tuple[Attempt, ...]]:
    """A worker runs one tool at a time, so each attempt ended before the next one on its worker began. What was
    recorded later than that was read late."""
    last: dict[int, float] = {}
    found: dict[str, list[Attempt]] = {module: [] for module in attempts}
    rows = [(one, module) for module, some in attempts.items() for one in some]
    for one, module in sorted(rows, key=lambda row: (row[0].start, row[0].end), reverse=True):
        end = min(one.end, last.get(one.worker, one.end))
        if end < one.end:
            start = max(end - (one.end - one.start), 0.0)
            one = replace(one, start=start, end=start + one.end - one.start)
        last[one.worker] = one.start
        found[module].append(one)
    return {module: tuple(reversed(some)) for module, some in found.items()}


def _read_event(line: bytes) -> _AnyEvent | None:
    if not line.endswith(b"\n"):
        return None
    try:
        event: _AnyEvent = decode_json(line, _AnyEvent)  # type: ignore[arg-type]
    except (ValueError, RecursionError):
        return None
    return event


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return 0.0
