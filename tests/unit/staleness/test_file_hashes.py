"""What stands on the disk of files, folders and databases."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from discover_orch.staleness import file_hashes
from discover_orch.staleness.file_hashes import (
    DatabaseStat,
    FileHashes,
    find_data,
    read_database,
    read_file_stat,
)
from discover_orch.staleness.fingerprint import GONE
from tests.support.permissions import run_bound

OLD = (1_700_000_000_123_456_789,) * 2


def write(root: Path, *names: str, text: str = "x") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, ns=OLD)


# Files.


def test_a_file_is_told_by_its_content(tmp_path: Path) -> None:
    write(tmp_path, "a", "b", text="one")
    write(tmp_path, "c", text="two")
    look = FileHashes(str(tmp_path))
    (a, stat), (b, _), (c, _) = (look.file(name) for name in "abc")
    assert a == b != c
    assert stat == read_file_stat(str(tmp_path / "a"))


def test_a_file_with_the_mark_that_it_had_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, "a")
    stat = read_file_stat(str(tmp_path / "a"))
    assert FileHashes(str(tmp_path)).file("a", "known", stat) == ("known", stat)


@pytest.mark.parametrize("how", ["content", "time", "replaced"])
def test_a_file_with_another_mark_is_read(tmp_path: Path, how: str) -> None:
    write(tmp_path, "a")
    content, stat = FileHashes(str(tmp_path)).file("a")
    if how == "replaced":
        write(tmp_path, "b")
        os.replace(tmp_path / "b", tmp_path / "a")
    elif how == "time":
        os.utime(tmp_path / "a", ns=(1, 1))
    else:
        (tmp_path / "a").write_text("y")
    now, _ = FileHashes(str(tmp_path)).file("a", content, stat)
    assert (now == content) == (how != "content")


def test_a_file_is_read_once_a_look(tmp_path: Path) -> None:
    write(tmp_path, "a")
    look = FileHashes(str(tmp_path))
    first = look.file("a")
    (tmp_path / "a").write_text("y")
    assert look.file("a") == first


def test_a_file_that_may_change_again_unseen_has_no_mark(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    future = (1 << 62,) * 2
    os.utime(tmp_path / "a", ns=future)
    content, stat = FileHashes(str(tmp_path)).file("a")
    assert content
    assert stat is None


@pytest.mark.parametrize("what", ["nothing", "folder", "pipe", "nowhere", "below a file"])
def test_what_is_no_regular_file_is_gone(tmp_path: Path, what: str) -> None:
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
    assert FileHashes(str(tmp_path)).file(name) == (GONE, None)
    assert FileHashes(str(tmp_path)).file("a\0b") == (GONE, None)


def test_a_file_that_may_not_be_read_is_told_as_such_until_it_may(tmp_path: Path) -> None:
    write(tmp_path, "a")
    (tmp_path / "a").chmod(0)
    said = run_bound(lambda: repr(FileHashes(str(tmp_path)).file("a")))
    assert said == repr((f"unreadable {errno.EACCES}", None))
    assert FileHashes(str(tmp_path)).file("a")[0] not in (GONE, said)


def test_a_large_file_counts_as_changed_when_its_mark_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_hashes, "LARGEST", 3)
    write(tmp_path, "a", text="four")
    content, stat = FileHashes(str(tmp_path)).file("a")
    assert (content.split()[0], stat) == ("large", read_file_stat(str(tmp_path / "a")))
    assert FileHashes(str(tmp_path)).file("a", content, stat) == (content, stat)
    os.utime(tmp_path / "a", ns=(1, 1))
    assert FileHashes(str(tmp_path)).file("a", content, stat)[0] not in (content, GONE)


# Folders and names.


def test_a_folder_is_told_by_the_names_in_it_but_for_noise_and_what_is_the_tool_s_own(
    tmp_path: Path,
) -> None:
    write(tmp_path, "data/a", "data/b")
    root = str(tmp_path)
    before = FileHashes(root).folder("data", ())
    write(tmp_path, "data/__pycache__/x", "data/.DS_Store", text="y")
    write(tmp_path, "data/a", text="other")
    assert FileHashes(root).folder("data", ()) == before
    write(tmp_path, "data/own")
    assert FileHashes(root).folder("data", ("data/own",)) == before
    assert FileHashes(root).folder("data", ()) != before
    (tmp_path / "data" / "b").unlink()
    assert FileHashes(root).folder("data", ("data/own",)) != before
    assert FileHashes(root).folder("absent", ()) == GONE
    assert FileHashes(root).folder("data/a", ()) == GONE


def test_the_database_and_what_stands_beside_it_is_nobody_s_input(tmp_path: Path) -> None:
    write(tmp_path, "a.csv")
    root = str(tmp_path)
    names, files = FileHashes(root).folder(".", ()), FileHashes(root).matches("*")
    write(tmp_path, "data.db", "data.db-wal", "data.db-shm", "data.db-journal")
    look = FileHashes(root, "data.db")
    assert look.folder(".", ()) == names
    assert look.matches("*") == files == ("a.csv",)
    assert FileHashes(root).folder(".", ()) != names


def test_one_look_serves_tools_with_other_files_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, "d/a", "d/b")
    look = FileHashes(str(tmp_path))
    assert look.folder("d", ("d/a",)) != look.folder("d", ("d/b",)) != look.folder("d", ())


def test_a_link_that_leads_nowhere_is_there_and_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("absent")
    look = FileHashes(str(tmp_path))
    assert look.is_there("link")
    assert not look.exists("link")
    write(tmp_path, "absent")
    assert look.exists("link")
    assert not look.is_there("other")


# Declared inputs and outputs.

TREE = (
    "data/a.csv",
    "data/b.txt",
    "data/deep/c.csv",
    "data/.hidden/d.csv",
    "data/__pycache__/e.csv",
    "other.csv",
)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("data/a.csv", ["data/a.csv"]),
        ("./data/../data/a.csv", ["data/a.csv"]),
        ("data", ["data/a.csv", "data/b.txt", "data/deep/c.csv"]),
        ("data/", ["data/a.csv", "data/b.txt", "data/deep/c.csv"]),
        ("data/*.csv", ["data/a.csv"]),
        ("data/**/*.csv", ["data/a.csv", "data/deep/c.csv"]),
        ("**/*.csv", ["data/a.csv", "data/deep/c.csv", "other.csv"]),
        ("data/[ab].*", ["data/a.csv", "data/b.txt"]),
        ("data/dee?", ["data/deep/c.csv"]),
        ("data/__pycache__/e.csv", ["data/__pycache__/e.csv"]),
        ("absent.csv", []),
        ("absent/*", []),
        ("absent/", []),
    ],
)
def test_an_input_means_a_file_all_below_a_folder_or_what_a_glob_matches(
    tmp_path: Path, pattern: str, found: list[str]
) -> None:
    write(tmp_path, *TREE)
    assert [*FileHashes(str(tmp_path)).matches(pattern)] == found


def test_a_path_that_is_not_there_is_found_as_what_it_would_be(tmp_path: Path) -> None:
    assert [*find_data(str(tmp_path), "./x/../absent.csv")] == ["absent.csv"]


def declared(root: Path, *inputs: str, own: Iterable[str] = ()) -> tuple[tuple[str, ...], set[str]]:
    paths, patterns = FileHashes(str(root)).declared(inputs, frozenset(own))
    return paths, {*patterns}


def test_plain_files_are_asked_for_though_they_are_missing_and_globs_by_their_names(
    tmp_path: Path,
) -> None:
    write(tmp_path, *TREE)
    assert declared(tmp_path, "absent.csv", "./other.csv") == (("absent.csv", "other.csv"), set())
    assert declared(tmp_path, "data/*.csv") == (("data/a.csv",), {"data/*.csv"})
    assert declared(tmp_path, "absent/*") == ((), {"absent/*"})
    assert declared(tmp_path, "data/deep") == (("data/deep/c.csv",), {"data/deep"})


def test_a_new_file_gives_a_glob_and_a_folder_another_meaning(tmp_path: Path) -> None:
    write(tmp_path, *TREE)
    (tmp_path / "empty").mkdir()
    inputs = ("data", "data/*.csv", "empty")
    _, before = FileHashes(str(tmp_path)).declared(inputs, ())
    write(tmp_path, "data/new.csv", "empty/new")
    _, after = FileHashes(str(tmp_path)).declared(inputs, ())
    assert all(before[one] != after[one] for one in inputs)
    _, less = FileHashes(str(tmp_path)).declared(inputs, ("data/new.csv", "empty/new"))
    assert less == before


def test_what_a_tool_wrote_itself_seen_or_declared_is_no_input_of_it(tmp_path: Path) -> None:
    write(tmp_path, *TREE)
    own = FileHashes(str(tmp_path)).own(("data/a.csv",), ("data/deep", "absent/*.csv"))
    assert own == {"data/a.csv", "data/deep/c.csv"}
    assert declared(tmp_path, "data/**/*", "data/a.csv", own=own)[0] == ("data/b.txt",)


# The database.


def database(path: Path, *values: int) -> Path:
    """Each value is a change of its own."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("create table if not exists t (x)")
        for one in values:
            conn.execute("insert into t values (?)", (one,))
            conn.commit()
    return path


