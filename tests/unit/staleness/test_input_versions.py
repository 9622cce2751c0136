"""What stands on the disk of files, folders and databases."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import xxhash

from discover_orch.staleness import input_versions as versions
from discover_orch.staleness.input_versions import (
    Versions,
    find_data,
    meets_input,
    read_mark,
)
from discover_orch.staleness.tool_result import ABSENT, EXISTS
from tests.support.permissions import run_bound

OLD = (1_700_000_000_123_456_789,) * 2


def write(root: Path, *names: str, text: str = "x") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, ns=OLD)


def hash_old(root: Path, name: str) -> tuple[str, str]:
    """The version and the mark of a file, once its last change is older than a tick of the clock."""
    while not (found := Versions(str(root)).file(name))[1]:
        pass
    return found


# Files.


def test_a_file_is_told_by_its_content(tmp_path: Path) -> None:
    write(tmp_path, "a", "b", text="one")
    write(tmp_path, "c", text="two")
    look = Versions(str(tmp_path))
    (a, _), (b, _), (c, _) = (look.file(name) for name in "abc")
    assert a == b != c


def test_a_file_that_was_not_changed_just_now_has_a_mark_that_stands_for_its_content(
    tmp_path: Path,
) -> None:
    write(tmp_path, "a")
    assert hash_old(tmp_path, "a")[1] == read_mark(str(tmp_path / "a"))


def test_a_file_with_the_mark_that_it_had_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, "a")
    mark = read_mark(str(tmp_path / "a"))
    assert Versions(str(tmp_path)).file("a", "known", mark) == ("known", mark)


@pytest.mark.parametrize("how", ["content", "time", "replaced"])
def test_a_file_with_another_mark_is_read(tmp_path: Path, how: str) -> None:
    write(tmp_path, "a")
    content, mark = hash_old(tmp_path, "a")
    if how == "replaced":
        write(tmp_path, "b")
        os.replace(tmp_path / "b", tmp_path / "a")
    elif how == "time":
        os.utime(tmp_path / "a", ns=(1, 1))
    else:
        (tmp_path / "a").write_text("y")
    now, _ = Versions(str(tmp_path)).file("a", content, mark)
    assert (now == content) == (how != "content")


def test_a_file_is_read_once_a_look(tmp_path: Path) -> None:
    write(tmp_path, "a")
    look = Versions(str(tmp_path))
    first = look.file("a")
    (tmp_path / "a").write_text("y")
    assert look.file("a") == first


def test_a_file_that_may_change_again_unseen_has_no_mark(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    future = (1 << 62,) * 2
    os.utime(tmp_path / "a", ns=future)
    content, mark = Versions(str(tmp_path)).file("a")
    assert content
    assert mark == ""


@pytest.mark.parametrize("what", ["nothing", "folder", "pipe", "nowhere", "below a file"])
def test_what_is_no_regular_file_has_no_content(tmp_path: Path, what: str) -> None:
    name = "a"
    if what == "folder":
        (tmp_path / "a").mkdir()
    elif what == "pipe":
        os.mkfifo(tmp_path / "a")
    elif what == "nowhere":
        (tmp_path / "a").symlink_to("absent")
    elif what == "below a file":
        write(tmp_path, "f")
        name = "f/a"
    version = EXISTS if what in ("folder", "pipe") else ABSENT
    assert Versions(str(tmp_path)).file(name) == (version, "")
    assert Versions(str(tmp_path)).file("a\0b") == (ABSENT, "")


def test_a_file_that_may_not_be_read_is_told_as_such_until_it_may(tmp_path: Path) -> None:
    write(tmp_path, "a")
    (tmp_path / "a").chmod(0)
    said = run_bound(lambda: repr(Versions(str(tmp_path)).file("a")))
    assert said == repr((f"unreadable {errno.EACCES}", ""))
    assert Versions(str(tmp_path)).file("a")[0] not in (ABSENT, said)


def test_a_large_file_counts_as_changed_when_its_mark_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "LARGEST", 3)
    write(tmp_path, "a", text="four")
    content, mark = Versions(str(tmp_path)).file("a")
    assert (content.split()[0], mark) == ("large", read_mark(str(tmp_path / "a")))
    assert Versions(str(tmp_path)).file("a", content, mark) == (content, mark)
    os.utime(tmp_path / "a", ns=(1, 1))
    assert Versions(str(tmp_path)).file("a", content, mark)[0] not in (content, ABSENT)


def test_a_large_file_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "LARGE", 0)
    write(tmp_path, "a")
    found = hash_old(tmp_path, "a")
    versions.write_hashes(str(tmp_path))
    for name in ("_hashes", "_kept"):  # the next command
        monkeypatch.setattr(versions, name, {})
    with monkeypatch.context() as patch:
        patch.setattr(xxhash, "xxh3_128", None)
        assert Versions(str(tmp_path)).file("a") == found
    write(tmp_path, "a", text="y")
    assert Versions(str(tmp_path)).file("a")[0] not in (found[0], ABSENT)


def test_a_file_that_was_written_just_now_is_read_once_where_reading_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "_LONG", 0)
    write(tmp_path, "a")
    assert Versions(str(tmp_path)).file("a")[1] == read_mark(str(tmp_path / "a"))


# Folders and names.


def test_a_folder_is_told_by_the_paths_in_it_but_for_noise(tmp_path: Path) -> None:
    write(tmp_path, "data/a", "data/b")
    root = str(tmp_path)
    assert Versions(root).folder("data") == Versions(root).version("folder:data")
    assert Versions(root).folder("data") == "data/a\0data/b"
    write(tmp_path, "data/__pycache__/x", "data/.DS_Store", text="y")
    write(tmp_path, "data/a", text="other")
    assert Versions(root).folder("data") == "data/a\0data/b"
    write(tmp_path, "data/c")
    (tmp_path / "data" / "b").unlink()
    assert Versions(root).folder("data") == "data/a\0data/c"
    assert Versions(root).folder("absent") == ABSENT
    assert Versions(root).folder("data/a") == ABSENT


def test_the_database_and_what_stands_beside_it_is_nobody_s_input(tmp_path: Path) -> None:
    write(tmp_path, "a.csv")
    root = str(tmp_path)
    names, files = Versions(root).folder("."), Versions(root).matches("*")
    write(tmp_path, "data.db", "data.db-wal", "data.db-shm", "data.db-journal")
    look = Versions(root, "data.db")
    assert look.folder(".") == names
    assert look.matches("*") == files == ("a.csv",)
    assert Versions(root).folder(".") != names


def test_a_link_that_leads_nowhere_is_there_and_has_no_content(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("absent")
    root = str(tmp_path)
    assert Versions(root).mark("file:link") == EXISTS
    assert Versions(root).version("file:link") == ABSENT
    write(tmp_path, "absent")
    assert Versions(root).mark("file:link") == read_mark(f"{root}/absent")
    assert Versions(root).version("file:link") != ABSENT
    assert Versions(root).mark("file:other") == ABSENT


# Declared inputs and outputs.

TREE = (
    "data/a.csv",
    "data/b.txt",
    "data/deep/c.csv",
    "data/.hidden/d.csv",
    "data/__pycache__/e.csv",
    "other.csv",
)


def test_a_file_meets_the_inputs_that_would_find_it(tmp_path: Path) -> None:
    write(tmp_path, *TREE, "data/d [1].csv")
    patterns = ("data", "./data/", "data/*", "data/**", "**/*.csv", "data/**/*", "*", "data/[!a].*")
    for pattern in (*patterns, "data/de*/**", "data/d [[]1].csv", "data/dee?", "absent"):
        found = {*find_data(str(tmp_path), pattern)}
        assert {one for one in found if meets_input(one, ["absent", pattern])} == found, pattern
    for pattern in ("data/*.csv", "data/[ab]", "data/a.csv/x", "a.csv", "**/deep/a.csv"):
        assert not meets_input("data/deep/c.csv", [pattern]), pattern


# Environment variables.


def test_a_variable_has_its_version_while_its_value_is_the_same(tmp_path: Path) -> None:
    def read(known: str = "", **environ: str) -> str:
        return Versions(str(tmp_path), environ=environ).variable("REGION", known)

    version = read(REGION="north")
    assert "north" not in version
    assert read(version, REGION="north") == version != read(REGION="north")  # salted
    assert read(version, REGION="south") != version
    assert read(version) == ABSENT
    assert read(ABSENT, REGION="") != ABSENT


def test_the_password_in_a_url_is_no_part_of_its_version(tmp_path: Path) -> None:
    def read(url: str, known: str = "") -> str:
        return Versions(str(tmp_path), environ={"URL": url}).version("env:URL", known)

    version = read("postgresql://me:one@host/db")
    assert read("postgresql://me:two@host/db", version) == version
    assert read("postgresql://me:one@other/db", version) != version
