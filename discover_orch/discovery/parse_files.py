"""Reads Python files of the tree into facts, many of them in several processes. Runs no code of the user.

`scanner` imports this module only where there is something to read: the parser takes a sixth of the start-up of a warm
command.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from discover_orch.discovery.facts_index import FileFacts
from discover_orch.discovery.parallel_map import parallel_map
from discover_orch.model.conventions import CONF_MODULE
from discover_orch.model.errors import Location, Problem
from discover_orch.source.facts import BrokenModule, ConfFacts, Exports, PassedOver
from discover_orch.source.parse import PARSE_ERRORS, ignore_warnings, parse
from discover_orch.source.read_module import read_conf, read_module, read_near_miss
from discover_orch.source.resolve import read_exports

WORD = b"STAGE"
SIZE_LIMIT = 2_000_000


def read_files(root: str, files: list[tuple[str, str]]) -> list[tuple[str, FileFacts]]:
    """The facts of each file of (path, name of its module), in this order."""
    found = parallel_map(lambda file: _read_file(root, *file), files, FileFacts)
    return [(path, facts) for (path, _), facts in zip(files, found, strict=True)]


def _read_file(root: str, path: str, module: str) -> FileFacts:
    """The facts of one file; None where it cannot be a tool."""
    data = read_source(root, path, limit=SIZE_LIMIT)
    if isinstance(data, Problem):
        return BrokenModule(path=path, module=module, problem=data)
    if data is None or WORD not in data:
        return None
    is_package = path.endswith("__init__.py")
    return read_module(data, module=module, path=path, is_package=is_package)


def read_source(root: str, path: str, *, limit: int | None = None) -> bytes | Problem | None:
    """The bytes of a regular file; None where there is none, a Problem where it cannot be read.

    Of a file with more bytes than `limit` only the word STAGE matters: without it the file counts as none.
    """
    try:
        # Not blocking: a pipe of that name would wait for a writer.
        descriptor = os.open(os.path.join(root, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        return _unreadable(path, error)
    try:
        st = os.fstat(descriptor)
        if not stat.S_ISREG(st.st_mode):
            return None
        if limit is not None and st.st_size > limit:
            return _too_large(path, st.st_size) if _holds_word(descriptor) else None
        parts = []
        while part := os.read(descriptor, max(st.st_size + 1, 65536)):
            parts.append(part)
        return b"".join(parts)
    except OSError as error:
        return _unreadable(path, error)
    finally:
        os.close(descriptor)


def _holds_word(descriptor: int) -> bool:
    tail = b""
    while part := os.read(descriptor, 1 << 20):
        if WORD in tail + part:
            return True
        tail = part[-len(WORD) :]
    return False


def _too_large(path: str, size: int) -> Problem:
    return Problem(
        code="too-large",
        message=f"contains STAGE, but is too large to be read ({size / 1e6:.1f} MB, limit 2 MB)",
        hint="move its data into a data file, or add the file to exclude",
        location=Location(path=path),
    )


def _unreadable(path: str, error: OSError) -> Problem:
    return Problem(
        code="unreadable",
        message=f"cannot be read: {error.strerror}",
        hint="change its permissions, or add it to exclude",
        location=Location(path=path),
    )


def read_exports_of(root: str, path: str, module: str) -> Exports | None:
    """What other modules can refer to in a file; nothing in one that cannot be parsed."""
    data = read_source(root, path, limit=SIZE_LIMIT)
    if not isinstance(data, bytes):
        return None
    with ignore_warnings():
        try:
            return read_exports(parse(data), module, path.endswith("__init__.py"))
        except PARSE_ERRORS:
            return Exports(module=module)


def read_orchconf(root: str, path: str) -> ConfFacts | BrokenModule | None:
    """What `orchconf.py` offers."""
    data = read_source(root, path, limit=SIZE_LIMIT)
    if isinstance(data, Problem):
        return BrokenModule(path=path, module=CONF_MODULE, problem=data)
    return None if data is None else read_conf(data, path=path)


def find_near_misses(root: str, files: Iterable[tuple[str, str]]) -> Iterator[PassedOver]:
    """Of files (path, module) without the word STAGE, those that look like tools all the same."""
    for path, module in files:
        data = read_source(root, path, limit=SIZE_LIMIT)
        if not isinstance(data, bytes) or b"run" not in data or WORD in data:
            continue
        found = read_near_miss(data, module=module, path=path)
        if found is not None:
            yield PassedOver(path=path, reason=found.miss, line=found.miss_line, near=found.near)
