"""What the database remembers of a tool, beside what is remembered of it here: the database decides.

A success that has written to the database has a record there, which was committed with its data. So the record is as
old or as new as the data: also where a backup was restored, where the database is a copy, and where another checkout
has run. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.keys import (
    WHOLE,
    Key,
    database_of,
    is_file_key,
    is_table_key,
    table_key,
    table_name,
)
from discover_orch.staleness.result_updates import cut_off
from discover_orch.staleness.tool_result import (
    ABSENT,
    ELSEWHERE,
    EXISTS,
    SETTLED,
    UNRECORDED,
    LastOutcome,
    Seq,
    Success,
    ToolResult,
    Write,
)


class Record(Struct, frozen=True, kw_only=True):
    """What the database has of one tool: the success, as `Success.record` names it, the number of its run, and what is
    remembered of it. That is None where its document cannot be read, or is not there, as after a kill; then `tables`
    are those that it has written, if that is known."""

    module: str
    success: str
    run: int
    result: ToolResult | None
    tables: tuple[str, ...] | None = None
    has_document: bool = False


def adopt(
    known: ToolResult,
    record: Record | None,
    database: str,
    now: Seq,
    version_of: Callable[[Key], str],
) -> ToolResult:
    """What is to be remembered of a tool, now that the database was asked; `known` itself where both agree.

    `database` is its version, `3 sqlite:///data.db`: in the documents of another checkout it may have another number.
    `now` is later than all that is remembered. `version_of` gives the content of a file as it is here.
    """
    success = known.success
    number = int(database.partition(" ")[0])
    if record is None:
        if success is None or not success.record or _is_elsewhere(success, database):
            return known
        others = {key: one for key, one in known.writes.items() if not _is_in(key, number)}
        return replace(known, last=replace(known.last, status=UNRECORDED), writes=others)
    if is_of(known, record.success, database):
        return known
    if record.result is None:
        written = record.tables or (() if known.writes else (WHOLE,))
        now_known = cut_off(known, now, is_committed=record.tables is None)
        writes = dict(now_known.writes)
        for key in (table_key(number, name) for name in written):
            writes[key] = replace(writes.get(key) or Write(now), seq=now, mark=EXISTS, version=None)
        now_known = replace(now_known, writes=writes)
        last = LastOutcome(
            run=str(record.run), status=SETTLED, cause="unreadable" if record.has_document else ""
        )
        return replace(now_known, last=last)
    found = _moved(record.result, database)
    files = {key: one for key, one in found.writes.items() if is_file_key(key)}
    if not all(_is_here(write, version_of(key)) for key, write in files.items()):
        # What it wrote in files is another state than what it wrote in the database.
        tables = {key: one for key, one in found.writes.items() if key not in files}
        last = replace(found.last, status=ELSEWHERE)
        return replace(known, last=last, writes={**known.writes, **tables}, adopted=now)
    left = {
        key: replace(write, is_left_over=True, is_checked=False, is_made=False)
        for key, write in known.writes.items()
        if is_file_key(key) and key not in found.writes
    }
    return replace(found, writes={**left, **found.writes}, adopted=now)


def is_of(known: ToolResult, success: str, database: str) -> bool:
    """Whether what is remembered here is what this record of the database says, so that its document is not needed."""
    here = known.success
    is_same = here is not None and here.record == success != ""
    return is_same and known.last.status != UNRECORDED and not _is_elsewhere(here, database)


def _is_here(write: Write, version: str) -> bool:
    """Whether a file is as the write has left it."""
    if write.mark == ABSENT or not write.is_checked:
        return True
    return write.version is not None and write.version == version


def _is_elsewhere(success: Success | None, database: str) -> bool:
    """Whether the success used another database than this."""
    used = success.inputs.other.get("database", database) if success else database
    return used != database


def _is_in(key: Key, number: int) -> bool:
    return is_table_key(key) and database_of(key) == table_key(number, "")


def _moved(result: ToolResult, database: str) -> ToolResult:
    """The same result with its database under the number that it has here; what it did in others is of no matter."""
    success = result.success
    if success is None:
        return result
    number = int(database.partition(" ")[0])
    there, _, _ = success.inputs.other.get("database", database).partition(" ")
    start = table_key(int(there), "")

    def moved(keys: Mapping[Key, object]) -> dict[Key, object]:
        return {
            table_key(number, table_name(key)) if is_table_key(key) else key: value
            for key, value in keys.items()
            if not is_table_key(key) or database_of(key) == start
        }

    other = dict(success.inputs.other)
    if "database" in other:
        other["database"] = database
    writes: Mapping[Key, Write] = moved(result.writes)  # type: ignore[assignment]
    success = replace(
        success,
        inputs=replace(success.inputs, other=other),
        saw=moved(success.saw),
        tables=tuple(moved(dict.fromkeys(success.tables))),
    )
    tried = tuple(moved(dict.fromkeys(result.tried_tables)))
    return replace(result, success=success, writes=writes, tried_tables=tried)
