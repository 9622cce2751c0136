"""Opens what `run()` asks for by name, once, and closes it in reverse order on every path.

A resource is a function of `orchconf.py`; a generator is closed by resuming it. `conn` is a resource too: it
comes from `get_connection()` or from the database URL. `databases` knows what a tool may do to a
connection. This module knows no steps and no order of tools.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import AsyncGeneratorType, GeneratorType

from discover_orch.databases.drivers import find_database
from discover_orch.databases.error_hints import find_hint
from discover_orch.databases.opening import allow_reading_beside_a_writer, open_url
from discover_orch.model.observation import MADE, RESOURCE, UNCLEAR, Use
from discover_orch.worker.connection import ForeignWrites, ResourceProblem, ToolConnection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Protocol

    from discover_orch.databases.table_log import TableLog
    from discover_orch.model.errors import Problem
    from discover_orch.model.success_record import Attempt, SuccessRecord
    from discover_orch.model.tool_events import TableHead
    from discover_orch.worker.protocol import Answer, Ask, Prepare, RunStep
    from discover_orch.worker.tool_observation import Observer

    class UserCall(Protocol):
        """Calls code of the user, awaits its result, and lets no interrupt break into it."""

        def __call__(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any: ...


CONN = "conn"
#: Tables whose first rows are sent for one step.
MOST_HEADS = 20
_CHANGES = frozenset((*MADE, "unclear"))


class RemoteFile(ResourceProblem):
    """The database is a local file, and the worker may be on another machine."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"the database {path} is a local file, and workers on other machines cannot share it"
        )
        self.hint = (
            "use a database server such as PostgreSQL, or run the tool with --executor local"
        )


