"""How what is remembered of a tool changes: after a success, a failure or a kill, a move, in another database.

Pure: each function makes a new result of the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from discover_orch.model.dataflow import add_earlier
from discover_orch.model.table_keys import (
    database_of,
    is_all_tables,
    is_table_list,
    table_key,
    table_name,
)
from discover_orch.staleness.tool_result import (
    ABSENT,
    UNSURE,
    Inputs,
    Key,
    Seq,
    Success,
    ToolResult,
    Write,
    used_files,
)


def rename_result(result: ToolResult, module: str, old: str, path: str) -> ToolResult:
    """What is remembered of the tool whose file was at `old`, as that of `module` at `path`."""

    def renamed(inputs: Inputs) -> Inputs:
        code = {path if one == old else one: meaning for one, meaning in inputs.code.items()}
        return replace(inputs, code=code)

    success = result.success
    return replace(
        result,
        module=module,
        success=success and replace(success, inputs=renamed(success.inputs)),
        tried=renamed(result.tried),
    )


# What an attempt leaves in the memory.


def add_success(
    before: ToolResult,
    success: Success,
    writes: Mapping[Key, Write],
    *,
    is_there: Callable[[Key], bool] = lambda _: False,
    read_files: Callable[[Iterable[Key]], tuple[Mapping[Key, str], Mapping[Key, str]]] = (
        lambda _: ({}, {})
    ),
) -> ToolResult:
    """What is remembered after a success that wrote `writes`, before it is known what it saw (see `with_saw`).
    `is_there` says whether a file exists now; `read_files` gives the versions of files as they are now, and their
    marks. What successes with the same code read and wrote stays known:
    this one may have found nothing to do."""
    past = before.success
    has_same_code = past is not None and is_same_code(past.inputs, success.inputs)
    # What it made with other arguments, as a file for each day, is as it should be.
    has_same_params = past is None or _params(past) == _params(success)
    is_retried = bool(before.tried.code) and is_same_code(before.tried, success.inputs)

    used = {*used_files(success.inputs), *success.tables}
    used.update(f"file:{key[6:]}" for key in success.inputs.other if key.startswith("there:"))

    def keep(key: Key, write: Write) -> Write:
        """What it did not write now: it may have left a file as it is because it was there."""
        is_failed = write.seq > (past.ended if past else 0)
        is_used = key in used
        has_code = is_retried if is_failed else has_same_code
        is_file = key.startswith("file:")
        is_there_still = is_there(key) if is_file else has_same_code
        is_left_over = not is_used and _can_be_left_over(key, write, success)
        is_left_over &= is_there_still or not is_file  # whether a table is there is not known
        is_left_over &= write.is_left_over or (write.is_checked and has_same_params)
        return replace(
            write,
            mark=success.marks.get(key, UNSURE) if write.mark == UNSURE else write.mark,
            is_checked=write.is_checked
            and is_there_still
            and not is_left_over
            and (has_same_params or is_used),
            is_made=write.is_made and (has_code or is_used),
            is_left_over=is_left_over,
        )

    kept = {key: keep(key, one) for key, one in _find_old(before, writes, is_there).items()}
    if past is not None and has_same_code:
        versions, marks = read_files(_find_forgotten(past, success.inputs, writes))
        # What it has read before and not now counts as it is now, else the tool would be stale for ever.
        success = replace(
            success,
            flow=add_earlier(success.flow, past.flow),
            inputs=replace(success.inputs, other={**versions, **success.inputs.other}),
            marks={**marks, **success.marks},
            tables=_with_earlier_tables(success, past),
        )
        writes = {key: _with_earlier(one, before.writes.get(key)) for key, one in writes.items()}
    return replace(
        before, success=success, writes={**kept, **writes}, tried=Inputs(), tried_tables=()
    )


def _params(success: Success) -> dict[Key, str]:
    return {key: value for key, value in success.inputs.other.items() if key.startswith("param:")}


def _can_be_left_over(key: Key, write: Write, now: Success) -> bool:
    """Whether this is left over, if the tool has neither written it nor looked at it now."""
    if not now.is_whole or write.only_adds or write.mark == ABSENT:
        return False
    if is_table_list(key) or is_all_tables(key):
        return False
    if not key.startswith("table:"):
        return True
    used, _, _ = now.inputs.other.get("database", "").partition(" ")
    if used and database_of(key) != table_key(int(used), ""):
        return False
    return database_of(key) not in now.tables and table_name(key) not in now.flow.tables_found


def _find_old(
    before: ToolResult, writes: Mapping[Key, Write], is_there: Callable[[Key], bool]
) -> dict[Key, Write]:
    """What it did not write now, less what it once took away, and has left now though it was there again."""
    return {
        key: one
        for key, one in before.writes.items()
        if key not in writes and not (one.mark == ABSENT and is_there(key))
    }


def _find_forgotten(past: Success, now: Inputs, writes: Mapping[Key, Write]) -> list[Key]:
    """The files and folders that it read before and neither read nor wrote now."""
    return [
        key
        for key in past.inputs.other
        if key.startswith(("file:", "folder:", "there:", "stat:", "link:"))
        and key not in now.other
        and key not in writes
    ]


def _with_earlier_tables(now: Success, past: Success) -> tuple[Key, ...]:
    if past.inputs.other.get("database") != now.inputs.other.get("database"):
        return now.tables
    return tuple(dict.fromkeys((*now.tables, *past.tables)))


def _with_earlier(write: Write, earlier: Write | None) -> Write:
    if earlier is None or earlier.mark == ABSENT:
        return write
    return replace(
        write,
        only_adds=write.only_adds and earlier.only_adds,
        only_creates=write.only_creates and earlier.only_creates,
    )


def is_same_code(one: Inputs, other: Inputs) -> bool:
    """Whether the code means the same, as far as both know the same files of it."""
    if one.code == other.code and UNSURE not in one.code.values():  # as nearly always
        return one.other.get("python") == other.other.get("python")
    return one.other.get("python") == other.other.get("python") and all(
        path not in other.code or other.code[path] == meaning != UNSURE
        for path, meaning in one.code.items()
    )


def add_failure(
    before: ToolResult, inputs: Inputs, tables: tuple[Key, ...], writes: Mapping[Key, Write]
) -> ToolResult:
    """What is remembered after an attempt that failed, and used these inputs and tables; `writes` has what stayed."""
    writes = {**before.writes, **writes}
    return replace(before, writes=writes, tried=inputs, tried_tables=tables)


def cut_off(before: ToolResult, ended: Seq, *, is_committed: bool = False) -> ToolResult:
    """What is remembered of a tool that was killed or cancelled: what is in its files and tables is unknown. If it
    `is_committed`, it has written its tables once more."""
    writes = {
        key: replace(write, seq=ended, mark=UNSURE, version=None)
        if key.startswith("file:")
        else replace(write, seq=ended if is_committed else write.seq, version=None)
        for key, write in before.writes.items()
    }
    return replace(before, writes=writes)


def move_tables(before: ToolResult, database: int) -> ToolResult:
    """The same result, with its tables in the database of this number. What they contain there is not known."""

    def moved(key: Key) -> Key:
        return table_key(database, table_name(key)) if key.startswith("table:") else key

    success = before.success
    return replace(
        before,
        writes={
            moved(key): replace(write, version=None) if moved(key) != key else write
            for key, write in before.writes.items()
        },
        success=success
        and replace(
            success,
            tables=tuple(map(moved, success.tables)),
            saw={moved(key): one for key, one in success.saw.items()},
        ),
    )
