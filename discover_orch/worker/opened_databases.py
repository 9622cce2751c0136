"""SQLite databases that a tool opens by itself: SQLite opens their files, not Python, so their states are compared.

Connections that stay open are remembered with what keeps them."""

from __future__ import annotations

import contextlib
import os

from discover_orch.model.observation import RESOURCE, file_mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from discover_orch.worker.observed_paths import ObservedPaths, StepFiles

    DatabaseMark = tuple[str | None, ...]


class KeptDatabase:
    """A SQLite file that a tool has opened, by its real path, and the `owners` of what keeps the connection."""

    def __init__(self, path: str, owners: tuple[str, ...]) -> None:
        self.path, self.owners = path, owners
        self.connection: Callable[[], Any] | None = None  # a weak reference

    def is_open(self) -> bool:
        return self.connection is None or self.connection() is not None

    def roll_back(self) -> None:
        """Undo what was not committed. Orch ends the transactions of connections that it has adopted, and a resource
        may commit when it is closed."""
        connection = self.connection and self.connection()
        is_others = hasattr(connection, "managed") or any(
            one.startswith(RESOURCE) for one in self.owners
        )
        with contextlib.suppress(Exception):  # it is closed, or of another thread
            if connection is not None and not is_others:
                connection.rollback()


def database_mark(path: str) -> DatabaseMark:
    """The marks of a database and of its write-ahead log; they differ once the database has changed. A reader may make
    an empty log, and change the ctime of a log."""
    marks: list[str | None] = []
    for one in (path, path + "-wal"):
        try:
            found = os.stat(one)
        except OSError:
            marks.append(None)
        else:
            log = f"{found.st_size} {found.st_mtime_ns}" if found.st_size else None
            marks.append(file_mark(found) if one == path else log)
    return tuple(marks)


def compare_databases(
    connected: Mapping[str, DatabaseMark], paths: ObservedPaths, seen: StepFiles
) -> None:
    """Adds what the tool did to databases.

    `connected` are those that it opened, by their real paths, as they were before.
    """
    for path, before in connected.items():
        shown = paths.show(path)
        if path == paths.database or paths.is_noise(shown):
            continue
        after = database_mark(path)
        if after[0] is None:
            seen.missed[shown] = None
            continue
        if after != before:
            seen.written[shown] = False
        if before[0] is not None:
            seen.read[shown] = after[0]
            if after == before and _has_log(path):
                _add_log(path + "-wal", paths, seen)


def _has_log(path: str) -> bool:
    """Whether the SQLite database has a write-ahead log: byte 18 of its header says so
    (https://sqlite.org/fileformat.html)."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.read(fd, 19)[18:] == b"\2"
    finally:
        os.close(fd)


def _add_log(path: str, paths: ObservedPaths, seen: StepFiles) -> None:
    """Another program that has the database open may keep what it writes in the log for a long time."""
    shown = paths.show(path)
    try:
        found = os.stat(path)
    except OSError:
        found = None
    if found is not None and found.st_size:
        seen.read[shown] = file_mark(found)
    else:  # an empty one counts as none
        seen.missed[shown] = None
