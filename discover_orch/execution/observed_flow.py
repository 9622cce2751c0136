"""The data flow of one attempt of a tool: what it was observed to read and write, and what it shares with
other users of its modules and resources. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.observation import Observation, TableUse
from discover_orch.staleness.fingerprint import Key, Write


def build_flow(
    seen: Observation,
    shared: Collection[Observation],
    own: Collection[Key],
    made: Mapping[str, Write],
    **known: Any,
) -> Dataflow:
    """What the tool read and wrote, with what it shares with other users of its modules and resources. `own` are the
    keys of what it surely wrote; `made` are tables that it made before; `known` are fields of the `Dataflow` that are
    known already."""
    both = (seen, *shared)
    filled = [name for name, one in made.items() if not one.only_creates]
    tables: dict[str, Any] = {name: getattr(seen, name) for name in TableUse.__struct_fields__}
    tables |= {
        "tables_read": _tables(seen, shared),
        "tables_written": tuple(dict.fromkeys((*seen.tables_written, *made))),
        "tables_missed": tuple(name for name in find_tables_missed(seen, shared) if name),
        "tables_found": tuple(dict.fromkeys(name for one in both for name in one.tables_found)),
        "tables_kept": tuple(name for name in seen.tables_kept if name not in filled),
        "lists_tables": any(one.lists_tables for one in both),
        "is_unclear": any(one.is_unclear for one in both),
    }
    return Dataflow(
        reads=_paths(seen, shared, own={*seen.written}),
        writes=seen.written,
        folders=tuple({folder: None for one in (*shared, seen) for folder, _ in one.listed}),
        missed=(*find_missed(seen, shared, own), *_find_asked(seen, shared, own)),
        appended=seen.appended,
        removed=seen.removed,
        native_reads=_native_reads(seen, shared),
        native_writes=seen.native_written,
        native_updates=seen.native_before,
        gaps=tuple(dict.fromkeys(gap for one in both for gap in one.gaps)),
        **known,
        **tables,
    )


def find_changed(seen: Observation) -> Iterator[str]:
    """The files that it wrote or removed."""
    yield from (*seen.written, *seen.native_written, *seen.removed)


def uses_main_database(seen: Observation) -> bool:
    """Whether it used the project's database, with or without `conn`."""
    return seen.is_unclear or bool(seen.tables_read or seen.tables_written)


def find_missed(
    seen: Observation, shared: Iterable[Observation], own: Collection[str]
) -> tuple[str, ...]:
    missed = dict.fromkeys(seen.missed)
    for one in shared:
        missed.update(dict.fromkeys(path for path in one.missed if f"file:{path}" not in own))
    return tuple(missed)


def _find_asked(
    seen: Observation, shared: Iterable[Observation], own: Collection[str]
) -> Iterator[str]:
    """The files that were there when they were asked for. That a folder is there says nothing of the tools that write
    into it."""
    for one in (seen, *shared):
        for path in one.asked:
            if path[-1] != "/" and f"file:{path}" not in own:
                yield path


def _paths(
    seen: Observation, shared: Iterable[Observation], own: Collection[str]
) -> tuple[str, ...]:
    """The files that were read by the tool or shared, except `own`."""
    paths = dict.fromkeys(path for path, *_ in seen.read)
    for one in shared:
        paths.update(dict.fromkeys(path for path, *_ in one.read if path not in own))
    return tuple(paths)


def _native_reads(seen: Observation, shared: Iterable[Observation]) -> tuple[str, ...]:
    """Without what the tool had written by then."""
    own = {*seen.written, *seen.native_written}.difference(seen.native_before)
    read = dict.fromkeys(path for one in (seen, *shared) for path, *_ in one.native_read)
    return tuple(path for path in read if path not in own)


def _tables(seen: Observation, shared: Iterable[Observation]) -> tuple[str, ...]:
    """Tables that were written while a resource was opened count as read: its users depend on them."""
    tables = {*seen.tables_read}
    for one in shared:
        tables.update(one.tables_read, one.tables_written)
    return tuple(sorted(tables))


def find_tables_missed(seen: Observation, shared: Iterable[Observation]) -> Iterator[str]:
    """Tables that were looked for in vain; "" for the list of tables."""
    for one in (seen, *shared):
        yield from one.tables_missed
        if one.lists_tables:
            yield ""
