"""What tools were seen to need, and what they have met in the run that has just ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.observation import FileState, Observation, listing_hash
from discover_orch.model.tool import Tool
from discover_orch.staleness.affected import ToolInputs
from discover_orch.staleness.file_hashes import read_file_stat
from discover_orch.watch.observed_inputs import MANY_FOLDERS, ObservedInputs, find_folders
from tests.conftest import Project
from tests.support.values import make_tool

LATER = (
    time.time_ns() + 3_600_000_000_000
)  # a tool that begins in an hour: whatever is there was before


def state(root: Path, path: str) -> FileState:
    size, changed, inode = read_file_stat(str(root / path)) or (-1, 0, 0)
    return (path, size, changed, inode)


def tool(name: str = "a", **more: tuple[str, ...]) -> Tool:
    return replace(make_tool(f"src.{name}"), **more)


def end(
    observed_inputs: ObservedInputs, seen: Observation, name: str = "a", *, has_passed: bool = True
) -> None:
    observed_inputs.note_start(f"src.{name}")
    observed_inputs.note_end(f"src.{name}", seen, has_passed=has_passed)


def test_stored_and_observed_flows_are_inputs(project: Project) -> None:
    observed_inputs = ObservedInputs(str(project({"x": ""})))
    observed_inputs.load({"src.a": Dataflow(reads=("x",), missed=("y",), folders=("in",))})
    assert observed_inputs.find_inputs([tool(), tool("b")]) == {
        "src.a": ToolInputs(reads=frozenset("x"), missed=frozenset("y"), folders=frozenset(["in"]))
    }
    assert not observed_inputs.has_new
    end(observed_inputs, Observation(missed=("z",)))
    assert observed_inputs.has_new
    assert observed_inputs.find_inputs([tool()]) == {"src.a": ToolInputs(missed=frozenset("z"))}


def test_the_same_again_is_no_news(project: Project) -> None:
    observed_inputs = ObservedInputs(str(project({"x": ""})))
    observed_inputs.load({"src.a": Dataflow(missed=("z",))})
    end(observed_inputs, Observation(missed=("z",)))
    assert not observed_inputs.has_new


def test_a_failed_tool_also_needs_what_it_read_until_it_passes(project: Project) -> None:
    observed_inputs = ObservedInputs(str(project({"x": ""})))
    observed_inputs.load({"src.a": Dataflow(missed=("y",))})
    end(observed_inputs, Observation(missed=("z",)), has_passed=False)
    assert observed_inputs.find_inputs([tool()])["src.a"].missed == {"y", "z"}
    assert observed_inputs.flows["src.a"].missed == ("y",)
    end(observed_inputs, Observation(missed=("y",)))
    assert observed_inputs.find_inputs([tool()])["src.a"].missed == {"y"}


def test_what_a_tool_wrote_itself_or_declares_to_write_is_no_input(project: Project) -> None:
    observed_inputs = ObservedInputs(str(project({"x": ""})))
    flow = Dataflow(reads=("x", "in/y", "out/z"), writes=("x", "w"), folders=("in",))
    observed_inputs.load({"src.a": flow})
    inputs = observed_inputs.find_inputs([tool(outputs=("out",))])["src.a"]
    assert (set(inputs.reads), set(inputs.own)) == ({"in/y"}, {"x", "w"})


def test_the_database_and_its_side_files_are_not_inputs(project: Project) -> None:
    observed_inputs = ObservedInputs(str(project({"x": ""})))
    assert observed_inputs.database_files == frozenset()
    end(observed_inputs, Observation(database="data.db"))
    assert observed_inputs.database_files == {
        "data.db",
        "data.db-journal",
        "data.db-wal",
        "data.db-shm",
        "data.db.wal",
    }


def test_of_a_tool_that_was_killed_it_is_known_what_it_wrote_before(project: Project) -> None:
    observed_inputs = ObservedInputs(str(project({"x": ""})))
    observed_inputs.load({f"src.{one}": Dataflow(writes=(f"{one}.csv",)) for one in "abc"})
    observed_inputs.note_start("src.a")
    end(observed_inputs, Observation(), "b")
    every = ["src.a", "src.b", "src.c", "src.d"]
    assert observed_inputs.find_unseen_writes(every) == {"a.csv"}
    observed_inputs.start_run()
    assert observed_inputs.find_unseen_writes(every) == set()


def test_a_file_that_changed_after_it_was_met_is_found(project: Project) -> None:
    root = project({"x": "1", "y": "1"})
    observed_inputs = ObservedInputs(str(root))
    end(
        observed_inputs,
        Observation(read=(state(root, "x"), state(root, "y")), missed=("z", "never")),
    )
    assert observed_inputs.find_changed_since({"x", "y", "z", "never"}) == set()
    project({"x": "2, and longer", "z": ""})
    assert observed_inputs.find_changed_since({"x", "y", "z", "never"}) == {"x", "z"}
    assert observed_inputs.find_changed_since({"y"}) == set()


def test_data_that_every_reader_read_unchanged_is_consumed(project: Project) -> None:
    root = project({"x": "1", "y": "1", "z": "1"})
    observed_inputs = ObservedInputs(str(root))
    observed_inputs.load({"src.late": Dataflow(reads=("y",))})
    end(observed_inputs, Observation(read=(state(root, "x"), state(root, "y")), began=(LATER, 1)))
    tools = [tool(), tool("late")]
    assert observed_inputs.find_consumed({"x", "y", "z"}, (), tools) == {"x"}
    project({"x": "2, and longer"})
    assert observed_inputs.find_consumed({"x"}, (), tools) == set()


def test_data_that_changed_while_its_reader_ran_is_not_consumed(project: Project) -> None:
    root = project({"x": "1"})
    observed_inputs = ObservedInputs(str(root))
    end(observed_inputs, Observation(read=(state(root, "x"),), began=(1, 1)))
    assert observed_inputs.find_consumed({"x"}, (), [tool()]) == set()
    end(observed_inputs, Observation(read=(state(root, "x"),)))  # nobody knows when it began
    assert observed_inputs.find_consumed({"x"}, (), [tool()]) == set()


def test_a_declared_input_is_consumed_by_a_tool_that_read_it(project: Project) -> None:
    root = project({"in/x": "1", "in/y": "1"})
    observed_inputs = ObservedInputs(str(root))
    end(observed_inputs, Observation(read=(state(root, "in/x"),), began=(LATER, 1)))
    assert observed_inputs.find_consumed({"in/x", "in/y"}, (), [tool(inputs=("in/*",))]) == {"in/x"}


@pytest.mark.parametrize(("names", "taken"), [(["x", "y"], {"in/y"}), (["x"], set())])
def test_names_are_consumed_by_a_tool_that_listed_them(
    project: Project, names: list[str], taken: set[str]
) -> None:
    root = project({"in/x": "1", "in/y": "1"})
    observed_inputs = ObservedInputs(str(root))
    end(
        observed_inputs,
        Observation(listed=(("in", listing_hash("in", names, ())),), began=(LATER, 1)),
    )
    assert observed_inputs.find_consumed({"in/y"}, {"in/y"}, [tool()]) == taken


def test_a_missed_file_is_never_consumed(project: Project) -> None:
    root = project({"x": "1"})
    observed_inputs = ObservedInputs(str(root))
    end(observed_inputs, Observation(read=(state(root, "x"),), began=(LATER, 1)))
    end(observed_inputs, Observation(missed=("x",), began=(LATER, 1)), "b")
    assert observed_inputs.find_consumed({"x"}, (), [tool(), tool("b")]) == set()


def test_many_folders_are_subscribed_to_through_their_common_one() -> None:
    few = ToolInputs(
        reads=frozenset(["a", "in/b", "in/c"]),
        missed=frozenset(["x/d"]),
        folders=frozenset([".", "y"]),
    )
    deep, flat = find_folders(few)
    assert (deep, set(flat)) == ((), {"", "in", "x", "y"})
    many = ToolInputs(
        reads=frozenset(f"in/deep/{number}/x" for number in range(MANY_FOLDERS + 1)) | {"a/b"}
    )
    assert find_folders(many) == (("in/deep",), ("a",))
    assert os.path.commonpath(["in/deep/1", "in/deep/2"]) == "in/deep"
