"""Which tables a tool used on PostgreSQL, as the server's own locks and counters say.

A transaction keeps a lock on each table that it has used until it ends, and the server counts what it scans and
writes. So one question before the transaction ends tells what views, triggers, functions and cascades have used too.
A rollback to a savepoint releases locks, so the same question comes before it. Texts of statements say only what
neither shows: ON CONFLICT, and questions about the list of tables. Imports nothing of psycopg.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from functools import partial

import msgspec
from msgspec.structs import replace

from discover_orch.databases.postgres_objects import (
    HAS_OBJECTS,
    OBJECTS,
    TEXTS,
    Object,
    find_definitions,
    find_made,
    find_used,
    has_named,
    read_values,
    read_words,
)
from discover_orch.databases.table_log import (
    FoundTables,
    TableContent,
    TableLog,
    find_sought,
    is_asked_whether_there,
    may_drop,
)
from discover_orch.model.keys import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from discover_orch.databases.postgres_text import TextNotes

#: All tables of the user's, and the locks of this backend on tables that are not there any more.
USE = f"""
SELECT json_build_object('path', current_schemas(false), 'schemas', (
    SELECT json_agg(nspname) FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), 'has_objects', {HAS_OBJECTS}, 'tables', coalesce(json_agg(json_build_array(
    coalesce(t.oid, l.relation)::int8, t.nspname, t.relname, t.relkind::text, t.inhparent::int8,
    coalesce(l.modes, '{{}}'),
    coalesce(t.scans, 0), coalesce(t.rows, 0), coalesce(t.inserted, 0), coalesce(t.changed, 0), coalesce(t.deleted, 0)
)), '[]'))::text
FROM (
    SELECT c.oid, n.nspname, c.relname, c.relkind, i.inhparent,
        pg_catalog.pg_stat_get_xact_numscans(c.oid) + coalesce(x.scans, 0) AS scans,
        pg_catalog.pg_stat_get_xact_tuples_returned(c.oid)
            + pg_catalog.pg_stat_get_xact_tuples_fetched(c.oid) AS rows,
        pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) AS inserted,
        pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)
            + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) AS changed,
        pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) AS deleted
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid AND i.inhseqno = 1
    LEFT JOIN (
        SELECT indrelid, sum(pg_catalog.pg_stat_get_xact_numscans(indexrelid)) AS scans
        FROM pg_catalog.pg_index GROUP BY indrelid
    ) x ON x.indrelid = c.oid
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
) t FULL JOIN (
    SELECT relation, array_agg(mode) AS modes FROM pg_catalog.pg_locks
    WHERE locktype = 'relation' AND pid = pg_catalog.pg_backend_pid() GROUP BY relation
) l ON l.relation = t.oid
WHERE t.oid IS NOT NULL OR 'AccessExclusiveLock' = ANY (l.modes)
"""
#: libpq's states of a transaction: there is none; one that works.
IDLE, INTRANS = 0, 2
READS = frozenset({"AccessShareLock", "RowShareLock"})
#: Of an index that is made, and of a table that gets a trigger or that a foreign key refers to.
KEEPS = frozenset({"ShareLock", "ShareRowExclusiveLock"})
DEFINES = frozenset({"AccessExclusiveLock"})
FILLS = frozenset({"RowExclusiveLock"})
WRITES = FILLS | {"ExclusiveLock"} | DEFINES

UNDEFINED_TABLE, DUPLICATE_TABLE = "42P01", "42P07"
#: The functions of the server that say of IF EXISTS that there is none. The text depends on its language.
SKIPS_DROP = "DropErrorMsgNonExistent"
SKIPS = frozenset({SKIPS_DROP, "ProcessUtilitySlow", "RenameRelation", "AlterTableNamespace"})
_QUOTED = re.compile(r"""["“„«»]\s?(.+?)\s?["”“»«]""")


class Table(msgspec.Struct, frozen=True, array_like=True):
    """A table, and what the transaction has done to it. `parent` is that of a partition."""

    oid: int
    schema: str | None
    name: str | None
    kind: str | None  # "r", of a partitioned table "p"
    parent: int | None
    modes: frozenset[str]
    scans: int
    rows: int
    inserted: int
    changed: int
    deleted: int

    @property
    def shown(self) -> str:
        return show_name(self.schema or "", self.name or "")

    def since(self, before: Table | None) -> Table:
        """What was done after `before`."""
        if before is None:
            return self
        counts = {one: getattr(self, one) - getattr(before, one) for one in _COUNTS}
        return replace(self, modes=self.modes - before.modes, **counts)

    @property
    def is_read(self) -> bool:
        """Whether a query has read it, or a statement that writes to it. One that deletes all rows depends on none."""
        is_emptied = bool(self.modes & WRITES) and self.rows == self.deleted
        is_scanned = self.scans > 0 and not is_emptied and not self.is_kept
        return bool(self.modes & READS) or is_scanned

    @property
    def is_kept(self) -> bool:
        """Whether it only got an index, a trigger or a key that refers to it."""
        return bool(self.modes & KEEPS) and not self.modes & WRITES

    @property
    def is_written(self) -> bool:
        return bool(self.modes & WRITES) or self.inserted > 0 or self.changed > 0

    @property
    def is_changed(self) -> bool:
        """Whether more was done than to insert rows."""
        return self.changed > 0 or self.scans > 0 or bool(self.modes - FILLS & WRITES)


_COUNTS = ("scans", "rows", "inserted", "changed", "deleted")


class Use(msgspec.Struct, frozen=True):
    """`path` are the schemas in which a bare name is looked up."""

    path: tuple[str, ...]
    schemas: tuple[str, ...]
    has_objects: bool
    tables: tuple[Table, ...]


def show_name(schema: str, name: str) -> str:
    return name if schema == "public" else f"{schema}.{name}"


def ask_use(conn: Any) -> Use:
    """What the open transaction has used, or a new one in which nothing is used. Raises what psycopg raises."""
    [[text]] = ask_rows(conn, USE)
    return msgspec.json.decode(text, type=Use)  # of an SQL_ASCII database it is bytes


def ask_objects(conn: Any, use: Use) -> tuple[Object, ...]:
    if not use.has_objects:
        return ()
    [[text]] = ask_rows(conn, OBJECTS)
    return msgspec.json.decode(text, type=tuple[Object, ...])


def ask_rows(conn: Any, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a question of orch's own, which may be the last of several statements; none of another statement.
    Raises what psycopg raises."""
    psycopg = sys.modules["psycopg"]
    cursor = psycopg.Cursor(conn, row_factory=psycopg.rows.tuple_row)
    cursor.adapters.register_loader("text", psycopg.types.string.TextLoader)
    # As it is before `psycopg_connection` has it report what a tool does.
    execute = getattr(psycopg.Cursor.execute, "__wrapped__", psycopg.Cursor.execute)
    execute(cursor, sql.encode(), prepare=False)
    while cursor.nextset():
        pass
    return [] if cursor.description is None else [*cursor.fetchall()]


