"""The watched files: as they were last seen on the disk, and as they were last accepted.

Accepted is what the last planned run was about. So a broken file is seen and not accepted: undoing it is no change,
and fixing it is one. A comparison stats every file, and reads those whose signature changed or that an event named.
While `ignores_data` is set, during a run, data files are left for later. It knows no tools.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.discovery.tree import ABSENT, is_racy, read_tree, signature_of
from discover_orch.model.conventions import GLOB_CHARACTERS, SKIPPED_FOLDERS, is_skipped_file
from discover_orch.model.errors import Problem
from discover_orch.staleness.affected import ToolInputs, folders_above, meets_input
from discover_orch.staleness.file_hashes import FileHashes, find_data
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.watch.files.debounce import FileCheck
from discover_orch.watch.folder_snapshot import FolderSnapshots

#: Data files up to this many bytes are compared by content; of larger ones the signature counts.
HASHED = 1 << 26
#: The number of latest contents of a file whose meanings are kept.
KEPT_CONTENTS = 16
GONE = ""
#: In place of a signature: a folder, and anything of which only its existence counts.
FOLDER, EXISTS = "/", "+"
NO_INPUTS = ToolInputs()


class FileState(Struct, frozen=True, kw_only=True):
    """`content` is a hash of the bytes, `meaning` a hash of what they mean; both GONE where there is no file."""

    signature: str
    content: str = GONE
    meaning: str = GONE
    problem: Problem | None = None


class SnapshotDiff(Struct, frozen=True, kw_only=True):
    """What a comparison found: `paths` whose meaning changed since the last one, and those that were only saved."""

    paths: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()


class Snapshot:
    """Empty until `configure`. Paths are relative to the root, with `/`."""

    def __init__(
        self, root: str, sources: ImportGraph, is_ignored: Callable[[str], bool] | None = None
    ) -> None:
        self._root, self._sources, self._is_ignored = root, sources, is_ignored
        self._folders: tuple[str, ...] = ()
        self._is_excluded: Callable[[str], bool] | None = None
        self._excluded: set[str] = set()
        self._extras: tuple[str, ...] = ()
        self._plain: frozenset[str] = frozenset()  # extras that are not folders
        self._patterns: tuple[str, ...] = ()
        self._starts: tuple[str, ...] = ()
        self._inputs, self._database_files = NO_INPUTS, frozenset[str]()
        self._data: set[str] = set()  # read as data, whatever their names
        self._listings = FolderSnapshots(root)
        self._seen: dict[str, FileState] = {}
        self._accepted: dict[str, str] = {}
        self._differing: dict[str, Problem | None] = {}
        self._broken: dict[str, Problem] = {}
        self._known: dict[str, dict[str, str]] = {}  # path → its latest contents → their meanings
        self._racy: set[str] = set()
        self.ignores_data = False  # during a run: what it does to data counts when it has ended

    def __len__(self) -> int:
        return sum(state.signature != ABSENT for state in self._seen.values())

    def configure(
        self,
        folders: Iterable[str],
        extras: Iterable[str],
        patterns: Iterable[str],
        is_excluded: Callable[[str], bool] | None = None,
        inputs: ToolInputs = NO_INPUTS,
        database_files: frozenset[str] = frozenset(),
    ) -> tuple[str, ...]:
        """Watch all modules below `folders`; `extras`, whether they exist or not (a folder ends in `/`); the data
        files that match `patterns`; and the observed `inputs` of tools. `database_files` are not data.

        Files that are new to the snapshot are accepted as they are. Returns the others that changed."""
        is_same = self._folders == tuple(folders)
        skips_data = (self._inputs, self._database_files) == (inputs, database_files)
        self._folders, self._patterns = tuple(folders), tuple(dict.fromkeys(patterns))
        self._inputs, self._database_files = inputs, database_files
        self._is_excluded, self._excluded = is_excluded, set()
        self._extras = tuple(path for path in dict.fromkeys(extras) if not self._is_walked(path))
        self._plain = frozenset(path for path in self._extras if path[-1:] != FOLDER)
        self._starts = tuple(dict.fromkeys(map(fixed_part, self._patterns)))
        for path in [path for path in self._seen if not self._counts(path)]:
            del self._seen[path]
            self._accepted.pop(path, None)
            self._update_differing(path)
        self._listings.configure(sorted(inputs.folders), database_files)
        before = self._signatures_of_data()
        known = set(self._seen)
        diff = self.compare(skips_data=skips_data)
        # A missed file is read now, or the other way round: its meaning is of another kind.
        now = self._signatures_of_data()
        known -= {
            path
            for path in before.keys() & now.keys()
            if (before[path] == EXISTS) != (now[path] == EXISTS)
            and ABSENT not in (before[path], now[path])
        }
        # A file in a folder that was walked before is not new to the snapshot: it has just appeared.
        new = {
            path
            for path in self._seen.keys() - known
            if not (known and is_same and self._is_walked(path))
        }
        self.accept(new)
        return tuple(path for path in diff.paths if path not in new)

    def compare(self, hinted: Collection[str] = (), *, skips_data: bool = False) -> SnapshotDiff:
        """Compare the disk with what was last seen; `hinted` files are read whatever their signature says. With
        `skips_data` the known data files are left for later."""
        started = time.time_ns()
        skips_data |= self.ignores_data
        now = self._read_signatures(skips_data)
        seen = self._seen
        again = {path for path in (*hinted, *self._racy) if path in now or path in seen}
        again |= {
            path
            for path, signature in now.items()
            if path not in seen or seen[path].signature != signature
        }
        again |= {path for path in seen.keys() - now.keys() if seen[path].signature != ABSENT}
        skipped = self._racy & self._data if skips_data else set()
        again -= skipped
        self._racy = _find_racy({path: now.get(path, ABSENT) for path in again}, started) | skipped
        diff = self._read_again(again, now, hinted)
        names = set() if skips_data else self._listings.compare() - self._seen.keys()
        if self._is_ignored is not None and names:
            ignored = set(filter(self._is_ignored, names))
            self._listings.accept(ignored)
            names -= ignored
        return replace(diff, paths=(*diff.paths, *sorted(names))) if names else diff

    def compare_paths(self, hinted: Collection[str]) -> SnapshotDiff:
        """Compare these files alone, if each is known and exists; otherwise everything. It is fast; a full `compare`
        must follow."""
        now, started = {}, time.time_ns()
        for path in hinted:
            known = self._seen.get(path)
            if known is None or known.signature == ABSENT or path[-1:] == FOLDER:
                return self.compare(hinted)
            now[path] = self._sign(path)
            if now[path] == ABSENT:
                return self.compare(hinted)
        self._racy |= _find_racy(now, started)
        return self._read_again(hinted, now, hinted)

    def _read_again(
        self, again: Iterable[str], now: Mapping[str, str], hinted: Collection[str]
    ) -> SnapshotDiff:
        """Read these files again, and find out what changed."""
        seen = self._seen
        paths, saved = [], []
        for path in sorted(again):
            before = seen.get(path)
            state = self._read(path, now.get(path, ABSENT))
            known = self._known.setdefault(path, {})
            known[state.content] = state.meaning
            if len(known) > KEPT_CONTENTS:
                del known[next(iter(known))]
            seen[path] = state
            if self._is_ignored is not None and self._is_ignored(path):
                self._accepted[path] = state.meaning
            elif (before.meaning if before else GONE) != state.meaning:
                paths.append(path)
            elif path in hinted or (before and before.content != state.content):
                saved.append(path)
            self._update_differing(path)
        return SnapshotDiff(paths=tuple(paths), saved=tuple(saved))

    def check_file(self, path: str) -> FileCheck:
        """A quick check of a path that an event named: `complete`, `incomplete` (a module that is empty or does not
        parse) or `missing`."""
        full = os.path.join(self._root, path)
        if not self.is_module(path):
            return "complete" if os.path.exists(full) else "missing"
        source = self._sources.refresh(path)
        if source is None:
            return "missing"
        if source.problem is not None:
            return "incomplete"
        is_empty = not (self._sources.data(path) or b"").strip()
        was_empty = path in self._seen and self._seen[path].content == source.hash
        return "incomplete" if is_empty and not was_empty else "complete"

    def differing(self) -> dict[str, Problem | None]:
        """Every path whose meaning differs from the accepted one, with its problem where it has one."""
        names = self._listings.differing()
        return dict(sorted(self._differing.items())) | dict.fromkeys(names - self._seen.keys())

    @property
    def broken(self) -> Mapping[str, Problem]:
        return self._broken

    def differing_names(self) -> set[str]:
        """The paths whose names appeared in or disappeared from a listed folder."""
        return self._listings.differing()

    def _update_differing(self, path: str) -> None:
        """Record whether it differs, so that `differing` need not go through all files."""
        state = self._seen.get(path)
        self._differing.pop(path, None)
        self._broken.pop(path, None)
        if state is None:
            return
        if self._accepted.get(path, GONE) != state.meaning:
            self._differing[path] = state.problem
        if state.problem is not None:
            self._broken[path] = state.problem

    def is_unseen_content(self, path: str, content: str) -> bool:
        """Whether no comparison saw the content with this hash: it was read while the file was being written."""
        return self.exists(path) and content not in self._known.get(path, {})

    def accept(self, paths: Collection[str]) -> None:
        """Accept these as they were last seen."""
        for path in paths:
            if path in self._seen:
                self._accepted[path] = self._seen[path].meaning
                self._update_differing(path)
        self._listings.accept(paths)

    def mark_changed(self, path: str) -> None:
        """It changed after a tool read it: from now on it differs from what was accepted."""
        if path in self._seen:
            self._accepted[path] = GONE if self._seen[path].signature == EXISTS else "?"
            self._update_differing(path)

    def was_present(self, path: str) -> bool:
        """Whether it existed when it was accepted."""
        return self._accepted.get(path, GONE) != GONE

    def is_module(self, path: str) -> bool:
        return path.endswith(".py") and path not in self._data

    def is_listed_name(self, path: str) -> bool:
        """Whether only its name counts, in a listed folder."""
        return path not in self._seen

    def exists(self, path: str) -> bool:
        if path in self._seen:
            return self._seen[path].signature != ABSENT
        return self._listings.has(path)

    def is_relevant(self, path: str, *, is_folder: bool) -> bool:
        """Whether an event for this path can mean that a comparison finds a change."""
        if path in self._seen:
            return not (self.ignores_data and path in self._data)
        if not self.ignores_data and self._listings.has_changed(path):
            return True
        if is_folder:
            below = path + "/"
            if below in self._seen or any(one.startswith(below) for one in self._seen):
                return True
            starts = [start for start in self._starts if start]
            return any(_is_below(path, folder) for folder in (*self._folders, *starts))
        if path.endswith(".py") and any(_is_below(path, folder) for folder in self._folders):
            return True
        return not self.ignores_data and meets_input(path, self._patterns)

    def ignore(self, is_ignored: Callable[[str], bool] | None) -> None:
        """From now on these files do not count."""
        self._is_ignored = is_ignored

    def _counts(self, path: str) -> bool:
        """Whether a comparison can find the file, as configured now."""
        if path in self._inputs.reads or path in self._inputs.missed:
            return path not in self._database_files
        if path in self._plain or self._is_walked(path):
            return True
        return path in self._extras or (
            path not in self._database_files and meets_input(path, self._patterns)
        )

    def _is_walked(self, path: str) -> bool:
        """Whether a walk through the scanned folders finds the file."""
        if not any(_is_below(path, folder) for folder in self._folders):
            return False
        *folders, name = path.rstrip("/").split("/")
        if is_skipped_file(name):
            return False
        if any(one in SKIPPED_FOLDERS or one[:1] == "." for one in (*folders, name)):
            return False
        return self._is_excluded is None or not (
            self._is_excluded(path) or any(map(self._is_excluded, folders_above(path)))
        )

    def _signatures_of_data(self) -> dict[str, str]:
        return {path: self._seen[path].signature for path in self._data if path in self._seen}

    def _read_signatures(self, skips_data: bool) -> dict[str, str]:
        tree = read_tree(
            self._root,
            self._folders,
            excluded=self._excluded,
            is_excluded=self._is_excluded,
            extras=self._plain,
        )
        self._excluded |= tree.excluded
        found = tree.signatures
        for path in self._extras:
            if path[-1:] == FOLDER:
                exists = os.path.isdir(os.path.join(self._root, path))
                found[path] = FOLDER if exists else ABSENT
        data = {path for pattern in self._patterns for path in find_data(self._root, pattern)}
        data |= self._inputs.reads | self._inputs.missed
        self._data = data.difference(found, self._database_files)
        for path in self._data:
            known = self._seen.get(path) if skips_data else None
            found[path] = self._sign(path) if known is None else known.signature
        return found

    def _sign(self, path: str) -> str:
        full = os.path.join(self._root, path)
        signature = signature_of(full)
        if path in self._inputs.missed and path not in self._inputs.reads and path in self._data:
            return EXISTS if signature != ABSENT or os.path.exists(full) else ABSENT
        return signature

    def _read(self, path: str, signature: str) -> FileState:
        if signature in (ABSENT, FOLDER, EXISTS):
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
    """Files that may change again without a new signature: the next comparison reads them once more."""
    return {
        path
        for path, one in signatures.items()
        if one not in (FOLDER, EXISTS) and is_racy(one, started)
    }


def fixed_part(pattern: str) -> str:
    """The part of a pattern before its first wildcard: `data` of `data/*.csv`, all of `data/raw`."""
    parts = os.path.normpath(pattern).replace(os.sep, "/").split("/")
    fixed = []
    for part in parts:
        if GLOB_CHARACTERS & set(part):
            break
        fixed.append(part)
    return "/".join(fixed)


def _is_below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(folder + "/")


def read_head(root: str) -> str:
    """What git has checked out, "" where there is no repository."""
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
