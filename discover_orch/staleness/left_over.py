"""What is left over: files and tables that a tool made and its last success neither made nor looked at, and what tools
made that no longer exist.

Pure: whether a thing is still there is for the caller to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from discover_orch.discovery.registry import Registry
from discover_orch.model.table_keys import (
    database_of,
    is_all_tables,
    is_table_list,
    shown_table,
    table_key,
    table_name,
)
from discover_orch.staleness.input_versions import meets_input
from discover_orch.staleness.tool_result import Key, ToolResult, used_files
from discover_orch.staleness.writers import Writer, Writers


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


def find_left(
    registry: Registry, writers: Writers, number_of_database: Callable[[], int]
) -> dict[Key, Writer]:
    """What is left over, if it is still there, each with its last writer: in the present database, and no file that is
    a declared output. A tool that is disabled keeps its things."""
    found = writers.find_left_over()
    if not found:
        return found
    disabled = {one.module for one in registry.disabled}
    tools = registry.tools
    every = tuple(path for tool in tools.values() for path in tool.outputs)

    def is_left(key: Key, module: str) -> bool:
        if module in disabled or is_table_list(key) or is_all_tables(key):
            return False
        if key.startswith("table:"):
            return database_of(key) == table_key(number_of_database(), "")
        return not meets_input(key[5:], tools[module].outputs if module in tools else every)

    return {key: last for key, last in found.items() if is_left(key, last.module)}


def with_readers(
    registry: Registry, results: Iterable[ToolResult], made: Iterable[tuple[Key, str]]
) -> list[LeftOver]:
    """These things, each with the tool that made it, and the tools whose last success read it."""
    makers = dict(made)
    readers: dict[Key, list[str]] = {key: [] for key in makers}
    for result in results if makers else ():
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
