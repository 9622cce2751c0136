"""Many random runs with several workers: whatever fails, is tried again or blocked, no trace breaks a rule."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from discover_orch.discovery.registry import Registry, with_observed
from discover_orch.execution.request import Request
from discover_orch.execution.run_events import ToolRetried
from discover_orch.execution.run_state import Run
from discover_orch.execution.step_queue import StepQueue
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.tool_events import ToolFinished
from discover_orch.planning.parallel import find_waits
from tests.support.values import make_facts, make_plan, make_registry

NAMES = [f"t{number}" for number in range(12)]
GPUS = 2


@st.composite
def registries(draw: st.DrawFn) -> Registry:
    """A random DAG of tools in three stages, some of which declare nothing, use tables, need tokens, or are retried."""
    tables = st.lists(st.sampled_from("tuvw"), max_size=2, unique=True).map(tuple)
    facts, flows = [], {}
    earlier: dict[str, list[str]] = {}
    for name in NAMES[: draw(st.integers(1, len(NAMES)))]:
        stage = draw(st.sampled_from(["s1", "s2", "s3"]))
        peers = earlier.setdefault(stage, [])
        after = draw(st.none() | st.sets(st.sampled_from(peers or [""]), max_size=3))
        tokens = draw(st.sampled_from([{}, {"gpu": 1}, {"gpu": GPUS}]))
        orch = {"retries": draw(st.integers(0, 2)), "tokens": tokens}
        names = None if after is None else tuple(sorted(after - {""}))
        facts.append(make_facts(name, stage, after=names, orch=orch))
        flows[name] = Dataflow(tables_read=draw(tables), tables_written=draw(tables))
        peers.append(name)
    return with_observed(make_registry(*facts, stages=("s1", "s2", "s3")), flows)


class Trace:
    """What has started and ended, checked at each start."""

    def __init__(self, registry: Registry, needs: Mapping[str, int]) -> None:
        self._registry, self._needs = registry, needs
        self.running: list[str] = []
        self.ended: dict[str, str] = {}

    def start(self, module: str) -> None:
        registry = self._registry
        own, tool = registry.flows[module], registry.tools[module]
        for other in registry.before.get(module, ()):
            assert self.ended[other] == "passed", "what AFTER names has passed"
        for other, rank in registry.rank.items():
            if rank < registry.rank[module]:
                assert other in self.ended, "the stages before it have ended"
        for other in self.running:
            flow = registry.flows[other]
            assert registry.rank[other] == registry.rank[module]
            assert not {*own.tables_written} & {*flow.tables_written, *flow.tables_read}
            assert not {*flow.tables_written} & {*own.tables_read}
            assert tool.has_after
            assert registry.tools[other].has_after
        assert module not in self.ended
        assert module not in self.running
        self.running.append(module)
        assert sum(self._needs[one] for one in self.running) <= GPUS


@given(registries(), st.integers(2, 5), st.data())
def test_no_run_breaks_an_order_a_token_or_a_conflict(
    registry: Registry, jobs: int, data: st.DataObject
) -> None:
    plan = make_plan(registry)
    tools = registry.tools
    modules = [step.tool.module for step in plan.steps]
    waits = find_waits(plan.steps, registry, lambda _: False)
    needs = {module: tools[module].tokens for module in modules}
    limit = data.draw(st.none() | st.integers(1, 3))
    known = data.draw(st.frozensets(st.sampled_from(modules))) if modules else frozenset()
    run = Run(
        plan,
        registry,
        Request(max_failures=limit),
        has_known_flow=lambda tool: tool.module in known,
        workers=jobs,
        queue=StepQueue(modules, waits, needs, {"gpu": GPUS}),
    )
    trace = Trace(registry, {module: tools[module].tokens.get("gpu", 0) for module in modules})
    attempts = dict.fromkeys(modules, 0)
    now = 0.0
    while not (run.is_over and not trace.running):
        while len(trace.running) < jobs and (module := run.ready(now)) is not None:
            trace.start(module)
            run.mark_submitted(module)
        if not trace.running:
            wait = run.wait_time(now)
            assert 0 < wait < 1000, "nothing runs, so that something waits to be tried again"
            now += wait
            continue
        ending = data.draw(st.sampled_from(trace.running))
        has_failed = data.draw(st.integers(0, 2)) == 2
        ended = ToolFinished(module=ending, status="failed" if has_failed else "passed")
        event = run.classify(ended)
        run.apply(event, now)
        trace.running.remove(ending)
        attempts[ending] += 1
        if isinstance(event, ToolRetried):
            assert attempts[ending] <= tools[ending].retries
            continue
        assert isinstance(event, ToolFinished)
        assert event.attempt == attempts[ending]
        trace.ended[ending] = event.status
        for blocked in run.drain_blocked(event):
            assert blocked.module not in trace.ended
            assert blocked.module not in trace.running
            trace.ended[blocked.module] = blocked.status
    for left in run.unstarted():
        assert limit is not None, "all tools have ended, unless enough of them have failed"
        trace.ended.setdefault(left.module, left.status)
    assert trace.ended.keys() == {*modules}
    failed = [one for one, status in trace.ended.items() if status == "failed"]
    assert run.status == ("failed" if failed else "passed")


def test_a_blocked_tool_that_runs_alone_holds_nothing_back() -> None:
    registry = make_registry(
        make_facts("a", after=()),
        make_facts("b", after=()),
        make_facts("c"),
        make_facts("d", after=()),
    )
    plan = make_plan(registry)
    modules = [step.tool.module for step in plan.steps]
    waits = find_waits(plan.steps, registry, lambda _: False)
    run = Run(
        plan,
        registry,
        has_known_flow=lambda _: False,
        workers=3,
        queue=StepQueue(modules, waits, {}, {}),
    )
    for module in "ab":
        assert run.ready() == module
        run.mark_submitted(module)
    assert run.ready() is None, "c runs alone, and d after it"
    failed = ToolFinished(module="b", status="failed")
    run.apply(failed)
    assert [one.module for one in run.drain_blocked(failed)] == ["c"]
    assert run.ready() == "d", "though a is still running"
