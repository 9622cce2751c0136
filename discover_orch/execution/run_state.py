"""A run as a state machine: what is ready, what has ended, and why the rest did not start.

`ready()` says which step may start and `apply(event)` records what happened. It never calls a tool and never reads
the clock: the time is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.execution.request import Request
from discover_orch.execution.run_events import FAILED, Event, ToolRetried
from discover_orch.execution.step_queue import WRITES, StepQueue, one_by_one
from discover_orch.model.graph import reachable, reverse
from discover_orch.model.items import item_text, tool_of
from discover_orch.model.tool import Tool
from discover_orch.model.tool_events import RunNote, RunStatus, ToolDeclined, ToolFinished
from discover_orch.planning.plan import Plan

#: Names of the exceptions that say that the code is wrong.
_CODE_ERRORS = frozenset(
    {"ImportError", "ModuleNotFoundError", "SyntaxError", "IndentationError", "TabError"}
)
_USUAL = Request()


class Run:
    """One run of a plan: one step after another, or side by side as its `queue` allows.

    A tool that fails blocks every tool that depends on it, and the run continues with the others until `max_failures`
    tools have failed. A tool that declares neither what it runs after nor what it reads and writes may depend on the
    failed one without orch knowing it, unless `has_known_flow`. Then it is blocked too.

    A tool with `retries` is tried again first. The delay doubles with each attempt, up to `LONGEST_DELAY`, and is
    multiplied by a random number of 0.75 to 1.25, so that what many clients retry at a server is spread over time.
    """

    LONGEST_DELAY = 300.0  # seconds, unless the first delay is longer

    def __init__(
        self,
        plan: Plan,
        registry: Registry,
        request: Request = _USUAL,
        *,
        has_known_flow: Callable[[Tool], bool],
        queue: StepQueue | None = None,
        workers: int = 1,
        is_one_transaction: bool = False,
        random: Callable[[], float] = lambda: 0.5,
    ) -> None:
        """With a `queue`, steps run side by side on so many `workers`. `random` returns numbers from 0 to 1. With
        `is_one_transaction`, a tool that has passed is `done`, until the run is committed; the first that fails ends
        the run."""
        self.is_one_transaction = is_one_transaction
        self.workers = workers
        self._has_retries = not (request.post_mortem or is_one_transaction)
        self._random = random
        self._attempts: dict[str, ToolFinished] = {}  # the latest that failed and is to be retried
        self._max_failures = 1 if is_one_transaction else request.max_failures
        self._has_known_flow = has_known_flow
        self._use(plan, registry, queue)
        self._submitted: list[str] = []
        self._failures = 0
        self._has_errors = False  # outside any tool
        self.finished: dict[str, ToolFinished] = {}
        self.is_interrupted = False
        self._is_cancelled = False

    def _use(self, plan: Plan, registry: Registry, queue: StepQueue | None) -> None:
        self.plan, self._registry = plan, registry
        # Side by side only what the plan has runs; one after another, a fresh tool may have to run in its turn.
        steps = plan.possible_steps if queue is None else plan.steps
        self.modules = tuple(step.tool.module for step in steps)
        self._planned = frozenset(step.tool.module for step in plan.steps)
        self._queue = queue or one_by_one(self.modules)

    def extend(
        self, plan: Plan, registry: Registry, queue: StepQueue | None
    ) -> Iterator[ToolFinished]:
        """The plan has more steps than before. Returns the ends of those that tools block which have failed; they
        count as applied."""
        before = self._queue
        self._use(plan, registry, queue)
        self._queue.follow(before)
        for event in [*self.finished.values()]:
            yield from self.drain_blocked(event)

    def ready(self, now: float = math.inf) -> str | None:
        """The tool to submit now, or None if there is none (yet, or ever)."""
        return None if self.is_stopped else self._queue.next(now)

    def wait_time(self, now: float) -> float:
        """Seconds until a tool is tried again; infinite if none is."""
        return self._queue.wait_time(now)

    def attempt_of(self, module: str) -> int:
        """The number of the attempt that comes next, or is under way."""
        earlier = self._attempts.get(module)
        return 1 if earlier is None else earlier.attempt + 1

    def mark_submitted(self, module: str) -> None:
        self._queue.take(module)
        self._submitted.append(module)

    def interrupt(self) -> None:
        self.is_interrupted = True

    def cancel(self) -> None:
        """Start nothing more. What is running ends by itself, or the caller ends it."""
        self._is_cancelled = True

    def classify(self, event: Event) -> Event:
        """The event with its final status: a tool that was interrupted to cancel the run is `cancelled`, and one that
        failed and may be tried again is `ToolRetried`."""
        if not isinstance(event, ToolFinished):
            return event
        if self.is_one_transaction and event.status == "passed":
            return replace(event, status="done")
        if event.module in self._attempts:
            event = replace(event, attempt=self.attempt_of(event.module))
        if self.is_interrupted:
            return event
        if self._is_cancelled:
            return replace(event, status="cancelled") if event.status == "interrupted" else event
        tool = self._registry.tools[event.module]
        if self._has_retries and event.attempt <= tool.retries and _may_end_otherwise(event):
            longest = max(self.LONGEST_DELAY, tool.retry_delay)
            delay = min(tool.retry_delay * 2.0 ** min(event.attempt - 1, 60), longest)
            return ToolRetried(end=event, delay=delay * (0.75 + self._random() / 2))
        return event

    def writes_alone(self, module: str) -> bool:
        return self._queue.holds(module, WRITES)

    @property
    def is_over(self) -> bool:
        """No further step may start."""
        return self.is_stopped or not (self._queue or self._submitted)

    @property
    def is_stopped(self) -> bool:
        """Whether no further step may start, whatever is left."""
        has_enough = self._max_failures is not None and self._failures >= self._max_failures
        return self.is_interrupted or self._is_cancelled or has_enough

    def apply(self, event: Event, now: float = 0.0) -> None:
        if isinstance(event, ToolRetried):
            module = event.end.module
            self._attempts[module] = event.end
            self._submitted.remove(module)
            self._queue.put_back(module, now + event.delay)
        elif isinstance(event, ToolFinished):
            self.finished[event.module] = event
            if event.module in self._submitted:
                self._submitted.remove(event.module)
            self._queue.end(event.module)
            self._failures += event.status in FAILED
            self.is_interrupted |= event.status == "interrupted"
        elif isinstance(event, ToolDeclined) and event.module in self._submitted:
            self._submitted.remove(event.module)
            if event.module not in self.finished:  # else it is blocked
                self._queue.put_back(event.module)
        elif isinstance(event, RunNote):
            self._has_errors |= event.problem.severity == "error"

    @property
    def is_all_done(self) -> bool:
        """Whether a run that is one transaction can be committed."""
        ends = [self.finished.get(module) for module in self.modules]
        is_stopped = self.is_interrupted or self._is_cancelled or self._has_errors
        ended_well = ("done", "fresh", "not_run")  # an item that is withdrawn does not run
        return not is_stopped and all(one is not None and one.status in ended_well for one in ends)

    @property
    def first_done(self) -> str | None:
        return next((one.module for one in self.finished.values() if one.status == "done"), None)

    def drain_blocked(self, event: Event) -> list[ToolFinished]:
        """The ends of the tools that this event blocks, which will not start. They count as applied."""
        if not isinstance(event, ToolFinished) or event.status not in FAILED:
            return []
        ended_or_running = {*self.finished, *self._submitted}
        later = [
            one for one in self.modules if one in self._planned and one not in ended_or_running
        ]
        unsure = [one for one in later if self._may_depend_unseen(one)]
        # What it was to remove is still there: who adds to that would add to what it added before.
        removed = {
            step.tool.module
            for step in self.plan.steps
            if step.removal and event.module in step.removal.after
        }
        below = self._registry.downstream((event.module, *unsure, *removed)).union(unsure, removed)
        below -= self._find_other_items(event.module, later)
        guessed = self._find_guessed(event.module, later)
        known = self._registry.downstream((event.module,))
        unknown = (f"it is not known what {self._registry.display(event.module)} writes",)
        new = ("their inputs are not known yet; AFTER = () makes a tool independent",)
        blocked = [
            ToolFinished(
                module=one,
                status="blocked",
                blocked_by=event.module,
                notes=unknown
                if one in guessed
                else new
                if one in unsure and one not in known
                else (),
            )
            for one in later
            if one in below
        ]
        for one in blocked:
            self.finished[one.module] = one
            self._queue.end(one.module)
        return blocked

    def _may_depend_unseen(self, module: str) -> bool:
        tool = self._registry.tools[module]
        is_declared = tool.has_after or tool.has_inputs or tool.has_outputs
        is_declared |= tool.source_module in self._registry.same_items
        return not is_declared and not self._has_known_flow(tool)

    def _find_guessed(self, failed: str, later: list[str]) -> set[str]:
        """Those of the later tools whose reads are known, and that depend on the failed one only because its writes
        are not known."""
        flows = self._registry.flows
        if failed not in flows or flows[failed].has_writes:
            return set()
        known = self._find_known_below(failed)
        return {one for one in later if one not in known and one in flows and flows[one].has_reads}

    def _find_known_below(self, failed: str, by_item: Collection[str] = ()) -> Collection[str]:
        """The steps that depend on the failed one. The tools that go `by_item` depend on other items by files alone:
        the rows of this one are missing from a table, and theirs are not."""
        registry = self._registry

        def find_flow(module: str) -> Iterable[str]:
            others = registry.flow.get(module, ())
            if tool_of(module) not in by_item:
                return others
            read = {*registry.flows[module].files_read}
            return (
                one
                for one in others
                if tool_of(one) not in by_item
                or not read.isdisjoint(registry.flows[one].files_written)
            )

        edges = {one: (*registry.before.get(one, ()), *find_flow(one)) for one in registry.flows}
        return reachable([failed], reverse(edges))

    def _find_other_items(self, failed: str, later: list[str]) -> set[str]:
        """Those of the later steps that have the same items as the tool of the failed one, or are of this tool, and
        have another item."""
        same = self._registry.same_items

        def is_below(tool: str) -> bool:
            if tool == tool_of(failed):
                return True
            seen: set[str] = set()
            while tool in same and tool not in seen:
                seen.add(tool)
                tool = same[tool].module
                if tool == tool_of(failed):
                    return True
            return False

        if not item_text(failed):
            return set()
        tools = {tool for tool in (*same, tool_of(failed)) if is_below(tool)}
        known = self._find_known_below(failed, tools)
        return {one for one in later if tool_of(one) in tools and one not in known}

    def unstarted(self) -> list[ToolFinished]:
        """An end for each tool that did not start and is not blocked. One that was to be tried again has failed."""
        return [
            self._attempts.get(
                module,
                ToolFinished(
                    module=module, status="not_run" if module in self._planned else "fresh"
                ),
            )
            for module in self.modules
            if module not in self.finished
        ]

    @property
    def status(self) -> RunStatus:
        if self.is_interrupted:
            return "interrupted"
        passed = [
            one for one in self.finished.values() if one.status in ("passed", "done", "fresh")
        ]
        if self._is_cancelled and not self._failures and len(passed) < len(self.modules):
            return "cancelled"
        return "failed" if self._failures or self._has_errors else "passed"


def _may_end_otherwise(event: ToolFinished) -> bool:
    """Whether another attempt at the same code may pass: a module that cannot be found or compiled stays so, and a
    check is expected to find the same again."""
    error = event.error
    is_final = error is not None and (
        error.kind == "check" or (error.kind == "exception" and error.type in _CODE_ERRORS)
    )
    return event.status == "failed" and not is_final
