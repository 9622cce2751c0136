"""Which functions of the project ran in a step: Python says that from 3.12 on (`sys.monitoring`, PEP 669).

Each code object of the project is reported when it starts or goes on for the first time, and not again until the next
step, so that it costs nothing that could be measured; other code is left alone. Python tells of all code that is
executed or becomes a function, with what is in it. What runs while a module is loaded belongs to that module.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
from types import CodeType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType
    from typing import Any

    from discover_orch.worker.project_code import ProjectCode

#: The numbers that `sys.monitoring` leaves to anybody.
_FREE_NUMBERS = (3, 4)
_NAME = "orch"
FORKED = "forked"
HAS_HOOK = "calls code that Python does not report"
HAS_THREAD = "has a thread of the project's code"
NOT_MONITORED = "is not monitored"
_monitoring: Any = getattr(sys, "monitoring", None)

#: Qualified names by the path of their module.
Ran = dict[str, tuple[str, ...]]


class RanFunctions:
    """`begin_step` before each step, `finish_step` after it."""

    def __init__(self, project: ProjectCode) -> None:
        self._project = project
        self._here: dict[str, set[str]] = {}  # of the step, or of the module that is being loaded
        self._loads: dict[str, dict[str, set[str]]] = {}
        self._codes: dict[int, CodeType] = {}  # that can be reported; two of two files can be equal
        self._number = -1
        self._has_forked = self._is_paused = self._has_hook = False
        self._events = 0
        if _monitoring is not None:
            self._start()
            os.register_at_fork(before=self._note_fork)
            files = [getattr(one, "__file__", None) for one in sys.modules.copy().values()]
            if any(isinstance(one, str) and project.find_path(one) for one in files):
                self.note_hook()  # what a `.pth` file has loaded

    @property
    def is_known(self) -> bool:
        """Whether this Python can tell."""
        return _monitoring is not None

    def _start(self) -> None:
        events = _monitoring.events
        for number in _FREE_NUMBERS:
            if _monitoring.get_tool(number) is None:
                _monitoring.use_tool_id(number, _NAME)
                for event in (events.PY_START, events.PY_RESUME):
                    _monitoring.register_callback(number, event, self._note)
                self._number, self._events = number, events.PY_START | events.PY_RESUME
                return

    def _note(self, code: CodeType, _: int) -> object:
        if name := find_piece_name(code.co_qualname):
            self._here.setdefault(self._project.find_code_file(code), set()).add(name)
        return _monitoring.DISABLE

    def note_code(self, *values: object) -> None:
        """Code is executed or given to a function: it is one of these values."""
        if self._number < 0:
            return
        waiting = [one for one in values if type(one) is CodeType]
        while waiting:
            code = waiting.pop()
            if id(code) not in self._codes and self._project.find_code_file(code):
                self._codes[id(code)] = code
                if not self._is_paused:
                    _monitoring.set_local_events(self._number, code, self._events)
                waiting += [one for one in code.co_consts if type(one) is CodeType]

    def note_new_code(self, _: object, file: str, *others: object) -> None:
        """Code is made from other code, and it is not known where it goes."""
        if self._project.find_path(file):
            self.note_hook()

    def note_hook(self) -> None:
        """From now on something is called in which functions are not reported: a tracer, an audit hook."""
        self._has_hook = True

    def _note_fork(self) -> None:
        self._has_forked = True

    def begin_step(self) -> None:
        """Forget what happened before the step."""
        self._here.clear()
        self._loads.clear()
        self._pause(is_paused=False)
        # A pool that an earlier step has left may run functions of this one.
        pools = sys.modules.get("multiprocessing.process")
        self._has_forked = pools is not None and bool(pools.active_children())
        self._restart()

    def pause(self) -> None:
        """Until the end of the step: a debugger stops elsewhere in code that is monitored."""
        self._pause(is_paused=True)

    def _pause(self, *, is_paused: bool) -> None:
        if self._number >= 0 and self._is_paused != is_paused:
            for code in [*self._codes.values()]:
                _monitoring.set_local_events(self._number, code, 0 if is_paused else self._events)
        self._is_paused = is_paused

    @contextlib.contextmanager
    def loading(self, owner: str) -> Iterator[None]:
        """While this module is loaded, or this resource opened."""
        outer = self._here
        if outer:  # what ran before may run once more
            self._restart()
        inner = self._here = self._loads.setdefault(owner, {})
        try:
            yield
        finally:
            self._here = outer
            if inner:
                self._restart()

    def _restart(self) -> None:
        if self._number >= 0:
            _monitoring.restart_events()

    def finish_step(self) -> tuple[Ran, Mapping[str, Ran], str]:
        """What ran in the step, and by what was loaded or opened in it what ran then; and why more may have run, ""
        where nothing can have."""
        loads = {owner: _sort(found) for owner, found in self._loads.items() if found}
        return _sort(self._here), loads, self._find_gap()

    def _find_gap(self) -> str:
        if self._number < 0 or _monitoring.get_tool(self._number) != _NAME:
            return NOT_MONITORED if _monitoring is not None else ""
        if self._has_hook:
            return HAS_HOOK
        if self._has_forked:
            return FORKED
        if self._is_paused:
            return NOT_MONITORED
        return HAS_THREAD if self._has_running_thread() else ""

    def _has_running_thread(self) -> bool:
        others = sys._current_frames()
        del others[_thread.get_ident()]
        frames: list[FrameType | None] = [*others.values()]
        for frame in frames:
            while frame is not None:
                if self._project.find_code_file(frame.f_code):
                    return True
                frame = frame.f_back
        return False


def _sort(found: dict[str, set[str]]) -> Ran:
    return {path: tuple(sorted(names)) for path, names in found.copy().items()}


def find_piece_name(qualified: str) -> str:
    """The function at the top of a module, or the method of a class there, that the code is or is in; "" for code that
    belongs to what is executed when the module is loaded."""
    return "" if qualified[:1] == "<" else qualified.partition(".<")[0]
