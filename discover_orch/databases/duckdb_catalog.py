"""What the names in statements mean in one DuckDB database: which tables there are, and how they depend on each other.

`read_catalog` asks the database. `resolve_effects`, which asks nothing, turns the effects of statements, with names as
they were written, into tables. Imports nothing of DuckDB: a process that has one of its connections has loaded it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.databases.driver_transaction import ask_duckdb
from discover_orch.databases.duckdb_sql import Effect, Name, read_statements
from discover_orch.databases.table_log import FoundTables
from discover_orch.model.table_keys import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: (database, schema, name), in small letters.
Table = tuple[str, str, str]
TABLES = (
    "SELECT database_name, schema_name, table_name, temporary, NULL FROM duckdb_tables() WHERE NOT internal "
    "UNION ALL "
    "SELECT database_name, schema_name, view_name, temporary, sql FROM duckdb_views() WHERE NOT internal"
)
FILE = "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
DATABASES = "SELECT database_name, path FROM duckdb_databases() WHERE NOT internal"
ROUTINES = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE NOT internal"
HAS_TRIGGERS = "SELECT 1 FROM duckdb_functions() WHERE function_name = 'duckdb_triggers'"
TRIGGERS = "SELECT DISTINCT database_name, schema_name, table_name FROM duckdb_triggers()"
#: How the names of a database's own tables begin.
_SYSTEM = ("pg_", "duckdb_", "sqlite_master", "pragma_")


class Catalog(Struct, frozen=True, kw_only=True):
    """The tables of one database at one moment.

    - A bare name is looked up in the (database, schema) pairs of `search_path`, in this order. A new table goes into
      `current`. Tables of `default` are shown by their bare name.
    - `read_with` and `files`: what is read with a view.
    - `active` tables have triggers, so that a write to them can do anything; a read of an `opaque` view can read
      anything. `routines` are the names of the user's own functions.
    - `attached`: the other databases of the connection, with the path of their file; "" for one in memory.
    """

    tables: frozenset[Table]
    temporary: frozenset[Table]
    search_path: tuple[tuple[str, str], ...]
    current: tuple[str, str]
    default: tuple[str, str]
    read_with: Mapping[Table, tuple[Table, ...]] = field(default_factory=dict)
    files: Mapping[Table, tuple[str, ...]] = field(default_factory=dict)
    active: frozenset[Table] = frozenset()
    opaque: frozenset[Table] = frozenset()
    routines: frozenset[str] = frozenset()
    attached: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: Name) -> Table | None:
        """The table of this name, or None."""
        return next((one for one in self._candidates(name) if one in self.tables), None)

    def find_or_name(self, name: Name) -> Table:
        """The table of this name, or the one that a CREATE would make."""
        return self.find(name) or self.name_new_table(name)

    def name_new_table(self, name: Name) -> Table:
        if len(name) == 1:
            return (*self.current, name[0])
        return self.find(name) or self._candidates(name)[0]

    def _candidates(self, name: Name) -> list[Table]:
        *outer, last = name
        match outer:
            case []:
                return [(database, schema, last) for database, schema in self.search_path]
            case [one]:  # a schema, or a database
                return [(self.current[0], one, last), (one, "main", last)]
        return [(outer[-2], outer[-1], last)]

    def read_whole(self, tables: Iterable[Table]) -> set[Table]:
        """These tables, and those behind the views among them."""
        found: set[Table] = set()
        waiting = [*tables]
        while waiting:
            table = waiting.pop()
            if table not in found:
                found.add(table)
                waiting.extend(self.read_with.get(table, ()))
        return found


def read_catalog(conn: Any) -> Catalog:
    """What is in the database now, as this connection sees it; raises whatever DuckDB raises."""
    [(database, schema, path)] = ask_duckdb(
        conn, "SELECT current_database(), current_schema(), current_setting('search_path')"
    )
    if "," in path:
        raise LookupError("the search path has several schemas")
    rows = [
        (fold(names), *more)
        for *names, is_temporary, sql in ask_duckdb(conn, TABLES)
        for more in [(is_temporary, sql)]
    ]
    here = (database.lower(), schema.lower())
    catalog = Catalog(
        tables=frozenset(table for table, _, _ in rows),
        temporary=frozenset(table for table, is_temporary, _ in rows if is_temporary),
        search_path=tuple(dict.fromkeys((("temp", "main"), here, (here[0], "main")))),
        current=here,
        default=(here[0], "main"),
        active=frozenset(
            map(fold, ask_duckdb(conn, TRIGGERS) if ask_duckdb(conn, HAS_TRIGGERS) else [])
        ),
        routines=frozenset(name.lower() for (name,) in ask_duckdb(conn, ROUTINES)),
        attached={name.lower(): path or "" for name, path in ask_duckdb(conn, DATABASES)},
    )
    return _add_views(catalog, {table: sql for table, _, sql in rows if sql is not None})


def _add_views(catalog: Catalog, views: Mapping[Table, str]) -> Catalog:
    """The catalog with what its views read; `views` are their CREATE statements."""
    read_with: dict[Table, tuple[Table, ...]] = {}
    files: dict[Table, tuple[str, ...]] = {}
    opaque: set[Table] = set()
    for view, text in views.items():
        effects = read_statements(text)
        names = [name for effect in effects for name in effect.read]
        # A view looks up bare names in its own schema first.
        own = {(*view[:2], name[0]) for name in names if len(name) == 1} & catalog.tables
        read_with[view] = tuple({table for name in names if (table := catalog.find(name))} | own)
        files[view] = tuple(path for effect in effects for path in effect.files_read)
        if any(one.is_unclear or catalog.routines.intersection(one.called) for one in effects):
            opaque.add(view)
    return replace(catalog, read_with=read_with, files=files, opaque=frozenset(opaque))


def display_name(table: Table, default: tuple[str, str]) -> str:
    """The name as it is shown and remembered: without the parts of the default schema."""
    database, schema, name = table
    if (database, schema) == default:
        return name
    return f"{schema}.{name}" if database == default[0] else f"{database}.{schema}.{name}"


def find_file(conn: Any) -> str:
    """The absolute path of the database file; "" where there is none. Raises what DuckDB raises."""
    [(path,)] = ask_duckdb(conn, FILE)
    return os.path.abspath(path) if path else ""


def fold(names: Iterable[str]) -> Table:
    database, schema, name = (part.lower() for part in names)
    return database, schema, name


def resolve_effects(
    done: Sequence[Effect], failed: Sequence[Effect], now: Catalog, before: Catalog
) -> FoundTables:
    """What these statements of one step did; those that failed only looked at tables. `before` is the catalog when the
    step began.

    Temporary tables and the database's own tables are left out.
    """
    effects = (*done, *failed)

    def find(names: Iterable[Name]) -> set[Table]:
        return {table for name in names if (table := now.find(name) or before.find(name))}

    names = [*(one.read for one in effects), *(one.written for one in failed)]
    asked = {name for one in effects for name in one.asked}
    there = now.tables | before.tables
    read = find(name for some in names for name in some)
    read = now.read_whole(read | {table for table in there if table[2] in asked})
    written: set[Table] = set()
    changed: set[Table] = set()
    filled: set[Table] = set()
    for one in done:
        found, inserted = find(one.written), find(one.inserted)
        new = {now.name_new_table(name) for name in one.created} & now.tables
        found |= new - before.tables if one.if_not_exists else new
        written |= found
        changed |= found - inserted
        filled |= found if not one.creates_empty else set()
    if any(one.changes_names for one in done):  # dropped together with others
        gone = {one for one in before.tables - now.tables if one[0] == now.current[0]}
        written, changed = written | gone, changed | gone
    files = [path for one in effects for path in one.files_read if not now.find((path.lower(),))]
    files += [path for table in sorted(read) for path in now.files.get(table, ())]
    made = (written & now.tables) - before.tables
    temporary = now.temporary | before.temporary

    def shown(tables: Iterable[Table]) -> set[str]:
        return {display_name(table, now.default) for table in tables if table not in temporary}

    return FoundTables(
        read=shown(read) | (asked & {WHOLE}),
        written=shown(written),
        changed=shown(changed),
        missed=shown(_find_missed(done, failed, now, before)),
        created=shown(made),
        dropped=shown((written & before.tables) - now.tables),
        kept=shown(_find_kept(done, failed, now, before) - written),
        empty=shown(made - filled),
        files_read=tuple(dict.fromkeys(files)),
        files_written=tuple(dict.fromkeys(path for one in done for path in one.files_written)),
        lists_tables=any(one.lists_tables for one in effects)
        or not asked - {WHOLE} <= {table[2] for table in there},
        is_unclear=bool(read & now.opaque or written & now.active)
        or any(now.routines.intersection(one.called) for one in effects)
        or _has_hidden(now.tables | before.tables),
    )


def _has_hidden(tables: Collection[Table]) -> bool:
    """Whether a temporary table may have hidden another one in the middle of the step."""
    hiding = {name for database, _, name in tables if database == "temp"}
    return any(name in hiding for database, _, name in tables if database != "temp")


def _find_kept(
    done: Sequence[Effect], failed: Sequence[Effect], now: Catalog, before: Catalog
) -> set[Table]:
    """Tables whose creation was skipped, as they were there, or whose dropping, as they were not, and tables that got
    an index."""
    created = [one.created for one in (*(one for one in done if one.if_not_exists), *failed)]
    kept = {now.name_new_table(name) for names in created for name in names} & before.tables
    for effect in done:
        for name in effect.kept:
            if now.find(name) or (name in effect.looked_up and not before.find(name)):
                kept.add(now.find_or_name(name))
    return kept


def _find_missed(
    done: Sequence[Effect], failed: Sequence[Effect], now: Catalog, before: Catalog
) -> set[Table]:
    """The tables that were named and are not there, neither now nor when the step began. Where a statement succeeded,
    its name is a variable of the tool, or a table that was gone later."""
    made = {name[-1] for one in done for name in (*one.temporary_created, *one.created)}
    names = [one.looked_up for one in done]
    names += [(*one.read, *one.written, *one.looked_up) for one in failed]
    return {
        now.find_or_name(name)
        for some in names
        for name in some
        if not (name[-1] in made or _is_no_table(name) or now.find(name) or before.find(name))
    }


def _is_no_table(name: Name) -> bool:
    """Whether it is the database's own, or a file: DuckDB takes a name with a dot or a slash for one."""
    if len(name) > 1:
        return name[-2].startswith("pg_") or name[-2] == "information_schema"
    return name[0].startswith(_SYSTEM) or "." in name[0] or "/" in name[0]
