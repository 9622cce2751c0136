"""Which tools ran at the same time, and whether they turned out to share a file or table that one of them writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow, Written, less, shared
from discover_orch.model.errors import Problem
from discover_orch.model.observation import Observation
from discover_orch.model.table_name import named_table
from discover_orch.staleness.fingerprint import Key


class Overlaps:
    """Records when tools begin and end, what was seen of them, and the data flow of each that passed."""

    def __init__(self) -> None:
        self._running: list[str] = []
        self._partners: dict[str, dict[str, None]] = {}
        self._flows: dict[str, Dataflow] = {}
        self._seen: dict[str, Observation] = {}  # of those that have ended
        self._written: dict[str, Collection[str]] = {}  # the files that these surely wrote

    def begin(self, module: str) -> None:
        for other in self._running:
            self._partners.setdefault(other, {})[module] = None
            self._partners.setdefault(module, {})[other] = None
        self._running.append(module)

    def end(self, module: str) -> None:
        if module in self._running:
            self._running.remove(module)

    def add_flow(self, module: str, flow: Dataflow) -> None:
        if self._partners:
            self._flows[module] = flow

    def add_written(self, module: str, paths: Collection[str]) -> None:
        """The files that a tool that has ended surely wrote."""
        self._written[module] = paths

    def has_partners(self, module: str) -> bool:
        """Whether another tool ran while this one did, in any of its attempts."""
        return module in self._partners

    def without_others(
        self,
        module: str,
        seen: Observation,
        own: Collection[Key] | None,
        used_by: Callable[[str], Collection[Key]],
    ) -> Observation:
        """The same without what only the kernel saw and the tools did that ran at the same time. `own` is what this
        tool was seen to use when it ran alone, None if that is not known: then what others read may be its own too.
        `used_by` gives what a tool is known to use."""
        self._seen[module] = seen
        written, used = set[str](), set[str]()
        for other in self._partners.get(module, ()):
            if other in self._seen:
                written.update(self._written.get(other, ()))
                used.update(_find_used(self._seen[other]))
            if own is not None:
                used.update(key.partition(":")[2] for key in used_by(other))
        if own is None:
            strange = written & _find_only_written(seen)
        else:
            strange = (used | written).difference(key.partition(":")[2] for key in own)
        if not strange:
            return seen
        return replace(
            seen,
            native_read=tuple(row for row in seen.native_read if row[0] not in strange),
            native_listed=tuple(row for row in seen.native_listed if row[0] not in strange),
            native_written=less(seen.native_written, strange),
            native_before=less(seen.native_before, strange),
            native_named=less(seen.native_named, strange),
        )

    def find_written_for_others(self, module: str) -> Iterator[tuple[str, set[str]]]:
        """For a tool that has ended: each tool that ended while it ran, with the files that only the kernel saw being
        written by it, and that this tool surely wrote."""
        written = {*self._written.get(module, ())}
        for other in self._partners.get(module, ()) if written else ():
            if other in self._seen:
                found = written & _find_only_written(self._seen[other])
                if found:
                    yield other, found

    def find_conflicts(self, names: Mapping[str, str]) -> Iterator[Problem]:
        """A warning for each pair of tools that should not have run at the same time."""
        pairs: dict[frozenset[str], tuple[str, str]] = {}
        for one, others in self._partners.items():
            for other in others:
                pairs.setdefault(frozenset((one, other)), (one, other))
        for one, other in pairs.values():
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


def _find_used(seen: Observation) -> Iterator[str]:
    """What Python was seen to use."""
    yield from (path for path, *_ in seen.read)
    yield from (folder for folder, _ in seen.listed)
    yield from seen.written


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
