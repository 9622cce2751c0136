"""Functions, sequences, types, triggers and indexes on PostgreSQL: which there are, which a transaction has made, and
which its statements use.

The catalog says what was made: of rows that are visible, those that an unfinished transaction has made are its own. No
lock and no counter tells who uses a function, a type or a sequence. So a statement uses each whose name is among its
words, or among those of what it uses: of the definition of a view, of another function, of the columns of a table.
"""

from __future__ import annotations

import functools
import re

import msgspec

from discover_orch.databases.table_log import FoundTables, find_objects
from discover_orch.model.keys import acting_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

#: Whether there may be any: in most databases there are none, and then nothing more is asked.
HAS_OBJECTS = """
EXISTS (SELECT FROM pg_catalog.pg_proc WHERE oid >= 16384)
OR EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid >= 16384 AND NOT indisprimary)
OR EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE NOT tgisinternal)
OR EXISTS (SELECT FROM pg_catalog.pg_type WHERE typtype IN ('e', 'd', 'r') AND oid >= 16384)
OR EXISTS (SELECT FROM pg_catalog.pg_class WHERE relkind IN ('c', 'S') AND oid >= 16384)
"""
#: As JSON. What belongs to a table, a constraint or an extension is not listed by itself. A function's definition
#: contains its body, an aggregate's the functions that it calls.
OBJECTS = """
SELECT coalesce(json_agg(json_build_array(
    o.kind, n.nspname, o.name, o.oid::int8, o.made, coalesce(
        CASE WHEN o.made <= 2 OR f.made - now.begun > 2147483648 THEN false
        WHEN f.made < now.until THEN txid_status(f.made) = 'in progress' ELSE true END, false),
    o.definition, o."table", o.acts
)), '[]')::text FROM (
    SELECT 'function' AS kind, p.pronamespace AS namespace, p.proname AS name, p.oid, p.xmin::text::int8 AS made,
        CASE WHEN a.aggfnoid IS NULL THEN pg_catalog.pg_get_functiondef(p.oid) ELSE concat_ws(' ',
            pg_catalog.pg_get_function_arguments(p.oid), a.aggtransfn, a.aggfinalfn, a.agginitval,
            format_type(a.aggtranstype, NULL)) END AS definition,
        0::int8 AS "table", false AS acts, 'pg_catalog.pg_proc'::regclass AS class
    FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_proc p ON p.oid = d.objid
    LEFT JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = p.oid
    WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.classid = 'pg_catalog.pg_proc'::regclass
    UNION ALL
    SELECT 'type', t.typnamespace, t.typname, t.oid, greatest(t.xmin::text::int8,
        (SELECT max(xmin::text::int8) FROM pg_catalog.pg_enum WHERE enumtypid = t.oid),
        (SELECT max(xmin::text::int8) FROM pg_catalog.pg_attribute WHERE attrelid = t.typrelid),
        (SELECT max(xmin::text::int8) FROM pg_catalog.pg_constraint WHERE contypid = t.oid)
    ), concat_ws(' ', t.typtype,
        (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_catalog.pg_enum WHERE enumtypid = t.oid),
        (SELECT array_agg(attname || ' ' || format_type(atttypid, atttypmod) ORDER BY attnum)
            FROM pg_catalog.pg_attribute WHERE attrelid = t.typrelid AND NOT attisdropped),
        CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END, t.typnotnull, t.typdefault,
        (SELECT array_agg(pg_catalog.pg_get_constraintdef(oid) ORDER BY conname)
            FROM pg_catalog.pg_constraint WHERE contypid = t.oid),
        (SELECT format_type(rngsubtype, NULL) FROM pg_catalog.pg_range WHERE rngtypid = t.oid)
    ), 0, false, 'pg_catalog.pg_type'::regclass
    FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
    WHERE t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c'
    UNION ALL
    SELECT 'sequence', c.relnamespace, c.relname, c.oid,
        greatest(c.xmin::text::int8, s.xmin::text::int8), concat_ws(' ', format_type(s.seqtypid, NULL),
        s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle
    ), 0, false, 'pg_catalog.pg_class'::regclass
    FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
    UNION ALL
    SELECT 'index', c.relnamespace, c.relname, c.oid, c.xmin::text::int8, pg_catalog.pg_get_indexdef(c.oid),
        i.indrelid::int8, i.indisunique, 'pg_catalog.pg_class'::regclass
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    WHERE c.relpersistence <> 't' AND NOT i.indisprimary
    UNION ALL
    SELECT 'trigger', c.relnamespace, t.tgname, t.oid, t.xmin::text::int8,
        pg_catalog.pg_get_triggerdef(t.oid) || t.tgenabled::text, t.tgrelid::int8, true,
        'pg_catalog.pg_trigger'::regclass
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND c.relpersistence <> 't'
) o JOIN pg_catalog.pg_namespace n ON n.oid = o.namespace
CROSS JOIN (SELECT txid_current_if_assigned() AS begun, txid_snapshot_xmax(txid_current_snapshot()) AS until) now
CROSS JOIN LATERAL (
    SELECT now.begun + (o.made - now.begun % 4294967296 + 4294967296) % 4294967296 AS made  -- with its epoch
) f WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND o.oid >= 16384 AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = o.class AND d.objid = o.oid AND (
        d.deptype IN ('e', 'i') OR d.deptype = 'a' AND o.kind = 'sequence'))
"""
#: Of tables and views: what their definition mentions.
TEXTS = """
SELECT concat_ws(' ',
    CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) END,
    (SELECT string_agg(format_type(atttypid, atttypmod), ' ') FROM pg_catalog.pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
    (SELECT string_agg(pg_catalog.pg_get_expr(adbin, adrelid), ' ') FROM pg_catalog.pg_attrdef WHERE adrelid = c.oid),
    (SELECT string_agg(pg_catalog.pg_get_constraintdef(oid), ' ') FROM pg_catalog.pg_constraint
        WHERE conrelid = c.oid AND contype = 'c')
) FROM pg_catalog.pg_class c WHERE c.oid IN ({})
"""
_WORD = re.compile(r"[^\W\d]\w*")
_LONGEST_CACHED = 5_000  # characters
#: What statements name.
_NAMED = frozenset({"function", "sequence", "type"})


