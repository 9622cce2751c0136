"""Sealed files: kept as they were written, or lost as a whole; never an exception, never another document."""

from __future__ import annotations

import itertools
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.state.sealed_files import (
    FOLDER,
    append_sealed,
    file_name,
    make_folder,
    read_sealed,
    write_sealed,
)

Document = dict[str, Any]
KIND = "result 1"
DOCUMENT: dict[str, Any] = {"status": "passed", "reads": ["a\udcff", "é"], "at": 1.5, "none": None}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder in which every test writes anew what it spoils."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_a_folder_that_another_process_is_making_is_good(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    make_folder(str(tmp_path / FOLDER))
    assert write_sealed(sealed_file(tmp_path), KIND, {})


def sealed_file(root: Path) -> str:
    return str(root / FOLDER / "tools" / "src.parse")


@given(document=st.dictionaries(st.text(st.characters()), JSON))
def test_a_sealed_document_is_read_as_it_was_written(root: Path, document: dict[str, Any]) -> None:
    assert write_sealed(sealed_file(root), KIND, document)
    assert read_sealed(sealed_file(root), KIND, Document) == document


@given(data=st.data())
def test_a_changed_byte_of_a_sealed_file_never_gives_another_document(
    root: Path, data: st.DataObject
) -> None:
    path = sealed_file(root)
    write_sealed(path, KIND, DOCUMENT)
    good = Path(path).read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255))
    Path(path).write_bytes(good[:place] + bytes([byte]) + good[place + 1 :])
    assert read_sealed(path, KIND, Document) in (None, DOCUMENT)


@given(junk=st.binary(max_size=100))
def test_any_bytes_are_no_sealed_file(root: Path, junk: bytes) -> None:
    path = sealed_file(root)
    write_sealed(path, KIND, {})
    Path(path).write_bytes(junk)
    assert read_sealed(path, KIND, Document) is None
    Path(path).write_bytes(b"%08x %s\n" % (zlib.crc32(junk + b"\n"), junk))
    assert read_sealed(path, KIND, Document) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"result 1",
        b"result 1 ",
        b"result 1 []",
        b"result 1 1",
        b"result 1 " + b"[" * 100_000,
        b"result 1 " + b'{"a":' * 100_000,
        b"result 1 " + b"1" * 100_000,
        b"result 2 {}",
        b"result 11 {}",
        b"result {}",
        b"code 1 {}",
    ],
)
def test_a_sealed_text_of_another_shape_kind_or_scheme_is_none(tmp_path: Path, text: bytes) -> None:
    path = sealed_file(tmp_path)
    write_sealed(path, KIND, {})
    Path(path).write_bytes(b"%08x %s\n" % (zlib.crc32(text + b"\n"), text))
    assert read_sealed(path, KIND, Document) is None


class Typed(msgspec.Struct):
    name: str
    numbers: tuple[int, ...] = ()


@pytest.mark.parametrize(
    "document",
    [{}, {"name": 1}, {"name": "a", "numbers": ["1"]}, {"name": "\udcff", "numbers": 1}, [], "a"],
)
def test_a_document_of_another_type_is_none(tmp_path: Path, document: object) -> None:
    path = sealed_file(tmp_path)
    write_sealed(path, KIND, document)
    assert read_sealed(path, KIND, Typed) is None


@pytest.mark.parametrize("name", ["a", "é", "\udcff"])
def test_a_value_comes_back_as_it_was_and_unknown_keys_are_ignored(
    tmp_path: Path, name: str
) -> None:
    path = sealed_file(tmp_path)
    write_sealed(path, KIND, {"name": name, "numbers": [1, 2], "more": 3})
    assert read_sealed(path, KIND, Typed) == Typed(name=name, numbers=(1, 2))


def test_what_is_no_file_is_no_sealed_file(tmp_path: Path) -> None:
    path = sealed_file(tmp_path)
    assert read_sealed(path, KIND, Document) is None
    os.makedirs(path)
    assert read_sealed(path, KIND, Document) is None
    assert not write_sealed(path, KIND, {})
    assert os.listdir(tmp_path / FOLDER / "tools") == ["src.parse"]
    os.rmdir(path)
    os.mkfifo(path)
    assert read_sealed(path, KIND, Document) is None
    assert read_sealed(f"{tmp_path}/\0", KIND, Document) is None


