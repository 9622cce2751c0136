"""A run: where it ran, its plan, its tools, when they ran, what they used, and how they ended; read from the lines of
its journal.

The lines are those of `orch run --json`, with more fields. Any of them may be damaged or missing: a line that cannot
be read is ignored, keys that are not known are ignored too, and lines without the start of a run are no run. Reads
no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.model.checks import checks_text
from discover_orch.model.encoding import decode, encode
from discover_orch.model.errors import Failure, Problem
from discover_orch.model.items import tool_of
from discover_orch.model.observation import Observation
from discover_orch.model.parameter import ParamValue
from discover_orch.model.secret_masking import MASK
from discover_orch.model.tool_events import (
    RunFinished,
    RunNote,
    Seconds,
    ToolEnd,
    ToolFinished,
    ToolOrdered,
    ToolStarted,
    TransactionEnded,
)


class RecordedStep(Struct, frozen=True, kw_only=True):
    """A step of the plan: `reason` is why it was to run, `after` the modules before it. `doc` is the tool's
    description. `secrets` are parameters whose value was not written; `code` is a hash of the tool's code, "" where
    that is not known. `item` has the values of its item, which are not among `params`; `defaults` are those of the
    parameters that were not given. `is_recorded`: if it writes to the database, its success is recorded there."""

    module: str
    name: str
    stage: str = ""
    path: str = ""
    doc: str = ""
    after: tuple[str, ...] = ()
    reason: str = ""
    params: Mapping[str, ParamValue] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    code: str = ""
    is_recorded: bool = False
    item: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """As of `Tool.place`."""
        return f"{self.path}{self.module[len(tool_of(self.module)) :]}"

    @property
    def arguments(self) -> dict[str, ParamValue]:
        """All arguments, secrets masked."""
        extra = {name: ParamValue(texts=(text,), origin="-p") for name, text in self.extra.items()}
        secrets = {name: ParamValue(texts=(MASK,)) for name in self.secrets}
        return {**extra, **secrets, **self.params}


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt of a tool, with its `number` from 1. `start` and `end` are seconds since the start of the run;
    `status` is empty where no end is recorded. `seen` is what it was observed to read and write. `delay` are the
    seconds until the next attempt, None if there is none."""

    start: float
    end: float
    worker: int = 1
    number: int = 1
    status: str = ""
    error: Failure | None = None
    seen: Observation | None = None
    commit_seconds: float = 0.0
    delay: float | None = None


class RecordedNote(Struct, frozen=True, kw_only=True):
    """A problem outside any tool, `at` so many seconds after the start of the run."""

    problem: Problem
    at: float


class ToolRecord(ToolEnd, frozen=True, kw_only=True):
    """How a tool ended in a run. `status` is `running`, `unknown` or `not_run` where no end is recorded. `step` is
    empty for a tool that was not to run."""

    stage: str = ""
    step: RecordedStep = RecordedStep(module="", name="")
    attempts: tuple[Attempt, ...] = ()
    has_started: bool = False

    @property
    def traceback(self) -> str:
        """Also what is known of checks that have only warned."""
        return self.error.traceback if self.error else checks_text(self.checks)

    @property
    def has_failed(self) -> bool:
        """Whether it did not succeed, as far as is known."""
        return self.status in ("failed", "unknown")


