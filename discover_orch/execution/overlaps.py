"""Which tools ran at the same time, and whether they turned out to share a file or table that one of them writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow, Written, shared
from discover_orch.model.errors import Problem
from discover_orch.model.observation import WRITTEN, Observation
from discover_orch.model.table_name import named_table
from discover_orch.staleness.fingerprint import Key

_USING = frozenset(("read", "opened", "listed", *WRITTEN))


class Overlaps:
    """Records when tools begin and end, what was seen of them, and the data flow of each that passed."""

    def __init__(self) -> None:
        self._running: list[str] = []
        self._partners: dict[str, dict[str, None]] = {}
        self._flows: dict[str, Dataflow] = {}
        self._used: dict[str, set[str]] = {}  # by Python, of those that have ended
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

    def add_written(self, module: str, paths: Collection[str]) -> list[str]:
        """The files that a tool that has ended surely wrote. The tools that ended while it ran."""
        self._written[module] = paths
        return [other for other in self._partners.get(module, ()) if other in self._used]

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
        tool was seen to use when it ran alone, so that this stays known of it; None if that is not known: then what
        others read may be its own too. `used_by` gives what a tool is known to use."""
        self._used[module] = {
            one.name for one in seen.uses if one.via == "seen" and one.kind in _USING
        }
        written, used = set[str](), set[str]()
        for other in self._partners.get(module, ()):
            written.update(self._written.get(other, ()))
            used.update(self._used.get(other, ()))
            if own is not None:
                used.update(key.partition(":")[2] for key in used_by(other))
        if own is None:  # what it was seen reading may be an input
            strange = written.difference(
                one.name for one in seen.find("file", "read") if one.via != "seen"
            )
        else:
            strange = (used | written).difference(key.partition(":")[2] for key in own)
        if not strange:
            return seen
        kept = (one for one in seen.uses if one.via == "seen" or one.name not in strange)
        return replace(seen, uses=tuple(kept))

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
