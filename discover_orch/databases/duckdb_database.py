"""DuckDB: orch begins a transaction before each tool, and commits it or rolls it back after it.

DuckDB has no savepoints, so what a tool commits by itself cannot be held back: it stays, and the run says so.
"""

from __future__ import annotations

from contextlib import suppress

import duckdb

from discover_orch.databases.database import Database
from discover_orch.databases.driver_transaction import (
    ENDED_NOTE,
    LEFT_OPEN_NOTE,
    LOST_BY_CLOSING,
    DriverTransaction,
    WritesLost,
    ask_duckdb,
    plain_method,
)
from discover_orch.databases.duckdb_calls import wrap_methods
from discover_orch.databases.duckdb_catalog import display_name, find_file
from discover_orch.databases.duckdb_tables import DuckdbLog
from discover_orch.databases.sqlite_calls import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from discover_orch.databases.database import Named, Note, Test
    from discover_orch.databases.driver_transaction import Transaction
    from discover_orch.databases.table_log import TableLog

DATABASES = "SELECT database_name FROM duckdb_databases() WHERE NOT internal"
TEMPORARY = (
    "SELECT 'TABLE', schema_name, table_name FROM duckdb_tables() WHERE temporary AND NOT internal "
    "UNION ALL "
    "SELECT 'VIEW', schema_name, view_name FROM duckdb_views() WHERE temporary AND NOT internal"
)
FAILED = (
    "continued after a failed statement, so DuckDB discards all its writes; "
    "avoid the failure, for example with INSERT OR IGNORE or IF NOT EXISTS"
)
_begin, _commit, _rollback = map(plain_method, ("begin", "commit", "rollback"))
OPEN, ABORTED, ENDED = "open", "aborted", "ended"
ENDED_RUN = "ended the transaction of the whole run"


class DuckdbTransaction(DriverTransaction):
    """On DuckDB's own connection."""

    def __init__(self, conn: Any, *, managed: bool) -> None:
        super().__init__(conn, conn)
        self._is_managed = managed
        self._is_begun = self._has_found_open = False
        self._is_kept_open = False  # with what earlier tools have written
        #: What the connection had before the tool: temporary tables and databases.
        self._before: tuple[set[tuple[str, ...]], set[tuple[str, ...]]] | None = None

    def attach(self) -> None:
        """What `get_connection()` has written stays, whatever becomes of the tools."""
        if self._is_managed:
            self._try_to_end(_commit)

    def begin(self) -> None:
        if not self._is_managed or self.is_closed():
            return
        self._has_found_open = self._try_to_end(_rollback)
        self._before = self._find(TEMPORARY), self._find(DATABASES)
        _begin(self.conn)
        self._is_begun = True

    def end(self, keep: bool) -> list[str]:
        is_begun, self._is_begun, self._is_kept_open = self._is_begun, False, False
        if not is_begun or self.is_closed():
            return [LOST_BY_CLOSING] if is_begun else []
        state = _read_state(self.conn)
        loss = FAILED if keep and state == ABORTED else ""
        notes = [LEFT_OPEN_NOTE] if self._has_found_open else []
        if state == ENDED:
            notes.append(ENDED_NOTE)
            if keep and self.add_record is not None:
                _begin(self.conn)
        try:
            if keep and not loss and self.add_record is not None:
                self.add_record()
            self._try_to_end(_commit if keep and not loss else _rollback)
        except BaseException:
            self._try_to_end(_rollback)
            raise
        if loss:
            raise WritesLost(loss)
        return notes

    def after_error(self, is_read_only: bool) -> None:
        """A statement has failed, and DuckDB has ended the transaction. Where nothing is lost, begin again, so that a
        tool may try to read what is not there."""
        with suppress(Exception):  # it must not take the place of the tool's own error
            can_begin = is_read_only and self._is_begun and not self._is_kept_open
            if can_begin and _read_state(self.conn) == ABORTED:
                _rollback(self.conn)
                _begin(self.conn)

    def begin_check(self) -> bool:
        if self._is_begun and _read_state(self.conn) == ABORTED:
            raise WritesLost(FAILED)
        return False

    def end_check(self) -> str:
        is_lost = self._is_begun and _read_state(self.conn) == ABORTED
        return (
            "a statement failed in it, so DuckDB discards all writes of the tool" if is_lost else ""
        )

    def can_keep_open(self) -> bool:
        return self._is_begun

    def keep_open(self) -> None:
        state = _read_state(self.conn)
        if state != OPEN:
            raise WritesLost(FAILED if state == ABORTED else ENDED_RUN)
        self.restore_connection()
        self._is_kept_open = True

    def has_uncommitted_writes(self) -> bool | None:
        return None if self._is_begun else False

    def may_have_kept_writes(self) -> bool:
        if not self._is_managed:
            return True
        return self._is_begun and not self.is_closed() and _read_state(self.conn) == ENDED

    def is_closed(self) -> bool:
        try:
            self.conn.extract_statements("")  # runs nothing and keeps the current result
        except Exception as error:
            return "closed" in str(error)
        return False

    def restore_connection(self, *, may_be_set: bool = True) -> None:
        if self._before is None or self.is_closed():
            return
        temporary, databases = self._before
        for kind, schema, name in self._find(TEMPORARY) - temporary:
            with suppress(duckdb.Error):  # it went with another one
                ask_duckdb(
                    self.conn, f"DROP {kind} IF EXISTS temp.{quote(schema)}.{quote(name)} CASCADE"
                )
        for (name,) in self._find(DATABASES) - databases:
            with suppress(duckdb.Error):  # it is the current one, or in use
                ask_duckdb(self.conn, f"DETACH {quote(name)}")
        if not self._is_begun and len(databases) > 1:
            for (name,) in databases:
                with suppress(duckdb.Error):  # the file is then as the tool has left it
                    ask_duckdb(self.conn, f"CHECKPOINT {quote(name)}")
        if not self._is_begun:
            self._before = None

    def _find(self, query: str) -> set[tuple[str, ...]]:
        return {*ask_duckdb(self.conn, query)}

    def _try_to_end(self, end: Any) -> bool:
        """Whether there was a transaction, which `end` has ended."""
        try:
            end(self.conn)
        except duckdb.Error as error:
            if "no transaction is active" in str(error):
                return False
            raise
        return True


