"""The files that count for a watch, as they were when the status last judged them, and which of them differ now.

A file differs if its mark does. What a difference means is not known here: that is the matter of the status. No
tools are known here either.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from itertools import takewhile
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.file import OWN_FILE, SHARED_FILE
from discover_orch.config.project import Project
from discover_orch.discovery.scanner import build_matcher, scanned_places
from discover_orch.discovery.tree import (
    ABSENT,
    VENV_MARKER,
    is_racy,
    read_file_mark,
    read_tree,
    stat_file,
)
from discover_orch.model.conventions import CONF_FILE, GLOB_CHARACTERS, SQL_SUFFIX, TOOL_SUFFIXES
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.staleness.input_versions import find_data, hash_file, meets_input, read_mark
from discover_orch.staleness.live_status import Paths
from discover_orch.staleness.tool_result import EXISTS

CONFIG_FILES = (OWN_FILE, SHARED_FILE)


def config_files(project: Project) -> tuple[str, ...]:
    """The files that the settings of the project come from, relative to the root."""
    return (*CONFIG_FILES, *([os.path.normpath(project.env_file)] if project.env_file else ()))


#: More folders than this below a common one are subscribed to through that one.
MANY_FOLDERS = 16


#: What counts of a path: what is in the file, as source or configuration, or as data; its name alone; or nothing.
Kind = Literal["code", "data", "name", ""]
Matcher = Callable[[str], bool]


class Watched(Struct, frozen=True):
    """What counts for a watch: all modules in the `scanned` folders that are not excluded, and these paths. A folder
    that is missing now may come back."""

    scanned: tuple[str, ...] = ()
    paths: Paths = Paths()
    is_excluded: Matcher | None = None

    def kind(self, path: str) -> Kind:
        if path in self.paths.code or (path.endswith(".py") and self._is_scanned(path)):
            return "code"
        if path in self.paths.data or meets_input(path, self.paths.globs):
            return "data"  # which a file of SQL can be too
        if path.endswith(SQL_SUFFIX) and self._is_scanned(path):
            return "code"
        return "name" if (path.rpartition("/")[0] or ".") in self.paths.listed else ""

    def has_scanned(self, path: str) -> bool:
        """Whether the path is in a scanned folder, excluded or not."""
        return any(is_below(path, folder) for folder in self.scanned)

    def _is_scanned(self, path: str) -> bool:
        return self.has_scanned(path) and not (
            self.is_excluded is not None and self.is_excluded(path)
        )


class WatchedFiles:
    """Watches nothing until `configure`. Paths are relative to the root, with `/`."""

    def __init__(self, root: str, sources: ImportGraph) -> None:
        self._root, self.sources = root, sources
        self._configured: tuple[Project, Paths, tuple[str, ...]] | None = None
        self._watched = Watched()
        self._entries: tuple[str, ...] = ()  # folders in which a module may appear
        self._is_ignored: Matcher | None = None
        self._excluded: set[str] = set()
        self._seen: dict[str, str] = {}  # path → mark, of what is there
        #: What the last comparison missed, and is not noted yet.
        self._missed: set[str] = set()
        #: What may change again without a new mark, with a hash of what it had.
        self._racy: dict[str, str] = {}
        self.skips_data = False  # during a run: what it does to data counts when it has ended

    def __len__(self) -> int:
        return sum(mark[:1] != EXISTS for mark in self._seen.values())

    @property
    def paths(self) -> Paths:
        return self._watched.paths

    def configure(self, project: Project, paths: Paths) -> list[str]:
        """Watch the project and what its status depends on from now on. Returns what is new here: it may have changed
        since it was judged."""
        scanned = tuple(scanned_places(project))
        if (project, paths, scanned) == self._configured:
            return []
        is_first, before = self._configured is None, self._watched
        self._configured = project, paths, scanned
        self._entries, self._excluded = project.pythonpath, set()
        ignored = project.watch.get("ignore")
        self._is_ignored = build_matcher(ignored if isinstance(ignored, tuple | list) else ())
        self._watched = Watched(
            scanned=scanned,
            paths=replace(paths, code=paths.code | {CONF_FILE, *config_files(project)}),
            is_excluded=build_matcher(project.exclude),
        )
        now, kind = self._read_marks(), self._watched.kind
        # What counted before in the same way has just appeared or changed.
        new = [path for path in now if kind(path) != before.kind(path)]
        self._note({path: now[path] for path in new})
        self._note({path: ABSENT for path in self._seen.keys() - now.keys() if not kind(path)})
        folders = [f"{folder}/" for folder in sorted(paths.listed - before.paths.listed)]
        return [] if is_first else [*(path for path in new if kind(path) != "name"), *folders]

    def find_changed(self) -> dict[str, str]:
        """The paths that differ from when they were last noted, each with its present mark."""
        now, seen = self._read_marks(), self._seen
        found = {path: one for path, one in now.items() if seen.get(path, ABSENT) != one}
        self._missed = seen.keys() - now.keys()
        found |= dict.fromkeys(self._missed, ABSENT)
        for path, content in [*self._racy.items()]:
            if path not in found and not (self.skips_data and self._is_data(path)):
                if self._read_hash(path) != content:
                    found[path] = f"?{now[path]}"
                elif not is_racy(now[path], time.time_ns()):
                    del self._racy[path]
        if self._is_ignored is None:
            return found
        return {path: one for path, one in found.items() if not self._is_ignored(path)}

    def resolve(self, hinted: Collection[str]) -> list[str]:
        """What must be judged after events for these paths: themselves, where each is a known file that exists;
        otherwise also all else that differs."""
        if all(map(self._is_known_file, hinted)):
            return [*hinted]
        return sorted({*self.find_changed(), *self._seen.keys() & {*hinted}})

    def note(self, paths: Collection[str]) -> None:
        """These, which were found to differ or resolved, are about to be judged as they are now."""
        kinds = {path: self._watched.kind(path) for path in paths}
        known = [path for path, kind in kinds.items() if kind or path in self._seen]
        now = {path: self._sign(path) for path in known}
        there = [path for path in known if path in self._missed and now[path] != ABSENT]
        if there:  # in a folder that is no longer searched, or back
            now |= dict.fromkeys({*there} - self._read_marks().keys(), ABSENT)
        self._note(now)
        self._missed.difference_update(known)

    def _note(self, now: Mapping[str, str]) -> None:
        started = time.time_ns()
        for path, mark in now.items():
            self._racy.pop(path, None)
            self._seen.pop(path, None)
            if mark != ABSENT:
                self._seen[path] = mark
                if mark[:1] != EXISTS and is_racy(mark, started):
                    self._racy[path] = self._read_hash(path)

    # What an event is worth.

    def is_relevant(self, path: str, *, is_folder: bool) -> bool:
        """Whether an event for this path can mean that something differs."""
        if self._is_ignored is not None and self._is_ignored(path):
            return False
        kind = self._watched.kind(path)
        is_left = self.skips_data and kind != "code"
        if kind in ("code", "data") and not is_left:
            return True
        if path.endswith(f"/{VENV_MARKER}") and self._watched.has_scanned(path):
            return True  # the modules beside it count no more, or again
        if kind == "name" and not is_left and (self._sign(path) != ABSENT) != (path in self._seen):
            return True
        if not is_folder:
            return False
        if any(is_below(one, path) for one in self._seen):
            return True
        starts = [start for one in self.paths.globs if (start := fixed_part(one))]
        return any(is_below(path, folder) for folder in (*self._watched.scanned, *starts))

    def is_complete(self, path: str) -> bool:
        """Whether it is there, and no module that is empty or does not parse."""
        if not self.is_module(path):
            return os.path.lexists(os.path.join(self._root, path))
        source = self.sources.files.look_at(path)
        if source is None or source.problem is not None:
            return False
        size = source.mark.split(" ")[0].removeprefix("?")  # it may change again unseen
        was_empty = self._seen.get(path, ABSENT).split(" ")[0] == size
        return not source.is_blank or was_empty

    def has_event(self, path: str, mark: str) -> bool:
        """Whether the system announces the change to this mark: not where only the permissions changed."""
        return self._seen.get(path, ABSENT).split(" ")[:3] != mark.split(" ")[:3]

    def exists(self, path: str) -> bool:
        """Whether it existed when it was last noted."""
        return path in self._seen

    def is_module(self, path: str) -> bool:
        return path.endswith(TOOL_SUFFIXES) and self._watched.kind(path) in ("code", "")

    def folders(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The folders to subscribe to: with everything below them, and alone."""
        paths = self.paths
        deep = [*self._watched.scanned]
        deep += [path.split("/", 1)[0] for path in paths.code if "/" in path.rstrip("/")]
        flat = ["", *(os.path.normpath(entry) for entry in self._entries)]
        by_top: dict[str, set[str]] = {}
        for folder in {path.rpartition("/")[0] for path in paths.data} | paths.listed:
            by_top.setdefault(folder.split("/", 1)[0], set()).add(folder)
        for group in by_top.values():
            if len(group) > MANY_FOLDERS:
                deep.append(os.path.commonpath(sorted(group)))
            else:
                flat += sorted(group)
        for pattern in paths.globs:
            start = fixed_part(pattern)
            rest = os.path.normpath(pattern)[len(start) :].strip("/")
            is_folder = os.path.isdir(os.path.join(self._root, start))
            if "/" in rest or "**" in rest or (not rest and is_folder):
                deep.append(start)
            else:
                flat.append(start if rest else start.rpartition("/")[0])
        tops = tuple(dict.fromkeys(deep))
        deep = [one for one in tops if not any(one != top and is_below(one, top) for top in tops)]
        flat = ["" if one == "." else one for one in flat]
        return tuple(deep), tuple(one for one in dict.fromkeys(flat) if one not in deep)

    # The disk.

    def _read_marks(self) -> dict[str, str]:
        root, paths = self._root, self.paths
        tree = read_tree(
            root,
            self._watched.scanned,
            excluded=self._excluded,
            is_excluded=self._watched.is_excluded,
            extras=[path for path in paths.code if path[-1:] != "/"],
        )
        self._excluded |= tree.excluded
        found = tree.marks
        for path in paths.code:
            if path[-1:] == "/":
                found[path] = _read_mark(os.path.join(root, path))
        if self.skips_data:
            return {path: one for path, one in self._seen.items() if self._is_data(path)} | found
        matched = {path for one in paths.globs for path in find_data(root, one)}
        data = {
            path: _read_mark(os.path.join(root, path))
            for path in (matched | paths.data).difference(found)
        }
        for folder in paths.listed:
            start = "" if folder == "." else f"{folder}/"
            for name in self._list(folder):
                data.setdefault(start + name, EXISTS)
        return data | found

    def _is_data(self, path: str) -> bool:
        return self._watched.kind(path) in ("data", "name")

    def _sign(self, path: str) -> str:
        full = os.path.join(self._root, path)
        match self._watched.kind(path):
            case "code" if path[-1:] != "/":
                return read_file_mark(full)
            case "name":
                return EXISTS if os.path.lexists(full) else ABSENT
            case _:
                return _read_mark(full)

    def _read_hash(self, path: str) -> str:
        full = os.path.join(self._root, path)
        found = stat_file(full)
        return ABSENT if found is None else hash_file(full, found)[0]

    def _list(self, folder: str) -> list[str]:
        try:
            return os.listdir(os.path.join(self._root, folder))
        except OSError:
            return []

    def _is_known_file(self, path: str) -> bool:
        return path in self._seen and path[-1:] != "/" and self._sign(path) != ABSENT


def _read_mark(full: str) -> str:
    """With its target where a link leads to no file: to a folder, or to nothing."""
    mark = read_mark(full)
    with contextlib.suppress(OSError):  # it is no link
        return mark + os.readlink(full) if mark == EXISTS else mark
    return mark


def fixed_part(pattern: str) -> str:
    """The part of a pattern before its first wildcard: `data` of `data/*.csv`, all of `data/raw`."""
    parts = os.path.normpath(pattern).replace(os.sep, "/").split("/")
    return "/".join(takewhile(GLOB_CHARACTERS.isdisjoint, parts))


def is_below(path: str, folder: str) -> bool:
    """Whether the path is the folder, or inside it; everything is inside the root."""
    return not folder or path == folder or path.startswith(folder + "/")
