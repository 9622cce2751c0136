"""The text of `orch.lock` is read back as what it was written from, and no text makes reading it fail."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.flow_edges import edges
from discover_orch.state.flow_lock import (
    MOST_ALIKE,
    OUTSIDE,
    LockedTool,
    parse_lock,
    tool_lines,
    write_lock,
)

NAMES = st.sampled_from(["raw", "a.raw", "all tables", "nothing", "*", "naïve", "a\nb", '"x"', " "])
PATHS = st.sampled_from(
    ["a.csv", "in/a.csv", "in/[1].csv", "file x", "in/a\nb", "in/\udcff", '"q"', " in", "-", "#a"]
    + ["/etc/hosts", "../other/a.csv"]
    + [f"many/{number}.csv" for number in range(MOST_ALIKE + 2)]
)
MODULES = st.sampled_from(["src.a", "src.b", "src.01-load", "a"])


def names(of: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(of, unique=True, max_size=14).map(tuple)


FLOWS = st.builds(
    Dataflow,
    **{name: names(PATHS) for name in ("reads", "writes", "folders", "missed", "removed")},
    **{
        f"tables_{kind}": names(NAMES)
        for kind in ("read", "written", "missed", "found", "created", "dropped", "kept")
    },
    lists_tables=st.booleans(),
    is_unclear=st.booleans(),
    gaps=names(st.sampled_from(["used the network", "used x\x1b[31m"])),
)
FLOWS = FLOWS.map(
    lambda one: replace(
        one, appended=one.writes[::3], tables_written=(*one.tables_written, *one.tables_created)
    )
)
TOOLS: Any = st.dictionaries(MODULES, st.builds(LockedTool, flow=FLOWS, code=names(PATHS)))


@given(TOOLS)
def test_what_is_written_is_read_back(tools: dict[str, LockedTool]) -> None:
    data = write_lock(tools)
    lock = parse_lock(data)
    assert not lock.problems
    assert write_lock(lock.tools) == data
    assert {module: tool_lines(one) for module, one in lock.tools.items()} == {
        module: tool_lines(one) for module, one in tools.items()
    }
    # What is known counts as known.
    for module, one in lock.flows.items():
        then = tools[module].flow
        if then.reads or then.tables_read:
            assert one.has_reads or one.is_unclear


@given(TOOLS, st.data())
def test_reading_never_fails(tools: dict[str, LockedTool], data: st.DataObject) -> None:
    text = write_lock(tools)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    damaged = text[:start] + data.draw(st.binary(max_size=20)) + text[end:]
    lock = parse_lock(damaged)
    assert not (lock.problems and lock.tools)
    for problem in lock.problems:
        assert problem.line is not None
        assert 1 <= problem.line <= damaged.count(b"\n") + 1


@given(st.binary())
def test_any_bytes_are_read(data: bytes) -> None:
    assert parse_lock(data).problems


def test_the_first_and_the_second_run_of_a_tool_say_the_same() -> None:
    """At first the table and the folder are not there, later they are."""
    first = Dataflow(
        writes=("out/a",),
        folders_made=("out",),
        missed=("out/a",),
        tables_missed=("t",),
        tables_created=("t",),
        tables_written=("t",),
    )
    second = Dataflow(
        writes=("out/a",),
        tables_dropped=("t",),
        tables_found=("t",),
        tables_written=("t",),
        tables_inserted=("t",),
    )
    lines = tool_lines(LockedTool(flow=first))
    assert lines == tool_lines(LockedTool(flow=second))
    assert lines == ["reads nothing", "writes file out/a", "writes table t"]


def test_a_table_that_is_only_made_where_it_is_missing_is_not_written() -> None:
    for flow in (
        Dataflow(tables_created=("t",), tables_written=("t",), tables_kept=("t",)),
        Dataflow(tables_kept=("t",), tables_found=("t",)),
    ):
        assert "creates table t" in tool_lines(LockedTool(flow=flow))
        [read] = parse_lock(write_lock({"src.a": LockedTool(flow=flow)})).flows.values()
        assert read.tables_filled == ()


def test_a_table_that_is_only_dropped_is_dropped_whether_it_was_there_or_not() -> None:
    for flow in (
        Dataflow(tables_missed=("t",), tables_kept=("t",)),
        Dataflow(tables_dropped=("t",), tables_written=("t",)),
    ):
        lines = ["reads nothing", "drops table t"]
        assert tool_lines(LockedTool(flow=flow)) == lines
        [read] = parse_lock(write_lock({"src.a": LockedTool(flow=flow)})).flows.values()
        assert tool_lines(LockedTool(flow=read)) == lines
        assert edges({"a": read, "b": Dataflow(tables_read=("t",))}) == {"b": ("a",)}


def test_files_outside_the_project_are_not_named_and_still_order_tools() -> None:
    tools = {
        "src.a": LockedTool(flow=Dataflow(reads=("/home/ada/big.csv",))),
        "src.b": LockedTool(flow=Dataflow(writes=("/home/ada/big.csv", "/tmp/x"))),
    }
    data = write_lock(tools)
    assert b"ada" not in data
    assert b"  reads files outside the project\n" in data
    flows = parse_lock(data).flows
    assert flows["src.b"].writes == (OUTSIDE,)
    assert edges(flows) == {"src.a": ("src.b",)}