def _read_state(conn: Any) -> str:
    """Of a transaction. Without one, each statement has a number of its own. After an error COMMIT would be a ROLLBACK
    without saying so."""
    try:
        first, second = (ask_duckdb(conn, "SELECT txid_current()") for _ in range(2))
    except duckdb.Error as error:
        return ABORTED if "aborted" in str(error) else ENDED
    return OPEN if first == second else ENDED


_TABLES = (
    "SELECT 'TABLE', database_name, schema_name, table_name FROM duckdb_tables() WHERE NOT internal UNION ALL "
    "SELECT 'VIEW', database_name, schema_name, view_name FROM duckdb_views() WHERE NOT internal"
)
_USERS = (
    "SELECT database_name, schema_name, table_name FROM duckdb_constraints() WHERE constraint_type = 'FOREIGN KEY' "
    "AND referenced_table = ? AND table_name <> referenced_table"
)


class DuckdbDatabase(Database):
    is_known = True

    def open_transaction(self, mode: str) -> Transaction:
        if self.outer is not self.conn:
            return super().open_transaction(mode)
        return DuckdbTransaction(self.conn, managed=mode != "none")

    def open_log(self, note_attach: Note, is_interrupted: Test = None) -> TableLog | None:
        wrap_methods()
        return DuckdbLog(self.conn, note_attach)

    def locks_out_others(self) -> bool:
        try:
            return bool(find_file(self.conn))
        except duckdb.Error as error:
            return "closed" not in str(error)

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return ask_duckdb(self.conn, sql, values)

    def change(self, sql: str, *values: object) -> int:
        [(count,)] = self.ask(sql, *values)
        return int(count)

    def is_idle(self) -> bool:
        return _read_state(self.conn) == ENDED

    def can_join(self) -> bool:
        """A transaction can write to one database alone, which may be an attached one."""
        [(count,)] = self.ask("SELECT count(*) FROM duckdb_databases() WHERE NOT internal")
        return bool(count == 1)

    def find_place(self) -> tuple[str, ...]:
        [names] = self.ask("SELECT current_database(), current_schema()")
        return names

    def has_table(self, place: tuple[str, ...], name: str) -> bool:
        query = "SELECT 1 FROM duckdb_tables() WHERE database_name = ? AND schema_name = ? AND table_name = ?"
        return bool(self.ask(query, *place, name))

    def read_settings(self) -> dict[str, Any]:
        return dict(self.ask("SELECT name, value FROM duckdb_settings()"))

    def set(self, name: str, value: Any) -> None:
        shown = str(value or "").replace("'", "''")
        self.ask(f"SET {name} = '{shown}'")

    def find_type(self, table: str, column: str) -> str | None:
        query = f"SELECT column_type FROM (DESCRIBE {table}) WHERE lower(column_name) = lower(?)"
        return next((type for (type,) in self.ask(query, column)), None)

    def hash_rows(self, table: str, source: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        columns = self.ask(f"SELECT column_name FROM (DESCRIBE {table})")
        row = ", ".join(f"t.{quote(column)}" for (column,) in columns)
        query = f"SELECT v.n, count(*), sum(hash({row})::HUGEINT) {source} GROUP BY v.n"
        return self.ask(query, *values)

    def find_removable(self) -> Named:
        rows = self.ask(_TABLES)
        return {self._show(parts): (kind, ".".join(map(quote, parts))) for kind, *parts in rows}

    def find_users(self, name: str, quoted: str) -> Iterable[str]:
        return [self._show(row) for row in self.ask(_USERS, name.rpartition(".")[2])]

    def _show(self, names: Iterable[str]) -> str:
        [(here,)] = self.ask("SELECT current_database()")
        database, schema, name = (part.lower() for part in names)
        return display_name((database, schema, name), (here.lower(), "main"))
