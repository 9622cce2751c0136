"""What the names in statements mean in one database: which tables there are, and how they depend on each other.

A driver (`driver_duckdb`, `driver_psycopg`) reads a `Catalog` from its database. `resolve_effects` then turns
the effects of statements, with names as they were written, into tables. Pure: it asks no database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.databases.effect import Effect, Name
from discover_orch.databases.table_log import FoundTables

#: (database, schema, name); the database is "" where a connection has only one.
Table = tuple[str, str, str]

#: How the names of a database's own tables begin.
SYSTEM_PREFIXES = ("pg_", "duckdb_", "sqlite_master", "pragma_")


class Catalog(Struct, frozen=True, kw_only=True):
    """The tables of one database at one moment.

    - `search_path`: the (database, schema) pairs in which a bare name is looked up, in this order.
      A new table goes into `current_schema`. Tables of `default_schema` are shown by their bare name.
    - `read_with`: what is read with a table: the tables behind a view, the partitions of a parent. `files`
      are read with it too.
    - `written_with`: what is written with it: partitions, and tables that a foreign key keeps in step.
      `truncated_with`: what a cascading TRUNCATE empties with it.
    - `active` tables have triggers, rules or functions, so that a write to them can do anything; a read of
      an `opaque` view can read anything. `routines` are the names of the user's own functions.
    - `attached`: the other databases of the connection, with the path of their file; "" for one in memory.
    - `has_variables`: a name that is no table may be a variable of the tool (DuckDB).
    """

    tables: frozenset[Table] = frozenset()
    temporary: frozenset[Table] = frozenset()
    search_path: tuple[tuple[str, str], ...] = ()
    current_schema: tuple[str, str] = ("", "")
    read_with: Mapping[Table, tuple[Table, ...]] = field(default_factory=dict)
    files: Mapping[Table, tuple[str, ...]] = field(default_factory=dict)
    written_with: Mapping[Table, tuple[Table, ...]] = field(default_factory=dict)
    truncated_with: Mapping[Table, tuple[Table, ...]] = field(default_factory=dict)
    active: frozenset[Table] = frozenset()
    opaque: frozenset[Table] = frozenset()
    routines: frozenset[str] = frozenset()
    default_schema: tuple[str, str] = ("", "")
    attached: Mapping[str, str] = field(default_factory=dict)
    has_variables: bool = False

    def find(self, name: Name) -> Table | None:
        """The table of this name, or None."""
        return next((one for one in self._candidates(name) if one in self.tables), None)

    def find_permanent(self, name: Name) -> Table | None:
        """The same, if there were no temporary tables."""
        kept = self.tables - self.temporary
        return next((one for one in self._candidates(name) if one in kept), None)

    def find_or_name(self, name: Name) -> Table:
        """The table of this name, or the one that a CREATE would make."""
        return self.find(name) or self.name_new_table(name)

    def name_new_table(self, name: Name) -> Table:
        """The table that a CREATE with this name makes."""
        if len(name) == 1:
            return (*self.current_schema, name[0])
        return self.find(name) or next(self._candidates(name))

    def display_name(self, table: Table) -> str:
        """The name as it is shown and remembered: without the parts of the default schema."""
        database, schema, name = table
        if (database, schema) == self.default_schema:
            return name
        if database == self.default_schema[0]:
            return f"{schema}.{name}"
        return f"{database}.{schema}.{name}"

    def _candidates(self, name: Name) -> Iterator[Table]:
        *outer, last = name
        match outer:
            case []:
                return iter([(database, schema, last) for database, schema in self.search_path])
            case [one]:
                database = self.current_schema[0]
                # In DuckDB `one.name` may be a table of the main schema of the database `one`.
                return iter([(database, one, last), (one, self.default_schema[1], last)])
            case [*_, database, schema]:
                return iter([(database if self.current_schema[0] else "", schema, last)])
        raise AssertionError(name)


def _with_related(
    tables: Iterable[Table], related: Mapping[Table, tuple[Table, ...]]
) -> set[Table]:
    found = set()
    waiting = [*tables]
    while waiting:
        table = waiting.pop()
        if table not in found:
            found.add(table)
            waiting.extend(related.get(table, ()))
    return found


def resolve_effects(effects: Sequence[Effect], now: Catalog, before: Catalog) -> FoundTables:
    """What these statements of one step did. `before` is the catalog when the step began.

    Temporary tables and the database's own tables are left out.
    """
    created = {
        name
        for effect in effects
        if not effect.has_failed
        for name in (*effect.temporary_created, *effect.created)
    }
    named = {name for effect in effects for name in effect.read}
    read = {table for name in named for table in _find(name, created, now, before)}
    read = _with_related(read, now.read_with)
    written = set().union(*(_find_written(effect, created, now, before) for effect in effects))
    changed = set().union(
        *(_find_written(_without_inserts(effect), created, now, before) for effect in effects)
    )
    if any(effect.changes_names for effect in effects):  # dropped together with others
        gone = {one for one in before.tables - now.tables if one[0] == now.current_schema[0]}
        written, changed = written | gone, changed | gone
    files = [path for effect in effects for path in effect.files_read]
    files = [path for path in files if not now.find((path.lower(),))]
    files += [path for table in sorted(read) for path in now.files.get(table, ())]
    temporary = now.temporary | before.temporary
    made = (written & now.tables) - before.tables
    filled = set().union(
        *(_find_written(one, created, now, before) for one in effects if not one.creates_empty)
    )
    calls_routine = any(now.routines.intersection(effect.called) for effect in effects)

    def display_names(tables: Iterable[Table]) -> set[str]:
        return {now.display_name(table) for table in tables if table not in temporary}

    return FoundTables(
        read=display_names(read),
        written=display_names(written),
        changed=display_names(changed),
        missed=display_names(_find_missed(effects, created, now, before)),
        created=display_names(made),
        dropped=display_names((written & before.tables) - now.tables),
        kept=display_names(_find_kept(effects, now, before) - written),
        empty=display_names(made - filled),
        files_read=tuple(dict.fromkeys(files)),
        files_written=tuple(dict.fromkeys(path for one in effects for path in one.files_written)),
        lists_tables=any(one.lists_tables for one in effects),
        is_unclear=bool(
            read & now.opaque
            or written & now.active
            or calls_routine
            or _has_ambiguous_names(effects)
        ),
    )


def _find_written(
    effect: Effect, created: Collection[Name], now: Catalog, before: Catalog
) -> set[Table]:
    """The tables that one statement wrote to, created or dropped."""
    written = {table for name in effect.written for table in _find(name, created, now, before)}
    if effect.changes_names:
        # Creating or dropping a view does nothing to its tables. And IF EXISTS may have found nothing.
        written &= now.tables | before.tables
    else:
        if effect.cascades:
            written = _with_related(written, now.truncated_with)
        written = _with_related(written, now.written_with)
    created_now = () if effect.has_failed else effect.created
    for table in {now.name_new_table(name) for name in created_now} & now.tables:
        if not effect.if_not_exists or table not in before.tables:
            written.add(table)
    return written


def _without_inserts(effect: Effect) -> Effect:
    return replace(
        effect, written=tuple(one for one in effect.written if one not in effect.inserted)
    )


def _find_kept(effects: Sequence[Effect], now: Catalog, before: Catalog) -> set[Table]:
    """Tables whose creation was skipped, as they were there, or whose dropping, as they were not, and tables that got
    an index."""
    kept = set()
    for effect in effects:
        if effect.if_not_exists or effect.has_failed:
            kept |= {now.name_new_table(name) for name in effect.created} & before.tables
        for name in effect.kept:
            if now.find(name) or (name in effect.looked_up and not before.find(name)):
                kept.add(now.find_or_name(name))
    return kept


def _find_missed(
    effects: Sequence[Effect], created: Collection[Name], now: Catalog, before: Catalog
) -> set[Table]:
    """The tables that were named and are not there, neither now nor when the step began."""
    missed = set()
    made = {now.name_new_table(name) for name in created}
    for effect in effects:
        for name in (*effect.read, *effect.written, *effect.looked_up):
            is_made = name in created or now.find_or_name(name) in made
            is_known = is_made or _is_system(name) or _is_file(name)
            if is_known or now.find(name) or before.find(name):
                continue
            is_sure = effect.has_failed or name in effect.looked_up
            if is_sure or not (now.has_variables and len(name) == 1):
                missed.add(now.find_or_name(name))
    return missed


def _find(
    name: Name, temporary_created: Collection[Name], now: Catalog, before: Catalog
) -> Collection[Table]:
    """The tables that this name may mean, now or when the step began."""
    found, earlier = now.find(name), before.find(name)
    if found is None and earlier is None:
        return ()
    if found not in now.temporary:
        candidates = [found or earlier]
    else:  # this temporary table may have hidden another one in the middle of the step
        candidates = [
            found,
            earlier,
            now.find_permanent(name) if name in temporary_created else None,
        ]
    return [one for one in candidates if one is not None]


def _is_system(name: Name) -> bool:
    if len(name) > 1:
        return name[-2].startswith("pg_") or name[-2] == "information_schema"
    return name[0].startswith(SYSTEM_PREFIXES)


def _is_file(name: Name) -> bool:
    """DuckDB reads a name with a dot or a slash as a file where there is no such table."""
    return len(name) == 1 and ("." in name[0] or "/" in name[0])


def _has_ambiguous_names(effects: Sequence[Effect]) -> bool:
    """Whether tables were named before the search path changed, or before such a change was rolled back."""
    if not any(one.changes_search_path for one in effects):
        return False
    last = max(n for n, one in enumerate(effects) if one.changes_search_path or one.rolls_back)
    return any(one.read or one.written or one.created for one in effects[:last])
