"""What is remembered of tools: what is written is read, and damage costs the memory alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.dataflow import Dataflow
from discover_orch.staleness.database_file import DatabaseStat
from discover_orch.staleness.fingerprint import (
    Inputs,
    LastOutcome,
    Success,
    ToolResult,
    Write,
    sequence,
)
from discover_orch.staleness.memory import _TOOL, UPGRADED, KnownDatabase, Memory
from discover_orch.state.flows import read_flows
from discover_orch.state.store import flows_stamp, write_sealed
from tests.support.permissions import run_bound


def make(module: str = "src.a", run: str = "1", **more: Any) -> ToolResult:
    return ToolResult(module=module, last=LastOutcome(run=run, status="passed"), **more)


WHOLE = make(
    success=Success(
        asof=sequence(1, 1),
        ended=sequence(1, 2),
        inputs=Inputs(code={"src/a.py": "1"}, other={"file:in.csv": "1"}),
        marks={"file:in.csv": "1 2 3 4"},
        flow=Dataflow(reads=("in.csv",), tables_written=("raw",)),
    ),
    writes={"table:1:raw": Write(sequence(1, 2), "+")},
)


def path_of(root: Path, module: str = "src.a") -> Path:
    return root / ".orch" / "tools" / module


def test_the_last_result_of_each_tool_is_read(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path))
    for result in (make(), make("src.b"), make(run="2"), WHOLE):
        memory.write(result)
    assert not memory.is_lost
    assert memory.results(["src.a", "src.b", "src.c"]) == {
        "src.a": WHOLE,
        "src.b": make("src.b"),
    }


def test_nothing_is_remembered_where_there_is_nothing(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path))
    assert memory.results(["src.a"]) == {}
    assert memory.databases() == {}
    assert read_flows(str(tmp_path)) == {}
    assert flows_stamp(str(tmp_path)) == ""
    assert os.listdir(tmp_path) == []


def test_a_result_under_another_name_is_not_that_tool_s(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path))
    memory.write(make("src.a"))
    path_of(tmp_path).rename(path_of(tmp_path, "src.b"))
    assert memory.results(["src.a", "src.b"]) == {}


def test_tools_with_names_too_long_for_a_file_are_told_apart(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path))
    first, second = (f"{one}." + "x" * 300 for one in "ab")
    memory.write(make(first))
    memory.write(make(second, run="2"))
    assert memory.results([first, second]) == {first: make(first), second: make(second, run="2")}


TEXTS = st.text(st.characters(), max_size=8)  # also names that are not UTF-8
LISTS = st.lists(TEXTS, max_size=3).map(tuple)
TABLES = st.dictionaries(TEXTS, TEXTS, max_size=3)
SECONDS = st.floats(0, 1e6)
NUMBERS = st.integers(0, 1 << 62)
FLOWS = st.builds(
    Dataflow,
    reads=LISTS,
    writes=LISTS,
    tables_read=LISTS,
    tables_written=LISTS,
    folders=LISTS,
    missed=LISTS,
    is_unclear=st.booleans(),
)
INPUTS = st.builds(Inputs, code=TABLES, other=TABLES)
RESULTS = st.builds(
    ToolResult,
    module=st.just("src.a"),
    last=st.builds(LastOutcome, run=TEXTS, status=TEXTS, at=TEXTS, duration=SECONDS),
    success=st.none()
    | st.builds(
        Success,
        asof=NUMBERS,
        ended=NUMBERS,
        inputs=INPUTS,
        tables=LISTS,
        is_whole=st.booleans(),
        is_accepted=st.booleans(),
        at=TEXTS,
        duration=SECONDS,
        marks=TABLES,
        modules=LISTS,
        flow=FLOWS,
    ),
    writes=st.dictionaries(TEXTS, st.builds(Write, NUMBERS, TEXTS, st.booleans()), max_size=3),
    tried=INPUTS,
)


@given(RESULTS)
def test_a_result_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, result: ToolResult
) -> None:
    memory = Memory(str(tmp_path_factory.getbasetemp()))
    memory.write(result)
    assert memory.results(["src.a"]) == {"src.a": result}


def test_what_is_empty_takes_no_room(tmp_path: Path) -> None:
    Memory(str(tmp_path)).write(make(success=Success(asof=1, ended=2)))
    text = path_of(tmp_path).read_text().partition("{")[1:]
    assert json.loads("".join(text)) == {
        "module": "src.a",
        "last": {"run": "1", "status": "passed"},
        "success": {"asof": 1, "ended": 2},
    }


LAST = {"run": "1", "status": "passed"}


@pytest.mark.parametrize(
    "document",
    [
        {"module": 1},
        {"module": "src.a", "last": ["1", "passed"]},
        {"module": "src.a", "last": LAST, "success": []},
        {"module": "src.a", "last": LAST, "success": {"asof": 1}},
        {"module": "src.a", "last": LAST, "success": {"asof": 1, "ended": 2, "tables": "raw"}},
        {"module": "src.a", "last": LAST, "writes": {"file:out.csv": "1"}},
    ],
)
def test_a_result_of_another_shape_is_none(tmp_path: Path, document: object) -> None:
    write_sealed(str(path_of(tmp_path)), _TOOL, document)
    assert Memory(str(tmp_path)).results(["src.a"]) == {}
    write_sealed(str(path_of(tmp_path)), _TOOL, {"module": "src.a", "last": LAST})
    assert Memory(str(tmp_path)).results(["src.a"]) == {"src.a": make()}


@pytest.mark.parametrize(
    ("status", "run", "was_accepted_after"),
    [
        ("accepted", "5", True),
        ("accepted", "6", True),
        ("accepted", "4", False),
        ("accepted", "x", False),
        ("passed", "5", False),
    ],
)
def test_accepting_settles_a_run_without_an_end(
    status: str, run: str, was_accepted_after: bool
) -> None:
    result = ToolResult(module="a", last=LastOutcome(run=run, status=status))
    assert result.was_accepted_after("5") == was_accepted_after


def damaged(good: bytes) -> Iterator[bytes]:
    yield b""
    yield b"\n"
    yield good[: len(good) // 2]
    yield re.sub(rb" \d+ {", b" 999 {", good)
    yield b"00000000 {}\n"
    yield b"\xff" * 100
    yield b"[" * 5000 + b"\n"


@pytest.mark.parametrize("name", ["tools/src.a", "databases", "flow"])
def test_a_damaged_file_costs_what_it_held(tmp_path: Path, name: str) -> None:
    memory = Memory(str(tmp_path))
    known = {"x": KnownDatabase(path="", number=1, stat=None)}

    def fill() -> None:
        memory.write(WHOLE)
        memory.write_databases(known)
        memory.write_flows({"src.a": Dataflow(reads=("x",))})

    fill()
    path = tmp_path / ".orch" / name
    good = path.read_bytes()
    for data in damaged(good):
        path.write_bytes(data)
        successes = [one.success for one in memory.results(["src.a"]).values() if one.success]
        found = [successes, memory.databases(), read_flows(str(tmp_path))]
        assert [bool(one) for one in found].count(False) == 1
        fill()
        assert not memory.is_lost
        assert memory.results(["src.a"]) == {"src.a": WHOLE}


def test_a_result_of_another_version_of_orch_is_known_to_be_one(tmp_path: Path) -> None:
    memory, path = Memory(str(tmp_path)), path_of(tmp_path)
    memory.write(WHOLE)
    good = path.read_bytes()
    path.write_bytes(re.sub(rb" \d+ {", b" 999 {", good))
    assert memory.results(["src.a"])["src.a"].last.status == UPGRADED
    path.write_bytes(good[: len(good) // 2])
    assert memory.results(["src.a"]) == {}


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.builds(
            KnownDatabase,
            path=st.text(max_size=5),
            number=st.integers(0, 99),
            stat=st.none()
            | st.builds(
                DatabaseStat,
                inode=st.integers(0, 1 << 63),
                birth=st.text(max_size=5),
                size=st.integers(0, 1 << 40),
                mtime_ns=st.integers(0, 1 << 62),
                ctime_ns=st.integers(0, 1 << 62),
                counter=st.integers(0, 1 << 32),
                header=st.text(max_size=5),
                content=st.text(max_size=5),
                wal_size=st.integers(0, 1 << 40),
                wal_mtime_ns=st.integers(0, 1 << 62),
            ),
            foreign_write=st.integers(0, 1 << 62),
        ),
    )
)
def test_databases_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, known: dict[str, KnownDatabase]
) -> None:
    memory = Memory(str(tmp_path_factory.getbasetemp()))
    memory.write_databases(known)
    assert memory.databases() == known


def test_flows_come_back_and_their_stamp_tells_them_apart(tmp_path: Path) -> None:
    root, memory = str(tmp_path), Memory(str(tmp_path))
    stamps = [flows_stamp(root)]
    for flows in ({}, {"a": Dataflow(reads=("x",))}, {"a": Dataflow(is_unclear=True)}):
        memory.write_flows(flows)
        assert read_flows(root) == flows
        stamps.append(flows_stamp(root))
    assert len({*stamps}) == 4
    memory.write_flows({"a": Dataflow(is_unclear=True)})
    assert flows_stamp(root) == stamps[-1]


def test_what_cannot_be_written_is_lost_and_that_is_known(tmp_path: Path) -> None:
    (tmp_path / ".orch").write_text("a file")
    writes: list[Callable[[Memory], None]] = [
        lambda memory: memory.write(make()),
        lambda memory: memory.write_flows({}),
        lambda memory: memory.write_databases({}),
    ]
    for write in writes:
        memory = Memory(str(tmp_path))
        write(memory)
        assert memory.is_lost
        assert memory.results(["src.a"]) == {}
        assert memory.databases() == {}


def test_a_memory_that_may_not_be_written_stays_as_it_was(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path))
    memory.write(make())
    for path in (path_of(tmp_path), path_of(tmp_path).parent):
        path.chmod(0o555 if path.is_dir() else 0o444)

    def write() -> str:
        mine = Memory(str(tmp_path))
        mine.write(make(run="2"))
        mine.write(make("src.b"))
        return str(mine.is_lost)

    assert run_bound(write) == "True"
    assert memory.results(["src.a", "src.b"]) == {"src.a": make()}
    path_of(tmp_path).parent.chmod(0o755)
