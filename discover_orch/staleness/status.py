"""Which tools are fresh, which are stale, and why. Every command asks this, and nothing else decides it.

A tool is stale for reasons of its own, or because of another tool that is stale: one upstream of it, or one downstream
that needs what this tool wrote, as this tool left it. In a run each step is judged again when its turn comes: a
download that brings the same file, or a helper that was edited without effect, reruns nothing downstream. Reads, never
writes.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from itertools import accumulate, islice

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.model.conventions import TOOL_SUFFIXES
from discover_orch.model.items import tool_of
from discover_orch.model.keys import (
    FILES,
    WHOLE,
    Key,
    database_of,
    file_key,
    is_file_key,
    is_table_key,
    path_of,
)
from discover_orch.model.tool import Tool
from discover_orch.staleness.current_inputs import CurrentState, Params
from discover_orch.staleness.import_graph import CodeState
from discover_orch.staleness.left_over import build_test, find_left_behind, find_left_over
from discover_orch.staleness.memory import with_unended
from discover_orch.staleness.reason_sentences import (
    WELL,
    Freshness,
    clock_reasons,
    ending_reasons,
    find_upstream_reasons,
    reason_sentence,
    rebuilt_sentence,
)
from discover_orch.staleness.rule import (
    Judge,
    Reason,
    find_passed_on,
    find_unlike,
)
from discover_orch.staleness.tool_result import ABSENT, REMOVED, SETTLED, ToolResult, keys_of
from discover_orch.staleness.tool_uses import find_acting
from discover_orch.staleness.writers import GONE, Writers

#: Ends of a last run after which it is unknown what the tool has written.
CUT_OFF = ("unknown", "running", "cancelled", "interrupted", SETTLED)


class Status:
    """The freshness of all tools of a project, found once and kept."""

    def __init__(
        self,
        present: CurrentState,
        params_of: Callable[[Tool], Params],
        defaults_of: Callable[[Tool], Params],
        *,
        is_live: bool = False,
        just_ran: Collection[str] = (),
    ) -> None:
        """`params_of` gives what a tool would be called with, `defaults_of` its defaults. Tools that `just_ran` are
        not stale for the time alone. `is_live`: a watch keeps it. Then it knows itself which tools a run has left
        without an end, and a file that cannot be parsed means what it did when it last could be."""
        self._present, self._is_live = present, is_live
        self._params_of, self._defaults_of = params_of, defaults_of
        self._just_ran = just_ran
        known = present.results
        if not is_live:
            known = with_unended(present.project.root, known)
        self._code: Mapping[str, CodeState] = {}
        self._use(present.registry, known)

    def _use(self, registry: Registry, known: Mapping[str, ToolResult]) -> None:
        present = self._present
        present.registry, registry = registry, registry.without_lock()
        self._registry = registry
        #: Of all tools, in the order of `full`.
        self._results = {
            module: known.get(module) or ToolResult(module=module) for module in registry.order
        }
        present.results = self._results
        self._place = {module: place for place, module in enumerate(registry.order)}
        rows = [*enumerate(self._results.values()), *((GONE, one) for one in present.gone)]
        # Asks what another program wrote only where a table has a version.
        self._writers = Writers(
            rows,
            foreign_write=lambda: self._present.database.foreign_write,
            content_of=lambda key, seq: self._present.database.content(key, seq),
        )
        self._is_left = build_test(registry, lambda: self._present.database)
        self._forget_answers()

    def extend(self, registry: Registry) -> None:
        """There are more steps than before."""
        self._use(registry, self._results)

    def _forget_answers(self) -> None:
        """Other results are remembered than before."""
        self._own: dict[str, Freshness] | None = None
        self._answer: dict[str, Freshness] | None = None
        self._rebuilt = cache(self._find_rebuilt)
        self._left_behind = find_left_behind(self._present.gone, self._writers)
        self._note_latest()

    def _note_latest(self) -> None:
        """When each tool succeeded, and the latest of these before each place. For a tool whose reads are known (True)
        only those without a known write count."""
        registry = self._registry
        ended = [
            max(one.success.ended, one.adopted) if one.success else 0
            for one in self._results.values()
        ]
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
        own = self.own()
        if self._answer is None:
            self._answer = self._with_others(own)
        return self._answer

    def own(self) -> dict[str, Freshness]:
        """The same without what follows from other tools."""
        if self._own is None:
            self._read_code()
            self._own = {module: self._judge(module) for module in self._registry.order}
            self._answer = None
        return self._own

    def _read_code(self) -> None:
        self._code = self._present.read_code(self._registry.order, is_tolerant=self._is_live)

    # While tools run.

    def note_results(self, results: Iterable[ToolResult]) -> Collection[Key]:
        """These tools have ended. Returns what they have written or removed by now."""
        written: list[Key] = []
        for result in results:
            before, self._results[result.module] = self._results[result.module], result
            self._writers.replace(self._place[result.module], before, result)
            self._forget(result.writes)
            if result.success and (version := result.success.inputs.other.get("database")):
                self._present.database.note_version(version)
            known = before.writes
            written += [key for key, one in result.writes.items() if known.get(key) != one]
        self._forget_answers()
        return written

    def note_code(self, paths: Collection[str]) -> Collection[str]:
        """A tool has written these modules. Returns the tools whose code is another one by now. A watch hears of them
        by itself."""
        if self._is_live or not paths:
            return ()
        then = self._code
        self._present.code.refresh(paths)
        self._read_code()
        changed = {one for one, code in self._code.items() if code != then.get(one)}
        return [one for one in self._registry.order if tool_of(one) in changed]

    def settle(self) -> None:
        """What another program has done to the database counts as it is now, not after tools of the run have used
        it."""
        _ = self._present.database.state, self._present.database.foreign_write

    def judge(self, module: str, *, has_just_run: bool = False) -> Freshness:
        """The tool's own reasons as they are now. One that has just run is not stale for the time alone, nor for what
        is left over: running it again changes neither."""
        self._forget(self.find_used(module))
        return self._judge(module, has_just_run=has_just_run)

    def find_used(self, module: str) -> Collection[Key]:
        """What the tool is known to use or write."""
        success = self._results[module].success
        inputs = success.inputs.other if success else {}
        used = self._judge_of(module).uses.find_used(with_tried=True)
        return {*used, *inputs, *find_acting(self._results[module])}

    def shows_writes(self, module: str) -> bool:
        """Whether the tool is known to write something, and all that its last success wrote was seen."""
        return self._registry.flows[module].has_writes and is_whole(self._results[module])

    def may_follow_unseen(self, module: str) -> bool:
        """Whether the tool may be stale because one upstream has passed, whatever that wrote."""
        result = self._results[module]
        return result.success is not None and not is_whole(result)

    def _forget(self, keys: Iterable[Key]) -> None:
        """These may be other files by now."""
        paths = (path_of(key) for key in keys if key.startswith(FILES))
        self._present.versions.forget(paths)

    # One tool.

    def _judge(self, module: str, *, has_just_run: bool = False) -> Freshness:
        """The tool's own reasons."""
        registry, result = self._registry, self._results[module]
        tool = registry.tools[module]
        last_ending, starting = ending_reasons(result)
        if broken := registry.below_broken.get(module):
            starting.append(f"upstream {registry.display(broken)} has an error")
        has_just_run |= module in self._just_ran
        clock = [] if has_just_run else clock_reasons(tool, result.success, time.time())
        reasons = [*self._find_reasons(module), *self._left_behind.get(module, ())]
        if not has_just_run:
            mark_of = self._present.mark
            reasons += find_left_over(
                result, self._writers, mark_of, self._is_left, reads_own=tool.is_in_order
            )
        if not (starting or clock or reasons):
            return Freshness(module=module)
        sentences = [*starting, *clock]
        is_lasting = bool(sentences) or any(one.is_lasting for one in reasons)
        has_new_code = any(reason.key.startswith("code:") for reason in reasons)
        for reason in reasons:
            sentence = self._sentence(module, reason, has_new_code=has_new_code)
            if sentence not in sentences:
                sentences.append(sentence)
                starting += [sentence] if reason.starts_run else []
        return Freshness(
            module=module,
            reasons=tuple(sentences),
            starting=tuple(starting),
            last_ending=last_ending,
            is_lasting=is_lasting,
        )

    def _find_reasons(self, module: str) -> Iterator[Reason]:
        result, present = self._results[module], self._present
        success, tool = result.success, self._registry.tools[module]
        if success is None:
            return
        if tool.is_in_order:
            yield from find_passed_on(result, self._find_previous(module))
        yield from self._judge_of(module).find_reasons(
            present.inputs(tool, self._code, self._params_of(tool), result),
            self._upstream(module, success.asof),
            ignores_foreign=present.project.external_writes == "ignore",
        )

    def _find_previous(self, module: str) -> Iterator[ToolResult]:
        """The item of the same tool before this one."""
        before = self._registry.before.get(module, ())
        return (self._results[one] for one in before if tool_of(one) == tool_of(module))

    def _judge_of(self, module: str) -> Judge:
        result, place = self._results[module], self._place[module]
        return Judge(result, place, self._writers, self._present)

    def _sentence(self, module: str, reason: Reason, *, has_new_code: bool = False) -> str:
        return reason_sentence(
            reason,
            self._results[module],
            self._registry.display,
            self._defaults_of(self._registry.tools[module]),
            is_missing=self._present.code.is_missing,
            has_new_code=has_new_code,
            is_cleaned=reason.how == "edited" and self._is_cleaned(tool_of(reason.by)),
        )

    def _is_cleaned(self, module: str) -> bool:
        """Whether `orch clean` has deleted rows that items of the tool made which are withdrawn."""
        return any(
            tool_of(one.module) == module
            and (one.last.status, one.last.cause) == (REMOVED, "clean")
            for one in self._present.gone
        )

    def _upstream(self, module: str, asof: int) -> Iterator[ToolResult]:
        """The tools upstream that may have done something since `asof`."""
        registry = self._registry
        known = (*registry.before.get(module, ()), *registry.flow.get(module, ()))
        for other in dict.fromkeys((*known, *self._find_unknown(module, asof))):
            yield self._results[other]

    # What follows from other tools.

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

    def _is_there(self, path: str) -> bool:
        return self._present.mark(file_key(path)) != ABSENT

    def _spread(self, seeds: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
        """The seeds and what is downstream of them, and the tools that must make anew what these need."""
        below: dict[str, str] = dict.fromkeys(seeds, "")
        rebuilt: dict[str, str] = {}
        whole = {one for one, result in self._results.items() if is_whole(result)}
        again = {*below}
        name_of = self._registry.display
        while again:
            found = self._registry.downstream((*below, *rebuilt), whole)
            known = below.keys() | rebuilt.keys()
            new = [one for one in self._registry.order if one in found and one not in known]
            added = find_upstream_reasons(self._registry, found, new, whole, self._is_there)
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
        found, result = self._rebuilt(module), self._results[module]
        if result.success is None and result.last.status in CUT_OFF:
            earlier = islice(self._results.values(), self._place[module])
            return found | find_unlike(earlier, self._writers, self._present)
        return found

    def _find_rebuilt(self, module: str) -> dict[str, Key]:
        """The part that follows from the results alone, so it is found once."""
        is_repeatable = self._registry.tools[module].is_repeatable
        return self._judge_of(module).find_rebuilt(is_repeatable=is_repeatable)


def is_whole(result: ToolResult) -> bool:
    """Whether all that the last success read was seen."""
    return result.success is not None and result.success.is_whole


class Turns:
    """Judges each step of a run again when its turn comes. The run tells the ends of its tools."""

    def __init__(self, status: Status, forced: Collection[str] = frozenset()) -> None:
        """`status` is what the plan was made of; `forced` tools run though they may be fresh."""
        self._status, self._forced = status, forced
        self._passed: set[str] = set()  # in this run
        self._has_shown_all = True  # of those: what they wrote
        self._has_passed = False  # of those: who follows them has not been judged since
        self._ended: dict[str, ToolResult] = {}  # and not looked at yet
        self.read_again()
        status.settle()

    def force(self, modules: Collection[str]) -> None:
        """These run though they may be fresh."""
        self._forced = frozenset(self._forced).union(modules)

    def read_again(self) -> None:
        """Something else than this run has changed the status."""
        status = self._status
        self._own = {**status.own()}
        self._is_stale = {module: not one.is_fresh for module, one in status.freshness().items()}
        self._written: set[Key] = set()
        self._unjudged: set[Key] = set()  # of those written: their users have not been judged since
        self._users: dict[Key, list[str]] = {}  # empty until somebody asks

    def extend(self, registry: Registry) -> None:
        """There are more steps than before."""
        self.look_at_ended()
        written, unjudged = self._written, self._unjudged
        self._status.extend(registry)
        self.read_again()
        self._written, self._unjudged = written, unjudged
        for module in self._passed:
            self._own[module] = self._judge(module)

    def note(self, result: ToolResult) -> None:
        """A tool has ended."""
        self._ended[result.module] = result

    def is_needed(self, module: str) -> bool:
        """Whether the tool has to run, now that its turn has come."""
        own = self._own.get(module)
        if own is None or own.is_lasting or module in self._forced:
            return True
        self.look_at_ended()
        if not self._written and not (self._passed and self._has_shown_all):
            return self._is_stale[module]
        if not self._is_stale[module] and self._written.isdisjoint(self._status.find_used(module)):
            return False
        self._own[module] = own = self._judge(module)
        if own.reasons:
            return True
        # What a later tool needs made anew depends on whether that has become stale.
        self._judge_users()
        if module not in self._spread():
            return False
        # It may only be needed by a tool that is fresh by now.
        for other, one in self._own.items():
            if one.reasons and not one.is_lasting:
                self._own[other] = self._judge(other)
        return module in self._spread()

    def look_at_ended(self) -> None:
        """Have the status note the tools that have ended."""
        # Under a watch a tool may be gone meanwhile.
        ended = {module: one for module, one in self._ended.items() if module in self._own}
        self._ended = {}
        if not ended:
            return
        written = self._status.note_results(ended.values())
        self._written.update(written)
        self._unjudged.update(written)
        for module in self._status.note_code(
            [path_of(key) for key in written if key.endswith(TOOL_SUFFIXES)]
        ):
            self._own[module] = self._judge(module)
        for module, result in ended.items():
            if result.last.status in WELL:
                self._passed.add(module)
                self._has_shown_all &= self._status.shows_writes(module)
                self._has_passed = True
            self._own[module] = self._judge(module)

    def _judge_users(self) -> None:
        """Judge the tools that use what was written, or follow a tool that passed, since this was done last."""
        if not self._users:
            for module in self._own:
                for key in self._status.find_used(module):
                    self._users.setdefault(key, []).append(module)
        keys = {one for key in self._unjudged for one in self._find_alike(key)}
        if any(is_file_key(key) for key in self._unjudged):
            keys.update(one for one in self._users if one.startswith("glob:"))
        users = {user for key in keys for user in self._users.get(key, ())}
        if self._has_passed:
            users.update(one for one in self._own if self._status.may_follow_unseen(one))
        self._unjudged, self._has_passed = set(), False
        for module in users:
            if not self._own[module].is_lasting:
                self._own[module] = self._judge(module)

    def _find_alike(self, key: Key) -> Iterator[Key]:
        """The keys by which a tool may use what is written under this one."""
        if not is_table_key(key):
            yield from keys_of([path_of(key)])
            return
        start = database_of(key)
        if key == start + WHOLE:
            yield from (one for one in self._users if one.startswith(start))
        yield from (key, start + WHOLE)

    def _judge(self, module: str) -> Freshness:
        return self._status.judge(module, has_just_run=module in self._passed)

    def _spread(self) -> Collection[str]:
        stale = [module for module, one in self._own.items() if one.reasons]
        return self._status.spread(stale) if stale else ()
