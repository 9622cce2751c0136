"""The files that an attempt read, as they were then: their versions, and the marks that stand for them.

The tool has ended by then, and a file may have changed again. Reads and hashes files, writes none.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from discover_orch.discovery.tree import stat_file
from discover_orch.model.keys import Key, is_file_key, path_of
from discover_orch.model.observation import Observation, file_mark
from discover_orch.model.tool import Tool
from discover_orch.staleness.input_versions import (
    Versions,
    hash_file,
    is_database,
    read_hashes,
    read_mark,
)
from discover_orch.staleness.tool_result import (
    ABSENT,
    DATABASE,
    EXISTS,
    UNSURE,
    Success,
    ToolResult,
)


class Read:
    """The versions of what an attempt read, and the marks that stand for them. `before` is what was remembered of the
    tool, and `began` is as of an `Observation`."""

    def __init__(self, before: ToolResult, began: tuple[int, int]) -> None:
        self.before, self.began = before, began
        self.versions: dict[Key, str] = {}
        self.marks: dict[Key, str] = {}


class ReadFiles:
    """For the tools of one run, in the order in which they end."""

    def __init__(self, root: str) -> None:
        self._root = root
        read_hashes(root)
        self._hashed: dict[str, tuple[str, str]] = {}  # path → mark and version
        self._written: set[str] = set()  # files written by the tools that have ended
        #: Of each tool: what it read at its last success and that was as it was then when it began.
        self._unchanged: dict[str, frozenset[Key]] = {}

    def note_start(self, module: str, last: Success | None) -> None:
        """The tool is about to begin. Only what is known of its files by now says what it may have read."""
        if last is not None:
            self._unchanged[module] = frozenset(
                key for key in last.marks if self._is_unchanged(key, last)
            )

    def _is_unchanged(self, key: Key, last: Success) -> bool:
        full = os.path.join(self._root, path_of(key))
        if last.inputs.other.get(key) != UNSURE:
            return read_mark(full) == last.marks[key]
        found = stat_file(full)  # it was unsure, and its mark is the content that it left
        return found is not None and hash_file(full, found)[0] == last.marks[key]

    def add_written(self, paths: Iterable[str]) -> None:
        """A tool that has ended wrote these files."""
        self._written.update(paths)

    def hash_left(self, path: str, mark: str) -> str | None:
        """The content of a file that a tool has left in this state; None for one that has changed since."""
        full = os.path.join(self._root, path)
        found = stat_file(full) if mark not in (ABSENT, EXISTS) else None
        if found is None or file_mark(found) != mark:
            return None
        if found.st_size >= 16 and is_database(full):
            return DATABASE
        version, known = hash_file(full, found)
        if known:
            self._hashed[path] = known, version
        return version if read_mark(full) == mark else None

    def versions(
        self,
        tool: Tool,
        seen: Observation,
        shared: Iterable[Observation],
        before: ToolResult,
        own: Collection[Key],
    ) -> Read:
        """The files that it read or declares to read, and what its globs match. `own` is what it wrote."""
        found = Read(before, seen.began)
        if tool.inputs:  # as it is now: earlier tools have written
            now = Versions(self._root, seen.database)
            for key in now.declared(tool.inputs):
                if key.startswith("glob:"):
                    found.versions[key] = now.version(key)
                elif key not in own:
                    self._add_file(key, None, found)
        for one in (seen, *shared):
            found.began = one.began
            for use in one.find("file", "read", "opened"):
                if use.key not in own and found.versions.get(use.key) != UNSURE:
                    self._add_file(use.key, use.state, found)
        return found

    def _add_file(self, key: Key, mark: str | None, read: Read) -> None:
        """Adds the version of the file as the tool read it, and its mark if that stands for the version, or the
        content if the version is unsure. `mark` is its state as it was read, None for a file that the tool was not
        seen to read."""
        version, known = self._read_file(key, mark, read)
        read.versions[key] = version
        read.marks.pop(key, None)
        if known:
            read.marks[key] = known

    def _read_file(self, key: Key, mark: str | None, read: Read) -> tuple[str, str]:
        path = path_of(key)
        last = read.before.success
        if mark is not None and not path.endswith("-wal"):
            # The state of most files is that of the last success: there may be many, and they are not looked at.
            version = _known_version(key, mark, last)
            if version and not self._may_have_changed(path, mark, read):
                return version, mark
        full = os.path.join(self._root, path)
        found = stat_file(full)
        current = None if found is None else file_mark(found)
        if mark is not None and current != mark:
            return self._version_of_state(key, mark, read), ""
        if found is None or current is None:
            return ABSENT, ""
        is_log = path.endswith("-wal")  # a reader of a database may change its ctime
        changed = found.st_mtime_ns if is_log else found.st_ctime_ns
        is_changed = self.is_changed_meanwhile(path, changed, read.began)
        if is_changed or self._has_left_state(key, current, read.before):
            content, known = hash_file(full, found)
            # The same content as when it began: a link was made to it, or a process of the tool wrote the same again.
            # Where the last success was unsure too, its mark is the content that it left.
            is_same = (
                last is not None
                and key in self._unchanged.get(read.before.module, ())
                and content in (last.inputs.other.get(key), last.marks.get(key))
            )
            return (content, known) if is_same else (UNSURE, content)
        hashed = self._hashed.get(path)
        if hashed is not None and hashed[0] == current:
            return hashed[1], current
        if version := _known_version(key, current, last):
            return version, current
        content, known = hash_file(full, found)
        if not known:
            if mark is not None and read_mark(full) != mark:
                return self._version_of_state(key, mark, read), ""
            return content, ""
        self._hashed[path] = known, content
        return content, known

    def _has_left_state(self, key: Key, current: str, before: ToolResult) -> bool:
        """Whether it was as at the last success when the tool was ordered, and no longer is, though no tool that has
        ended wrote it. The clock of files may not have moved on since."""
        last = before.success
        return (
            last is not None
            and key in self._unchanged.get(before.module, ())
            and last.inputs.other.get(key) != UNSURE
            and last.marks[key] != current
            and not self.is_written(path_of(key))
        )

    def _version_of_state(self, key: Key, mark: str, read: Read) -> str:
        """The version of a file that had this state when the tool ended, and has another one now, as where the next
        tool has rewritten or removed it. Where the content is not known any more, the state stands for it: it differs
        from every content, and who made the difference is found out when they are compared."""
        path = path_of(key)
        if self._may_have_changed(path, mark, read):
            return UNSURE
        hashed = self._hashed.get(path)
        if hashed is not None and hashed[0] == mark:
            return hashed[1]
        return _known_version(key, mark, read.before.success) or mark

    def _may_have_changed(self, path: str, mark: str, read: Read) -> bool:
        """Whether a file that had this state when the tool ended may have had another one when it read it. The state
        is "" where it is not known."""
        if not (mark and read.began[0]):
            return True
        return self.is_changed_meanwhile(path, int(mark.rpartition(" ")[2]), read.began)

    def is_changed_meanwhile(self, path: str, changed: int, began: tuple[int, int]) -> bool:
        """Whether it changed after the tool had started; `changed` is its ctime. Times of files come from a clock with
        steps of some milliseconds, so files that an earlier tool wrote just before are compared with a finer one."""
        coarse, fine = began
        if not coarse:  # unknown
            return False
        return changed > fine or (changed > coarse and not self.is_written(path))

    def is_written(self, path: str) -> bool:
        """Whether a tool that has ended wrote the file, also under its real name."""
        real = os.path.realpath(os.path.join(self._root, path))
        return not self._written.isdisjoint(
            (path, real, os.path.relpath(real, os.path.realpath(self._root)))
        )


def _known_version(key: Key, mark: str, last: Success | None) -> str:
    """The version of the file in this state, if the last success had it; else ""."""
    if last is None or last.marks.get(key) != mark:
        return ""
    version = last.inputs.other[key]
    return "" if version == UNSURE else version


def read_earlier(
    root: str, keys: Iterable[Key], last: Success | None
) -> tuple[dict[Key, str], dict[Key, str]]:
    """What a tool has read before and not now, as it is now: the versions, and the marks of files. What has come or
    gone is forgotten. `last` is the success that read it."""
    known, marks = (last.inputs.other, last.marks) if last else ({}, {})
    now = Versions(root)
    versions: dict[Key, str] = {}
    kept: dict[Key, str] = {}
    for key in keys:
        version = now.version(key, known.get(key, ABSENT), marks.get(key, ABSENT))
        if (version == ABSENT) == (known.get(key) == ABSENT):
            versions[key] = version
            if is_file_key(key) and (mark := now.file(path_of(key))[1]):
                kept[key] = mark
    return versions, kept
