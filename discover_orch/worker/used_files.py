"""What became of the files whose paths `audit_hook` and `traced_uses` have noted. Each is looked at once, when the
tool has ended."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from functools import cache

from discover_orch.model.keys import file_key
from discover_orch.model.observation import NOISE, NOISY_ENDS, Use, file_mark, list_paths
from discover_orch.worker.audit_hook import AuditHook
from discover_orch.worker.observed_paths import (
    ObservedPaths,
    StepFiles,
    find_temporary,
    parent_folders,
)
from discover_orch.worker.opened_databases import compare_databases
from discover_orch.worker.path_questions import real_lstat, real_stat
from discover_orch.worker.traced_uses import TracedUses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from discover_orch.model.observation import Kind
    from discover_orch.worker.shared_uses import ModuleUses


class UsedFiles:
    """The files of the step that has ended last."""

    def __init__(self, audit: AuditHook, uses: ModuleUses, paths: ObservedPaths) -> None:
        self._audit, self._uses, self._paths = audit, uses, paths
        self._opened: dict[str, None] = {}
        self.has_opened_database = False  # the project's, as a file

    def inspect(self, seen: StepFiles, traced: TracedUses) -> None:
        """Adds what was noted."""
        self._opened = self._uses.find_opened()
        self._find_changed(seen, traced)
        self._find_read(seen, traced)
        self._find_missed(seen, traced)
        compare_databases(self._audit.connected.copy(), self._paths, seen)
        self._find_listed(seen)
        self._find_asked(seen, traced)
        for path in (*seen.removed, *seen.written):
            seen.missed.pop(path, None)

    def _find_changed(self, seen: StepFiles, traced: TracedUses) -> None:
        """What was written, removed and made; paths through links also by their real names."""
        audit, written = self._audit, seen.written
        real_folders: dict[str, str] = {}
        for path, was_there in audit.changed.copy().items():
            shown = self._paths.show(path)
            if self._paths.is_noise(shown) and not self._paths.is_hidden(shown):
                continue
            folder, _, name = path.rpartition(os.sep)
            if folder not in real_folders:
                real_folders[folder] = os.path.realpath(folder)
            real = os.path.join(real_folders[folder], name)
            both = {
                one: None
                for one in (shown, self._paths.show(real))
                if not self._paths.is_noise(one)
            }
            try:
                found = real_lstat(path)
            except OSError:
                if was_there:
                    seen.removed.update(both)
                continue
            if stat.S_ISDIR(found.st_mode):
                if not was_there:
                    seen.folders_made.update(both)
                continue
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
                continue  # what passes through a pipe is not kept
            if stat.S_ISLNK(found.st_mode) and path not in audit.link_targets:
                real = os.path.realpath(path)
            seen.inodes.add(found.st_ino)
            is_appended = path in audit.appended and path not in self._opened
            written[shown] = is_appended
            if was_there and path in self._opened:
                seen.updated.add(shown)
                seen.reread.update(() if path in traced.in_place else (shown,))
            if not was_there:
                seen.created.update(both)
            if (
                real != path
                and os.path.exists(path)
                and not self._paths.is_noise(self._paths.show(real))
            ):
                real = self._paths.show(real)
                written[real] = is_appended and written.get(real, True)

    def _find_read(self, seen: StepFiles, traced: TracedUses) -> None:
        """Adds what was read, and what Python missed."""
        read, missed, written, inodes = seen.read, seen.missed, seen.written, seen.inodes
        starts: dict[str, str | None] = {}  # of folders: many files are in few of them
        real_folder = cache(os.path.realpath)
        own = self._paths.own.union(written)
        database_files, database_inode = self._paths.database_files, self._paths.find_inode()
        link_targets, states = self._audit.link_targets, traced.states
        plain = set[str]() if link_targets else traced.plain  # of these nothing needs to be asked
        for path in self._opened:  # may be many: without calls that can be avoided
            if path in link_targets and self._paths.show(path) in written:  # made by the tool
                path = link_targets[path] or os.path.realpath(path)
            if path in database_files:
                self.has_opened_database |= os.path.exists(path)
                continue
            folder, _, name = path.rpartition(os.sep)
            if folder not in starts:
                starts[folder] = self._paths.start_of(folder)
            start = starts[folder]
            if start is None:
                self._note_hidden(path, seen, states)
                continue
            if name in NOISE or name.endswith(NOISY_ENDS):
                continue
            shown = start + name
            if shown in own:
                continue
            is_plain = path in plain and real_folder(folder) == folder
            if is_plain and int(states[path].split()[2]) not in inodes:
                read[shown] = states[path]
                continue
            try:
                found = real_lstat(path)
                is_link = stat.S_ISLNK(found.st_mode)
                found = real_stat(path) if is_link else found
            except (FileNotFoundError, NotADirectoryError):
                # Whoever made it must run before this tool.
                if path in states or shown in seen.removed:
                    read[shown] = states.get(path, "")
                elif self._is_missed(path, shown):
                    missed[shown] = None
            except OSError:
                read[shown] = ""
            except ValueError:  # not a path
                continue
            else:
                if not stat.S_ISREG(found.st_mode):
                    continue
                if found.st_ino in inodes and self._paths.show(os.path.realpath(path)) in written:
                    continue  # a link to a file that the tool wrote
                if found.st_ino == database_inode:  # a link to it
                    self.has_opened_database = True
                    continue
                read[shown] = states.get(path) or file_mark(found)
                if is_link or real_folder(folder) != folder:
                    # Another tool may have written it under its real name.
                    real = os.path.realpath(path) if is_link else f"{real_folder(folder)}/{name}"
                    real = self._paths.show(real)
                    if real not in own and not self._paths.is_noise(real):
                        read[real] = read[shown]

    def _note_hidden(self, path: str, seen: StepFiles, states: Mapping[str, str]) -> None:
        if self._paths.is_hidden(path) and path not in seen.written:
            with contextlib.suppress(OSError):
                seen.hidden[path] = states.get(path) or file_mark(real_stat(path))

    def _find_missed(self, seen: StepFiles, traced: TracedUses) -> None:
        """Adds what native code and child processes looked for. Another program may have made it since."""
        for path in traced.missed.keys() - self._opened.keys():
            shown = self._paths.show(path)
            if not self._paths.is_noise(shown) and self._is_missed(path, shown):
                seen.missed[shown] = None

    def _is_missed(self, path: str, shown: str) -> bool:
        """Whether a file that is not there was not there when the tool opened it either."""
        is_made_up = shown[0] == "<" and shown[-1] == ">"  # the "file" of generated code
        has_changed = path in self._audit.changed or self._is_in_changed_folder(path)
        return not (is_made_up or has_changed)

    def _find_listed(self, seen: StepFiles) -> None:
        """Adds the names that were in folders, less what the step has removed since, and with what it has made: that
        is its own work."""
        made = _group(seen.created, seen.written, seen.folders_made)
        removed, data = _group(seen.removed), _group(seen.read)

        def read(folder: str, names: str) -> str:
            found = {*names.split("/")} if names else set[str]()
            found |= made.get(folder, set())
            return list_paths(folder, found - removed.get(folder, set()), self._paths.own)

        for path, names in self._audit.listed.copy().items():
            if names is None:
                shown = self._paths.show(path)
                is_missed = not self._is_in_changed_folder(path) and not os.path.isdir(path)
                if is_missed and not self._paths.is_noise_folder(shown):
                    seen.missed[shown or "."] = None
                continue
            for shown in self._find_folders(path):
                seen.listed[shown] = read(shown, names)
        for path, names in self._audit.searched.copy().items():
            for shown in self._find_folders(path):
                start = "" if shown == "." else f"{glob_escape(shown)}/"
                listed = read(shown, names or "").split("\0")
                modules = [one for one in listed if one.endswith(".py")]
                packages = (f"{one}/__init__.py" for one in listed if one and one not in modules)
                inside = [one for one in packages if os.path.exists(self._paths.full(one))]
                # A program that looks for modules may look for data beside them too.
                for end in {os.path.splitext(one)[1] for one in data.get(shown, ())} - {"", ".py"}:
                    matched = [one for one in listed if one.endswith(end)]
                    seen.globs[f"{start}*{end}"] = "\0".join(matched) or "\0"
                seen.globs[f"{start}*.py"] = "\0".join(modules) or "\0"
                seen.globs[f"{start}*/__init__.py"] = "\0".join(sorted(inside)) or "\0"

    def _find_folders(self, path: str) -> Iterator[str]:
        """A folder that was listed, as it is shown, also by its real name. One that the step has made does not count,
        nor the folder for temporary files itself, in which names come and go."""
        if self._audit.folder_changes.get(path) or path == find_temporary():
            return
        for shown in dict.fromkeys(
            (self._paths.show(path) or ".", self._paths.show(os.path.realpath(path)))
        ):
            if shown and (shown == "." or not self._paths.is_noise_folder(shown)):
                yield shown

    def _find_asked(self, seen: StepFiles, traced: TracedUses) -> None:
        """Adds the paths that were there when the tool asked, folders with a slash, and the sizes and times that it
        asked for; those that were not there to `missed`, and to `listed` the folders whose time it asked for."""
        own = {*seen.written, *seen.removed, *seen.folders_made}
        read, listed = seen.read, seen.listed
        answers, sizes, targets = self._audit.questions.find()
        answers = {**traced.asked, **answers}
        targets = {**traced.followed, **self._audit.followed.copy(), **targets}
        starts: dict[str, str | None] = {}  # of folders: many paths are in few of them
        for path, answer in answers.items():
            folder, _, name = path.rpartition(os.sep)
            if folder not in starts:
                is_inside = self._paths.is_root(folder) or self._paths.relative(folder)
                starts[folder] = self._paths.start_of(folder) if is_inside else None
            start = starts[folder]
            if start is None or name in NOISE or name.endswith(NOISY_ENDS):
                continue
            shown = start + name
            is_scratch = (
                self._audit.changed.get(path) is False
            )  # made by the step, and perhaps gone
            if is_scratch or shown in own or shown in self._paths.own:
                continue
            if self._is_in_changed_folder(path):
                continue
            if path in sizes and answer is not None:
                is_folder, size, time = answer
                if is_folder and shown not in listed:
                    with contextlib.suppress(OSError):
                        listed[shown] = list_paths(shown, os.listdir(path), self._paths.own)
                elif not is_folder:
                    seen.measured[shown] = f"{size} {time}"
            if shown in read or shown in listed or (start[:-1] or ".") in listed:
                continue  # that says whether it was there, and more
            if answer is None:
                seen.missed[shown] = None
            else:
                seen.asked[f"{shown}/" if answer[0] else shown] = None

        self._find_links(seen, own, targets)

    def _find_links(
        self, seen: StepFiles, own: Collection[str], targets: Mapping[str, str]
    ) -> None:
        """Adds where the links lead to that the tool followed. The root and the folders above it do not count."""
        for path, target in targets.items():
            shown = self._paths.show(path)
            is_above = self._paths.root.startswith(path.rstrip(os.sep) + os.sep)
            if is_above or self._paths.is_noise(shown) or shown in own:
                continue
            seen.links[shown] = target
            if os.path.exists(path) and not os.path.isabs(shown):
                seen.asked[shown] = None

    def find_written(self, seen: StepFiles) -> Iterator[Use]:
        """What was written, with its state. The next tool may change it at once."""
        for path, is_appended in seen.written.items():
            kind: Kind = "updated" if path in seen.updated else "written"
            if self._paths.is_scratch(path):
                kind = "scratch"
            elif is_appended:
                kind = "appended"
            state = ""
            with contextlib.suppress(OSError, ValueError):
                state = file_mark(os.stat(self._paths.full(path)))
            yield Use(file_key(path), kind, state)
            if path in seen.reread:
                yield Use(file_key(path), "reread", state)

    def _is_in_changed_folder(self, path: str) -> bool:
        """Whether the path was in a folder that the tool made, moved or removed, and that is gone."""
        folder_changes = self._audit.folder_changes
        return bool(folder_changes) and any(
            one in folder_changes and not os.path.exists(one)
            for one in (path, *parent_folders(path))
        )


def _group(*groups: Iterable[str]) -> dict[str, set[str]]:
    """The names of these paths, by their folders."""
    found: dict[str, set[str]] = {}
    for path in (path for paths in groups for path in paths):
        folder, _, name = path.rpartition("/")
        found.setdefault(folder or ".", set()).add(name)
    return found


def glob_escape(path: str) -> str:
    """As `glob.escape`, whose module few tools import."""
    return re.sub(r"([*?[])", r"[\1]", path)
