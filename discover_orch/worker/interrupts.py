"""SIGINT in the worker: KeyboardInterrupt for the user's code, a flag for orch's own.

A transaction that is being ended, or a resource that has just been opened, must not be torn apart by an
exception; so one is raised only where a tool runs, and orch asks for the flag between.
"""

from __future__ import annotations

import _thread
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any


# Seconds from the interrupt on, and at least for each call; the parent's next step comes after two.
SHIELD_TIME = 1.0
LEAST_SHIELD_TIME = 0.2


class Interrupts:
    """`is_requested`: the parent wants this to end. `was_raised`: the user's code was told."""

    def __init__(self) -> None:
        self.is_requested = False
        self.was_raised = False
        self.is_debugging = False  # at a debugger's prompt, where Ctrl-C asks for no end
        self._main = _thread.get_ident()
        self._requested_at = 0.0
        self._may_raise = False
        self._shielded: object = None  # stands for the one shielded call that is going on
        self._overdue: object = None  # the one that has had its time
        self._runner: Any = None

    def install(self) -> None:
        """Handle SIGINT from now on; the supervisor had it blocked until here."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGCONT, _wake)  # what it interrupts, sees a SIGINT that came before
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def call(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        """Run code of the user; what it gives is awaited where it can be."""
        before, self._may_raise = self._may_raise, True
        try:
            given = function(*args, **named)
            if hasattr(given, "__await__"):
                given = self._await(given)
        finally:
            self._may_raise = before
        return given

    def shield(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        """The same for code that opens or closes something: an interrupt waits for its end.

        Else what it has just opened could be lost before anybody can close it. Where it takes longer
        than `SHIELD_TIME`, the interrupt comes all the same, while there is time to close the others.
        """
        self._shielded = object()
        if self.is_requested:
            self._schedule_overdue()
        try:
            given = function(*args, **named)
            if hasattr(given, "__await__"):
                given = self._await(given)
        finally:
            self._shielded = None
        return given

    def raise_if_requested(self) -> None:
        """Between two pieces of the user's code: raise what came in the meantime."""
        if self.is_requested:
            self.was_raised = True
            raise KeyboardInterrupt

    def close(self) -> None:
        """End the event loop, where one was needed."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_debugging:
            raise KeyboardInterrupt
        self.is_requested = True
        self._requested_at = self._requested_at or time.monotonic()
        # In the frames of ours, the user's code has just come back: too late to interrupt it.
        if frame is not None and frame.f_code in _OWN:
            return
        if self._may_raise or (self._shielded is not None and self._shielded is self._overdue):
            self.was_raised = True
            raise KeyboardInterrupt
        if self._shielded is not None:
            self._schedule_overdue()

    def _schedule_overdue(self) -> None:
        """Interrupt what is shielded now once more, when it has had its time."""
        wait = max(self._requested_at + SHIELD_TIME - time.monotonic(), LEAST_SHIELD_TIME)
        _thread.start_new_thread(self._raise_overdue, (self._shielded, wait))

    def _raise_overdue(self, shield: object, wait: float) -> None:
        time.sleep(wait)
        if self._shielded is shield:
            self._overdue = shield
            signal.pthread_kill(self._main, signal.SIGINT)  # another thread would not wake it

    def _await(self, awaitable: Any) -> Any:
        """One event loop for the whole worker: async resources stay usable in it."""
        import asyncio  # 50 ms, and few tools need it

        if self._runner is None:
            self._runner = asyncio.Runner()

        async def wait() -> Any:
            return await awaitable

        try:
            return self._runner.run(wait())
        finally:
            # An interrupt while the loop waits leaves it without the tool's own task being told; and
            # tasks that the tool did not wait for are no business of the next one.
            loop = self._runner.get_loop()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


def _wake(number: int, frame: FrameType | None) -> None:
    pass


_OWN = (Interrupts.call.__code__, Interrupts.shield.__code__)
