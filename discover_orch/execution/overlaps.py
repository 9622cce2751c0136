"""Which tools ran at the same time, and whether they turned out to share a file or table that one of them writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.errors import Problem
from discover_orch.model.flow_edges import Written, shared
from discover_orch.model.items import tool_of
from discover_orch.model.keys import named_table
from discover_orch.model.tool import Tool


class Overlaps:
    """Records when tools begin and end, and the data flow of each that passed."""

    def __init__(self) -> None:
        self._running: list[str] = []
        self._pairs: dict[frozenset[str], tuple[str, str]] = {}
        self._flows: dict[str, Dataflow] = {}

    def begin(self, module: str) -> None:
        for other in self._running:
            self._pairs.setdefault(frozenset((other, module)), (other, module))
        self._running.append(module)

    def end(self, module: str) -> None:
        if module in self._running:
            self._running.remove(module)

    def add_flow(self, module: str, flow: Dataflow) -> None:
        if self._pairs:
            self._flows[module] = flow

    def find_conflicts(self, tools: Mapping[str, Tool]) -> Iterator[Problem]:
        """A warning for each pair of tools that should not have run at the same time. Items of one tool may."""
        for one, other in self._pairs.values():
            if tool_of(one) == tool_of(other):
                continue
            flows = [self._flows[module] for module in (one, other) if module in self._flows]
            if len(flows) < 2 or not any(
                flow.tables_written or flow.files_written for flow in flows
            ):
                continue
            found = _shared(*flows)
            if found:
                yield Problem(
                    code="overlap",
                    message=f"{tools[one].name} and {tools[other].name} ran at the same time, and both use {found[0]}",
                    hint="check their results with orch status; from now on they run one after the other",
                    severity="warning",
                )


def _shared(one: Dataflow, other: Dataflow) -> list[str]:
    """What one of them writes and the other uses, unless both only add to it."""
    inserted = {*one.tables_inserted} & {*other.tables_inserted}
    appended = {*one.appended} & {*other.appended}
    tables = {
        name
        for first, second in ((one, other), (other, one))
        for name in first.tables_written
        if Written([second]).of_table(name)
    } - inserted
    files = {*one.writes} & {*other.writes} - appended
    files |= ({*one.missed} & {*other.writes}) | ({*other.missed} & {*one.writes})
    return [
        *shared(one, other),
        *shared(other, one),
        *map(named_table, sorted(tables)),
        *sorted(files),
    ]
