"""What is left to run: the stale part of a plan, or what another run did not finish.

Reads what is remembered of the tools, and their files. Writes only what `accept` and the cache of sources keep.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

from msgspec.structs import replace

from discover_orch.model.errors import Problem, UsageError
from discover_orch.model.keys import (
    WHOLE,
    Key,
    is_file_key,
    is_rows,
    is_table_key,
    path_of,
    table_key,
    table_name,
)
from discover_orch.model.tool import Tool
from discover_orch.planning.dataflow_checks import (
    build_left_over_warning,
    build_warning,
    listed,
)
from discover_orch.planning.param_values import GivenParams, default_versions, param_versions
from discover_orch.planning.plan import Plan, Step, keep_steps, step_versions
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.project_warnings import STAGES_BY_NAME
from discover_orch.staleness.current_inputs import (
    CurrentState,
    Params,
    takes_connection,
)
from discover_orch.staleness.database_identity import GET_CONNECTION
from discover_orch.staleness.import_graph import CodeState
from discover_orch.staleness.known_flow import find_known_flows
from discover_orch.staleness.left_over import LeftOver, build_test, with_readers
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.reason_sentences import Freshness
from discover_orch.staleness.result_updates import move_tables, with_saw
from discover_orch.staleness.status import Status, Turns
from discover_orch.staleness.tool_result import (
    ABSENT,
    DATABASE,
    EXISTS,
    Inputs,
    LastOutcome,
    Seq,
    Success,
    ToolResult,
    Write,
    latest_run,
)
from discover_orch.staleness.writers import GONE, Writers
from discover_orch.state.flow_lock import FlowLock, LockedTool
from discover_orch.state.journal import find_runs, timestamp
from discover_orch.state.sealed_files import read_flows

#: Why a tool runs that was fresh when the run began.
_LATE = "what it uses changed during the run"
NO_SUCCESS = "no success of its present code is recorded: run it once"


class RemainingWork:
    """The state of a project's tools, read once."""

    def __init__(self, view: ProjectView, values: GivenParams) -> None:
        project, registry = view.project, view.registry
        self.view, self.values = view, values
        self._project, self._registry = project, registry
        self.memory = Memory(project.root, registry)
        #: What is remembered of the tools.
        self.results = self.memory.results(registry.order)
        self.current = CurrentState(project, registry, self.memory, self.results, view.sources)

    @property
    def all_results(self) -> tuple[ToolResult, ...]:
        """Those of the tools, and of tools that no longer exist."""
        return (*self.results.values(), *self.current.gone)

    @property
    def _latest_run(self) -> int:
        """Also of other checkouts, whose runs may have higher numbers."""
        runs = map(int, find_runs(self._project.root)[:1])
        return max([0, *runs, *map(latest_run, self.all_results)])

    @property
    def as_of(self) -> int:
        """The last run here that used the database, where only code of the user can open that, so that a command that
        only looks cannot know what others have done to it since; 0 where it can."""
        known, registry = self.current.database.known, self._registry
        if self.current.database.name != GET_CONNECTION or known is None or known.path:
            return 0
        tools = [one for one in registry.tools.values() if takes_connection(one, registry)]
        used = (self.results[one.module] for one in tools if one.module in self.results)
        return max(map(latest_run, used), default=0)

    def is_there(self, key: Key) -> bool:
        return self.current.mark(key) != ABSENT

    def build_writers(self) -> Writers:
        """Who wrote what, by all results."""
        known = self.results
        rows = [
            (place, known[one]) for place, one in enumerate(self._registry.order) if one in known
        ]
        gone = [(GONE, one) for one in self.current.gone]
        return self._build_writers([*rows, *gone])

    def _build_writers(self, rows: Iterable[tuple[int, ToolResult]]) -> Writers:
        database = self.current.database
        return Writers(
            rows, foreign_write=lambda: database.foreign_write, content_of=database.content
        )

    def find_left_over(self) -> list[LeftOver]:
        """What is left over from tools; from one that no longer exists what another tool reads."""
        registry = self._registry
        is_left = build_test(registry, lambda: self.current.database)
        left = self.build_writers().left_over.items()
        there = [(key, last.module) for key, last in left if is_left(last) and self.is_there(key)]
        found = with_readers(registry, self.all_results, there)
        return [one for one in found if one.readers or one.module in registry.tools]

    def find_made_by_gone(self) -> list[LeftOver]:
        """The files that steps made that no longer exist, and the tables with rows of theirs, as far as these are
        there."""
        writers = self.build_writers()
        is_left = build_test(self._registry, lambda: self.current.database)
        found = []
        for one in self.current.gone:
            for key, write in one.writes.items():
                if is_file_key(key) and write.mark == EXISTS:
                    continue  # a folder, which others use too
                last = writers.left_over.get(key)
                if last and last.module == one.module and is_left(last) and self.is_there(key):
                    found.append(LeftOver(key=key, module=one.module))
        return found

    def warn_left_over(self) -> list[Problem]:
        """A warning for each tool from which something is left over."""
        things: dict[str, list[LeftOver]] = {}
        for one in self.find_left_over():
            things.setdefault(one.module, []).append(one)
        return [build_left_over_warning(self._registry, of) for of in things.values()]

    def freshness(
        self, steps: Iterable[Step] = (), just_ran: Collection[str] = ()
    ) -> dict[str, Freshness]:
        """Of all tools, by module; those of these steps with the values that the steps have. Tools that `just_ran` are
        not stale for the time alone."""
        self._planned = {step.tool.module: step for step in steps}

        def params(tool: Tool) -> Params:
            step = self._planned.get(tool.module)
            return step_versions(step, self._project.root) if step else self.params_of(tool)

        self._status = Status(self.current, params, self.defaults_of, just_ran=just_ran)
        freshness = self._status.freshness()
        self.current.write()
        return freshness

    def params_of(self, tool: Tool) -> Params:
        """What the command line would pass to a tool."""
        return param_versions(tool, self._registry, self._project, self.values)

    def defaults_of(self, tool: Tool) -> Params:
        """The default of each parameter, in the same form."""
        return default_versions(tool, self._project.root)

    def extend(self, view: ProjectView, plan: Plan) -> None:
        """There are more steps than before."""
        self.view, self._registry = view, view.registry
        self._planned.update({step.tool.module: step for step in plan.possible_steps})
        if plan.turns is not None:
            plan.turns.extend(view.registry)

    def keep_stale(
        self, plan: Plan, just_ran: Collection[str] = (), settled: Collection[str] = ()
    ) -> Plan:
        """The stale part of a plan, and what is downstream of it within the plan. Stale tools upstream of the plan do
        not run; a warning names them. `just_ran` as of `freshness`; `settled` tools are left out, fresh or not."""
        chosen = [step.tool.module for step in plan.steps]
        freshness = self.freshness(plan.steps, just_ran)
        stale = {module for module in chosen if not freshness[module].is_fresh}.difference(settled)
        steps = keep_steps(plan.steps, {one: freshness[one].sentences[0] for one in stale})
        steps = tuple(
            replace(step, may_run=self._may_end_fresh(freshness[step.tool.module], stale))
            for step in steps
        )
        absent = [one for step in steps for one in plan.missing.get(step.tool.module, ())]
        if absent:
            raise UsageError(*absent)
        known = {step.tool.module: step for step in steps}
        left_out = stale.union(settled)
        fresh = tuple(step.tool for step in plan.steps if step.tool.module not in left_out)
        unbound = {module for module, found in plan.missing.items() if found}
        said = [one for one in plan.warnings if steps or one.code != STAGES_BY_NAME]
        return replace(
            plan,
            steps=steps,
            fresh=fresh,
            warnings=(*said, *self._stale_upstream(chosen, freshness)),
            intro=_count_text(len(steps), len(chosen), has_items=bool(self._registry.steps))
            if steps
            else "",
            turns=Turns(self._status),
            selected=tuple(
                known.get(one.tool.module) or replace(one, reason=_LATE)
                for one in plan.steps
                if one.tool.module not in unbound
            ),
        )

    def _may_end_fresh(self, freshness: Freshness, stale: Collection[str]) -> bool:
        """Whether a stale tool may be fresh when others of the plan, which are `stale`, have run before it."""
        if freshness.is_for_others:
            return True
        above = self._registry.upstream([freshness.module]) - {freshness.module}
        return not freshness.is_lasting and not above.isdisjoint(stale)

    def find_tables_left(self) -> frozenset[str]:
        """The tables that successes left in a database that must be asked whether one was dropped."""
        main = self.current.database
        known = main.known
        if known is None or main.number != known.number or main.shows_tables:
            return frozenset()
        if known.path and not (known.is_unread or main.foreign_write > known.looked):
            return frozenset()
        prefix = f"table:{known.number}:"
        return frozenset(
            table_name(key)
            for result in self.all_results
            for key, write in result.writes.items()
            if key.startswith(prefix)
            and not is_rows(key)
            and (write.is_checked or write.is_left_over)
            and write.mark == EXISTS
        ) - {"", WHOLE}

    def find_tables_to_read(self) -> tuple[str, ...]:
        """The tables that tools left with a version by content, and that another program may have changed since."""
        main, written = self.current.database, dict[str, Seq]()
        prefix = table_key(main.number, "")
        for result in self.all_results:
            for key, write in result.writes.items():
                if key.startswith(prefix) and write.version:
                    name = table_name(key)
                    written[name] = max(write.seq, written.get(name, 0))
        return tuple(main.find_unread(written))

    def note_contents(self, contents: Mapping[str, str], *, is_run: bool) -> None:
        """What these tables contain now. `is_run`: a run follows."""
        memory = self.memory if is_run else None
        database = self.current.database
        database.note_contents(contents, memory, database.after_run(self._latest_run))

    def note_tables(self, left: Collection[str], found: Collection[str], *, is_run: bool) -> None:
        """Which of the tables that successes left are not among those that were found now."""
        database = self.current.database
        memory = self.memory if is_run else None
        now = database.after_run(self._latest_run)
        database.note_missing(tuple(sorted({*left}.difference(found))), memory, now)

    def _stale_upstream(
        self, chosen: list[str], freshness: Mapping[str, Freshness]
    ) -> list[Problem]:
        """A warning for each tool that is upstream of the chosen ones and stale for a reason of its own."""
        if len(chosen) == len(self._registry.order):
            return []
        inside = frozenset(chosen)
        above = self._registry.upstream(chosen) - inside
        return [
            build_warning(
                "stale-upstream",
                f"{self._registry.display(module)} is upstream of the targets and stale, but does not run: "
                f"{freshness[module].reasons[0]}",
                "run all upstream tools too with: orch run --changed +TARGET",
            )
            for module in self._registry.order
            if module in above and freshness[module].reasons
        ]

    def find_gap(self, tool: Tool) -> str:
        """Why the data flow of the tool is not known completely; "" where it is."""
        result, code = self.results.get(tool.module), self._whole_code
        success = None if result is None else result.success
        if success is None or not self.current.is_of_present_code(tool, success, code):
            return NO_SUCCESS
        if success.flow.is_unclear:
            return "it used the database in a way that orch cannot see"
        if not success.is_whole:
            return (
                f"it {' and '.join(success.flow.gaps) or 'uses something that orch does not see'}"
            )
        return ""

    @cached_property
    def _whole_code(self) -> Mapping[str, CodeState]:
        return self.current.read_code(self._registry.order)

    def find_known_flows(self, lock: FlowLock) -> dict[str, LockedTool]:
        """What the tools were seen to read and write, here, or elsewhere as the lock says."""
        flows, registry = read_flows(self._project.root), self._registry
        modules, results = registry.by_tool.tools, self.results
        return find_known_flows(modules, registry, flows, results, self.current, lock)

    def warn_never_passed(self, plan: Plan) -> list[Problem]:
        """A warning for each tool that has never passed, so that its tables and files are unknown."""
        return [
            build_warning(
                "never-passed",
                f"{step.tool.name} has never passed: the tables and files that it uses are unknown",
                "until it has run, a change of its code or parameters, or a run of a tool upstream, makes it stale",
            )
            for step in plan.steps
            if (result := self.results.get(step.tool.module)) is None or result.success is None
        ]

    def warn_damaged(self, modules: Iterable[str]) -> list[Problem]:
        """A warning that names the steps whose memory cannot be read, so that they seem never to have run."""
        steps = self._registry.steps_of(modules)
        unknown = [step for step in steps if step not in self.results]
        names = [self._registry.display(one) for one in self.memory.find_damaged(unknown)]
        if not names:
            return []
        return [
            build_warning(
                "damaged-memory",
                f"what is remembered of {listed(names)} cannot be read",
                "orch run --changed runs it again; you can delete .orch",
            )
        ]

    def accept(self, plan: Plan) -> bool:
        """Mark the tools of a plan as fresh without running them; False if that cannot be saved."""
        present, memory = self.current, self.memory
        memory.settle_moves()
        latest = self._latest_run
        now = present.database.after_run(latest)
        present.database.note_present(memory, now)
        present.database.note_latest(memory, now)
        code = self._whole_code
        results = {
            module: self.results.get(module) or ToolResult(module=module)
            for module in self._registry.order
        }
        modules = {step.tool.module: step.tool for step in plan.steps}
        gone = {one.module: one for one in present.gone}
        for result in self._keep_left_over(modules, {**results, **gone}):
            (results if result.module in results else gone)[result.module] = result
            memory.write(result)
        for step in plan.steps:
            tool = step.tool
            result = results[tool.module]
            if takes_connection(tool, self._registry) and present.database.number > 0:
                result = move_tables(result, present.database.number)
            params = step_versions(step, self._project.root)
            inputs = present.inputs(tool, code, params, result)
            accepted = replace(
                result.success or Success(asof=0, ended=0, is_whole=False),
                asof=now,
                is_accepted=True,
                is_unchecked=False,
                at=timestamp(),
                inputs=inputs,
                marks=self._marks(inputs),
            )
            last = LastOutcome(run=str(latest), status="accepted", at=timestamp())
            writes = self._as_present(tool, result)
            results[tool.module] = replace(result, last=last, success=accepted, writes=writes)
        rows = [*enumerate(results.values()), *((GONE, one) for one in gone.values())]
        writers = self._build_writers(rows)
        for place, result in rows:
            if result.module in modules:
                memory.write(with_saw(result, place, writers, is_accepted=True))
        return not memory.is_lost

    def _keep_left_over(
        self, accepted: Collection[str], results: Mapping[str, ToolResult]
    ) -> list[ToolResult]:
        """The results that change because what is left over from accepted tools, or is read by one, is to stay."""
        kept: dict[str, set[Key]] = {}
        for one in self.find_left_over():
            if not {one.module, *one.readers}.isdisjoint(accepted):
                kept.setdefault(one.module, set()).add(one.key)
        found = []
        for module, keys in kept.items():
            writes = {**results[module].writes}
            for key in keys:
                # What a tool made that no longer exists is the user's from now on.
                is_by_hand = writes[key].is_by_hand or module not in self._registry.tools
                writes[key] = replace(writes[key], is_left_over=False, is_by_hand=is_by_hand)
            found.append(replace(results[module], writes=writes))
        return found

    def _as_present(self, tool: Tool, result: ToolResult) -> dict[Key, Write]:
        """The writes of the tool: what is missing now need not be there, unless it is a declared output. An output
        that the tool was never seen to write counts as written before anything else."""
        outputs = [*self.current.versions.declared(tool.outputs)]
        writes = {
            key: replace(write, is_checked=False)
            if key not in outputs and self.current.mark(key) == ABSENT
            else self._as_edited(key, write)
            for key, write in result.writes.items()
        }
        for key in outputs:
            mark, known = self.current.mark(key), writes.get(key)
            if known is None or known.mark == ABSENT:
                writes[key] = Write(0, EXISTS if mark == ABSENT else mark)
            else:
                writes[key] = replace(known, is_checked=True)
        return writes

    def _as_edited(self, key: Key, write: Write) -> Write:
        """The write of a file or table that was edited since, as it is now."""
        if is_table_key(key):
            now = write.version and self.current.database.content(key, write.seq)
            is_same = now is None or now == write.version
            return write if is_same else replace(write, version=now, is_by_hand=True)
        mark = self.current.mark(key)
        if not is_file_key(key) or write.version is None or mark in (write.mark, EXISTS):
            return write
        version = self.current.versions.version(key)
        is_by_hand = write.is_by_hand or write.version not in (version, DATABASE)
        return replace(write, mark=mark, version=version, is_by_hand=is_by_hand)

    def _marks(self, inputs: Inputs) -> dict[Key, str]:
        """The states that stand for the versions of these files."""
        found = {}
        for key in inputs.other:
            if is_file_key(key):
                _, mark = self.current.versions.file(path_of(key))
                if mark:
                    found[key] = mark
        return found


def _count_text(stale: int, chosen: int, *, has_items: bool) -> str:
    verb, noun = "is" if stale == 1 else "are", "steps" if has_items else "tools"
    return f"{stale:,} of {chosen:,} {noun} {verb} stale" if chosen > 1 else "the tool is stale"