class RunStart(Struct, frozen=True, kw_only=True):
    """What is known of a run when it starts. `exclude` are the words of `--exclude`; in a run that `is_unchecked` no
    checks ran. `started` is local time, ISO 8601 with its offset; `kind` is `run` or `watch`; a tool that is in the
    plan alone had been committed before, as the database says; `key` is that of the run there. `sources` has a hash
    for each project file of the tools' code, `order` has all modules in the order of the pipeline, empty where that is
    the order of the run. `age` are the seconds since the start of the process, 0.0 where that did not start for
    this run. `items` are the texts that selected items, by parameter, or by `tool.parameter`. Older journals have
    less."""

    run: str
    targets: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    is_unchecked: bool = False
    started: str = ""
    kind: str = "run"
    plan: tuple[RecordedStep, ...] = ()
    database: str = ""
    database_origin: str = ""
    resumes: str | None = None
    key: str = ""
    orch: str = ""
    python: str = ""
    system: str = ""
    commit: str = ""
    workers: int = 1
    sources: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    age: Seconds = 0.0
    items: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class RunBegan(RunStart, frozen=True, kw_only=True, tag_field="event", tag="run_started"):
    """The first line of the journal. `tools` are the names of the `modules`, of which the last, as many as there are
    `fresh_stages`, do not run. `pid`, `process` and `boot` say which process writes the run."""

    tools: tuple[str, ...]
    modules: tuple[str, ...]
    fresh_stages: tuple[str, ...] = ()
    pid: int = 0
    process: int | None = None
    boot: str | None = None
    transaction: str = "tool"
    time: datetime | None = None


class StepsRecorded(Struct, frozen=True, kw_only=True, tag_field="event", tag="items_found"):
    """Steps that joined the run, since their items came during it. `tools` are their names; `sources` and `order` are
    as of `RunStart`."""

    tools: tuple[str, ...]
    plan: tuple[RecordedStep, ...]
    sources: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()


