"""How a step that is ready is carried out: one protocol, and a module for each way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

from discover_orch.execution.events import Event
from discover_orch.planning.plan import Step

Word = Literal["interrupt", "kill", "suspend", "resume"]


class Executor(Protocol):
    """Carries out steps in the order in which they are submitted. It prints nothing and decides no order."""

    @property
    def is_idle(self) -> bool:
        """Whether no submitted step is running or may still start."""

    @property
    def has_room(self) -> bool:
        """Whether another step can be submitted."""

    def submit(self, step: Step) -> None:
        """Carries out `step` after those submitted before it. If one of them fails, declines it."""

    def events(self, timeout: float, wake: int) -> Iterator[Event]:
        """What has happened. Waits up to `timeout` seconds for the first event, or until the descriptor `wake` is
        readable."""

    def control(self, word: Word) -> None:
        """`interrupt`: interrupts what is running and starts nothing more. `kill`: kills everything at once. `suspend`
        stops the processes, as Ctrl-Z does, and `resume` continues them."""

    def finish(self, *, commits: bool = False) -> None:
        """Closes resources: nothing more will be submitted. `commits`: the run is one transaction, of one worker, and
        is committed first, which `TransactionEnded` says unless the worker dies."""

    @property
    def is_over(self) -> bool:
        """Whether all is closed and ended, and `events` has nothing more to give."""
