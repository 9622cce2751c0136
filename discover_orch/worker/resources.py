"""Opens what `run()` asks for by name, once, and closes it in reverse order on every path.

A resource is a function of `orchconf.py`; a generator is closed by resuming it. `conn` is a resource too: it
comes from `get_connection()` or from the database URL. `databases` knows what a tool may do to a
connection. This module knows no steps and no order of tools.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from types import AsyncGeneratorType, GeneratorType

from discover_orch.databases.sqlite_tables import find_file, observe_sqlite
from discover_orch.databases.transactions import (
    Transaction,
    WritesLost,
    allow_reading_beside_a_writer,
    cancel_statement,
    choose_transaction,
    find_driver_connection,
    open_url,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Protocol

    from discover_orch.databases.table_log import TableLog, TableUse
    from discover_orch.worker.observer import Observer

    class UserCall(Protocol):
        """Calls code of the user, awaits its result, and lets no interrupt break into it."""

        def __call__(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any: ...


CONN = "conn"
SECOND_CONNECTION = (
    "used a second connection to the database: what that one commits stays, and it sees nothing of what the tool "
    "writes on conn"
)


class ResourceProblem(Exception):
    """A resource cannot be opened; the message is a sentence for the user."""


class _OpenResource:
    """`generator` is resumed to close it; None for a plain value."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.value: Any = None
        self.generator: Any = None


class _Connection:
    """The open `conn`: its transaction, and the log of tables that are used through it.

    `tables` is None where the statements of its driver cannot be observed. `file` is the absolute path of
    its database, or "". `may_have_kept_writes`: writes of the step may stay though it fails.
    """

    def __init__(
        self,
        mode: str,
        observer: Observer | None,
        is_interrupted: Callable[[], bool] | None,
        warn: Callable[[str, str], None],
    ) -> None:
        self._mode = mode
        self._warn = warn
        self._warnings: set[str] = set()  # that were given
        self._by_mode: dict[str, Transaction] = {}
        self._observer = observer
        self._is_interrupted = is_interrupted
        self.transaction: Transaction | None = None
        self.tables: TableLog | None = None
        self.file = ""
        self.may_have_kept_writes = False
        self._is_sqlite = False
        self._is_begun = self._commits_by_itself = False

    def attach(self, conn: Any) -> None:
        """A new connection has been opened."""
        self._by_mode = {mode: choose_transaction(conn, mode) for mode in {self._mode, "none"}}
        self.transaction = self._by_mode[self._mode]
        self.transaction.attach()
        if not self.transaction.can_roll_back():
            self._warn_once(
                f"conn is {_article(type(conn).__name__)}, which has no commit() and rollback(): what a tool writes "
                "stays even if the tool fails",
                "return a connection from get_connection(), such as engine.connect()",
            )
        if self._observer is not None:
            self._observe(find_driver_connection(conn), self._observer)

    def _observe(self, conn: Any, observer: Observer) -> None:
        self.tables = observe_sqlite(conn, self._is_interrupted)
        self.file = find_file(conn)
        self._is_sqlite = self.tables is not None
        if not self._is_sqlite and conn is not None:
            # SQLite needs no parser of statements.
            from discover_orch.databases.statement_log import observe_statements

            statements = observe_statements(conn, observer.note_files)
            self.tables = statements
            self.file = statements.file if statements is not None else ""
        if self.file:
            observer.note_database(self.file)

    def _warn_once(self, message: str, hint: str) -> None:
        if message not in self._warnings:
            self._warnings.add(message)
            self._warn(message, hint)

    def is_closed(self) -> bool:
        """Whether there was a connection and somebody closed it."""
        return self.transaction is not None and self.transaction.is_closed()

    def is_unobserved(self) -> bool:
        transaction = self.transaction
        return self.tables is None and transaction is not None and transaction.conn is not None

    def begin(self, *, commits_by_itself: bool) -> None:
        if self.transaction is not None:
            mode = "none" if commits_by_itself else self._mode
            self.transaction = self._by_mode[mode]
            if self.tables is not None:
                self.tables.begin_step()
            self._commits_by_itself = mode == "none"
            self.transaction.begin()
            self._is_begun = True
            if self.tables is not None:
                self.tables.defers_commits = self.transaction.defers_commits

    def end(self, keep: bool, before_commit: Callable[[], None] | None = None) -> list[str]:
        """Commit or roll back what was begun; notes for the user. What it raises fails the tool."""
        if self.transaction is None or not self._is_begun:
            return []
        self._is_begun = False
        tables = self.tables
        if tables is not None:
            tables.resolve()
            is_open = not self.transaction.is_closed()
            self.may_have_kept_writes |= tables.has_committed or (
                is_open and tables.may_have_committed
            )
        self.may_have_kept_writes |= self.transaction.may_have_kept_writes() or tables is None
        is_uncommitted = tables is not None and tables.has_written and not tables.has_committed
        if keep and is_uncommitted and self.transaction.has_lost_writes_by_closing():
            self.transaction.end(keep=False)
            raise WritesLost("closed its connection before its writes were committed")
        has_committed = tables is not None and not self._is_sqlite and tables.has_committed
        self._warn_of_second_connection()
        if keep and before_commit is not None and self._has_uncommitted_writes():
            before_commit()
        defers_commits = self.transaction.defers_commits
        notes = self.transaction.end(keep)
        if tables is not None and tables.uses_other_connection and defers_commits:
            return [SECOND_CONNECTION, *notes]
        if has_committed and not notes and not self._commits_by_itself:
            return ["committed by itself"]
        return notes

    def _warn_of_second_connection(self) -> None:
        transaction, observer = self.transaction, self._observer
        if transaction is None or observer is None or not transaction.has_deferred_commits():
            return
        if observer.has_foreign_connection():
            self._warn_once(
                "a tool opened a second connection to the database that it writes to with conn: until the tool has "
                "ended, the second one does not see what conn has committed, and cannot write",
                'use conn for both, or write ORCH = {"transaction": "none"} in the tool',
            )

    def _has_uncommitted_writes(self) -> bool:
        """Whether the commit that follows makes anything final, as far as that can be told."""
        has_writes = self.transaction is not None and self.transaction.has_uncommitted_writes()
        if has_writes is not None:
            return has_writes
        return self.tables is None or self.tables.has_written or self.tables.may_have_committed

    def drop_temporary_tables(self) -> None:
        if self.transaction is not None:
            self.transaction.drop_temporary_tables()

    def note_setup_writes(self) -> None:
        """Writes of a resource that has just been opened stay, whatever becomes of the step."""
        self.may_have_kept_writes |= self.tables is not None and bool(
            self.tables.peek().tables_written
        )


