"""The steps of a run that are carried out elsewhere, each as one attempt on a `FarSide`: a command or a Dask cluster.

There an executor of that machine carries the step out, and its events are passed on here. An attempt of which nothing
more will be heard is lost, and its tool `unknown`. What cannot be used is refused before the run begins. Nothing here
is imported for a run on this machine alone.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.executor import dask_address
from discover_orch.config.file import name_table
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.execution.executors.far_messages import (
    Ended,
    FarEvent,
    Lost,
    Refused,
    Start,
    Word,
    folder_identity,
    installation,
)
from discover_orch.execution.executors.local import as_timeout, build_order
from discover_orch.model.database_url import masked_url
from discover_orch.model.errors import Failure, Problem, UsageError
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Step
from discover_orch.staleness.current import takes_connection
from discover_orch.worker.protocol import (
    Prepare,
    RunNote,
    ToolDeclined,
    ToolFinished,
    ToolStarted,
    WorkerSaid,
)

#: Seconds after an interrupt until the worker is killed, and until no answer counts as lost. The far side itself needs
#: up to 3 s to end a tool.
TIME_TO_KILL, TIME_TO_ANSWER = 8.0, 20.0
#: Seconds after a second interrupt until no answer counts as lost.
TIME_TO_DIE = 1.0


class Attempt(Protocol):
    """A step on the far side, from its start to its end there."""

    def control(self, word: Word) -> None: ...

    def drain(self) -> list[FarEvent]:
        """The new events. The last of all is `Ended`, `Lost` or `Refused`."""

    def forget(self) -> None:
        """Ends what is left of the attempt; its events are not wanted any more."""


class FarSide(Protocol):
    """Carries attempts. Only the main thread calls it, and nothing but `close` waits."""

    name: str  # for messages: "srun", "the Dask cluster"

    def start(self, start: Start) -> Attempt: ...

    def filenos(self) -> tuple[int, ...]:
        """Descriptors that are readable when an attempt may have something."""

    def next_deadline(self, now: float) -> float:
        """When the attempts must be asked even if nothing is readable."""

    def close(self) -> None:
        """Ends everything on the far side."""


class _Slot:
    """One step after another."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.module = ""  # the tool that has neither ended nor been declined
        self.attempt: Attempt | None = None  # that has not ended
        self.held: Start | None = None  # until what the step before left is closed
        self.timeout: float | None = None
        self.has_killed = False
        self.stop_at = math.inf  # when it should stop: at its timeout, or at an interrupt


