"""SIGINT in the worker: KeyboardInterrupt for the user's code, a flag for orch's own.

A transaction that is being ended, or a resource that has just been opened, must not be torn apart by an
exception; so one is raised only where the user's code runs, and orch asks for the flag between.
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any


class Interrupts:
    """`asked`: the parent wants this to end. `raised`: the user's code was told."""

    def __init__(self) -> None:
        self.asked = False
        self.raised = False
        self.is_debugging = False  # at a debugger's prompt, where Ctrl-C asks for no end
        self._listens = False
        self._runner: Any = None

    def install(self) -> None:
        """Handle SIGINT from now on; the supervisor had it blocked until here."""
        signal.signal(signal.SIGINT, self._handle)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def call(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        """Run code of the user; what it gives is awaited where it can be."""
        before, self._listens = self._listens, True
        try:
            given = function(*args, **named)
            if hasattr(given, "__await__"):
                given = self._await(given)
        finally:
            self._listens = before
        return given

    def check(self) -> None:
        """Between two pieces of the user's code: raise what came in the meantime."""
        if self.asked:
            self.raised = True
            raise KeyboardInterrupt

    def close(self) -> None:
        """End the event loop, where one was needed."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_debugging:
            raise KeyboardInterrupt
        self.asked = True
        # In the frame of `call` itself, the user's code has just come back: too late to interrupt it.
        if self._listens and (frame is None or frame.f_code is not _CALL):
            self.raised = True
            raise KeyboardInterrupt

    def _await(self, awaitable: Any) -> Any:
        """One event loop for the whole worker: async resources stay usable in it."""
        import asyncio  # 50 ms, and few tools need it

        if self._runner is None:
            self._runner = asyncio.Runner()

        async def wait() -> Any:
            mine = asyncio.current_task()
            try:
                return await awaitable
            finally:
                left = [task for task in asyncio.all_tasks() if task is not mine]
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)

        return self._runner.run(wait())


_CALL = Interrupts.call.__code__
