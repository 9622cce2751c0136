"""psycopg 3: which of its methods run statements, and what is in a PostgreSQL database.

The catalog is read behind a savepoint, so that a query that fails does not break the tool's transaction.
Imports nothing of psycopg: a process that has one of its connections has loaded it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

from discover_orch.databases.catalog import Catalog
from discover_orch.databases.effect import BLANK
from discover_orch.databases.statement_log import StatementLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from discover_orch.databases.catalog import Table


class PsycopgLog(StatementLog):
    dialect = "postgres"

    @classmethod
    def wrap_methods(cls) -> None:
        psycopg = sys.modules["psycopg"]

        for owner in (psycopg.Cursor, psycopg.ServerCursor, psycopg.ClientCursor):
            for name in ("execute", "executemany", "stream", "copy"):
                cls.wrap(owner, name, _on_query, is_statement=name == "execute")
        cls.wrap(psycopg.Connection, "commit", lambda log, conn: log.on_commit(conn))
        cls.wrap(psycopg.Connection, "rollback", lambda log, *_: log.on_statement("ROLLBACK"))
        cls.wrap(psycopg.Transaction, "__exit__", _on_transaction_end, after=True)
        psycopg.BaseConnection.pgconn = property(cls._find_pgconn, _set_pgconn)

    @classmethod
    def _find_pgconn(cls, conn: Any) -> Any:
        """The connection of libpq. What is done with it past psycopg is not known."""
        log = cls.latest
        if log is not None and conn is log.conn:
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if not caller.startswith(_CALLERS):
                log.on_unknown()
        try:
            return vars(conn)["pgconn"]
        except KeyError:
            raise AttributeError("pgconn") from None

    @classmethod
    def read_catalog(cls, conn: Any) -> Catalog:
        psycopg = sys.modules["psycopg"]
        status = psycopg.pq.TransactionStatus
        if conn.info.transaction_status not in (status.IDLE, status.INTRANS):
            raise LookupError("the transaction has failed")
        latest, cls.latest = cls.latest, None  # this query is orch's own
        try:
            # In a savepoint: if the query fails, the tool's own transaction continues.
            with conn.transaction():
                cursor = psycopg.Cursor(conn, row_factory=psycopg.rows.tuple_row)
                cursor.adapters.register_loader("text", psycopg.types.string.TextLoader)
                rows = cursor.execute(POSTGRES, prepare=False).fetchall()
        finally:
            cls.latest = latest
        # Texts of an SQL_ASCII database are bytes.
        return _read_postgres(
            tuple(one.decode() if isinstance(one, bytes) else one for one in row) for row in rows
        )


#: Modules that use the connection of libpq for what orch sees.
_CALLERS = ("psycopg", "discover_orch.", "sqlalchemy.")


def _set_pgconn(conn: Any, pgconn: Any) -> None:
    vars(conn)["pgconn"] = pgconn


def _on_query(
    log: StatementLog, cursor: Any, query: Any, params: Any = None, *_: Any, **__: Any
) -> None:
    query = read_text(cursor, query)
    conn = cursor.connection
    if conn is not log.conn:
        log.uses_other_connection = True
        if not _is_same_database(conn, log.conn):
            log.on_unknown()
    log.on_statement(query if params is None else _fill_in(query, params))


def _on_transaction_end(
    log: StatementLog, transaction: Any, kind: Any = None, *_: Any, **__: Any
) -> None:
    idle = sys.modules["psycopg"].pq.TransactionStatus.IDLE
    if kind is not None:
        log.on_statement("ROLLBACK")
    elif transaction.connection.info.transaction_status == idle:
        log.on_commit(transaction.connection)


def read_text(cursor: Any, query: Any) -> str:
    if isinstance(query, str):
        return query
    if isinstance(query, bytes):
        return query.decode(errors="replace")
    as_string = getattr(query, "as_string", None)
    return as_string(cursor) if as_string is not None else ""


_PLACEHOLDER = re.compile(r"%(?:%|(?:\(([^)]*)\))?[sbt])")
_LISTS_OF_TABLES = ("pg_class", "pg_tables", "pg_views", "information_schema")


def _fill_in(query: str, params: Any) -> str:
    """The query without its values, but with the names of tables that it asks the list of tables for."""
    names = iter(()) if isinstance(params, Mapping) else iter(params)
    has_names = any(one in query for one in _LISTS_OF_TABLES)

    def fill(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        value = (
            params.get(found[1]) if found[1] and isinstance(params, Mapping) else next(names, None)
        )
        is_name = has_names and isinstance(value, str) and not {"'", "\\"} & {*value}
        return f"'{value if is_name else BLANK}'"

    return _PLACEHOLDER.sub(fill, query)


def _is_same_database(one: Any, other: Any) -> bool:
    """Whether names mean the same on both connections, unless one has changed its search path."""
    return all(
        getattr(one.info, name) == getattr(other.info, name)
        for name in ("host", "port", "dbname", "user", "options")
    )


#: Rows of (kind, schema, name, other schema, other name). Most kinds are named after fields of `Catalog`. A
#: "partition" and a "view" are read and written with the other table; a "routine" is a function that may read
#: or write tables and belongs to no extension.
POSTGRES = """
WITH mine AS (
    SELECT c.oid, n.nspname::text AS place, c.relname::text AS name, c.relkind, c.relpersistence
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
),
own AS (
    SELECT p.oid, p.proname::text AS name
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND (p.provolatile <> 'i' OR p.prokind = 'a')
      AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
      )
),
calling AS (
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN own ON own.oid = d.refobjid
    WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass
)
SELECT CASE relpersistence WHEN 't' THEN 'temporary' ELSE 'table' END, place, name, '', '' FROM mine
UNION ALL
SELECT DISTINCT CASE v.relkind WHEN 'v' THEN 'view' ELSE 'read_with' END, v.place, v.name, t.place, t.name
    FROM mine v
    JOIN pg_catalog.pg_rewrite r ON r.ev_class = v.oid AND r.ev_type = '1'
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_catalog.pg_class'::regclass
    JOIN mine t ON t.oid = d.refobjid AND t.oid <> v.oid
