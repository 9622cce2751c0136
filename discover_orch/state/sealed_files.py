"""The files of `.orch/`: what orch remembers of a project between two commands.

A sealed file is one line: a checksum, the kind of the document, and the document as JSON. A file that is damaged, of
another version or unreadable counts as no file: that costs the memory and nothing else. Nothing is executed or
unpickled.
"""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from collections.abc import Mapping
from typing import TypeVar

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.encoding import decode, encode

T = TypeVar("T")

FOLDER = ".orch"
#: The file with the data flow of all tools, since a listing needs that of all at once.
_FLOWS, _FLOWS_KIND = "flow", "flow 3"
#: What the name of a file ends with until the file is whole. If two processes write one, a reader may see neither.
UNFINISHED = ".tmp"
LONGEST_NAME = 160
#: A file that documents are appended to is replaced when it has more bytes than this, or twice this; with long
#: documents when it has room for so many, or twice as many.
_LONGEST_FILE, _MOST_DOCUMENTS = 1 << 14, 8
#: A longer document replaces the one before: each reader reads the whole file.
_LONGEST_APPENDED = 1 << 20
_PIECE = 4 * _LONGEST_FILE
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITING = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
#: Folders that were no links when a file in them was used first.
_folders: set[str] = set()
_SIGNS = {
    ".gitignore": "# What orch knows about past runs of this project. Safe to delete.\n*\n",
    "CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This tag tells backup programs to skip this folder: https://bford.info/cachedir/\n",
}


def read_sealed(path: str, kind: str, document_type: type[T]) -> T | None:
    """The document that was written last; None where there is none, or where it is damaged or of another kind.

    `kind` is a name and the number of its scheme, `"tool 2"`. The number is raised when the shape of the document, or
    what it means, changes.
    """
    try:
        data = _read_whole(path)
    except (OSError, ValueError):
        return None
    whole = data.rpartition(b"\n")[0]  # without a line that a kill has torn off
    return _unseal(whole.rstrip(b"\n").rpartition(b"\n")[2] + b"\n", kind, document_type)


def has_other_scheme(path: str, kind: str) -> bool:
    """Whether the file holds a document of this name that another version of orch has written."""
    try:
        line = _read_whole(path).rstrip(b"\n").rpartition(b"\n")[2]
    except (OSError, ValueError):
        return False
    name, scheme = kind.encode().split(b" ")
    words = line.split(b" ", 3)
    return len(words) == 4 and words[1] == name and words[2].isdigit() and words[2] != scheme


def write_sealed(path: str, kind: str, document: object) -> bool:
    """Replaces the file, so that a reader sees the old one or the new one; False where it cannot be written.

    Makes the folder where it is missing. Not synced to the disk: a loss of power may cost the memory.
    """
    return replace_file(path, _seal(kind, document))


def append_sealed(path: str, kind: str, document: object) -> bool:
    """As `write_sealed`, for a file that is written for each tool of a run: the document becomes the last line.

    ext4 flushes a file that takes the place of another one. For 1,000 tools that takes 0.1 to 4 s, and appending takes
    0.03 s. A kill leaves the line before. A file that has become long is replaced, not all files in the same run: in
    each run about one of twelve, or fewer.
    """
    data = _seal(kind, document)
    if _is_behind_link(path):
        return False
    if len(data) > _LONGEST_APPENDED:
        return replace_file(path, data)
    least = max(_LONGEST_FILE, _MOST_DOCUMENTS * len(data))
    limit = least + zlib.crc32(os.fsencode(path)) % least
    try:
        fd = os.open(path, _APPENDING)
        try:
            if os.fstat(fd).st_size < limit:
                write_all(fd, b"\n" + data)  # behind a torn line, too
                return True
        finally:
            os.close(fd)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return replace_file(path, data)


def read_flows(root: str) -> dict[str, Dataflow]:
    """What each tool, by module, was seen to read and write at its last success."""
    path = os.path.join(root, FOLDER, _FLOWS)
    return read_sealed(path, _FLOWS_KIND, dict[str, Dataflow]) or {}


