"""What became of the files whose paths `audit_hook` has noted. Each is looked at once, when the tool has ended."""

from __future__ import annotations

import contextlib
import os
import stat
from functools import cache

from discover_orch.model.observation import NOISE, NOISY_ENDS, Use, file_state, list_paths
from discover_orch.worker.audit_hook import AuditHook
from discover_orch.worker.observed_paths import ObservedPaths, StepFiles, parent_folders
from discover_orch.worker.opened_databases import compare_databases
from discover_orch.worker.path_questions import real_lstat, real_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from discover_orch.model.observation import Kind, Via


class UsedFiles:
    """The files of the step that has ended last."""

    def __init__(self, audit: AuditHook, paths: ObservedPaths) -> None:
        self._audit, self._paths = audit, paths
        self.has_opened_database = False  # the project's, as a file

    def inspect(self, seen: StepFiles) -> None:
        """Adds what Python showed."""
        self._find_changed(seen)
        left_out = self._find_read(seen)
        seen.aside_written = self._find_aside(self._audit.changed.copy())
        seen.aside_read = self._find_aside(left_out)
        seen.aside_appended = {
            *self._find_aside(self._audit.appended.keys() - self._audit.opened.keys())
        }
        for path in seen.aside_written:
            seen.aside_read.pop(path, None)
        compare_databases(self._audit.connected.copy(), self._paths, seen)
        self._find_listed(seen)
        self._find_asked(seen)
        for path in (*seen.removed, *seen.written):
            seen.missed.pop(path, None)

    def _find_changed(self, seen: StepFiles) -> None:
        """What was written, removed and made; paths through links also by their real names."""
        audit, written = self._audit, seen.written
        real_folders: dict[str, str] = {}
        for path, was_there in audit.changed.copy().items():
            shown = self._paths.show(path)
            if self._paths.is_noise(shown):
                if was_there and self._paths.is_aside(shown) and not os.path.lexists(path):
                    seen.removed[shown] = None
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
            if stat.S_ISLNK(found.st_mode) and path not in audit.link_targets:
                real = os.path.realpath(path)
            seen.inodes.add(found.st_ino)
            is_appended = path in audit.appended and path not in audit.opened
            written[shown] = is_appended
            if was_there and path in audit.opened:
                seen.updated.add(shown)
            if not was_there:
                seen.created.update(both)
            if (
                real != path
                and os.path.exists(path)
                and not self._paths.is_noise(self._paths.show(real))
            ):
                real = self._paths.show(real)
                written[real] = is_appended and written.get(real, True)

    def _find_read(self, seen: StepFiles) -> list[str]:
        """Adds what was read and missed. Those that are left out, in folders that do not count."""
        left_out: list[str] = []
        read, missed, written, inodes = seen.read, seen.missed, seen.written, seen.inodes
        starts: dict[str, str | None] = {}  # of folders: many files are in few of them
        real_folder = cache(os.path.realpath)
        own = self._paths.own.union(written)
        database_files, database_inode = self._paths.database_files, self._paths.find_inode()
        link_targets = self._audit.link_targets
        for path in self._audit.opened.copy():  # may be many: without calls that can be avoided
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
                left_out.append(path)
                continue
            if name in NOISE or name.endswith(NOISY_ENDS):
                continue
            shown = start + name
            if shown in own:
                continue
            try:
                found = real_lstat(path)
                is_link = stat.S_ISLNK(found.st_mode)
                if is_link:
                    found = real_stat(path)
            except (FileNotFoundError, NotADirectoryError):
                if shown in seen.removed:  # whoever made it must run before this tool
                    read[shown] = ""
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
                read[shown] = file_state(found)
                if is_link or real_folder(folder) != folder:
                    # Another tool may have written it under its real name.
                    real = os.path.realpath(path) if is_link else f"{real_folder(folder)}/{name}"
                    shown_real = self._paths.show(real)
                    if shown_real not in own and not self._paths.is_noise(shown_real):
                        read[shown_real] = read[shown]
        return left_out

    def _is_missed(self, path: str, shown: str) -> bool:
        """Whether a file that is not there was not there when the tool opened it either."""
        is_made_up = shown[0] == "<" and shown[-1] == ">"  # the "file" of generated code
        has_changed = path in self._audit.changed or self._is_in_changed_folder(path)
        return not (is_made_up or has_changed)

    def _find_aside(self, paths: Iterable[str]) -> dict[str, str]:
        """Those of these files that are there and count once one tool has written and another one has read them."""
        found: dict[str, str] = {}
        for path in paths:
            if self._paths.is_aside(shown := self._paths.show(path)):
                with contextlib.suppress(OSError, ValueError):
                    state = real_stat(path)
                    if stat.S_ISREG(state.st_mode):
                        found[shown] = file_state(state)
        return found

    def _find_listed(self, seen: StepFiles) -> None:
        for path in self._audit.listed.copy():
            folder = self._paths.show(path) or "."
            if folder != "." and self._paths.is_noise_folder(folder):
                continue
            try:
                names = os.listdir(path)
                for shown in dict.fromkeys((folder, self._paths.show(os.path.realpath(path)))):
                    if shown and (shown == "." or not self._paths.is_noise_folder(shown)):
                        seen.listed[shown] = list_paths(shown, names, self._paths.own)
            except FileNotFoundError:
                if not self._is_in_changed_folder(path):
                    seen.missed[folder] = None
            except (OSError, ValueError):
                continue

    def _find_asked(self, seen: StepFiles) -> None:
        """Adds the paths that were there when the tool asked, folders with a slash, and the sizes and times that it
        asked for; those that were not there to `missed`, and to `listed` the folders whose time it asked for."""
        own = {*seen.written, *seen.removed, *seen.folders_made}
        read, listed = seen.read, seen.listed
        answers, sizes, targets = self._audit.questions.find()
        made = self._audit.folder_changes
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
            if shown in own or shown in self._paths.own:
                continue
            if made and any(one in made for one in (path, *parent_folders(path))):
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
                seen.asked.append(f"{shown}/" if answer[0] else shown)

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
                seen.asked.append(shown)

    def find_written(self, seen: StepFiles) -> Iterator[Use]:
        """What was written, with its state. The next tool may change it at once."""
        kinds: dict[str, tuple[Kind, Via]] = {
            path: (
                "appended" if is_appended else "updated" if path in seen.updated else "written",
                "seen",
            )
            for path, is_appended in seen.written.items()
        }
        for path, (kind, via) in (kinds | seen.native_written).items():
            state = ""
            with contextlib.suppress(OSError, ValueError):
                state = file_state(os.stat(os.path.join(self._paths.root, path)))
            yield Use(f"file:{path}", kind, via, state)

    def find_came(
        self, seen: StepFiles, folders_made: Collection[str], began: int
    ) -> Iterator[Use]:
        """The names in the folders of this `seen` that may have come since `began`, and not by Python. A file that was
        only overwritten is among them."""
        known = {*seen.written, *seen.folders_made}
        for folder, listed in (*seen.listed.items(), *seen.native_listed.items()):
            full = os.path.join(self._paths.root, folder)
            with contextlib.suppress(OSError):
                if os.stat(full).st_mtime_ns < began:
                    continue  # the usual case
            for shown in listed.split("\0"):
                if shown in known:
                    continue
                path = os.path.join(self._paths.root, shown)
                with contextlib.suppress(OSError):
                    state = os.lstat(path)
                    is_new = path in folders_made if stat.S_ISDIR(state.st_mode) else True
                    if is_new and state.st_ctime_ns >= began:
                        known.add(shown)
                        yield Use(f"file:{shown}", "came", "seen", file_state(state))

    def _is_in_changed_folder(self, path: str) -> bool:
        """Whether the path was in a folder that the tool made, moved or removed, and that is gone."""
        folder_changes = self._audit.folder_changes
        return bool(folder_changes) and any(
            one in folder_changes and not os.path.exists(one)
            for one in (path, *parent_folders(path))
        )