UNION ALL
SELECT 'partition', p.place, p.name, c.place, c.name
    FROM pg_catalog.pg_inherits i JOIN mine p ON p.oid = i.inhparent JOIN mine c ON c.oid = i.inhrelid
UNION ALL
SELECT CASE WHEN k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd')
    THEN 'written_with' ELSE 'truncated_with' END, p.place, p.name, c.place, c.name
    FROM pg_catalog.pg_constraint k JOIN mine p ON p.oid = k.confrelid JOIN mine c ON c.oid = k.conrelid
    WHERE k.contype = 'f'
UNION ALL
SELECT 'active', place, name, '', '' FROM mine WHERE oid IN (
    SELECT tgrelid FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'
    UNION ALL
    SELECT ev_class FROM pg_catalog.pg_rewrite WHERE ev_type <> '1'
    UNION ALL
    SELECT a.adrelid FROM pg_catalog.pg_attrdef a
        JOIN calling ON calling.classid = 'pg_catalog.pg_attrdef'::regclass AND calling.objid = a.oid
    UNION ALL
    SELECT k.conrelid FROM pg_catalog.pg_constraint k
        JOIN calling ON calling.classid = 'pg_catalog.pg_constraint'::regclass AND calling.objid = k.oid
)
UNION ALL
SELECT 'opaque', m.place, m.name, '', ''
    FROM mine m JOIN pg_catalog.pg_rewrite r ON r.ev_class = m.oid AND r.ev_type = '1'
    JOIN calling ON calling.classid = 'pg_catalog.pg_rewrite'::regclass AND calling.objid = r.oid
UNION ALL
SELECT 'routine', '', name, '', '' FROM own
UNION ALL
SELECT 'current_schema', coalesce(current_schema()::text, ''), '', '', ''
UNION ALL
SELECT 'search_path', s.name::text, s.number::text, '', ''
    FROM unnest(pg_catalog.current_schemas(true)) WITH ORDINALITY AS s(name, number)
"""


def _read_postgres(rows: Iterable[tuple[str, ...]]) -> Catalog:
    by_kind: dict[str, list[tuple[Table, Table]]] = {}
    for kind, schema, name, other_schema, other_name in rows:
        row = ("", schema, name), ("", other_schema, other_name)
        by_kind.setdefault(kind, []).append(row)

    def tables(*kinds: str) -> frozenset[Table]:
        return frozenset(table for kind in kinds for table, _ in by_kind.get(kind, ()))

    def related(*kinds: str) -> dict[Table, tuple[Table, ...]]:
        others: dict[Table, tuple[Table, ...]] = {}
        for kind in kinds:
            for table, other in by_kind.get(kind, ()):
                others[table] = (*others.get(table, ()), other)
        return others

    search_path = {int(number): schema for _, schema, number in tables("search_path")}
    [(_, current_schema, _)] = tables("current_schema")
    return Catalog(
        tables=tables("table", "temporary"),
        temporary=tables("temporary"),
        search_path=tuple(("", search_path[number]) for number in sorted(search_path)),
        current_schema=("", current_schema),
        read_with=related("view", "read_with", "partition"),
        written_with=related("view", "partition", "written_with"),
        truncated_with=related("truncated_with", "view", "partition", "written_with"),
        active=tables("active"),
        opaque=tables("opaque"),
        routines=frozenset(name.lower() for _, _, name in tables("routine")),
        default_schema=("", "public"),
    )
