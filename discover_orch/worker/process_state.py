"""The state of the process that each tool begins with: working directory, environment, `sys.path`, signals, logging,
warnings, locale, global generators of random numbers, caches of `functools` in the project's code.

What `run()` changes is undone. What a module of the project changes while it is loaded, or a resource while it is
opened, is recorded as a difference. It holds for each tool whose code includes the module or that takes the resource,
and for no other: `load_dotenv()`, `logging.basicConfig()`. What installed packages change while they are loaded holds
for all tools. Modules themselves are not restored, since the tools of a worker share them. Only those that orch itself
needs come back if a tool removes them.
"""

from __future__ import annotations

import _locale
import contextlib
import faulthandler
import functools
import logging
import os
import signal
import sys
import time
import warnings
from _signal import getsignal  # type: ignore[import-not-found]  # without the enums of `signal`

from discover_orch.worker.random_generators import (
    note_generators,
    read_generators,
    set_generator,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from discover_orch.worker.project_code import ProjectCode

    State = dict[str, dict[Any, Any]]  # part → name → value
    #: (part, name) → the value before and after.
    Changes = dict[tuple[str, Any], tuple[Any, Any]]

# The signals that programs handle. SIGHUP is missing: see `child_processes.end_with_parent`.
SIGNALS = (
    signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGQUIT,
    signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGCONT, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip
#: Without these, Python itself raises.
NEEDED_MODULES = frozenset(["builtins", "importlib", "os", "sys", "warnings"])
PACKAGES = "*"  # who changes the process while an installed package is loaded
ABSENT = None  # the value of what is not there
UNSET = "unset"  # in place of the old value: the new one holds only where there is none
ORDINARY = {"level": 0, "propagate": True, "disabled": False, "handlers": [], "filters": []}
ORDINARY_ROOT = ORDINARY | {"level": logging.WARNING}


class ProcessState:
    """The state that each tool starts with; a context manager around each tool."""

    def __init__(self, project: ProjectCode, crash_fd: int) -> None:
        self._project, self._root = project, project.root
        self._modules = sys.modules.copy()
        self._crash_fd = crash_fd
        self._environ = os.environ
        self._handlers = [(int(number), getsignal(number)) for number in SIGNALS]
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._trace = (sys.gettrace(), sys.getprofile())
        #: What every tool starts with, and what was changed while owners were loaded, in this order. An owner is the
        #: file of a module or a resource, the innermost is the last.
        #: Named loggers that code has got in this step or has ever changed. There may be many others.
        self._loggers: set[Any] = set()
        self._changed_loggers: set[Any] = set()
        self._last: State = {}
        self._base = self._last = self._read()
        self._recorded: list[tuple[tuple[str, ...], Changes]] = []
        self._owners: tuple[str, ...] = ()  # those that are being loaded now
        self._included: set[str] = set()  # the owners whose changes hold for this tool
        #: The variables of which code has asked so while it was loaded.
        self._asked: list[tuple[str, str | None]] = []
        self._has_asked_for_logging = False
        self._follow_logging()
        note_generators()

    def note_base(self) -> None:
        """What is there now, and the root, is what every tool starts with."""
        with contextlib.suppress(OSError):  # the root is gone: the first tool will fail
            os.chdir(self._root)
        self._base = self._last = self._read()

    def __enter__(self) -> None:
        sys.argv = ["orch"]

    def begin(self, owners: Iterable[str]) -> None:
        """A tool begins whose code includes these owners."""
        self._included = {*owners}
        self._asked.clear()
        self._loggers = self._changed_loggers.copy()
        self._last = self._base
        if self._recorded:
            state = _copy(self._base)
            for owners, changes in self._recorded:
                if not self._included.isdisjoint(owners):
                    _apply(state, changes)
            self._write(self._base, state)
            self._last = state

    def begin_run(self, module: str) -> None:
        """All is loaded and opened. The generators become as the last has left them that would have changed them if
        the tool of this module were alone."""
        found = [
            (owners[-1], changes)
            for owners, changes in self._recorded
            if not self._included.isdisjoint(owners)
            and any(part == "generators" for part, _ in changes)
        ]
        if len({owner for owner, _ in found}) < 2:
            return  # it is
        order = self._project.find_load_order(module)
        places = {path: place for place, path in enumerate(order)}
        found.sort(key=lambda one: places.get(one[0], len(places)))  # a resource comes after
        state = _copy(self._base)
        for _, changes in found:
            _apply(state, changes)
        now = self._read()
        self._write(now, now | {"generators": state["generators"]})
        self._last = self._read()

    def begin_closing(self) -> None:
        """Resources are closed: they find what they have set, and what their modules have."""
        self.begin(owner for owners, _ in self._recorded for owner in owners)

    def include(self, owners: Iterable[str]) -> None:
        """The code of the tool includes these owners too."""
        new = {*owners}
        found = [
            changes
            for one, changes in self._recorded
            if self._included.isdisjoint(one) and not new.isdisjoint(one)
        ]
        self._included |= new
        if found:
            self._settle()
            state = _copy(self._last)
            for changes in found:
                _apply(state, changes)
            self._write(self._last, state)
            self._last = state

    def __exit__(self, *details: object) -> None:
        if sys.gettrace() is not self._trace[0]:
            sys.settrace(self._trace[0])
        if sys.getprofile() is not self._trace[1]:
            sys.setprofile(self._trace[1])
        self._restore_signals()
        if os.environ is not self._environ:
            os.environ = self._environ  # noqa: B003
        now = self._read()
        if now != self._base:
            self._write(now, self._base)
        os.umask(self._umask)
        faulthandler.enable(self._crash_fd, all_threads=False)

    def note_question(self, name: str, default: str | None) -> None:
        """Code asks whether a variable is set, and sets it to `default` otherwise, if that is known."""
        if self._owners:
            self._asked.append((name, default))

    @property
    def is_loading_package(self) -> bool:
        return self._owners[-1:] == (PACKAGES,)

    @contextlib.contextmanager
    def changed_by(self, owner: str) -> Iterator[None]:
        """While this module is loaded, or this resource opened. If that fails, what it has changed holds until the
        tool ends: the next one that needs it tries again."""
        self._settle()
        before, self._owners = self._owners, (*self._owners, owner)
        count, asked = len(self._recorded), len(self._asked)
        asked_for_logging, self._has_asked_for_logging = self._has_asked_for_logging, False
        has_passed = False
        self._included.add(owner)
        try:
            yield
            has_passed = True
        finally:
            self._settle()
            if not has_passed:
                new = self._recorded[count:]
                self._recorded[count:] = [one for one in new if one[0][-1] != owner]
            elif owner != PACKAGES and (found := self._find_adopted(self._asked[asked:])):
                self._recorded.append((self._owners, found))
            self._has_asked_for_logging |= asked_for_logging
            self._owners = before

    def _settle(self) -> None:
        """What has changed since the last call was changed by the present owner."""
        before, self._last = self._last, self._read()
        if self._last is before or not self._owners:  # else `run()` has changed it
            return
        changes = _compare(before, self._last)
        for cache in [name for part, name in changes if part == "caches"]:
            del changes["caches", cache]
            if cache not in before["caches"]:  # as other things that modules keep, this stays
                self._project.caches.usual[cache] = self._last["caches"].pop(cache)
        self._changed_loggers.update(name[0] for part, name in changes if part == "loggers")
        if self.is_loading_package:
            self._base = _copy(self._base)
            _apply(self._base, changes)
        else:
            self._recorded.append((self._owners, changes))

    def _find_adopted(self, asked: Iterable[tuple[str, str | None]]) -> Changes:
        """What the module would have set if another one had not set it before: variables that its code sets where they
        are not set, as `setdefault` and `load_dotenv` do, and what `basicConfig` does."""
        found: Changes = {}
        variables = self._base["variables"]
        for name, default in asked:
            key = os.fsencode(name)
            value = self._last["variables"].get(key)
            if value is not None and key not in variables:
                own = value if default is None else os.fsencode(default)
                found["variables", key] = UNSET, own
        if self._has_asked_for_logging:
            for name in ("handlers", "level"):
                value = self._last["loggers"].get((logging.root, name))
                if value and (logging.root, name) not in self._base["loggers"]:
                    found["loggers", (logging.root, name)] = UNSET, value
        return found

    def _follow_logging(self) -> None:
        original: Callable[..., None] = logging.basicConfig

        @functools.wraps(original)
        def basicConfig(**settings: Any) -> None:
            self._has_asked_for_logging = True
            original(**settings)

        logging.basicConfig = basicConfig
        manager = logging.root.manager
        find_logger = manager.getLogger

        def get_logger(name: str) -> logging.Logger:
            found = find_logger(name)
            self._loggers.add(found)
            return found

        manager.getLogger = get_logger  # type: ignore[method-assign]

    def _read(self) -> State:
        """What code can change for the rest of the process; the last state itself if nothing has changed since."""
        root = logging.root
        loggers: dict[Any, Any] = {}
        is_configured = "logging.config" in sys.modules  # which disables all loggers that it finds
        found = root.manager.loggerDict.values() if is_configured else self._loggers
        for logger in (root, *[*found]):
            held, ordinary = vars(logger), ORDINARY_ROOT if logger is root else ORDINARY
            # One without handlers stands for a logger that is not there yet.
            if "handlers" in held and not ordinary.items() <= held.items():
                for name, usual in ordinary.items():
                    if (value := held[name]) != usual:
                        loggers[logger, name] = value[:] if type(value) is list else value
        # Not the mapping itself, which would decode every variable.
        variables = vars(self._environ)["_data"]
        settings = {
            "folder": _read_folder(),
            "path": sys.path,
            "recursion": sys.getrecursionlimit(),
            "hooks": (sys.excepthook, sys.unraisablehook, sys.displayhook),
            "filters": warnings.filters,
            "showing": (warnings.showwarning, vars(warnings).get("_showwarnmsg_impl")),
            "captures": vars(logging).get("_warnings_showwarning"),
            "disable": root.manager.disable,
            "locale": _locale.setlocale(_locale.LC_ALL, None),
        }
        state: State = {
            "variables": variables,
            "loggers": loggers,
            "settings": settings,
            "generators": read_generators(),
            "caches": self._project.caches.read(),
        }
        if state == self._last:
            return self._last
        settings |= {"path": sys.path[:], "filters": warnings.filters[:]}
        return state | {"variables": variables.copy()}

    def _write(self, present: State, wanted: State) -> None:
        """Make the process as `wanted`; it is as `present`."""
        changes = _compare(present, wanted)
        for (part, name), (_, value) in changes.items():
            if part == "variables":
                if value is ABSENT:
                    del os.environb[name]
                else:
                    os.environb[name] = value
            elif part == "loggers":
                _set_logger(name[0], name[1], value)
            elif part == "settings":
                _SETTERS[name](value)
            elif part == "generators":
                set_generator(name, value)
            elif part == "caches":
                self._project.caches.empty(name)
        if ("variables", b"TZ") in changes:
            time.tzset()

    def restore_modules(self) -> None:
        """Put back the modules that were there at first, if the tool has cleared `sys.modules`."""
        if not sys.modules.keys() >= NEEDED_MODULES:
            for name, module in self._modules.items():
                sys.modules.setdefault(name, module)

    def _restore_signals(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number, handler in self._handlers:
            if handler is not None and getsignal(number) != handler:
                signal.signal(number, handler)


def _read_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it is gone
        return ""


def _set_folder(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.chdir(folder)


def _compare(before: State, after: State) -> Changes:
    return {
        (part, name): (old.get(name, ABSENT), new.get(name, ABSENT))
        for part, new in after.items()
        if new != (old := before[part])
        for name in {**old, **new}
        if old.get(name, ABSENT) != new.get(name, ABSENT)
    }


def _copy(state: State) -> State:
    return {part: names.copy() for part, names in state.items()}


def _apply(state: State, changes: Changes) -> None:
    for (part, name), (old, new) in changes.items():
        names = state[part]
        value = _merge(names.get(name, ABSENT), old, new)
        if value is ABSENT:
            names.pop(name, None)
        else:
            names[name] = value


def _merge(present: Any, old: Any, new: Any) -> Any:
    """What `present` becomes by a change from `old` to `new`. Of lists, such as `sys.path`, what has come and gone."""
    if old is UNSET:
        return new if present is ABSENT else present
    if type(new or old) is not list:
        return new
    present, old, new = present or [], old or [], new or []
    kept = [one for one in present if one in new or one not in old]
    common = [place for place, one in enumerate(new) if one in old]
    first = common[0] if common else 0
    came = [one for one in new if one not in old and one not in kept]
    before = [one for one in came if new.index(one) < first]
    return [*before, *kept, *came[len(before) :]] or ABSENT


def _set_logger(logger: logging.Logger, name: str, value: Any) -> None:
    held: Any = vars(logger)[name]
    if value is ABSENT:
        value = (ORDINARY_ROOT if logger is logging.root else ORDINARY)[name]
    if type(held) is list:
        held[:] = value
    elif name == "level":
        logger.setLevel(value)
    else:
        setattr(logger, name, value)


def _set_hooks(hooks: tuple[Any, ...]) -> None:
    sys.excepthook, sys.unraisablehook, sys.displayhook = hooks


def _set_filters(filters: list[Any]) -> None:
    warnings.resetwarnings()  # so that Python forgets what it has decided by them
    warnings.filters[:] = filters  # type: ignore[index]


def _set_showing(showing: tuple[Any, Any]) -> None:
    warnings.showwarning, vars(warnings)["_showwarnmsg_impl"] = showing


def _set_locale(locale: str) -> None:
    with contextlib.suppress(ValueError):  # a locale that is no longer installed
        _locale.setlocale(_locale.LC_ALL, locale)


_SETTERS: Mapping[str, Callable[[Any], object]] = {
    "folder": _set_folder,
    "path": lambda path: sys.path.__setitem__(slice(None), path),
    "recursion": sys.setrecursionlimit,
    "hooks": _set_hooks,
    "filters": _set_filters,
    "showing": _set_showing,
    "captures": lambda shown: vars(logging).__setitem__("_warnings_showwarning", shown),
    "disable": logging.disable,
    "locale": _set_locale,
}
