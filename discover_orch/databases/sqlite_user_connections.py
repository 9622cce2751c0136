"""The connections of `sqlite3` that code of the user opens itself.

`install_connect` makes each of them one that orch can adopt. On those to the project's database SQLite reports which
tables are used, as it does on `conn`: what they commit is final, and orch ends nothing. On all others only ATTACH is
noted, since other files count as files.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from contextlib import closing, suppress
from weakref import ref

from discover_orch.databases.sqlite_calls import (
    Catalog,
    OrdinaryConnection,
    quote_path,
    read_catalog,
)
from discover_orch.databases.sqlite_connection import Connection, adopt
from discover_orch.databases.sqlite_statements import StatementNotes
from discover_orch.databases.sqlite_tables import (
    clear_not_found,
    find_tables,
    listen_to_errors,
)
from discover_orch.databases.table_log import TableLog
from discover_orch.model.database_url import read_sqlite_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

connect_plainly = sqlite3.connect
_FACTORY = 5  # its place among the arguments of `sqlite3.connect`
_own: OwnConnections | None = None


@functools.wraps(connect_plainly)
def connect(*args: Any, **named: Any) -> sqlite3.Connection:
    """`sqlite3.connect`, for connections that orch can adopt. They are ordinary until then."""
    if len(args) <= _FACTORY and named.get("factory", sqlite3.Connection) is sqlite3.Connection:
        named["factory"] = OrdinaryConnection
    own = _own
    is_heard = own is not None and own.includes(args[0] if args else named.get("database"))
    if own is not None and is_heard:
        own.begin()
    made: sqlite3.Connection = connect_plainly(*args, **named)
    if own is not None and is_heard:
        own.add(made)
    elif own is not None and isinstance(made, OrdinaryConnection):
        made.set_listener(own.authorize_attach)
    return made


CONNECT_CODE = connect.__code__  # type: ignore[attr-defined]


def install_connect() -> None:
    """Have `sqlite3.connect`, `sqlite3.Connection` and the user's classes below it make connections that orch can
    adopt."""
    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[assignment]
    sqlite3.Connection = sqlite3.dbapi2.Connection = OrdinaryConnection  # type: ignore[misc]


class OwnConnections(TableLog):
    """The log of all of them; the latest log hears of new ones.

    `note_attach` is called before one attaches a file, with its name as it is written, or None where it is a value.
    """

    def __init__(self, note_attach: Callable[[str | None], None]) -> None:
        global _own
        super().__init__()
        self._note_attach = note_attach
        #: Whether an interrupt was raised in the tool.
        self.is_interrupted: Callable[[], bool] | None = None
        self._path = ""  # the real path of the project's database
        self._heard: list[tuple[ref[Connection], StatementNotes]] = []
        #: What was there before the first use in a step; None where that is not known.
        self._before: Catalog | None = None
        self._is_used = False  # in this step
        listen_to_errors()
        _own = self

    def set_database(self, path: str) -> None:
        self._path = path

    def includes(self, name: Any) -> bool:
        """Whether this is the name of the project's database, as `sqlite3.connect` takes it."""
        try:
            path = self._path and read_sqlite_name(os.fsdecode(name))
            return bool(path) and os.path.realpath(path) == self._path
        except (TypeError, OSError):
            return False

    def authorize_attach(self, action: int, name: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_ATTACH:
            self._note_attach(name)
        return sqlite3.SQLITE_OK

    def begin(self) -> None:
        """A connection is about to be opened."""
        if not self._heard:
            self._before = self._read_catalog()

    def add(self, conn: sqlite3.Connection) -> None:
        adopted = adopt(conn)
        if adopted is None:
            self._found.is_unclear = True
        else:
            self._hear(adopted)

    def forget(self, conn: Any) -> None:
        """It is `conn`, which has a log of its own."""
        self._heard = [(one, notes) for one, notes in self._heard if one() is not conn]

    def _hear(self, conn: Connection) -> None:
        notes = StatementNotes()
        notes.on_attach, notes.tables_of_caller = self._note_attach, self.tables_of_caller
        try:
            conn.set_listener(notes.authorize)  # statements in its cache are prepared again
            conn.statements, conn.is_interrupted = notes, self.is_interrupted
        except sqlite3.Error:  # it is closed, or of another thread
            if conn.is_closed:
                return
            self._found.is_unclear = True
        self._heard.append((ref(conn), notes))

    def begin_step(self) -> None:
        self.has_committed = self.has_written = self._is_used = False
        clear_not_found()
        kept = [conn for one, _ in self._heard if (conn := one()) is not None]
        self._heard.clear()
        if kept:
            self._before = self._read_catalog()
            for conn in kept:
                self._hear(conn)

    @property
    def has_connections(self) -> bool:
        """Whether one was open in this step."""
        return bool(self._heard)

    @property
    def is_used(self) -> bool:
        """Whether a statement has been sent in this step."""
        return self._is_used or not all(notes.is_silent for _, notes in self._heard)

    def roll_back(self) -> None:
        """Undo what the tool has not committed. Before `resolve`."""
        for one, _ in self._heard:
            conn = one()
            if conn is not None:
                with suppress(sqlite3.Error):  # it is closed, or of another thread
                    conn.rollback()

    def resolve(self) -> None:
        used = [notes for _, notes in self._heard if not notes.is_silent]
        if used:
            self._ask(lambda conn: self._resolve(used, conn))
            self._before = self._read_catalog()
            for notes in used:
                notes.clear()
            self._is_used = True
        self.has_committed = self.has_written

    def _resolve(self, used: list[StatementNotes], conn: sqlite3.Connection | None) -> None:
        for notes in used:
            notes.finish()
            found = find_tables(notes, self._before, conn)
            self.has_written |= bool(found.written)
            self._found.add(found)

    def _read_catalog(self) -> Catalog | None:
        return self._ask(_read_catalog) if os.path.exists(self._path) else Catalog()

    def _ask(self, question: Callable[[sqlite3.Connection | None], Any]) -> Any:
        """The answer of the file, on a connection of its own: those of the tool may be closed, or in a transaction."""
        try:
            name = f"file:{quote_path(self._path)}?mode=ro"
            with closing(connect_plainly(name, uri=True, timeout=0)) as conn:
                return question(conn)
        except sqlite3.Error:  # it is not there, or locked
            return question(None)


def _read_catalog(conn: sqlite3.Connection | None) -> Catalog | None:
    """None where nothing can be asked."""
    return None if conn is None else read_catalog(conn)
