"""What orch asks of a driver's connection, past what observes the statements of tools: a class for each kind of
database, in a module of its own. This one is of all drivers that orch does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress

from discover_orch.databases.driver_transaction import (
    DriverTransaction,
    Transaction,
    read_attribute,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from discover_orch.databases.table_log import TableLog

#: By the names as they are shown: what DROP calls each table or view, and its name in SQL.
Named = Mapping[str, tuple[str, str]]
Note = Callable[[str | None], None]
Test = Callable[[], bool] | None


class Database:
    """On the driver's connection `conn`. `outer` is that of a library such as SQLAlchemy on top of it, or the same.
    Questions raise what the driver raises."""

    is_known = False  # more of it than PEP 249
    has_lock = False  # a file has none: the lock of `.orch` does
    needs_savepoint = False  # an error ends the transaction, but for what a savepoint keeps
    begin = "BEGIN"

    def __init__(self, conn: Any, outer: Any = None) -> None:
        self.conn, self.outer = conn, conn if outer is None else outer

    # What a tool does.

    @property
    def file(self) -> str:
        """The absolute path; "" where there is none, or where the log says it."""
        return ""

    def open_transaction(self, mode: str) -> Transaction:
        """Around each tool; `mode` is "tool", "run" or "none"."""
        is_plain = self.conn is None or mode == "none"
        return Transaction(self.outer) if is_plain else DriverTransaction(self.outer, self.conn)

    def open_log(self, note_attach: Note, is_interrupted: Test = None) -> TableLog | None:
        """The tables that its statements use; None where they cannot be observed."""
        return None

    def cancel(self) -> None:
        """Ends the statement that runs in another thread, where the driver can."""
        # sqlite3 and DuckDB, psycopg 3.2, psycopg before
        for name in ("interrupt", "cancel_safe", "cancel"):
            cancel: Any = read_attribute(self.conn, name, None)
            if cancel is not None:
                with suppress(Exception):  # it runs none, or is closed
                    cancel()
                return

    def locks_out_others(self) -> bool:
        """Whether no other process can open the database as long as this connection is open."""
        return False

    # What orch asks.

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows."""
        raise NotImplementedError

    def change(self, sql: str, *values: object) -> int:
        """How many rows were written."""
        raise NotImplementedError

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One of orch's own."""
        self.ask(self.begin)
        try:
            yield
            self.ask("COMMIT")
        except BaseException:
            self.ask("ROLLBACK")
            raise

    def is_idle(self) -> bool:
        """Whether no transaction is open."""
        raise NotImplementedError

    def can_join(self) -> bool:
        """Whether the transaction of a tool can write to a table of orch's, too."""
        return True

    def find_place(self) -> tuple[str, ...]:
        """The schema of orch's own table, and the database where a connection knows several."""
        raise NotImplementedError

    def has_table(self, place: tuple[str, ...], name: str) -> bool:
        raise NotImplementedError

    def lock(self, project: str, name: str, *, waits: bool) -> str:
        """Holds the lock of the project as long as this connection is open; who holds it, if that is another run.
        `name` tells others who has it."""
        raise NotImplementedError

    def find_holder(self, project: str) -> str:
        """Who holds it; "" where it is free, or there is none."""
        return ""

    # The settings of the connection.

    def read_settings(self) -> Any:
        return {}

    def restore_settings(self, known: Any, *, may_be_set: bool) -> None:
        """`may_be_set`: a statement of the tool may have set something."""
        for name, value in self.read_settings().items() if may_be_set else ():
            if name in known and known[name] != value:
                with suppress(Exception):  # one that follows from another
                    self.set(name, known[name])

    def set(self, name: str, value: Any) -> None:
        raise NotImplementedError

    # The rows of one item.

    def find_type(self, table: str, column: str) -> str | None:
        """The type of the column of the table, which SQL calls `table`: what a text is cast to that is compared with
        it, "" for nothing; None where there is no such column."""
        raise NotImplementedError

    def hash_rows(self, table: str, source: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        """From this part of a query, which calls the table `t`: each `v.n` that there is, with what stands for its
        rows in any order."""
        raise NotImplementedError

    # What `orch run --rebuild` removes.

    def find_removable(self) -> Named:
        """The tables and views."""
        raise NotImplementedError

    def find_users(self, name: str, quoted: str) -> Iterable[str]:
        """What depends on this table, by the names as they are shown."""
        raise NotImplementedError

    def remove(self, sql: str) -> object:
        """A statement in the transaction of the tool, which it begins if need be."""
        return self.ask(sql)
