"""What one tool has used, of what tools write: files, tables and lists of tables. Pure: reads nothing."""

from __future__ import annotations

from collections.abc import Iterator

from discover_orch.model.keys import (
    WHOLE,
    Key,
    acting_key,
    database_of,
    is_acting,
    is_all_tables,
    is_table_key,
    is_table_list,
)
from discover_orch.staleness.tool_result import Success, ToolResult, Write, used_files
from discover_orch.staleness.writers import Writers


class ToolUses:
    """Of the tool at this place, whose result this is; `writers` are those of all tools."""

    def __init__(self, result: ToolResult, place: int, writers: Writers) -> None:
        self.result, self.writers = result, writers
        self._place = place
        #: Its last success; one that used nothing where there is none.
        self.success = result.success or Success(asof=0, ended=0)
        #: The versions of what it read, without its code.
        self.read = self.success.inputs.other

    def place_of(self, key: Key) -> int:
        """Its place among the writers of the thing."""
        return self.writers.place_of(key, self.result.module, self._place)

    def own_write(self, key: Key) -> Write | None:
        """The write of this tool, if the code of its last success writes it."""
        write = self.result.writes.get(key)
        return write if write is not None and write.is_made else None

    def find_used(self, *, with_tried: bool = False) -> dict[Key, None]:
        """The files and tables that it read, looked for, listed or wrote, as far as tools write them. `with_tried`: at
        a failed attempt since its last success too."""
        writers = self.writers
        inputs = [self.success.inputs, *([self.result.tried] if with_tried else ())]
        found = {key: None for one in inputs for key in used_files(one) if key in writers}
        for one in inputs:
            for key in one.other:
                if key.startswith("folder:"):
                    found.update(dict.fromkeys(writers.in_folder(key[7:])))
        tried = self.result.tried_tables if with_tried else ()
        tried = tuple(key for key in tried if not (is_all_tables(key) or is_table_list(key)))
        for key in (*self.success.tables, *self.success.saw, *tried):
            is_each = is_all_tables(key) and self._reads_all(key)
            tables = writers.in_database(key) if is_each else []
            found.update(dict.fromkeys(tables or [key]))
        writes = self.result.writes.items()
        # Who makes one trigger does not depend on the others of its table.
        own = (key for key, write in writes if not (write.is_unread or is_acting(key)))
        found.update(dict.fromkeys(own))
        found.update(dict.fromkeys(one for one in find_acting(self.result) if one in writers))
        return found

    def is_by_rows(self, key: Key) -> bool:
        """Whether it is judged by the rows of its item that it has written, not by the whole table. Of rows that
        somebody has written since who does not say which, the content is not known."""
        write, is_read = self.result.writes.get(key), key in self.success.tables
        is_in_rows = write is not None and write.is_in_rows and not is_read
        return is_in_rows and self.writers.knows_rows(key, self.result.writes)

    def find_adds(self, key: Key) -> Write | None:
        """The write of a key that the tool only writes."""
        write = self.result.writes.get(key)
        is_read = key in self.read or key in self.success.tables or self._reads_all(key)
        return None if is_read else write

    def _reads_all(self, key: Key) -> bool:
        """Whether it may have read each table of the database of this table, and what it wrote there is known."""
        if not is_table_key(key):
            return False
        whole = database_of(key) + WHOLE
        return whole in self.success.tables and whole not in self.result.writes


def find_acting(result: ToolResult) -> Iterator[Key]:
    """What decides what happens to the rows that the tool writes to tables."""
    return (acting_key(key) for key in result.writes if is_table_key(key))