class Object(msgspec.Struct, frozen=True, array_like=True):
    """`made` is the number of the transaction that made it as it is; `is_own`: this is the present one, or a part of
    it. `table`: the number of the table to which it belongs, or 0; `acts`: what is written there depends on it."""

    kind: str
    schema: str
    name: str
    oid: int
    made: int
    is_own: bool
    definition: str | None
    table: int
    acts: bool

    @property
    def shown(self) -> str:
        return (
            f"{self.kind} {self.name if self.schema == 'public' else f'{self.schema}.{self.name}'}"
        )

    @property
    def text(self) -> str:
        return self.definition or ""


def read_words(text: str) -> frozenset[str]:
    return _read_cached(text) if len(text) <= _LONGEST_CACHED else _read(text)


def _read(text: str) -> frozenset[str]:
    return frozenset(one[0] for one in _WORD.finditer(text.lower()))


_read_cached = functools.lru_cache(maxsize=512)(_read)


def read_values(params: Any) -> frozenset[str]:
    """The words of the texts among the values of a statement."""
    values = params.values() if isinstance(params, dict) else params
    if not isinstance(params, dict | list | tuple):
        return frozenset()
    return frozenset().union(*(read_words(one) for one in values if isinstance(one, str)))


def has_named(objects: Iterable[Object]) -> bool:
    """Whether there are any of which only texts say that they are used."""
    return any(one.kind in _NAMED for one in objects)


def find_used(words: Collection[str], objects: Iterable[Object]) -> set[str]:
    """The functions, sequences and types that a text with these words uses, and those that these use."""
    known, found = {*words}, set[str]()
    waiting = [one for one in objects if one.kind in _NAMED]
    while used := [one for one in waiting if read_words(one.name) <= known]:
        found.update(one.shown for one in used)
        known.update(*(read_words(one.text) for one in used))
        waiting = [one for one in waiting if one.shown not in found]
    return found


def find_made(
    before: Collection[Object], now: Collection[Object], names: Mapping[int, str], kept: set[str]
) -> FoundTables:
    """What the transaction has made, changed or dropped. `names` are those of tables, by their numbers; `kept` those
    of sequences and indexes that it would have made if they had not been there, without schema."""
    then, there = _by_name(before), _by_name(now)
    made = {one.shown for one in now if one.is_own and then.get(one.shown) != there[one.shown]}
    gone = then.keys() - there.keys()
    same = {one.shown for one in now if one.name in kept and one.kind in ("index", "sequence")}
    if not (made or gone or same):
        return FoundTables()
    tables = {names.get(one.table, "") for one in now if one.shown in made | same}
    acted, acting = find_acting(before, names), find_acting(now, names)
    return find_objects(made, gone, same, tables, acted, acting)


def _by_name(objects: Iterable[Object]) -> dict[str, set[tuple[int, int]]]:
    """There are several functions of one name, and triggers of several tables."""
    found: dict[str, set[tuple[int, int]]] = {}
    for one in objects:
        found.setdefault(one.shown, set()).add((one.oid, one.made))
    return found


def find_acting(objects: Collection[Object], names: Mapping[int, str]) -> dict[str, str]:
    """For each table the definitions of its unique indexes and of its triggers, with the functions that they use."""
    found: dict[str, list[str]] = {}
    for one in objects:
        if one.acts and one.table in names:
            used = find_used(read_words(one.text), objects)
            more = sorted(other.text for other in objects if other.shown in used)
            found.setdefault(names[one.table], []).append("\n".join((one.text, *more)))
    return {table: "\n".join(sorted(parts)) for table, parts in found.items()}


def find_definitions(objects: Collection[Object], names: Mapping[int, str]) -> dict[str, str]:
    """The definition of each by its name, and what `find_acting` finds by the `acting_name` of its table."""
    found: dict[str, list[str]] = {}
    for one in objects:
        found.setdefault(one.shown, []).append(one.text)
    acting = {acting_name(one): text for one, text in find_acting(objects, names).items()}
    return {name: "\n".join(sorted(texts)) for name, texts in found.items()} | acting
