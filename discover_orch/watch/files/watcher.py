"""The door to the system's file events: subscribes, mends what breaks, and hands hints to the caller.

In: folders, relative to the root. Out: `FileEvent`s, and news for the user as `Problem`s. Events are hints: the
system and watchdog lose some, and go deaf in several ways, so the caller must look for itself every
`interval`, and call `check` then. Reads no file, decides nothing about runs, prints nothing. All methods are
for one thread, but `ring` is called from others, and must neither raise nor wait.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Literal

from msgspec import Struct

from discover_orch.model.errors import Problem
from discover_orch.watch.files.debounce import FileEvent, Kind
from discover_orch.watch.files.filesystems import (
    filesystem_of,
    folders_below,
    inotify_descriptors,
    is_readable,
    read_limits,
    sends_events,
    watched_inodes,
)
from discover_orch.watch.files.subscriptions import (
    Extent,
    SubscriptionPlan,
    build_plan,
    identity_of,
    is_below,
)
from discover_orch.watch.files.watchdog_adapter import (
    Handler,
    close_observer,
    has_waiting,
    is_alive,
    open_observer,
    schedule,
    stop_listening,
)

#: `polling`: no events are to be had. `mixed`: some folders send none, so looks must come often.
Mode = Literal["events", "polling", "mixed"]

#: Seconds between two looks without events, and the files up to which that holds: a look costs 3 ms for
#: 1,000 files, so this is at most 1 % of a core (3 % where there are no events).
CALM, CALM_FILES, CALM_MOST = 2.0, 5_000, 10.0
POLL, POLL_FILES, POLL_MOST = 0.5, 2_000, 2.0
#: More hints than this that nobody took are worth less than one that says: look at everything.
MOST_HINTS = 50_000
#: Watches are counted when folders came or went, and at every so many checks.
COUNT_EVERY = 10
#: A folder that came this short ago may not have its watch yet.
SETTLING = 0.2
#: How long `close` may wait for watchdog's threads.
CLOSING = 0.8
#: What the kernel documents as the default on large machines; more where a project needs more.
WATCHES_ADVISED = 524_288

_KINDS: dict[str, Kind] = {
    "closed": "written",
    "created": "created",
    "deleted": "deleted",
    "modified": "changed",
    "attrib": "changed",
}


class _Subscription(Struct, frozen=True, kw_only=True):
    """What watchdog was told; `identity` is the folder's (device, inode) then."""

    reach: Extent
    emitter: Any
    identity: tuple[int, int]
    filesystem: str


