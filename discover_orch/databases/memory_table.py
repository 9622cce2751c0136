"""The table `orch_memory`: the record of each tool's last success, beside the data that the success has written.

The transaction of a tool adds it, so that work and record are there together, or neither is. What is remembered of the
tool is a document, which follows when the run ends (`store`). A run that was killed is asked about later; before its
work is done again, each attempt without a record is made void (`make_void`), which refuses the commit of a worker that
is still alive.
"""

from __future__ import annotations

import sqlite3
import time
import zlib

import msgspec

from discover_orch.databases.driver_transaction import ask_duckdb, ask_postgres, find_kind
from discover_orch.databases.sqlite_calls import is_really_open, quote
from discover_orch.model.success_record import AlreadyCommitted, NotOwnTable, SuccessRecord
from discover_orch.model.table_keys import OWN_TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from discover_orch.model.success_record import Attempt

COLUMNS = (
    "project TEXT NOT NULL, tool TEXT NOT NULL, item TEXT NOT NULL, success TEXT NOT NULL, run BIGINT NOT NULL, "
    "committed_at TEXT NOT NULL, tables TEXT NOT NULL, document TEXT NOT NULL, void TEXT NOT NULL, "
    "PRIMARY KEY (project, tool, item)"
)
NAMES = ", ".join(column.partition(" ")[0] for column in COLUMNS.split(", ")[:9])
#: A longer document is not read.
LONGEST_DOCUMENT = 16 << 20
#: That one statement gets their documents.
_RECORDS = 100
_TWICE = (
    "attempt {0.number} of {0.tool} in run {0.run} is already committed, according to the table "
    f"{OWN_TABLE}, and is not committed twice"
)
_VOID = "another run has found attempt {0.number} of {0.tool} in run {0.run} killed, so it cannot be committed now"
#: No run has a number as high as this.
NO_RUN = 1 << 31
#: Of advisory locks in PostgreSQL, the first of the two numbers: this is orch.
LOCK_CLASS = zlib.crc32(b"discover_orch") >> 1
HOLDER = (
    "SELECT application_name, to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS'), pg_stat_activity.pid FROM pg_locks "
    "LEFT JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted AND database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = ? AND objid = ?"
)


class CannotKeep(Exception):
    """The table cannot be made or written; the message is the reason of the database."""