def test_a_name_that_no_file_can_have_is_cut_and_stays_its_own(tmp_path: Path) -> None:
    assert file_name("src.parse") == "src.parse"
    names = [f"src.{'ü' * 300}.a", f"src.{'ä' * 300}.a", f"src.{'x' * 300}"]
    short = [file_name(name) for name in names]
    assert len(set(short)) == len(names)
    for name in short:
        assert write_sealed(str(tmp_path / FOLDER / "tools" / name), KIND, {})


# Files that are appended to.


@pytest.mark.parametrize("kind", ["append", "replace"])
def test_a_file_that_was_cut_anywhere_has_the_last_document_or_the_one_before(
    tmp_path: Path, kind: str
) -> None:
    write = append_sealed if kind == "append" else write_sealed
    path = str(tmp_path / FOLDER / "x")
    documents = [{"number": one, "text": "é\n" * one} for one in range(4)]
    for document in documents:
        assert write(path, KIND, document)
    whole = Path(path).read_bytes()
    assert whole.count(b"{") == (4 if kind == "append" else 1)
    known: list[dict[str, Any] | None] = [None, *documents[-whole.count(b"{") :]]
    for length in range(len(whole) + 1):
        Path(path).write_bytes(whole[:length])
        assert read_sealed(path, KIND, Document) == known[whole[:length].count(b"}\n")]


def test_a_damaged_last_line_is_none_and_never_the_one_before(tmp_path: Path) -> None:
    path = str(tmp_path / FOLDER / "x")
    append_sealed(path, KIND, {"status": "failed"})
    first = len(Path(path).read_bytes())
    append_sealed(path, KIND, {"status": "passed"})
    whole = Path(path).read_bytes()
    for place in range(first + 1, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        if damaged[place] == ord("\n"):
            continue  # that would be a torn one
        Path(path).write_bytes(damaged)
        assert read_sealed(path, KIND, Document) is None


def test_behind_a_torn_line_the_next_document_is_good(tmp_path: Path) -> None:
    path = str(tmp_path / FOLDER / "x")
    append_sealed(path, KIND, {"number": 1})
    whole = Path(path).read_bytes()
    for torn in (b"x", whole[:-1], whole[:5]):
        Path(path).write_bytes(whole + torn)
        assert read_sealed(path, KIND, Document) == {"number": 1}
        assert append_sealed(path, KIND, {"number": 2})
        assert read_sealed(path, KIND, Document) == {"number": 2}


def test_a_file_that_is_appended_to_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = str(tmp_path / FOLDER / "x")
    sizes = set()
    for number in range(300):
        assert append_sealed(path, KIND, {"number": number, "text": "x" * 500})
        assert read_sealed(path, KIND, Document) == {"number": number, "text": "x" * 500}
        sizes.add(os.path.getsize(path))
    assert max(sizes) < 1 << 16
    assert append_sealed(path, KIND, {"text": "x" * (1 << 17)})  # one that is longer than all that
    assert read_sealed(path, KIND, Document) == {"text": "x" * (1 << 17)}
    assert append_sealed(path, KIND, {"number": 0})
    assert read_sealed(path, KIND, Document) == {"number": 0}


def test_a_file_with_long_documents_is_seldom_replaced(tmp_path: Path) -> None:
    """The system flushes each file that is replaced, so that a run that did it for each tool would wait for the disk."""
    path = str(tmp_path / FOLDER / "x")
    sizes = []
    for number in range(60):
        assert append_sealed(path, KIND, {"number": number, "text": "x" * 9000})
        sizes.append(os.path.getsize(path))
    replaced = [after for before, after in itertools.pairwise(sizes) if after < before]
    assert 1 <= len(replaced) <= 60 // 8


def test_what_a_killed_process_has_left_of_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / FOLDER / "tools" / "a"
    path.parent.mkdir(parents=True)
    left = path.with_name("a.tmp")
    left.write_text("half of a file, and longer than the whole one" * 10)
    assert write_sealed(str(path), "tool 1", {"x": 1})
    assert read_sealed(str(path), "tool 1", dict[str, int]) == {"x": 1}
    assert not left.exists()
