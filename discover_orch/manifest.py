"""The files that a watch looks at: what stands on the disk, beside what was accepted.

In: folders, paths and patterns. Out: which files mean something else now. Two layers: what was *seen* by the
last look, and what was *accepted*, which is what the last planned run was about. A look stats everything and
reads only what has another signature or was hinted at. It knows no tools.
"""

from __future__ import annotations

import glob
import os
import time
from _blake2 import blake2b
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from discover_orch.affected import meets_input
from discover_orch.debounce import Look
from discover_orch.errors import Problem
from discover_orch.sources import Sources
from discover_orch.tree import (
    ABSENT,
    SKIPPED_FILES,
    SKIPPED_FOLDERS,
    is_racy,
    read_tree,
    signature_of,
)
from discover_orch.value import value

#: Data files up to this many bytes are compared by content; of larger ones the signature counts.
HASHED = 1 << 26
CHUNK = 1 << 20
#: Contents of a file whose meanings are kept in mind.
REMEMBERED = 16
MAGIC = frozenset("*?[")
GONE = ""


@value
class State:
    """`content` is a hash of the bytes, `meaning` one of what they mean; both GONE where there is no file."""

    signature: str
    content: str = GONE
    meaning: str = GONE
    problem: Problem | None = None


@value
class News:
    """What a look found: `paths` whose meaning is another than at the last look, and those that were only
    saved."""

    paths: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()


class Manifest:
    """Made empty; `arrange` says what to look at. Paths are relative to the root, with `/`."""

    def __init__(
        self, root: str, sources: Sources, is_ignored: Callable[[str], bool] | None = None
    ) -> None:
        self._root, self._sources, self._is_ignored = root, sources, is_ignored
        self._folders: tuple[str, ...] = ()
        self._is_excluded: Callable[[str], bool] | None = None
        self._excluded: set[str] = set()
        self._extras: tuple[str, ...] = ()
        self._patterns: tuple[str, ...] = ()
        self._starts: tuple[str, ...] = ()
        self._data: set[str] = (
            set()
        )  # found by the patterns: read as data, whatever they are called
        self._seen: dict[str, State] = {}
        self._accepted: dict[str, str] = {}
        self._known: dict[str, dict[str, str]] = {}  # of each file, what its latest contents mean
        self._racy: set[str] = set()
        self.folders = 0  # that the last look entered

    def __len__(self) -> int:
        return sum(state.signature != ABSENT for state in self._seen.values())

    def arrange(
        self,
        folders: Iterable[str],
        extras: Iterable[str],
        patterns: Iterable[str],
        is_excluded: Callable[[str], bool] | None = None,
    ) -> tuple[str, ...]:
        """Look at all modules below `folders`, at `extras` whether they are there or not (a folder ends in
        `/`), and at the data files that `patterns` mean. What is new to the manifest is accepted as it stands;
        given back are the others that this look found to have changed."""
        is_same = self._folders == tuple(folders)
        self._folders, self._patterns = tuple(folders), tuple(dict.fromkeys(patterns))
        self._is_excluded, self._excluded = is_excluded, set()
        self._extras = tuple(path for path in dict.fromkeys(extras) if not self._is_walked(path))
        self._starts = tuple(dict.fromkeys(map(fixed_part, self._patterns)))
        for path in [path for path in self._seen if not self._counts(path)]:
            del self._seen[path]
            self._accepted.pop(path, None)
        known = set(self._seen)
        news = self.look()
        # In a folder that was walked before, it has appeared since the last look.
        new = {
            path
            for path in self._seen.keys() - known
            if not (known and is_same and self._is_walked(path))
        }
        for path in new:
            self._accepted[path] = self._seen[path].meaning
        return tuple(path for path in news.paths if path not in new)

    def look(self, hinted: Collection[str] = ()) -> News:
        """Compare the disk with the last look; `hinted` files are read whatever their signature says."""
        started = time.time_ns()
        now = self._read_signatures()
        seen = self._seen
        again = {path for path in (*hinted, *self._racy) if path in now or path in seen}
        again |= {
            path
            for path, signature in now.items()
            if path not in seen or seen[path].signature != signature
        }
        again |= {path for path in seen.keys() - now.keys() if seen[path].signature != ABSENT}
        self._racy = _find_racy({path: now.get(path, ABSENT) for path in again}, started)
        return self._take_in(again, now, hinted)

    def glance(self, hinted: Collection[str]) -> News:
        """A look at these files alone, where each is known and still there: else a whole one. It is fast, and
        `look` must follow."""
        now, started = {}, time.time_ns()
        for path in hinted:
            known = self._seen.get(path)
            if known is None or known.signature == ABSENT or path[-1:] == "/":
                return self.look(hinted)
            now[path] = signature_of(os.path.join(self._root, path))
            if now[path] == ABSENT:
                return self.look(hinted)
        self._racy |= _find_racy(now, started)
        return self._take_in(hinted, now, hinted)

    def _take_in(
        self, again: Iterable[str], now: Mapping[str, str], hinted: Collection[str]
    ) -> News:
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
        return News(paths=tuple(paths), saved=tuple(saved))

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
        return {
            path: state.problem
            for path, state in self._seen.items()
            if self._accepted.get(path, GONE) != state.meaning
        }

    @property
    def broken(self) -> dict[str, Problem]:
        return {path: one.problem for path, one in self._seen.items() if one.problem is not None}

    def is_torn(self, path: str, content: str) -> bool:
        """Whether no look has seen these bytes, of which this is the hash: whoever read them did so while they were
        being written."""
        return self.is_there(path) and content not in self._known.get(path, {})

    def accept(self, paths: Iterable[str]) -> None:
        """What was seen of these is what the next run is about."""
        for path in paths:
            if path in self._seen:
                self._accepted[path] = self._seen[path].meaning

    def is_module(self, path: str) -> bool:
        return path.endswith(".py") and path not in self._data

    def is_there(self, path: str) -> bool:
        return path in self._seen and self._seen[path].signature != ABSENT

    def is_relevant(self, path: str, *, is_folder: bool) -> bool:
        """Whether an event for this path can mean that a look finds something."""
        if path in self._seen:
            return True
        if is_folder:
            below = path + "/"
            if below in self._seen or any(one.startswith(below) for one in self._seen):
                return True
            starts = [start for start in self._starts if start]
            return any(_is_below(path, folder) for folder in (*self._folders, *starts))
        if path.endswith(".py") and any(_is_below(path, folder) for folder in self._folders):
            return True
        return meets_input(path, self._patterns)

    def ignore(self, is_ignored: Callable[[str], bool] | None) -> None:
        """From now on these files never count."""
        self._is_ignored = is_ignored

    def _counts(self, path: str) -> bool:
        """Whether a look could find the file, as things are arranged now."""
        return path in self._extras or self._is_walked(path) or meets_input(path, self._patterns)

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

    def _read_signatures(self) -> dict[str, str]:
        plain = [path for path in self._extras if path[-1:] != "/"]
        tree = read_tree(
            self._root,
            self._folders,
            excluded=self._excluded,
            is_excluded=self._is_excluded,
            extras=plain,
        )
        self._excluded |= tree.excluded
        self.folders = len(tree.folders)
        found = tree.signatures
        for path in self._extras:
            if path[-1:] == "/":
                found[path] = "/" if os.path.isdir(os.path.join(self._root, path)) else ABSENT
        self._data = set()
        for pattern in self._patterns:
            for path in find_data(self._root, pattern):
                if path not in found:
                    found[path] = signature_of(os.path.join(self._root, path))
                    self._data.add(path)
        return found

    def _read(self, path: str, signature: str) -> State:
        if signature in (ABSENT, "/"):
            if self.is_module(path):
                self._sources.refresh(path)
            return State(
                signature=signature, content=signature.strip("-"), meaning=signature.strip("-")
            )
        if self.is_module(path):
            source = self._sources.refresh(path)
            if source is None:
                return State(signature=ABSENT)
            meaning = f"broken {source.hash}" if source.problem else source.meaning
            return State(
                signature=signature, content=source.hash, meaning=meaning, problem=source.problem
            )
        content = _hash_file(os.path.join(self._root, path), signature)
        return State(signature=signature if content else ABSENT, content=content, meaning=content)