class MemoryTable:
    """The table on one connection."""

    def __init__(self, conn: Any, schema: str = "") -> None:
        self._conn = conn
        self._table = f"{schema}.{OWN_TABLE}" if schema else OWN_TABLE
        self._is_known = False

    # Looking.

    def read(self, project: str, known: Mapping[str, str]) -> tuple[SuccessRecord, ...]:
        """The records of the project; with their documents where another success is known, or none. Makes no table."""
        if not self._is_there():
            return ()
        rows = self._run(
            f"SELECT tool, success, run, tables, length(document) FROM {self._table} "
            "WHERE project = ? AND item = '' AND success <> ''",
            project,
        )
        found = []
        for tool, success, run, tables, length in rows:
            if not 0 <= int(run) < NO_RUN or "/" in tool or "\0" in tool:
                continue  # orch has not written this row: the name becomes that of a file
            is_wanted = known.get(tool) != success and 0 < int(length) <= LONGEST_DOCUMENT
            document = ""
            if is_wanted:
                [(document,)] = self._run(
                    f"SELECT document FROM {self._table} WHERE project = ? AND tool = ? AND item = ''",
                    project,
                    tool,
                )
            found.append(
                SuccessRecord(
                    tool=tool,
                    success=success,
                    run=int(run),
                    document=document,
                    has_document=int(length) > 0,
                    tables=_decode(tables),
                )
            )
        return tuple(found)

    def check(self, attempt: Attempt, *, may_come_twice: bool) -> None:
        """Before the attempt. Raises NotOwnTable, and AlreadyCommitted if it has a record. Makes no table."""
        if self._is_there() and may_come_twice and self._find(attempt)[0] == attempt.name:
            raise AlreadyCommitted(_TWICE.format(attempt))

    # Writing.

    def add(self, attempt: Attempt) -> None:
        """Within the transaction that is about to be committed. Raises NotOwnTable, CannotKeep, after which the
        transaction can go on, and AlreadyCommitted if the attempt has a record or is void."""
        self._make()
        tables = "" if attempt.tables is None else msgspec.json.encode(attempt.tables).decode()
        if not self._upsert(attempt.project, attempt.tool, attempt.name, attempt.run, tables):
            is_twice = self._find(attempt)[0] == attempt.name
            raise AlreadyCommitted((_TWICE if is_twice else _VOID).format(attempt))

    def make_void(self, attempt: Attempt) -> None:
        """From now on the attempt cannot be committed, unless it is already. Commits."""

        def write() -> None:
            self._make()
            self._run(
                f"INSERT INTO {self._table} VALUES (?, ?, '', '', 0, '', '', '', ?) "
                "ON CONFLICT (project, tool, item) DO UPDATE SET void = excluded.void",
                attempt.project,
                attempt.tool,
                attempt.name,
            )

        self._commit(write)

    def store(self, project: str, records: Iterable[SuccessRecord]) -> None:
        """The documents of these successes, where the database still has these. Commits."""

        def write() -> None:
            self._make()
            waiting = [*records]
            for one in waiting:
                if one.former:
                    self._run(
                        f"DELETE FROM {self._table} WHERE project = ? AND tool = ? AND success = ?",
                        *(project, one.former, one.success),
                    )
                    self._upsert(project, one.tool, one.success, one.run, "")
            while waiting:
                part, waiting = waiting[:_RECORDS], waiting[_RECORDS:]
                given = ", ".join(["(?, ?, ?)"] * len(part))
                self._run(
                    f"WITH given (tool, success, document) AS (VALUES {given}) UPDATE {self._table} SET document = "
                    f"(SELECT document FROM given WHERE tool = {OWN_TABLE}.tool) WHERE project = ? AND item = '' "
                    "AND (tool, success) IN (SELECT tool, success FROM given)",
                    *(text for one in part for text in (one.tool, one.success, one.document)),
                    project,
                )

        self._commit(write)

    def is_idle(self) -> bool:
        """Whether no transaction is open."""
        raise NotImplementedError

    def can_join(self) -> bool:
        """Whether the transaction of a tool can add its record."""
        return True

    has_lock = False  # a file has none: the lock of `.orch` does

    def lock(self, project: str, name: str, *, waits: bool) -> str:
        """Holds the lock of the project as long as this connection is open; who holds it, if that is another run."""
        raise NotImplementedError

    def find_holder(self, project: str) -> str:
        """Who holds it; "" where nobody does, or there is none."""
        return ""

    def _upsert(self, project: str, tool: str, success: str, run: int, tables: str) -> bool:
        """Whether it was done: the condition refuses an attempt that is void, or was committed before."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        changed = self._change(
            f"INSERT INTO {self._table} VALUES (?, ?, '', ?, ?, ?, ?, '', '') "
            "ON CONFLICT (project, tool, item) DO UPDATE SET success = excluded.success, run = excluded.run, "
            "committed_at = excluded.committed_at, tables = excluded.tables, document = '' "
            f"WHERE {OWN_TABLE}.void <> excluded.success AND {OWN_TABLE}.success <> excluded.success",
            *(project, tool, success, run, now, tables),
        )
        return changed > 0

    def _find(self, attempt: Attempt) -> tuple[str, str]:
        """The success and the void attempt that the database has of the tool."""
        rows = self._run(
            f"SELECT success, void FROM {self._table} WHERE project = ? AND tool = ? AND item = ''",
            attempt.project,
            attempt.tool,
        )
        return (rows[0][0], rows[0][1]) if rows else ("", "")

    def _make(self) -> None:
        """Makes the table if it is missing, within the present transaction."""
        if not self._is_known and not self._is_there():
            self._create(f"CREATE TABLE IF NOT EXISTS {self._table} ({COLUMNS})")
        self._is_known = True

    def _create(self, statement: str) -> None:
        try:
            self._run(statement)
        except Exception as error:
            raise CannotKeep(str(error).strip().partition("\n")[0]) from None

    def _is_there(self) -> bool:
        """Whether there is a table of this name. Raises NotOwnTable if it is another one."""
        if not self._is_known and self._has_table():
            try:
                self._probe(f"SELECT {NAMES} FROM {self._table} WHERE 1 = 0")
            except Exception:
                raise NotOwnTable(
                    f"the table {OWN_TABLE} of the database is not the one in which orch keeps its memory: rename it, "
                    'or set memory = "local" to keep the memory in .orch alone'
                ) from None
            self._is_known = True
        return self._is_known

    def _has_table(self) -> bool:
        raise NotImplementedError

    def _probe(self, query: str) -> None:
        self._run(query)

    def _commit(self, write: Callable[[], None]) -> None:
        """Runs `write` in a transaction of its own."""
        raise NotImplementedError

    def _run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """On the real connection, unseen by what observes the tool."""
        raise NotImplementedError

    def _change(self, sql: str, *values: object) -> int:
        """How many rows were written."""
        raise NotImplementedError


def _decode(tables: object) -> tuple[str, ...] | None:
    try:
        return msgspec.json.decode(str(tables), type=tuple[str, ...])
    except msgspec.DecodeError:
        return None


class SqliteMemory(MemoryTable):
    def is_idle(self) -> bool:
        return not is_really_open(self._conn)

    def _has_table(self) -> bool:
        schema = self._table.rpartition(".")[0]
        query = f"SELECT 1 FROM {schema}.sqlite_master WHERE name = ?"
        return bool(self._run(query, OWN_TABLE))

    def _commit(self, write: Callable[[], None]) -> None:
        self._run("BEGIN IMMEDIATE")
        try:
            write()
            self._run("COMMIT")
        except BaseException:
            self._run("ROLLBACK")
            raise

    def _run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._execute(sql, values).fetchall()
        return rows

    def _change(self, sql: str, *values: object) -> int:
        return self._execute(sql, values).rowcount

    def _execute(self, sql: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        cursor = sqlite3.Connection.cursor(self._conn)
        cursor.row_factory = None
        return sqlite3.Cursor.execute(cursor, sql, values)


class DuckdbMemory(MemoryTable):
    def can_join(self) -> bool:
        """A transaction can write to one database alone, which may be an attached one."""
        [(count,)] = self._run("SELECT count(*) FROM duckdb_databases() WHERE NOT internal")
        return bool(count == 1)

    def is_idle(self) -> bool:
        first, second = (self._run("SELECT txid_current()") for _ in range(2))
        return first != second  # without a transaction each statement has a number of its own

    def _has_table(self) -> bool:
        database, schema, _ = self._table.split(".")
        query = "SELECT 1 FROM duckdb_tables() WHERE table_name = ? AND database_name = ? AND schema_name = ?"
        return bool(self._run(query, OWN_TABLE, database.strip('"'), schema.strip('"')))

    def _commit(self, write: Callable[[], None]) -> None:
        self._run("BEGIN")
        try:
            write()
            self._run("COMMIT")
        except BaseException:
            self._run("ROLLBACK")
            raise

    def _run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return ask_duckdb(self._conn, sql, values)

    def _change(self, sql: str, *values: object) -> int:
        [(count,)] = self._run(sql, *values)
        return int(count)


class PsycopgMemory(MemoryTable):
    """Uses libpq below psycopg, so that neither transactions nor listeners are concerned."""

    has_lock = True

    def is_idle(self) -> bool:
        return bool(self._conn.info.transaction_status == 0)

    def lock(self, project: str, name: str, *, waits: bool) -> str:
        number = zlib.crc32(project.encode()) >> 1
        self._run("SELECT set_config('application_name', ?, false)", name[:63])
        if waits:
            self._run("SELECT pg_advisory_lock(?, ?)", LOCK_CLASS, number)
            return ""
        if self._run("SELECT pg_try_advisory_lock(?, ?)", LOCK_CLASS, number) == [("t",)]:
            return ""
        return self.find_holder(project) or "another run"

    def find_holder(self, project: str) -> str:
        number = zlib.crc32(project.encode()) >> 1
        for holder, since, process in self._run(HOLDER, LOCK_CLASS, number):
            return f"{holder or f'process {process} of the server'}, since {since}"
        return ""

    def _has_table(self) -> bool:
        return self._run("SELECT to_regclass(?)", self._table) != [(None,)]

    def add(self, attempt: Attempt) -> None:
        """The first time, another worker may make the table meanwhile, or the role may not write to it."""
        if self._is_known:
            super().add(attempt)
            return
        for is_last in (False, True):
            ask_postgres(self._conn, b"SAVEPOINT orch_memory")
            try:
                super().add(attempt)
                return
            except (AlreadyCommitted, NotOwnTable):
                raise
            except Exception as error:
                ask_postgres(self._conn, b"ROLLBACK TO orch_memory")
                self._is_known = False
                if is_last:
                    raise CannotKeep(str(error).strip().partition("\n")[0]) from None

    def _commit(self, write: Callable[[], None]) -> None:
        if not self.is_idle():
            self._run("COMMIT")  # what get_connection() has begun stays
        self._run("BEGIN")
        try:
            write()
            self._run("COMMIT")
        except BaseException:
            self._run("ROLLBACK")
            raise

    def _run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        result = self._execute(sql, values)
        rows, columns = range(result.ntuples), range(result.nfields)
        cells = [[result.get_value(row, column) for column in columns] for row in rows]
        return [tuple(cell and cell.decode() for cell in row) for row in cells]

    def _change(self, sql: str, *values: object) -> int:
        return int(self._execute(sql, values).command_tuples or 0)

    def _execute(self, sql: str, values: tuple[object, ...]) -> Any:
        import psycopg

        for number in range(len(values)):
            sql = sql.replace("?", f"${number + 1}", 1)
        texts = [None if one is None else str(one).encode() for one in values]
        with self._conn.lock:
            result = self._conn.pgconn.exec_params(sql.encode(), texts)
        if result.status not in (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK):
            raise psycopg.errors.error_from_result(result)
        return result


def find_memory_table(driver: Any) -> MemoryTable | None:
    """That of a driver's connection; None where orch knows no more of it than PEP 249."""
    kind = find_kind(driver)
    if kind == "sqlite3":
        return SqliteMemory(driver, "main")
    if not kind:
        return None
    table = PsycopgMemory if kind == "psycopg" else DuckdbMemory
    [names] = table(driver)._run("SELECT current_database(), current_schema()")
    # A connection to PostgreSQL knows one database, and may have no schema.
    given = names[1:] if kind == "psycopg" else names
    return table(driver, ".".join(quote(one) for one in given if one))
