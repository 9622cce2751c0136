"""The names in folders that tools were seen to list: what stands there, beside what was accepted.

In: folders, relative to the root, "." for the root itself. Out: paths of names that came or went; what stands in a
file is no matter here. A folder is listed again only where its signature is another one. Left out is what is
nobody's input: noise, what editors put beside a file, the project's database.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator

from discover_orch.discovery.tree import ABSENT, is_racy
from discover_orch.model.observation import SIDE_FILES, is_noise
from discover_orch.watch.files.subscriptions import NOISE

_EMPTY: frozenset[str] = frozenset()


class FolderSnapshots:
    """Of no folder before `arrange`."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._nobodys: frozenset[str] = _EMPTY
        self._signatures: dict[str, str] = {}  # "" where the next look must list
        self._seen: dict[str, frozenset[str]] = {}
        self._accepted: dict[str, frozenset[str]] = {}

    def arrange(self, folders: Iterable[str], nobodys: frozenset[str]) -> None:
        """Look at these from now on; one that is new is accepted as it stands."""
        wanted = tuple(folders)
        if nobodys != self._nobodys:
            self._nobodys = nobodys
            for folder, names in self._accepted.items():
                self._accepted[folder] = frozenset(self._kept(folder, names))
            self._signatures.clear()
        for folder in self._seen.keys() - {*wanted}:
            del self._seen[folder], self._accepted[folder]
            self._signatures.pop(folder, None)
        new = [folder for folder in wanted if folder not in self._seen]
        for folder in new:
            self._seen[folder] = self._accepted[folder] = _EMPTY
        self._look(new)
        self._accepted |= {folder: self._seen[folder] for folder in new}

    def look(self) -> set[str]:
        """The paths of names that have come or gone since the last look."""
        return self._look(self._seen)

    def differing(self) -> set[str]:
        """The paths of names that are there and were not when they were accepted, or the other way round."""
        return {
            _path(folder, name)
            for folder, names in self._seen.items()
            if names is not self._accepted[folder]
            for name in names ^ self._accepted[folder]
        }

    def accept(self, paths: Collection[str]) -> None:
        for path in paths:
            folder, name = split(path)
            names = self._seen.get(folder)
            if names is None or names is self._accepted[folder]:
                continue
            accepted = self._accepted[folder] - {name} | names & {name}
            self._accepted[folder] = names if accepted == names else accepted

    def has(self, path: str) -> bool:
        folder, name = split(path)
        return name in self._seen.get(folder, _EMPTY)

    def is_news(self, path: str) -> bool:
        """Whether the name has come or gone since the last look."""
        folder, name = split(path)
        names = self._seen.get(folder)
        if names is None or not any(self._kept(folder, (name,))):
            return False
        return os.path.lexists(os.path.join(self._root, path)) != (name in names)

    def _look(self, folders: Collection[str]) -> set[str]:
        found: set[str] = set()
        for folder in folders:
            started = time.time_ns()
            full = os.path.join(self._root, folder)
            signature = _sign(full)
            if signature == self._signatures.get(folder):
                continue
            is_sure = signature == ABSENT or not is_racy(signature, started)
            self._signatures[folder] = signature if is_sure else ""
            try:
                names = frozenset(self._kept(folder, os.listdir(full)))
            except OSError:
                names = _EMPTY
            before = self._seen[folder]
            if names != before:
                found.update(_path(folder, name) for name in names ^ before)
                accepted = self._accepted[folder]
                self._seen[folder] = accepted if names == accepted else names
        return found

    def _kept(self, folder: str, names: Collection[str]) -> Iterator[str]:
        present = {*names}
        for name in names:
            if not (
                is_noise(name)
                or NOISE.search(name)
                or _path(folder, name) in self._nobodys
                or any(name.endswith(end) and name[: -len(end)] in present for end in SIDE_FILES)
            ):
                yield name


def split(path: str) -> tuple[str, str]:
    """The folder of a path, "." for the root, and its name there."""
    folder, _, name = path.rpartition("/")
    return folder or ".", name


def _path(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _sign(full: str) -> str:
    try:
        st = os.stat(full)
    except OSError:
        return ABSENT
    return f"{st.st_ino} {st.st_mtime_ns} {st.st_ctime_ns}"
