"""What a watch has to run next, and what it still owes from runs that did not come to their end.

In: tools with reasons, and how tools ended. Out: the tools of the next run. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from discover_orch.discovery.registry import Registry
from discover_orch.execution.run_state import Status


class Agenda:
    """`pending` has the tools of the next run, each with its reason."""

    def __init__(self) -> None:
        self.pending: dict[str, str] = {}
        self.failed: set[str] = set()  # the last time that they ran
        self._owed: set[str] = set()  # their turn never came

    def __bool__(self) -> bool:
        return bool(self.pending)

    def put(self, modules: Iterable[str], why: str) -> None:
        """For the next run; a reason that is there already stays."""
        for module in modules:
            self.pending.setdefault(module, why)

    def take(self) -> dict[str, str]:
        taken, self.pending = self.pending, {}
        return taken

    def note(self, module: str, status: Status) -> None:
        """How a tool ended, or that it did not begin."""
        self.failed.discard(module)
        self._owed.discard(module)
        if status == "failed":
            self.failed.add(module)
        elif status in ("blocked", "not_run", "cancelled"):
            self._owed.add(module)

    def forgive(self, modules: Collection[str]) -> None:
        """Nothing is owed of these."""
        self._owed.difference_update(modules)

    def add_owed(
        self, registry: Registry, targets: Collection[str], is_held: Callable[[str], bool]
    ) -> None:
        """Tools whose turn never came have it in the next run, unless what they need has failed and is not in it."""
        still_failed = self.failed - self.pending.keys()
        blocked = registry.downstream(still_failed) if still_failed else frozenset()
        ready = [one for one in targets if one in self._owed - blocked and not is_held(one)]
        self.put(ready, "its turn had not come")
