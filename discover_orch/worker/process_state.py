"""Restores the state of the process after each tool: working directory, environment, signals, logging, warnings.

Modules are not restored, since the tools of a worker share them and their contents. Only those that orch itself
needs come back if a tool removes them. What a module of the project changes while it is loaded, or a resource while it
is opened, stays for all tools of the worker, since that happens once: `load_dotenv()`, `logging.basicConfig()`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import warnings
from _signal import getsignal  # type: ignore[import-not-found]  # without the enums of `signal`

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# The signals that programs handle. SIGHUP is missing: see `child_processes.end_with_parent`.
SIGNALS = (
    signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGQUIT,
    signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGCONT, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip
#: Without these, Python itself raises.
NEEDED_MODULES = frozenset(["builtins", "importlib", "os", "sys", "warnings"])


class ProcessState:
    """The state that each tool starts with; a context manager around each tool."""

    def __init__(self, root: str, crash_fd: int) -> None:
        self._root = root
        self._modules = sys.modules.copy()
        self._crash_fd = crash_fd
        self._environ = os.environ
        self._handlers = [(int(number), getsignal(number)) for number in SIGNALS]
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._trace = (sys.gettrace(), sys.getprofile())
        self._lasting = self._read_lasting()
        self._is_loading = False

    def __enter__(self) -> None:
        sys.argv = ["orch"]

    def __exit__(self, *details: object) -> None:
        sys.settrace(self._trace[0])
        sys.setprofile(self._trace[1])
        self._restore_signals()
        if os.environ is not self._environ:
            os.environ = self._environ  # noqa: B003
        self._restore_lasting()
        with contextlib.suppress(OSError):  # the root is gone: the next tool will fail
            os.chdir(self._root)
        os.umask(self._umask)
        faulthandler.enable(self._crash_fd, all_threads=False)

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Around what runs once for all tools: what it changes is what the next ones start with."""
        if self._is_loading:  # a module imports another one
            yield
            return
        self._is_loading = True
        before = self._read_lasting()
        try:
            yield
        finally:
            self._is_loading = False
            after = self._read_lasting()
            if after != before:
                self._lasting = {
                    name: _merge(self._lasting[name], before[name], after[name]) for name in after
                }

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

    def _read_lasting(self) -> dict[str, Any]:
        """What code that runs once can change for all tools."""
        return {
            # Not the mapping itself, which would decode every variable.
            "variables": dict(vars(self._environ)["_data"]),
            "recursion": sys.getrecursionlimit(),
            "hooks": [sys.excepthook, sys.unraisablehook, sys.displayhook],
            "filters": warnings.filters[:],
            "showing": [warnings.showwarning, vars(warnings).get("_showwarnmsg_impl")],
            **_read_logging(),
        }

    def _restore_lasting(self) -> None:
        then, now = self._lasting, self._read_lasting()
        if now == then:
            return
        for name in now["variables"].keys() - then["variables"].keys():
            del os.environb[name]
        for name, value in then["variables"].items():
            if now["variables"].get(name) != value:
                os.environb[name] = value
        sys.setrecursionlimit(then["recursion"])
        sys.excepthook, sys.unraisablehook, sys.displayhook = then["hooks"]
        _restore_logging(then)
        if now["filters"] != then["filters"]:
            warnings.resetwarnings()  # so that Python forgets what it has decided by them
            warnings.filters[:] = then["filters"]  # type: ignore[index]
        warnings.showwarning, vars(warnings)["_showwarnmsg_impl"] = then["showing"]


def _read_logging() -> dict[str, Any]:
    """The configuration of logging."""
    root = logging.root
    return {
        "handlers": root.handlers[:],
        "level": root.level,
        "disable": root.manager.disable,
        "off": root.disabled,
        "log_filters": root.filters[:],
        "loggers_off": _find_disabled(root),
        "captures": vars(logging).get("_warnings_showwarning") is not None,
    }


def _restore_logging(then: dict[str, Any]) -> None:
    root = logging.root
    logging.captureWarnings(then["captures"])
    root.handlers[:] = then["handlers"]
    if root.level != then["level"]:
        root.setLevel(then["level"])
    if root.manager.disable != then["disable"]:
        logging.disable(then["disable"])
    root.disabled = then["off"]
    root.filters[:] = then["log_filters"]
    for one in _find_disabled(root) - then["loggers_off"]:
        one.disabled = False


def _find_disabled(root: Any) -> set[Any]:
    """The disabled loggers. Only `logging.config` disables loggers, all that it finds."""
    if "logging.config" not in sys.modules:
        return set()
    return {one for one in [*root.manager.loggerDict.values()] if getattr(one, "disabled", False)}


def _merge(base: Any, before: Any, after: Any) -> Any:
    """`base` with what differs between `before` and `after`. These differ from `base` where `run()` has changed
    something before it imports a module."""
    if base == before:
        return after
    if before == after:
        return base
    if isinstance(base, dict):
        removed = before.keys() - after.keys()
        changed = {name: one for name, one in after.items() if before.get(name) != one}
        return {name: one for name, one in (base | changed).items() if name not in removed}
    if isinstance(base, set):
        return (base - (before - after)) | (after - before)
    if isinstance(base, list):
        new = [one for one in after if one not in before]
        return [*new, *(one for one in base if one in after or one not in before)]
    return after


def find_threads() -> tuple[str, ...]:
    """Names of threads that keep the interpreter from ending."""
    threading = sys.modules.get("threading")
    if threading is None:
        return ()
    main = threading.main_thread()
    return tuple(one.name for one in threading.enumerate() if one is not main and not one.daemon)
