"""A worker of its own that asks the database, because only workers open databases."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TypeVar

from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.execution.executors.worker_driver import build_prepare
from discover_orch.execution.supervisor import Supervisor
from discover_orch.model.database_url import SqliteUrl, read_database_url
from discover_orch.model.errors import Failure, Problem
from discover_orch.model.success_record import Attempt, SuccessRecord
from discover_orch.model.tool_events import ToolEnd, ToolFinished
from discover_orch.worker.protocol import Answer, Ask, Finish, Prepare

End = TypeVar("End", bound=ToolEnd)
#: Seconds for which a database is asked again that cannot be opened yet: a worker of the killed run may still have it.
LONGEST_WAIT = 10.0
PAUSE = 0.1
#: Seconds for the answer itself, before a run and for a command that only looks: a server may not be reachable.
LONGEST_ANSWER, LONGEST_LOOK = 60.0, 3.0
LONGEST_CLOSE = 1.0
NOT_COMMITTED = (
    "was killed before its commit, according to the database: nothing that it wrote there stays"
)
COMMITTED_NOTE = "was killed after its commit, according to the database: what it wrote there stays"


class AskingWorker:
    """Started for the first question, and kept for the next one that opens the database in the same way."""

    def __init__(self) -> None:
        self._worker: Supervisor | None = None
        self._prepare: Prepare | None = None
        self._late: Answer | None = None  # in place of the one that did not come in time

    def start(self, prepare: Prepare, *, runs: bool) -> None:
        """It gets ready while the question is prepared. Where no run follows (`runs`) that may call code of the user,
        it only looks, and makes no file."""
        if not runs:
            parts = read_database_url(prepare.database)
            if isinstance(parts, SqliteUrl) and not parts.query:
                prepare = replace(prepare, database=f"{prepare.database}?mode=rw")
            prepare = replace(prepare, pythonpath=())
        prepare = replace(
            prepare, transaction="tool", project="", raw_output=False, post_mortem=False
        )
        if self._worker is not None and self._prepare != prepare:
            self.close()
        self._prepare = prepare
        if self._worker is None:
            self._worker = Supervisor.start(adopts_orphans=False)
            self._worker.send(prepare)

    def ask(self, prepare: Prepare, question: Ask, *, runs: bool = False) -> Answer:
        """The answer, or why there is none. It holds the lock of the project until it is closed, if it has got it."""
        runs = runs or bool(question.voids or question.records or question.deletes)
        longest = None if question.waits else LONGEST_ANSWER if runs else LONGEST_LOOK
        is_asked_again = question.voids or question.records
        deadline = time.monotonic() + (LONGEST_WAIT if is_asked_again else 0)
        while self._late is None:
            self.start(prepare, runs=runs)
            assert self._worker is not None
            self._worker.send(question)
            answer = self._wait(self._worker, longest)
            if answer.problem or (answer.holder and runs):
                self.close()
            if not answer.problem or time.monotonic() > deadline:
                return answer
            time.sleep(PAUSE)
        return self._late

    def close(self) -> None:
        """Ends a worker that has answered, or has not answered in time."""
        if self._worker is not None:
            self._worker.send(Finish())
            self._worker.close(LONGEST_CLOSE)
            self._worker = None

    def _wait(self, worker: Supervisor, longest: float | None) -> Answer:
        deadline = None if longest is None else time.monotonic() + longest
        while not worker.is_over:
            left = 1.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                self._late = Answer(problem=f"the database did not answer within {longest:g} s")
                return self._late
            for event in worker.events(left):
                if isinstance(event, Answer):
                    return event
        return Answer(problem="the worker process ended before it answered")


def ask(prepare: Prepare, question: Ask) -> Answer:
    """The answer of a worker to this question alone."""
    worker = AskingWorker()
    try:
        return worker.ask(prepare, question)
    finally:
        worker.close()


def settle_event(
    event: ToolFinished, attempt: Attempt, prepare: Prepare
) -> tuple[ToolFinished, tuple[Problem, ...]]:
    """The end of a tool as the database has it, if its worker died while it committed."""
    answer = ask(prepare, Ask(project=attempt.project, voids=(attempt,)))
    if answer.problem:
        return event, (cannot_ask(answer.problem),)
    return settle(event, has_record(answer.records, attempt)), ()


def store(project: Project, registry: Registry, records: tuple[SuccessRecord, ...]) -> bool:
    """Keeps these in the database, where no worker of a run is there to do it; whether that could be done."""
    prepare = build_prepare(registry, project)
    return not ask(prepare, Ask(project=project.project, records=records)).problem


def delete_rows(project: Project, registry: Registry, names: tuple[str, ...]) -> str:
    """Deletes these rows; why that could not be done, or ""."""
    return ask(build_prepare(registry, project), Ask(deletes=names)).problem


def has_record(found: Iterable[SuccessRecord], attempt: Attempt) -> bool:
    return any(one.tool == attempt.tool and one.success == attempt.name for one in found)


def settle(end: End, is_committed: bool) -> End:
    """How the tool ended, as the database has it."""
    if is_committed:
        notes = (COMMITTED_NOTE,)
        return replace(end, status="passed", error=None, notes=notes, is_settled=True)
    error = end.error or Failure(kind="crash", type="crash", message="")
    return replace(end, status="failed", error=replace(error, message=NOT_COMMITTED), notes=())


def cannot_ask(problem: str) -> Problem:
    return Problem(
        code="memory",
        message="the database cannot be asked what it remembers of the tools, so this is as of the last run here: "
        f"{problem}",
        hint='make sure that the database can be used, or set memory = "local"',
        severity="warning",
    )