class Resources:
    """The resources of one worker. For each step: `open`, `begin_transaction`, the tool, `end_transaction`,
    `drain_tables`. At the end of the worker: `close`.
    """

    def __init__(
        self,
        *,
        root: str,
        database: str,
        transaction: str,
        needs: Mapping[str, tuple[str, ...]],
        has_connection: bool,
        load_conf: Callable[[], ModuleType],
        call: UserCall,
        observer: Observer | None = None,
        is_interrupted: Callable[[], bool] | None = None,
        cancel_with: Callable[[Callable[[], None]], None] = lambda _: None,
        is_one_of_several: bool = False,
        warn: Callable[[str, str], None] = lambda message, hint: None,
    ) -> None:
        """`cancel_with` is given what cancels the running statement of `conn`, from any thread.
        `is_one_of_several`: other workers use the same database."""
        self._cancel_with = cancel_with
        self._is_one_of_several = is_one_of_several
        self._root = root
        self._database = database
        self._needs = needs
        self._has_connection = has_connection
        self._load_conf = load_conf
        self._call = call
        self._observer = observer
        self._connection = _Connection(transaction, observer, is_interrupted, warn)
        self._foreign: set[str] = set()  # have a connection of their own to the same database
        self._stack: list[_OpenResource] = []  # in the order of opening
        self._opened: list[str] = []  # in this step
        self.close_errors: list[tuple[str, BaseException]] = []

    def open(self, names: Iterable[str]) -> dict[str, Any]:
        """The values of these resources; those that are open are used again."""
        names = tuple(names)
        if self._uses_conn(names) and self._connection.is_closed():
            self._drop_closed_connection()
        return {name: self._value(name, ()) for name in names}

    def begin_transaction(self, names: Iterable[str], *, commits_by_itself: bool = False) -> None:
        """Begin the transaction of a step that uses these resources."""
        if self._uses_conn(names):
            self._connection.begin(commits_by_itself=commits_by_itself)

    def end_transaction(
        self, keep: bool, before_commit: Callable[[], None] | None = None
    ) -> list[str]:
        """Commit or roll back; notes for the user. What it raises fails the tool.

        `before_commit` is called before a commit that makes writes final.
        """
        try:
            return self._connection.end(keep, before_commit)
        finally:
            self._connection.drop_temporary_tables()

    def holds_lock(self) -> bool:
        """Whether the database is locked for other connections only because orch has not committed yet."""
        transaction = self._connection.transaction
        return transaction is not None and transaction.has_deferred_commits()

    def observe_setup(self) -> Mapping[str, Any]:
        """The part of an `Observation` that opening resources caused; empty where they used no tables."""
        tables = self._connection.tables
        if tables is None or not self._opened:
            return {}
        return _list_fields(tables.peek())

    def drain_opened(self) -> tuple[str, ...]:
        """The resources opened since the last call."""
        opened = tuple(self._opened)
        self._opened.clear()
        return opened

    def drain_tables(self, names: Collection[str]) -> Mapping[str, Any]:
        """The part of an `Observation` that a step with these resources caused in databases."""
        if not names:
            return {}
        observer, connection = self._observer, self._connection
        may_have_kept_writes = connection.may_have_kept_writes
        connection.may_have_kept_writes = False
        used = self._find_used(names)
        if observer is not None and observer.has_foreign_connection():
            self._foreign.update(used - {CONN})
        use = connection.tables.drain() if connection.tables is not None else None
        if CONN not in used:
            return {"is_unclear": True, "has_committed": True} if used & self._foreign else {}
        seen = _list_fields(use) if use is not None else {}
        if connection.is_unobserved() or used & self._foreign:
            seen["is_unclear"] = True
        if may_have_kept_writes and ("tables_written" in seen or "is_unclear" in seen):
            seen["has_committed"] = True
        if observer is not None and connection.file:
            seen["database"] = observer.relative_path(connection.file) or connection.file
        if connection.tables is not None and connection.tables.dialect != "sqlite":
            seen["dialect"] = connection.tables.dialect
        return seen

    def close(self) -> list[tuple[str, BaseException]]:
        """Close everything, even where one raises: (name, error) of those that did."""
        while self._stack:
            self._close_one(self._stack.pop())
        errors, self.close_errors = self.close_errors, []
        return errors

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
        self._connection.note_setup_writes()
        return value

    def _open_connection(self) -> Any:
        if self._has_connection:
            value = self._open_one(CONN, self._load_conf().get_connection, {})
        else:
            opened = _OpenResource(CONN)
            self._stack.append(opened)
            self._opened.append(CONN)
            try:
                value = opened.value = open_url(self._database, self._root)
                if self._is_one_of_several:
                    allow_reading_beside_a_writer(value)
            except BaseException:
                self._stack.remove(opened)
                raise
        self._connection.attach(value)
        self._cancel_with(partial(cancel_statement, find_driver_connection(value)))
        return value

    def _open_one(
        self, name: str, function: Callable[..., Any], arguments: Mapping[str, Any]
    ) -> Any:
        """Call the function. The resource goes on the stack before its generator is resumed, so that no
        exception can lose what it opened.
        """
        value = self._call(function, **arguments)
        opened = _OpenResource(name)
        opened.value = value
        self._stack.append(opened)
        self._opened.append(name)
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

    def _drop_closed_connection(self) -> None:
        """A tool closed the connection: close the resources that use it, and open it again later."""
        place = next(i for i, one in enumerate(self._stack) if one.name == CONN)
        gone = [one for one in self._stack[place:] if self._uses_conn([one.name])]
        for one in reversed(gone):
            self._stack.remove(one)
            self._close_one(one)


def _list_fields(use: TableUse) -> dict[str, Any]:
    """The fields of an `Observation` that have these names, less those that say nothing."""
    return {name: found for name in use.__struct_fields__ if (found := getattr(use, name))}


def _article(name: str) -> str:
    return f"an {name}" if name[:1] in "AEIOU" else f"a {name}"


def _is_waiting(generator: Any) -> bool:
    """Whether it has yielded, and so must be resumed to close it."""
    if isinstance(generator, AsyncGeneratorType):
        return bool(getattr(generator, "ag_suspended", generator.ag_frame is not None))
    return bool(getattr(generator, "gi_suspended", False))
