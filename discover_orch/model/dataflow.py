"""What tools read and write, and the order between tools that follows from it.

Two patterns meet where some file can match both. Where that is not certain they count as meeting, so that an edge is
rather one too many than one too few. Compares names; reads no files.
"""

from __future__ import annotations

import fnmatch
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.conventions import GLOB_CHARACTERS


class Dataflow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The files and tables that a tool reads and writes. Paths are relative to the root; declared ones may be globs.

    Empty means that nothing is known, not that there is nothing. `folders` are those that were listed, "." for the
    root; `missed` files were looked for and did not exist; `is_unclear`: statements could not be observed.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    tables_read: tuple[str, ...] = ()
    tables_written: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    is_unclear: bool = False

    @property
    def has_reads(self) -> bool:
        """Whether what the tool reads counts as known."""
        known = self.reads or self.tables_read or self.folders or self.missed
        return bool(known) and not self.is_unclear

    @property
    def has_writes(self) -> bool:
        return bool(self.writes or self.tables_written) and not self.is_unclear


def merge(declared: Dataflow, observed: Dataflow | None) -> Dataflow:
    """Both together, each name once: a declaration adds to what was observed and takes nothing away."""
    if observed is None:
        return declared
    return Dataflow(
        reads=_union(declared.reads, observed.reads),
        writes=_union(declared.writes, observed.writes),
        tables_read=_union(declared.tables_read, observed.tables_read),
        tables_written=_union(declared.tables_written, observed.tables_written),
        folders=_union(declared.folders, observed.folders),
        missed=_union(declared.missed, observed.missed),
        is_unclear=declared.is_unclear or observed.is_unclear,
    )


def _union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    if not (one and other):
        return one or other
    return tuple(dict.fromkeys((*one, *other)))


def edges(flows: Mapping[str, Dataflow]) -> dict[str, tuple[str, ...]]:
    """For each reader the other tools that write what it reads, in the order of `flows`.

    A tool reads what another writes where a file or glob that it reads, or a file that it missed, meets one that the
    other writes; where a table is the same; where the other writes directly into a folder that it listed. Near linear:
    paths are looked up, and only globs are compared one by one.
    """
    tools = list(flows)
    written = _Written(flows.values())
    if not written:
        return {}
    found = {}
    for number, (tool, flow) in enumerate(flows.items()):
        writers = written.writers_for(flow)
        writers.discard(number)
        if writers:
            found[tool] = tuple([tools[one] for one in sorted(writers)])
    return found


def without_updates(flow: Dataflow) -> Dataflow:
    """Without the reads of what the tool writes itself. Two tools that update the same table read each other."""
    own = _Written([flow])
    return replace(
        flow,
        reads=tuple(path for path in flow.reads if not own.of_file(path)),
        tables_read=tuple(name for name in flow.tables_read if name not in flow.tables_written),
        folders=tuple(folder for folder in flow.folders if not own.of_folder(folder)),
        missed=tuple(path for path in flow.missed if not own.of_file(path)),
    )


def shared(reader: Dataflow, writer: Dataflow) -> tuple[str, ...]:
    """The files and tables that one reads and the other writes, as parts of a sentence."""
    written = _Written([writer])
    return (
        *(path for path in reader.reads if written.of_file(path)),
        *(f"the table {name}" for name in reader.tables_read if name in writer.tables_written),
    )


def _matches(path: str, pattern: str) -> bool:
    """`*` crosses folders here, and `**/` may stand for no folder; a folder that matches contains all below it."""
    loose = pattern.replace("**/", "*")
    return fnmatch.fnmatchcase(path, loose) or fnmatch.fnmatchcase(path, loose.rstrip("/") + "/*")