class RemotePool:
    """At most as many steps at a time as `side` allows. `sources_of` gives the files of a tool's code."""

    def __init__(
        self,
        side: OpenFarSide,
        prepare: Prepare,
        registry: Registry,
        sources_of: Callable[[Tool], Mapping[str, str]],
    ) -> None:
        shown = masked_url(prepare.database)
        self._resolves_database = shown != prepare.database
        self._prepare = replace(prepare, database=shown, is_remote=side.is_remote)
        self._far, self._registry, self._sources_of = side.far, registry, sources_of
        self._run = os.urandom(12).hex()
        self._slots = [_Slot(number + 1) for number in range(side.jobs)]
        self._events: deque[WorkerSaid] = deque()  # that are not yet passed on
        self._notes: set[RunNote] = set()
        self._limit = TIME_TO_ANSWER
        self._suspended_at = 0.0
        self._is_interrupted = self._is_finishing = False
        self.is_over = False

    @property
    def is_idle(self) -> bool:
        return not any(slot.module for slot in self._slots)

    @property
    def has_room(self) -> bool:
        return not all(slot.module for slot in self._slots)

    def submit(self, step: Step) -> None:
        slot = next(slot for slot in self._slots if not slot.module)
        slot.module, slot.timeout = step.tool.module, step.tool.timeout
        sources = self._sources_of(step.tool)
        slot.held = Start(
            run=self._run,
            attempt=os.urandom(12).hex(),
            near=installation(),
            prepare=self._prepare,
            order=build_order(step, sources),
            sources=sources,
            takes_connection=takes_connection(step.tool, self._registry),
            resolves_database=self._resolves_database,
            folder=folder_identity(self._prepare.root),
        )
        self._start_held(slot)

    def _start_held(self, slot: _Slot) -> None:
        """One at a time: a database such as DuckDB lets only one process open its file."""
        if slot.held is not None and slot.attempt is None:
            slot.stop_at, slot.has_killed = math.inf, False
            slot.attempt, slot.held = self._far.start(slot.held), None

    def events(self, timeout: float, wake: int) -> Iterator[WorkerSaid]:
        self._read()
        if not self._events and not self.is_over:
            now = time.monotonic()
            wait = min(timeout, self._next_deadline(now) - now)
            poll = select.poll()
            for fd in (*self._far.filenos(), wake):
                poll.register(fd, select.POLLIN)
            poll.poll(None if wait == math.inf else max(0.0, wait) * 1000 + 0.5)
            self._read()
        while self._events:
            yield self._events.popleft()

    def _next_deadline(self, now: float) -> float:
        if self._is_finishing and not any(slot.attempt for slot in self._slots):
            return now
        limits = [
            slot.stop_at + (self._limit if slot.has_killed else min(TIME_TO_KILL, self._limit))
            for slot in self._slots
            if slot.attempt
        ]
        return min(self._far.next_deadline(now), *limits, math.inf)

    def interrupt(self) -> None:
        self._stop("interrupt")

    def kill(self) -> None:
        self._limit = TIME_TO_DIE
        self._stop("kill")

    def suspend(self) -> None:
        self._suspended_at = time.monotonic()
        self._control("suspend")

    def resume(self) -> None:
        for slot in self._slots:
            slot.stop_at += time.monotonic() - self._suspended_at
        self._control("resume")

    def finish(self, *, commits: bool = False) -> None:
        self._is_finishing = True

    def _stop(self, word: Word) -> None:
        self._is_interrupted = True
        for slot in self._slots:
            if slot.held is not None:
                self._events.append(ToolDeclined(module=slot.module))
                slot.held, slot.module = None, ""
            slot.has_killed |= word == "kill"
            slot.stop_at = (
                time.monotonic() if word == "kill" else min(slot.stop_at, time.monotonic())
            )
        self._control(word)

    def _control(self, word: Word) -> None:
        for slot in self._slots:
            if slot.attempt is not None:
                slot.attempt.control(word)

    def _read(self) -> None:
        for slot in self._slots:
            self._be_patient(slot)
            if slot.attempt is not None:
                for event in slot.attempt.drain():
                    self._hear(slot, event)
            self._start_held(slot)
        if self._is_finishing and not self.is_over and not any(one.attempt for one in self._slots):
            self.is_over = True
            self._far.close()

    def _be_patient(self, slot: _Slot) -> None:
        """After an interrupt, and after a timeout, which the far side sees to, not for ever."""
        waited, attempt = time.monotonic() - slot.stop_at, slot.attempt
        if attempt is None or waited < min(TIME_TO_KILL, self._limit):
            return
        if waited >= self._limit:
            self._hear(slot, Lost(sentence=f"{self._far.name} did not answer"))
            attempt.forget()
        elif not slot.has_killed:
            slot.has_killed = True
            attempt.control("kill")

    def _hear(self, slot: _Slot, event: FarEvent) -> None:
        has_ended = not slot.module or slot.held is not None  # the tool of this attempt
        match event:
            case Ended():
                slot.attempt = None
                if not has_ended:
                    self._lose(slot, f"{self._far.name} ended without saying how the tool ended")
            case Lost(sentence=sentence):
                slot.attempt = None
                if not has_ended:
                    self._lose(slot, sentence)
                elif not slot.has_killed:
                    message = f"the resources of a worker may not have been closed: {sentence}"
                    problem = Problem(code="conn", message=message, severity="warning")
                    self._hear(slot, RunNote(problem=problem))
            case Refused(message=message, hint=hint):
                slot.attempt = None
                if not has_ended:
                    failure = Failure(kind="crash", type="refused", message=message, hint=hint)
                    self._end(
                        slot, ToolFinished(module=slot.module, status="failed", error=failure)
                    )
            case ToolStarted():
                if slot.timeout is not None:
                    slot.stop_at = min(slot.stop_at, time.monotonic() + slot.timeout)
                self._events.append(replace(event, worker=slot.number))
            case ToolDeclined():
                self._end(slot, event)
            case ToolFinished():
                if event.status == "interrupted" and not self._is_interrupted:
                    event = replace(event, status="failed")  # it was stopped there
                self._end(slot, event)
            case RunNote() if event in self._notes:
                pass  # another attempt has said it
            case _:
                if isinstance(event, RunNote):
                    self._notes.add(event)
                self._events.append(event)

    def _end(self, slot: _Slot, event: ToolFinished | ToolDeclined) -> None:
        slot.module = ""
        if slot.stop_at > time.monotonic():
            slot.stop_at = math.inf  # its resources may take their time
        self._events.append(event)

    def _lose(self, slot: _Slot, sentence: str) -> None:
        failure = Failure(kind="crash", type="lost", message=sentence)
        if not self._is_interrupted and slot.stop_at < time.monotonic():
            failure = as_timeout(failure, slot.timeout, f", {sentence}")
        message = f"{failure.message}: what the tool wrote may be in the database"
        failure = replace(
            failure, type="lost", message=message, path=self._registry.tools[slot.module].path
        )
        self._end(slot, ToolFinished(module=slot.module, status="unknown", error=failure))


