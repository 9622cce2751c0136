"""The steps of a run that are carried out elsewhere, each as one attempt on a `FarSide`: a command or a Dask cluster.

There an executor of that machine carries the step out, and its events are passed on here. An attempt greets, and is
started by the answer, which orch gives once: so it starts at most once, and one without an answer has not started. An
attempt of which nothing more will be heard after that is lost, and its tool `unknown`. What cannot be used is refused
before the run begins. Nothing here is imported for a run on this machine alone.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from discover_orch.config.file import name_table
from discover_orch.config.project import Project
from discover_orch.config.settings import dask_address
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.execution.executors import Word
from discover_orch.execution.executors.far_side import (
    Closed,
    Control,
    Ended,
    FromFar,
    Greeting,
    Refused,
    Said,
    Start,
    folder_identity,
)
from discover_orch.execution.executors.local import as_timeout, build_order
from discover_orch.model.database_url import masked_url
from discover_orch.model.errors import Failure, Problem, UsageError
from discover_orch.model.tool import Tool
from discover_orch.model.tool_events import (
    RunNote,
    ToolDeclined,
    ToolFinished,
    ToolStarted,
    WorkerSaid,
)
from discover_orch.planning.plan import Step
from discover_orch.staleness.current_inputs import takes_connection
from discover_orch.worker.protocol import Prepare, encode_line

#: Seconds after an interrupt, and after a second one, until no answer counts as lost. The far side itself needs up to
#: 3 s to end a tool.
TIME_TO_ANSWER, TIME_TO_DIE = 20.0, 1.0


class Channel(Protocol):
    """The way to one attempt on the far side, and back."""

    def send(self, line: bytes) -> None: ...

    def stop(self, word: Word) -> None:
        """`interrupt` or `kill`: ends an attempt that has got no answer to its greeting, so that it never starts."""

    def drain(self) -> list[FromFar | Closed]:
        """The new messages. The last of all is `Closed`."""

    def filenos(self) -> tuple[int, ...]:
        """Descriptors that are readable when `drain` may have something."""

    def next_deadline(self, now: float) -> float:
        """When `drain` must be called even if nothing is readable."""

    def close(self) -> None:
        """Ends what is left of the attempt; its messages are not wanted any more."""


class FarSide(Protocol):
    """Makes attempts. Only the main thread calls it, and nothing but `close` waits."""

    name: str  # for messages: "srun", "the Dask cluster"
    shown: str  # for the header of the run
    is_remote: bool  # whether tools may run on another machine
    jobs: int  # how many steps may run there at once

    def open(self, title: str) -> Channel:
        """Has an attempt begin, which greets when it is there. `title` is for who looks at the far side. Raises
        OSError."""

    def close(self) -> None:
        """Ends everything on the far side."""


class FarExecutor:
    """Carries out one step after another on a far side: the next when all that the one before left is closed, since a
    database such as DuckDB lets only one process open its file. `build_start` is what an attempt is started with."""

    def __init__(
        self, far: FarSide, registry: Registry, build_start: Callable[[Step], Start]
    ) -> None:
        self._far, self._registry, self._build_start = far, registry, build_start
        self._module = ""  # the tool that has neither ended nor been declined
        self._channel: Channel | None = None  # of the attempt
        self._start: Start | None = None  # that has not been sent
        self._is_declined = False  # it will not be sent
        self._has_started = self._has_said_all = False
        self._timeout: float | None = None
        self._stop_at = math.inf  # when it should stop: at its timeout, or at an interrupt
        self._has_killed = False
        self._events: list[WorkerSaid] = []  # that are not yet passed on
        self._limit = TIME_TO_ANSWER
        self._suspended_at = 0.0
        self._is_interrupted = self._is_finishing = False

    @property
    def is_idle(self) -> bool:
        return not self._module and self._channel is None

    @property
    def has_room(self) -> bool:
        return self.is_idle

    @property
    def is_over(self) -> bool:
        return self._is_finishing and self._channel is None and not self._events

    def submit(self, step: Step) -> None:
        self._module, self._timeout = step.tool.module, step.tool.timeout
        self._start, self._is_declined = self._build_start(step), False
        self._has_started = self._has_said_all = False
        self._stop_at, self._has_killed = math.inf, False
        try:
            self._channel = self._far.open(step.tool.name)
        except OSError as error:
            self._refuse(f"{self._far.name} cannot be started: {error.strerror or error}")

    def events(self, timeout: float, wake: int) -> Iterator[WorkerSaid]:
        """What has happened; does not wait."""
        self._be_patient()
        for message in self._channel.drain() if self._channel is not None else ():
            self._hear(message)
        while self._events:
            yield self._events.pop(0)

    def filenos(self) -> tuple[int, ...]:
        return () if self._channel is None else self._channel.filenos()

    def next_deadline(self, now: float) -> float:
        if self._events:
            return now
        if self._channel is None:
            return math.inf
        return min(self._channel.next_deadline(now), self._stop_at + self._limit)

    def control(self, word: Word) -> None:
        now = time.monotonic()
        match word:
            case "suspend":
                self._suspended_at = now
            case "resume":
                self._stop_at += now - self._suspended_at
            case "interrupt" | "kill":
                self._is_interrupted = True
                self._stop_at = min(self._stop_at, now)
        if word == "kill":
            self._has_killed, self._limit, self._stop_at = True, TIME_TO_DIE, now
        self._pass_on(word)

    def finish(self, *, commits: bool = False) -> None:
        self._is_finishing = True

    def _pass_on(self, word: Word) -> None:
        if self._channel is None:
            return
        if self._start is None:
            self._channel.send(encode_line(Control(word=word)))
        elif word in ("interrupt", "kill"):  # it may still be waiting in a queue
            self._is_declined = True
            self._channel.stop(word)

    def _be_patient(self) -> None:
        """After an interrupt, and after a timeout, which the far side sees to, not for ever."""
        channel = self._channel
        if channel is not None and time.monotonic() - self._stop_at >= self._limit:
            self._hear(Closed(sentence=f"{self._far.name} did not answer"))
            channel.close()

    def _hear(self, message: FromFar | Closed) -> None:
        match message:
            case Greeting():
                self._answer(message)
            case Said(events=events):
                for event in events:
                    self._hear_event(event)
            case Refused():
                self._has_said_all = True
                self._refuse(message.message, message.hint)
            case Ended():
                self._has_said_all = True
            case Closed():
                self._channel = None
                self._note_closed(message)

    def _answer(self, greeting: Greeting) -> None:
        """Once for each attempt: so it starts at most once."""
        if self._start is None or self._channel is None or self._is_declined:
            return
        if difference := greeting.find_difference():
            self._refuse(difference, "install the same versions on both")
            self._pass_on("interrupt")
        else:
            self._channel.send(encode_line(self._start))
            self._start = None

    def _note_closed(self, closed: Closed) -> None:
        sentence = closed.sentence or f"{self._far.name} did not report how the tool ended"
        if self._module and self._is_declined:
            self._end(ToolDeclined(module=self._module))
        elif self._module and self._start is not None:
            self._refuse(f"{sentence} before the tool started{closed.printed}", closed.hint)
        elif self._module:
            when = "while the tool ran"
            if not self._has_started:
                when = "before it reported whether the tool had started"
            self._lose(f"{sentence} {when}")
        elif not (self._has_said_all or self._has_killed or self._is_declined):
            message = f"the resources of a worker may not have been closed: {sentence}"
            problem = Problem(code="conn", message=message, severity="warning")
            self._events.append(RunNote(problem=problem))

    def _hear_event(self, event: WorkerSaid) -> None:
        match event:
            case ToolStarted():
                self._has_started = True
                if self._timeout is not None:
                    self._stop_at = min(self._stop_at, time.monotonic() + self._timeout)
                self._events.append(event)
            case ToolDeclined():
                self._end(event)
            case ToolFinished():
                if event.status == "interrupted" and not self._is_interrupted:
                    event = replace(event, status="failed")  # it was stopped there
                self._end(event)
            case _:
                self._events.append(event)

    def _end(self, event: ToolFinished | ToolDeclined) -> None:
        self._module = ""
        if self._stop_at > time.monotonic():
            self._stop_at = math.inf  # its resources may take their time
        self._events.append(event)

    def _refuse(self, message: str, hint: str = "") -> None:
        failure = Failure(kind="crash", type="refused", message=message, hint=hint)
        self._end(ToolFinished(module=self._module, status="failed", error=failure))

    def _lose(self, sentence: str) -> None:
        failure = Failure(kind="crash", type="lost", message=sentence)
        if not self._is_interrupted and self._stop_at < time.monotonic():
            failure = as_timeout(failure, self._timeout, f", {sentence}")
        message = f"{failure.message}: what the tool wrote may be in the database"
        path = self._registry.tools[self._module].path
        failure = replace(failure, type="lost", message=message, path=path)
        self._end(ToolFinished(module=self._module, status="unknown", error=failure))


def build_far_executor(
    far: FarSide,
    prepare: Prepare,
    registry: Registry,
    sources_of: Callable[[Tool], Mapping[str, str]],
) -> Callable[[], FarExecutor]:
    """A function that makes one of the executors of a run. `sources_of` gives the files of a tool's code."""
    shown = masked_url(prepare.database)
    resolves_database = shown != prepare.database
    prepare = replace(prepare, database=shown, is_remote=far.is_remote)

    def build_start(step: Step) -> Start:
        sources = sources_of(step.tool)
        return Start(
            host=platform.node(),
            prepare=prepare,
            order=build_order(step, sources),
            sources=sources,
            takes_connection=takes_connection(step.tool, registry),
            resolves_database=resolves_database,
            folder=folder_identity(prepare.root),
        )

    return partial(FarExecutor, far, registry, build_start)


def open_far_side(
    tools: list[Tool],
    registry: Registry,
    project: Project,
    *,
    jobs: int,
    has_jobs: bool,
    is_guest: bool,
) -> FarSide:
    """The far side of `project.executor`, which is not local. Without `has_jobs` the user has not said how many tools
    may run at once. A guest leaves the process of its program as it is. Raises UsageError."""
    address = dask_address(project.executor)
    is_remote = bool(address) or project.command.is_remote
    _refuse(registry, project, tools, is_remote=is_remote)
    if not address:
        from discover_orch.execution.executors.command import open_command

        return open_command(project, jobs)
    try:
        from discover_orch.execution.executors.dask import open_dask
    except ModuleNotFoundError as error:
        raise UsageError.of(
            "executor",
            f"--executor {project.executor} needs the package distributed ({error})",
            "pip install 'discover-orch[dask]'",
        ) from None

    return open_dask(address, jobs if has_jobs else None, is_guest=is_guest)


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