class RunRecord(RunStart, frozen=True, kw_only=True):
    """One run. `duration` and `exit_code` are None until it has ended. `began` is the time of its start in seconds
    since 1970; the last thing that is recorded happened `ended` seconds later."""

    status: str
    began: float = 0.0
    ended: float = 0.0
    tools: tuple[ToolRecord, ...] = ()
    notes: tuple[RecordedNote, ...] = ()
    duration: float | None = None
    exit_code: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, ParamValue]:
        """By name where all tools got the same argument, else by `tool.name`."""
        by_name: dict[str, dict[str, ParamValue]] = {}
        for step in self.plan:
            for name, argument in step.arguments.items():
                by_name.setdefault(name, {})[step.name] = argument
        params: dict[str, ParamValue] = {}
        for name, by_tool in by_name.items():
            first = next(iter(by_tool.values()))
            if all(argument == first for argument in by_tool.values()):
                params[name] = first
            else:
                params.update({f"{tool}.{name}": one for tool, one in by_tool.items()})
        return params

    @property
    def failures(self) -> tuple[ToolRecord, ...]:
        return tuple(tool for tool in self.tools if tool.has_failed)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The errors outside any tool."""
        return tuple(one.problem for one in self.notes if one.problem.severity == "error")


# Reading.

#: `process.is_alive`: whether the process with this id, start and boot runs.
IsAlive = Callable[[int, int | None, str | None], bool]


class _ToolRetried(ToolEnd, frozen=True, kw_only=True, tag_field="event", tag="tool_retried"):
    """An attempt failed, and another one was to follow after `delay` seconds."""

    status: str = "failed"
    delay: float = 0.0


_AnyEvent = (
    RunBegan
    | StepsRecorded
    | ToolOrdered
    | ToolStarted
    | ToolFinished
    | _ToolRetried
    | TransactionEnded
    | RunNote
    | RunFinished
)
_END = b'{"event":"tool_finished"'


class _Tool:
    """What the lines have said of a tool so far. `began` is the start of an attempt that has not ended."""

    def __init__(self) -> None:
        self.is_ordered = self.has_started = False
        self.began: ToolStarted | None = None
        self.end: ToolEnd | None = None
        self.attempt = 1
        self.attempts: list[Attempt] = []

    def build_record(
        self, module: str, name: str, stage: str, step: RecordedStep, run_status: str
    ) -> ToolRecord:
        end = self.end or _unfinished_tool(module, name, run_status, self)
        known = {one: getattr(end, one) for one in ToolEnd.__struct_fields__}
        if not self.has_started:
            known["duration"] = None
        return ToolRecord(
            **known,
            stage=stage,
            step=step,
            attempts=tuple(self.attempts),
            has_started=self.has_started,
        )


def read_run(lines: Iterable[bytes], is_alive: IsAlive) -> RunRecord | None:
    """None where the lines are not those of a run."""
    start: RunBegan | None = None
    end: RunFinished | None = None
    zero = 0.0
    noted: list[RunNote] = []
    ends: dict[int, float] = {}  # by worker, of its last attempt
    tools: dict[str, _Tool] = {}
    for event in _read_events(lines):
        match event:
            case RunBegan() if start is None:
                start, zero = event, _seconds(event.time)
                tools = {module: _Tool() for module in start.modules}
            case StepsRecorded() if start is not None:
                start = _with_steps(start, event)
                tools.update({one.module: _Tool() for one in event.plan})
            case ToolOrdered(module=module) if tool := tools.get(module):
                tool.is_ordered, tool.end = True, None  # another attempt
            case ToolStarted(module=module) if tool := tools.get(module):
                tool.has_started, tool.end, tool.began = True, None, event
            case ToolFinished() | _ToolRetried() if tool := tools.get(event.module):
                tool.end = event
                if isinstance(event, _ToolRetried):
                    tool.attempt = event.attempt + 1
                if tool.began is not None and not event.is_settled:
                    worker = tool.began.worker
                    attempt = _read_attempt(tool.began, event, zero, ends.get(worker, 0.0))
                    tool.attempts.append(attempt)
                    tool.began, ends[worker] = None, attempt.end
            case TransactionEnded():
                for tool in tools.values():
                    if tool.end is not None and tool.end.status == "done":
                        tool.end = replace(tool.end, status=event.status)
            case RunNote():
                noted.append(event)
            case RunFinished():
                end = event
            case _:
                pass
    if start is None:
        return None
    for tool in tools.values():
        if tool.began is not None:
            worker = tool.began.worker
            begun = max(_seconds(tool.began.time) - zero, ends.get(worker, 0.0))
            tool.attempts.append(
                Attempt(start=begun, end=begun, worker=worker, number=tool.attempt)
            )
    is_running = end is None and is_alive(start.pid, start.process, start.boot)
    status = end.status if end else "running" if is_running else "killed"
    found = _build_records(start, tools, status)
    if status == "killed" and start.transaction == "run":
        found = _end_killed_transaction(found)
    notes = [RecordedNote(problem=one.problem, at=_seconds(one.time) - zero) for one in noted]
    return _build_record(start, end, status, tuple(found), tuple(notes))


def _build_records(
    start: RunBegan, tools: Mapping[str, _Tool], run_status: str
) -> list[ToolRecord]:
    steps = {step.module: step for step in start.plan}
    fresh = dict(zip(reversed(start.modules), reversed(start.fresh_stages), strict=False))
    found = []
    for module, name in zip(start.modules, start.tools, strict=True):
        step = steps.get(module, RecordedStep(module="", name=""))
        stage = fresh.get(module, step.stage)
        found.append(tools[module].build_record(module, name, stage, step, run_status))
    return found


def _with_steps(start: RunBegan, added: StepsRecorded) -> RunBegan:
    """In the order of the pipeline, before the tools that do not run."""
    names = dict(zip(start.modules, start.tools, strict=True))
    names |= {one.module: name for one, name in zip(added.plan, added.tools, strict=True)}
    fresh = start.modules[len(start.modules) - len(start.fresh_stages) :]
    places = {module: place for place, module in enumerate(added.order)}
    planned = sorted(names.keys() - {*fresh}, key=lambda one: places.get(one, len(places)))
    modules = (*planned, *fresh)
    return replace(
        start,
        plan=(*start.plan, *added.plan),
        modules=modules,
        tools=tuple(names[one] for one in modules),
        sources={**start.sources, **added.sources},
        order=added.order,
    )


def read_ends(lines: Iterable[bytes]) -> list[ToolFinished]:
    """The tools that ended in a run, and nothing else of it: fast, since a report reads several runs."""
    ends = _read_events(line for line in lines if line.startswith(_END))
    return [end for end in ends if isinstance(end, ToolFinished) and not end.is_settled]


def encode_end(tool: ToolRecord) -> bytes:
    """The line for the end of a tool that was found out after its run was killed."""
    names = ("name", "module", "status", "error", "notes", "attempt")
    return encode(ToolFinished(**{one: getattr(tool, one) for one in names}, is_settled=True))


def read_first_and_last(first: bytes, last: bytes) -> RunRecord | None:
    """The run without its tools, from the first line and the last one; None where these do not say how it ended."""
    start, end = _read_event(first), _read_event(last)
    if not (isinstance(start, RunBegan) and isinstance(end, RunFinished)):
        return None
    if end.status == "killed":  # then some tool has no end
        return None
    return _build_record(start, end, end.status, ())


def has_clean_end(line: bytes) -> bool:
    """Whether this last line is the end of a run that was not killed."""
    end = _read_event(line)
    return isinstance(end, RunFinished) and end.status != "killed"


def _build_record(
    start: RunBegan,
    end: RunFinished | None,
    status: str,
    tools: tuple[ToolRecord, ...],
    notes: tuple[RecordedNote, ...] = (),
) -> RunRecord:
    began = _seconds(start.time)
    times = [one.end for tool in tools for one in tool.attempts] + [one.at for one in notes]
    if end is not None:
        times.append(_seconds(end.time) - began if end.time else end.duration)
    counts: Mapping[str, int] = end.counts if end else {}
    if status in ("killed", "running"):
        words = [tool.status for tool in tools]
        counts = {word: words.count(word) for word in dict.fromkeys(words)}
    return RunRecord(
        **{name: getattr(start, name) for name in RunStart.__struct_fields__},
        status=status,
        began=began,
        ended=max([0.0, *times]),
        tools=tools,
        notes=notes,
        duration=end.duration if end else None,
        exit_code=end.exit_code if end else None,
        counts=counts,
    )


def _unfinished_tool(module: str, name: str, run_status: str, tool: _Tool) -> ToolEnd:
    status = "not_run"
    if run_status == "running":
        status = "running" if tool.has_started else "not_run"
    elif tool.has_started or tool.is_ordered:
        status = "unknown"
    return ToolEnd(name=name, module=module, status=status, attempt=tool.attempt)


def _end_killed_transaction(tools: list[ToolRecord]) -> list[ToolRecord]:
    """Only a run all of whose tools are done can have been committed when it was killed."""
    is_all_done = all(one.status in ("done", "fresh", "passed") for one in tools)
    return [
        replace(one, status="unknown" if is_all_done else "rolled_back")
        if one.status == "done" or (one.status == "unknown" and not is_all_done)
        else one
        for one in tools
    ]


def _read_attempt(
    began: ToolStarted, ended: ToolFinished | _ToolRetried, zero: float, free: float
) -> Attempt:
    """Both events have the time at which orch read them, so the tool started and ended no later than that, and not
    before its worker was `free`."""
    duration = ended.duration or 0.0
    latest = min(_seconds(began.time), _seconds(ended.time) - duration)
    start = max(latest - zero, 0.0)
    end = start + duration
    return Attempt(
        start=min(end, max(start, free)),
        end=end,
        worker=began.worker,
        number=ended.attempt,
        status=ended.status,
        error=ended.error,
        seen=ended.seen,
        commit_seconds=ended.commit_seconds,
        delay=ended.delay if isinstance(ended, _ToolRetried) else None,
    )


def _read_events(lines: Iterable[bytes]) -> Iterator[_AnyEvent]:
    return (event for event in map(_read_event, lines) if event is not None)


def _read_event(line: bytes) -> _AnyEvent | None:
    """None for a line of another shape, and for one without its end, which was torn off."""
    if not line.endswith(b"\n"):
        return None
    try:
        event: _AnyEvent = decode(line, _AnyEvent)
    except (ValueError, RecursionError):
        return None
    if isinstance(event, RunBegan) and len(event.tools) != len(event.modules):
        return None
    if isinstance(event, StepsRecorded) and len(event.tools) != len(event.plan):
        return None
    return event


def _seconds(time: datetime | None) -> float:
    return time.timestamp() if time else 0.0
