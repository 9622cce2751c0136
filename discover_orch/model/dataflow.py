"""What tools read and write, and the edges that follow from it.

In: for each tool what it declares, and what it was seen to do at its last run. Out: which tool must come
before which. A path and a glob meet where the path matches; two globs meet where neither rules the other
out, so an edge is rather one too many than one too few. Pure.
"""

from __future__ import annotations

import fnmatch
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.conventions import GLOB_CHARACTERS


class Dataflow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Paths relative to the root (declared: globs, too), and tables.

    Empty means that nothing is known, not that there is none. `folders` were listed, "." is the root;
    `missed` files were looked for and not there; with `is_unclear` statements of a database went unseen.
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
        """Whether all that it reads can be taken to be known."""
        known = self.reads or self.tables_read or self.folders or self.missed
        return bool(known) and not self.is_unclear

    @property
    def has_writes(self) -> bool:
        return bool(self.writes or self.tables_written) and not self.is_unclear


def merge(declared: Dataflow, observed: Dataflow | None) -> Dataflow:
    """Both, each thing once: a declaration adds to what was seen and takes nothing away."""
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
    """For each reader the writers of what it reads, in the order of `flows`, itself left out.

    A tool reads what another writes where a file or glob that it reads, or a file that it missed, meets one
    that the other writes; where a table is the same; where the other writes directly into a folder that it
    listed. Near linear: what is written is looked up, and only globs are compared with globs one by one.
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
    """Without the reads of what the tool itself writes: two that update one thing read each other."""
    own = _Written([flow])
    return replace(
        flow,
        reads=tuple(path for path in flow.reads if not own.of_file(path)),
        tables_read=tuple(name for name in flow.tables_read if name not in flow.tables_written),
        folders=tuple(folder for folder in flow.folders if not own.of_folder(folder)),
        missed=tuple(path for path in flow.missed if not own.of_file(path)),
    )


def shared(reader: Dataflow, writer: Dataflow) -> tuple[str, ...]:
    """The files and tables that one reads and the other writes, in words for a sentence."""
    written = _Written([writer])
    return (
        *(path for path in reader.reads if written.of_file(path)),
        *(f"the table {name}" for name in reader.tables_read if name in writer.tables_written),
    )


def _matches(path: str, pattern: str) -> bool:
    """A star crosses folders here, and `**/` may stand for none; a folder that matches holds all below."""
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
    """Whether a file that a glob of this literal part matches can stand directly in the folder."""
    start = "" if folder == "." else folder + "/"
    if literal.startswith(start):
        return "/" not in literal[len(start) :]
    return start.startswith(literal)


class _Written:
    """Who writes what, by number: a reader finds its writers without asking each of them."""

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
        """Those that write the file, something in that folder, or a whole folder that it is in."""
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
        """Globs that match the file, or can match something in that folder."""
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
        """Those that write directly into the folder, or declare to write all of it."""
        folder = spelled.rstrip("/")
        found = set(self._inside.get(folder, ()))
        for literal, globs in self._globs.items():
            if _can_lie_in(literal, folder):
                found.update(number for _, number in globs)
        found.update(self._paths.get(folder, ()))
        return found | self._of_holders(_folder_of(folder))

    def _of_holders(self, folder: str) -> set[int]:
        """Those that declare to write this very folder, or one that holds it."""
        found = self._holding.get(folder)
        if found is None:
            found = set()
            for holder in _with_holders(folder):
                found.update(self._paths.get(holder, ()))
            self._holding[folder] = found
        return found


def _starting_with(start: str, names: Sequence[str]) -> Iterator[str]:
    """Of sorted names."""
    for place in range(bisect_left(names, start), len(names)):
        if not names[place].startswith(start):
            return
        yield names[place]


def _with_holders(folder: str) -> Iterator[str]:
    """The folder and all that it is in, but for the root of the project: that is no path of a file."""
    while folder != ".":
        yield folder
        if not folder:
            return
        folder = _folder_of(folder)