def write_flows(root: str, flows: Mapping[str, Dataflow]) -> bool:
    """Replaces all of them; False where that cannot be written."""
    return write_sealed(os.path.join(root, FOLDER, _FLOWS), _FLOWS_KIND, flows)


def seal_text(kind: str, document: object) -> str:
    """A sealed document as text, for the memory in a database."""
    return _seal(kind, document).decode()


def unseal_text(text: str, kind: str, document_type: type[T]) -> T | None:
    return _unseal(text.encode("utf-8", "surrogateescape"), kind, document_type)


def _seal(kind: str, document: object) -> bytes:
    line = b"%s %s\n" % (kind.encode(), encode(document))
    return b"%08x %s" % (zlib.crc32(line), line)


def _unseal(line: bytes, kind: str, document_type: type[T]) -> T | None:
    checksum, _, rest = line.partition(b" ")
    start = kind.encode() + b" "
    try:
        if int(checksum, 16) != zlib.crc32(rest) or not rest.startswith(start):
            return None
        document: T = decode(rest[len(start) :], document_type)
        return document
    except (ValueError, RecursionError):
        return None


def replace_file(path: str, data: bytes) -> bool:
    """Whether it could be written. A reader sees the old file or the new one. Makes the folder where it is missing."""
    if _is_behind_link(path):
        return False
    temporary = f"{path}{UNFINISHED}"
    try:
        try:
            fd = os.open(temporary, _WRITING, 0o644)
        except FileNotFoundError:
            _make_inside(os.path.dirname(path))
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


def _read_whole(path: str) -> bytes:
    """Without a file object, which takes longer to make than such a file to read."""
    if _is_behind_link(path):
        raise FileNotFoundError
    fd = open_nonblocking(path, os.O_RDONLY)
    try:
        data = os.read(fd, _PIECE)
        if len(data) < _PIECE:
            return data
        with open(fd, "rb", buffering=0, closefd=False) as file:
            return data + file.readall()
    finally:
        os.close(fd)


def open_nonblocking(path: str, flags: int) -> int:
    """An opener for `open`. A named pipe in place of the file would otherwise wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def file_name(name: str) -> str:
    """The name of the file about a tool: the tool's own, or its end behind a checksum where that is too long. A system
    whose file names are not UTF-8 may have no such name; there it is the checksum alone."""
    name = name.replace("%", "%25").replace("/", "%2F")  # of items that are files
    raw = name.encode("utf-8", "surrogateescape")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return f"{zlib.crc32(raw):08x}"
    if len(raw) <= LONGEST_NAME:
        return name
    return f"{zlib.crc32(raw):08x}.{raw[-LONGEST_NAME:].decode('utf-8', 'ignore')}"


def make_folder(folder: str) -> None:
    """Makes the folder `.orch`, which tells git and backups to leave it out. Raises OSError where it is a link."""
    refuse_link(folder)
    if os.path.isdir(folder):
        return
    os.makedirs(folder, exist_ok=True)  # another process may make it at the same moment
    for name, text in _SIGNS.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


def refuse_link(folder: str) -> None:
    """Raises OSError where `.orch`, or a folder in it, is a link: it may lead to files that orch must not replace."""
    if os.path.islink(folder):
        raise OSError(errno.ELOOP, f"{folder[folder.rindex(FOLDER) :]} is a link")


def _is_behind_link(path: str) -> bool:
    """Whether `.orch`, or a folder in it that this file is in, is a link."""
    start = path.rfind(f"/{FOLDER}/") + len(FOLDER) + 1
    while (end := path.rfind("/")) >= start:
        path = path[:end]
        if path not in _folders:
            if os.path.islink(path):
                return True
            _folders.add(path)
    return False


def _make_inside(folder: str) -> None:
    """Makes a folder in `.orch`, and `.orch` itself with its signs."""
    make_folder(folder[: folder.rindex(FOLDER) + len(FOLDER)])
    os.makedirs(folder, exist_ok=True)
