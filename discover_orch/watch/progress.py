"""How far the run of a watch is, and what a change means for it.

In: the events of the run, and the tools that a change concerns. Out: what becomes of both. The same decision stops
and starts: what is not stopped needs no start. Pure.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.execution.run_state import DebuggerOpened, Event, ToolFinished, ToolStarted
from discover_orch.watch.watch_events import Action


class Progress(Struct, frozen=True, kw_only=True):
    """Which tools wait for their turn, in order, which have finished, and which one is running."""

    waiting: tuple[str, ...] = ()
    finished: frozenset[str] = frozenset()
    running: str | None = None
    is_debugged: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case ToolStarted(module=module):
                return replace(self, waiting=_without(self.waiting, module), running=module)
            case ToolFinished(module=module):
                return Progress(
                    waiting=_without(self.waiting, module), finished=self.finished | {module}
                )
            case DebuggerOpened():
                return replace(self, is_debugged=True)
            case _:
                return self


def decide(
    progress: Progress | None,
    concerned: Collection[str],
    *,
    is_structural: bool = False,
    queues: bool = False,
    can_cancel: bool = True,
) -> Action:
    """What becomes of a change that concerns these tools, while that run is going on, or none.

    `is_structural`: the arguments of tools that wait may be others now. `can_cancel`: the running tool allows it.
    """
    if progress is None:
        return "run"
    wanted, waiting = set(concerned), set(progress.waiting)
    begun = progress.finished | ({progress.running} if progress.running else set())
    if not wanted & begun:
        if is_structural and wanted & waiting:
            return "hold"
        return "none" if wanted <= waiting else "after"
    if queues or (progress.running is None and not progress.waiting):
        return "after"
    return "restart" if can_cancel and not progress.is_debugged else "hold"


def _without(modules: tuple[str, ...], module: str) -> tuple[str, ...]:
    return tuple(one for one in modules if one != module)
