"""What is left to run: of a plan what is stale, of another run what it did not come to.

In: a project with its registry, and what the command line gives. Out: plans, and the standing of each tool. Looks
at memory and disk, and writes nothing but what is kept of the meaning of code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import Problem, UsageError
from discover_orch.model.tool import Tool
from discover_orch.planning.params import GivenParams
from discover_orch.planning.plan import Plan, given_params, step_params
from discover_orch.planning.resume import Resumption, find_resumable
from discover_orch.staleness.all_fresh_cache import delete_all_fresh, write_all_fresh
from discover_orch.staleness.current import CurrentState, Params
from discover_orch.staleness.fingerprint import Freshness
from discover_orch.staleness.memory import LastOutcome, Memory, Success, ToolResult
from discover_orch.staleness.status import compute_freshness
from discover_orch.state.journal import find_runs, read_record, read_summary, timestamp
from discover_orch.state.run_record import RunRecord

_UNSIGNED: Mapping[str, str] = {}


class RemainingWork:
    """One look at what is left. `results` are what is remembered of each tool."""

    def __init__(
        self,
        project: Project,
        registry: Registry,
        values: GivenParams,
        signatures: Mapping[str, str] = _UNSIGNED,
    ) -> None:
        self._since = time.time_ns()
        self._project, self._registry, self._values = project, registry, values
        self._memory = Memory(project.root)
        self._current = CurrentState(
            project, registry, self._memory, self._memory.results(registry.order), signatures
        )

    @property
    def results(self) -> Mapping[str, ToolResult]:
        return self._current.results

    def freshnesses(
        self,
        plan: Plan | None = None,
        *,
        within: Collection[str] | None = None,
        params_of: Callable[[Tool], Params | None] | None = None,
    ) -> dict[str, Freshness]:
        """Of all tools; those of a `plan` with the values that it has for them."""
        steps = {step.tool.module: step for step in plan.steps} if plan else {}

        def params(tool: Tool) -> Params:
            found = params_of(tool) if params_of else None
            if found is not None:
                return found
            step = steps.get(tool.module)
            if step is not None:
                return step_params(step, self._project.root)
            return self.params_of(tool)

        freshnesses = compute_freshness(self._current, params, within=within)
        self._current.code.write()
        return freshnesses

    def params_of(self, tool: Tool) -> Params:
        """What the command line would pass to a tool."""
        return given_params(tool, self._registry, self._project, self._values)

    def only_stale(self, plan: Plan) -> Plan:
        """The part of a plan that is stale, and what is downstream of that within it. What is stale upstream of the
        plan is not run, and told."""
        chosen = [step.tool.module for step in plan.steps]
        freshnesses = self.freshnesses(plan, within=chosen)
        stale = {module for module in chosen if not freshnesses[module].is_fresh}
        steps = tuple(
            replace(
                step,
                reason=freshnesses[step.tool.module].sentences[0],
                after=tuple(one for one in step.after if one in stale),
            )
            for step in plan.steps
            if step.tool.module in stale
        )
        absent = [one for step in steps for one in plan.missing.get(step.tool.module, ())]
        if absent:
            raise UsageError(*absent)
        fresh = tuple(step.tool for step in plan.steps if step.tool.module not in stale)
        return replace(
            plan,
            steps=steps,
            fresh=fresh,
            warnings=(
                *plan.warnings,
                *self._stale_upstream(chosen, freshnesses),
                *self._applied_twice(stale),
            ),
            intro=_how_many(len(steps), len(chosen)) if steps else "",
        )

    def write_all_fresh(self, key: str) -> None:
        """All tools are fresh, with nothing said on the command line: the next one need not compare all again."""
        cache_key = self._current.cache_key()
        if cache_key is None:
            return
        registry = self._registry
        stages = [
            (
                stage.name,
                [registry.display(one) for one in stage.tools if registry.rank[one] == place],
            )
            for place, stage in enumerate(registry.stages)
        ]
        kept = [(name, tools) for name, tools in stages if tools]
        write_all_fresh(self._project.root, key, kept, cache_key, self._since)

    def _stale_upstream(
        self, chosen: list[str], freshnesses: Mapping[str, Freshness]
    ) -> list[Problem]:
        """Of each tool that is upstream of the chosen ones and stale for a reason of its own."""
        if len(chosen) == len(self._registry.order):
            return []
        inside = frozenset(chosen)
        above = self._registry.upstream(chosen) - inside
        return [
            Problem(
                code="stale-upstream",
                message=f"{self._registry.display(module)} is upstream of what was asked for, and stale: "
                f"{freshnesses[module].reasons[0]}",
                hint="a + before a target (orch run --changed +TARGET) takes in all upstream of it",
                severity="warning",
            )
            for module in self._registry.order
            if module in above and freshnesses[module].reasons
        ]

    def _applied_twice(self, stale: Collection[str]) -> list[Problem]:
        """Tools that update a table in place, and run again on what they made of it: who writes it before them is
        fresh."""
        registry = self._registry
        found = []
        writers: dict[str, str] = {}  # of each table the first that writes it, and is fresh
        for module in registry.order:
            flow = registry.flows[module]
            if module not in stale:
                for table in flow.tables_written:
                    writers.setdefault(table, module)
                continue
            updated = [
                one for one in flow.tables_written if one in flow.tables_read and one in writers
            ]
            if updated:
                table, name = updated[0], registry.display(module)
                writer = registry.display(writers[table])
                found.append(
                    Problem(
                        code="in-place",
                        message=f"{name} updates the table {table} in place, and what it made of it is there already: "
                        f"{writer}, which writes that table before it, is fresh and does not run",
                        hint=f"orch run {writer} {name} starts from the beginning",
                        severity="warning",
                    )
                )
        return found

    def resumed(self, record: RunRecord | None) -> Plan:
        """What a run left; a plan without steps where there is nothing. Raises UsageError and DiscoveryError."""
        if record is None:
            return Plan(intro="nothing to resume: no run failed, was interrupted or killed")
        resumption = Resumption(record, self._registry, self._project, self._values)
        if not resumption.passed:
            return resumption.plan({})
        return resumption.plan(
            self.freshnesses(params_of=resumption.params_of, within=resumption.passed)
        )

    def never_passed(self, plan: Plan) -> list[Problem]:
        """A warning for each tool of which nobody has seen what it reads and writes."""
        return [
            Problem(
                code="never-passed",
                message=f"{step.tool.name} never passed: nothing is known of the tables and files that it uses",
                hint="changes of its code and parameters make it stale, and nothing else, until it has run",
                severity="warning",
            )
            for step in plan.steps
            if (result := self.results.get(step.tool.module)) is None or result.success is None
        ]

    def accept(self, plan: Plan) -> bool:
        """Take the tools of a plan as they are for fresh, without running them; False where that cannot be kept."""
        present, memory = self._current, self._memory
        delete_all_fresh(self._project.root)
        present.note_database(memory)
        code = present.read_code(self._registry.order)
        runs = find_runs(self._project.root)
        latest = max([0, *map(int, runs), *(_run(one) for one in self.results.values())])
        for step in plan.steps:
            tool = step.tool
            old = self.results.get(tool.module)
            success = old.success if old else None
            params = step_params(step, self._project.root)
            now, file_stats = present.fingerprint(tool, code, params, success)
            accepted = replace(
                success or Success(run=0),
                accepted=latest,
                at=timestamp(),
                fingerprint=now,
                file_stats=file_stats,
            )
            last = LastOutcome(run=str(latest), status="accepted", at=timestamp())
            left = old.uncertain if old else None
            memory.write(
                ToolResult(module=tool.module, last=last, success=accepted, uncertain=left)
            )
        return not memory.is_lost


def _how_many(stale: int, chosen: int) -> str:
    verb = "is" if stale == 1 else "are"
    return f"{stale:,} of {chosen:,} tools {verb} stale" if chosen > 1 else "the tool is stale"


def find_record(root: str, run: str | None) -> RunRecord | None:
    """The run to go on with: `run`, or the latest that was broken off, None where there is none. Raises UsageError."""
    runs = find_runs(root)
    if run is None:
        summaries = (record for one in runs if (record := read_summary(root, one)) is not None)
        found = find_resumable(summaries)
        return None if found is None else read_record(root, found.run)
    record = read_record(root, run) if run in runs else None
    if record is None:
        raise UsageError(
            Problem(
                code="unknown-run",
                message=f"there is no run {run}",
                hint="orch history shows all",
            )
        )
    if record.kind == "watch":
        raise UsageError(
            Problem(
                code="watch-run",
                message=f"run {run} belongs to a watch, and such runs are not resumed",
                hint="orch run --changed runs what is stale",
            )
        )
    return record


def _run(result: ToolResult) -> int:
    run = result.last.run
    return max(int(run) if run.isdecimal() else 0, result.success.run if result.success else 0)
