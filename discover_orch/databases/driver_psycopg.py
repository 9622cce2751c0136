"""psycopg 3: how the statements that a tool sends are heard, and what there is in a PostgreSQL database.

In: a connection. Out: texts, and a `Catalog`. Asks the system's catalogue behind a savepoint: a question that fails
breaks no transaction of the tool's. Imports nothing of psycopg: whoever has a connection has it.
"""

from __future__ import annotations

import re
import sys

from discover_orch.databases.catalog import Catalog
from discover_orch.databases.driver import Driver
from discover_orch.databases.sql_effects import BLANK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from discover_orch.databases.catalog import Table
    from discover_orch.databases.driver import Note


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
