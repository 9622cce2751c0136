"""How what is remembered of a tool changes: after a success, a failure or a kill, a move, in another database.

Pure: each function makes a new result of the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec.structs import replace

from discover_orch.model.dataflow import add_earlier
from discover_orch.model.items import item_text
from discover_orch.model.keys import (
    Key,
    database_of,
    file_key,
    is_all_tables,
    is_file_key,
    is_rows,
    is_table_key,
    is_table_list,
    path_of,
    rows_key,
    table_key,
    table_name,
    whole_table,
)
from discover_orch.staleness.code_versions import is_same
from discover_orch.staleness.tool_result import (
    ABSENT,
    DATABASE,
    EXISTS,
    UNSURE,
    Inputs,
    Saw,
    Seq,
    Success,
    ToolResult,
    Write,
    used_files,
)
from discover_orch.staleness.tool_uses import ToolUses
from discover_orch.staleness.writers import GONE, Writers

NOTHING: Mapping[Key, bool] = {}


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
    kept: Mapping[Key, bool] = NOTHING,
    is_there: Callable[[Key], bool] = lambda _: False,
    read_files: Callable[[Iterable[Key]], tuple[Mapping[Key, str], Mapping[Key, str]]] = (
        lambda _: ({}, {})
    ),
) -> ToolResult:
    """What is remembered after a success that wrote `writes`, before it is known what it saw (see `with_saw`). `kept`
    is as of `find_kept`. `is_there` says whether a file exists now; `read_files` gives the versions of files as they
    are now, and their marks. What successes with the same code read and wrote stays known: this one may have found
    nothing to do."""
    past = before.success
    has_same_code = past is not None and is_same_code(past.inputs, success.inputs)
    # What it made with other arguments, as a file for each day, is as it should be.
    has_same_params = past is None or _params(past) == _params(success)
    is_retried = bool(before.tried.code) and is_same_code(before.tried, success.inputs)

    # What it reads of its own says what it has done already, so it counts on all that.
    rests_on_earlier = any(kept.values())
    used = _find_used(success)

    def keep(key: Key, write: Write) -> Write:
        """What it did not write now: it may have left a file as it is because it was there."""
        is_failed = write.seq > (past.ended if past else 0)
        is_used = key in used
        has_code = is_retried if is_failed else has_same_code or rests_on_earlier
        is_file = is_file_key(key)
        is_there_still = is_there(key) if is_file else has_same_code
        is_left_over = not (is_used or rests_on_earlier)
        is_left_over &= _can_be_left_over(key, write, success)
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

    old = {key: keep(key, one) for key, one in _find_old(before, writes, is_there).items()}
    if past is not None and has_same_code:
        versions, marks = read_files(_find_forgotten(past, success.inputs, writes))
        success = _with_earlier_reads(success, past, versions, marks)
        writes = {key: _with_earlier(one, before.writes.get(key)) for key, one in writes.items()}
    return replace(
        before, success=success, writes={**old, **writes}, tried=Inputs(), tried_tables=()
    )


def _with_earlier_reads(
    now: Success, past: Success, versions: Mapping[Key, str], marks: Mapping[Key, str]
) -> Success:
    """What it has read before and not now counts as it is now, else the tool would be stale for ever."""
    return replace(
        now,
        flow=add_earlier(now.flow, past.flow),
        inputs=replace(now.inputs, other={**versions, **now.inputs.other}),
        marks={**marks, **now.marks},
        tables=_with_earlier_tables(now, past),
    )


def _find_used(success: Success) -> set[Key]:
    """What the success read and looked at."""
    asked = (key for key in success.inputs.other if key.startswith("there:"))
    return {
        *used_files(success.inputs),
        *success.tables,
        *(file_key(path_of(key)) for key in asked),
    }


def find_kept(
    before: ToolResult,
    success: Success,
    writes: Mapping[Key, Write],
    reread: Collection[Key],
    is_own: Callable[[Key], bool],
) -> dict[Key, bool]:
    """What the tool itself had left when it began, and this success has kept or added to; with whether it has read it.
    `reread` are the files that it read and wrote anew; `is_own`: whether it wrote this last. A file to which it only
    appends is a log."""
    other, found = success.inputs.other, dict[Key, bool]()
    missed = success.flow.tables_missed
    for key, write in before.writes.items():
        now, is_table = writes.get(key), is_table_key(key)
        is_thing = write.mark == EXISTS if is_table else write.mark not in (ABSENT, UNSURE, EXISTS)
        is_known = not (is_table_list(key) or is_all_tables(key) or write.version == DATABASE)
        if not (is_thing and is_known and is_own(key)) or write.only_creates:
            continue
        has_read = key in success.tables and table_name(key) not in missed
        if not is_table:
            has_read = bool(other.get(key)) or key in reread
        if now is None:
            is_kept = has_read or f"there:{path_of(key)}" in other
        elif now.seq == write.seq:  # it would have made the table
            is_kept = True
        else:
            is_new = is_table and table_name(key) in success.flow.tables_created
            is_kept = key in reread or (is_table and now.only_adds and not is_new)
        if is_kept:
            found[key] = has_read
    return found


def _params(success: Success) -> dict[Key, str]:
    return {key: value for key, value in success.inputs.other.items() if key.startswith("param:")}


def _can_be_left_over(key: Key, write: Write, now: Success) -> bool:
    """Whether this is left over, if the tool has neither written it nor looked at it now."""
    if not now.is_whole or write.only_adds or write.mark == ABSENT:
        return False
    if is_table_list(key) or is_all_tables(key):
        return False
    if not is_table_key(key):
        return True
    used, _, _ = now.inputs.other.get("database", "").partition(" ")
    if used and database_of(key) != table_key(int(used), ""):
        return False
    return database_of(key) not in now.tables and table_name(key) not in now.flow.tables_found


def _find_old(
    before: ToolResult, writes: Mapping[Key, Write], is_there: Callable[[Key], bool]
) -> dict[Key, Write]:
    """What it did not write now, less what it once took away, and has left now though it was there again, and rows of
    tables that it has written as a whole."""
    return {
        key: one
        for key, one in before.writes.items()
        if key not in writes
        and not (one.mark == ABSENT and is_there(key))
        and not (is_rows(key) and whole_table(key) in writes)
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
    by_rows = {whole_table(key) for key in now.tables if is_rows(key)}
    past_tables = (key for key in past.tables if key not in by_rows)
    return tuple(dict.fromkeys((*now.tables, *past_tables)))


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
        path not in other.code or (version != UNSURE and is_same(version, other.code[path]))
        for path, version in one.code.items()
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
        if is_file_key(key)
        else replace(write, seq=ended if is_committed else write.seq, version=None)
        for key, write in before.writes.items()
    }
    return replace(before, writes=writes)


def move_tables(before: ToolResult, database: int) -> ToolResult:
    """The same result, with its tables in the database of this number. What they contain there is not known."""

    def moved(key: Key) -> Key:
        return table_key(database, table_name(key)) if is_table_key(key) else key

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


# What the success of a tool saw, and what of its result is still its own.


def with_rows(
    success: Success, column: str, value: str, written: Collection[Key], writers: Writers
) -> Success:
    """The success of an item that reads only the rows with this value in the column, with these in place of each table
    of which such rows are known: the item has `written` them, or another tool did, and still makes them."""

    def rows_of(key: Key) -> Key:
        rows = rows_key(key, column, value)
        is_known = rows in written or any(
            row.key == rows and row.place != GONE and row.write.is_made and not row.is_left_over
            for row in writers.of(rows)
        )
        return rows if is_known else key

    tables = tuple(rows_of(key) for key in success.tables)
    rows = dict.fromkeys(table_name(key) for key in (*tables, *written) if is_rows(key))
    return replace(success, tables=tables, flow=replace(success.flow, rows=tuple(rows)))


def without_lost_writes(
    result: ToolResult, place: int, writers: Writers, written: Collection[Key]
) -> ToolResult:
    """The result of a success that has written `written`. What it did not write this time, and another tool has
    written by now, is no longer its own. Unclear use of a database stays: others have written some of its tables."""

    def is_own(key: Key) -> bool:
        last = writers.last(key)
        is_last = last is not None and last.place == writers.place_of(key, result.module, place)
        return key in written or is_all_tables(key) or is_last

    return replace(result, writes={key: one for key, one in result.writes.items() if is_own(key)})


def with_saw(
    result: ToolResult,
    place: int,
    writers: Writers,
    *,
    is_repeatable: bool = False,
    is_accepted: bool = False,
    edited: Collection[Key] = (),
) -> ToolResult:
    """The result with what its success saw: who had left each thing that it used, and what. `writers` are as they were
    when the tool began, and so are the files that were `edited` by hand. Of a tool that may run on its own result, and
    of one that is marked as fresh, what it or a later tool has made of a thing does not count."""
    success = result.success
    if success is None:
        return result
    saw = {key: Saw() for key in success.tables}
    uses = ToolUses(result, place, writers)
    has_item = bool(item_text(result.module))
    for key in uses.find_used():
        if is_table_list(key) and key not in saw:
            continue
        edit = writers.find_edit(key)
        may_hide_edit = key in result.writes and not is_accepted and writers.may_be_edited(key)
        if edit is not None or key in edited or may_hide_edit:
            saw[key] = Saw(0, edit)
            continue
        adds = uses.find_adds(key)
        place = uses.place_of(key)
        last = writers.last(key, adds=adds, own=place)
        is_own = last is not None and last.place == place
        is_moved = is_own or (last is not None and last.place > place)
        is_moved |= uses.own_write(key) is not None
        if (
            is_table_list(key)
            or (is_own and (is_repeatable or (has_item and is_table_key(key))))
            or (is_accepted and last is not None and is_moved)
        ):
            last = writers.maker(key, place, adds)
        if last is not None:
            later = writers.last(key, since=place + 1) if adds and not is_accepted else None
            # What a later tool has added since was in the thing too.
            is_other = later is not None and later.write.seq > last.write.seq
            saw[key] = Saw(last.write.seq, None if is_other else writers.version(key, last))
    return replace(result, success=replace(success, saw=saw))
