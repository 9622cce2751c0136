"""Adds what the kernel reported of a step to what Python showed of it.

A path that both show is one use. What Python's own events show of this process is taken from them, since only there it
is known which code did it; the kernel adds native code, child processes, and what a file was before it was used.
"""

from __future__ import annotations

import os

from discover_orch.model.observation import SIDE_FILES, file_mark
from discover_orch.worker.observed_paths import find_all_below, find_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from discover_orch.worker.audit_hook import AuditHook
    from discover_orch.worker.kernel_filter import Traced
    from discover_orch.worker.path_questions import Answer
    from discover_orch.worker.project_code import ProjectCode
    from discover_orch.worker.shared_uses import ModuleUses, Uses

#: What changes a file or folder, or its name.
_CHANGES = frozenset(
    ["written", "appended", "updated", "removed", "named", "moved", "linked", "made"]
)


#: The files that Python had read and written in the step before the kernel was asked.
Before = tuple[frozenset[str], frozenset[str]]


class TracedUses:
    """What the kernel reported of one step and `AuditHook` has no place for. Paths are absolute."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}  # of files that were read: what they were then
        self.plain: set[str] = set()  # of these, those that are no links
        self.missed: dict[str, None] = {}
        self.asked: dict[str, Answer] = {}
        self.followed: dict[str, str] = {}  # links, with their targets
        self.in_place: set[str] = set()  # opened to be changed in place, and not to be read
        self.code: dict[str, None] = {}  # that child processes ran
        self.connected: list[Traced] = []
        self.gaps: dict[str, None] = {}
        self.setuid = ""  # a program that was started and has rights of its own
        #: Files of the project's database that were opened, and whether to change them; by the worker itself: when.
        self.databases: list[Traced] = []


class TraceReader:
    """Reads what was reported of one step, in its order."""

    def __init__(
        self,
        audit: AuditHook,
        uses: ModuleUses,
        project: ProjectCode,
        known: Collection[str],
        databases: Collection[str],
        before: Before,
    ) -> None:
        """`known` are files that the step opened in ways that are known, as with SQLite; `databases` are those of the
        project."""
        self._audit, self._uses, self._project = audit, uses, project
        self._known, self._databases = known, databases
        self._made: set[str] = {path for path, was_there in audit.changed.items() if not was_there}
        self._read_before, written = before
        self._overwritten = {*written} - self._read_before  # before they were read
        #: Opened to be changed in place, with their states before.
        self._updated: dict[str, str] = {}
        self._moved: list[tuple[str, str]] = []
        #: What was changed until now, before the kernel was asked too.
        self._changed: set[str] = {*written}
        self.found = TracedUses()

    def read(self, events: Iterable[Traced]) -> TracedUses:
        for one in events:
            self._read(one)
        for path, state in self._updated.items():
            self._end_update(path, state)
        for old, new in self._moved:
            self._end_move(old, new)
        self._uses.forget_opened(self._overwritten)
        return self.found

    def _read(self, one: Traced) -> None:
        audit, path, kind = self._audit, one.path, one.kind
        if kind == "connected":
            self.found.connected.append(one)
        elif kind == "gap":
            self.found.gaps[path] = None
        elif kind == "setuid":
            self.found.setuid = path
        elif path in self._databases:
            self.found.databases.append(one)
        elif (
            path.endswith(SIDE_FILES)
            or (one.is_own and path in audit.passed_over)
            or (path in self._known and one.is_own)
        ):
            return
        elif kind in _CHANGES:
            self._read_change(one)
        elif kind in ("listed", "searched"):
            self._read_listing(one)
        else:
            self._read_use(one, self._uses.of_time(one.at))

    def _read_use(self, one: Traced, uses: Uses) -> None:
        """It changes nothing."""
        found, path = self.found, one.path
        if path in self._made or path in self._overwritten:
            self._audit.appended.pop(path, None)  # who reads what it adds does more than that
            return
        if one.kind == "read":
            if path not in found.states:
                found.states[path] = one.state
                if not one.more:
                    found.plain.add(path)
            uses.opened[path] = None
            return
        if one.kind == "code":
            source = _find_source(path, self._project.root)
            if self._project.includes(source):
                found.code[source] = None
            else:
                uses.opened[source] = None
        elif one.kind == "asked":
            found.asked.setdefault(path.rstrip("/"), (path[-1] == "/", 0, 0))
        elif one.kind == "absent":
            found.asked.setdefault(path, None)
        elif one.kind == "followed":
            found.followed.setdefault(path, one.more)
        elif path not in self._audit.changed:  # missed
            found.missed[path] = None
        uses.used["path", path.rstrip("/")] = None

    def _read_listing(self, one: Traced) -> None:
        audit, path = self._audit, one.path
        is_known = path in audit.listed or path in audit.searched
        if path in self._made or (is_known and one.is_own):
            return
        if one.kind == "searched" and self._has_modules(path, one.more):
            audit.searched.setdefault(path, one.more)
        else:
            audit.listed.setdefault(path, one.more)
        self._uses.of_time(one.at).used["path", path] = None

    def _has_modules(self, path: str, names: str) -> bool:
        """Whether Python looks for modules there."""
        is_place = path == self._project.root or path in self._project.search_path
        return is_place or any(name.endswith(".py") for name in names.split("/"))

    def _read_change(self, one: Traced) -> None:
        audit, path, kind = self._audit, one.path, one.kind
        if kind == "moved":
            self._read_move(one.more, path)
            return
        if kind == "updated" and path not in audit.changed and path not in self._made:
            self._updated.setdefault(path, one.state)
            return
        is_new = kind in ("linked", "made") or not one.state
        if kind == "named" and (one.more in self._made or is_new):
            audit.link_targets[path] = audit.link_targets.pop(one.more, "")
        elif kind == "linked":
            audit.link_targets.setdefault(path, one.more if one.more[:6] != "/proc/" else "")
        elif kind == "made":
            audit.folder_changes.setdefault(path, True)
        if kind == "removed":
            is_new = path in self._made
        elif is_new:
            self._made.add(path)
        elif kind != "appended" and path not in self.found.states:
            self._overwritten |= {path} - self._read_before
        if path not in audit.changed:
            self._uses.note_change(path)
            audit.changed[path] = not is_new
            if kind == "appended":
                audit.appended[path] = None
        elif is_new and path not in self._changed:  # Python changed it later
            audit.changed[path] = False
        elif kind != "appended" and not one.is_own:
            audit.appended.pop(path, None)
        self._changed.add(path)

    def _read_move(self, old: str, new: str) -> None:
        """A folder got another name, and with it all that is in it."""
        self._moved.append((old, new))
        self._audit.folder_changes.setdefault(old, False)
        inside = [path for path in self._made if path == old or path.startswith(old + os.sep)]
        self._made.update(new + path[len(old) :] for path in inside)

    def _end_update(self, path: str, state: str) -> None:
        """It was opened to be changed in place: it was read, and written if it is another one now."""
        found = self.found
        if path in self._audit.changed or path in self._made:
            return
        if path not in self._uses.opened:
            found.in_place.add(path)
        self._uses.opened[path] = None
        found.states.setdefault(path, state)
        try:
            is_same = file_mark(os.stat(path)) == state
        except OSError:
            is_same = False
        if not is_same:
            self._audit.changed[path] = True

    def _end_move(self, old: str, new: str) -> None:
        """What is in a folder that was moved came with it, unless the step made it."""
        changed = self._audit.changed
        for path in (new, *find_all_below(new)):
            before = old + path[len(new) :]
            if before not in self._made:
                changed.setdefault(before, True)
            changed.setdefault(path, False)
        if old in self._made:
            self._audit.folder_changes[new] = True


def _find_source(path: str, root: str) -> str:
    """The source of what a Python process read. With PYTHONPYCACHEPREFIX the whole path stands below that folder."""
    if path.endswith(".pyc") and "__pycache__" not in path:
        place = path.find(root + os.sep, 1)
        name, _, _ = path[place:].rpartition("/")[2].partition(".")
        return f"{os.path.dirname(path[place:])}/{name}.py" if place > 0 else path
    return find_source(path)
