"""The names in folders that tools were seen to list: as they were last seen, and as they were last accepted.

Paths are relative to the root, "." is the root itself. What a file contains does not count here. A folder is listed
again only when its signature changed. Noise, files that editors put beside others, and the project's database do not
count.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator

from discover_orch.discovery.tree import ABSENT, build_signature, is_racy
from discover_orch.model.observation import SIDE_FILES, is_noise
from discover_orch.watch.files.subscriptions import NOISE

_EMPTY: frozenset[str] = frozenset()


class FolderSnapshots:
    """Of no folder before `configure`."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._database_files: frozenset[str] = _EMPTY
        self._signatures: dict[str, str] = {}  # "" where the next comparison must list
        self._seen: dict[str, frozenset[str]] = {}
        self._accepted: dict[str, frozenset[str]] = {}

    def configure(self, folders: Iterable[str], database_files: frozenset[str]) -> None:
        """Watch these from now on; a new one is accepted as it is."""
        wanted = tuple(folders)
        if database_files != self._database_files:
            self._database_files = database_files
            for folder, names in self._accepted.items():
                self._accepted[folder] = frozenset(self._kept(folder, names))
            self._signatures.clear()
        for folder in self._seen.keys() - {*wanted}:
            del self._seen[folder], self._accepted[folder]
            self._signatures.pop(folder, None)
        new = [folder for folder in wanted if folder not in self._seen]
        for folder in new:
            self._seen[folder] = self._accepted[folder] = _EMPTY
        self._compare(new)
        self._accepted |= {folder: self._seen[folder] for folder in new}

    def compare(self) -> set[str]:
        """The paths of names that appeared or disappeared since the last comparison."""
        return self._compare(self._seen)

    def differing(self) -> set[str]:
        """The paths of names that appeared or disappeared since they were accepted."""
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

    def has_changed(self, path: str) -> bool:
        """Whether the name appeared or disappeared since the last comparison."""
        folder, name = split(path)
        names = self._seen.get(folder)
        if names is None or not any(self._kept(folder, (name,))):
            return False
        return os.path.lexists(os.path.join(self._root, path)) != (name in names)

    def _compare(self, folders: Collection[str]) -> set[str]:
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
                or _path(folder, name) in self._database_files
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
    return build_signature(st)
