"""What the names in statements mean in one database: which tables there are, and what hangs on each.

A `Catalog` is made by who can ask the database (`drivers`). In: the effects of statements, with names as they were
written. Out: which tables these are, in words to show and remember. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field

from discover_orch.databases.sql_effects import Effect, Name

#: (database, schema, name); the database is "" where a connection has but one.
Table = tuple[str, str, str]

#: How names of the databases' own tables begin.
SYSTEM = ("pg_", "duckdb_", "sqlite_master", "pragma_")


class Catalog(Struct, frozen=True, kw_only=True):
    """`places` are the (database, schema) in which a bare name is looked up, in this order, and `here` is the one
    where a new table is made.

    `within`: what is read with a table: of a view what it is made of, of a parent its partitions; `files` are those
    that are read with it. `along`: what is written with it: partitions, and what rows are deleted from with its own;
    `referring` is what a TRUNCATE that cascades empties with it. `active` tables have triggers, rules or functions:
    what a write to them does nobody can see; nor what is read with `opaque` views. `routines` are the names of the
    user's own functions. `plain` is the place whose name is not shown. `has_variables`: what is no table may be a
    variable of the tool's.
    """

    tables: frozenset[Table] = frozenset()
    temporary: frozenset[Table] = frozenset()
    places: tuple[tuple[str, str], ...] = ()
    here: tuple[str, str] = ("", "")
    within: Mapping[Table, tuple[Table, ...]] = field(default_factory=dict)
    files: Mapping[Table, tuple[str, ...]] = field(default_factory=dict)
    along: Mapping[Table, tuple[Table, ...]] = field(default_factory=dict)
    referring: Mapping[Table, tuple[Table, ...]] = field(default_factory=dict)
    active: frozenset[Table] = frozenset()
    opaque: frozenset[Table] = frozenset()
    routines: frozenset[str] = frozenset()
    plain: tuple[str, str] = ("", "")
    has_variables: bool = False

    def find(self, name: Name) -> Table | None:
        """The table that is meant; None where there is none."""
        return next((one for one in self._candidates(name) if one in self.tables), None)

    def find_behind(self, name: Name) -> Table | None:
        """The one that would be meant without temporary tables."""
        kept = self.tables - self.temporary
        return next((one for one in self._candidates(name) if one in kept), None)

    def expect(self, name: Name) -> Table:
        """The same, and where there is none that which would be made under this name."""
        return self.find(name) or self.make(name)

    def make(self, name: Name) -> Table:
        """The table that is made under this name, whatever else is found by it."""
        if len(name) == 1:
            return (*self.here, name[0])
        return self.find(name) or next(self._candidates(name))

    def show(self, table: Table) -> str:
        """Without the parts that all tables share."""
        database, schema, name = table
        if (database, schema) == self.plain:
            return name
        if database == self.plain[0]:
            return f"{schema}.{name}"
        return f"{database}.{schema}.{name}"

    def _candidates(self, name: Name) -> Iterator[Table]:
        *outer, last = name
        match outer:
            case []:
                return iter([(database, schema, last) for database, schema in self.places])
            case [one]:
                here = self.here[0]
                # In DuckDB `one.name` may be a table of the main schema of the database `one`.
                return iter([(here, one, last), (one, self.plain[1], last)])
            case [*_, database, schema]:
                return iter([(database if self.here[0] else "", schema, last)])
        raise AssertionError(name)


def _closure(tables: Iterable[Table], more: Mapping[Table, tuple[Table, ...]]) -> set[Table]:
    found = set()
    waiting = [*tables]
    while waiting:
        table = waiting.pop()
        if table not in found:
            found.add(table)
            waiting.extend(more.get(table, ()))
    return found


class TableEffects(Struct, frozen=True, kw_only=True):
    """What a step read and wrote: tables as they are shown, and paths or globs as it gave them."""

    read: frozenset[str] = frozenset()
    written: frozenset[str] = frozenset()
    files_read: tuple[str, ...] = ()
    files_written: tuple[str, ...] = ()
    is_unclear: bool = False


def look_up(effects: Sequence[Effect], now: Catalog, before: Catalog) -> TableEffects:
    """What these statements did; `before` is what there was when the step began. Temporary tables and the database's
    own are nobody's matter."""
    passing = {name for one in effects for name in (*one.passing, *one.made)}
    read: set[Table] = set()
    written: set[Table] = set()
    files: dict[str, None] = {}
    for effect in effects:
        read.update(*(_find(name, passing, now, before) for name in effect.read))
        targets = {one for name in effect.written for one in _find(name, passing, now, before)}
        if effect.changes_names:
            # Who makes or drops a view does nothing to what it is made of. And IF EXISTS may have found nothing.
            written |= targets & (now.tables | before.tables)
        else:
            targets = _closure(targets, now.referring) if effect.cascades else targets
            written |= _closure(targets, now.along)
        for table in {now.make(name) for name in effect.made} & now.tables:
            if not effect.if_absent or table not in before.tables:
                written.add(table)
        files |= dict.fromkeys(one for one in effect.files_read if not now.find((one.lower(),)))
    if any(one.changes_names for one in effects):  # what went with others
        written |= {one for one in before.tables - now.tables if one[0] == now.here[0]}
    read = _closure(read, now.within)
    files |= dict.fromkeys(path for one in sorted(read) for path in now.files.get(one, ()))
    passed_by = now.temporary | before.temporary
    return TableEffects(
        read=frozenset(now.show(one) for one in read - passed_by),
        written=frozenset(now.show(one) for one in written - passed_by),
        files_read=tuple(files),
        files_written=tuple(dict.fromkeys(path for one in effects for path in one.files_written)),
        is_unclear=bool(
            read & now.opaque
            or written & now.active
            or any(now.routines.intersection(one.called) for one in effects)
            or _moves_between(effects)
        ),
    )


def _find(
    name: Name, passing: Collection[Name], now: Catalog, before: Catalog
) -> Collection[Table]:
    """The table that is meant, as things are now or were before; else the one that would be."""
    found, earlier = now.find(name), before.find(name)
    if found is None and earlier is None:
        is_nobodys = name in passing or _is_system(name) or _is_file(name)
        is_variable = now.has_variables and len(name) == 1
        return () if is_nobodys or is_variable else (now.expect(name),)
    if found not in now.temporary:
        meant = [found or earlier]
    else:  # it may have been made in front of one that was meant until then
        meant = [found, earlier, now.find_behind(name) if name in passing else None]
    return [one for one in meant if one is not None]


def _is_system(name: Name) -> bool:
    if len(name) > 1:
        return name[-2].startswith("pg_") or name[-2] == "information_schema"
    return name[0].startswith(SYSTEM)


def _is_file(name: Name) -> bool:
    """DuckDB takes a name with a dot or a slash for a file, where there is no such table."""
    return len(name) == 1 and ("." in name[0] or "/" in name[0])


def _moves_between(effects: Sequence[Effect]) -> bool:
    """Whether names were used before it was said anew where they are looked up, or before that was taken back."""
    if not any(one.moves_names for one in effects):
        return False
    last = max(n for n, one in enumerate(effects) if one.moves_names or one.undoes)
    return any(one.read or one.written or one.made for one in effects[:last])