def _is_glob(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern or "[" in pattern


def _literal_part(pattern: str) -> str:
    """The part before the first wildcard."""
    ends = [pattern.find(mark) for mark in GLOB_CHARACTERS if mark in pattern]
    return pattern[: min(ends)] if ends else pattern


def _folder_of(path: str) -> str:
    """ "." is the root of the project, "" that of the file system."""
    head, slash, _ = path.rpartition("/")
    return head.rstrip("/") if slash else "."


def _can_lie_in(literal: str, folder: str) -> bool:
    """Whether a glob with this literal part can match a file directly in the folder."""
    start = "" if folder == "." else folder + "/"
    if literal.startswith(start):
        return "/" not in literal[len(start) :]
    return start.startswith(literal)


class _Written:
    """Which flows, by number, write a path or table, so that a reader need not be compared with each writer."""

    def __init__(self, flows: Iterable[Dataflow]) -> None:
        self._tables: dict[str, list[int]] = {}
        self._paths: dict[str, list[int]] = {}
        self._spelled: dict[str, list[int]] = {}
        self._globs: dict[str, list[tuple[str, int]]] = {}  # by the literal part
        for number, flow in enumerate(flows):
            for table in flow.tables_written:
                self._tables.setdefault(table, []).append(number)
            for path in flow.writes:
                if _is_glob(path):
                    self._globs.setdefault(_literal_part(path), []).append((path, number))
                else:
                    self._spelled.setdefault(path, []).append(number)
                    self._paths.setdefault(path.rstrip("/"), []).append(number)
        self._inside: dict[str, set[int]] = {}
        for path, numbers in self._paths.items():
            self._inside.setdefault(_folder_of(path), set()).update(numbers)
        self._below: dict[str, set[int]] = {}
        for folder, inside in self._inside.items():
            for holder in _with_holders(folder):
                self._below.setdefault(holder, set()).update(inside)
        self._literals = sorted(self._globs)
        self._names: list[str] = []
        self._holding: dict[str, set[int]] = {}
        self._matched: dict[str, set[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._tables or self._paths or self._globs)

    def writers_for(self, flow: Dataflow) -> set[int]:
        found: set[int] = set()
        for table in flow.tables_read:
            found.update(self._tables.get(table, ()))
        for path in (*flow.reads, *flow.missed) if flow.missed else flow.reads:
            found |= self.of_file(path)
        for folder in flow.folders:
            found |= self.of_folder(folder)
        return found

    def of_file(self, path: str) -> set[int]:
        return self._of_glob(path) if _is_glob(path) else self._of_path(path)

    def _of_path(self, spelled: str) -> set[int]:
        """Those that write this file, something in this folder, or a whole folder that the file is in."""
        path = spelled.rstrip("/")
        found = self._of_holders(_folder_of(path))
        if path in self._paths:
            found = found.union(self._paths[path])
        if path in self._below:
            found = found | self._below[path]
        if self._globs:
            found = found.union(self._of_globs_around(spelled))
        return found

    def _of_globs_around(self, spelled: str) -> Iterator[int]:
        """The globs that match this file, or can match something in this folder."""
        for end in range(len(spelled) + 1):
            for glob, number in self._globs.get(spelled[:end], ()):
                if _matches(spelled, glob):
                    yield number
        for literal in _starting_with(spelled.rstrip("/") + "/", self._literals):
            for _, number in self._globs[literal]:
                yield number

    def _of_glob(self, pattern: str) -> set[int]:
        found = self._matched.get(pattern)
        if found is None:
            literal = _literal_part(pattern)
            found = set(self._of_holders(_folder_of(literal)))
            self._names = self._names or sorted(self._spelled)
            for path in _starting_with(literal, self._names):
                if _matches(path, pattern):
                    found.update(self._spelled[path])
            for other, globs in self._globs.items():
                if other.startswith(literal) or literal.startswith(other):
                    found.update(number for _, number in globs)
            self._matched[pattern] = found
        return found

    def of_folder(self, spelled: str) -> set[int]:
        """Those that write directly into the folder, or declare that they write all of it."""
        folder = spelled.rstrip("/")
        found = set(self._inside.get(folder, ()))
        for literal, globs in self._globs.items():
            if _can_lie_in(literal, folder):
                found.update(number for _, number in globs)
        found.update(self._paths.get(folder, ()))
        return found | self._of_holders(_folder_of(folder))

    def _of_holders(self, folder: str) -> set[int]:
        """Those that declare that they write this folder, or one that contains it."""
        found = self._holding.get(folder)
        if found is None:
            found = set()
            for holder in _with_holders(folder):
                found.update(self._paths.get(holder, ()))
            self._holding[folder] = found
        return found


def _starting_with(start: str, names: Sequence[str]) -> Iterator[str]:
    """The names that start so; `names` are sorted."""
    for place in range(bisect_left(names, start), len(names)):
        if not names[place].startswith(start):
            return
        yield names[place]


def _with_holders(folder: str) -> Iterator[str]:
    """The folder and all folders that contain it, except the root of the project."""
    while folder != ".":
        yield folder
        if not folder:
            return
        folder = _folder_of(folder)
