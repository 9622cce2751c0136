"""`.orch/`: what orch remembers of a project between two commands: the scan index, and small sealed files.

The index is one file of three parts behind a header line: the text of the tree that it was made from, the
listing that followed from it, and the facts of each file. A sealed file is one line: a checksum, and one JSON
object with its kind and the number of that kind's scheme. Nothing is executed or unpickled. A file of another
version, a damaged one, a read-only folder: the memory is lost, and nothing else. Writes replace the file at
once, so that a reader sees the old one or the new one. The journal of runs has a door of its own, `journal`.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import zlib
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FOLDER = ".orch"
#: The file with the data flow of all tools; read and written by `flows`.
FLOWS = "flow"
#: Raised when the shape of any part changes, or what a fact means.
FORMAT = 2
#: The number of each kind's scheme where it is not 1; raised when the shape or the meaning of its document changes.
SCHEMES: Mapping[str, int] = {}
#: What a file that is being written is called until it is whole, behind a dot and the process that writes it.
UNFINISHED = ".tmp"
LONGEST_NAME = 160
_NAME = "index"
_HEADER_LIMIT = 1 << 22
_encode = json.JSONEncoder(separators=(",", ":")).encode  # `dumps` would make one each time
#: A file that is appended to is replaced when it would be longer than this, or twice this.
_LONG = 1 << 14
_TAIL = 1 << 12
_APPENDING = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITING = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
_SIGNS = {
    ".gitignore": "# What orch remembers of this project; safe to delete.\n*\n",
    "CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# A cache directory tag, by which backups leave this folder out: https://bford.info/cachedir/\n",
}


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
        # Not blocking: a pipe of that name would wait for a writer.
        with open(path, "rb", opener=open_nonblocking) as file:
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
    temporary = os.path.join(folder, f"{_NAME}.{os.getpid()}{UNFINISHED}")
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


def open_nonblocking(path: str, flags: int) -> int:
    """Without waiting for anybody on the other end."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def flows_stamp(root: str) -> str:
    """A text that differs where `flows.read_flows` does, and costs much less."""
    try:
        with open(os.path.join(root, FOLDER, FLOWS), "rb", 0, opener=open_nonblocking) as file:
            return file.read(8).hex()  # the checksum, which stands first
    except OSError:
        return ""


def read_sealed(path: str, kind: str) -> dict[str, Any] | None:
    """The document as it was written; None where there is none, where it is damaged, or of another kind or scheme."""
    try:
        # Not blocking: a pipe of that name would wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        raw = _read_last_line(fd)
    except (OSError, OverflowError, MemoryError):
        return None
    finally:
        os.close(fd)
    checksum, _, text = raw.partition(b" ")
    try:
        if not text or int(checksum, 16) != zlib.crc32(text):
            return None
        sealed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(sealed, dict) or sealed.get("kind") != kind:
        return None
    document = sealed.get("document")
    is_known = sealed.get("scheme") == SCHEMES.get(kind, 1)
    return document if is_known and isinstance(document, dict) else None


def _read_last_line(fd: int) -> bytes:
    """The last whole line: what comes after it was torn off by the end of its writer. b"" where there is none."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        return b""
    for length in (min(found.st_size, _TAIL), found.st_size):
        raw = os.pread(fd, length, found.st_size - length)
        end = raw.rfind(b"\n") + 1
        start = raw.rfind(b"\n", 0, max(end - 1, 0)) + 1
        if start or length == found.st_size:
            return raw[start:end]
    return b""


def append_sealed(path: str, kind: str, document: Mapping[str, object]) -> bool:
    """As `write_sealed`, for a file that is written often: the document goes behind the earlier ones, and the last one
    counts. That takes a twentieth of the time of replacing it, and a kill leaves the one before it. From time to
    time, not for all files at once, it is replaced after all."""
    data = _sealed(kind, document)
    if data is None:
        return False
    try:
        fd = os.open(path, _APPENDING, 0o644)
    except FileNotFoundError:
        return _replace(path, data)
    except OSError:
        return False
    try:
        size = os.fstat(fd).st_size
        limit = _LONG + zlib.crc32(os.fsencode(path)) % _LONG
        if size + len(data) <= limit and (not size or os.pread(fd, 1, size - 1) == b"\n"):
            write_all(fd, data)
            return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return _replace(path, data)


def write_sealed(path: str, kind: str, document: Mapping[str, object]) -> bool:
    """Replaces the file, makes its folder where that is missing; False where it cannot be written.

    Not synced to the disk: a loss of power may cost the memory. What is half written then has a wrong checksum.
    """
    data = _sealed(kind, document)
    return data is not None and _replace(path, data)


def _sealed(kind: str, document: Mapping[str, object]) -> bytes | None:
    sealed = {"kind": kind, "scheme": SCHEMES.get(kind, 1), "document": document}
    try:
        text = _encode(sealed).encode() + b"\n"
    except RecursionError:
        return None
    return b"%08x %s" % (zlib.crc32(text), text)


def _replace(path: str, data: bytes) -> bool:
    folder = os.path.dirname(path)
    temporary = f"{folder}/{os.getpid()}{UNFINISHED}"
    try:
        try:
            fd = os.open(temporary, _WRITING, 0o644)
        except FileNotFoundError:
            _make_inside(folder)
            fd = os.open(temporary, _WRITING, 0o644)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return False
    return True


def write_all(fd: int, data: bytes) -> None:
    """A full disk can take a part of it; then the next attempt raises OSError."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, data[written:])


def file_name(name: str) -> str:
    """A name for the file about a tool: its own, or its end and a checksum where no file name could be so long."""
    raw = os.fsencode(name)
    if len(raw) <= LONGEST_NAME:
        return name
    return f"{zlib.crc32(raw):08x}.{raw[-LONGEST_NAME:].decode('utf-8', 'ignore')}"


def make_folder(folder: str) -> None:
    """The folder ignores itself for git and for backups, and says what it is."""
    if os.path.isdir(folder):
        return
    os.makedirs(folder, exist_ok=True)  # another process may make it at the same moment
    for name, text in _SIGNS.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


def _make_inside(folder: str) -> None:
    """A folder below the one of orch, and that one as it has to be."""
    above = folder
    while above != os.path.dirname(above):
        if os.path.basename(above) == FOLDER:
            make_folder(above)
            break
        above = os.path.dirname(above)
    os.makedirs(folder, exist_ok=True)
