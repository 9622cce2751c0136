"""The data flow of one attempt of a tool: what it was observed to read and write, and what was read when its modules
were loaded and its resources opened. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.observation import Observation


def build_flow(
    seen: Observation,
    setup: Collection[Observation],
    missed: tuple[str, ...],
    folders: tuple[str, ...],
    folders_made: tuple[str, ...],
    made: Iterable[str],
    filled: Collection[str],
    kept: Iterable[str],
    native_sure: tuple[str, ...],
    native_beside: tuple[str, ...],
) -> Dataflow:
    """What the tool read and wrote, and what was read during setup. `made` are tables that it made before, `filled`
    those of them whose rows it made too, `kept` those that another tool has read and of which a module keeps
    something; `native_sure` and `native_beside` are as of `Dataflow`."""
    return Dataflow(
        reads=_paths(seen, setup, own={*seen.written}),
        writes=seen.written,
        tables_read=_tables(seen, setup, kept),
        tables_written=tuple(dict.fromkeys((*seen.tables_written, *made))),
        folders=folders,
        missed=missed,
        appended=seen.appended,
        removed=seen.removed,
        native_reads=_native_reads(seen, setup),
        native_writes=seen.native_written,
        native_updates=seen.native_before,
        native_sure=native_sure,
        native_beside=native_beside,
        folders_made=folders_made,
        tables_missed=tuple(name for name in find_tables_missed(seen, setup) if name),
        tables_inserted=seen.tables_inserted,
        tables_created=seen.tables_created,
        tables_dropped=seen.tables_dropped,
        tables_kept=tuple(name for name in seen.tables_kept if name not in filled),
        lists_tables=any(one.lists_tables for one in (seen, *setup)),
        is_unclear=seen.is_unclear or any(one.is_unclear for one in setup),
        gaps=seen.gaps,
    )


def find_changed(seen: Observation) -> Iterator[str]:
    """The files that it wrote or removed."""
    yield from (*seen.written, *seen.native_written, *seen.removed)


def uses_main_database(seen: Observation) -> bool:
    """Whether it used the project's database, with or without `conn`."""
    return seen.is_unclear or bool(seen.tables_read or seen.tables_written)


def find_missed(
    seen: Observation, setup: Iterable[Observation], own: Collection[str]
) -> tuple[str, ...]:
    missed = dict.fromkeys(seen.missed)
    for one in setup:
        missed.update(dict.fromkeys(path for path in one.missed if f"file:{path}" not in own))
    return tuple(missed)


def _paths(
    seen: Observation, setup: Iterable[Observation], own: Collection[str]
) -> tuple[str, ...]:
    """The files that were read by the tool or during setup, except `own`."""
    paths = dict.fromkeys(path for path, *_ in seen.read)
    for one in setup:
        paths.update(dict.fromkeys(path for path, *_ in one.read if path not in own))
    return tuple(paths)


def _native_reads(seen: Observation, setup: Iterable[Observation]) -> tuple[str, ...]:
    """Without what the tool had written by then."""
    own = {*seen.written, *seen.native_written}.difference(seen.native_before)
    read = dict.fromkeys(path for one in (seen, *setup) for path, *_ in one.native_read)
    return tuple(path for path in read if path not in own)


def _tables(
    seen: Observation, setup: Iterable[Observation], kept: Iterable[str]
) -> tuple[str, ...]:
    """Tables that were written during setup count as read: the later tools depend on them."""
    tables = {*seen.tables_read, *kept}
    for one in setup:
        tables.update(one.tables_read, one.tables_written)
    return tuple(sorted(tables))


def find_tables_missed(seen: Observation, setup: Iterable[Observation]) -> Iterator[str]:
    """Tables that were looked for in vain; "" for the list of tables."""
    for one in (seen, *setup):
        yield from one.tables_missed
        if one.lists_tables:
            yield ""
