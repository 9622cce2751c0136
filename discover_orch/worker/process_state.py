"""Restores the state of the process after each tool: working directory, environment, signals, logging, warnings.

Modules are not restored, since the tools of a worker share them and their contents. Only those that orch itself
needs come back if a tool removes them.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import warnings
from _signal import getsignal  # type: ignore[import-not-found]  # without the enums of `signal`

TYPE_CHECKING = False
if TYPE_CHECKING:
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
        self._variables = os.environ.copy()
        # Comparing the mapping itself would decode every variable, after every tool.
        self._raw = getattr(os.environ, "_data", None)
        self._raw_before = None if self._raw is None else dict(self._raw)
        self._handlers = [(int(number), getsignal(number)) for number in SIGNALS]
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._recursion_limit = sys.getrecursionlimit()
        self._hooks = (sys.excepthook, sys.unraisablehook, sys.displayhook)
        self._trace = (sys.gettrace(), sys.getprofile())
        self._warnings: Any = None
        self._log: Any = None

    def __enter__(self) -> None:
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        self._log = _read_logging()
        sys.argv = ["orch"]

    def __exit__(self, *details: object) -> None:
        sys.settrace(self._trace[0])
        sys.setprofile(self._trace[1])
        sys.setrecursionlimit(self._recursion_limit)
        sys.excepthook, sys.unraisablehook, sys.displayhook = self._hooks
        self._restore_signals()
        self._restore_environment()
        with contextlib.suppress(OSError):  # the root is gone: the next tool will fail
            os.chdir(self._root)
        os.umask(self._umask)
        faulthandler.enable(self._crash_fd, all_threads=False)
        if "logging" in sys.modules:  # before `catch_warnings` restores `showwarning`
            sys.modules["logging"].captureWarnings(False)
        self._warnings.__exit__(*details)
        _restore_logging(self._log)

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

    def _restore_environment(self) -> None:
        if os.environ is not self._environ:
            os.environ = self._environ  # noqa: B003
        is_same = (
            self._environ == self._variables if self._raw is None else self._raw == self._raw_before
        )
        if not is_same:
            self._environ.clear()
            self._environ.update(self._variables)


def _read_logging() -> Any:
    """The configuration of logging; None where it is not imported."""
    logging = sys.modules.get("logging")
    if logging is None:
        return None
    root = logging.root
    return (
        root.handlers[:],
        root.level,
        root.manager.disable,
        root.disabled,
        root.filters[:],
        _find_disabled(root),
    )


def _restore_logging(before: Any) -> None:
    logging = sys.modules.get("logging")
    if logging is None:
        return
    fresh: Any = [], logging.WARNING, logging.NOTSET, False, [], set()
    handlers, level, disable, disabled, filters, off = before or fresh
    root = logging.root
    if root.handlers != handlers:
        root.handlers[:] = handlers
    if root.level != level:
        root.setLevel(level)
    if root.manager.disable != disable:
        logging.disable(disable)
    root.disabled = disabled
    root.filters[:] = filters
    for one in _find_disabled(root) - off:
        one.disabled = False


def _find_disabled(root: Any) -> set[Any]:
    """The disabled loggers. Only `logging.config` disables loggers, all that it finds."""
    if "logging.config" not in sys.modules:
        return set()
    return {one for one in root.manager.loggerDict.values() if getattr(one, "disabled", False)}


def find_threads() -> tuple[str, ...]:
    """Names of threads that keep the interpreter from ending."""
    threading = sys.modules.get("threading")
    if threading is None:
        return ()
    main = threading.main_thread()
    return tuple(one.name for one in threading.enumerate() if one is not main and not one.daemon)
