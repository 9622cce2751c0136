"""Which tools ran at the same time, and whether they turned out to share a file or table that one of them writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow, Written, shared
from discover_orch.model.errors import Problem
from discover_orch.model.observation import Observation
from discover_orch.model.table_name import named_table


class Overlaps:
    """Records when tools begin and end, and the data flow of each that passed."""

    def __init__(self) -> None:
        self._running: list[str] = []
        self._pairs: list[tuple[str, str]] = []
        self._flows: dict[str, Dataflow] = {}
        self._partners: dict[str, set[str]] = {}
        self._seen: dict[str, Observation] = {}  # of those that have ended

    def begin(self, module: str) -> None:
        for other in self._running:
            self._pairs.append((other, module))
            self._partners.setdefault(other, set()).add(module)
            self._partners.setdefault(module, set()).add(other)
        self._running.append(module)

    def end(self, module: str) -> None:
        if module in self._running:
            self._running.remove(module)

    def add_flow(self, module: str, flow: Dataflow) -> None:
        if self._pairs:
            self._flows[module] = flow

    def without_others(self, module: str, seen: Observation) -> Observation:
        """The same without files that only the kernel saw being written, and that a tool wrote that ran at the same
        time and has ended."""
        ended = [self._seen[one] for one in self._partners.get(module, ()) if one in self._seen]
        others = {path for one in ended for path in one.written}
        self._seen[module] = seen
        strange = others & _find_only_written(seen)
        if not strange:
            return seen
        kept = tuple(path for path in seen.native_written if path not in strange)
        return replace(seen, native_written=kept)

    def find_written_for_others(self, module: str) -> Iterator[tuple[str, set[str]]]:
        """For a tool that has ended: each tool that ended while it ran, with the files that only the kernel saw being
        written by it, and that this tool wrote."""
        written = {*self._seen[module].written}
        for other in self._partners.get(module, ()) if written else ():
            if other in self._seen:
                found = written & _find_only_written(self._seen[other])
                if found:
                    yield other, found

    def find_conflicts(self, names: Mapping[str, str]) -> Iterator[Problem]:
        """A warning for each pair of tools that should not have run at the same time."""
        for one, other in self._pairs:
            flows = [self._flows[module] for module in (one, other) if module in self._flows]
            if len(flows) < 2 or not any(
                flow.tables_written or flow.files_written for flow in flows
            ):
                continue
            found = _shared(*flows)
            if found:
                yield Problem(
                    code="overlap",
                    message=f"{names[one]} and {names[other]} ran at the same time, and both use {found[0]}",
                    hint="check their results with orch status; from now on they run one after the other",
                    severity="warning",
                )


def _find_only_written(seen: Observation) -> set[str]:
    """What only the kernel saw, and not being read: that may be an input."""
    return {*seen.native_written}.difference(row[0] for row in seen.native_read)


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
