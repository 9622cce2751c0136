"""Which tools are fresh, which are stale, and why. Every command asks this, and nothing else decides it.

A tool is stale for reasons of its own, or because of another tool that is stale: one upstream of it, or one downstream
that needs what this tool wrote, as this tool left it. Reads, never writes.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache, cached_property
from itertools import accumulate

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.model.tool import Tool
from discover_orch.staleness.change import FILES
from discover_orch.staleness.current import CurrentState, Params
from discover_orch.staleness.fingerprint import SETTLED, Key, Success, ToolResult
from discover_orch.staleness.import_graph import CodeState
from discover_orch.staleness.memory import UPGRADED, with_unended
from discover_orch.staleness.reasons import Freshness, reason_sentence, rebuilt_sentence
from discover_orch.staleness.rule import (
    GONE,
    Judge,
    Reason,
    Upstream,
    Writers,
    compare,
    find_disturbed,
    find_left_behind,
    find_unlike,
)
from discover_orch.staleness.versions import meets_input

#: Ends of a last run after which the success counts.
WELL = ("passed", "accepted")
#: Ends of a last run after which it is unknown what the tool has written.
CUT_OFF = ("unknown", "running", "cancelled", "interrupted", SETTLED)
#: Seconds by which the clock of another machine, or this one after it was set, may be behind a recorded time.
CLOCK_TOLERANCE = 60


class Status:
    """The freshness of all tools of a project at one time."""

    def __init__(
        self,
        present: CurrentState,
        params_of: Callable[[Tool], Params],
        defaults_of: Callable[[Tool], Params],
    ) -> None:
        """`params_of` gives what a tool would be called with, `defaults_of` its defaults."""
        registry = present.registry
        self._defaults_of = defaults_of
        self._present, self._registry, self._params_of = present, registry, params_of
        results = with_unended(present.project.root, present.results)
        self._results = [
            results.get(module) or ToolResult(module=module) for module in registry.order
        ]
        self._place = {module: place for place, module in enumerate(registry.order)}
        self._note_results()

    def _note_results(self) -> None:
        gone = self._present.gone
        rows = (*enumerate(self._results), *((GONE, one) for one in gone))
        # Asks what another program wrote only where a table has a version.
        self._writers = Writers(rows, foreign_write=lambda: self._present.database.foreign_write)
        self._note_latest()
        accepted = {
            one.module: one.success.asof
            for one in (self._results if gone else ())
            if one.success is not None and one.success.is_accepted
        }
        self._left_behind = find_left_behind(gone, self._writers, accepted)
        self._rebuilt = cache(self._find_rebuilt)

    def _note_latest(self) -> None:
        """When each tool succeeded, and the latest of these before each place. For a tool whose reads are known (True)
        only those without a known write count."""
        registry = self._registry
        ended = [one.success.ended if one.success else 0 for one in self._results]
        unsure = [
            0 if registry.flows[module].has_writes else one
            for module, one in zip(registry.order, ended, strict=True)
        ]
        self._ended = {False: ended, True: unsure}
        self._latest = {key: [*accumulate(of, max, initial=0)] for key, of in self._ended.items()}
        self._ranks = [registry.rank[module] for module in registry.order]

    def _find_unknown(self, module: str, asof: int) -> Collection[str]:
        """The tools that are upstream only because data flow is not known, and that have succeeded since."""
        registry = self._registry
        has_reads = registry.flows[module].has_reads
        end = bisect_left(self._ranks, registry.rank[module])
        if self._latest[has_reads][end] <= asof:  # the usual case
            return ()
        ended = self._ended[has_reads]
        return [registry.order[place] for place in range(end) if ended[place] > asof]

    def freshness(self) -> dict[str, Freshness]:
        """The freshness of all tools, in the order of `full`."""
        return self._with_others(self.own())

    def own(self) -> Mapping[str, Freshness]:
        """The same without what follows from other tools."""
        return self._own_now

    @cached_property
    def _own_now(self) -> dict[str, Freshness]:
        return {module: self._judge(module, self._code) for module in self._registry.order}

    @cached_property
    def _code(self) -> Mapping[str, CodeState]:
        return self._present.read_code(self._registry.order)

    # While a run changes what is remembered.

    def settle(self) -> None:
        """What another program has done to the database counts as it is now, not after tools of the run have used
        it."""
        _ = self._present.database.state, self._present.database.foreign_write

    def note_results(self, results: Iterable[ToolResult]) -> Collection[Key]:
        """These tools have ended. Returns what they have written or removed by now."""
        written: list[Key] = []
        for result in results:
            place = self._place[result.module]
            before, self._results[place] = self._results[place], result
            self._writers.replace(place, before, result)
            self._forget(result.writes)
            known = before.writes
            written += [key for key, one in result.writes.items() if known.get(key) != one]
        self._note_latest()
        self._rebuilt = cache(self._find_rebuilt)
        return written

    def judge(self, module: str, *, has_just_run: bool = False) -> Freshness:
        """The tool's own reasons as they are now. One that has just run is not stale for the time alone."""
        self._forget(self.find_used(module))
        return self._judge(module, self._code, has_just_run=has_just_run)

    def find_used(self, module: str) -> Collection[Key]:
        """What the tool is known to use or write."""
        result = self._results[self._place[module]]
        inputs = result.success.inputs.other if result.success else {}
        return {*self._judge_of(self._place[module]).find_used(with_tried=True), *inputs}

    def _forget(self, keys: Iterable[Key]) -> None:
        """These may be other files by now."""
        paths = (key.partition(":")[2] for key in keys if key.startswith(FILES))
        self._present.versions.forget(paths)

    def _judge(
        self, module: str, code: Mapping[str, CodeState], *, has_just_run: bool = False
    ) -> Freshness:
        """The tool's own reasons; `code` has that of all tools."""
        tool, place = self._registry.tools[module], self._place[module]
        result = self._results[place]
        last_ending, sentences = _ending_reasons(result)
        if last_ending == "never" and module in self._registry.lost:
            old = self._registry.lost[module]
            sentences = [f"never ran here: {old} did, and its code is not the same"]
        reasons: list[Reason] = []
        if result.success is not None:
            success = result.success
            reasons += compare(
                self._judge_of(place),
                success,
                self._present.inputs(tool, code, self._params_of(tool), result),
                self._upstream(module, success.asof),
                lambda key: self._present.versions.version(key),
                lambda: self._present.database.foreign_write,
                lambda: self._present.database.looked,
                ignores_foreign=self._present.project.external_writes == "ignore",
            )
        reasons += self._left_behind.get(module, ())
        starts_nothing = not sentences and all(
            (reason.seq and reason.key == "database") or reason.how == "edited"
            for reason in reasons
        )
        if broken := self._registry.below_broken.get(module):
            sentences.append(f"upstream {self._registry.display(broken)} has an error")
        if not has_just_run:
            sentences += _clock_reasons(tool, result.success, time.time())
        is_lasting = bool(sentences) or any(one.is_lasting for one in reasons)
        has_new_code = any(reason.key.startswith("code:") for reason in reasons)
        sentences += dict.fromkeys(
            self._sentence(module, reason, has_new_code=has_new_code) for reason in reasons
        )
        return Freshness(
            module=module,
            reasons=tuple(sentences),
            last_ending=last_ending,
            starts_nothing=starts_nothing,
            is_lasting=is_lasting,
        )

    def _judge_of(self, place: int) -> Judge:
        tool = self._registry.tools[self._registry.order[place]]
        return Judge(
            self._results[place],
            place,
            self._writers,
            self._present.mark,
            lambda key: key[:5] == "file:" and meets_input(key[5:], tool.inputs),
        )

    def _sentence(self, module: str, reason: Reason, *, has_new_code: bool = False) -> str:
        return reason_sentence(
            reason,
            self._results[self._place[module]],
            self._registry.display,
            self._defaults_of(self._registry.tools[module]),
            is_missing=self._present.code.is_missing,
            has_new_code=has_new_code,
        )

    def _with_others(self, own: Mapping[str, Freshness]) -> dict[str, Freshness]:
        stale = [module for module, one in own.items() if one.reasons]
        if not stale:
            return {**own}
        below, rebuilt = self._spread(stale)
        return {
            module: one
            if one.reasons
            else replace(one, reasons=(rebuilt[module],), is_for_others=True)
            if module in rebuilt
            else replace(one, upstream=(below[module],))
            if module in below
            else one
            for module, one in own.items()
        }

    def spread(self, seeds: Iterable[str]) -> dict[str, str]:
        """All tools that are stale because these are, each with a sentence; that of a seed is ""."""
        below, rebuilt = self._spread(seeds)
        return below | rebuilt

    def _spread(self, seeds: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
        """The seeds and what is downstream of them, and the tools that must make anew what these need."""
        below: dict[str, str] = dict.fromkeys(seeds, "")
        rebuilt: dict[str, str] = {}
        again = {*below}
        name_of = self._registry.display
        while again:
            found = self._registry.downstream((*below, *rebuilt))
            known = below.keys() | rebuilt.keys()
            new = [one for one in self._registry.order if one in found and one not in known]
            added = _find_upstream_reasons(self._registry, found, new)
            below |= added
            above: dict[str, str] = {}
            for module in self._registry.order:
                if module in again or module in added:
                    for other, key in self._find_all_rebuilt(module).items():
                        if other not in below and other not in rebuilt:
                            above.setdefault(other, rebuilt_sentence(other, key, name_of))
            rebuilt |= above
            again = {*above}
        return below, rebuilt

    def _find_all_rebuilt(self, module: str) -> dict[str, Key]:
        """The tools that must run before this one can run again, each with what is no longer as it left it."""
        found, place = self._rebuilt(module), self._place[module]
        result = self._results[place]
        if result.success is not None:
            return found
        found = found | find_disturbed(place, self._writers)
        if result.last.status in CUT_OFF:
            found |= find_unlike(self._results[:place], self._writers, self._present.mark)
        return found

    def _find_rebuilt(self, module: str) -> dict[str, Key]:
        """The part that follows from the results alone, so it is found once."""
        is_repeatable = self._registry.tools[module].is_repeatable
        return self._judge_of(self._place[module]).find_rebuilt(is_repeatable=is_repeatable)

    def _upstream(self, module: str, asof: int) -> Iterator[Upstream]:
        """The tools upstream that may have done something since `asof`."""
        registry = self._registry
        before = registry.before.get(module, ())
        flow = registry.flow.get(module, ())
        unknown = self._find_unknown(module, asof)
        for other in dict.fromkeys((*before, *flow, *unknown)):
            result = self._results[self._place[other]]
            is_observed = other not in before and other not in unknown
            yield Upstream(result, is_observed, other in before)


def _ending_reasons(result: ToolResult) -> tuple[str, list[str]]:
    """How the last run of the tool ended, and the reason that follows from that."""
    last = result.last
    if not last.status or (last.status in WELL and result.success is None):
        return "never", ["never ran"]
    match last.status:
        case "passed" | "accepted":
            return "", []
        case "failed":
            return "failed", [f"failed (run {last.run})"]
        case "unknown":
            done = "committed" if last.has_started else "started it"
            killed = f"run {last.run} was killed"
            if last.cause == "worker lost":
                killed = f"its worker was lost in run {last.run}"
            return "unknown", [f"outcome unknown: {killed} and may have {done}"]
        case "running":
            return "", [f"running now (run {last.run})"]
        case _ if last.status == SETTLED:
            sentence = f"run {last.run} committed it and was killed, so what it used is not known"
            return "", [sentence]
        case _ if last.status == UPGRADED:
            return "", ["orch was upgraded and cannot compare with the last success"]
        case _:
            why = ': its output was closed, as by "| head"' if last.cause == "output closed" else ""
            return "", [f"{last.status.replace('_', ' ')} (run {last.run}){why}"]


def _clock_reasons(tool: Tool, success: Success | None, now: float) -> list[str]:
    """What follows from the time alone."""
    found = ['"always" is set'] if tool.is_always_stale else []
    expires = expires_at(tool, success)
    if expires is not None and now >= expires:
        found.append(f"the last success is older than {_span(tool.max_age or 0)} (max_age)")
    elif expires is not None and expires - (tool.max_age or 0) > now + CLOCK_TOLERANCE:
        found.append("the last success is dated in the future, so its age is not known (max_age)")
    return found


def expires_at(tool: Tool, success: Success | None) -> float | None:
    """When the last success becomes too old, in seconds since 1970; None for never."""
    if tool.max_age is None or success is None or not success.at:
        return None
    return datetime.fromisoformat(success.at).timestamp() + tool.max_age


def _span(seconds: float) -> str:
    """As a user writes it in `ORCH`: `1d`, `6h`, `30m`, `45s`."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def _find_upstream_reasons(
    registry: Registry, below: Collection[str], wanted: Iterable[str]
) -> dict[str, str]:
    """For each of the tools that are stale only because of others a sentence, which names the nearest stale tool
    upstream; where none is known, one that may be upstream since its writes, or the reads of the tool, are not known.
    `below` are all tools downstream of a stale one."""
    line = [module for module in registry.order if module in below]
    unsure = [module for module in line if not registry.flows[module].has_writes]

    def reason(module: str) -> str:
        flow = registry.flows[module]
        for other in (*registry.before.get(module, ()), *registry.flow.get(module, ())[::-1]):
            if other in below:
                written, name = registry.flows[other], registry.display(other)
                # What it reads says more than what both write.
                tables = (*flow.tables_read, *flow.tables_written)
                table = _shared(tables, written.tables_written)
                files = (*flow.files_read, *flow.native_reads, *flow.files_written)
                theirs = (*written.files_written, *written.native_writes)
                shared = f"table {table}" if table else _shared(files, theirs)
                return f"upstream {name} is stale" + (f" ({shared})" if shared else "")
        name = registry.display((unsure if flow.has_reads and unsure else line)[0])
        unseen = f"writes of {name}" if flow.has_reads else "reads of this tool"
        return f"{name} is stale and may be upstream (the {unseen} are not known)"

    return {module: reason(module) for module in wanted}


def _shared(reads: Iterable[str], writes: Iterable[str]) -> str:
    written = frozenset(writes)
    return next((one for one in reads if one in written), "")
