"""Records a run: its journal, the tools' output, and for each tool what its success rested on.

What a success rests on is what its worker observed. If that changed while the tool ran, it is recorded as unsure, and
the tool is stale again. Nothing here can stop a run: what cannot be saved is lost, with one warning.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping

from msgspec import to_builtins
from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.execution.attempt import AttemptReader, uses_main_database
from discover_orch.execution.events import (
    Event,
    Report,
    RunFinished,
    RunStarted,
    ToolRetried,
    event_document,
)
from discover_orch.execution.overlaps import Overlaps
from discover_orch.execution.run_memory import DatabaseRecord, ResultRecord, find_used_versions
from discover_orch.execution.start_of_run import start_line
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.errors import ExitCode, Location, Problem
from discover_orch.model.observation import WRITTEN, Observation, Use
from discover_orch.model.run_events import (
    DatabaseWritten,
    ToolDeclined,
    ToolFinished,
    ToolOrdered,
    ToolOutput,
    ToolStarted,
    TransactionEnded,
)
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Plan, Step, had_arguments
from discover_orch.staleness.current import CurrentState, takes_connection
from discover_orch.staleness.fingerprint import (
    FILES,
    SETTLED,
    Cause,
    Inputs,
    Key,
    LastOutcome,
    Seq,
    ToolResult,
    add_failure,
    add_success,
    cut_off,
    forget_unsure,
    forget_writes,
    run_of,
    sequence,
)
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.staleness.memory import Memory, find_unended
from discover_orch.staleness.rule import with_saw, without_lost_writes
from discover_orch.state.journal import (
    Journal,
    begin_run,
    find_runs,
    prune,
    read_open_run,
    timestamp,
)

#: Statuses of a tool that ran. Any other leaves what is remembered of it as it was.
TRIED = ("passed", "done", "failed", "unknown", "interrupted", "cancelled")
#: Characters of a traceback, and names of one kind of data, that the journal keeps of a tool.
LONGEST_TRACEBACK, MOST_NAMES = 20_000, 200


class Recorder:
    """Records one run. `run` is its id."""

    def __init__(
        self,
        plan: Plan,
        registry: Registry,
        project: Project,
        *,
        code: ImportGraph | SourceFiles | None = None,
        environ: Mapping[str, str] = os.environ,
        ledger: str = "",
    ) -> None:
        """`code` is as of `CurrentState`; `environ` is what tools get; `ledger` is the run's key in the ledger."""
        self._ledger = ledger
        self._plan, self._registry, self._project = plan, registry, project
        self.environ = environ
        self._steps = {step.tool.module: step for step in plan.possible_steps}
        tools = (*plan.fresh, *(step.tool for step in plan.steps))
        self._names = {tool.module: tool.name for tool in tools}
        self._memory = Memory(project.root, registry)
        self._memory.settle_moves()
        self._current = CurrentState(
            project,
            registry,
            self._memory,
            code=code,
            environ=environ,
        )
        self._results = ResultRecord(project.root, registry, self._memory, self._current.gone)
        self._database = DatabaseRecord(self._current.database, self._memory, project.root)
        self._report = Report()
        self._is_parallel = False
        self._overlaps = Overlaps()
        self._started, self._started_ns = time.monotonic(), time.time_ns()
        self._has_begun = self._is_over = self._has_warned = False
        self._journal: Journal = begin_run(project.root, self._close_killed_run())
        self.run = self._journal.run
        self._database.run = _number(self.run)
        # A watch brings its code up to date while the run is in progress.
        self._is_live = isinstance(code, ImportGraph)
        self._code = {
            **self._current.read_code(
                one.tool.module for one in (*self._steps.values(), *plan.selected)
            )
        }
        self._attempts = AttemptReader(self._current, self._code, is_live=self._is_live)
        #: What was remembered before, and the end, of the tools of a run that is one transaction.
        self._done: dict[str, tuple[ToolResult, Seq]] = {}
        self._count = 0  # starts and ends of tools
        self._began: dict[str, Seq] = {}
        self._unhashed: dict[
            str, None
        ] = {}  # the tools that have ended, and what they left was not read
        self._sources: dict[str, dict[str, str]] = {}  # of the step that was prepared
        self._flow_seen: dict[str, Dataflow] = {}
        self._versions: dict[str, dict[str, str]] = {}  # of what the tools that have passed used
        #: Whether the run ends because nothing reads what orch writes any more.
        self.is_output_closed = False

    def record(self, event: Event) -> tuple[Problem, ...]:
        """Records the event; the problems that it brings about."""
        self._report.add(event)
        document = self._document(event)  # with the time before anything is read
        found: list[Problem] = []
        match event:
            case RunStarted(workers=workers):
                self._has_begun = True
                self._is_parallel = workers > 1
                self._database.note_start()
                line = start_line(
                    event,
                    self._plan,
                    self._registry,
                    self._project,
                    self._current,
                    self._code,
                    kind="watch" if self._is_live else "run",
                    ledger=self._ledger,
                )
                self._journal.write({**to_builtins(line), **document})
            case ToolOrdered(module=module):
                self._update_code()
                self._attempts.note_start(module, forget_unsure(self._results.find(module)))
                found += self._keep_edited(module)
                self._journal.write({"event": "tool_ordered", "module": module})
                if self._is_parallel:  # of what several workers report, the order is not known
                    self._began[module] = self._next_number()
                    self._overlaps.begin(module)
            case ToolStarted(module=module):
                if not self._is_parallel:
                    self._began[module] = self._next_number()
                self._write(document, module)
            case ToolDeclined(module=module):
                self._overlaps.end(module)
            case ToolOutput(module=module, stream=stream, text=text):
                self._journal.log(module, stream, text)
            case ToolFinished(module=module):
                self._overlaps.end(module)
                if event.status in TRIED and module in self._steps:
                    found += self._remember(event, self._steps[module])
                self._write(document, module, **_error(event), **self._data(module))
            case DatabaseWritten():
                self._database.note_foreign_write(self._next_number())
            case ToolRetried(end=end):
                self._overlaps.end(end.module)
                found += self._remember(end, self._steps[end.module])
                self._write(document, end.module, **_error(end))
            case TransactionEnded(status=status):
                self._end_transaction(status)
                self._journal.write(document)
            case RunFinished():
                found += self._finish(document)
            case _:
                pass
        return (*found, *self._find_loss())

    def is_needed(self, module: str) -> bool:
        """Whether a step has to run, now that its turn has come."""
        if not self._is_parallel:
            self.hash_outputs()
        return self._plan.turns is None or self._plan.turns.is_needed(module)

    def has_known_flow(self, tool: Tool) -> bool:
        """Whether a success of its present code was observed completely."""
        success = self._results.find(tool.module).success
        if success is None or not success.is_whole:
            return False
        self._update_code()
        return self._current.is_of_present_code(tool, success, self._code)

    def has_known_use(self, tool: Tool) -> bool:
        """Whether such a success had the parameters of this run too."""
        success = self._results.find(tool.module).success
        return (
            success is not None
            and self.has_known_flow(tool)
            and had_arguments(success, self._steps[tool.module], self._project.root)
        )

    def expected_duration(self, module: str) -> float | None:
        """The seconds that the last success of the tool took; None if there is none."""
        success = self._results.find(module).success
        return success.duration if success is not None and success.ended else None

    def prepare(self, step: Step) -> None:
        """Read what is needed to order this step, which is the next one, while a tool runs."""
        self._results.find(step.tool.module)
        self._sources = {step.tool.module: self.sources_of(step.tool)}

    def sources_of(self, tool: Tool) -> dict[str, str]:
        """The hashes of the files of its code, as the plan knows them."""
        known = self._sources.pop(tool.module, None)
        return self._current.hashes_of(tool, self._code) if known is None else known

    def _update_code(self) -> None:
        if self._is_live:
            self._code |= self._current.code.read_code(self._code)

    def close(self) -> None:
        """Completes the journal of a run that was broken off, as by a closed terminal: tools that did not start did
        not run, and the outcome of one that did not end is unknown."""
        if self._has_begun and not self._is_over:
            self._save()
            ended = {one.module for one in self._report.finished}
            planned = {step.tool.module for step in self._plan.steps}
            for module in self._steps.keys() - ended - self._began.keys():
                idle = ToolFinished(
                    module=module, status="not_run" if module in planned else "fresh"
                )
                self._report.add(idle)
                self._write(self._document(idle), module)
            end = {
                "event": "run_finished",
                "status": "killed" if self._began.keys() - ended else "interrupted",
                "exit_code": int(ExitCode.INTERRUPTED),
                "counts": dict(self._report.counts),
                "duration": round(time.monotonic() - self._started, 6),
            }
            self._journal.write(end)
        self._journal.close()

    def _find_loss(self) -> list[Problem]:
        """What could not be saved, reported once."""
        problem = self._journal.problem
        if problem is None and self._memory.is_lost:
            problem = Problem(
                code="memory",
                message="the results of this run cannot be saved in .orch",
                hint="make .orch writable, and free space on its disk",
                severity="warning",
            )
        if problem is None or self._has_warned:
            return []
        self._has_warned = True
        return [problem]

    # The journal.

    def _write(self, document: Mapping[str, object], module: str, **more: object) -> None:
        self._journal.write({**document, "module": module, **more})

    def _data(self, module: str) -> dict[str, object]:
        """What the tool was seen to use in this run, and what it declares."""
        flow = self._flow_seen.pop(module, None)
        if flow is None:
            return {}
        versions = self._versions.pop(module, {})
        tool = self._steps[module].tool
        names = {
            "files_read": dict.fromkeys((*tool.inputs, *flow.reads)),
            "files_written": dict.fromkeys((*tool.outputs, *flow.writes)),
            "tables_read": flow.tables_read,
            "tables_written": flow.tables_written,
        }
        data = {kind: [*found][:MOST_NAMES] for kind, found in names.items() if found}
        return {"data": data, "versions": versions}

    def _document(self, event: Event) -> dict[str, object]:
        return event_document(event, self._names, self._report) or {}

    def _close_killed_run(self) -> int:
        """If the last run was killed, remembers that the outcome of its unfinished tools is unknown, and what its
        tools that passed read and wrote. Returns the highest run number that is remembered."""
        root = self._project.root
        runs = find_runs(root)
        record = read_open_run(root, runs)
        if record is not None and record.status == "killed":
            known = self._memory.results([one.module for one in record.tools])
            for result in find_unended(record, known).values():
                self._results.write(result)
            passed = self._memory.results(
                [
                    one.module
                    for one in record.tools
                    if one.status == "passed" and not one.is_settled
                ]
            )
            self._results.restore_flows(
                {one: r.success.flow for one, r in passed.items() if r.success}
            )
        if runs:  # the newest run is never pruned
            return int(runs[0])
        results = (*self._memory.results(self._registry.order).values(), *self._current.gone)
        return max([0, *(max(_number(one.last.run), run_of(one.latest)) for one in results)])

    # The tools.

    def _remember(self, event: ToolFinished, step: Step) -> list[Problem]:
        module, tool, results = event.module, step.tool, self._results
        ended = self._next_number()
        began = self._began.get(module, ended)
        status = SETTLED if event.is_settled else event.status
        last = LastOutcome(
            run=self.run,
            status=status,
            at=timestamp(),
            duration=event.duration,
            cause=self._cause_of(event.status),
        )
        before = results.find(module)
        own = self._find_own_uses(tool, before)
        is_alone = own is not None or not self._overlaps.has_partners(module)
        if self._is_parallel and event.seen is not None:
            seen = self._overlaps.without_others(module, event.seen, own, self._find_uses)
            event = replace(event, seen=seen)
        if event.seen is not None and any(one.via == "aside" for one in event.seen.uses):
            event = replace(event, seen=self._with_exchanged(module, event.seen))
        self._attempts.add_event(event)
        found: list[Problem] = []
        if event.is_settled or (event.seen is None and event.status != "passed"):
            now = cut_off(before, ended)
        else:
            used = event.seen.database if event.seen else ""
            is_used = event.seen is not None and uses_main_database(event.seen)
            takes_conn = takes_connection(tool, self._registry)
            if event.status in ("passed", "done"):
                before = forget_unsure(before)
            self._database.note_use(used, takes_conn or is_used)
            attempt = self._attempts.read(
                event,
                step,
                began,
                ended,
                self._database.number,
                before,
                is_alone=is_alone,
            )
            if self._is_parallel:
                for other in self._overlaps.add_written(module, attempt.surely_written):
                    known = results.find(other)
                    results.write(forget_writes(known, attempt.surely_written))
            if event.status in ("passed", "done"):
                success = replace(attempt.success, at=last.at)
                now = add_success(
                    before,
                    success,
                    attempt.writes,
                    is_there=lambda key: os.path.exists(os.path.join(self._project.root, key[5:])),
                    read_files=lambda keys: self._attempts.read_files(keys, event, before),
                )
                assert now.success is not None
                results.foreign_write = self._database.foreign_write
                writers, then = results.find_writers(module, now.success, now.writes)
                self._versions[module] = find_used_versions(success, writers)
                place = results.place(module)
                now = without_lost_writes(now, place, then, attempt.writes)
                now = with_saw(now, place, writers, is_repeatable=tool.is_repeatable)
                self._flow_seen[module] = success.flow
                found = [_changed_since_planned(tool, path) for path in attempt.changed]
                found += results.find_left_over(tool, before, now, self._database.number)
                if event.status == "passed":
                    results.passed.add(module)
                self._overlaps.add_flow(module, success.flow)
            else:
                now = add_failure(before, attempt.success.inputs, attempt.writes)
        # Before the line in the journal: a tool that passed there is also remembered as passed.
        if event.status == "done":
            self._done[module] = before, ended
            now = replace(now, last=replace(last, status="passed"))
            results.hold(now)
        else:
            now = replace(now, last=last)
            results.write(now)
        self._tell_turns(now)
        self._unhashed[module] = None
        return found

    def _with_exchanged(self, module: str, seen: Observation) -> Observation:
        """The same with the files that count once one tool has written them and another one has read them."""
        found = []
        for use in (one for one in seen.uses if one.via == "aside"):
            makers = () if use.kind in WRITTEN else self._results.find_makers(use.key) - {module}
            if makers or use.kind in WRITTEN:
                found.append(Use(use.key, use.kind, "seen", use.state))
            for maker in makers:
                result = self._results.find(maker)
                if use.key in result.writes and not result.writes[use.key].is_checked:
                    write = replace(result.writes[use.key], is_checked=True)
                    known = replace(result, writes={**result.writes, use.key: write})
                    (self._results.hold if maker in self._done else self._results.write)(known)
        return replace(seen, uses=(*seen.uses, *found))

    def _keep_edited(self, module: str) -> list[Problem]:
        """What was edited by hand and the tool will write anew is copied first."""
        result = self._results.find(module)
        has_other = any(
            key.startswith("file:") and write.mark != self._current.mark(key)
            for key, write in result.writes.items()
        )
        if result.success is None or not has_other:
            return []
        from discover_orch.execution.edited_outputs import keep_edited  # few tools have been run

        _, writers = self._results.find_writers(module, result.success, result.writes)
        # With `turns` no tool runs while the end of another one is recorded.
        until = math.inf if self._plan.turns and not self._is_parallel else self._started_ns
        return keep_edited(
            self._project.root,
            self.run,
            module,
            result.writes,
            writers,
            self._registry.display,
            until,
        )

    def _find_own_uses(self, tool: Tool, before: ToolResult) -> frozenset[Key] | None:
        """What the tool was seen to use when it ran alone; None where its code is not that of then."""
        success = before.success
        if not self._is_parallel or success is None or not success.is_alone:
            return None
        is_same = self._current.is_of_present_code(tool, success, self._code)
        return self._find_uses(tool.module) if is_same else None

    def _find_uses(self, module: str) -> frozenset[Key]:
        result = self._results.find(module)
        inputs = result.success.inputs if result.success else Inputs()
        keys = (*inputs.other, *result.writes)
        return frozenset(key for key in keys if key.startswith(FILES))

    def _end_transaction(self, status: str) -> None:
        """Remembers the tools that are done as passed, or that they were rolled back."""
        for module, (before, ended) in self._done.items():
            now = self._results.find(module)
            if status == "passed":
                self._results.passed.add(module)
            else:
                last = replace(now.last, status=status, cause=self._cause_of(status))
                now = replace(cut_off(before, ended), last=last)
            self._results.write(now)
        self._done.clear()

    def _cause_of(self, status: str) -> Cause:
        if status == "interrupted" and self.is_output_closed:
            return "output closed"
        return "worker lost" if status == "unknown" else ""

    def _next_number(self) -> Seq:
        self._count += 1
        return sequence(_number(self.run), self._count)

    # The end.

    def hash_outputs(self) -> None:
        """Remembers the content of what the tools have left that ended since the last call. No tool runs now."""
        ended, self._unhashed = self._unhashed, {}
        for module in ended:
            before = self._results.find(module)
            now = self._attempts.hash_outputs(before)
            if now is not before:
                self._results.write(now)
                self._tell_turns(now)

    def _tell_turns(self, result: ToolResult) -> None:
        if self._plan.turns is not None:
            self._plan.turns.note(result)

    def _save(self) -> list[Problem]:
        """Saves what belongs to the run as a whole."""
        self.hash_outputs()
        if self._report.finished:
            self._database.save()
        found = self._results.save_flows()
        self._current.code.files.write()
        return found

    def _finish(self, document: Mapping[str, object]) -> list[Problem]:
        found = [*self._overlaps.find_conflicts(self._names), *self._save()]
        self._journal.write(document)
        self._is_over = True
        prune(self._project.root, self._project.keep_runs, self.run)
        return found


def _error(event: ToolFinished) -> dict[str, object]:
    """The error with its traceback, which `--json` does not have."""
    error = event.error
    if error is None:
        return {}
    return {"error": replace(error, traceback=error.traceback[-LONGEST_TRACEBACK:])}


def _changed_since_planned(tool: Tool, path: str) -> Problem:
    return Problem(
        code="changed-meanwhile",
        message=f"{path} changed after {tool.name} was planned or while it ran",
        hint=f"{tool.name} is stale again",
        location=Location(path=path),
        severity="warning",
    )


def _number(run: str) -> int:
    return int(run) if run.isdecimal() else 0