class Watcher:
    """Watches folders; `ring` is called from another thread when there is something to `take`."""

    def __init__(self, root: str, ring: Callable[[], None], *, must_poll: bool = False) -> None:
        self._root = root
        self._ring = ring
        self._must_poll = must_poll
        # What watchdog's threads write
        self._hints: deque[FileEvent] = deque()
        self._is_rung = False
        self._events = 0
        self._folder_at = float("-inf")  # when a folder came or went
        self._must_mend = False
        self._must_count = True
        self._must_repeat_loss = False
        # What is watched
        self._folders: dict[str, bool] = {}  # name → whether everything below counts
        self._plan = SubscriptionPlan(reaches={})
        self._observer: Any = None
        self._descriptors: tuple[int, ...] = ()
        self._handler = Handler(self._hear, self.lose)
        self._subscribed: dict[str, _Subscription] = {}
        self._seen: set[str] = set()  # of those: the system has listed its inode as watched
        # What could not be had
        self._failed: dict[str, int | None] = {}  # the limit of watches when it was reached there
        self._short: frozenset[int] = frozenset()  # folders without a watch, and known to be
        self._short_limit: int | None = None
        self._has_no_instance = False
        self._is_deaf = False
        self._missed_at: int | None = None
        self._checks = 0
        self._known_folders: int | None = None
        self._news: list[Problem] = []
        self._told: set[str] = set()

    def watch(self, deep: Collection[str], flat: Collection[str]) -> None:
        """Watch these folders from now on, and no others; `""` is the root, `../x` may lie outside.

        `deep` with all below, `flat` alone. What does not exist is taken up when it appears. A folder that is
        new in a later call puts a `lost` hint in the queue: it may have changed before it was subscribed to.
        """
        is_first = not self._folders
        self._folders = {_tidy(name): False for name in flat} | {_tidy(name): True for name in deep}
        self._failed.clear()
        if self._subscribe() and not is_first:
            self._queue_loss()

    def take(self) -> list[FileEvent]:
        """The hints since the last time. Never waits; takes up folders that came back."""
        self._is_rung = False  # before the hints are taken: what comes from here on rings again
        if self._must_mend:
            self._mend()
        taken: list[FileEvent] = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._hints.popleft())
        return taken

    def has_more(self) -> bool:
        """Whether events are on their way that are no hints yet: in the kernel's queue, or in watchdog's."""
        return self._observer is not None and (
            has_waiting(self._observer) or is_readable(self._descriptors)
        )

    def check(self, folders: int | None = None) -> tuple[Problem, ...]:
        """Find what went deaf and mend it; news are told once each. To be called at every idle tick.

        `folders`: how many the caller's own look found. Watches are only counted when that number changed,
        when folders came or went, and now and then; None counts every time.
        """
        self._checks += 1
        self._mend()
        if self._must_repeat_loss:
            self._must_repeat_loss = False
            self._queue_loss()
        is_other = folders is None or folders != self._known_folders
        self._known_folders = folders
        if self._must_count or is_other or self._checks % COUNT_EVERY == 0:
            self._count()
        news, self._news = tuple(self._news), []
        return news

    def note_missed(self) -> Problem | None:
        """A look of the caller found a change that no event told of. The second time in a row, it polls."""
        if self.mode == "polling":
            return None
        if self._missed_at != self._events:
            self._missed_at = self._events
            return None
        self._is_deaf = True
        return Problem(
            code="no-events",
            message="files change here, but the system sends no events",
            hint=f"orch looks by itself now, every {POLL} s, or {POLL_MOST} s in large projects",
            severity="warning",
        )

    @property
    def mode(self) -> Mode:
        """How changes are found at present."""
        if self._must_poll or self._is_deaf or self._observer is None:
            return "polling"
        real = [one for one in self._subscribed.values() if one.reach != "near"]
        silent = [one for one in real if not sends_events(one.filesystem)]
        is_partial = bool(silent or self._failed or self._short or self._has_no_instance)
        if is_partial and len(silent) == len(real):
            return "polling"
        return "mixed" if is_partial else "events"

    def interval(self, files: int) -> float:
        """Seconds between two looks when no event comes, for a project of so many files."""
        if self.mode == "events":
            return min(CALM * max(1.0, files / CALM_FILES), CALM_MOST)
        return min(POLL * max(1.0, files / POLL_FILES), POLL_MOST)

    def close(self) -> None:
        """Stop. Takes a second at most; what does not end by then is a daemon thread."""
        self._drop_observer()
        stop_listening(self.lose)

    def lose(self) -> None:
        """watchdog said, or died so, that events were lost. May be called from any thread.

        watchdog 7 says so before it rebuilds its watches, and what happens meanwhile sends no event: the next
        check says it once more.
        """
        self._must_mend = True
        self._must_repeat_loss = True
        self._queue_loss()

    # In watchdog's thread

    def _hear(self, event: Any) -> None:
        """One event of watchdog becomes hints."""
        self._events += 1
        kind = event.event_type
        if kind == "moved":  # either half may be missing
            if event.src_path:
                self._put("deleted", os.fsdecode(event.src_path), event.is_directory)
            if event.dest_path:
                self._put("moved", os.fsdecode(event.dest_path), event.is_directory)
        elif kind in _KINDS:
            self._put(_KINDS[kind], os.fsdecode(event.src_path), event.is_directory)

    def _put(self, kind: Kind, path: str, is_folder: bool) -> None:
        plan, now = self._plan, time.monotonic()
        names = plan.names_of(path)
        is_stake = path in plan.stakes
        if not names and not is_stake:
            return
        if is_stake:
            self._must_mend = True
        if is_folder:
            self._folder_at = now
            self._must_count = True
        for name in names:
            self._hints.append(FileEvent(kind=kind, path=name, at=now, is_folder=is_folder))
        if len(self._hints) > MOST_HINTS:
            self._hints.clear()
            self._queue_loss()
        self._call()

    def _queue_loss(self) -> None:
        self._must_count = True
        self._hints.append(FileEvent(kind="lost", path="", at=time.monotonic()))
        self._call()

    def _call(self) -> None:
        if not self._is_rung:
            self._is_rung = True
            self._ring()

    # Subscribing and mending

    def _mend(self) -> None:
        self._must_mend = False
        if self._observer is not None and not is_alive(self._observer):
            self._drop_observer()
        if self._folders and self._subscribe():
            self._queue_loss()

    def _subscribe(self) -> bool:
        """Bring the subscriptions in line with what is wanted and exists; whether a wanted folder was added."""
        has_added = False
        # What appeared before its parent was subscribed to sent no event: another look finds it.
        for _ in range(20):
            self._plan = build_plan(self._root, self._folders)
            if self._must_poll or not self._open_observer():
                return has_added
            reaches = self._plan.reaches
            have = set(watched_inodes())
            for path, one in list(self._subscribed.items()):
                is_same = reaches.get(path) == one.reach and one.identity == identity_of(path)
                if not is_same or not self._is_sound(path, one, have):
                    self._unschedule(path)
            added = [
                reach
                for path, reach in reaches.items()
                if path not in self._subscribed and self._schedule(path, reach)
            ]
            has_added |= any(reach != "near" for reach in added)
            if not added:
                break
        return has_added

    def _is_sound(self, path: str, one: _Subscription, have: set[int]) -> bool:
        """Whether a subscription still works. Inodes are used again at once: one that was listed and is no
        more means that the folder was deleted, though another may stand there with the same number."""
        if one.identity[1] in have:
            self._seen.add(path)  # not all file systems list the number that they show
        elif path in self._seen:
            return False
        return is_alive(one.emitter)

    def _schedule(self, path: str, reach: Extent) -> bool:
        limit = read_limits().watches
        if path in self._failed and self._failed[path] == limit:
            return False
        before = set(inotify_descriptors())
        identity = identity_of(path)
        try:
            emitter = schedule(
                self._observer,
                self._handler,
                path,
                is_deep=reach == "deep",
                is_near=reach == "near",
            )
        except Exception as error:  # gone, a limit, or what else a system may answer
            for descriptor in set(inotify_descriptors()) - before:  # watchdog 6 leaves it open
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                self._failed[path] = limit
                self._tell_watches()
            elif isinstance(error, OSError) and error.errno == errno.EMFILE:
                self._has_no_instance = True
                self._tell_instances()
            return False
        _close_on_exec(before)
        self._descriptors = tuple(inotify_descriptors())
        self._failed.pop(path, None)
        self._must_count = True
        filesystem = filesystem_of(path) if reach != "near" else ""
        self._subscribed[path] = _Subscription(
            reach=reach, emitter=emitter, identity=identity, filesystem=filesystem
        )
        if not sends_events(filesystem):
            self._tell_silent(path, filesystem)
        return True

    def _unschedule(self, path: str) -> None:
        one = self._subscribed.pop(path)
        self._seen.discard(path)
        with contextlib.suppress(
            Exception
        ):  # its books may be in disorder: that is why we are here
            self._observer.unschedule(one.emitter.watch)

    def _open_observer(self) -> bool:
        self._has_no_instance = False
        if self._observer is not None:
            return True
        before = set(inotify_descriptors())
        try:
            self._observer = open_observer(self.lose)
        except Exception:
            self._has_no_instance = True
            self._tell_instances()
            return False
        _close_on_exec(before)
        return True

    def _drop_observer(self) -> None:
        observer, self._observer = self._observer, None
        self._subscribed.clear()
        self._seen.clear()
        if observer is not None:
            close_observer(observer, CLOSING)

    # Counting watches

    def _count(self) -> None:
        """Find folders without a watch: moved in, made too fast, or over the limit, which watchdog 7 hides."""
        if not inotify_descriptors() or time.monotonic() < self._folder_at + SETTLING:
            return
        self._must_count = False
        missing = self._unwatched()
        limit = read_limits().watches
        if missing.keys() <= self._short and (not missing or limit == self._short_limit):
            self._short = frozenset(missing)
            return
        for path, one in list(self._subscribed.items()):
            lacks = any(is_below(folder, {path}) for folder in missing.values())
            if one.reach == "deep" and lacks:
                self._unschedule(path)
                self._schedule(path, "deep")
        self._queue_loss()
        missing = self._unwatched()
        self._short, self._short_limit = frozenset(missing), limit
        self._must_count = False
        if missing and self._is_full(next(iter(missing.values()))):
            self._tell_watches()

    def _unwatched(self) -> dict[int, str]:
        """The folders below the deep ones that have no watch, by inode."""
        have = set(watched_inodes())
        return {
            inode: folder
            for path, one in self._subscribed.items()
            if one.reach == "deep"
            for inode, folder in folders_below(path).items()
            # On top of a mount point stands another folder than the one that its parent lists.
            if inode not in have and identity_of(folder)[1] not in have
        }

    def _is_full(self, folder: str) -> bool:
        """Whether one more watch is refused: for a root watchdog does not hide it."""
        if self._schedule(folder, "near"):
            self._unschedule(folder)
        return self._failed.pop(folder, _UNSET) != _UNSET

    # News

    def _tell(self, code: str, message: str, hint: str, *, key: str = "") -> None:
        if (key or code) not in self._told:
            self._told.add(key or code)
            self._news.append(Problem(code=code, message=message, hint=hint, severity="warning"))

    def _tell_watches(self) -> None:
        if "watch-limit" in self._told:
            return
        limit = read_limits().watches
        need = len(self._plan.reaches)
        for path, reach in self._plan.reaches.items():
            need += len(folders_below(path)) - 1 if reach == "deep" else 0
        advised = WATCHES_ADVISED
        while advised < 2 * max(need, limit or 0):
            advised *= 2
        self._tell(
            "watch-limit",
            f"the limit of {_shown(limit)} inotify watches is reached: "
            f"this project needs {need}, and other programs need some too",
            f"sudo sysctl fs.inotify.max_user_watches={advised} (until then orch looks by itself)",
        )

    def _tell_instances(self) -> None:
        self._tell(
            "instance-limit",
            "no inotify instance is to be had: "
            f"the limit is {_shown(read_limits().instances)} for all programs of this user",
            "sudo sysctl fs.inotify.max_user_instances=1024 (until then orch looks by itself)",
        )

    def _tell_silent(self, path: str, filesystem: str) -> None:
        self._tell(
            "no-events",
            f"{path} is on a file system that does not tell of all changes ({filesystem})",
            f"orch looks by itself there, every {POLL} s, or {POLL_MOST} s in large projects",
            key=f"no-events {filesystem}",
        )


_UNSET = -1


def _close_on_exec(before: Collection[int]) -> None:
    """A child must not read from our queue; watchdog opens it so that it could."""
    for descriptor in set(inotify_descriptors()) - set(before):
        with contextlib.suppress(OSError):
            os.set_inheritable(descriptor, False)


def _shown(limit: int | None) -> str:
    return "unknown" if limit is None else f"{limit:,}"


def _tidy(name: str) -> str:
    name = os.path.normpath(name) if name else ""
    return "" if name == "." else name
