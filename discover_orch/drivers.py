"""The drivers whose statements can be heard as a tool sends them: psycopg 3 and DuckDB.

In: a connection that `get_connection()` returned. Out: texts, as they are sent, and a `Catalog` of the database. A
driver is listened to by its classes, since connections of both cannot be told anything: what a method does and gives
is as before, and what goes wrong in listening is kept from the tool. Changes no data.
"""

from __future__ import annotations

import functools
import os
import re
import sys

from discover_orch.catalog import Catalog
from discover_orch.statements import BLANK, Effect, read_statements
from discover_orch.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import FrameType
    from typing import Any, Protocol

    from discover_orch.catalog import Table

    class Note(Protocol):
        """Takes what is heard of one call: a text, or what else it does. `conn` is the connection that is listened to;
        `aside` is told of calls on another one, `failed` of what was not carried out."""

        conn: Any

        def text(self, text: str, /) -> None: ...
        def effect(self, effect: Effect, /) -> None: ...
        def files(self, paths: Iterable[str], /, *, is_written: bool) -> None: ...
        def commit(self) -> None: ...
        def failed(self) -> None: ...
        def aside(self) -> None: ...
        def stranger(self) -> None: ...


class Driver:
    """One that is known. `note` is who listens now."""

    dialect = ""
    looks_at_callers = False  # as DuckDB does, for variables

    def __init__(self) -> None:
        self.note: Note | None = None
        self._is_heard = False

    def hear(self, note: Note) -> None:
        self.note = note
        if not self._is_heard:
            self._is_heard = True
            self._wrap_all()

    def ask(self, conn: Any) -> Catalog:
        """What there is in the database now, as this connection sees it; raises whatever the driver does."""
        raise AssertionError(conn)

    def find_file(self, conn: Any) -> str:
        """The absolute path of the file that the connection is to; "" where it is none."""
        return ""

    def _wrap_all(self) -> None:
        raise AssertionError

    def _wrap(
        self, owner: Any, name: str, listen: Callable[..., None], *, after: bool = False
    ) -> None:
        """Have `listen` called with the arguments of each call, before it or after it."""
        original = vars(owner).get(name)
        if original is None:
            return

        @functools.wraps(original)
        def heard(*args: Any, **named: Any) -> Any:
            call = functools.partial(original, *args, **named)
            if not after:
                self._listen(listen, args, named)
            try:
                given = call() if not self.looks_at_callers else _call_from(sys._getframe(1), call)
            except BaseException:
                if self.note is not None:
                    self.note.failed()
                raise
            if after:
                self._listen(listen, args, named)
            return given

        setattr(owner, name, heard)

    def _listen(
        self, listen: Callable[..., None], args: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        note = self.note
        if note is not None:
            try:
                listen(note, *args, **named)
            except Exception:  # called in a way that is not known
                note.stranger()


_CALL = compile("__orch_call__()", __file__, "eval")


def _call_from(caller: FrameType, call: Callable[[], Any]) -> Any:
    """Call it with the caller's variables around it, as if nobody stood between: DuckDB takes a name that is no
    table for a variable there."""
    return eval(_CALL, caller.f_globals, {**caller.f_locals, "__orch_call__": call})


class Psycopg(Driver):
    dialect = "postgres"

    def _wrap_all(self) -> None:
        psycopg = sys.modules["psycopg"]

        def hear(
            note: Note, cursor: Any, query: Any, params: Any = None, *_: Any, **__: Any
        ) -> None:
            if isinstance(query, bytes):
                query = query.decode()
            elif not isinstance(query, str):
                query = query.as_string(cursor)
            if cursor.connection is not note.conn:
                note.aside() if _is_alike(cursor.connection, note.conn) else note.stranger()
            note.text(query if params is None else _PLACEHOLDER.sub(_fill, query))

        def hear_commit(note: Note, *_: Any, **__: Any) -> None:
            note.commit()

        def hear_rollback(note: Note, *_: Any, **__: Any) -> None:
            note.text("ROLLBACK")

        for owner in (psycopg.Cursor, psycopg.ServerCursor, psycopg.ClientCursor):
            for name in ("execute", "executemany", "stream", "copy"):
                self._wrap(owner, name, hear)
        self._wrap(psycopg.Connection, "commit", hear_commit)
        self._wrap(psycopg.Connection, "rollback", hear_rollback)

        def hear_end(note: Note, transaction: Any, kind: Any = None, *_: Any, **__: Any) -> None:
            idle = psycopg.pq.TransactionStatus.IDLE
            if kind is not None:
                note.text("ROLLBACK")
            elif transaction.connection.info.transaction_status == idle:
                note.commit()

        self._wrap(psycopg.Transaction, "__exit__", hear_end, after=True)

    def ask(self, conn: Any) -> Catalog:
        psycopg = sys.modules["psycopg"]
        status = psycopg.pq.TransactionStatus
        if conn.info.transaction_status not in (status.IDLE, status.INTRANS):
            raise LookupError("the transaction is broken off")
        note, self.note = self.note, None  # this is no tool's
        try:
            # A savepoint: should the question fail, the tool's own transaction goes on.
            with conn.transaction():
                cursor = psycopg.Cursor(conn, row_factory=psycopg.rows.tuple_row)
                cursor.adapters.register_loader("text", psycopg.types.string.TextLoader)
                rows = cursor.execute(POSTGRES, prepare=False).fetchall()
        finally:
            self.note = note
        # Under SQL_ASCII they are bytes.
        return _read_postgres(
            tuple(one.decode() if isinstance(one, bytes) else one for one in row) for row in rows
        )


_PLACEHOLDER = re.compile(r"%(?:%|(?:\([^)]*\))?[sbt])")


def _fill(found: re.Match[str]) -> str:
    return "%" if found[0] == "%%" else f"'{BLANK}'"


def _is_alike(one: Any, other: Any) -> bool:
    """Whether names mean the same on both, where nothing was said on them."""
    return all(
        getattr(one.info, name) == getattr(other.info, name)
        for name in ("host", "port", "dbname", "user", "options")
    )


#: (what, schema, name, schema, name). "table" and "temporary"; "within", "along" and "referring" as in `Catalog`;
#: "child" is a partition; "active" has triggers, rules or functions; "opaque" is a view with functions; "routine" is a
#: function of nobody's extension that may read or write tables; "place" a schema of the search path, with its number,
#: and "here" where new tables are made.
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
SELECT DISTINCT CASE v.relkind WHEN 'v' THEN 'view' ELSE 'within' END, v.place, v.name, t.place, t.name
    FROM mine v
    JOIN pg_catalog.pg_rewrite r ON r.ev_class = v.oid AND r.ev_type = '1'
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_catalog.pg_class'::regclass
    JOIN mine t ON t.oid = d.refobjid AND t.oid <> v.oid
UNION ALL
SELECT 'child', p.place, p.name, c.place, c.name
    FROM pg_catalog.pg_inherits i JOIN mine p ON p.oid = i.inhparent JOIN mine c ON c.oid = i.inhrelid
UNION ALL
SELECT CASE WHEN k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd')
    THEN 'along' ELSE 'referring' END, p.place, p.name, c.place, c.name
    FROM pg_catalog.pg_constraint k JOIN mine p ON p.oid = k.confrelid JOIN mine c ON c.oid = k.conrelid
    WHERE k.contype = 'f'
UNION ALL
SELECT 'active', m.place, m.name, '', ''
    FROM mine m JOIN pg_catalog.pg_trigger t ON t.tgrelid = m.oid
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
UNION ALL
SELECT 'active', m.place, m.name, '', ''
    FROM mine m JOIN pg_catalog.pg_rewrite r ON r.ev_class = m.oid WHERE r.ev_type <> '1'
UNION ALL
SELECT 'active', m.place, m.name, '', ''
    FROM mine m JOIN pg_catalog.pg_attrdef a ON a.adrelid = m.oid
    JOIN calling ON calling.classid = 'pg_catalog.pg_attrdef'::regclass AND calling.objid = a.oid
UNION ALL
SELECT 'active', m.place, m.name, '', ''
    FROM mine m JOIN pg_catalog.pg_constraint k ON k.conrelid = m.oid
    JOIN calling ON calling.classid = 'pg_catalog.pg_constraint'::regclass AND calling.objid = k.oid
UNION ALL
SELECT 'opaque', m.place, m.name, '', ''
    FROM mine m JOIN pg_catalog.pg_rewrite r ON r.ev_class = m.oid AND r.ev_type = '1'
    JOIN calling ON calling.classid = 'pg_catalog.pg_rewrite'::regclass AND calling.objid = r.oid
UNION ALL
SELECT 'routine', '', name, '', '' FROM own
UNION ALL
SELECT 'here', coalesce(current_schema()::text, ''), '', '', ''
UNION ALL
SELECT 'place', s.name::text, s.number::text, '', ''
    FROM unnest(pg_catalog.current_schemas(true)) WITH ORDINALITY AS s(name, number)
"""


def _read_postgres(rows: Iterable[tuple[str, ...]]) -> Catalog:
    tables: set[Table] = set()
    temporary: set[Table] = set()
    active: set[Table] = set()
    within: dict[Table, tuple[Table, ...]] = {}
    along: dict[Table, tuple[Table, ...]] = {}
    referring: dict[Table, tuple[Table, ...]] = {}
    opaque: set[Table] = set()
    routines: set[str] = set()
    places: dict[int, str] = {}
    here = ""
    for what, schema, name, other_schema, other_name in rows:
        table, other = ("", schema, name), ("", other_schema, other_name)
        if what in ("table", "temporary"):
            tables.add(table)
            if what == "temporary":
                temporary.add(table)
        elif what in ("view", "within", "child"):
            within[table] = (*within.get(table, ()), other)
            if what != "within":
                along[table] = (*along.get(table, ()), other)
        elif what == "along":
            along[table] = (*along.get(table, ()), other)
        elif what == "referring":
            referring[table] = (*referring.get(table, ()), other)
        elif what == "active":
            active.add(table)
        elif what == "opaque":
            opaque.add(table)
        elif what == "routine":
            routines.add(name.lower())
        elif what == "here":
            here = schema
        elif what == "place":
            places[int(name)] = schema
    return Catalog(
        tables=frozenset(tables),
        temporary=frozenset(temporary),
        places=tuple(("", places[one]) for one in sorted(places)),
        here=("", here),
        within=within,
        along=along,
        referring={
            one: (*referring.get(one, ()), *along.get(one, ())) for one in {*referring, *along}
        },
        active=frozenset(active),
        opaque=frozenset(opaque),
        routines=frozenset(routines),
        plain=("", "public"),
    )


class Duckdb(Driver):
    dialect = "duckdb"
    looks_at_callers = True

    def __init__(self) -> None:
        super().__init__()
        self._query: Any = None  # past what is heard

    def _wrap_all(self) -> None:
        duckdb = sys.modules["duckdb"]
        connection, relation = duckdb.DuckDBPyConnection, duckdb.DuckDBPyRelation
        self._query = connection.execute
        for name in ("execute", "executemany", "sql", "query", "from_query", "query_appender"):
            self._wrap(connection, name, _hear_query)
            self._wrap(duckdb, name, _hear_query_of_module)
        for name in ("table", "view", "append", "appender"):
            kind = "written" if name.startswith("append") else "read"
            hear = functools.partial(_hear_table, kind)
            self._wrap(connection, name, hear)
            self._wrap(duckdb, name, functools.partial(_without_self, hear))
        for name in FILE_READERS:
            hear = functools.partial(_hear_file, is_written=False)
            self._wrap(connection, name, hear)
            self._wrap(duckdb, name, functools.partial(_without_self, hear))
        for name in ("to_csv", "write_csv", "to_parquet", "write_parquet"):
            self._wrap(relation, name, functools.partial(_hear_file, is_written=True))
        for name in ("create", "to_table", "create_view", "to_view"):
            self._wrap(relation, name, functools.partial(_hear_table, "made"))
        self._wrap(relation, "insert_into", functools.partial(_hear_table, "written"))
        for name in ("insert", "update", "query"):
            self._wrap(relation, name, _hear_stranger)
        for name in ("table_function", "from_substrait", "from_substrait_json", "query_df"):
            self._wrap(connection, name, _hear_stranger)
            self._wrap(duckdb, name, _hear_stranger)
        for name in EXPRESSIONS:
            before = "SELECT 1 ORDER BY" if name in ("order", "sort") else "SELECT"
            self._wrap(relation, name, functools.partial(_hear_expressions, before))
        self._wrap(connection, "commit", lambda note, *_: note.commit())
        self._wrap(connection, "rollback", lambda note, *_: note.text("ROLLBACK"))

    def _rows(self, conn: Any, sql: str) -> list[tuple[Any, ...]]:
        note, self.note = self.note, None
        try:
            execute = self._query or sys.modules["duckdb"].DuckDBPyConnection.execute
            rows: list[tuple[Any, ...]] = execute(conn, sql).fetchall()
        finally:
            self.note = note
        return rows

    def ask(self, conn: Any) -> Catalog:
        [(database, schema, path)] = self._rows(
            conn, "SELECT current_database(), current_schema(), current_setting('search_path')"
        )
        if "," in path:
            raise LookupError("names are looked up in several schemas")
        tables: set[Table] = set()
        temporary: set[Table] = set()
        made_of: dict[Table, str] = {}
        for base, place, name, is_temporary, sql in self._rows(
            conn,
            "SELECT database_name, schema_name, table_name, temporary, NULL FROM duckdb_tables() WHERE NOT internal "
            "UNION ALL "
            "SELECT database_name, schema_name, view_name, temporary, sql FROM duckdb_views() WHERE NOT internal",
        ):
            table = (base.lower(), place.lower(), name.lower())
            tables.add(table)
            if is_temporary:
                temporary.add(table)
            if sql is not None:
                made_of[table] = sql
        routines = self._rows(
            conn, "SELECT DISTINCT function_name FROM duckdb_functions() WHERE NOT internal"
        )
        has_triggers = "SELECT 1 FROM duckdb_functions() WHERE function_name = 'duckdb_triggers'"
        active = self._rows(conn, TRIGGERS) if self._rows(conn, has_triggers) else []
        here = (database.lower(), schema.lower())
        catalog = Catalog(
            tables=frozenset(tables),
            temporary=frozenset(temporary),
            places=tuple(dict.fromkeys((("temp", "main"), here, (here[0], "main")))),
            here=here,
            active=frozenset(
                (base.lower(), place.lower(), name.lower()) for base, place, name in active
            ),
            routines=frozenset(name.lower() for (name,) in routines),
            plain=(here[0], "main"),
            has_variables=True,
        )
        within: dict[Table, tuple[Table, ...]] = {}
        files: dict[Table, tuple[str, ...]] = {}
        opaque: set[Table] = set()
        for view, text in made_of.items():
            effects = read_statements(text, self.dialect)
            names = [name for one in effects for name in one.read]
            # In its own schema, if it says no other.
            beside = {(*view[:2], name[0]) for name in names if len(name) == 1} & tables
            found = {one for name in names if (one := catalog.find(name))}
            within[view] = tuple(found | beside)
            files[view] = tuple(path for one in effects for path in one.files_read)
            if any(one.is_unclear or catalog.routines.intersection(one.called) for one in effects):
                opaque.add(view)
        return replace(catalog, within=within, files=files, opaque=frozenset(opaque))

    def find_file(self, conn: Any) -> str:
        rows = self._rows(
            conn, "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
        )
        path = rows[0][0] if rows else None
        return os.path.abspath(path) if path else ""


FILE_READERS = (
    "read_csv", "read_json", "read_parquet", "from_csv_auto", "from_parquet",
)  # fmt: skip
#: Methods of a relation that take expressions as text, in which a query or a function can stand.
EXPRESSIONS = (
    *("aggregate", "apply", "filter", "group_by", "join", "order", "project", "select", "sort", "with_columns"),
    *("any_value", "avg", "count", "first", "last", "list", "max", "mean", "min", "pivot", "string_agg", "sum"),
)  # fmt: skip
TRIGGERS = "SELECT DISTINCT database_name, schema_name, table_name FROM duckdb_triggers()"
_PART = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')


def _hear_query(note: Note, conn: object, query: Any, *_: Any, **__: Any) -> None:
    if conn is not note.conn:
        note.aside()
    note.text(query if isinstance(query, str) else query.query)


def _hear_query_of_module(note: Note, query: Any, *_: Any, **named: Any) -> None:
    _hear_query(note, named.get("connection"), query)


def _without_self(hear: Callable[..., None], note: Note, *args: Any, **named: Any) -> None:
    hear(note, None, *args, **named)


def _hear_table(kind: str, note: Note, owner: object, *args: Any, **named: Any) -> None:
    text = args[0] if args else next(iter(named.values()))
    name = tuple((quoted or plain).lower() for quoted, plain in _PART.findall(text))
    note.effect(
        Effect(
            read=(name,) if kind == "read" else (),
            written=(name,) if kind == "written" else (),
            made=(name,) if kind == "made" else (),
            changes_names=kind == "made",
        )
    )


def _hear_file(note: Note, owner: object, *args: Any, is_written: bool, **named: Any) -> None:
    given = args[0] if args else next(iter(named.values()))
    paths = given if isinstance(given, list | tuple) else [given]
    note.files(
        [os.fspath(one) for one in paths if isinstance(one, str | os.PathLike)],
        is_written=is_written,
    )


def _hear_stranger(note: Note, *_: Any, **__: Any) -> None:
    note.stranger()


def _hear_expressions(before: str, note: Note, *args: Any, **named: Any) -> None:
    given = [*args, *named.values()]
    for one in given:
        if isinstance(one, list | tuple):
            given.extend(one)
        elif (isinstance(one, str) or type(one).__name__ == "Expression") and "(" in str(one):
            note.text(f"{before} {one}")


_KNOWN: Mapping[str, Driver] = {"psycopg": Psycopg(), "duckdb": Duckdb()}


def find_driver(conn: Any) -> Driver | None:
    """The driver of this very kind of connection."""
    psycopg, duckdb = sys.modules.get("psycopg"), sys.modules.get("duckdb")
    if psycopg is not None and isinstance(conn, psycopg.Connection):
        return _KNOWN["psycopg"]
    if duckdb is not None and isinstance(conn, duckdb.DuckDBPyConnection):
        return _KNOWN["duckdb"]
    return None
