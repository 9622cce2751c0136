"""`.orch/`: what orch remembers of a project between two commands. So far that is the scan index.

The index is one file of three parts behind a header line: the text of the tree that it was made from, the
listing that followed from it, and the facts of each file. Parts are JSON or plain text; nothing in it is
executed or unpickled. A file of another version, a damaged one, a read-only folder: the memory is lost, and
nothing else. Writes replace the file at once, so that a reader sees the old one or the new one.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping

FOLDER = ".orch"
#: Raised when the shape of any part changes, or what a fact means.
FORMAT = 1
_NAME = "index"
_HEADER_LIMIT = 1 << 22


class Index:
    """An opened index: `header` is small and read at once, a part only when it is asked for."""

    def __init__(self, header: Mapping[str, object], data: bytes) -> None:
        self.header = header
        self._data = data

    def part(self, name: str) -> str | None:
        """The text of a part, or None where it is missing or damaged."""
        places = self.header.get("parts")
        if not isinstance(places, dict):
            return None
        place = places.get(name)
        if not (
            isinstance(place, list)
            and len(place) == 3
            and all(isinstance(number, int) for number in place)
        ):
            return None
        start, length, checksum = place
        if start < 0 or length < 0:
            return None
        raw = self._data[start : start + length]
        if len(raw) != length or zlib.crc32(raw) != checksum:
            return None
        return raw.decode("utf-8", "surrogateescape")


def open_index(root: str, version: str) -> Index | None:
    """The index of the project, or None where there is none that this version can read."""
    try:
        with open(os.path.join(root, FOLDER, _NAME), "rb", buffering=0) as file:
            data = file.read()
    except OSError:
        return None
    end = data.find(b"\n", 0, _HEADER_LIMIT)
    if end < 0:
        return None
    checksum, _, text = data[:end].partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            return None
        header = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or header.get("format") != [FORMAT, version]:
        return None
    return Index(header, data[end + 1 :])


def write_index(
    root: str, version: str, header: Mapping[str, object], parts: Mapping[str, str]
) -> bool:
    """Replaces the index; False where the folder cannot be written, which costs the memory alone."""
    raw = {name: text.encode("utf-8", "surrogateescape") for name, text in parts.items()}
    places: dict[str, list[int]] = {}
    start = 0
    for name, data in raw.items():
        places[name] = [start, len(data), zlib.crc32(data)]
        start += len(data)
    text = json.dumps({**header, "format": [FORMAT, version], "parts": places}).encode()
    folder = os.path.join(root, FOLDER)
    temporary = os.path.join(folder, f"{_NAME}.{os.getpid()}.tmp")
    try:
        _make_folder(folder)
        with open(temporary, "wb") as file:
            file.write(b"%08x %s\n" % (zlib.crc32(text), text))
            file.writelines(raw.values())
        os.replace(temporary, os.path.join(folder, _NAME))
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        return False
    return True


def _make_folder(folder: str) -> None:
    """The folder ignores itself for git, and says what it is."""
    if os.path.isdir(folder):
        return
    os.makedirs(folder)
    with open(os.path.join(folder, ".gitignore"), "w", encoding="utf-8") as file:
        file.write("# What orch remembers of this project; safe to delete.\n*\n")
