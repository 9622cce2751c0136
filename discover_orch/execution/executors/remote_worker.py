"""A worker on a `FarSide`, behind a command or on a Dask cluster, used as the `Supervisor` of one on this machine is.

There `far_side` supervises it. Here a `WorkerDriver` gives it one step, times it and interrupts it. An attempt greets,
and is started by the answer, which orch gives once: so it starts at most once, and one without an answer has not
started. One of which nothing more will be heard after that is lost. What cannot be used is refused before the run
begins. Nothing here is imported for a run on this machine alone.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec.structs import replace

from discover_orch.config.file import name_table
from discover_orch.config.project import Project
from discover_orch.config.settings import dask_address
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.execution.executors.far_side import (
    Control,
    FromFar,
    Greeting,
    Start,
    folder_identity,
)
from discover_orch.execution.supervisor import Word, WorkerDied, WorkerEnded, WorkerEvent
from discover_orch.model.database_url import masked_url
from discover_orch.model.errors import UsageError
from discover_orch.model.items import tool_of
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.staleness.current_inputs import takes_connection
from discover_orch.worker.protocol import Order, Prepare, RunStep, encode_line

#: Seconds after an interrupt, and after a second one, until no answer counts as lost. The far side itself needs up to
#: 3 s to end a tool.
TIME_TO_ANSWER, TIME_TO_DIE = 20.0, 1.0


class Channel(Protocol):
    """The way to one attempt on the far side, and back."""

    is_over: bool  # nothing more will be heard of the attempt

    def send(self, line: bytes) -> None: ...

    def stop(self, word: Word) -> None:
        """`interrupt` or `kill`: ends an attempt that has got no answer to its greeting, so that it never starts."""

    def drain(self) -> list[FromFar]:
        """The new messages. The last of all says that the worker has ended, or is lost."""

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


class RemoteWorker:
    """One attempt of one step. Its last event comes when all that it left there is closed, since a database such as
    DuckDB lets only one process open its file. `sources_of` gives the files of a tool's code."""

    runs_one_step = True

    def __init__(
        self,
        far: FarSide,
        registry: Registry,
        sources_of: Callable[[Tool], Mapping[str, str]],
    ) -> None:
        self.is_over = False
        self._far, self._registry, self._sources_of = far, registry, sources_of
        self._prepare: Prepare | None = None
        self._channel: Channel | None = None
        self._start: Start | None = None  # that has not been sent
        self._is_stopped = False  # it will not be sent
        self._last: WorkerDied | WorkerEnded | None = None
        self._give_up_at = math.inf

    def send(self, order: Order) -> None:
        """`Prepare`, then the step. All else the far side does by itself."""
        if isinstance(order, Prepare):
            self._prepare = order
        elif isinstance(order, RunStep) and self._prepare is not None:
            self._start = self._build_start(self._prepare, order)
            try:
                self._channel = self._far.open(order.name)
            except OSError as error:
                sentence = f"{self._far.name} cannot be started: {error.strerror or error}"
                self._last = WorkerDied(sentence=sentence, cause="refused")
                self._give_up_at = 0.0

    def events(self, timeout: float) -> list[WorkerEvent]:
        """What has arrived; does not wait."""
        channel = self._channel
        found: list[WorkerEvent] = []
        for message in channel.drain() if channel is not None else ():
            match message:
                case Greeting():
                    self._answer(message)
                case WorkerDied() | WorkerEnded():
                    self._last = self._last or message
                case _:
                    found.append(message)
        if (channel is not None and channel.is_over) or time.monotonic() >= self._give_up_at:
            found.append(self._end())
        return found

    def filenos(self) -> tuple[int, ...]:
        return () if self._channel is None else self._channel.filenos()

    def next_deadline(self, now: float) -> float:
        due = math.inf if self._channel is None else self._channel.next_deadline(now)
        return min(due, self._give_up_at)

    def control(self, word: Word) -> None:
        channel, now = self._channel, time.monotonic()
        if channel is None or self.is_over:
            return
        if word == "resume" and self._give_up_at < math.inf:
            self._give_up_at = now + TIME_TO_ANSWER
        elif word in ("interrupt", "kill"):
            wait = TIME_TO_ANSWER if word == "interrupt" else TIME_TO_DIE
            self._give_up_at = min(self._give_up_at, now + wait)
        if self._start is None:
            channel.send(encode_line(Control(word=word)))
        elif word in ("interrupt", "kill"):  # it may still be waiting in a queue
            self._is_stopped = True
            channel.stop(word)

    def _answer(self, greeting: Greeting) -> None:
        """Once: so it starts at most once."""
        if self._start is None or self._channel is None or self._is_stopped:
            return
        if difference := greeting.find_difference():
            hint = "install the same versions on both"
            self._last = WorkerDied(sentence=difference, cause="refused", hint=hint)
            self.control("interrupt")
        else:
            self._channel.send(encode_line(self._start))
            self._start = None

    def _build_start(self, prepare: Prepare, order: RunStep) -> Start:
        tool = self._registry.by_tool.tools[tool_of(order.module)]
        shown = masked_url(prepare.database)
        return Start(
            host=platform.node(),
            prepare=replace(prepare, database=shown, is_remote=self._far.is_remote),
            order=order,
            sources=self._sources_of(tool),
            takes_connection=takes_connection(tool, self._registry),
            resolves_database=shown != prepare.database,
            folder=folder_identity(prepare.root),
        )

    def _end(self) -> WorkerDied | WorkerEnded:
        self.is_over = True
        if self._channel is not None:
            self._channel.close()
        last = self._last or WorkerDied(sentence=f"{self._far.name} did not answer", cause="lost")
        if self._start is not None and isinstance(last, WorkerDied) and last.cause == "lost":
            return WorkerDied(sentence=f"{last.sentence} before the tool started", cause="refused")
        return last


def open_remote_side(
    plan: Plan, view: ProjectView, *, jobs: int, has_jobs: bool, is_guest: bool
) -> FarSide:
    """The far side of an executor that is not local. Without `has_jobs` the user has not said how many tools may run
    at once. A guest leaves the process of its program as it is. Raises UsageError."""
    project = view.project
    address = dask_address(project.executor)
    is_remote = bool(address) or project.command.is_remote
    _refuse(plan, view, is_remote=is_remote)
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


def _refuse(plan: Plan, view: ProjectView, *, is_remote: bool) -> None:
    registry, project = view.registry, view.project
    if project.transaction == "run":
        raise UsageError.of(
            "executor",
            f'transaction = "run" cannot be combined with the executor {project.executor}',
            "one transaction belongs to one connection: use --executor local with one worker",
        )
    tools = (step.tool for step in plan.steps)
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
