"""What an attempt of a tool left: the files and tables that it wrote, made or removed."""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.keys import (
    WHOLE,
    Key,
    file_key,
    is_object,
    path_of,
    table_key,
    whole_table,
)
from discover_orch.model.observation import MADE, WRITTEN, Observation
from discover_orch.model.tool import Tool
from discover_orch.model.tool_events import ToolFinished
from discover_orch.planning.plan import Step
from discover_orch.staleness.input_versions import Versions, read_mark
from discover_orch.staleness.tool_result import ABSENT, EXISTS, Seq, ToolResult, Write


class AttemptEnd(Struct, frozen=True, kw_only=True):
    """The end of an attempt: of which step, as its worker reported it, and when it began and ended. `database` is the
    number of the database; `before` is what was remembered of the tool."""

    step: Step
    event: ToolFinished
    began: Seq
    ended: Seq
    database: int
    before: ToolResult

    @property
    def tool(self) -> Tool:
        return self.step.tool

    @property
    def has_passed(self) -> bool:
        return self.event.status in ("passed", "done")


def find_writes(
    end: AttemptEnd, seen: Observation, root: str, flows: Mapping[str, Dataflow]
) -> dict[Key, Write]:
    """What stays of what the tool wrote. `flows` are those of all tools."""
    tool, ended, database, before = end.tool, end.ended, end.database, end.before
    found: dict[Key, Write] = {}
    new = _find_new(seen, before)
    for use in seen.find("file", *WRITTEN):
        mark = use.state or read_mark(os.path.join(root, use.name))
        is_appended = use.kind == "appended"
        is_checked = not is_appended and (
            use.kind != "scratch"
            or any(use.name in flow.reads for one, flow in flows.items() if one != tool.module)
        )
        found[use.key] = Write(ended, mark, is_checked, is_appended, is_new=use.name in new)
    found |= {use.key: Write(ended, ABSENT) for use in seen.find("file", "removed")}
    if end.has_passed or seen.has_committed:
        dropped, created = seen.names("table", "dropped"), seen.names("table", "created")
        for use in seen.find("table", *MADE):
            key = table_key(database, use.name)
            known = before.writes.get(key)
            has_made = known is not None and known.is_new and known.mark != ABSENT
            found[key] = Write(
                ended,
                ABSENT if use.name in dropped else EXISTS,
                only_adds=use.kind == "inserted",
                only_creates=use.kind == "made",
                version=use.state or None,
                is_new=use.name in created or has_made,
                anew=ended if use.name in created else known.anew if known else 0,
                edited=known.edited if known else 0,
            )
        for use in seen.find("rows", "written"):
            key = table_key(database, use.name)
            written = found[whole_table(key)]
            found[whole_table(key)] = replace(written, is_in_rows=True)
            found[key] = replace(written, version=use.state or None, is_new=False, anew=0, edited=0)
        if seen.is_unclear:
            found[table_key(database, WHOLE)] = Write(ended, EXISTS)
        found |= {
            key: Write(ended, ABSENT)
            for name in end.event.removed
            if (key := table_key(database, name)) in before.writes and key not in found
        }
        if not all(map(is_object, (*dropped, *created))):
            found[table_key(database, "")] = Write(ended, EXISTS)  # the list of tables
    if end.has_passed and tool.outputs:
        versions = Versions(root)
        states = {use.key: use.state for use in seen.find("file", *WRITTEN)}
        for key in versions.declared(tool.outputs):
            mark = states.get(key) or versions.mark(key)
            found[key] = Write(ended, mark, is_new=path_of(key) in new)
    for path in _find_folders_made(seen, before):
        found[file_key(path)] = Write(ended, EXISTS, is_checked=False, only_adds=True)
    return found


def find_made_before(seen: Observation, database: int, before: ToolResult) -> dict[Key, Write]:
    """The tables that the tool made in an earlier run and would have made now: writes without a new number."""
    looked_for = seen.names("table", "missed")
    keys = (
        table_key(database, one) for one in seen.names("table", "kept") if one not in looked_for
    )
    return {
        key: replace(write, is_checked=True, is_left_over=False) if write.is_left_over else write
        for key in keys
        if (write := before.writes.get(key)) is not None and write.mark != ABSENT
    }


def _find_folders_made(seen: Observation, before: ToolResult) -> list[str]:
    """The folders that it made, and those that it made at an earlier success and has used to write into now."""
    used: set[str] = set()
    made = seen.names("file", "made")
    for path in (*seen.names("file", *WRITTEN), *made):
        while (path := path.rpartition("/")[0]) and path not in used:
            used.add(path)
    known = (path_of(key) for key, one in before.writes.items() if one.only_adds)
    return [*dict.fromkeys((*made, *(one for one in known if one in used)))]


def _find_new(seen: Observation, before: ToolResult) -> set[str]:
    """The files that would not be there without this tool: it has made them now or in an earlier attempt. If it also
    removed files of others, it may have moved, packed or renamed them, and then none of those made now counts."""
    made = {path_of(key) for key, one in before.writes.items() if one.is_new and one.mark != ABSENT}
    folders = {path_of(key) for key, one in before.writes.items() if one.mark == EXISTS}
    removed = seen.names("file", "removed")
    has_moved = any(path not in made and path not in folders for path in removed)
    return made if has_moved else made.union(seen.names("file", "created"))
