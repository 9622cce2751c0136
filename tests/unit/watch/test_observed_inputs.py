"""What tools were seen to need, and what they have met in the run that has just ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.observation import FileState, Seen, listing_hash
from discover_orch.model.tool import Tool
from discover_orch.staleness.affected import Inputs
from discover_orch.staleness.file_hashes import mark_of
from discover_orch.watch.observed_inputs import MANY_FOLDERS, Sightings, find_folders
from tests.conftest import Project
from tests.support.values import make_tool

LATER = (
    time.time_ns() + 3_600_000_000_000
)  # a tool that begins in an hour: whatever is there was before


def state(root: Path, path: str) -> FileState:
    size, changed, inode = mark_of(str(root / path)) or (-1, 0, 0)
    return (path, size, changed, inode)


def tool(name: str = "a", **more: tuple[str, ...]) -> Tool:
    return replace(make_tool(f"src.{name}"), **more)


def end(sightings: Sightings, seen: Seen, name: str = "a", *, has_passed: bool = True) -> None:
    sightings.note_start(f"src.{name}")
    sightings.note_end(f"src.{name}", seen, has_passed=has_passed)


def test_what_is_remembered_and_what_was_seen_is_needed(project: Project) -> None:
    sightings = Sightings(str(project({"x": ""})))
    sightings.recall({"src.a": Dataflow(reads=("x",), missed=("y",), folders=("in",))})
    assert sightings.find_inputs([tool(), tool("b")]) == {
        "src.a": Inputs(reads=frozenset("x"), missed=frozenset("y"), folders=frozenset(["in"]))
    }
    assert not sightings.has_news
    end(sightings, Seen(missed=("z",)))
    assert sightings.has_news
    assert sightings.find_inputs([tool()]) == {"src.a": Inputs(missed=frozenset("z"))}


def test_the_same_again_is_no_news(project: Project) -> None:
    sightings = Sightings(str(project({"x": ""})))
    sightings.recall({"src.a": Dataflow(missed=("z",))})
    end(sightings, Seen(missed=("z",)))
    assert not sightings.has_news


def test_a_tool_that_has_failed_needs_what_it_met_as_well_until_it_passes(project: Project) -> None:
    sightings = Sightings(str(project({"x": ""})))
    sightings.recall({"src.a": Dataflow(missed=("y",))})
    end(sightings, Seen(missed=("z",)), has_passed=False)
    assert sightings.find_inputs([tool()])["src.a"].missed == {"y", "z"}
    assert sightings.flows["src.a"].missed == ("y",)
    end(sightings, Seen(missed=("y",)))
    assert sightings.find_inputs([tool()])["src.a"].missed == {"y"}


def test_what_a_tool_wrote_itself_or_declares_to_write_is_no_input(project: Project) -> None:
    sightings = Sightings(str(project({"x": ""})))
    flow = Dataflow(reads=("x", "in/y", "out/z"), writes=("x", "w"), folders=("in",))
    sightings.recall({"src.a": flow})
    inputs = sightings.find_inputs([tool(outputs=("out",))])["src.a"]
    assert (set(inputs.reads), set(inputs.own)) == ({"in/y"}, {"x", "w"})


def test_the_database_and_its_side_files_are_nobodys(project: Project) -> None:
    sightings = Sightings(str(project({"x": ""})))
    assert sightings.nobodys == frozenset()
    end(sightings, Seen(database="data.db"))
    assert sightings.nobodys == {
        "data.db",
        "data.db-journal",
        "data.db-wal",
        "data.db-shm",
        "data.db.wal",
    }


def test_of_a_tool_that_was_killed_it_is_known_what_it_wrote_before(project: Project) -> None:
    sightings = Sightings(str(project({"x": ""})))
    sightings.recall({f"src.{one}": Dataflow(writes=(f"{one}.csv",)) for one in "abc"})
    sightings.note_start("src.a")
    end(sightings, Seen(), "b")
    every = ["src.a", "src.b", "src.c", "src.d"]
    assert sightings.find_unseen_writes(every) == {"a.csv"}
    sightings.begin()
    assert sightings.find_unseen_writes(every) == set()


def test_a_file_that_changed_after_it_was_met_is_found(project: Project) -> None:
    root = project({"x": "1", "y": "1"})
    sightings = Sightings(str(root))
    end(sightings, Seen(read=(state(root, "x"), state(root, "y")), missed=("z", "never")))
    assert sightings.find_changed_since({"x", "y", "z", "never"}) == set()
    project({"x": "2, and longer", "z": ""})
    assert sightings.find_changed_since({"x", "y", "z", "never"}) == {"x", "z"}
    assert sightings.find_changed_since({"y"}) == set()


def test_what_each_reader_has_read_as_it_stands_is_taken_in(project: Project) -> None:
    root = project({"x": "1", "y": "1", "z": "1"})
    sightings = Sightings(str(root))
    sightings.recall({"src.late": Dataflow(reads=("y",))})
    end(sightings, Seen(read=(state(root, "x"), state(root, "y")), began=(LATER, 1)))
    tools = [tool(), tool("late")]
    assert sightings.find_taken_in({"x", "y", "z"}, (), tools) == {"x"}
    project({"x": "2, and longer"})
    assert sightings.find_taken_in({"x"}, (), tools) == set()


def test_what_changed_while_its_reader_ran_is_not_taken_in(project: Project) -> None:
    root = project({"x": "1"})
    sightings = Sightings(str(root))
    end(sightings, Seen(read=(state(root, "x"),), began=(1, 1)))
    assert sightings.find_taken_in({"x"}, (), [tool()]) == set()
    end(sightings, Seen(read=(state(root, "x"),)))  # nobody knows when it began
    assert sightings.find_taken_in({"x"}, (), [tool()]) == set()


def test_a_declared_input_is_taken_in_by_who_has_read_it(project: Project) -> None:
    root = project({"in/x": "1", "in/y": "1"})
    sightings = Sightings(str(root))
    end(sightings, Seen(read=(state(root, "in/x"),), began=(LATER, 1)))
    assert sightings.find_taken_in({"in/x", "in/y"}, (), [tool(inputs=("in/*",))]) == {"in/x"}


@pytest.mark.parametrize(("names", "taken"), [(["x", "y"], {"in/y"}), (["x"], set())])
def test_names_are_taken_in_by_who_has_listed_them(
    project: Project, names: list[str], taken: set[str]
) -> None:
    root = project({"in/x": "1", "in/y": "1"})
    sightings = Sightings(str(root))
    end(sightings, Seen(listed=(("in", listing_hash("in", names, ())),), began=(LATER, 1)))
    assert sightings.find_taken_in({"in/y"}, {"in/y"}, [tool()]) == taken


def test_what_was_looked_for_in_vain_is_never_taken_in(project: Project) -> None:
    root = project({"x": "1"})
    sightings = Sightings(str(root))
    end(sightings, Seen(read=(state(root, "x"),), began=(LATER, 1)))
    end(sightings, Seen(missed=("x",), began=(LATER, 1)), "b")
    assert sightings.find_taken_in({"x"}, (), [tool(), tool("b")]) == set()


def test_few_folders_are_listened_to_one_by_one_and_many_from_above() -> None:
    few = Inputs(
        reads=frozenset(["a", "in/b", "in/c"]),
        missed=frozenset(["x/d"]),
        folders=frozenset([".", "y"]),
    )
    deep, flat = find_folders(few)
    assert (deep, set(flat)) == ((), {"", "in", "x", "y"})
    many = Inputs(
        reads=frozenset(f"in/deep/{number}/x" for number in range(MANY_FOLDERS + 1)) | {"a/b"}
    )
    assert find_folders(many) == (("in/deep",), ("a",))
    assert os.path.commonpath(["in/deep/1", "in/deep/2"]) == "in/deep"
