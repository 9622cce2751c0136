"""Asks the ledger in the database which attempts were committed, where no process was left to report it.

A worker of its own asks, because only workers open databases. Without `settles` it runs no code of the user and
changes nothing, so a command that only looks may ask too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeVar

from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.execution.executors.worker_driver import build_prepare
from discover_orch.execution.supervisor import Supervisor
from discover_orch.model.database_url import SqliteUrl, is_in_memory, read_database_url
from discover_orch.model.errors import Failure, Problem
from discover_orch.model.ledger_entry import LedgerEntry
from discover_orch.model.tool_events import ToolEnd, ToolFinished
from discover_orch.state.run_folders import read_open_run, write_ends
from discover_orch.worker.protocol import Answer, Ask, Finish, Prepare

End = TypeVar("End", bound=ToolEnd)
#: Seconds for which a database is asked again that cannot be opened yet: a worker of the killed run may still have it.
LONGEST_WAIT = 10.0
PAUSE = 0.1
#: Seconds for the answer itself, before a run and for a command that only looks: a server may not be reachable.
LONGEST_ANSWER, LONGEST_LOOK = 60.0, 10.0
NOT_COMMITTED = "was killed before its commit, according to the ledger: nothing that it wrote in the database stays"
COMMITTED_NOTE = (
    "was killed after its commit, according to the ledger: what it wrote in the database stays"
)


def settle_killed_run(
    project: Project, registry: Registry, *, settles: bool
) -> tuple[Problem, ...]:
    """Writes down how the tools of the latest run ended whose outcome is unknown, if that run was killed and kept a
    ledger. With `settles`, a run follows, and an attempt that is not committed cannot be committed any more; without
    it, nothing is changed in the database. A warning where the database cannot be asked."""
    record = read_open_run(project.root) if project.ledger else None
    if record is None or record.status != "killed" or not record.ledger:
        return ()
    kept = {one.module for one in record.plan if one.is_in_ledger}
    tools = [
        one
        for one in record.tools
        if one.module in kept and (one.status == "unknown" or (settles and one.is_settled))
    ]
    if not tools or (not settles and uses_get_connection(registry, project)):
        return ()
    entry = LedgerEntry(project=project.ledger, tool="", run=record.run, key=record.ledger)
    entries = [replace(entry, tool=one.module, attempt=one.attempt) for one in tools]
    answer = _ask(build_prepare(registry, project), entries, settles=settles)
    if answer.problem:
        return (_cannot_ask(answer.problem),) if settles else ()
    ends = zip(tools, answer.committed, strict=True)
    write_ends(project.root, record.run, (_settle(one, is_in) for one, is_in in ends))
    return ()


def settle_event(
    event: ToolFinished, entry: LedgerEntry, prepare: Prepare
) -> tuple[ToolFinished, tuple[Problem, ...]]:
    """The end of a tool as the ledger has it, if its worker died while it committed."""
    answer = _ask(prepare, [replace(entry, tool=event.module)])
    if answer.problem:
        return event, (_cannot_ask(answer.problem),)
    return _settle(event, answer.committed == (True,)), ()


def _settle(end: End, is_committed: bool) -> End:
    """How the tool ended, as the ledger has it."""
    if is_committed:
        notes = (COMMITTED_NOTE,)
        return replace(end, status="passed", error=None, notes=notes, is_settled=True)
    error = end.error or Failure(kind="crash", type="crash", message="")
    return replace(end, status="failed", error=replace(error, message=NOT_COMMITTED), notes=())


def _ask(prepare: Prepare, entries: Sequence[LedgerEntry], *, settles: bool = True) -> Answer:
    """The answer of the database, or why there is none."""
    url = prepare.database
    if is_in_memory(url) and not prepare.has_connection:
        return Answer(committed=tuple(False for _ in entries))
    if not settles:
        parts = read_database_url(url)
        is_plain = isinstance(parts, SqliteUrl) and not parts.query
        # This makes no file.
        prepare = replace(prepare, database=f"{url}?mode=rw" if is_plain else url, pythonpath=())
    deadline = time.monotonic() + (LONGEST_WAIT if settles else 0)
    while True:
        question = Ask(entries=tuple(entries), settles=settles)
        answer = ask_once(prepare, question, LONGEST_ANSWER if settles else LONGEST_LOOK)
        if not answer.problem or time.monotonic() > deadline:
            return answer
        time.sleep(PAUSE)


def ask_once(prepare: Prepare, question: Ask, longest: float) -> Answer:
    """The answer of a worker of its own, for which it has `longest` seconds."""
    worker = Supervisor.start(adopts_orphans=False)
    worker.send(replace(prepare, ledger=None, raw_output=False, post_mortem=False))
    worker.send(question)
    worker.send(Finish())
    deadline = time.monotonic() + longest
    found = [one for one in worker.close(longest) if isinstance(one, Answer)]
    if found:
        return found[0]
    if time.monotonic() >= deadline:
        return Answer(problem=f"the database did not answer within {longest:g} s")
    return Answer(problem="the worker process ended before it answered")


def _cannot_ask(problem: str) -> Problem:
    return Problem(
        code="ledger",
        message=f"the ledger cannot be read, so it is unknown what the killed run committed: {problem}",
        hint="make sure that the database can be used",
        severity="warning",
    )