def _find_racy(signatures: Mapping[str, str], started: int) -> set[str]:
    """Files that may change again without a new signature: the next look reads them once more."""
    return {path for path, one in signatures.items() if one != "/" and is_racy(one, started)}


def find_data(root: str, pattern: str) -> Iterator[str]:
    """The files that an input means: itself, all below a folder, or what a glob matches."""
    found = glob.glob(pattern, root_dir=root, recursive=True) if MAGIC & set(pattern) else [pattern]
    for path in found:
        full = os.path.join(root, path)
        if not os.path.isdir(full):
            yield os.path.normpath(path).replace(os.sep, "/")
            continue
        for folder, folders, names in os.walk(full):
            folders[:] = [name for name in folders if name[0] != "."]
            for name in names:
                yield os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")


def fixed_part(pattern: str) -> str:
    """The folder of a pattern that is sure: `data` of `data/*.csv`, `data/raw` of the folder `data/raw`."""
    parts = os.path.normpath(pattern).replace(os.sep, "/").split("/")
    sure = []
    for part in parts:
        if MAGIC & set(part):
            break
        sure.append(part)
    return "/".join(sure)


def _hash_file(path: str, signature: str) -> str:
    """The hash of the content; GONE for a file that has gone since."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > HASHED:
                return f"large {signature}"
            digest = blake2b(digest_size=16)
            while part := file.read(CHUNK):
                digest.update(part)
            return digest.hexdigest()
    except FileNotFoundError:
        return GONE
    except OSError as error:
        return f"unreadable {error.errno} {signature}"


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
