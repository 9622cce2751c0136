"""Why a tool must run again: what its success depended on beside what is there now."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.staleness.compare import (
    Overwritten,
    Reason,
    Upstream,
    compare,
    find_disturbed,
    find_marked_out_of_order,
    find_overwritten,
    judge,
)
from discover_orch.staleness.fingerprint import (
    ABSENT,
    EXISTS,
    OUT_OF_ORDER,
    UNSURE,
    Inputs,
    Key,
    Success,
    ToolResult,
    Write,
    Writer,
    WrittenKeys,
    add_failure,
    add_success,
    after_run,
    cut_off,
    find_writers,
    join_paths,
    move_tables,
    paths_in,
    run_of,
    sequence,
)
from discover_orch.staleness.table_keys import (
    ANY,
    database_of,
    table_key,
    table_name,
)

Marks = Mapping[Key, str]
T, OUT = "table:1:t", "file:out.csv"


def succeeded(
    module: str = "me",
    *,
    asof: int = 10,
    ended: int = 11,
    code: Mapping[str, str] | None = None,
    other: Mapping[Key, str] | None = None,
    writes: Mapping[Key, Write] | None = None,
    tables: tuple[Key, ...] = (),
    is_whole: bool = True,
) -> ToolResult:
    success = Success(
        asof=asof,
        ended=ended,
        inputs=Inputs(code=code or {}, other=other or {}),
        tables=tables,
        is_whole=is_whole,
    )
    return ToolResult(module=module, success=success, writes=writes or {})


def wrote(module: str, key: Key, seq: int, mark: str = EXISTS) -> ToolResult:
    return succeeded(module, asof=seq - 1, ended=seq, writes={key: Write(seq, mark)})


def reasons(
    me: ToolResult,
    now: Inputs | None = None,
    *,
    marks: Marks | None = None,
    before: tuple[ToolResult, ...] = (),
    after: tuple[ToolResult, ...] = (),
    is_observed: bool = True,
    foreign_write: float = 0,
) -> list[Reason]:
    """Of `me`; `before` are upstream of it, `after` only come later in the order."""
    assert me.success is not None
    known = {key: one.mark for key, one in me.writes.items()} if marks is None else marks
    return [
        *compare(
            me,
            len(before),
            me.success.inputs if now is None else now,
            lambda key: known.get(key, ABSENT),
            find_writers(enumerate((*before, me, *after))),
            [Upstream(one, is_observed) for one in before],
            lambda: foreign_write,
            lambda: 0,
            ignores_foreign=False,
            is_declared=lambda _: False,
        )
    ]


def keys(found: list[Reason]) -> list[tuple[Key, str]]:
    return [(one.key, one.by) for one in found]


KEYS = st.sampled_from(["file:a", "file:in/b", "folder:in", "glob:in/*", "param:x", "env:Y"])
VERSIONS = st.dictionaries(KEYS, st.sampled_from([ABSENT, "1", "2"]), max_size=4)


# Versions.


@given(VERSIONS, VERSIONS)
def test_where_nothing_changed_there_is_no_reason(
    code: dict[str, str], other: dict[Key, str]
) -> None:
    assert reasons(succeeded(code=code, other=other)) == []


@given(VERSIONS, VERSIONS)
def test_every_difference_is_a_reason(then: dict[Key, str], now: dict[Key, str]) -> None:
    found = reasons(succeeded(other=then), Inputs(other=now))
    assert bool(found) == (then != now)
    for key in {*then, *now}:
        if then.get(key) != now.get(key) and not key.startswith(("folder:", "glob:")):
            assert key in [one.key for one in found]


@pytest.mark.parametrize(
    ("then", "now", "changed"),
    [
        (
            "in/a\0in/b",
            "in/a\0in/c",
            [("file:in/b", EXISTS, ABSENT), ("file:in/c", ABSENT, EXISTS)],
        ),
        (ABSENT, "in/a", [("file:in/a", ABSENT, EXISTS)]),
        ("in/a", ABSENT, [("file:in/a", EXISTS, ABSENT)]),
        (UNSURE, "in/a", [("folder:in", UNSURE, "in/a")]),
        ("in/a", None, [("folder:in", "in/a", None)]),
    ],
)
def test_of_a_folder_each_path_that_came_or_went_is_a_reason(
    then: str, now: str | None, changed: list[tuple[Key, str, str | None]]
) -> None:
    present = Inputs(other={} if now is None else {"folder:in": now})
    found = reasons(succeeded(other={"folder:in": then}), present)
    assert [(one.key, one.then, one.now) for one in found] == changed


def test_a_file_that_came_into_a_glob_is_told_once() -> None:
    then = {"glob:*.csv": "a.csv", "file:a.csv": "1"}
    now = Inputs(other={"glob:*.csv": "a.csv\0b.csv", "file:a.csv": "1", "file:b.csv": "2"})
    assert keys(reasons(succeeded(other=then), now)) == [("file:b.csv", "")]


@pytest.mark.parametrize("version", [UNSURE, OUT_OF_ORDER])
def test_what_is_unsure_equals_nothing(version: str) -> None:
    me = succeeded(code={"a.py": UNSURE}, other={"file:b": version})
    assert keys(reasons(me)) == [("code:a.py", ""), ("file:b", "")]


def test_code_of_another_version_of_python_is_not_compared() -> None:
    me = succeeded(code={"a.py": "1"}, other={"python": "3.11"})
    now = Inputs(code={"a.py": "2"}, other={"python": "3.12"})
    assert keys(reasons(me, now)) == [("python", "")]


@given(st.lists(st.sampled_from(["a", "in/b", "c d"]), unique=True))
def test_the_paths_of_a_version_are_those_that_it_was_made_of(paths: list[str]) -> None:
    assert paths_in(join_paths(paths)) == sorted(paths)


# Who moved a file on. This tool is at place 1; the mark of the file is "m".


@pytest.mark.parametrize(
    ("writer", "then", "by"),
    [
        (None, "1", ""),  # by nobody that orch knows
        (Writer(0, "earlier", Write(9, "m")), "1", "earlier"),
        (Writer(0, "earlier", Write(9, "other")), "1", ""),  # a user changed it afterwards
        (Writer(1, "me", Write(9, "m")), "1", None),
        (Writer(2, "later", Write(9, "m")), "1", None),
        (Writer(2, "later", Write(9, UNSURE)), "1", None),
        (Writer(2, "later", Write(9, "other")), "1", ""),
        (Writer(2, "later", Write(9, "m")), UNSURE, "later"),
    ],
)
def test_a_difference_counts_unless_this_tool_or_a_later_one_made_it(
    writer: Writer | None, then: str, by: str | None
) -> None:
    writers = {} if writer is None else {"file:x": writer}
    found = judge(1, "file:x", then, "2", lambda _: "m", writers, lambda _: False)
    assert (None if found is None else found.by) == by


def test_names_that_a_later_tool_made_in_a_folder_do_not_count() -> None:
    me = succeeded(other={"folder:in": "in/a"})
    now = Inputs(other={"folder:in": "in/a\0in/b"})
    after = (wrote("later", "file:in/b", 12, "m"),)
    assert reasons(me, now, marks={"file:in/b": "m"}, after=after) == []
    assert keys(reasons(me, now, marks={"file:in/b": "n"}, after=after)) == [("file:in/b", "")]


# What it wrote.


def test_what_it_wrote_must_be_there() -> None:
    me = wrote("me", OUT, 11, "m")
    assert reasons(me) == []
    assert keys(reasons(me, marks={OUT: "by somebody else"})) == []
    assert keys(reasons(me, marks={})) == [(OUT, "")]


@pytest.mark.parametrize("write", [Write(11, "m", False), Write(11, ABSENT)])
def test_logs_and_what_was_removed_need_not_be_there(write: Write) -> None:
    assert reasons(succeeded(writes={OUT: write}), marks={}) == []


def test_what_a_later_tool_removed_is_not_missing() -> None:
    me = wrote("me", OUT, 11, "m")
    assert reasons(me, marks={}, after=(wrote("later", OUT, 12, ABSENT),)) == []
    remade = (wrote("later", OUT, 12, "n"),)
    assert keys(reasons(me, marks={}, after=remade)) == [(OUT, "")]


# What tools before it did since.


@pytest.mark.parametrize("is_read", [True, False])
def test_a_table_that_it_uses_was_written_later_by_a_tool_before_it(is_read: bool) -> None:
    me = succeeded(tables=(T,)) if is_read else succeeded(writes={T: Write(11, EXISTS)})
    assert reasons(me, before=(wrote("first", T, 9),)) == []
    (reason,) = reasons(me, before=(wrote("first", T, 12),))
    assert reason == Reason(T, by="first", seq=12)
    assert reasons(me, after=(wrote("later", T, 12),)) == []


def test_two_tools_that_overlapped_and_share_a_table_are_stale() -> None:
    """It began as number 10, while the other one still ran, which ended as number 12 before this one did."""
    me = succeeded(asof=10, ended=13, tables=(T,))
    assert keys(reasons(me, before=(wrote("first", T, 12),))) == [(T, "first")]


@pytest.mark.parametrize(
    ("used", "written", "key"),
    [
        ("table:1:*", T, T),
        (T, "table:1:*", "table:1:*"),
        ("table:1:", "table:1:", "table:1:"),
        ("table:1:", T, None),
        ("table:1:u", T, None),
        ("table:2:t", T, None),
        ("table:2:*", T, None),
    ],
)
def test_unclear_use_meets_every_table_of_its_database(
    used: Key, written: Key, key: Key | None
) -> None:
    found = reasons(succeeded(tables=(used,)), before=(wrote("first", written, 12),))
    assert [one.key for one in found] == ([] if key is None else [key])


def test_a_failed_attempt_counts_with_what_it_left() -> None:
    first = add_failure(wrote("first", T, 9), Inputs(), {T: Write(12, EXISTS)})
    assert keys(reasons(succeeded(tables=(T,)), before=(first,))) == [(T, "first")]
    nothing = add_failure(wrote("first", T, 9), Inputs(), {})
    assert reasons(succeeded(tables=(T,)), before=(nothing,)) == []


def test_a_file_that_it_updates_in_place_was_written_anew_before_it() -> None:
    me = succeeded(writes={OUT: Write(11, "m")})
    assert keys(reasons(me, before=(wrote("first", OUT, 12, "n"),))) == [(OUT, "first")]


def test_the_content_of_a_file_that_a_later_tool_rewrote_says_nothing_of_the_earlier_ones() -> None:
    me = succeeded(other={"file:x": "1"})
    first, last = wrote("first", "file:x", 12, "m"), wrote("later", "file:x", 13, "n")
    assert reasons(me, before=(first,), marks={"file:x": "m"}) == []
    found = reasons(me, before=(first,), after=(last,), marks={"file:x": "n"})
    assert keys(found) == [("file:x", "first")]


@pytest.mark.parametrize(
    ("is_observed", "is_whole", "is_stale"),
    [(True, True, False), (True, False, True), (False, True, True), (False, False, True)],
)
def test_equal_content_stops_the_wave_only_where_all_was_seen(
    is_observed: bool, is_whole: bool, is_stale: bool
) -> None:
    me = succeeded(other={"file:x": "1"}, is_whole=is_whole)
    first = succeeded("first", asof=12, ended=13)
    found = reasons(me, before=(first,), is_observed=is_observed)
    assert keys(found) == ([("tool:first", "first")] if is_stale else [])
    assert reasons(me, before=(succeeded("first", ended=9),), is_observed=is_observed) == []


def test_two_tools_that_exchange_files_alone_are_told_by_content_though_one_is_after_the_other() -> (
    None
):
    first = wrote("first", "file:x", 13, "m")
    for me, is_stale in (
        (succeeded(other={"file:x": "1"}), False),
        (succeeded(other={"folder:.": "x\0y"}), False),
        (succeeded(other={"file:x": "1"}, is_whole=False), True),
        (succeeded(other={"file:y": "1"}), True),
    ):
        found = reasons(me, before=(first,), is_observed=False)
        assert keys(found) == ([("tool:first", "first")] if is_stale else [])


def test_another_program_wrote_to_the_database() -> None:
    for tables, when, is_stale in (((T,), 12, True), ((T,), 9, False), ((), 12, False)):
        found = reasons(succeeded(tables=tables), foreign_write=when)
        assert keys(found) == ([("database", "")] if is_stale else [])


# What attempts leave in the memory.


def test_a_success_keeps_its_last_writes_until_another_tool_writes_there() -> None:
    before = succeeded(writes={"file:gone": Write(3, ABSENT), "file:taken": Write(3, ABSENT)})
    writers = find_writers([(0, before), (1, wrote("later", "file:taken", 5))])
    success = Success(asof=20, ended=21)
    found = add_success(before, success, {OUT: Write(21, "m")}, 0, writers, [])
    assert found.success == success
    assert found.writes == {OUT: Write(21, "m"), "file:gone": Write(3, ABSENT, is_checked=False)}


@pytest.mark.parametrize(
    ("mover", "is_repeatable", "is_unsure"),
    [
        ("first", False, False),
        ("me", False, True),
        ("me", True, False),
        ("later", False, True),
        ("later", True, True),
    ],
)
@pytest.mark.parametrize("key", ["file:x", T])
def test_what_was_used_after_this_tool_or_a_later_one_had_changed_it_is_out_of_order(
    key: Key, mover: str, is_repeatable: bool, is_unsure: bool
) -> None:
    names = ("first", "me", "later")
    results = [wrote(one, key, 30 if one == mover else 20) for one in names]
    is_table = key == T
    success = Success(
        asof=40,
        ended=41,
        inputs=Inputs(other={} if is_table else {key: "1"}),
        tables=(key,) if is_table else (),
    )
    found = add_success(
        results[1],
        success,
        {},
        1,
        find_writers(enumerate(results)),
        results[:1],
        is_repeatable=is_repeatable,
    )
    assert found.success is not None
    assert (found.success.inputs.other.get(key) == OUT_OF_ORDER) == is_unsure


def test_what_no_earlier_tool_makes_is_never_out_of_order() -> None:
    """A log that the tool goes on with, or its own cache."""
    me = wrote("me", OUT, 11)
    success = Success(asof=20, ended=21, inputs=Inputs(other={OUT: "1"}))
    found = add_success(me, success, {}, 0, find_writers([(0, me)]), [])
    assert found.success == success


def test_a_failure_keeps_the_success_and_adds_what_stayed() -> None:
    before = succeeded(writes={T: Write(11, EXISTS), OUT: Write(11, "m")})
    tried = Inputs(other={"file:x": "2"})
    found = add_failure(before, tried, {OUT: Write(21, "n")})
    assert (found.success, found.tried) == (before.success, tried)
    assert found.writes == {T: Write(11, EXISTS), OUT: Write(21, "n")}
    passed = Success(asof=30, ended=31)
    assert add_success(found, passed, {}, 0, {}, []).tried == Inputs()


def test_nobody_knows_what_a_tool_that_was_cut_off_left_in_its_files() -> None:
    before = succeeded(writes={T: Write(11, EXISTS), OUT: Write(11, "m", False)})
    assert cut_off(before, 21).writes == {T: Write(11, EXISTS), OUT: Write(21, UNSURE, False)}


# What must be made again before a tool can run again.


@pytest.mark.parametrize(
    ("mover", "is_repeatable", "is_found"),
    [
        ("first", False, False),
        ("me", False, True),
        ("me", True, False),
        ("later", False, True),
        ("later", True, True),
    ],
)
def test_what_this_tool_or_a_later_one_changed_is_made_again_by_the_earlier_tools(
    mover: str, is_repeatable: bool, is_found: bool
) -> None:
    results = [wrote(one, T, 30 if one == mover else 20) for one in ("first", "me", "later")]
    found = find_overwritten(
        results[1],
        1,
        [results[0]],
        find_writers(enumerate(results)),
        is_repeatable=is_repeatable,
    )
    assert found == ({"first": Overwritten(T)} if is_found else {})


@pytest.mark.parametrize("key", ["file:in/x", T])
def test_it_is_so_for_what_the_tool_only_reads_lists_or_has_tried_to_use(key: Key) -> None:
    used = {
        "read": succeeded(other={"file:in/x": "1"}, tables=(T,)),
        "listed": succeeded(other={"folder:in": "in/x"}, tables=(f"table:1:{ANY}",)),
        "tried": ToolResult(module="me", tried=Inputs(other={"file:in/x": "1"})),
    }
    first, last = wrote("first", key, 20), wrote("later", key, 30)
    for how, me in used.items():
        writers = find_writers(enumerate((first, me, last)))
        found = find_overwritten(me, 1, [first], writers, is_repeatable=False)
        assert [*found] == ([] if how == "tried" and key == T else ["first"]), how


@pytest.mark.parametrize(
    ("used", "moved", "expected"),
    [
        (T, "table:1:*", Overwritten(T, "later")),
        ("table:1:*", "table:1:*", Overwritten(T, "later")),
        ("table:1:*", "table:1:other", Overwritten("table:1:*")),
        ("table:1:*", T, Overwritten(T)),
    ],
)
def test_it_is_told_whether_it_is_known_that_it_was_changed(
    used: Key, moved: Key, expected: Overwritten
) -> None:
    me = succeeded(tables=(used,))
    first = wrote("first", used if used != "table:1:*" else T, 20)
    writers = find_writers(enumerate((first, me, wrote("later", moved, 30))))
    found = find_overwritten(me, 1, [first], writers, is_repeatable=False)
    assert found == {"first": expected}


@given(st.sampled_from(["t", "s.t", "x:y", "*"]))
def test_the_key_of_a_table_has_its_name(name: str) -> None:
    key = table_key(7, name)
    assert table_name(key) == name
    assert database_of(key) == "table:7:"
    assert move_tables(ToolResult(module="m", writes={key: Write(1)}), 8).writes.keys() == {
        table_key(8, name)
    }


def test_what_was_used_out_of_order_is_made_again() -> None:
    me = succeeded(other={"file:x": OUT_OF_ORDER})
    first = wrote("first", "file:x", 5)
    writers = find_writers(enumerate((first, me)))
    marked = find_marked_out_of_order(me)
    assert find_overwritten(me, 1, [first], writers, is_repeatable=False, out_of_order=marked) == {
        "first": Overwritten("file:x")
    }


def test_before_a_tool_that_was_cut_off_at_first_runs_what_is_not_as_it_was_left() -> None:
    first, second = wrote("first", "file:x", 5, "m"), wrote("second", "file:y", 6, "m")
    writers = find_writers(enumerate((first, second)))
    found = find_disturbed([first, second], writers, {"file:x": "m", "file:y": "n"}.__getitem__)
    assert found == {"second": Overwritten("file:y")}


# Sequence numbers.


@given(st.integers(1, 9999), st.integers(1, 1000))
def test_numbers_only_grow_from_run_to_run(run: int, count: int) -> None:
    assert run_of(sequence(run, count)) == run_of(after_run(run)) == run
    assert sequence(run, count) < sequence(run, count + 1) <= after_run(run) < sequence(run + 1, 1)


def test_the_writers_of_a_key_are_found_in_every_database_and_where_use_is_unclear() -> None:
    written = WrittenKeys()
    written.add("file", ["file:a.csv"])
    written.add("table", ["table:1:t"])
    written.add("unclear", ["table::*"])
    assert written.find(["file:a.csv", "file:b.csv"]) == {"file"}
    assert written.find(["table:2:t"]) == {"table", "unclear"}
    assert written.find(["table:2:other"]) == {"unclear"}
    assert written.find(["table:2:*"]) == {"table", "unclear"}