def look_at(root: Path, name: str = "data.db") -> DatabaseStat:
    stat = read_database(str(root), name)
    assert stat is not None
    return stat


def test_a_database_that_only_grew_older_is_the_same(tmp_path: Path) -> None:
    path = database(tmp_path / "data.db", 1)
    before = look_at(tmp_path)
    assert look_at(tmp_path).is_same(before)
    database(path, 2, 3)
    after = look_at(tmp_path)
    assert after != before
    assert after.is_same(before)


def test_an_exact_copy_is_the_same_wherever_it_stands(tmp_path: Path) -> None:
    database(tmp_path / "data.db", 1)
    shutil.copytree(tmp_path, tmp_path / "copy")
    copy, before = look_at(tmp_path / "copy"), look_at(tmp_path)
    assert copy.inode != before.inode
    assert copy.is_same(before)


def test_another_file_in_its_place_is_another_database(tmp_path: Path) -> None:
    database(tmp_path / "data.db", 1)
    before = look_at(tmp_path)
    os.replace(database(tmp_path / "other.db", 1, 2, 3), tmp_path / "data.db")
    assert not look_at(tmp_path).is_same(before)


def test_an_older_copy_of_it_is_another_database(tmp_path: Path) -> None:
    path = database(tmp_path / "data.db", 1)
    older = path.read_bytes()
    database(path, 2, 3)
    before = look_at(tmp_path)
    path.write_bytes(older)  # in the same file
    assert look_at(tmp_path).inode == before.inode
    assert not look_at(tmp_path).is_same(before)
    (tmp_path / "older.db").write_bytes(older)
    os.replace(tmp_path / "older.db", path)
    assert not look_at(tmp_path).is_same(before)


@pytest.mark.parametrize("what", ["nothing", "folder", "pipe", "name"])
def test_what_is_no_file_is_no_database(tmp_path: Path, what: str) -> None:
    if what == "folder":
        (tmp_path / "data.db").mkdir()
    elif what == "pipe":
        os.mkfifo(tmp_path / "data.db")
    assert read_database(str(tmp_path), "a\0b" if what == "name" else "data.db") is None


def test_any_bytes_make_a_mark(tmp_path: Path) -> None:
    for data in (b"", b"SQLite format 3\0", b"x" * 200):
        (tmp_path / "data.db").write_bytes(data)
        stat = look_at(tmp_path)
        assert stat.is_same(stat)
        assert stat.counter == 0
