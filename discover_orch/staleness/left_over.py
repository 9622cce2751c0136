"""What is left over: files and tables that a tool made and its last success neither made nor looked at, and what tools
made that no longer exist; and which tools are stale because of that.

Pure: whether a thing is still there is for the caller to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from discover_orch.discovery.registry import Registry
from discover_orch.model.items import item_text, tool_of
from discover_orch.model.keys import (
    Key,
    database_of,
    is_all_tables,
    is_file_key,
    is_rows,
    is_table_key,
    is_table_list,
    path_of,
    shown_table,
    table_key,
    table_name,
    whole_table,
)
from discover_orch.staleness.database_identity import CurrentDatabase
from discover_orch.staleness.input_versions import meets_input
from discover_orch.staleness.rule import MarkOf, Reason
from discover_orch.staleness.tool_result import ABSENT, EXISTS, ToolResult, used_files
from discover_orch.staleness.tool_uses import find_acting
from discover_orch.staleness.writers import GONE, Writer, Writers


class LeftOver(Struct, frozen=True, kw_only=True):
    """Left over from the tool `module`. `readers` are the tools that read it."""

    key: Key
    module: str
    readers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The path of the file, or `table raw`."""
        return path_of(self.key) if is_file_key(self.key) else shown_table(table_name(self.key))

    @property
    def used(self) -> dict[str, str]:
        is_file = is_file_key(self.key)
        return {"file": self.name} if is_file else {"table": table_name(self.key)}


def build_test(
    registry: Registry, find_database: Callable[[], CurrentDatabase]
) -> Callable[[Writer], bool]:
    """Gives a function: whether nothing else keeps what was written and is left over. That is so in the present
    database, and for a file that is no declared output and not the database itself. A tool that is disabled keeps its
    things."""
    disabled = {one.module for one in registry.disabled}
    tools = registry.tools

    def is_left(last: Writer) -> bool:
        key, module = last.key, last.module
        if tool_of(module) in disabled or is_table_list(key) or is_all_tables(key):
            return False
        if is_table_key(key):
            return database_of(key) == table_key(find_database().number, "")
        if path_of(key) == find_database().path:
            return False
        makers = [tools[module]] if module in tools else tools.values()
        return not any(meets_input(path_of(key), tool.outputs) for tool in makers)

    return is_left


def with_readers(
    registry: Registry, results: Iterable[ToolResult], made: Iterable[tuple[Key, str]]
) -> list[LeftOver]:
    """These things, each with the tool that made it, and the tools whose last success read it."""
    makers = dict(made)
    readers: dict[Key, list[str]] = {key: [] for key in makers}
    rows = [key for key in makers if is_rows(key)]
    for result in results if makers else ():
        success, module = result.success, result.module
        if success is None or module not in registry.tools:
            continue
        read_rows = (key for key in rows if whole_table(key) in success.tables)
        for key in dict.fromkeys((*used_files(success.inputs), *success.tables, *read_rows)):
            is_sibling = is_table_key(key) and tool_of(module) == tool_of(makers.get(key, ""))
            if key in readers and module != makers[key] and not is_sibling:
                readers[key].append(module)
    return [
        LeftOver(key=key, module=module, readers=tuple(readers[key]))
        for key, module in makers.items()
    ]


def find_left_behind(gone: Iterable[ToolResult], writers: Writers) -> dict[str, list[Reason]]:
    """The tools that must run again because of tools that no longer exist: the first writer of what one of these has
    written last, unless it was accepted since."""
    found: dict[str, list[Reason]] = {}
    for other in gone:
        for key, write in other.writes.items():
            if is_table_list(key):
                continue
            first = writers.first(key, write)
            is_of_items = first is not None and item_text(first.module) and item_text(other.module)
            if is_of_items and is_table_key(key):
                continue  # it may still have the rows of that item: they are left over
            if first is not None and max(first.accepted, first.write.seq) < write.seq:
                reason = Reason(key, by=other.module, seq=write.seq, how="gone")
                found.setdefault(first.module, []).append(reason)
    return found


def find_left_over(
    result: ToolResult,
    writers: Writers,
    mark_of: MarkOf,
    is_left: Callable[[Writer], bool],
    *,
    reads_own: bool = False,
) -> Iterator[Reason]:
    """What the tool reads of what is left over: one reason for each tool that made such things, and one for each such
    table that was dropped. Of a file the content says that. `is_left`: whether nothing else keeps what was written.
    `reads_own`: the tool reads what its items before this one left in a table."""
    success, left = result.success, writers.left_over
    found: dict[str, list[Writer]] = {}
    if success is None or not left:
        return
    used = {*used_files(success.inputs), *success.tables, *find_acting(result)}
    rows = (key for table in used & writers.left_rows.keys() for key in writers.left_rows[table])
    for key in sorted({*(used & left.keys()), *rows}):
        last = left[key]
        is_own = last.module == result.module
        is_same = is_table_key(key) and tool_of(last.module) == tool_of(result.module)
        is_own |= is_same and not reads_own
        if is_own or not is_left(last):
            continue
        if mark_of(key) != ABSENT:
            found.setdefault(last.module, []).append(last)
        elif is_table_key(key) and table_name(key) not in success.flow.tables_missed:
            yield Reason(key, then=EXISTS, now=ABSENT)
    for module, (first, *more) in found.items():
        how = "left by gone" if first.place == GONE else "left over"
        yield Reason(first.key, by=module, seq=first.write.seq, how=how, more=len(more))
