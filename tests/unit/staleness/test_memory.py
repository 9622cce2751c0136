"""The door to what is remembered of tools: what is written is read, and damage costs the memory alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.dataflow import Dataflow
from discover_orch.staleness.file_hashes import DatabaseStat
from discover_orch.staleness.fingerprint import DatabaseIdentity, Fingerprint
from discover_orch.staleness.last_result import LastOutcome, Success, ToolResult
from discover_orch.staleness.memory import KnownDatabase, Memory
from discover_orch.state.flows import read_flows
from discover_orch.state.store import append_sealed, flows_stamp, read_sealed, write_sealed
from tests.support.permissions import run_bound


def make(module: str = "src.a", run: str = "1", **more: Any) -> ToolResult:
    return ToolResult(module=module, last=LastOutcome(run=run, status="passed"), **more)


WHOLE = make(
    success=Success(
        run=1,
        fingerprint=Fingerprint(
            files={"in.csv": "1"}, database=DatabaseIdentity(name="sqlite:///data.db", epoch=1)
        ),
        marks={"in.csv": (1, 2, 3)},
        flow=Dataflow(reads=("in.csv",), tables_written=("raw",)),
    )
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


def test_times_that_a_tool_took_are_of_its_successes_not_of_what_was_accepted(
    tmp_path: Path,
) -> None:
    memory = Memory(str(tmp_path))
    memory.write(make("a", success=Success(run=1, duration=2.5)))
    memory.write(make("b", success=Success(run=1, duration=2.5, accepted=1)))
    memory.write(make("c"))
    assert memory.durations("abc") == {"a": 2.5}


@pytest.mark.parametrize("kind", ["append", "replace"])
def test_a_file_that_was_cut_anywhere_has_the_last_document_or_the_one_before(
    tmp_path: Path, kind: str
) -> None:
    write = append_sealed if kind == "append" else write_sealed
    path = str(tmp_path / ".orch" / "x")
    documents = [{"number": one, "text": "é\n" * one} for one in range(4)]
    for document in documents:
        assert write(path, "tool", document)
    whole = Path(path).read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == (4 if kind == "append" else 1)
    ends = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
    kept: list[dict[str, Any] | None] = [None, *documents[-len(lines) :]]
    for length in range(len(whole) + 1):
        Path(path).write_bytes(whole[:length])
        assert (
            read_sealed(path, "tool") == kept[max(n for n, end in enumerate(ends) if end <= length)]
        )


def test_a_damaged_last_line_is_none_and_never_the_one_before(tmp_path: Path) -> None:
    path = str(tmp_path / ".orch" / "x")
    append_sealed(path, "tool", {"status": "failed"})
    first = len(Path(path).read_bytes())
    append_sealed(path, "tool", {"status": "passed"})
    whole = Path(path).read_bytes()
    for place in range(first, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        if damaged[place] == ord("\n"):
            continue  # that would be a torn one
        Path(path).write_bytes(damaged)
        assert read_sealed(path, "tool") is None


def test_behind_a_torn_line_the_next_document_is_good(tmp_path: Path) -> None:
    path = str(tmp_path / ".orch" / "x")
    append_sealed(path, "tool", {"number": 1})
    whole = Path(path).read_bytes()
    for torn in (b"x", whole[:-1], whole[:5]):
        Path(path).write_bytes(whole + torn)
        assert read_sealed(path, "tool") == {"number": 1}
        assert append_sealed(path, "tool", {"number": 2})
        assert read_sealed(path, "tool") == {"number": 2}


def test_a_file_that_is_appended_to_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = str(tmp_path / ".orch" / "x")
    sizes = set()
    for number in range(300):
        assert append_sealed(path, "tool", {"number": number, "text": "x" * 500})
        assert read_sealed(path, "tool") == {"number": number, "text": "x" * 500}
        sizes.add(os.path.getsize(path))
    assert max(sizes) < 1 << 16
    assert append_sealed(
        path, "tool", {"text": "x" * (1 << 17)}
    )  # one that is longer than all that
    assert read_sealed(path, "tool") == {"text": "x" * (1 << 17)}
    assert append_sealed(path, "tool", {"number": 0})
    assert read_sealed(path, "tool") == {"number": 0}


def damaged(good: bytes) -> Iterator[bytes]:
    yield b""
    yield b"\n"
    yield good[: len(good) // 2]
    yield good.replace(b'"scheme":1', b'"scheme":2')
    yield b"00000000 {}\n"
    yield b"\xff" * 100
    yield b"[" * 5000 + b"\n"


@pytest.mark.parametrize("name", ["tools/src.a", "databases", "flow"])
def test_a_damaged_file_costs_what_it_held(tmp_path: Path, name: str) -> None:
    memory = Memory(str(tmp_path))
    known = {"x": KnownDatabase(path="", epoch=1, mark=None)}

    def fill() -> None:
        memory.write(WHOLE)
        memory.write_databases(known)
        memory.write_flows({"src.a": Dataflow(reads=("x",))})

    fill()
    path = tmp_path / ".orch" / name
    good = path.read_bytes()
    for data in damaged(good):
        path.write_bytes(data)
        found = [memory.results(["src.a"]), memory.databases(), read_flows(str(tmp_path))]
        assert [bool(one) for one in found].count(False) == 1
        fill()
        assert not memory.is_lost
        assert memory.results(["src.a"]) == {"src.a": WHOLE}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(VALUES)
def test_documents_of_another_shape_are_none_or_values(
    tmp_path_factory: pytest.TempPathFactory, part: Any
) -> None:
    root = str(tmp_path_factory.getbasetemp())
    memory = Memory(root)
    for document in ({"databases": part}, {"databases": {"x": part}}):
        write_sealed(f"{root}/.orch/databases", "databases", document)
        for name, one in memory.databases().items():
            assert (type(name), type(one.path), type(one.epoch)) == (str, str, int)
    for document in ({"flows": part}, {"flows": {"x": part}}, {"flows": {"x": {"reads": part}}}):
        write_sealed(f"{root}/.orch/flow", "flow", document)
        for flow in read_flows(root).values():
            assert all(type(path) is str for path in flow.reads)
    write_sealed(f"{root}/.orch/tools/src.a", "tool", {"module": "src.a", "last": part})
    assert set(memory.results(["src.a"])) <= {"src.a"}


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.builds(
            KnownDatabase,
            path=st.text(max_size=5),
            epoch=st.integers(0, 99),
            mark=st.none()
            | st.builds(
                DatabaseStat,
                inode=st.integers(0, 1 << 63),
                size=st.integers(0, 1 << 40),
                counter=st.integers(0, 1 << 32),
                header=st.text(max_size=5),
            ),
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


def test_the_memory_comes_back_where_somebody_removed_it(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path))
    memory.write(make())
    for path in sorted((tmp_path / ".orch").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / ".orch").rmdir()
    memory.write(make(run="2"))
    assert memory.results(["src.a"]) == {"src.a": make(run="2")}
    assert (tmp_path / ".orch" / ".gitignore").exists()
