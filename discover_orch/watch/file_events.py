"""File events of the operating system, received through watchdog (6 and 7). The only module that imports it.

Events are hints: the system loses some, and watchdog misses others. So the caller compares its snapshot every
`interval` seconds and reports with `note_missed` what no event announced. Then the watcher subscribes again, and
the second time in the same folder, as on a network drive, it gives up on events: the caller polls. Symbolic links make
this more than a list of folders: watchdog does not follow them, and one file may have several names. Reads no watched
file. All methods belong to one thread; `wake` is called from watchdog's thread and must not wait.
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
from pathlib import PurePath
from typing import Any, Literal

from msgspec import Struct

from discover_orch.model.errors import Problem

#: `polling`: by snapshots alone.
Mode = Literal["events", "polling"]

#: Seconds between two comparisons while events come, and when polling.
INTERVAL, POLL = 2.0, 0.5
#: The share of the time that comparisons may take, however large the project and slow its disk.
SHARE = 0.025
#: An event that comes so many seconds after the change is late. Times of files have steps of up to 0.004.
LATE = 0.01
#: Seconds for which `close` waits for watchdog's threads.
CLOSING = 0.8

#: Error → what ran out, the setting of the kernel, and the value to set it to.
_LIMITS = {
    errno.ENOSPC: ("watches", "fs.inotify.max_user_watches", 524_288),
    errno.EMFILE: ("instances", "fs.inotify.max_user_instances", 1024),
}
#: Names that never count below a watched folder. A folder that is itself watched always counts.
NOISE = re.compile(
    r"(?:^|/)(?:\.git|\.orch|__pycache__|node_modules|\.venv)(?:/|$)"
    r"|(?:^|/)\.#[^/]*$|(?:~|\.swp|\.pyc)$"
)
_POLLS = f"orch polls every {POLL:g} s"


class FileEvent(Struct, frozen=True, kw_only=True):
    """Something happened to this path: relative to the root with `/`, surrogateescape text; "" says that events were
    lost. `at` is in monotonic seconds. `is_finished`: it was closed after writing, or renamed to this path. `is_late`:
    the change was some time ago, so others may be on their way."""

    path: str
    at: float
    is_finished: bool = False
    is_folder: bool = False
    is_late: bool = False


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


class Watcher:
    """Watches folders; calls `wake` when there is something to `drain`."""

    def __init__(self, root: str, wake: Callable[[], None], *, must_poll: bool = False) -> None:
        self._root, self._wake, self._must_poll = root, wake, must_poll
        self._requested: dict[str, bool] = {}  # name → whether everything below it counts
        self._plan = SubscriptionPlan(folders={})
        self._observer: Any = None
        self._problems: list[Problem] = []
        # Written by watchdog's thread as well
        self._events: deque[FileEvent] = deque()
        self._must_renew = False
        self._missed: set[str] = set()  # folders with a missed change, and no event since

    def watch(self, deep: Collection[str], flat: Collection[str]) -> None:
        """Watch these folders from now on, and no others; `""` is the root, `../x` may be outside.

        `deep` with everything below, `flat` alone. Missing folders are subscribed to when they appear. If a
        later call subscribes to more, an event for "" follows: there may have been changes before it.
        """
        is_first, before = not self._requested, self._requested
        self._requested = {_clean(name): False for name in flat}
        self._requested |= {_clean(name): True for name in deep}
        if self._requested == before:
            return
        plan = plan_subscriptions(self._root, self._requested)
        if plan.folders == self._plan.folders:
            self._plan = plan
            return
        self._subscribe()
        if not is_first:
            self._add_lost()

    def drain(self) -> list[FileEvent]:
        """The events since the last call. Never waits; subscribes again if a watched folder was replaced."""
        if self._must_renew:
            self._must_renew = False
            self._subscribe()
            self._add_lost()
        return [self._events.popleft() for _ in range(len(self._events))]

    def set_polling(self, *, must_poll: bool) -> None:
        """Poll from now on, or use events again."""
        self._must_poll, self._must_renew = must_poll, True

    def drain_problems(self) -> list[Problem]:
        """Why it polls although no setting asks for it."""
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
        return "polling" if self._observer is None else "events"

    @property
    def announces_end(self) -> bool:
        """Whether the system says when a write is finished."""
        return self.mode == "events" and sys.platform == "linux"

    def interval(self, duration: float) -> float:
        """Seconds between two comparisons of the snapshot, where one takes so many."""
        return max(INTERVAL if self.mode == "events" else POLL, duration / SHARE)

    def close(self) -> None:
        """Stop. Takes a second at most; threads that do not end by then are daemons."""
        self._close_observer(CLOSING)

    # Subscribing

    def _subscribe(self) -> None:
        """Subscribe with a new observer to everything that is requested and exists."""
        self._close_observer()
        self._plan = plan_subscriptions(self._root, self._requested)
        if self._must_poll:
            return
        try:
            self._observer = _open_observer()
            for path, is_deep in self._plan.folders.items():
                self._schedule(path, is_deep=is_deep)
            if plan_subscriptions(self._root, self._requested).folders != self._plan.folders:
                self._must_renew = True  # one has appeared before its parent was subscribed to
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

    def _poll(self, code: str, message: str, hint: str) -> None:
        """Give up on events."""
        self._must_poll = True
        self._close_observer()
        self._problems.append(Problem(code=code, message=message, hint=hint, severity="warning"))

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
            is_file, kind = not event.is_directory, event.event_type
            self._add(
                os.fsdecode(event.src_path),
                is_finished=is_file and kind == "closed",
                is_file=is_file,
            )
            if kind == "moved":
                self._add(os.fsdecode(event.dest_path), is_finished=is_file, is_file=is_file)

    def _add(self, path: str, *, is_finished: bool, is_file: bool) -> None:
        plan, now = self._plan, time.monotonic()
        names = plan.names_of(path)
        if path in plan.anchors:
            self._must_renew = True
        elif not names:
            return
        for name in names:
            self._missed.discard(os.path.dirname(name))
            self._events.append(
                FileEvent(
                    path=name,
                    at=now,
                    is_finished=is_finished,
                    is_folder=not is_file,
                    is_late=is_finished and _is_late(path),
                )
            )
        self._wake()

    def _add_lost(self) -> None:
        self._events.append(FileEvent(path="", at=time.monotonic()))
        self._wake()


def plan_subscriptions(root: str, requested: Mapping[str, bool]) -> SubscriptionPlan:
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
    folders = {path: True for path in deep if not is_inside_any(path, deep)}
    folders |= {
        path: False for path in flat if path not in folders and not is_inside_any(path, deep)
    }
    return SubscriptionPlan(wanted=tuple(wanted), folders=folders, anchors=frozenset(anchors))


def is_inside_any(path: str, folders: Collection[str]) -> bool:
    """Whether one of the folders is above `path`."""
    return any(parent in folders for parent in _parents(path))


def _parents(path: str) -> list[str]:
    return [*map(str, PurePath(path).parents)]


def _nearest_folder(path: str) -> str:
    """The folder itself, or the nearest one above it that exists."""
    return next(filter(os.path.isdir, (path, *_parents(path))), "/")


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


def _is_late(path: str) -> bool:
    """Whether the file changed a while ago, as on a busy machine, or where the watch was stopped."""
    try:
        return time.time() - os.stat(path).st_ctime > LATE
    except OSError:
        return False


def _clean(name: str) -> str:
    name = os.path.normpath(name) if name else ""
    return "" if name == "." else name