class _OpenResource:
    """`generator` is resumed to close it; None for a plain value."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.value: Any = None
        self.generator: Any = None


class Resources:
    """The resources of one worker. For each step: `open`, `begin_transaction`, the tool, `end_transaction`,
    `drain_tables`. At the end of the worker: `close`.
    """

    def __init__(
        self,
        prepare: Prepare,
        *,
        load_conf: Callable[[], ModuleType],
        call: UserCall,
        loading: Callable[[str], AbstractContextManager[None]] = lambda owner: nullcontext(),
        observer: Observer | None = None,
        is_interrupted: Callable[[], bool] | None = None,
        cancel_with: Callable[[Callable[[], None]], None] = lambda _: None,
        warn: Callable[[Problem], None] = lambda problem: None,
    ) -> None:
        """`loading` is entered while a resource is opened. `cancel_with` is given what cancels the running statement
        of `conn`, from any thread."""
        self._prepare, self._needs = prepare, prepare.resources
        self._cancel_with = cancel_with
        self._load_conf = load_conf
        self._call, self._loading = call, loading
        self._observer = observer
        self._connection = ToolConnection(
            prepare.transaction,
            observer,
            is_interrupted,
            warn,
            prepare.table_version_rows,
            is_remote=prepare.is_remote,
        )
        self._foreign_writes = None
        if observer is not None and not prepare.is_one_of_several:
            self._foreign_writes = ForeignWrites(observer)
        self._has_foreign_write = False  # that is not reported yet
        self._foreign: set[str] = set()  # have a connection of their own to the same database
        self._stack: list[_OpenResource] = []  # in the order of opening
        self.close_errors: list[tuple[str, BaseException]] = []

    def open(self, names: Iterable[str]) -> dict[str, Any]:
        """The values of these resources; those that are open are used again."""
        names = tuple(names)
        if self._uses_conn(names) and self._connection.is_gone():
            self._drop_connection()
        values = {name: self._value(name, ()) for name in names}
        if self._prepare.is_remote and self._connection.file and self._uses_conn(names):
            raise RemoteFile(self._connection.file)
        return values

    def begin_transaction(
        self,
        names: Iterable[str],
        *,
        commits_by_itself: bool = False,
        writes_alone: bool = False,
        attempt: Attempt | None = None,
        of_item: tuple[str, str] = ("", ""),
    ) -> None:
        """Begin the transaction of a step that uses these resources. `attempt` is recorded with it; `of_item` is as of
        `ToolConnection.begin`."""
        if self._uses_conn(names):
            self._connection.begin(
                commits_by_itself=commits_by_itself,
                writes_alone=writes_alone,
                attempt=attempt,
                of_item=of_item,
            )

    def remove_tables(self, order: RunStep) -> tuple[str, ...]:
        """Removes, in the transaction of the step, what it is to make anew; what was dropped."""
        is_used = (order.drops or order.empties) and self._uses_conn(order.resources)
        return self._connection.remove_tables(order) if is_used else ()

    def delete_rows(self, names: Iterable[str]) -> None:
        """Raises what the database raises."""
        from discover_orch.databases.item_rows import delete_rows

        database = find_database(self.open([CONN])[CONN])
        if database.is_known:
            with database.transaction():
                delete_rows(database, names)

    def ask_memory(self, order: Ask) -> Answer:
        """Raises what the database raises."""
        from discover_orch.databases.memory_table import MemoryTable
        from discover_orch.worker.protocol import Answer

        database = find_database(self.open([CONN])[CONN])
        if not database.is_known:
            return Answer()
        memory = MemoryTable(database)
        has_lock, holder = bool(order.lock_name) and database.has_lock, ""
        if has_lock:
            holder = database.lock(order.project, order.lock_name, waits=order.waits)
            if holder:
                return Answer(has_lock=True, holder=holder)
        elif not (order.voids or order.records):
            holder = database.find_holder(order.project)
        for attempt in order.voids:
            memory.make_void(attempt)
        if order.records:
            memory.store(order.project, order.records)
        records = memory.read(order.project, order.known)
        return Answer(has_lock=has_lock, holder=holder, records=records)

    def record_owed(self) -> None:
        """Records the success of the step that has just ended if it has closed the connection."""
        if self._connection.owes_on_closed():
            self.open([CONN])
            self._connection.record_owed()

    def store_records(self, project: str, records: tuple[SuccessRecord, ...]) -> None:
        """Keeps in the database what is remembered of these successes, if this worker has used it."""
        connection = self._connection
        if connection.memory is None:
            return
        if not connection.is_idle() and any(one.name == CONN for one in self._stack):
            self._drop_connection()
        self.open([CONN])
        connection.record_owed()
        if records and (memory := connection.memory) is not None:
            memory.store(project, records)

    def take_record(self) -> str:
        """The name of the success of the step that has just ended, if the database has a record of it."""
        record, self._connection.record = self._connection.record, ""
        return record

    def look_at_tables(
        self, names: Collection[str]
    ) -> tuple[tuple[str, ...] | None, dict[str, str]]:
        """Which tables there are, where they are listed, and the versions of these that can be read; "?" for one that
        has too many rows."""
        self.open([CONN])
        return self._connection.look_at_tables(names)

    def end_transaction(
        self, keep: bool, before_commit: Callable[[], None] | None = None
    ) -> list[str]:
        """Commit or roll back; notes for the user. What it raises fails the tool.

        `before_commit` is called before a commit that makes writes final.
        """
        try:
            return self._connection.end(keep, before_commit)
        finally:
            self._connection.restore_connection()

    def savepoint(self, names: Iterable[str]) -> ToolConnection | None:
        """What undoes the writes of a check; None where a step with these resources does not use `conn`."""
        return self._connection if self._uses_conn(names) else None

    def commit_run(self) -> None:
        """Commit what all tools of the run did, if it is one transaction. Raises what the commit raises; then all is
        rolled back."""
        try:
            self._connection.end_run(keep=True)
        finally:
            self._connection.restore_connection()

    def find_hint(self, error: BaseException) -> str:
        """What a driver's error means. The database may be locked only because orch has not committed yet."""
        transaction, tables = self._connection.transaction, self._connection.tables
        holds_lock = transaction is not None and transaction.has_deferred_commits()
        return find_hint(error, holds_lock, frozenset() if tables is None else tables.names)

    def find_owners(self, names: Iterable[str]) -> Iterator[str]:
        """These resources and those that they need, as owners of what they read and change."""
        return (f"{RESOURCE}{name}" for name in self._find_used(names))

    def _find_logs(self, has_conn: bool) -> list[TableLog]:
        """Of connections to the database that a step uses: `conn`, and those that code of the user has opened."""
        observer, tables = self._observer, self._connection.tables
        found: list[TableLog] = [tables] if has_conn and tables is not None else []
        if observer is not None:
            observer.own.resolve()
            found.append(observer.own)
        return found

    def drain_tables(
        self, names: Collection[str]
    ) -> tuple[list[Use], dict[str, Any], tuple[TableHead, ...]]:
        """The tables that a step with these resources used, fields of the `Observation`, and the first rows of tables
        that it wrote."""
        observer, connection = self._observer, self._connection
        may_have_kept_writes = bool(names) and connection.may_have_kept_writes
        connection.may_have_kept_writes &= not names
        used = self._find_used(names)
        if observer is not None and observer.has_foreign_connection():
            self._foreign.update(used - {CONN})
        if names and CONN not in used and connection.tables is not None:
            connection.tables.drain()
        contents, connection.contents = connection.contents, {}
        versions = {name: one.version for name, one in contents.items() if one.version is not None}
        logs = self._find_logs(CONN in used)
        uses = [*logs[0].drain(*logs[1:], versions=versions)] if logs else []
        rows, connection.rows = connection.rows, {}
        uses += [Use(f"rows:{name}", "written", version) for name, version in rows.items()]
        has_committed = observer is not None and observer.own.has_written
        seen: dict[str, Any] = {}
        if self._has_written_past_conn() or (CONN not in used and used & self._foreign):
            uses.append(UNCLEAR)
            has_committed = True
        if CONN in used:
            if connection.is_unobserved() or used & self._foreign:
                uses.append(UNCLEAR)
            has_committed |= may_have_kept_writes and any(one.kind in _CHANGES for one in uses)
            if observer is not None and connection.file:
                seen["database"] = observer.paths.relative(connection.file) or connection.file
            if connection.tables is not None and connection.tables.dialect != "sqlite":
                seen["dialect"] = connection.tables.dialect
        if has_committed:
            seen["has_committed"] = True
        if contents:
            seen["tables_read_at"] = connection.read_at
        heads = [one.head for one in contents.values() if one.head is not None]
        return uses, seen, tuple(heads[:MOST_HEADS])

    def _has_written_past_conn(self) -> bool:
        """Whether the step, or a process that it has started, has written to the SQLite database past `conn`."""
        tables, foreign = self._connection.tables, self._foreign_writes
        if tables is None or foreign is None:
            return False
        self._has_foreign_write |= foreign.have_happened(tables, during_step=True)
        return foreign.is_by_step

    def has_foreign_write(self, names: Iterable[str]) -> bool:
        """Whether another program has written to the SQLite database of `conn` since the last call, as far as that
        is known; False where none of `names` uses `conn` and no step has ended."""
        tables, foreign = self._connection.tables, self._foreign_writes
        has_happened, self._has_foreign_write = self._has_foreign_write, False
        if tables is None or foreign is None or not self._uses_conn(names):
            return has_happened
        return foreign.have_happened(tables, during_step=False) or has_happened

    def close(self) -> list[tuple[str, BaseException]]:
        """Close everything, even where one raises: (name, error) of those that did. Rolls back a run that is one
        transaction and was not committed."""
        try:
            self._connection.end_run(keep=False)
        except BaseException as error:
            self.close_errors.append((CONN, error))
        while self._stack:
            self._close_one(self._stack.pop())
        errors, self.close_errors = self.close_errors, []
        return errors

    def close_for_others(self) -> None:
        """A step has ended: close the connection if another worker could not open the database beside it."""
        transaction = self._connection.transaction
        if (
            self._prepare.is_one_of_several
            and transaction is not None
            and find_database(transaction.conn).locks_out_others()
        ):
            self._drop_connection()

    def _uses_conn(self, names: Iterable[str]) -> bool:
        return CONN in self._find_used(names)

    def _find_used(self, names: Iterable[str]) -> set[str]:
        """These resources, and those that they need."""
        used: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in used:
                used.add(name)
                waiting.extend(self._needs.get(name, ()))
        return used

    def _value(self, name: str, asking: tuple[str, ...]) -> Any:
        for one in self._stack:
            if one.name == name:
                return one.value
        if name in asking:
            circle = " -> ".join([*asking[asking.index(name) :], name])
            raise ResourceProblem(f"resources of orchconf.py form a cycle: {circle}")
        if name == CONN:
            if self._observer is None:
                return self._open_connection()
            with self._observer.opening_connection(is_by_url=not self._prepare.has_connection):
                return self._open_connection()
        if name not in self._needs:
            raise ResourceProblem(f"orchconf.py defines no resource {name}")
        arguments = {need: self._value(need, (*asking, name)) for need in self._needs[name]}
        function = getattr(self._load_conf(), name, None)
        if not callable(function):
            raise ResourceProblem(
                f"orchconf.py has no function {name} after it was loaded; was the name assigned again?"
            )
        self.begin_transaction(self._needs[name])  # its writes are committed by themselves
        try:
            value = self._open_one(name, function, arguments)
        except BaseException:
            self._connection.end(keep=False)
            raise
        self._connection.end(keep=True)
        self._connection.note_setup()
        self._note_tables(name)
        return value

    def _note_tables(self, name: str) -> None:
        """The users of a resource share what it has used in the database while it was opened."""
        logs = self._find_logs(CONN in self._find_used([name]))
        if self._observer is not None:
            self._observer.note_tables(f"{RESOURCE}{name}", logs[0].peek(*logs[1:]))

    def _open_connection(self) -> Any:
        if self._prepare.has_connection:
            value = self._open_one(CONN, self._load_conf().get_connection, {})
        else:
            opened = _OpenResource(CONN)
            self._stack.append(opened)
            try:
                value = opened.value = open_url(self._prepare.database, self._prepare.root)
                if self._prepare.is_one_of_several:
                    allow_reading_beside_a_writer(value)
            except BaseException:
                self._stack.remove(opened)
                raise
        self._connection.attach(value, has_memory=bool(self._prepare.project))
        if self._prepare.is_one_of_several:
            self._connection.warn_in_memory()
        self.has_foreign_write((CONN,))  # it compares with this
        self._cancel_with(find_database(value).cancel)
        self._note_tables(CONN)
        return value

    def _open_one(
        self, name: str, function: Callable[..., Any], arguments: Mapping[str, Any]
    ) -> Any:
        """Call the function. The resource goes on the stack before its generator is resumed, so that no
        exception can lose what it opened.
        """
        with self._loading(f"{RESOURCE}{name}"):
            return self._resume_until_open(name, function, arguments)

    def _resume_until_open(
        self, name: str, function: Callable[..., Any], arguments: Mapping[str, Any]
    ) -> Any:
        value = self._call(function, **arguments)
        opened = _OpenResource(name)
        opened.value = value
        self._stack.append(opened)
        try:
            if isinstance(value, GeneratorType):
                opened.generator = value
                opened.value = self._call(next, value)
            elif isinstance(value, AsyncGeneratorType):
                opened.generator = value
                opened.value = self._call(anext, value)
        except (StopIteration, StopAsyncIteration):
            self._stack.remove(opened)
            raise ResourceProblem(f"the resource {name} did not yield a value") from None
        except BaseException:
            if not _is_waiting(opened.generator):
                self._stack.remove(opened)
            raise
        return opened.value

    def _close_one(self, opened: _OpenResource) -> None:
        transaction = self._connection.transaction
        if opened.name == CONN:
            self._connection.transaction = None
        else:
            self.begin_transaction(self._needs[opened.name])
        has_closed = False
        try:
            if opened.generator is not None:
                self._resume(opened)
            elif opened.name == CONN and transaction is not None and not transaction.is_closed():
                transaction.close()
            has_closed = True
        except BaseException as error:
            self.close_errors.append((opened.name, error))
        try:
            self.end_transaction(keep=has_closed)
        except BaseException as error:
            self.close_errors.append((opened.name, error))

    def _resume(self, opened: _OpenResource) -> None:
        """Resume a generator after its yield, where it must end."""
        is_async = isinstance(opened.generator, AsyncGeneratorType)
        try:
            self._call(anext if is_async else next, opened.generator)
        except (StopIteration, StopAsyncIteration):
            return
        self._call(opened.generator.aclose if is_async else opened.generator.close)
        raise ResourceProblem(f"the resource {opened.name} yields more than once")

    def _drop_connection(self) -> None:
        """Close the connection, if it is not gone, and the resources that use it. The next step opens them again."""
        place = next(i for i, one in enumerate(self._stack) if one.name == CONN)
        gone = [one for one in self._stack[place:] if self._uses_conn([one.name])]
        for one in reversed(gone):
            self._stack.remove(one)
            self._close_one(one)


def _is_waiting(generator: Any) -> bool:
    """Whether it has yielded, and so must be resumed to close it."""
    if isinstance(generator, AsyncGeneratorType):
        return bool(getattr(generator, "ag_suspended", generator.ag_frame is not None))
    return bool(getattr(generator, "gi_suspended", False))
