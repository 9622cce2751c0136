"""Opens what `run()` asks for by name, once, and closes it in reverse order on every path.

In: names. Out: values. A resource is a function of `orchconf.py` (a generator is closed by resuming it),
and `conn` is one too, from `get_connection()` or the database URL. What a tool may do to a connection,
and what orch does around each tool, is `database`'s. Knows no steps and no order of tools.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import AsyncGeneratorType, GeneratorType

from discover_orch.databases.sqlite_tables import find_file, listen_to
from discover_orch.databases.transactions import (
    Transaction,
    WorkLost,
    choose_transaction,
    find_inner,
    open_sqlite,
    read_url,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Protocol

    from discover_orch.databases.sqlite_tables import Tables
    from discover_orch.databases.statement_log import StatementLog
    from discover_orch.worker.observer import Observer

    class CallsUsers(Protocol):
        """Runs code of the user; no interrupt breaks into it, and what it gives is awaited."""

        def __call__(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any: ...


CONN = "conn"


class ResourceProblem(Exception):
    """A resource cannot be had; the message is a sentence for the user."""


class _Opened:
    """One open resource; `generator` is what closes it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.value: Any = None
        self.generator: Any = None


class Resources:
    """The resources of one worker. Use `open`, `begin`, the tool, `end` for each step; `close` at last."""

    def __init__(
        self,
        *,
        root: str,
        database: str,
        transaction: str,
        needs: Mapping[str, tuple[str, ...]],
        has_connection: bool,
        load_conf: Callable[[], ModuleType],
        call: CallsUsers,
        observer: Observer | None = None,
        is_interrupted: Callable[[], bool] | None = None,
    ) -> None:
        self._root = root
        self._database = database
        self._mode = transaction
        self._needs = needs
        self._has_connection = has_connection
        self._load_conf = load_conf
        self._call = call
        self._observer = observer
        self._is_interrupted = is_interrupted
        # Of the open connection, where its driver tells; the second is the same where that is not SQLite's.
        self._tables: Tables | StatementLog | None = None
        self._statements: StatementLog | None = None
        self._file = ""  # of the open connection
        self._strange: set[str] = (
            set()
        )  # resources with a connection of their own to the same database
        self._stack: list[_Opened] = []  # in the order of opening
        self._transaction: Transaction | None = None  # of the open connection
        self._is_begun = False
        self._has_kept = False  # what the step wrote may stay though it fails
        self._opened: list[str] = []  # in this step
        self.close_errors: list[tuple[str, BaseException]] = []

    def open(self, names: Iterable[str]) -> dict[str, Any]:
        """The values for these names; what is open already is used again."""
        names = tuple(names)
        transaction = self._transaction
        if transaction is not None and transaction.is_closed() and self._uses_conn(names):
            self._drop_closed_connection()
        return {name: self._value(name, ()) for name in names}

    def begin(self, names: Iterable[str]) -> None:
        """Begin the transaction of a tool that takes these."""
        if self._transaction is not None and self._uses_conn(names):
            if self._tables is not None:
                self._tables.begin()
            self._transaction.begin()
            self._is_begun = True

    def end(self, keep: bool) -> list[str]:
        """Commit or roll back what was begun; notes for the user. What it raises fails the tool."""
        if self._transaction is None or not self._is_begun:
            return []
        self._is_begun = False
        tables = self._tables
        if tables is not None:
            tables.settle()
            self._has_kept |= tables.has_committed
            self._has_kept |= tables.peek()[2] and not self._transaction.is_closed()
        self._has_kept |= self._transaction.has_kept() or tables is None
        is_uncommitted = tables is not None and tables.has_written and not tables.has_committed
        if keep and is_uncommitted and self._transaction.is_lost_by_closing():
            raise WorkLost("closed its connection before what it wrote was committed")
        has_committed = self._statements is not None and self._statements.has_committed
        notes = self._transaction.end(keep)
        if has_committed and not notes and self._mode != "none":
            return ["committed by itself"]
        return notes

    def look_early(self) -> Mapping[str, Any]:
        """What is known of tables that were read and written while resources were opened; empty where none were."""
        if self._tables is None or not self._opened:
            return {}
        read, written, is_unclear = self._tables.peek()
        if not (read or written or is_unclear):
            return {}
        return {"tables_read": read, "tables_written": written, "is_unclear": is_unclear}

    def take_opened(self) -> tuple[str, ...]:
        """The resources that were opened since the last time."""
        if not self._opened:
            return ()
        opened = tuple(self._opened)
        self._opened.clear()
        return opened

    def take_seen(self, names: Collection[str]) -> Mapping[str, Any]:
        """What is known of a step that took these: its part of a `Seen`."""
        observer = self._observer
        if not names:
            return {}
        has_kept, self._has_kept = self._has_kept, False
        used = self._find_used(names)
        if observer is not None and observer.has_stranger():
            self._strange.update(used - {CONN})
        read, written, is_unclear = (
            self._tables.take() if self._tables is not None else ((), (), False)
        )
        if CONN not in used:
            return {"is_unclear": True, "has_committed": True} if used & self._strange else {}
        is_unseen = (
            self._tables is None
            and self._transaction is not None
            and self._transaction.conn is not None
        )
        seen: dict[str, Any] = {"tables_read": read, "tables_written": written}
        if is_unclear or is_unseen or used & self._strange:
            seen["is_unclear"] = True
        if has_kept and (written or "is_unclear" in seen):
            seen["has_committed"] = True
        if observer is not None and self._file:
            seen["database"] = observer.show(self._file) or self._file
        return seen

    def close(self) -> list[tuple[str, BaseException]]:
        """Close all that is open, whatever one of them raises: (name, error) of those that did."""
        while self._stack:
            self._close_one(self._stack.pop())
        errors, self.close_errors = self.close_errors, []
        return errors

    def _uses_conn(self, names: Iterable[str]) -> bool:
        return CONN in self._find_used(names)

    def _find_used(self, names: Iterable[str]) -> set[str]:
        """These, and what they need."""
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
            raise ResourceProblem(f"resources of orchconf.py need each other: {circle}")
        if name == CONN:
            return self._open_connection()
        if name not in self._needs:
            raise ResourceProblem(f"orchconf.py has no resource {name}")
        given = {need: self._value(need, (*asking, name)) for need in self._needs[name]}
        function = getattr(self._load_conf(), name, None)
        if not callable(function):
            raise ResourceProblem(f"orchconf.py has no function {name} once it is loaded")
        self.begin(self._needs[name])  # what a resource writes while it opens is kept by itself
        try:
            value = self._open_one(name, function, given)
        except BaseException:
            self.end(keep=False)
            raise
        self.end(keep=True)
        self._has_kept |= self._tables is not None and bool(self._tables.peek()[1])
        return value

    def _open_connection(self) -> Any:
        if self._has_connection:
            value = self._open_one(CONN, self._load_conf().get_connection, {})
        else:
            opened = _Opened(CONN)
            self._stack.append(opened)
            self._opened.append(CONN)
            try:
                value = opened.value = open_sqlite(read_url(self._database, self._root))
            except BaseException:
                self._stack.remove(opened)
                raise
        self._transaction = choose_transaction(value, self._mode)
        if self._observer is not None:
            self._listen(find_inner(value), self._observer)
        return value

    def _listen(self, conn: Any, observer: Observer) -> None:
        """From here on it is known what is done to the database, as far as its driver tells."""
        self._tables, self._statements = listen_to(conn, self._is_interrupted), None
        self._file = find_file(conn)
        if self._tables is None and conn is not None:
            from discover_orch.databases.statement_log import (
                listen,  # who has SQLite's needs no parser
            )

            self._tables = self._statements = listen(conn, observer.note_files)
            self._file = self._statements.file if self._statements is not None else ""
        if self._file:
            observer.note_database(self._file)

    def _open_one(self, name: str, function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
        """Call it. It is on the stack before it is resumed: no exception may lose what it opened."""
        value = self._call(function, **given)
        opened = _Opened(name)
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
            raise ResourceProblem(f"the resource {name} ended without a yield") from None
        except BaseException:
            if not _is_waiting(opened.generator):
                self._stack.remove(opened)
            raise
        return opened.value

    def _close_one(self, opened: _Opened) -> None:
        transaction = self._transaction
        if opened.name == CONN:
            self._transaction = None
        else:
            self.begin(self._needs[opened.name])
        is_well = False
        try:
            if opened.generator is not None:
                self._resume(opened)
            elif opened.name == CONN and transaction is not None and not transaction.is_closed():
                transaction.close()
            is_well = True
        except BaseException as error:
            self.close_errors.append((opened.name, error))
        try:
            self.end(keep=is_well)
        except BaseException as error:
            self.close_errors.append((opened.name, error))

    def _resume(self, opened: _Opened) -> None:
        """Let a generator go on after its yield; it must end."""
        is_async = isinstance(opened.generator, AsyncGeneratorType)
        try:
            self._call(anext if is_async else next, opened.generator)
        except (StopIteration, StopAsyncIteration):
            return
        self._call(opened.generator.aclose if is_async else opened.generator.close)
        raise ResourceProblem(f"the resource {opened.name} yields more than once")

    def _drop_closed_connection(self) -> None:
        """Close what was made of a connection that a tool closed, and forget it."""
        place = next(i for i, one in enumerate(self._stack) if one.name == CONN)
        gone = [one for one in self._stack[place:] if self._uses_conn([one.name])]
        for one in reversed(gone):
            self._stack.remove(one)
            self._close_one(one)


def _is_waiting(generator: Any) -> bool:
    """Whether it has yielded, so that it must be resumed to be closed."""
    if isinstance(generator, AsyncGeneratorType):
        return bool(getattr(generator, "ag_suspended", generator.ag_frame is not None))
    return bool(getattr(generator, "gi_suspended", False))
