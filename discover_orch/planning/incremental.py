"""What is left to run: the stale part of a plan, or what another run did not finish.

Reads what is remembered of the tools, and their files. Writes only what `accept` and the caches keep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import Problem, UsageError
from discover_orch.model.tool import Tool
from discover_orch.planning.param_values import GivenParams, given_texts
from discover_orch.planning.plan import Plan, step_texts
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
    """The state of a project's tools, read once."""

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
        """What is remembered of each tool."""
        return self._current.results

    def freshness(
        self,
        plan: Plan | None = None,
        *,
        within: Collection[str] | None = None,
        params_of: Callable[[Tool], Params | None] | None = None,
    ) -> dict[str, Freshness]:
        """Of all tools, by module; those of `plan` with the values that it has for them."""
        steps = {step.tool.module: step for step in plan.steps} if plan else {}

        def params(tool: Tool) -> Params:
            found = params_of(tool) if params_of else None
            if found is not None:
                return found
            step = steps.get(tool.module)
            if step is not None:
                return step_texts(step, self._project.root)
            return self.params_of(tool)

        freshness = compute_freshness(self._current, params, within=within)
        self._current.code.write()
        return freshness

    def params_of(self, tool: Tool) -> Params:
        """What the command line would pass to a tool."""
        return given_texts(tool, self._registry, self._project, self._values)

    def keep_stale(self, plan: Plan) -> Plan:
        """The stale part of a plan, and what is downstream of it within the plan. Stale tools upstream of the plan do
        not run; a warning names them."""
        chosen = [step.tool.module for step in plan.steps]
        freshness = self.freshness(plan, within=chosen)
        stale = {module for module in chosen if not freshness[module].is_fresh}
        steps = tuple(
            replace(
                step,
                reason=freshness[step.tool.module].sentences[0],
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
                *self._stale_upstream(chosen, freshness),
                *self._applied_twice(stale),
            ),
            intro=_count_text(len(steps), len(chosen)) if steps else "",
        )

    def write_all_fresh(self, key: str) -> None:
        """Remembers that all tools are fresh without any option, so that the next command need not compare them."""
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
        self, chosen: list[str], freshness: Mapping[str, Freshness]
    ) -> list[Problem]:
        """A warning for each tool that is upstream of the chosen ones and stale for a reason of its own."""
        if len(chosen) == len(self._registry.order):
            return []
        inside = frozenset(chosen)
        above = self._registry.upstream(chosen) - inside
        return [
            Problem(
                code="stale-upstream",
                message=f"{self._registry.display(module)} is upstream of the targets and stale, but does not "
                f"run: {freshness[module].reasons[0]}",
                hint="to run all upstream tools too: orch run --changed +TARGET",
                severity="warning",
            )
            for module in self._registry.order
            if module in above and freshness[module].reasons
        ]

    def _applied_twice(self, stale: Collection[str]) -> list[Problem]:
        """A warning for each tool that updates a table in place and would update it a second time, since the tool that
        writes the table first is fresh."""
        registry = self._registry
        found = []
        writers: dict[str, str] = {}  # table → the first tool that writes it and is fresh
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
                        message=f"{name} updates the table {table} in place and will do so a second time: "
                        f"{writer}, which writes the table first, is fresh and does not run",
                        hint=f"to write the table anew: orch run {writer} {name}",
                        severity="warning",
                    )
                )
        return found

    def build_resumed_plan(self, record: RunRecord | None) -> Plan:
        """What the run did not finish; a plan without steps if there is nothing. Raises UsageError and
        DiscoveryError."""
        if record is None:
            return Plan(intro="nothing to resume: no run failed, was interrupted or killed")
        resumption = Resumption(record, self._registry, self._project, self._values)
        if not resumption.passed:
            return resumption.plan({})
        return resumption.plan(
            self.freshness(params_of=resumption.params_of, within=resumption.passed)
        )

    def warn_never_passed(self, plan: Plan) -> list[Problem]:
        """A warning for each tool that has never passed, so that its tables and files are unknown."""
        return [
            Problem(
                code="never-passed",
                message=f"{step.tool.name} has never passed: the tables and files that it uses are unknown",
                hint="until it has run, only changes of its code and parameters make it stale",
                severity="warning",
            )
            for step in plan.steps
            if (result := self.results.get(step.tool.module)) is None or result.success is None
        ]

    def accept(self, plan: Plan) -> bool:
        """Mark the tools of a plan as fresh without running them; False if that cannot be saved."""
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
            params = step_texts(step, self._project.root)
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


def _count_text(stale: int, chosen: int) -> str:
    verb = "is" if stale == 1 else "are"
    return f"{stale:,} of {chosen:,} tools {verb} stale" if chosen > 1 else "the tool is stale"


def find_run_to_resume(root: str, run: str | None) -> RunRecord | None:
    """The run to resume: `run`, or the latest that did not finish, or None if there is none. Raises UsageError."""
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
                message=f"run {run} does not exist",
                hint="orch history shows all runs",
            )
        )
    if record.kind == "watch":
        raise UsageError(
            Problem(
                code="watch-run",
                message=f"run {run} belongs to orch watch and cannot be resumed",
                hint="run the stale tools with: orch run --changed",
            )
        )
    return record


def _run(result: ToolResult) -> int:
    run = result.last.run
    return max(int(run) if run.isdecimal() else 0, result.success.run if result.success else 0)
