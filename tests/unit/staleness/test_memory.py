"""What is remembered of tools: what is written is read, and damage costs the memory alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from discover_orch.model.dataflow import Dataflow
from discover_orch.staleness.memory import UPGRADED, KnownDatabase, Memory
from discover_orch.staleness.tool_result import (
    Inputs,
    LastOutcome,
    Success,
    ToolResult,
    Write,
    sequence,
)
from discover_orch.state.sealed_files import read_flows


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
