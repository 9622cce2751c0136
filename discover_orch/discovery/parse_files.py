"""Reads files of the tree, and makes of each what the index keeps.

In: paths, and the names of their modules. Out: rows of facts, in one process or, for many files, in several
forked ones: nothing of the user's runs in any. `scanner` imports this where there is something to read, which a
warm start has not: the parser's modules are a sixth of its start-up.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable, Iterator

import msgspec

from discover_orch.discovery.facts_index import FileFacts, ReferencedFacts
from discover_orch.model.errors import Location, Problem
from discover_orch.source.facts import BrokenModule, Exports, ModuleFacts, PassedOver
from discover_orch.source.parse import PARSE_ERRORS, ignore_warnings, parse
from discover_orch.source.read_module import read_conf, read_module, read_near_miss
from discover_orch.source.resolve import read_exports

WORD = b"STAGE"
SIZE_LIMIT = 2_000_000
#: Below this many files to read, a second process costs more than it saves (measured: about 15 ms).
SHARE_FROM = 150
MOST_PROCESSES = 8


def read_files(root: str, files: list[tuple[str, str]]) -> list[tuple[str, FileFacts]]:
    """The facts of each file of (path, name of its module), in no particular order."""
    processes = min(MOST_PROCESSES, os.cpu_count() or 1, len(files) // SHARE_FROM + 1)
    if processes < 2 or not hasattr(os, "fork") or threading.active_count() > 1:
        return [(path, _read_file(root, path, module)) for path, module in files]
    children = [_fork_reader(root, files[part::processes]) for part in range(1, processes)]
    found = [(path, _read_file(root, path, module)) for path, module in files[::processes]]
    for part, child in enumerate(children, start=1):
        data = b""
        if child is not None:
            pid, pipe = child
            with os.fdopen(pipe, "rb") as answer:
                data = answer.read()
            os.waitpid(pid, 0)
        mine = files[part::processes]
        try:
            read = msgspec.msgpack.decode(data, type=list[FileFacts])
            found += [(path, facts) for (path, _), facts in zip(mine, read, strict=True)]
        except (msgspec.DecodeError, ValueError):
            # There was no child, or it was killed, or its answer cannot be encoded: read its share here.
            found += [(path, _read_file(root, path, module)) for path, module in mine]
    return found


def _fork_reader(root: str, files: list[tuple[str, str]]) -> tuple[int, int] | None:
    """A child that reads its share and answers with one list: its id and the pipe; None where the
    system gives none. It shares no lock, as there is one thread, and flushes nothing of its parent's."""
    try:
        receive, send = os.pipe()
    except OSError:
        return None
    try:
        pid = os.fork()
    except OSError:
        os.close(receive)
        os.close(send)
        return None
    if pid:
        os.close(send)
        return pid, receive
    try:
        os.close(receive)
        found = [_read_file(root, path, module) for path, module in files]
        with os.fdopen(send, "wb") as answer:
            answer.write(msgspec.msgpack.encode(found))
    finally:
        os._exit(0)


def _read_file(root: str, path: str, module: str) -> FileFacts:
    """The facts of one file as a row; None where it cannot be a tool."""
    data = _read_bytes(os.path.join(root, path))
    if data is None:
        return None
    if isinstance(data, Problem):
        return _broken(path, module, data)
    if WORD not in data:
        return None
    is_package = path.endswith("__init__.py")
    return read_module(data, module=module, path=path, is_package=is_package)


def _read_bytes(path: str) -> bytes | Problem | None:
    """The bytes of a regular file, None where it is none or has gone, a Problem where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Problem(
            code="unreadable",
            message=f"cannot be read: {error.strerror}",
            hint="give yourself the right to read it, or name it in exclude",
        )
    try:
        st = os.fstat(descriptor)
        if not stat.S_ISREG(st.st_mode):
            return None
        if st.st_size > SIZE_LIMIT:
            return _too_large(descriptor, st.st_size)
        parts = []
        while part := os.read(descriptor, max(st.st_size + 1, 65536)):
            parts.append(part)
        return b"".join(parts)
    except OSError as error:
        return Problem(code="unreadable", message=f"cannot be read: {error.strerror}")
    finally:
        os.close(descriptor)


def _too_large(descriptor: int, size: int) -> Problem | None:
    tail = b""
    while part := os.read(descriptor, 1 << 20):
        if WORD in tail + part:
            return Problem(
                code="too-large",
                message=f"holds STAGE and is too large to be read ({size / 1e6:.1f} MB, limit 2 MB)",
                hint="move its data into a data file, or name it in exclude",
            )
        tail = part[-len(WORD) :]
    return None


def read_exports_of(root: str, path: str, module: str) -> ReferencedFacts:
    """What others can refer to in a module; nothing in one that cannot be parsed."""
    data = _read_bytes(os.path.join(root, path))
    if not isinstance(data, bytes):
        return None
    with ignore_warnings():
        try:
            return read_exports(parse(data), module, path.endswith("__init__.py"))
        except PARSE_ERRORS:
            return Exports(module=module)


def read_orchconf(root: str, path: str) -> ReferencedFacts:
    """What `orchconf.py` offers."""
    data = _read_bytes(os.path.join(root, path))
    if isinstance(data, Problem):
        return _broken(path, "orchconf", data)
    return None if data is None else read_conf(data, path=path)


def find_near_misses(root: str, files: Iterable[tuple[str, str]]) -> Iterator[PassedOver]:
    """Files without the word STAGE (path and module) that look like tools all the same."""
    for path, module in files:
        data = _read_bytes(os.path.join(root, path))
        if not isinstance(data, bytes) or b"run" not in data or WORD in data:
            continue
        found = read_near_miss(data, module=module, path=path)
        if isinstance(found, ModuleFacts) and found.miss:
            yield PassedOver(path=path, reason=found.miss, line=found.miss_line)


def _broken(path: str, module: str, what: Problem) -> BrokenModule:
    place = Location(path=path)
    problem = Problem(code=what.code, message=what.message, hint=what.hint, location=place)
    return BrokenModule(path=path, module=module, problem=problem)
