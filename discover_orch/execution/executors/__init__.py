"""How a ready step is carried out. One small Protocol; each way has a file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from discover_orch.execution.events import Event
from discover_orch.planning.plan import Step


class Executor(Protocol):
    """Takes steps in order and gives back what happens. It prints nothing and decides no order."""

    @property
    def is_idle(self) -> bool:
        """No step that was submitted is running or may still begin."""

    def submit(self, step: Step) -> None:
        """Carry out `step` after those submitted before it, unless one of them fails."""

    def events(self, timeout: float, wake: int) -> Iterator[Event]:
        """What has happened; waits `timeout` seconds for the first, less if `wake` is readable."""

    def interrupt(self) -> None:
        """Interrupt what is running, and begin nothing more."""

    def kill(self) -> None:
        """End everything at once."""

    def suspend(self) -> None:
        """Stop for as long as the user stops orch."""

    def resume(self) -> None:
        """Go on after `suspend`."""

    def finish(self) -> None:
        """Nothing more will be submitted: resources are to be closed."""

    @property
    def is_over(self) -> bool:
        """All is closed and ended; `events` has nothing more to give."""
