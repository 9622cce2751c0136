"""Names in folders that appeared and disappeared, whatever the files contain."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discover_orch.watch.folder_snapshot import FolderSnapshots, split
from tests.conftest import Project


def make(root: Path, *folders: str, database_files: Iterable[str] = ()) -> FolderSnapshots:
    """Configured, with the names accepted as they are."""
    made = FolderSnapshots(str(root))
    made.configure(folders, frozenset(database_files))
    return made


def test_a_name_that_comes_or_goes_differs_until_it_is_accepted(project: Project) -> None:
    root = project({"in/a.csv": "1", "in/b.csv": "1"})
    listings = make(root, "in")
    assert listings.differing() == set()
    project({"in/c.csv": "1", "in/a.csv": "2"})
    (root / "in/b.csv").unlink()
    assert listings.compare() == {"in/b.csv", "in/c.csv"}
    assert listings.compare() == set()
    assert listings.differing() == {"in/b.csv", "in/c.csv"}
    listings.accept(["in/c.csv", "elsewhere/x"])
    assert listings.differing() == {"in/b.csv"}
    project({"in/b.csv": "3"})
    listings.compare()
    assert listings.differing() == set()


def test_only_names_directly_in_the_folder_count(project: Project) -> None:
    root = project({"in/deep/a.csv": ""})
    listings = make(root, "in")
    project({"in/deep/b.csv": "", "beside.csv": ""})
    assert listings.compare() == set()
    project({"in/other/b.csv": ""})
    assert listings.compare() == {"in/other"}


def test_the_root_is_a_folder_as_any_other(project: Project) -> None:
    root = project({"a.csv": ""})
    listings = make(root, ".")
    project({"b.csv": ""})
    assert listings.compare() == {"b.csv"}
    assert listings.has("b.csv")
    assert not listings.has("c.csv")


@pytest.mark.parametrize(
    "name", [".git", "__pycache__", "a.csv~", ".a.csv.swp", ".#a.csv", ".DS_Store"]
)
def test_noise_and_what_editors_put_there_is_no_name(project: Project, name: str) -> None:
    root = project({"in/a.csv": ""})
    listings = make(root, "in")
    project({f"in/{name}": ""})
    assert not listings.has_changed(f"in/{name}")
    assert listings.compare() == set()


def test_the_database_and_its_side_files_do_not_count(project: Project) -> None:
    root = project({"in/a.csv": ""})
    listings = make(root, "in", database_files=["in/x.db", "in/x.db-wal"])
    project({"in/x.db": "", "in/x.db-wal": "", "in/other.db": "", "in/other.db-journal": ""})
    assert listings.compare() == {"in/other.db"}


def test_a_database_that_is_known_only_later_is_forgotten(project: Project) -> None:
    root = project({"in/x.db": ""})
    listings = make(root, "in")
    listings.configure(["in"], frozenset(["in/x.db"]))
    assert listings.compare() == {"in/x.db"}
    assert listings.differing() == set()


def test_an_event_is_news_where_a_name_has_come_or_gone(project: Project) -> None:
    root = project({"in/a.csv": "", "in/b.csv": ""})
    listings = make(root, "in")
    project({"in/c.csv": "", "out/d.csv": ""})
    (root / "in/b.csv").unlink()
    paths = ("in/a.csv", "in/b.csv", "in/c.csv", "in/d.csv", "out/d.csv")
    assert [path for path in paths if listings.has_changed(path)] == ["in/b.csv", "in/c.csv"]


def test_a_folder_that_is_no_longer_listed_does_not_count(project: Project) -> None:
    root = project({"in/a.csv": "", "more/a.csv": ""})
    listings = make(root, "in", "more")
    listings.configure(["more"], frozenset())
    project({"in/b.csv": "", "more/b.csv": ""})
    assert listings.compare() == {"more/b.csv"}


def test_a_folder_that_goes_takes_its_names_with_it(project: Project) -> None:
    root = project({"in/a.csv": ""})
    listings = make(root, "in", "never")
    os.rename(root / "in", root / "away")
    assert listings.compare() == {"in/a.csv"}
    os.rename(root / "away", root / "in")
    assert listings.compare() == {"in/a.csv"}
    assert listings.differing() == set()


def test_a_path_is_a_folder_and_a_name() -> None:
    assert [split(one) for one in ("a", "b/a", "c/b/a")] == [(".", "a"), ("b", "a"), ("c/b", "a")]


NAMES = ("a", "b", "c")


@given(st.lists(st.tuples(st.sampled_from("+-la"), st.sampled_from(NAMES)), max_size=25))
@settings(max_examples=60, deadline=None)
def test_what_differs_is_what_is_there_against_what_was_accepted(
    deeds: list[tuple[str, str]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        listings = make(root, ".")
        accepted: set[str] = set()
        for deed, name in deeds:
            match deed:
                case "+":
                    (root / name).touch()
                case "-":
                    (root / name).unlink(missing_ok=True)
                case "a":
                    listings.compare()
                    listings.accept([name])
                    accepted = accepted - {name} | {name} & set(os.listdir(root))
                case _:
                    listings.compare()
        listings.compare()
        assert listings.differing() == accepted ^ set(os.listdir(root))
