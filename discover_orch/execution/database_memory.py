"""Asks the database what it remembers of the tools, and what their tables contain now, and keeps the memory there.

A worker of its own asks, because only workers open databases. It runs no code of the user for a command that only
looks. On a server it also holds the lock of the project for a run, as long as the worker lives.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.model.database_url import is_in_memory
from discover_orch.model.errors import Problem
from discover_orch.model.success_record import Attempt, SuccessRecord
from discover_orch.model.tool_events import ToolEnd
from discover_orch.staleness.adoption import Record, adopt, is_of
from discover_orch.staleness.current_inputs import CurrentState, takes_connection
from discover_orch.staleness.database_file import choose_options
from discover_orch.staleness.database_identity import CurrentDatabase
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.tool_result import ToolResult, latest_run, run_of
from discover_orch.state.journal import find_runs, read_open_run, write_ends
from discover_orch.state.recorded_run import RunRecord, ToolRecord
from discover_orch.state.sealed_files import read_flows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.execution.database_question import AskingWorker
    from discover_orch.planning.remaining_work import RemainingWork
    from discover_orch.worker.protocol import Answer, Ask, Prepare


NOT_KEPT = Problem(
    code="memory",
    message="what the database remembers of the tools cannot be kept in .orch, so it does not count",
    hint="make .orch writable, or free space on its disk",
    severity="warning",
)


class Asked(Struct, frozen=True, kw_only=True):
    """What came of a question. `has_changed`: more or other things are remembered of the tools than before. `holder`
    is who holds the lock of the project on the server, if that is another run."""

    has_changed: bool = False
    holder: str = ""
    problems: tuple[Problem, ...] = ()


class DatabaseMemory:
    """That of one project, for one command. With `runs`, a run follows: it may run code of the user, attempts of a
    killed run that are not committed cannot be committed any more, and the lock of the project is held until
    `close`. If it `judges`, what runs depends on the answer."""

    def __init__(
        self, project: Project, registry: Registry, *, runs: bool, judges: bool = True
    ) -> None:
        self._project, self._registry = project, registry
        self._runs, self._judges = runs, judges
        self._memory = Memory(project.root, registry)
        self._worker: AskingWorker | None = None
        self._holds_lock = False

    def ask(self, *, waits: bool = False) -> Asked:
        """Brings the memory in `.orch` up to date. `waits` for the lock."""
        project, registry = self._project, self._registry
        if project.memory != "database" or is_in_memory(project.database):
            return Asked()
        if not any(takes_connection(tool, registry) for tool in registry.tools.values()):
            return Asked()
        has_own = uses_get_connection(registry, project)
        if has_own and not self._runs:
            return Asked()
        database = CurrentDatabase(project, registry, self._memory)
        if has_own and database.known is None and not self._judges:
            return Asked()  # without need, no code of the user runs twice
        _ = database.state  # before this command writes to it
        killed = find_killed(project, settles=self._runs)
        if not (killed or database.may_differ or self._is_of_another(database)):
            return Asked()
        from discover_orch.execution.database_question import cannot_ask  # few commands ask
        from discover_orch.execution.executors.worker_driver import build_prepare
        from discover_orch.worker.protocol import Ask

        plain = build_prepare(registry, project)
        # The question for its tables opens a file in the same way, so that one worker answers both.
        reads = None if self._runs else self._prepare_to_look(database.named_file, is_run=False)
        self._asking_worker().start(reads or plain, runs=self._runs)
        known = self._find_known()
        asked = Ask(
            project=project.project,
            known={
                name: one.success.record
                for name, one in known.items()
                if one.success and is_of(one, one.success.record, database.version)
            },
            voids=_attempts_of(killed, project) if killed and self._runs else (),
            lock_name=_own_name() if self._runs else "",
            waits=waits,
        )
        answer = self._ask(reads or plain, asked, runs=self._runs)
        if answer.problem and reads not in (None, plain):  # only a writer may recover a file
            answer = self._ask(plain, asked, runs=self._runs)
        if answer.problem or (answer.holder and self._runs):
            # A run of all its tools says itself that the database cannot be used.
            has_warning = answer.problem and self._judges
            said = (cannot_ask(answer.problem),) if has_warning else ()
            return Asked(holder=answer.holder, problems=said)
        if killed:
            database.note_settled(self._memory, _settle_run(project, killed, answer.records))
        holder = "" if killed else answer.holder  # a process of that run may still end
        has_changed = self._adopt(database, known, answer.records)
        renamed = self._find_moved_records(known, answer.records) if self._runs else ()
        if renamed:  # else its next success leaves the record of its old name
            self._ask(plain, Ask(project=project.project, records=renamed), runs=True)
            database.note_own_write(self._memory)
        is_unkept = self._memory.is_lost and not self._runs  # a run says it of its history
        problems = (NOT_KEPT,) if is_unkept else ()
        return Asked(has_changed=has_changed, holder=holder, problems=problems)

    def keep_accepted(self, modules: Iterable[str]) -> None:
        """Keeps in the database that these tools were accepted: other checkouts find another success there."""
        project, memory = self._project, self._memory
        if project.memory != "database" or uses_get_connection(self._registry, project):
            return
        database = CurrentDatabase(project, self._registry, memory)
        if database.number <= 0:  # it is not there, and is not to be made
            return
        key = os.urandom(8).hex()
        changed = []
        for result in memory.results(modules).values():
            if (success := result.success) is not None and success.record:
                success = replace(success, record=f"{key}.0")
                changed.append(replace(result, success=success))
        records = [
            SuccessRecord(
                tool=one.module,
                success=f"{key}.0",
                run=latest_run(one),
                document=memory.seal(one),
                former=one.module,
            )
            for one in changed
        ]
        if not records:
            return
        from discover_orch.execution.database_question import store

        if store(project, self._registry, tuple(records)):
            for result in changed:
                memory.write(result)
            database.note_own_write(memory)

    def look_at_tables(self, work: RemainingWork, *, is_run: bool = False) -> None:
        """Notes in `work` what became of tables that tools left, as another program may have changed them. `is_run`: a
        run follows, so this is remembered; else this runs no code of the user and writes no file."""
        left, names = work.find_tables_left(), work.find_tables_to_read()
        if not (left or names):
            return
        # Only PostgreSQL lists its tables; of a file, those are there that can be read.
        wanted = {*names, *left} if work.current.database.path else names
        prepare = self._prepare_to_look(work.current.database.path, is_run=is_run)
        if prepare is None:
            return
        from discover_orch.worker.protocol import Ask

        answer = self._ask(prepare, Ask(has_tables=True, tables=tuple(sorted(wanted))), runs=is_run)
        if answer.problem:
            return
        if left:
            there = answer.contents if answer.tables is None else answer.tables
            work.note_tables(left, there, is_run=is_run)
        if names:
            work.note_contents(answer.contents, is_run=is_run)

    def _prepare_to_look(self, path: str, *, is_run: bool) -> Prepare | None:
        """None where the database must not be asked."""
        from discover_orch.execution.executors.worker_driver import build_prepare

        registry, project = self._registry, self._project
        if not path:
            has_own = not is_run and uses_get_connection(registry, project)
            return None if has_own else build_prepare(registry, project)
        options = choose_options(os.path.join(project.root, path))
        if not options:
            return None
        return replace(
            build_prepare(registry, project),
            database=f"{options.partition(':')[0]}:///{path}?{options.partition(':')[2]}",
            has_connection=False,
            orchconf=None,
            resources={},
            pythonpath=(),
        )

    def _ask(self, prepare: Prepare, question: Ask, *, runs: bool) -> Answer:
        """Until `close` the worker stays, for the next question and the lock. Before a run it must not keep a file."""
        worker = self._asking_worker()
        answer = worker.ask(prepare, question, runs=runs)
        self._holds_lock |= answer.has_lock and not answer.holder
        if runs and not self._holds_lock:
            worker.close()
        return answer

    def _asking_worker(self) -> AskingWorker:
        # Only now: a command that asks nothing loads nothing that runs.
        from discover_orch.execution.database_question import AskingWorker

        self._worker = self._worker or AskingWorker()
        return self._worker

    def close(self) -> None:
        """Releases the lock."""
        if self._worker is not None:
            self._worker.close()

    def _find_known(self) -> dict[str, ToolResult]:
        """What is remembered, of all tools that ever were."""
        names = {*self._registry.order, *self._registry.observed}
        return self._memory.results(sorted(names))

    def _is_of_another(self, database: CurrentDatabase) -> bool:
        """Whether a success is remembered as another database has it, and this one is there."""
        if len(database.all_known) < 2 or database.number <= 0:
            return False
        version = database.version
        return any(
            one.success and one.success.record and not is_of(one, one.success.record, version)
            for one in self._find_known().values()
        )

    def _find_moved_records(
        self, known: Mapping[str, ToolResult], found: Iterable[SuccessRecord]
    ) -> tuple[SuccessRecord, ...]:
        """The records of tools that were renamed, under their new names."""
        return tuple(
            SuccessRecord(
                tool=new,
                success=success.record,
                run=run_of(success.ended),
                document=self._memory.seal(known[new]),
                former=old,
            )
            for old, new in find_renamed(known, found).items()
            if (success := known[new].success) is not None
        )

    def _adopt(
        self,
        database: CurrentDatabase,
        known: dict[str, ToolResult],
        found: Sequence[SuccessRecord],
    ) -> bool:
        memory, root = self._memory, self._project.root
        records = {one.tool: one for one in found}
        if not records and database.known is None:
            return False
        runs = [*map(int, find_runs(root)[:1]), *map(latest_run, known.values())]
        now = database.after_run(max([0, *runs, *(one.run for one in found)]))
        highest = max([0, *(one.run for one in found)])
        database.note_records(memory, highest, now, is_ours=bool(records))
        if database.number <= 0:
            return False
        for old, new in find_renamed(known, found).items():
            records[new] = records.pop(old)
        state = CurrentState(self._project, self._registry, memory)
        changed: list[ToolResult] = []
        for name in {**known, **records}:
            found_now = records.get(name)
            record = None if found_now is None else _read(found_now, name, memory)
            before = known.get(name) or ToolResult(module=name)
            after = adopt(before, record, database.version, now, state.versions.version)
            if after is not before and after != before:
                changed.append(after)
        for result in changed:
            memory.write(result)
        if changed:
            database.note_latest(memory, now)
        flows = {one.module: one.success.flow for one in changed if one.success}
        if flows:
            memory.write_flows({**read_flows(root), **flows})
        return bool(changed)


def find_renamed(known: Mapping[str, ToolResult], found: Iterable[SuccessRecord]) -> dict[str, str]:
    """The new names of tools that were renamed and have not run since, so that the database has their old ones. Tools
    that were committed in one run have the same name of their success; where several were renamed, it makes no
    difference which is which."""
    there = {one.tool: one.success for one in found}
    new = {name: one.success.record for name, one in known.items() if one.success}
    new = {name: record for name, record in new.items() if name not in there}
    renamed = {}
    for old, success in there.items():
        name = next((name for name, record in new.items() if record == success), "")
        if name and old not in known:
            del new[name]
            renamed[old] = name
    return renamed


def _read(found: SuccessRecord, module: str, memory: Memory) -> Record:
    result = memory.unseal(found.tool, found.document) if found.document else None
    if result is not None:
        result = replace(result, module=module)
    return Record(
        module=module,
        success=found.success,
        run=found.run,
        result=result,
        tables=found.tables,
        has_document=found.has_document,
    )


# The run that was killed.


def find_killed(project: Project, *, settles: bool) -> RunRecord | None:
    """The latest run, if it was killed and the database may know more of its tools than its journal. `settles`: what
    was found out by a command that only looked is asked again."""
    record = read_open_run(project.root) if project.memory == "database" else None
    if record is None or record.status != "killed" or not record.key:
        return None
    return record if _unsettled(record, settles=settles) else None


def _unsettled(record: RunRecord, *, settles: bool = True) -> list[ToolRecord]:
    kept = {one.module for one in record.plan if one.is_recorded}
    return [
        one
        for one in record.tools
        if one.module in kept and (one.status == "unknown" or (settles and one.is_settled))
    ]


def _attempt_of(record: RunRecord, end: ToolEnd, project: Project) -> Attempt:
    return Attempt(
        project=project.project,
        tool=end.module,
        run=int(record.run),
        key=record.key,
        number=end.attempt,
    )


def _attempts_of(record: RunRecord, project: Project) -> tuple[Attempt, ...]:
    return tuple(_attempt_of(record, one, project) for one in _unsettled(record))


def _settle_run(project: Project, record: RunRecord, found: Iterable[SuccessRecord]) -> int:
    """Keeps how its tools have ended; how many of them have committed that were unknown until now."""
    from discover_orch.execution.database_question import has_record, settle

    ends, commits = [], 0
    for one in _unsettled(record):
        is_committed = has_record(found, _attempt_of(record, one, project))
        commits += is_committed and one.status == "unknown"
        ends.append(settle(one, is_committed))
    write_ends(project.root, record.run, ends)
    return commits


def _own_name() -> str:
    """Of this run, for those who find the project locked: the server keeps 63 bytes of it."""
    return f"orch on {os.uname().nodename[:40]}, pid {os.getpid()}"
