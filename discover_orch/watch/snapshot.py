"""The files that a watch looks at: what stands on the disk, beside what was accepted.

In: folders, paths and patterns. Out: which files mean something else now. Two layers: what was *seen* by the
last look, and what was *accepted*, which is what the last planned run was about. A look stats everything and
reads only what has another signature or was hinted at. It knows no tools. While it `rests`, data files are let be.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.discovery.tree import (
    ABSENT,
    SKIPPED_FILES,
    SKIPPED_FOLDERS,
    is_racy,
    read_tree,
    signature_of,
)
from discover_orch.model.errors import Problem
from discover_orch.staleness.affected import ToolInputs, meets_input
from discover_orch.staleness.file_hashes import GLOB_CHARACTERS, FileHashes, find_data
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.watch.files.debounce import Look
from discover_orch.watch.folder_snapshot import FolderSnapshots

#: Data files up to this many bytes are compared by content; of larger ones the signature counts.
HASHED = 1 << 26
#: Contents of a file whose meanings are kept in mind.
REMEMBERED = 16
GONE = ""
#: In place of a signature, of what is no file: a folder, and anything of which only counts that it is there.
FOLDER, THERE = "/", "+"
NOTHING = ToolInputs()


class FileState(Struct, frozen=True, kw_only=True):
    """`content` is a hash of the bytes, `meaning` one of what they mean; both GONE where there is no file."""

    signature: str
    content: str = GONE
    meaning: str = GONE
    problem: Problem | None = None


class SnapshotDiff(Struct, frozen=True, kw_only=True):
    """What a look found: `paths` whose meaning is another than at the last look, and those that were only
    saved."""

    paths: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()


class Snapshot:
    """Made empty; `arrange` says what to look at. Paths are relative to the root, with `/`."""

    def __init__(
        self, root: str, sources: ImportGraph, is_ignored: Callable[[str], bool] | None = None
    ) -> None:
        self._root, self._sources, self._is_ignored = root, sources, is_ignored
        self._folders: tuple[str, ...] = ()
        self._is_excluded: Callable[[str], bool] | None = None
        self._excluded: set[str] = set()
        self._extras: tuple[str, ...] = ()
        self._plain: frozenset[str] = frozenset()  # extras that are no folders
        self._patterns: tuple[str, ...] = ()
        self._starts: tuple[str, ...] = ()
        self._inputs, self._nobodys = NOTHING, frozenset[str]()
        self._data: set[str] = set()  # read as data, whatever they are called
        self._listings = FolderSnapshots(root)
        self._seen: dict[str, FileState] = {}
        self._accepted: dict[str, str] = {}
        self._differing: dict[str, Problem | None] = {}
        self._broken: dict[str, Problem] = {}
        self._known: dict[str, dict[str, str]] = {}  # of each file, what its latest contents mean
        self._racy: set[str] = set()
        self.folders = 0  # that the last look entered
        self.rests = False  # a run is going on: what it does to data counts when it has ended

    def __len__(self) -> int:
        return sum(state.signature != ABSENT for state in self._seen.values())

    def arrange(
        self,
        folders: Iterable[str],
        extras: Iterable[str],
        patterns: Iterable[str],
        is_excluded: Callable[[str], bool] | None = None,
        inputs: ToolInputs = NOTHING,
        nobodys: frozenset[str] = frozenset(),
    ) -> tuple[str, ...]:
        """Look at all modules below `folders`, at `extras` whether they are there or not (a folder ends in
        `/`), at the data files that `patterns` mean, and at what tools were seen to read, to miss and to list.
        `nobodys` are files that are no data. What is new to the manifest is accepted as it stands; given back are
        the others that this look found to have changed."""
        is_same = self._folders == tuple(folders)
        spares_data = (self._inputs, self._nobodys) == (inputs, nobodys)
        self._folders, self._patterns = tuple(folders), tuple(dict.fromkeys(patterns))
        self._inputs, self._nobodys = inputs, nobodys
        self._is_excluded, self._excluded = is_excluded, set()
        self._extras = tuple(path for path in dict.fromkeys(extras) if not self._is_walked(path))
        self._plain = frozenset(path for path in self._extras if path[-1:] != FOLDER)
        self._starts = tuple(dict.fromkeys(map(fixed_part, self._patterns)))
        for path in [path for path in self._seen if not self._counts(path)]:
            del self._seen[path]
            self._accepted.pop(path, None)
            self._compare(path)
        self._listings.arrange(sorted(inputs.folders), nobodys)
        before = self._signatures_of_data()
        known = set(self._seen)
        news = self.look(spares_data=spares_data)
        # One that was missed is read now, or the other way round: its meaning is of another kind.
        now = self._signatures_of_data()
        known -= {
            path
            for path in before.keys() & now.keys()
            if (before[path] == THERE) != (now[path] == THERE)
            and ABSENT not in (before[path], now[path])
        }
        # In a folder that was walked before, it has appeared since the last look.
        new = {
            path
            for path in self._seen.keys() - known
            if not (known and is_same and self._is_walked(path))
        }
        self.accept(new)
        return tuple(path for path in news.paths if path not in new)

    def look(self, hinted: Collection[str] = (), *, spares_data: bool = False) -> SnapshotDiff:
        """Compare the disk with the last look; `hinted` files are read whatever their signature says. With
        `spares_data` the known data files are left for later."""
        started = time.time_ns()
        spares_data |= self.rests
        now = self._read_signatures(spares_data)
        seen = self._seen
        again = {path for path in (*hinted, *self._racy) if path in now or path in seen}
        again |= {
            path
            for path, signature in now.items()
            if path not in seen or seen[path].signature != signature
        }
        again |= {path for path in seen.keys() - now.keys() if seen[path].signature != ABSENT}
        spared = self._racy & self._data if spares_data else set()
        again -= spared
        self._racy = _find_racy({path: now.get(path, ABSENT) for path in again}, started) | spared
        news = self._take_in(again, now, hinted)
        names = set() if spares_data else self._listings.look() - self._seen.keys()
        if self._is_ignored is not None and names:
            ignored = set(filter(self._is_ignored, names))
            self._listings.accept(ignored)
            names -= ignored
        return replace(news, paths=(*news.paths, *sorted(names))) if names else news

    def glance(self, hinted: Collection[str]) -> SnapshotDiff:
        """A look at these files alone, where each is known and still there: else a whole one. It is fast, and
        `look` must follow."""
        now, started = {}, time.time_ns()
        for path in hinted:
            known = self._seen.get(path)
            if known is None or known.signature == ABSENT or path[-1:] == FOLDER:
                return self.look(hinted)
            now[path] = self._sign(path)
            if now[path] == ABSENT:
                return self.look(hinted)
        self._racy |= _find_racy(now, started)
        return self._take_in(hinted, now, hinted)

    def _take_in(
        self, again: Iterable[str], now: Mapping[str, str], hinted: Collection[str]
    ) -> SnapshotDiff:
        """Read these files again, and say what has become of them."""
        seen = self._seen
        paths, saved = [], []
        for path in sorted(again):
            before = seen.get(path)
            state = self._read(path, now.get(path, ABSENT))
            known = self._known.setdefault(path, {})
            known[state.content] = state.meaning
            if len(known) > REMEMBERED:
                del known[next(iter(known))]
            seen[path] = state
            if self._is_ignored is not None and self._is_ignored(path):
                self._accepted[path] = state.meaning
            elif (before.meaning if before else GONE) != state.meaning:
                paths.append(path)
            elif path in hinted or (before and before.content != state.content):
                saved.append(path)
            self._compare(path)
        return SnapshotDiff(paths=tuple(paths), saved=tuple(saved))

    def judge(self, path: str) -> Look:
        """One look at a path that an event named: `sound`, `unsound` (a module that is empty or does not
        parse) or `missing`."""
        full = os.path.join(self._root, path)
        if not self.is_module(path):
            return "sound" if os.path.exists(full) else "missing"
        source = self._sources.refresh(path)
        if source is None:
            return "missing"
        if source.problem is not None:
            return "unsound"
        is_empty = not (self._sources.data(path) or b"").strip()
        was_empty = path in self._seen and self._seen[path].content == source.hash
        return "unsound" if is_empty and not was_empty else "sound"

    def differing(self) -> dict[str, Problem | None]:
        """Every path that means something else than what was accepted; with its problem where it has one."""
        names = self._listings.differing()
        return dict(sorted(self._differing.items())) | dict.fromkeys(names - self._seen.keys())

    @property
    def broken(self) -> Mapping[str, Problem]:
        return self._broken

    def come_and_gone(self) -> set[str]:
        """Of what differs, the names that came or went in a folder that was listed."""
        return self._listings.differing()

    def _compare(self, path: str) -> None:
        """Remember whether it differs: nobody goes through all files for that."""
        state = self._seen.get(path)
        self._differing.pop(path, None)
        self._broken.pop(path, None)
        if state is None:
            return
        if self._accepted.get(path, GONE) != state.meaning:
            self._differing[path] = state.problem
        if state.problem is not None:
            self._broken[path] = state.problem

    def is_torn(self, path: str, content: str) -> bool:
        """Whether no look has seen these bytes, of which this is the hash: whoever read them did so while they were
        being written."""
        return self.is_there(path) and content not in self._known.get(path, {})

    def accept(self, paths: Collection[str]) -> None:
        """What was seen of these is what the next run is about."""
        for path in paths:
            if path in self._seen:
                self._accepted[path] = self._seen[path].meaning
                self._compare(path)
        self._listings.accept(paths)

    def doubt(self, path: str) -> None:
        """It was not as it stands when it was read: what was accepted of it is none of its meanings."""
        if path in self._seen:
            self._accepted[path] = GONE if self._seen[path].signature == THERE else "?"
            self._compare(path)

    def was_there(self, path: str) -> bool:
        """Whether it was there when it was accepted."""
        return self._accepted.get(path, GONE) != GONE

    def is_module(self, path: str) -> bool:
        return path.endswith(".py") and path not in self._data

    def is_name(self, path: str) -> bool:
        """Whether all that counts of it is that it stands in a folder that was listed."""
        return path not in self._seen

    def is_there(self, path: str) -> bool:
        if path in self._seen:
            return self._seen[path].signature != ABSENT
        return self._listings.has(path)

    def is_relevant(self, path: str, *, is_folder: bool) -> bool:
        """Whether an event for this path can mean that a look finds something."""
        if path in self._seen:
            return not (self.rests and path in self._data)
        if not self.rests and self._listings.is_news(path):
            return True
        if is_folder:
            below = path + "/"
            if below in self._seen or any(one.startswith(below) for one in self._seen):
                return True
            starts = [start for start in self._starts if start]
            return any(_is_below(path, folder) for folder in (*self._folders, *starts))
        if path.endswith(".py") and any(_is_below(path, folder) for folder in self._folders):
            return True
        return not self.rests and meets_input(path, self._patterns)

    def ignore(self, is_ignored: Callable[[str], bool] | None) -> None:
        """From now on these files never count."""
        self._is_ignored = is_ignored

    def _counts(self, path: str) -> bool:
        """Whether a look could find the file, as things are arranged now."""
        if path in self._inputs.reads or path in self._inputs.missed:
            return path not in self._nobodys
        if path in self._plain or self._is_walked(path):
            return True
        return path in self._extras or (
            path not in self._nobodys and meets_input(path, self._patterns)
        )

    def _is_walked(self, path: str) -> bool:
        """Whether a walk through the scanned folders finds the file, or what appears in the folder."""
        if not any(_is_below(path, folder) for folder in self._folders):
            return False
        *folders, name = path.rstrip("/").split("/")
        if name in SKIPPED_FILES or name.startswith("test_") or name.endswith("_test.py"):
            return False
        if any(one in SKIPPED_FOLDERS or one[:1] == "." for one in (*folders, name)):
            return False
        return self._is_excluded is None or not (
            self._is_excluded(path) or any(map(self._is_excluded, _folders(path)))
        )

    def _signatures_of_data(self) -> dict[str, str]:
        return {path: self._seen[path].signature for path in self._data if path in self._seen}

    def _read_signatures(self, spares_data: bool) -> dict[str, str]:
        tree = read_tree(
            self._root,
            self._folders,
            excluded=self._excluded,
            is_excluded=self._is_excluded,
            extras=self._plain,
        )
        self._excluded |= tree.excluded
        self.folders = len(tree.folders)
        found = tree.signatures
        for path in self._extras:
            if path[-1:] == FOLDER:
                is_there = os.path.isdir(os.path.join(self._root, path))
                found[path] = FOLDER if is_there else ABSENT
        data = {path for pattern in self._patterns for path in find_data(self._root, pattern)}
        data |= self._inputs.reads | self._inputs.missed
        self._data = data.difference(found, self._nobodys)
        for path in self._data:
            known = self._seen.get(path) if spares_data else None
            found[path] = self._sign(path) if known is None else known.signature
        return found

    def _sign(self, path: str) -> str:
        full = os.path.join(self._root, path)
        signature = signature_of(full)
        if path in self._inputs.missed and path not in self._inputs.reads and path in self._data:
            return THERE if signature != ABSENT or os.path.exists(full) else ABSENT
        return signature

    def _read(self, path: str, signature: str) -> FileState:
        if signature in (ABSENT, FOLDER, THERE):
            if self.is_module(path):
                self._sources.refresh(path)
            return FileState(
                signature=signature, content=signature.strip("-"), meaning=signature.strip("-")
            )
        if self.is_module(path):
            source = self._sources.refresh(path)
            if source is None:
                return FileState(signature=ABSENT)
            meaning = f"broken {source.hash}" if source.problem else source.meaning
            return FileState(
                signature=signature, content=source.hash, meaning=meaning, problem=source.problem
            )
        if int(signature.split(" ")[1]) > HASHED:
            content = f"large {signature}"
        else:
            content, _ = FileHashes(self._root).file(path)
        return FileState(
            signature=signature if content else ABSENT, content=content, meaning=content
        )


def _find_racy(signatures: Mapping[str, str], started: int) -> set[str]:
    """Files that may change again without a new signature: the next look reads them once more."""
    return {
        path
        for path, one in signatures.items()
        if one not in (FOLDER, THERE) and is_racy(one, started)
    }


def fixed_part(pattern: str) -> str:
    """The folder of a pattern that is sure: `data` of `data/*.csv`, `data/raw` of the folder `data/raw`."""
    parts = os.path.normpath(pattern).replace(os.sep, "/").split("/")
    sure = []
    for part in parts:
        if GLOB_CHARACTERS & set(part):
            break
        sure.append(part)
    return "/".join(sure)


def _folders(path: str) -> Iterator[str]:
    """`a/` and `a/b/` for `a/b/c`."""
    at = path.find("/")
    while at >= 0:
        yield path[: at + 1]
        at = path.find("/", at + 1)


def _is_below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(folder + "/")


def read_head(root: str) -> str:
    """What git has checked out, "" where there is no repository: a word for `N files changed`."""
    try:
        with open(os.path.join(root, ".git", "HEAD"), "rb") as file:
            return file.read(256).decode("utf-8", "replace")
    except OSError:
        return ""


def read_index(root: str) -> str:
    """Changes whenever git has changed the working tree; ABSENT where there is no repository."""
    return signature_of(os.path.join(root, ".git", "index"))


def is_git_busy(root: str) -> bool:
    """Whether git holds its lock, or is in the middle of a rebase or a merge."""
    inside = os.path.join(root, ".git")
    names = ("index.lock", "rebase-merge", "rebase-apply", "MERGE_HEAD")
    return any(os.path.lexists(os.path.join(inside, name)) for name in names)
