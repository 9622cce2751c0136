"""The items whose files tools of a run make: their steps join the run before the next tool starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from discover_orch.discovery.items import find_files, find_key
from discover_orch.execution.request import ReadyRun, with_new_items
from discover_orch.model.errors import OrchError, Problem
from discover_orch.model.items import FilePattern, tool_of
from discover_orch.model.tool_events import ToolFinished
from discover_orch.staleness.tool_result import Success
from discover_orch.state.sealed_files import read_flows


def may_find_items(ready: ReadyRun) -> bool:
    """Whether there may be new items during a run."""
    tools = ready.view.registry.by_tool.tools.values()
    return any(isinstance(one.each, FilePattern) for one in tools)


class NewItems:
    """Finds them for one run. It looks only after a tool has ended that may have made such files, and not between two
    steps of that tool. `success_of` gives the last success of a step."""

    def __init__(self, ready: ReadyRun, success_of: Callable[[str], Success | None]) -> None:
        self._ready, self._success_of = ready, success_of
        tools = ready.view.registry.by_tool.tools.values()
        self._tools = [one for one in tools if isinstance(one.each, FilePattern)]
        self._makers: set[str] = set()  # tools that have made such files since the last look
        self._passed: list[str] = []

    def note_end(self, event: ToolFinished) -> None:
        """A step has ended."""
        success = None
        if event.status in ("passed", "done"):
            self._passed.append(event.module)
            success = self._success_of(event.module)
        elif event.status not in ("failed", "unknown"):
            return
        if success is None or not success.is_whole or self._has_new(success.flow.writes):
            self._makers.add(tool_of(event.module))

    def _has_new(self, paths: Iterable[str]) -> bool:
        """Whether one of these files belongs to an item that the run does not have."""
        known = self._ready.view.registry.tools
        return any(
            (key := find_key(tool, path)) and key not in known
            for path in paths
            for tool in self._tools
        )

    def find(self, following: str | None) -> tuple[ReadyRun | None, tuple[Problem, ...]]:
        """The run with the items that there are now, before the step of `following` starts or, with None, at its end;
        None if there are no new ones. Problems are those of values that they need."""
        if not self._makers or (following is not None and tool_of(following) in self._makers):
            return None, ()
        self._makers.clear()
        root = self._ready.view.project.root
        patterns = [one.each.pattern for one in self._tools if isinstance(one.each, FilePattern)]
        if not any(self._has_new(find_files(root, pattern)) for pattern in patterns):
            return None, ()
        flows = read_flows(root)
        for module in self._passed:
            if (success := self._success_of(module)) is not None:
                flows[module] = success.flow
        try:
            ready = with_new_items(self._ready, flows)
        except OrchError as error:
            self._tools = []  # they would be refused again
            return None, error.problems
        self._ready = ready or self._ready
        return ready, ()
