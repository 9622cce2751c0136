"""Which tools ran at the same time, and whether they turned out to share a file or table that one of them writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.errors import Problem
from discover_orch.model.flow_edges import Written, shared
from discover_orch.model.observation import WRITTEN, Observation
from discover_orch.model.table_keys import WHOLE, named_table

_USING = frozenset(("read", "opened", "listed", *WRITTEN))


class Overlaps:
    """Records when tools begin and end, what was seen of them, and the data flow of each that passed.

    What the kernel reports while several tools run may be the work of each. A tool that was observed alone, with the
    code that it has now, keeps what was seen of it then: what it did not use then and another one surely uses is the
    work of that one. Of a tool that was never alone only what another one surely wrote is not its own.
    """

    def __init__(self) -> None:
        self._running: list[str] = []
        self._partners: dict[str, dict[str, None]] = {}
        self._flows: dict[str, Dataflow] = {}
        self._known: dict[str, frozenset[str] | None] = {}
        self._with_database: set[str] = set()  # those that are known to use the database
        self._used: dict[str, set[str]] = {}  # by Python, of those that have ended
        self._written: dict[str, Collection[str]] = {}  # the files that these surely wrote

    def begin(
        self, module: str, known: frozenset[str] | None, *, has_database: bool = False
    ) -> None:
        """`known` are the names of what it was seen to use alone, WHOLE where that may be all tables; None where that
        is not known. `has_database`: it has used the database."""
        self._known[module] = known
        if has_database:
            self._with_database.add(module)
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

    def is_alone(self, module: str) -> bool:
        """Whether it is known what is its own: no other tool ran while it did, or it was observed alone before."""
        return module not in self._partners or self._known.get(module) is not None

    def without_others(self, module: str, seen: Observation) -> Observation:
        """The same without what only the kernel saw and tools did that ran at the same time. The tool has ended."""
        self._used[module] = {
            one.name for one in seen.uses if one.via == "seen" and one.kind in _USING
        }
        if seen.database or any(one.key.startswith("table:") for one in seen.uses):
            self._with_database.add(module)
        native = [one for one in seen.uses if one.via in ("kernel", "command")]
        read = {one.name for one in native if one.kind == "read"}
        listed = {one.name for one in native if one.kind == "listed"}
        strange = set[str]()
        for other in self._partners.get(module, ()):
            strange |= self._find_strange(module, other, read)
            if (known := self._known.get(module)) is not None:
                theirs = (self._known.get(other) or set()).union(self._used.get(other, ()))
                strange |= theirs - known
                # Who uses a file may list its folder.
                strange |= {one.rpartition("/")[0] or "." for one in theirs} & listed - known
                if other in self._with_database and WHOLE not in known:
                    strange.add(WHOLE)
        gone = {one for one in native if one.name in strange}
        return replace(seen, uses=tuple(one for one in seen.uses if one not in gone))

    def add_written(
        self, module: str, paths: Collection[str], native_reads: Callable[[str], Collection[str]]
    ) -> Iterator[tuple[str, set[str]]]:
        """The files that a tool that has ended surely wrote. Each tool that ended while it ran, with the files that
        are not its own as is known now. `native_reads` gives what only the kernel saw such a tool reading."""
        self._written[module] = paths
        for other in self._partners.get(module, ()):
            if other in self._used:
                strange = self._find_strange(other, module, native_reads(other))
                if strange:
                    yield other, strange

    def _find_strange(self, module: str, other: str, read: Collection[str]) -> set[str]:
        """What the `other` tool is seen to use and this one, which `read` that natively, does not use."""
        written, known = {*self._written.get(other, ())}, self._known.get(module)
        if known is None:  # what it read may be an input
            return written.difference(read)
        return (written | self._used.get(other, set())) - known

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
