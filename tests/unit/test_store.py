"""The index: kept as it was written, or lost as a whole; never an exception, never another text."""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.store import FOLDER, open_index, write_index

HEADER = {"fingerprint": "abc", "folders": ["src"]}
PARTS = {"tree": "src/a.py\0001 2 3\nsrc/\udcff.py\0004 5 6", "listing": '{"é": 1}', "empty": ""}


def index_file(root: Path) -> Path:
    return root / FOLDER / "index"


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder with a good index, which every test that spoils it writes anew."""
    with tempfile.TemporaryDirectory() as folder:
        assert write_index(folder, "1.0", HEADER, PARTS)
        yield Path(folder)


@pytest.fixture(scope="module")
def good(root: Path) -> bytes:
    return index_file(root).read_bytes()


def read(root: Path) -> dict[str, str | None] | None:
    index = open_index(str(root), "1.0")
    if index is None:
        return None
    assert {name: index.header[name] for name in HEADER} == HEADER
    return {name: index.part(name) for name in PARTS}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert open_index(str(tmp_path), "1.0") is None
    assert write_index(str(tmp_path), "1.0", HEADER, PARTS)
    assert read(tmp_path) == PARTS
    index = open_index(str(tmp_path), "1.0")
    assert index is not None
    assert index.part("unknown") is None


def test_an_index_of_another_version_is_none(tmp_path: Path) -> None:
    write_index(str(tmp_path), "1.0", HEADER, PARTS)
    assert open_index(str(tmp_path), "1.1") is None


def test_a_new_index_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_index(str(tmp_path), "1.0", HEADER, PARTS)
    assert write_index(str(tmp_path), "1.0", {}, {"tree": "new"})
    index = open_index(str(tmp_path), "1.0")
    assert index is not None
    assert (index.part("tree"), index.part("listing")) == ("new", None)
    assert sorted(os.listdir(tmp_path / FOLDER)) == [".gitignore", "index"]


def test_the_folder_ignores_itself(tmp_path: Path) -> None:
    write_index(str(tmp_path), "1.0", {}, {})
    assert "*" in (tmp_path / FOLDER / ".gitignore").read_text().splitlines()


def test_where_nothing_can_be_written_only_the_memory_is_lost(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file")
    assert not write_index(str(tmp_path), "1.0", HEADER, PARTS)
    assert open_index(str(tmp_path), "1.0") is None
    assert (tmp_path / FOLDER).read_text() == "a file"


def test_an_index_that_is_a_folder_is_none_and_leaves_no_rubbish(tmp_path: Path) -> None:
    (tmp_path / FOLDER / "index" / "x").mkdir(parents=True)
    assert open_index(str(tmp_path), "1.0") is None
    assert not write_index(str(tmp_path), "1.0", HEADER, PARTS)
    assert os.listdir(tmp_path / FOLDER) == ["index"]


def test_text_that_cannot_be_kept_costs_the_memory_alone(tmp_path: Path) -> None:
    assert not write_index(str(tmp_path), "1.0", HEADER, {"tree": "\ud800"})


def check_spoiled(root: Path, data: bytes) -> None:
    index_file(root).write_bytes(data)
    found = read(root)
    assert found is None or all(found[name] in (None, PARTS[name]) for name in PARTS)


@given(data=st.data())
def test_a_changed_byte_never_gives_another_text(
    root: Path, good: bytes, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255))
    check_spoiled(root, good[:place] + bytes([byte]) + good[place + 1 :])


@given(data=st.data())
def test_a_cut_or_a_gap_never_gives_another_text(
    root: Path, good: bytes, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, len(good)))
    check_spoiled(root, good[:start] + data.draw(st.binary(max_size=8)) + good[stop:])
    check_spoiled(root, good[:start])


@given(st.binary(max_size=100))
def test_any_bytes_are_no_index(root: Path, junk: bytes) -> None:
    check_spoiled(root, junk)


def forge(root: Path, text: bytes, rest: bytes = b"") -> None:
    """An index whose header has any text and a checksum that fits."""
    write_index(str(root), "1.0", {}, {})
    index_file(root).write_bytes(b"%08x %s\n%s" % (zlib.crc32(text), text, rest))


def forge_place(root: Path, place: object) -> None:
    """Of the part `tree`, behind a header that is good otherwise."""
    write_index(str(root), "1.0", {}, {"tree": "abc"})
    text = index_file(root).read_bytes().partition(b"\n")[0].partition(b" ")[2]
    header = json.loads(text)
    forge(root, json.dumps({**header, "parts": {"tree": place}}).encode(), b"abc")


@pytest.mark.parametrize(
    "text", [b"[]", b"{}", b"1", b"[" * 100_000, b'{"format": [1, "1.0"]}', b'{"parts": 3}']
)
def test_a_header_of_another_shape_is_none_or_has_no_parts(tmp_path: Path, text: bytes) -> None:
    forge(tmp_path, text)
    index = open_index(str(tmp_path), "1.0")
    assert index is None or index.part("tree") is None


def test_a_place_is_where_the_part_begins_how_long_it_is_and_its_checksum(tmp_path: Path) -> None:
    forge_place(tmp_path, [0, 3, zlib.crc32(b"abc")])
    index = open_index(str(tmp_path), "1.0")
    assert index is not None
    assert index.part("tree") == "abc"


@pytest.mark.parametrize(
    "place",
    [
        None,
        [],
        [0, 3],
        [0, 3, "x"],
        [-1, 1, zlib.crc32(b"c")],
        [0, -1, zlib.crc32(b"ab")],
        [0, 10**30, 0],
        [0.5, 1, 0],
        [0, 4, zlib.crc32(b"abc")],
    ],
)
def test_a_place_of_another_shape_has_no_text(tmp_path: Path, place: object) -> None:
    forge_place(tmp_path, place)
    index = open_index(str(tmp_path), "1.0")
    assert index is not None
    assert index.part("tree") is None
