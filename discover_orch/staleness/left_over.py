"""What is left over: files and tables that a tool made and its last success neither made nor looked at.

Pure: whether a file is still there is for the caller to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from msgspec import Struct

from discover_orch.discovery.registry import Registry
from discover_orch.model.table_keys import database_of, shown_table, table_key, table_name
from discover_orch.staleness.current_inputs import find_gone
from discover_orch.staleness.input_versions import meets_input
from discover_orch.staleness.tool_result import ABSENT, Key, ToolResult, used_files


class LeftOver(Struct, frozen=True, kw_only=True):
    """Left over from the tool `module`. `readers` are the tools that read it."""

    key: Key
    module: str
    readers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The path of the file, or `table raw`."""
        return self.key[5:] if self.key.startswith("file:") else shown_table(table_name(self.key))

    @property
    def used(self) -> dict[str, str]:
        is_file = self.key.startswith("file:")
        return {"file": self.name} if is_file else {"table": table_name(self.key)}


def find_left_over(
    registry: Registry,
    results: Collection[ToolResult],
    database: int,
    is_there: Callable[[Key], bool],
) -> list[LeftOver]:
    """By the results of all tools, those that no longer exist too: of what these made, what another tool reads.
    `database` is the number of the present one; `is_there` says whether a file or a table of it exists. What another
    tool writes, or removed, is its own."""
    gone = {*find_gone(registry)}
    found: dict[Key, str] = {}
    kept: set[Key] = set()
    for result in results:
        for key, write in result.writes.items():
            if write.is_left_over or (result.module in gone and write.mark != ABSENT):
                found[key] = result.module
    if not found:
        return []
    for result in results:
        kept.update(
            key
            for key in found
            if (one := result.writes.get(key)) and not (one.is_left_over or result.module in gone)
        )
    left = []
    for key, module in found.items():
        tool = registry.tools.get(module)
        if key in kept:
            continue
        is_file = key.startswith("file:")
        if is_file and tool is not None and meets_input(key[5:], tool.outputs):
            continue
        if (is_file or database_of(key) == table_key(database, "")) and is_there(key):
            left.append((key, module))
    things = with_readers(registry, results, left)
    return [one for one in things if one.readers or one.module in registry.tools]


def with_readers(
    registry: Registry, results: Iterable[ToolResult], made: Iterable[tuple[Key, str]]
) -> list[LeftOver]:
    """These things, each with the tool that made it, and the tools whose last success read it."""
    makers = dict(made)
    readers: dict[Key, list[str]] = {key: [] for key in makers}
    for result in results:
        success, module = result.success, result.module
        if success is None or module not in registry.tools:
            continue
        for key in dict.fromkeys((*used_files(success.inputs), *success.tables)):
            if key in readers and module != makers[key]:
                readers[key].append(module)
    return [
        LeftOver(key=key, module=module, readers=tuple(readers[key]))
        for key, module in makers.items()
    ]