#: Of two steps that fill one table at the same time, neither sees rows of the other before these are committed. With
#: this lock, which the end of the transaction releases, the one that is committed last sees them.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('orch versions', 0))"
_NOW = "SELECT extract(epoch FROM clock_timestamp())::text"


class PostgresLog(TableLog):
    """Of a psycopg connection. `psycopg_connection` calls the methods named `on_`, before and after what they name.

    What no transaction of orch's surrounds is not seen, and makes the step unclear.
    """

    dialect = "postgres"

    def __init__(self, conn: Any) -> None:
        super().__init__()
        self._conn = conn
        self._clear()
        conn.orch_log = self
        conn.add_notice_handler(self._on_notice)

    def _clear(self) -> None:
        self._before: dict[int, Table] | None = None  # at the first statement of the step
        self._start: dict[int, Table] | None = None  # at that of its real transaction
        self._last: dict[int, Table] = {}  # when it was asked last
        self._objects_before: tuple[Object, ...] = ()  # at the first statement of the step
        self._objects: tuple[Object, ...] = ()  # when it was asked last
        self._words: set[str] | None = None  # of the statements; None where they do not matter
        self._path: dict[str, None] = {}
        self._schemas: dict[str, None] = {}
        self._read: set[int] = set()
        self._missed: set[str] = set()  # names as they were written
        self._left: set[str] = set()  # of these, those that would only have been found
        #: Names and oids of tables whose columns were asked for; WHOLE for all.
        self._asked: set[str | int] = set()
        self._absent: set[str] = set()  # of DROP ... IF EXISTS, without schema
        self._kept: set[str] = set()
        self._is_unasked = (
            False  # statements have run since it was asked, or since the last savepoint
        )
        self._was_unasked = False  # before the latest one
        self._has_conflicts = self._truncates = self._lists_tables = self._is_unclear = False
        self._has_heads = True  # the first rows of tables are read
        self._is_used_elsewhere = self.uses_other_connection = self.has_written = False

    # What happens on the connection.

    def on_statement(self, text: str, notes: TextNotes, params: object) -> None:
        """The tool executes a statement on the connection, whose transaction belongs to orch."""
        if self.tables_of_caller is not None:
            self.tables_of_caller().add(WHOLE)
        if not notes.is_setting:
            self.on_begin()
        if notes.rolls_back:
            self.on_rollback()
            self._is_unclear |= notes.has_several
        if self._words is not None:
            self._words |= read_words(text) | read_values(params)
        self._was_unasked = self._is_unasked
        self._is_unasked |= not notes.is_setting
        self._has_conflicts |= notes.has_conflict
        self._truncates |= notes.truncates
        names = [lookup.find_name(params) for lookup in notes.lookups]
        schemas = [lookup.find_name(params) for lookup in notes.schemas]
        if notes.lists_tables or None in (*names, *schemas):
            named = find_sought()
            self._lists_tables |= named is None
            names += named or ()
        places = [f"{one}." for one in schemas if isinstance(one, str)] or [""]
        sought = {place + name for name in names if isinstance(name, str) for place in places}
        if sought:
            self._left = self._left - sought if may_drop() else self._left | sought - self._missed
            self._missed |= sought
        if notes.asks_columns and not is_asked_whether_there():
            self._asked.update(WHOLE if one is None else one for one in names or [None])

    def on_begin(self) -> None:
        """The tool will use the transaction. Without one, this begins it."""
        if self._start is None:
            self._ask()

    def on_rollback(self) -> None:
        """Before a rollback, also one to a savepoint: what was read is then still known."""
        if self._is_unasked:
            self._ask()

    def on_end(self) -> None:
        """The real transaction has ended."""
        self._start, self._is_unasked = None, False

    def enter_block(self) -> bool:
        """A savepoint was set. An error then loses only what comes after it. The result is for `leave_block`."""
        was_unasked, self._is_unasked = self._is_unasked, False
        return was_unasked

    def leave_block(self, was_unasked: bool) -> None:
        self._is_unasked |= was_unasked

    def on_error(self, error: Any) -> None:
        """The server has refused a statement, and released the locks since the last savepoint."""
        name = _find_quoted(error.diag.message_primary)
        if error.sqlstate == UNDEFINED_TABLE and name:
            self._missed.add(name)
            self._is_unclear |= self._was_unasked
            self._is_unasked = False
        else:
            self._is_unclear |= error.sqlstate is not None  # else it was not sent

    def on_foreign_statement(self, conn: Any) -> None:
        """A statement on another connection, or on this one while orch owns no transaction on it."""
        self.uses_other_connection |= conn is not self._conn
        self._is_unclear = self._is_used_elsewhere = True

    def on_unseen(self) -> None:
        """Something will run outside of the transaction, which ends before it."""
        self.on_rollback()
        self._is_unclear = True
        self.on_end()

    def _on_notice(self, diag: Any) -> None:
        name = _find_quoted(diag.message_primary)
        if name and diag.sqlstate == "00000" and diag.source_function in SKIPS:
            (self._absent if diag.source_function == SKIPS_DROP else self._missed).add(name)
        elif name and diag.sqlstate == DUPLICATE_TABLE:
            self._kept.add(name)

    # What the worker calls.

    def begin_step(self) -> None:
        self._clear()

    @property
    def may_have_committed(self) -> bool:
        return self._is_used_elsewhere

    def resolve(self) -> None:
        try:
            if self._before is not None:
                self._found.add(self._find_tables(self._before))
        except Exception:  # the connection is broken
            self._is_unclear = True
        self._found.is_unclear |= self._is_unclear

    def read_tables(self, names: Iterable[str], most_rows: int) -> dict[str, TableContent]:
        from discover_orch.databases.table_content import join_version, read_postgres_tables

        found: dict[str, TableContent] = {}
        if self._conn.info.transaction_status != INTRANS:
            return found
        wanted = {*names}
        shown = {oid: one.shown for oid, one in self._last.items() if one.name}
        for name, text in find_definitions(self._objects, shown).items():
            if name in wanted:
                found[name] = TableContent(version=join_version(text))
        there = {
            oid: one.shown
            for oid, one in self._last.items()
            if one.name and one.kind in ("r", "v") and one.shown in wanted
        }
        if not there:
            return found
        ask = partial(ask_rows, self._conn)
        [(now,)] = ask(f"{_LOCK}; {_NOW}")
        self.read_at = float(now)
        ask("SAVEPOINT orch_versions")
        with suppress(Exception):  # the tool may read no rows, for example
            found.update(read_postgres_tables(ask, there, most_rows, has_heads=self._has_heads))
        # And the settings are as before.
        ask("ROLLBACK TO SAVEPOINT orch_versions; RELEASE SAVEPOINT orch_versions")
        return found

    def look(self) -> tuple[str, ...] | None:
        self._note(ask_use(self._conn))
        self._has_heads = False
        shown = {oid: one.shown for oid, one in self._last.items() if one.name is not None}
        return *shown.values(), *find_definitions(self._objects, shown)

    def _ask(self) -> None:
        """Note what was read since the last time. Where the transaction has failed, that is lost."""
        if self._conn.info.transaction_status not in (IDLE, INTRANS):
            self._is_unclear |= self._is_unasked
            return
        self._note(ask_use(self._conn))

    def _note(self, use: Use) -> None:
        self._is_unasked = False
        self._path.update(dict.fromkeys(use.path))
        self._schemas.update(dict.fromkeys(use.schemas))
        now = {one.oid: one for one in use.tables}
        self._objects = ask_objects(self._conn, use)
        if self._before is None:
            self._before, self._objects_before = now, self._objects
            self._words = set() if has_named(self._objects) else None
        if self._start is None:
            self._start = self._last = now
        self._read.update(oid for oid, one in now.items() if one.since(self._last.get(oid)).is_read)
        self._last = now

    def _find_tables(self, before: dict[int, Table]) -> FoundTables:
        status = self._conn.info.transaction_status
        is_open = status == INTRANS
        if status != IDLE:
            self._ask()
        start = self._start or {}
        # Without a transaction all was rolled back.
        now = self._last if is_open else before
        known = before | {oid: one for oid, one in now.items() if one.name is not None}
        names = {oid: one.shown for oid, one in known.items()}
        used = {oid: one.since(start.get(oid)) for oid, one in now.items() if oid in names}
        written = {oid for oid, one in used.items() if is_open and one.is_written}
        changed = {oid for oid in written if used[oid].is_changed or self._has_conflicts}
        there = {one.shown for one in now.values() if one.name is not None}
        were_there = {one.shown for one in before.values()}
        defined = {oid for oid in written if used[oid].modes & DEFINES}
        made = {oid for oid in defined if now[oid].name is not None and oid not in before}
        gone = {before[oid].shown for oid in defined & before.keys()} - there
        # A write to a partition locks the whole as a query does, but a query uses other partitions too.
        wholes = {
            oid
            for oid in _with_parents(written, before, now)
            if oid in now and now[oid].kind == "p"
        }
        read = self._read - (wholes - _with_parents(self._read - wholes, before, now))
        is_emptied = self._truncates or self._lists_tables  # it may have been, had it been there
        found = FoundTables(
            read={names[oid] for oid in read & names.keys()},
            written={names[oid] for oid in _with_parents(written, before, now)} | gone,
            changed={names[oid] for oid in _with_parents(changed, before, now)} | gone,
            created={now[oid].shown for oid in defined if now[oid].name is not None} - were_there,
            dropped=gone,
            empty={
                names[oid]
                for oid in made
                if now[oid].kind in ("r", "p")
                and not (is_emptied or now[oid].inserted or now[oid].modes & FILLS)
            }
            - were_there,  # one that was dropped has lost its rows
            lists_tables=self._lists_tables,
        )
        absent = {show_name(one, name) for name in self._absent for one in self._schemas}
        missed = {one for name in self._missed for one in self._show(name)}
        found.missed = (missed | absent) - there - were_there
        found.found = missed & there
        # Had they been there, it may have dropped them.
        found.empty -= absent | {
            one for name in self._missed - self._left for one in self._show(name)
        }
        found.kept = absent & found.missed
        found.kept |= {one for name in self._kept for one in self._show(name) if one in were_there}
        found.kept |= {names[oid] for oid, one in used.items() if one.is_kept}
        found.kept -= found.written
        found.add(self._find_objects(is_open, names, {*read, *written}))
        if self._asked:
            self._add_asked(found, before)
        self.has_written |= bool(found.written)
        return found

    def _find_objects(self, is_open: bool, names: dict[int, str], used: set[int]) -> FoundTables:
        before = self._objects_before
        now = self._objects if is_open else before
        found = find_made(before, now, names, self._kept)
        if self._words:
            self._words.update(*(read_words(text) for text in self._read_texts(used)))
            found.read = find_used(self._words, before) - found.written
        return found

    def _read_texts(self, tables: Iterable[int]) -> list[str]:
        """What the definitions of these tables and views mention."""
        numbers = ", ".join(map(str, tables))
        is_idle = self._conn.info.transaction_status == IDLE  # it was rolled back
        if not numbers or is_idle:
            return []
        return [text for (text,) in ask_rows(self._conn, TEXTS.format(numbers))]

    def _add_asked(self, found: FoundTables, before: Mapping[int, Table]) -> None:
        """The tables whose columns were asked for, in whatever schema. One that was not there is the tool's own."""
        bare = {one.rpartition(".")[2].strip('"') for one in self._asked if isinstance(one, str)}
        there = [one for oid, one in before.items() if oid in self._asked or one.name in bare]
        found.read |= {one.shown for one in there} | ({WHOLE} & bare)
        found.lists_tables |= not bare <= {WHOLE, *(one.name for one in there)}

    def _show(self, name: str) -> set[str]:
        """The tables that a name as it was written may mean."""
        schema, dot, table = name.rpartition(".")
        return {show_name(one, table) for one in ([schema] if dot else self._path)}


def _with_parents(oids: Iterable[int], *known: Mapping[int, Table]) -> set[int]:
    """These tables, and those of which they are partitions: who reads the whole reads them too."""
    found: set[int] = set()
    waiting = [*oids]
    while waiting:
        oid = waiting.pop()
        found.add(oid)
        parents = [one[oid].parent for one in known if oid in one]
        waiting += [one for one in parents if one is not None]
    return found


def _find_quoted(message: str | None) -> str:
    found = _QUOTED.search(message or "")
    return found[1] if found else ""
