"""What the names in statements mean in one database: which tables there are, and what hangs on each.

A `Catalog` is made by who can ask the database (`drivers`). In: the effects of statements, with names as they were
written. Out: which tables these are, in words to show and remember. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from discover_orch.statements import Effect, Name
from discover_orch.value import field, value

#: (database, schema, name); the database is "" where a connection has but one.
Table = tuple[str, str, str]

#: How names of the databases' own tables begin.
SYSTEM = ("pg_", "duckdb_", "sqlite_master", "pragma_")


@value
class Catalog:
    """`places` are the (database, schema) in which a bare name is looked up, in this order, and `here` is the one
    where a new table is made.

    `within`: what is read with a table: of a view what it is made of, of a parent its partitions. `along`: what is
    written with it: partitions, and what rows are deleted from with its own. `active` tables have triggers or rules:
    what a write to them does nobody can see; nor what is read with `opaque` views. `routines` are the names of the
    user's own functions. `plain` is the place whose name is not shown.
    """

    tables: frozenset[Table] = frozenset()
    temporary: frozenset[Table] = frozenset()
    places: tuple[tuple[str, str], ...] = ()
    here: tuple[str, str] = ("", "")
    within: Mapping[Table, tuple[Table, ...]] = field(default_factory=dict)
    along: Mapping[Table, tuple[Table, ...]] = field(default_factory=dict)
    active: frozenset[Table] = frozenset()
    opaque: frozenset[Table] = frozenset()
    routines: frozenset[str] = frozenset()
    plain: tuple[str, str] = ("", "")

    def find(self, name: Name) -> Table | None:
        """The table that is meant; None where there is none."""
        return next((one for one in self._candidates(name) if one in self.tables), None)

    def expect(self, name: Name) -> Table:
        """The same, and where there is none that which would be made under this name."""
        found = self.find(name)
        if found is None and len(name) == 1:
            return (*self.here, name[0])
        return found or next(self._candidates(name))

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
                here = self.plain[0]
                # In DuckDB `one.name` may be a table of the main schema of the database `one`.
                return iter([(here, one, last), (one, self.plain[1], last)])
            case [*_, database, schema]:
                return iter([(database if self.plain[0] else "", schema, last)])
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


@value
class Touched:
    """What a step read and wrote: tables as they are shown, and paths or globs as it gave them."""

    read: frozenset[str] = frozenset()
    written: frozenset[str] = frozenset()
    files_read: tuple[str, ...] = ()
    files_written: tuple[str, ...] = ()
    is_unclear: bool = False


def look_up(
    effects: Sequence[Effect], named: Iterable[tuple[str, bool]], now: Catalog, before: Catalog
) -> Touched:
    """What these statements did, and methods that were given the name of a table (and whether they write it). `before`
    is what there was when the step began. Temporary tables and the database's own are nobody's matter."""
    passing = {name for one in effects for name in one.passing}

    def find(names: Iterable[Name]) -> set[Table]:
        return {table for name in names if (table := _find(name, passing, now, before))}

    read: set[Table] = set()
    written: set[Table] = set()
    files: dict[str, None] = {}
    for effect in effects:
        read |= find(effect.read)
        targets = find(effect.written)
        # Who makes or drops a view does nothing to what it is made of.
        written |= targets if effect.changes_names else _closure(targets, now.along)
        written |= find(name for name in effect.made if not before.find(name))
        files |= dict.fromkeys(one for one in effect.files_read if not now.find((one.lower(),)))
    for text, is_written in named:
        (written if is_written else read).update(find([tuple(text.lower().split("."))]))
    read = _closure(read, now.within)
    return Touched(
        read=frozenset(now.show(one) for one in read - now.temporary),
        written=frozenset(now.show(one) for one in written - now.temporary),
        files_read=tuple(files),
        files_written=tuple(dict.fromkeys(path for one in effects for path in one.files_written)),
        is_unclear=bool(
            read & now.opaque
            or written & now.active
            or any(now.routines.intersection(one.called) for one in effects)
            or _moves_between(effects)
        ),
    )


def _find(name: Name, passing: Collection[Name], now: Catalog, before: Catalog) -> Table | None:
    """The table that is meant, as things are now or were before; else the one that would be."""
    table = now.find(name)
    if table is None and (name in passing or _is_system(name) or _is_file(name)):
        return None
    return table or before.find(name) or now.expect(name)


def _is_system(name: Name) -> bool:
    if len(name) > 1:
        return name[-2].startswith("pg_") or name[-2] == "information_schema"
    return name[0].startswith(SYSTEM)


def _is_file(name: Name) -> bool:
    """DuckDB takes a name with a dot or a slash for a file, where there is no such table."""
    return len(name) == 1 and ("." in name[0] or "/" in name[0])


def _moves_between(effects: Sequence[Effect]) -> bool:
    """Whether names were used before it was said anew where they are looked up."""
    moves = [number for number, one in enumerate(effects) if one.moves_names]
    return bool(moves) and any(one.read or one.written for one in effects[: moves[-1]])
