"""File events of the operating system, received through watchdog (6 and 7). The only module that imports it.

Events are hints: the system loses some, and watchdog misses others. So the caller compares its snapshot every
`interval` seconds and reports with `note_missed` what no event announced. Then the watcher subscribes again, and
the second time in the same folder it gives up on events: the caller polls. Reads no watched file. All methods
belong to one thread; `wake` is called from watchdog's thread and must not wait.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from msgspec import Struct

from discover_orch.model.errors import Problem
from discover_orch.watch.debounce import EventKind, FileEvent

#: `polling`: by snapshots alone. `mixed`: some folders send no events, so snapshots must be compared often.
Mode = Literal["events", "polling", "mixed"]

#: Seconds between two comparisons while events come, and the number of files up to which this holds: comparing
#: 1,000 files takes 3 ms, so this is at most 1 % of a core (3 % when polling).
INTERVAL, INTERVAL_FILES, LONGEST_INTERVAL = 2.0, 5_000, 10.0
POLL, POLL_FILES, LONGEST_POLL = 0.5, 2_000, 2.0
#: Seconds for which `close` waits for watchdog's threads.
CLOSING = 0.8
#: Folders that appear while their parents are being subscribed to: plans made until nothing new is found.
MOST_PLANS = 5

_KINDS: Mapping[str, EventKind] = {
    "closed": "written",
    "created": "created",
    "deleted": "deleted",
    "modified": "changed",
}
#: Error → what ran out, the setting of the kernel, and the value to set it to.
_LIMITS = {
    errno.ENOSPC: ("watches", "fs.inotify.max_user_watches", 524_288),
    errno.EMFILE: ("instances", "fs.inotify.max_user_instances", 1024),
}
_POLLS = f"orch polls every {POLL:g} s"
#: Names that never count below a watched folder. A folder that is itself watched always counts.
NOISE = re.compile(
    r"(?:^|/)(?:\.git|\.orch|__pycache__|node_modules|\.venv)(?:/|$)"
    r"|(?:^|/)\.#[^/]*$|(?:~|\.swp|\.pyc)$"
)
#: File systems that send no events for changes made on another machine, or by the host of a virtual one.
# fmt: off
SILENT = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "drvfs", "fakeowner", "fuse", "glusterfs", "gpfs", "grpcfuse",
    "lustre", "nfs", "nfs4", "osxfs", "prl_fs", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs",
})
# fmt: on
_MOUNTS = "/proc/self/mountinfo"


class Watcher:
    """Watches folders; calls `wake` when there is something to `drain`."""

    def __init__(self, root: str, wake: Callable[[], None], *, must_poll: bool = False) -> None:
        self._root, self._wake, self._must_poll = root, wake, must_poll
        self._requested: dict[str, bool] = {}  # name → whether everything below it counts
        self._plan = SubscriptionPlan(folders={})
        self._observer: Any = None
        self._has_silent = False  # a requested folder is on a file system without events
        self._problems: list[Problem] = []
        self._reported: set[str] = set()
        # Written by watchdog's thread as well
        self._events: deque[FileEvent] = deque()
        self._is_awake = False
        self._must_renew = False
        self._missed: set[str] = set()  # folders with a missed change, and no event since

    def watch(self, deep: Collection[str], flat: Collection[str]) -> None:
        """Watch these folders from now on, and no others; `""` is the root, `../x` may be outside.

        `deep` with everything below, `flat` alone. Missing folders are subscribed to when they appear. If a
        later call subscribes to more, a `lost` event follows: there may have been changes before it.
        """
        is_first = not self._requested
        self._requested = {_clean(name): False for name in flat}
        self._requested |= {_clean(name): True for name in deep}
        plan = build_plan(self._root, self._requested)
        if plan.folders == self._plan.folders:
            self._plan = plan
            return
        self._subscribe()
        if not is_first:
            self._add_lost()

    def drain(self) -> list[FileEvent]:
        """The events since the last call. Never waits; subscribes again if a watched folder was replaced."""
        self._is_awake = False  # before the events are taken: later ones wake again
        if self._must_renew:
            self._must_renew = False
            self._subscribe()
            self._add_lost()
        drained: list[FileEvent] = []
        with contextlib.suppress(IndexError):
            while True:
                drained.append(self._events.popleft())
        return drained

    def drain_problems(self) -> list[Problem]:
        """What limits watching here, each once."""
        drained, self._problems = self._problems, []
        return drained

    def has_queued(self) -> bool:
        """Whether watchdog has events that it has not handed on yet."""
        return self._observer is not None and not self._observer.event_queue.empty()

    def note_missed(self, paths: Collection[str]) -> None:
        """The snapshot found changes of these files that no event announced."""
        folders = {os.path.dirname(path) for path in paths}
        if self.mode == "polling":
            return
        if self._missed.isdisjoint(folders):
            self._missed |= folders
            self._must_renew = True
            return
        self._poll(
            "no-events",
            f"the system sends no events for changes in {min(self._missed & folders) or '.'}/",
            f"{_POLLS}; if this is a local disk, raise the limit of watches and restart: {_raise(errno.ENOSPC)}",
        )

    @property
    def mode(self) -> Mode:
        """How changes are found at present."""
        if self._observer is None:
            return "polling"
        return "mixed" if self._has_silent else "events"

    def interval(self, files: int) -> float:
        """Seconds between two comparisons of a snapshot of so many files."""
        if self.mode == "events":
            return min(INTERVAL * max(1.0, files / INTERVAL_FILES), LONGEST_INTERVAL)
        return min(POLL * max(1.0, files / POLL_FILES), LONGEST_POLL)

    def close(self) -> None:
        """Stop. Takes a second at most; threads that do not end by then are daemons."""
        self._close_observer(CLOSING)

    # Subscribing

    def _subscribe(self) -> None:
        """Subscribe with a new observer to everything that is requested and exists."""
        self._close_observer()
        self._plan = build_plan(self._root, self._requested)
        if self._must_poll or self._is_silent():
            return
        subscribed: Mapping[str, bool] = {}
        try:
            self._observer = _open_observer()
            for _ in range(MOST_PLANS):
                for path, is_deep in self._plan.folders.items() - subscribed.items():
                    self._schedule(path, is_deep=is_deep)
                subscribed = self._plan.folders
                self._plan = build_plan(self._root, self._requested)
                if self._plan.folders == subscribed:
                    break
        except Exception as error:  # whatever a system may answer
            number = error.errno if isinstance(error, OSError) else None
            if number in _LIMITS:
                what, setting, _ = _LIMITS[number]
                self._poll(
                    "watch-limit",
                    f"the limit of inotify {what} is reached ({setting})",
                    f"{_POLLS}; raise the limit and restart: {_raise(number)}",
                )
            else:
                self._poll("no-events", f"cannot subscribe to file events: {error}", _POLLS)
        _close_in_children()

    def _schedule(self, path: str, *, is_deep: bool) -> None:
        # A folder that is gone meanwhile is no failure: its parent sends an event.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._observer.schedule(self, path, recursive=is_deep, event_filter=_event_filter())

    def _is_silent(self) -> bool:
        """Whether none of the requested folders sends events."""
        real = [one.real for one in self._plan.wanted if os.path.isdir(one.real)]
        silent = {path: name for path in real if not sends_events(name := filesystem_of(path))}
        for path, name in silent.items():
            self._report(
                "no-events",
                f"{path} is on {name}, which does not announce all changes",
                _POLLS,
                key=name,
            )
        self._has_silent = bool(silent)
        return bool(real) and len(silent) == len(real)

    def _poll(self, code: str, message: str, hint: str) -> None:
        """Give up on events."""
        self._must_poll = True
        self._close_observer()
        self._report(code, message, hint)

    def _report(self, code: str, message: str, hint: str, *, key: str = "") -> None:
        if code + key not in self._reported:
            self._reported.add(code + key)
            self._problems.append(
                Problem(code=code, message=message, hint=hint, severity="warning")
            )

    def _close_observer(self, seconds: float = 0.0) -> None:
        """In a thread of its own, because watchdog waits for its threads."""
        observer, self._observer = self._observer, None
        if observer is None:
            return

        def stop() -> None:
            with contextlib.suppress(Exception):
                observer.stop()
                observer.join()

        stopper = threading.Thread(target=stop, daemon=True, name="orch-watcher-close")
        stopper.start()
        stopper.join(seconds)

    # In watchdog's thread

    def dispatch(self, event: Any) -> None:
        """Called by watchdog with each event; an exception here would end its thread."""
        with contextlib.suppress(Exception):
            if event.event_type == "moved":
                self._add("deleted", os.fsdecode(event.src_path), event.is_directory)
                self._add("moved", os.fsdecode(event.dest_path), event.is_directory)
            elif event.event_type in _KINDS:
                self._add(_KINDS[event.event_type], os.fsdecode(event.src_path), event.is_directory)

    def _add(self, kind: EventKind, path: str, is_folder: bool) -> None:
        plan, now = self._plan, time.monotonic()
        names = plan.names_of(path)
        if path in plan.anchors:
            self._must_renew = True
        elif not names:
            return
        for name in names:
            self._missed.discard(os.path.dirname(name))
            self._events.append(FileEvent(kind=kind, path=name, at=now, is_folder=is_folder))
        self._notify()

    def _add_lost(self) -> None:
        self._events.append(FileEvent(kind="lost", path="", at=time.monotonic()))
        self._notify()

    def _notify(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            self._wake()


def _raise(number: int) -> str:
    _, setting, advised = _LIMITS[number]
    return f"sudo sysctl {setting}={advised}"


def _open_observer() -> Any:
    """A running observer; raises OSError with EMFILE when there is no inotify instance left.

    watchdog is imported here because that takes 40 ms. Its log records and warnings are not for the terminal.
    """
    from watchdog.observers import Observer

    log = logging.getLogger("watchdog")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    # About a folder that was moved; where warnings are errors it would end watchdog's thread.
    warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning)
    observer: Any = Observer()
    observer.start()
    return observer


def _event_filter() -> list[Any]:
    """Named one by one, so that reading a file costs nothing."""
    from watchdog import events

    is_linux = sys.platform.startswith("linux")
    return [
        events.FileClosedEvent if is_linux else events.FileModifiedEvent,
        events.FileCreatedEvent, events.FileDeletedEvent, events.FileMovedEvent,
        events.DirCreatedEvent, events.DirDeletedEvent, events.DirMovedEvent,
    ]  # fmt: skip


def _close_in_children() -> None:
    """Workers and tools must not inherit the queue of events: watchdog opens it so that they would."""
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:inotify":
                    os.set_inheritable(int(name), False)


def _clean(name: str) -> str:
    name = os.path.normpath(name) if name else ""
    return "" if name == "." else name


# Which folders to subscribe to. Symbolic links make this more than a list: watchdog does not follow them, and one file
# may have several names.


class WatchedPath(Struct, frozen=True, kw_only=True):
    """A requested folder: its name, its real path, and whether everything below it counts."""

    name: str
    real: str
    is_deep: bool


class SubscriptionPlan(Struct, frozen=True, kw_only=True):
    """`folders`: real path → whether to subscribe to everything below it; no folder is inside a deep one.

    `anchors`: the requested folders and all folders above them. When one of these comes or goes, the plan may
    be another one.
    """

    wanted: tuple[WatchedPath, ...] = ()
    folders: Mapping[str, bool]
    anchors: frozenset[str] = frozenset()

    def names_of(self, path: str) -> list[str]:
        """The names of a real path below the requested folders: several where links lead there too."""
        names: dict[str, None] = {}
        for wanted in self.wanted:
            if path == wanted.real:
                names[wanted.name] = None
                continue
            top = wanted.real.rstrip("/") + "/"
            rest = path[len(top) :]
            if (
                path.startswith(top)
                and (wanted.is_deep or "/" not in rest)
                and not NOISE.search(rest)
            ):
                names[f"{wanted.name}/{rest}" if wanted.name else rest] = None
        return list(names)


def build_plan(root: str, requested: Mapping[str, bool]) -> SubscriptionPlan:
    """`requested`: name relative to the root → whether everything below it counts.

    The parent of each folder is subscribed to as well: its events say that the folder was deleted and made
    again, that a link has another target, or that a missing folder has appeared. The parent of the root is
    left out, because it belongs to others.
    """
    wanted: list[WatchedPath] = []
    deep: set[str] = set()
    flat: set[str] = set()
    anchors: set[str] = set()
    for name, is_deep in requested.items():
        full = os.path.join(root, name) if name else root
        real = os.path.realpath(full)
        parent, last = os.path.split(full)
        # Where the name itself stands: for a link that is another place than its target.
        entry = real if last in ("", ".", "..") else os.path.join(os.path.realpath(parent), last)
        wanted.append(WatchedPath(name=name, real=real, is_deep=is_deep))
        exists = os.path.isdir(real)
        if exists:
            (deep if is_deep else flat).add(real)
        for place in (real, entry):
            anchors.update((place, *_parents(place)))
            if name or not exists:
                flat.add(_nearest_folder(os.path.dirname(place)))
    folders = {path: True for path in deep if not is_below(path, deep)}
    folders |= {path: False for path in flat if path not in folders and not is_below(path, deep)}
    return SubscriptionPlan(wanted=tuple(wanted), folders=folders, anchors=frozenset(anchors))


def is_below(path: str, folders: Collection[str]) -> bool:
    """Whether one of the folders is above `path`."""
    return any(parent in folders for parent in _parents(path))


def filesystem_of(path: str) -> str:
    """The type of the file system of `path` or of its nearest existing parent; "" where it is unknown."""
    real = os.path.realpath(path)
    found, length = "", -1
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return ""
    for line in lines:
        # 36 35 98:0 /inside /mount/point options [optional ...] - type source options
        before, _, after = line.partition(" - ")
        words = before.split(" ")
        if len(words) < 5 or not after:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), words[4])
        is_above = point == "/" or real == point or real.startswith(point + "/")
        if is_above and len(point) >= length:  # the later of two mounts at one point is on top
            found, length = after.split(" ", 1)[0], len(point)
    return found


def sends_events(filesystem: str) -> bool:
    """Whether this type of file system announces all changes; an unknown type counts as one that does."""
    # FUSE announces only what passes through this very mount; `fuseblk` is a local disk.
    return filesystem not in SILENT and not filesystem.startswith("fuse.")


def _parents(path: str) -> list[str]:
    found = []
    while (parent := os.path.dirname(path)) != path:
        found.append(parent)
        path = parent
    return found


def _nearest_folder(path: str) -> str:
    """The folder itself, or the nearest one above it that exists."""
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path