class OpenFarSide(Struct, frozen=True, kw_only=True):
    """A far side that can be used, and how many steps may run there at once. `shown` is for the header of the run."""

    far: FarSide
    is_remote: bool
    jobs: int
    shown: str


def open_far_side(
    tools: list[Tool],
    registry: Registry,
    project: Project,
    *,
    jobs: int,
    has_jobs: bool,
    is_guest: bool,
) -> OpenFarSide:
    """The far side of `project.executor`, which is not local. Without `has_jobs` the user has not said how many tools
    may run at once. A guest leaves the process of its program as it is. Raises UsageError."""
    address = dask_address(project.executor)
    is_remote = bool(address) or project.command.is_remote
    _refuse(registry, project, tools, is_remote=is_remote)
    if not address:
        from discover_orch.execution.executors.command import open_command

        side = open_command(project)
        return OpenFarSide(far=side, is_remote=is_remote, jobs=jobs, shown=side.shown)
    try:
        from discover_orch.execution.executors.dask import open_dask
    except ModuleNotFoundError as error:
        raise UsageError.of(
            "executor",
            f"--executor {project.executor} needs the package distributed ({error})",
            "pip install 'discover-orch[dask]'",
        ) from None

    dask = open_dask(address, is_guest=is_guest)
    jobs = min(jobs, dask.threads) if has_jobs else dask.threads
    return OpenFarSide(far=dask, is_remote=True, jobs=jobs, shown=f"dask: {address}")


def _refuse(registry: Registry, project: Project, tools: list[Tool], *, is_remote: bool) -> None:
    if project.transaction == "run":
        raise UsageError.of(
            "executor",
            f'transaction = "run" cannot be combined with the executor {project.executor}',
            "one transaction belongs to one connection: use --executor local with one worker",
        )
    takes = next((one for one in tools if takes_connection(one, registry)), None)
    if takes is None or uses_get_connection(registry, project):
        return
    if is_remote and project.database.startswith(("sqlite:", "duckdb:")):
        raise UsageError.of(
            "executor",
            f"{takes.name} uses {project.database}, a local file, and workers on other machines cannot share it",
            _local_file_hint(project),
        )


def _local_file_hint(project: Project) -> str:
    hint = "use a database server such as PostgreSQL, or --executor local"
    if dask_address(project.executor):
        return hint
    program = os.path.basename(project.command.prefix[0])
    table = name_table(project, "command")
    return f"{hint}; if {program} runs the tools on this machine, write local = true in {table}"
