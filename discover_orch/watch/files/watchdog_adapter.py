"""watchdog, versions 6 and 7: opened, listened to, and kept quiet. The only module that imports it.

In: a handler, a folder and how far to look. Out: an observer of watchdog's that gives the events of inotify
at once, and a call when events were lost. Imports watchdog late: it costs 40 ms. No exception, log record
or warning of watchdog's threads reaches the terminal.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

#: What to call when watchdog says, or dies so, that events were lost.
Loss = Callable[[], None]

_losses: list[Loss] = []
_hook_before: Callable[[threading.ExceptHookArgs], Any] | None = None


class Handler:
    """What watchdog calls; an exception here would end its thread."""

    def __init__(self, hear: Callable[[Any], None], lose: Loss) -> None:
        self._hear = hear
        self._lose = lose

    def dispatch(self, event: Any) -> None:
        try:
            self._hear(event)
        except Exception:
            with contextlib.suppress(Exception):
                self._lose()


def open_observer(lose: Loss) -> Any:
    """A running observer; raises what the system answers, EMFILE when there is no inotify instance."""
    _listen(lose)
    if not sys.platform.startswith("linux"):
        from watchdog.observers import Observer

        observer: Any = Observer()
    else:
        from watchdog.observers.inotify import InotifyObserver

        _set_no_delay()
        # "Full" events tell the halves of a rename apart from files that were made or deleted.
        observer = InotifyObserver(generate_full_events=True)
    observer.start()
    return observer


def close_observer(observer: Any, seconds: float) -> None:
    """Stop it and wait so long at most: what does not end by then is a daemon thread."""

    def stop() -> None:
        with contextlib.suppress(Exception):
            observer.stop()
            observer.join()

    stopper = threading.Thread(target=stop, daemon=True, name="orch-watcher-close")
    stopper.start()
    stopper.join(seconds)


def schedule(observer: Any, handler: Handler, path: str, *, is_deep: bool, is_near: bool) -> Any:
    """Subscribe; the emitter that watchdog made for it. `is_near`: only who comes and goes is of interest."""
    watch = observer.schedule(
        handler, path, recursive=is_deep, event_filter=_event_filter(is_near=is_near)
    )
    return next(one for one in observer.emitters if one.watch == watch)


def has_waiting(observer: Any) -> bool:
    """Whether events wait in its queue for the handler."""
    queue = getattr(observer, "event_queue", None)
    return queue is not None and not queue.empty()


def is_alive(thread: Any) -> bool:
    """Whether an observer or an emitter runs, and the thread behind it that reads from the system."""
    inner = getattr(thread, "_inotify_fd", None) or getattr(thread, "_inotify", None)
    is_inner_dead = isinstance(inner, threading.Thread) and not inner.is_alive()
    return bool(thread.is_alive()) and not is_inner_dead


def stop_listening(lose: Loss) -> None:
    """The opposite of what `open_observer` did; the last one puts the hook for dying threads back."""
    if lose in _losses:
        _losses.remove(lose)
    if not _losses and _hook_before is not None and threading.excepthook is _on_death:
        threading.excepthook = _hook_before


def _listen(lose: Loss) -> None:
    global _hook_before
    if lose not in _losses:
        _losses.append(lose)
    log = logging.getLogger("watchdog")
    log.propagate = False
    log.setLevel(logging.WARNING)
    log.addHandler(_EAR)  # once, and it stays: threads that end late still log
    # Said of a folder that was moved; where warnings are errors it would end watchdog's thread.
    warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning)
    if threading.excepthook is not _on_death:
        _hook_before = threading.excepthook
        threading.excepthook = _on_death


class _Ear(logging.Handler):
    """Takes watchdog's log records: of interest is only that the queue of the system overflowed."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            if "overflow" in record.getMessage().lower():
                _report_loss()


_EAR = _Ear()


def _on_death(arguments: threading.ExceptHookArgs) -> None:
    """A thread died of an exception: watchdog's are mended by the next check, without a traceback."""
    if type(arguments.thread).__module__.startswith("watchdog."):
        _report_loss()
    elif _hook_before is not None:
        _hook_before(arguments)


def _report_loss() -> None:
    for lose in tuple(_losses):
        with contextlib.suppress(Exception):
            lose()


def _set_no_delay() -> None:
    """watchdog holds a rename whose other half it has not seen for 0.5 s, and all that is behind it."""
    for module, name in (
        ("inotify_move_event_grouper", "InotifyMoveEventGrouper"),  # 7
        ("inotify_buffer", "InotifyBuffer"),  # 6
    ):
        with contextlib.suppress(ImportError, AttributeError):
            found: Any = getattr(importlib.import_module(f"watchdog.observers.{module}"), name)
            if isinstance(found.delay, float):
                found.delay = 0.0


def _event_filter(*, is_near: bool) -> list[Any]:
    """Reading a file must cost nothing, so events are asked for by name.

    Creation is among them: without it watchdog 6 would not follow into new folders.
    """
    from watchdog import events

    wanted: list[Any] = [
        events.FileCreatedEvent, events.FileDeletedEvent, events.FileMovedEvent,
        events.DirCreatedEvent, events.DirDeletedEvent, events.DirMovedEvent,
    ]  # fmt: skip
    if not is_near:
        is_linux = sys.platform.startswith("linux")
        wanted.append(events.FileClosedEvent if is_linux else events.FileModifiedEvent)
    return wanted
