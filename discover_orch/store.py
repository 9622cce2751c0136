"""`.orch/`: what orch remembers of a project between two commands. So far that is the scan index.

The index is one file of three parts behind a header line: the text of the tree that it was made from, the
listing that followed from it, and the facts of each file. Parts are JSON or plain text; nothing in it is
executed or unpickled. A file of another version, a damaged one, a read-only folder: the memory is lost, and
nothing else. Writes replace the file at once, so that a reader sees the old one or the new one.
"""

from __future__ import annotations

import contextlib
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
    """An index: `header` is small and read at once, a part only when it is asked for.

    Where the file has been replaced by then, the checksum tells, and the part counts as damaged.
    """

    def __init__(self, path: str, header: Mapping[str, object], start: int) -> None:
        self.header = header
        self._path, self._start = path, start

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
        try:
            with open(self._path, "rb", buffering=0) as file:
                file.seek(self._start + start)
                raw = file.read(length)
        except (OSError, OverflowError, MemoryError):
            return None
        if len(raw) != length or zlib.crc32(raw) != checksum:
            return None
        return raw.decode("utf-8", "surrogateescape")


def open_index(root: str, version: str) -> Index | None:
    """The index of the project, or None where there is none that this version can read."""
    path = os.path.join(root, FOLDER, _NAME)
    try:
        with open(path, "rb") as file:
            line = file.readline(_HEADER_LIMIT)
    except OSError:
        return None
    if not line.endswith(b"\n"):
        return None
    checksum, _, text = line[:-1].partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            return None
        header = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or header.get("format") != [FORMAT, version]:
        return None
    return Index(path, header, len(line))


def write_index(
    root: str, version: str, header: Mapping[str, object], parts: Mapping[str, str]
) -> bool:
    """Replaces the index; False where it cannot be written, which costs the memory alone."""
    try:
        raw = {name: text.encode("utf-8", "surrogateescape") for name, text in parts.items()}
    except UnicodeEncodeError:  # a lone surrogate that no file name can hold
        return False
    places: dict[str, list[int]] = {}
    start = 0
    for name, data in raw.items():
        places[name] = [start, len(data), zlib.crc32(data)]
        start += len(data)
    text = json.dumps({**header, "format": [FORMAT, version], "parts": places}).encode()
    folder = os.path.join(root, FOLDER)
    temporary = os.path.join(folder, f"{_NAME}.{os.getpid()}.tmp")
    try:
        make_folder(folder)
        with open(temporary, "wb") as file:
            file.write(b"%08x %s\n" % (zlib.crc32(text), text))
            file.writelines(raw.values())
        os.replace(temporary, os.path.join(folder, _NAME))
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return False
    return True


def make_folder(folder: str) -> None:
    """The folder ignores itself for git, and says what it is."""
    if os.path.isdir(folder):
        return
    os.makedirs(folder)
    with open(os.path.join(folder, ".gitignore"), "w", encoding="utf-8") as file:
        file.write("# What orch remembers of this project; safe to delete.\n*\n")
