"""What is left over: files and tables that a tool made and its last success neither made nor looked at, and what tools
made that no longer exist.

Pure: whether a thing is still there is for the caller to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from discover_orch.discovery.registry import Registry
from discover_orch.model.items import tool_of
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
from discover_orch.staleness.writers import Writer


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


def build_test(
    registry: Registry, number_of_database: Callable[[], int]
) -> Callable[[Writer], bool]:
    """Gives a function: whether nothing else keeps what was written and is left over. That is so in the present
    database, and for a file that is no declared output. A tool that is disabled keeps its things."""
    disabled = {one.module for one in registry.disabled}
    tools = registry.tools

    def is_left(last: Writer) -> bool:
        key, module = last.key, last.module
        if tool_of(module) in disabled or is_table_list(key) or is_all_tables(key):
            return False
        if key.startswith("table:"):
            return database_of(key) == table_key(number_of_database(), "")
        makers = [tools[module]] if module in tools else tools.values()
        return not any(meets_input(key[5:], tool.outputs) for tool in makers)

    return is_left


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
            is_sibling = key.startswith("table:") and tool_of(module) == tool_of(
                makers.get(key, "")
            )
            if key in readers and module != makers[key] and not is_sibling:
                readers[key].append(module)
    return [
        LeftOver(key=key, module=module, readers=tuple(readers[key]))
        for key, module in makers.items()
    ]
