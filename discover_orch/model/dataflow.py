"""What a tool reads and writes: files and tables, observed and declared. Compares names; reads no files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace


class Dataflow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The files and tables that a tool reads and writes. Paths are relative to the root.

    Observed. Empty means that nothing is known, not that there is nothing.

    - `reads`, `writes`: files; `missed` files were looked for, and did not exist or were not read; `folders` were
      listed, "." is the root. `appended`: those of `writes` that it only opened to append to them. `removed` files
      were there before it. `folders_made`: they were not there before the tool made them, now or at an earlier
      success. They say what is downstream of what, and never change the order of tools.
    - Tables, by the names of `keys.py`. `tables_kept`: no row of them was changed; those that were created are in
      `tables_written` too, since readers of them need that. The others are as the kinds of a `Use`. `rows`: of the
      tables of these rows it reads and writes nothing else.
    - `is_unclear`: there were statements that could not be observed.
    - `gaps`: why the rest is incomplete, as ends of the sentence "orch cannot see everything: it ...".

    Declared. `inputs` and `outputs`: files, folders and globs. `has_inputs`, `has_outputs`: they are given, and an
    empty list: there are none but those that orch sees.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    appended: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    folders_made: tuple[str, ...] = ()
    tables_read: tuple[str, ...] = ()
    tables_written: tuple[str, ...] = ()
    tables_missed: tuple[str, ...] = ()
    tables_found: tuple[str, ...] = ()
    tables_inserted: tuple[str, ...] = ()
    tables_created: tuple[str, ...] = ()
    tables_dropped: tuple[str, ...] = ()
    tables_kept: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    lists_tables: bool = False
    is_unclear: bool = False
    gaps: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    has_inputs: bool = False
    has_outputs: bool = False

    @property
    def has_reads(self) -> bool:
        """Whether what the tool reads counts as known. No declaration makes up for statements that were not seen."""
        files = self.reads or self.folders or self.missed or self.inputs
        tables = self.tables_read or self.tables_missed or self.lists_tables
        return bool(files or tables or self.has_inputs) and not self.is_unclear

    @property
    def has_writes(self) -> bool:
        files = self.writes or self.removed or self.outputs
        tables = self.tables_written or self.tables_kept
        return bool(files or tables or self.has_outputs) and not self.is_unclear

    @property
    def tables_filled(self) -> tuple[str, ...]:
        """The tables whose rows it changes."""
        if not self.tables_kept:
            return self.tables_written
        return tuple(name for name in self.tables_written if name not in self.tables_kept)

    @property
    def tables_gone(self) -> tuple[str, ...]:
        """The tables that it only drops, whether they were there or not."""
        sought = less(self.tables_missed, less(self.tables_missed, self.tables_kept))
        filled = (*self.tables_created, *self.tables_inserted)
        return union(less(self.tables_dropped, filled), sought)

    @property
    def files_read(self) -> tuple[str, ...]:
        """Declared and observed ones, for display."""
        return union(self.inputs, self.reads)

    @property
    def files_written(self) -> tuple[str, ...]:
        return union(self.outputs, self.writes)


#: Names of one kind that are known from earlier successes alone: the files of each day have other names.
MOST_EARLIER = 1000
#: The observed paths, which differ from one item of a tool to the next.
ITEM_PATHS = ("reads", "writes", "missed", "appended", "removed", "folders", "folders_made")
_OBSERVED_NAMES = tuple(
    name
    for name in Dataflow.__struct_fields__
    if getattr(Dataflow(), name) == () and name not in ("gaps", "inputs", "outputs", "rows")
)


def add_earlier(now: Dataflow, earlier: Dataflow) -> Dataflow:
    """What a tool is known to use and write: at its last success and, with the same code, before it. A run that finds
    nothing to do says nothing of what the tool does otherwise. What was not observed is as at the last success."""

    def both(name: str) -> tuple[str, ...]:
        newest, known = getattr(now, name), getattr(earlier, name)
        seen = {*newest}
        return (*newest, *[one for one in known if one not in seen][:MOST_EARLIER])

    if now == earlier:
        return now
    both_names = {name: both(name) for name in _OBSERVED_NAMES}
    overwritten = {
        path for one in (now, earlier) for path in one.writes if path not in one.appended
    }
    filled = {name for one in (now, earlier) for name in one.tables_filled}
    changed = {
        name
        for one in (now, earlier)
        for name in one.tables_filled
        if name not in one.tables_inserted
    }
    for name, more in (
        ("appended", overwritten),
        ("tables_kept", filled),
        ("tables_inserted", changed),
    ):
        both_names[name] = less(both_names[name], more)
    return replace(now, **both_names, lists_tables=now.lists_tables or earlier.lists_tables)


def merge_flows(
    flows: Mapping[str, Dataflow], group: Callable[[str], str]
) -> Mapping[str, Dataflow]:
    """The flows of the keys that `group` gives one name, as one flow under this name. That of several items is not
    about the rows of one."""
    groups: dict[str, list[Dataflow]] = {}
    for key, flow in flows.items():
        groups.setdefault(group(key), []).append(flow)
    if len(groups) == len(flows) and all(key in groups for key in flows):
        return flows
    return {
        name: _merged(of) if len(of) > 1 or of[0].rows else of[0] for name, of in groups.items()
    }


def _merged(flows: list[Dataflow]) -> Dataflow:
    def both(name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one for flow in flows for one in getattr(flow, name)))

    overwritten = {path for one in flows for path in less(one.writes, one.appended)}
    filled = {name for one in flows for name in one.tables_filled}
    changed = {name for one in flows for name in less(one.tables_filled, one.tables_inserted)}
    found: dict[str, Any] = {name: both(name) for name in _OBSERVED_NAMES}
    for name, more in (
        ("appended", overwritten),
        ("tables_kept", filled),
        ("tables_inserted", changed),
    ):
        found[name] = less(found[name], more)
    return Dataflow(
        **found,
        lists_tables=any(one.lists_tables for one in flows),
        is_unclear=any(one.is_unclear for one in flows),
        gaps=both("gaps"),
    )


def less(names: tuple[str, ...], others: Collection[str]) -> tuple[str, ...]:
    left_out = set(others)
    return tuple(one for one in names if one not in left_out)


def union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    if not (one and other):
        return one or other
    return tuple(dict.fromkeys((*one, *other)))
