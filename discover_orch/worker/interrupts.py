"""SIGINT in the worker: KeyboardInterrupt in the user's code, a flag in orch's own code.

An exception must not break the end of a transaction or lose a resource that has just been opened. So
KeyboardInterrupt is raised only while a tool runs; in between, orch checks the flag.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any


# Seconds that shielded code may take: since the interrupt, and at least for each call. The parent sends SIGTERM
# after two seconds.
SHIELD_TIME = 1.0
LEAST_SHIELD_TIME = 0.2


class Interrupts:
    """`is_requested`: SIGINT has come. `was_raised`: KeyboardInterrupt was raised in the user's code."""

    def __init__(self) -> None:
        self.is_requested = False
        self.was_raised = False
        self.is_debugging = False  # at a debugger's prompt, where Ctrl-C does not end the run
        self._main = _thread.get_ident()
        self._requested_at = 0.0
        self._may_raise = False
        self._shielded: object = None  # identifies the running shielded call
        self._overdue: object = None  # the shielded call whose time is over
        self._runner: Any = None
        self._cancel: Callable[[], None] | None = None
        self._unraisable_hook: Callable[[Any], Any] = sys.unraisablehook

    def install(self) -> None:
        """Handle SIGINT from now on; the parent started this process with SIGINT blocked."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGCONT, _ignore)  # wakes a system call, so that a SIGINT is seen
        self._unraisable_hook, sys.unraisablehook = sys.unraisablehook, self._raise_again
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def cancel_with(self, cancel: Callable[[], None]) -> None:
        """Call `cancel` in another thread when SIGINT comes while the user's code runs.

        The main thread may wait for a database, in code that does not return until the statement has ended.
        """
        if self._cancel is None:
            readable, writable = os.pipe()
            os.set_blocking(writable, False)
            signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
            os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
            _thread.start_new_thread(self._cancel_at_signals, (readable,))
        self._cancel = cancel

    def _cancel_at_signals(self, readable: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # for the main thread only
        is_interrupted = False
        while numbers := os.read(readable, 512):
            is_interrupted |= signal.SIGINT in numbers
            # The parent sends SIGCONT some times after SIGINT: a statement may begin just after it.
            if is_interrupted and self._may_raise and self._cancel is not None:
                # Before the error of the driver can reach the main thread.
                self.is_requested |= not self.is_debugging
                self._cancel()

    def call(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        """Call the user's code and await the result where it is awaitable."""
        before, self._may_raise = self._may_raise, True
        try:
            given = function(*args, **named)
            if hasattr(given, "__await__"):
                given = self._await(given)
        finally:
            self._may_raise = before
        return given

    def shield(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        """The same for code that opens or closes a resource: an interrupt waits until it returns.

        Otherwise a resource that has just been opened could be lost. Code that takes longer than
        `SHIELD_TIME` is interrupted, so that there is time left to close the other resources.
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
        """Raise KeyboardInterrupt if SIGINT came since the user's code returned."""
        if self.is_requested:
            self.was_raised = True
            raise KeyboardInterrupt

    def close(self) -> None:
        """Close the event loop, if there is one."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_debugging:
            raise KeyboardInterrupt
        self.is_requested = True
        self._requested_at = self._requested_at or time.monotonic()
        if frame is not None and frame.f_code is _UNRAISABLE_CODE:
            self._interrupt_later()
            return
        # In these frames the user's code has just returned: too late to interrupt it.
        if frame is not None and frame.f_code in _CALLING_CODE:
            return
        if self._may_raise or (self._shielded is not None and self._shielded is self._overdue):
            self.was_raised = True
            raise KeyboardInterrupt
        if self._shielded is not None:
            self._schedule_overdue()

    def _raise_again(self, unraisable: Any, /) -> None:
        """Python drops an exception in `__del__` or in a callback of a weak reference, as imports have them."""
        if self.was_raised and unraisable.exc_type is KeyboardInterrupt:
            self._interrupt_later()
        else:
            self._unraisable_hook(unraisable)

    def _interrupt_later(self) -> None:
        _thread.start_new_thread(signal.pthread_kill, (self._main, signal.SIGINT))

    def _schedule_overdue(self) -> None:
        """Interrupt the shielded call when its time is over."""
        wait = max(self._requested_at + SHIELD_TIME - time.monotonic(), LEAST_SHIELD_TIME)
        _thread.start_new_thread(self._raise_overdue, (self._shielded, wait))

    def _raise_overdue(self, shield: object, wait: float) -> None:
        time.sleep(wait)
        if self._shielded is shield:
            self._overdue = shield
            signal.pthread_kill(self._main, signal.SIGINT)  # wakes the main thread

    def _await(self, awaitable: Any) -> Any:
        """Run in the event loop of this worker: one for all steps, so that async resources stay usable."""
        import asyncio  # takes 50 ms

        if self._runner is None:
            self._runner = asyncio.Runner()

        stopped: list[BaseException] = []

        async def wait() -> Any:
            try:
                return await awaitable
            except asyncio.CancelledError as error:
                stopped.append(error)
                raise

        interrupt = None
        try:
            return self._runner.run(wait())
        except KeyboardInterrupt as error:
            interrupt = error
            raise
        finally:
            # An interrupt can leave the tool's task behind; and tasks that the tool did not wait for must
            # not run into the next step.
            loop = self._runner.get_loop()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            if interrupt is not None and stopped:  # it came between two steps of the loop
                interrupt.__traceback__ = stopped[0].__traceback__


def _ignore(number: int, frame: FrameType | None) -> None:
    pass


_UNRAISABLE_CODE = Interrupts._raise_again.__code__
_CALLING_CODE = (Interrupts.call.__code__, Interrupts.shield.__code__)
