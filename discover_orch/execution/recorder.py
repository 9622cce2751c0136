"""Records a run: its journal, the tools' output, and for each tool what its success rested on.

Nothing here can stop a run: what cannot be saved is lost, with one warning.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from msgspec import to_builtins
from msgspec.structs import replace

from discover_orch import __version__
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.execution.attempt_uses import uses_main_database
from discover_orch.execution.event_documents import build_event
from discover_orch.execution.remembered_results import ResultRecord
from discover_orch.execution.result_recorder import ResultRecorder
from discover_orch.execution.run_events import (
    FAILED,
    Event,
    Report,
    RunStarted,
    StepsAdded,
    ToolRetried,
)
from discover_orch.model.database_url import masked_url
from discover_orch.model.errors import ExitCode, Problem
from discover_orch.model.keys import WHOLE
from discover_orch.model.observation import MADE, WRITTEN, Observation, Use
from discover_orch.model.parameter import ParamValue
from discover_orch.model.secret_masking import is_secret_value
from discover_orch.model.tool import Tool
from discover_orch.model.tool_events import (
    DatabaseWritten,
    RunFinished,
    RunNote,
    TablesMade,
    ToolDeclined,
    ToolFinished,
    ToolOrdered,
    ToolOutput,
    ToolStarted,
    TransactionEnded,
)
from discover_orch.planning.plan import Plan, Step
from discover_orch.staleness.current_inputs import CurrentState, hash_meanings, takes_connection
from discover_orch.staleness.database_identity import GET_CONNECTION, DatabaseRecord
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.staleness.memory import Memory, find_unended
from discover_orch.staleness.tool_result import (
    LARGEST_KEY,
    run_of,
)
from discover_orch.state.git_files import read_commit
from discover_orch.state.journal import (
    Journal,
    begin_run,
    find_runs,
    prune,
    read_open_run,
    timestamp,
)
from discover_orch.state.lock import process_age, read_boot, read_start
from discover_orch.state.recorded_run import RecordedStep, RunBegan, StepsRecorded

#: Characters of a traceback, and of the end of what a failed tool printed, that the journal keeps.
LONGEST_TRACEBACK, LONGEST_OUTPUT = 20_000, 8_000
#: Names of one kind of data that the journal keeps of a tool, and reads and writes of one attempt.
MOST_NAMES, MOST_USES = 200, 1000
_FILES_USED = ("read", "opened", *WRITTEN)
_TABLES_USED = ("read", *MADE)


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
        key: str = "",
        keep: Callable[[bytes], object] | None = None,
        has_process: bool = False,
    ) -> None:
        """`code` is as of `CurrentState`; `environ` is what tools get; `key` tells this run from others of the same
        number; `keep` is as of `Journal`. `has_process`: this process was started for this run."""
        self._key = key
        self._plan, self._registry, self._project = plan, registry, project
        self.environ = environ
        self._steps = {step.tool.module: step for step in plan.possible_steps}
        tools = (*plan.fresh, *(step.tool for step in plan.steps))
        self._tools = {tool.module: tool for tool in tools}
        self._memory = Memory(project.root, registry)
        self._memory.settle_moves()
        self._current = CurrentState(
            project,
            registry,
            self._memory,
            code=code,
            environ=environ,
        )
        self._results = ResultRecord(project.root, registry, self._memory, self._current)
        self._database = DatabaseRecord(self._current.database, self._memory, project.root)
        self._report = Report()
        self._started, self._has_process = time.monotonic(), has_process
        self._printed: dict[str, str] = {}  # the end of it, of the attempts that have not ended
        self._has_begun = self._is_over = self._has_warned = False
        self._journal: Journal = begin_run(project.root, self._close_killed_run(), keep)
        self.run = self._journal.run
        self._database.run = _number(self.run)
        self._database.key = int(key[:8] or "0", 16) & LARGEST_KEY
        # A watch brings its code up to date while the run is in progress.
        self._is_live = isinstance(code, ImportGraph)
        self._code = {
            **self._current.read_code(
                one.tool.module for one in (*self._steps.values(), *plan.selected)
            )
        }
        self.tools = ResultRecorder(
            plan,
            registry,
            self._results,
            self._database,
            self._current,
            self._code,
            run=self.run,
            is_live=self._is_live,
        )

    def extend(self, plan: Plan, registry: Registry) -> None:
        """There are more steps than before."""
        self._plan, self._registry, self._current.registry = plan, registry, registry
        self._steps = {step.tool.module: step for step in plan.possible_steps}
        self._tools = plan.tools
        self._results.extend(registry)
        self.tools.extend(plan, registry)

    def record(self, event: Event) -> tuple[Problem, ...]:
        """Records the event; the problems that it brings about."""
        self._report.add(event)
        document = self._document(event)  # with the time before anything is read
        found: list[Problem] = []
        match event:
            case RunStarted(workers=workers):
                self._has_begun = True
                self.tools.is_parallel = workers > 1
                self._database.note_start()
                self._journal.write({**to_builtins(self._start_line(event)), **document})
                found += self.tools.remove_withdrawn()
            case StepsAdded(steps=steps, order=order):
                self._journal.write({**to_builtins(self._added_line(steps, order)), **document})
            case ToolOrdered(module=module):
                found += self.tools.order(module)
                self._journal.write({"event": "tool_ordered", "module": module})
            case ToolStarted(module=module):
                self.tools.start(module)
                self._write(document, module)
            case ToolDeclined(module=module):
                self.tools.decline(module)
            case ToolOutput(module=module, stream=stream, text=text):
                self._journal.log(module, stream, text)
                printed = self._printed.get(module, "") + text
                self._printed[module] = printed[-LONGEST_OUTPUT:]
            case ToolFinished(module=module):
                found += self.tools.end(event)
                used = {**self._data(module), **self._changes(event)}
                self._write(document, module, **self._attempt(event), **used)
                if event.tables and event.status in ("passed", "done"):
                    made = TablesMade(module=module, tables=event.tables)
                    self._journal.write(to_builtins(made))
            case DatabaseWritten():
                self._database.note_foreign_write(self.tools.next_number())
            case ToolRetried(end=end):
                found += self.tools.end(end)
                self._write(document, end.module, **self._attempt(end))
            case TransactionEnded(status=status):
                self.tools.end_transaction(status)
                self._journal.write(document)
            case RunNote(problem=problem):
                self._note(problem)
            case RunFinished():
                found += self._finish()
            case _:
                pass
        found += self._find_loss()
        for problem in found:
            self._note(problem)
        if isinstance(event, RunFinished):
            self._journal.write(document)
            self._is_over = True
            found += self._find_loss()
        return tuple(found)

    def with_counts(self, end: RunFinished) -> RunFinished:
        """The end of the run with what is known of its tools."""
        self._report.add(end)
        return replace(end, exit_code=self._report.exit_code, counts=self._report.counts)

    def close(self) -> None:
        """Completes the journal of a run that was broken off, as by a closed terminal: tools that did not start did
        not run, and the outcome of one that did not end is unknown."""
        if self._has_begun and not self._is_over:
            self._save()
            ended = {one.module for one in self._report.finished}
            planned = {step.tool.module for step in self._plan.steps}
            for module in self._steps.keys() - ended - self.tools.began.keys():
                idle = ToolFinished(
                    module=module, status="not_run" if module in planned else "fresh"
                )
                self._report.add(idle)
                self._write(self._document(idle), module)
            end = RunFinished(
                status="killed" if self.tools.began.keys() - ended else "interrupted",
                exit_code=ExitCode.INTERRUPTED,
                counts=self._report.counts,
                duration=time.monotonic() - self._started,
            )
            self._journal.write(self._document(end))
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

    def _start_line(self, event: RunStarted) -> RunBegan:
        plan, registry, project = self._plan, self._registry, self._project
        name = self._current.database.name
        has_own = name == GET_CONNECTION
        fresh = {tool.module for tool in plan.fresh}
        # Of thousands of fresh tools that may join, only what was given is needed again.
        steps = [
            step
            for step in plan.selected or plan.steps
            if step.tool.module not in fresh or _is_given(step)
        ]
        recorded, sources = self._record_steps(steps)
        chosen = {*event.tools}
        order = tuple(module for module in registry.order if module in chosen)
        return RunBegan(
            run=event.run,
            targets=event.targets,
            exclude=plan.exclude,
            is_unchecked=plan.is_unchecked,
            tools=tuple(registry.display(module) for module in event.tools),
            modules=event.tools,
            fresh_stages=tuple(
                registry.stages[registry.rank[tool.module]].name for tool in plan.fresh
            ),
            started=timestamp(),
            pid=os.getpid(),
            process=read_start(os.getpid()),
            boot=read_boot(),
            kind="watch" if self._is_live else "run",
            orch=__version__,
            python=sys.version.partition(" ")[0],
            system=f"{sys.platform} {os.uname().machine}",
            commit=read_commit(project.root),
            workers=event.workers,
            age=round(process_age() if self._has_process else 0.0, 6),
            plan=recorded,
            sources=sources,
            order=() if order == event.tools else order,
            database=name if has_own else masked_url(project.database),
            database_origin="orchconf.py" if has_own else project.database_origin,
            resumes=plan.resumes or None,
            key=self._key if project.memory == "database" else "",
            transaction=project.transaction,
            items=plan.items,
        )

    def _added_line(self, steps: Sequence[Step], order: tuple[str, ...]) -> StepsRecorded:
        recorded, sources = self._record_steps(steps)
        names = tuple(step.tool.name for step in steps)
        return StepsRecorded(tools=names, plan=recorded, sources=sources, order=order)

    def _record_steps(
        self, steps: Sequence[Step]
    ) -> tuple[tuple[RecordedStep, ...], dict[str, str]]:
        """The steps, and the hash of each file of their code."""
        codes = [self._current.code_of(step.tool, self._code) for step in steps]
        recorded = tuple(
            _record_step(step, one, is_recorded=records_success(step.tool, self._registry))
            for step, one in zip(steps, codes, strict=True)
        )
        return recorded, {path: meaning for one in codes for path, meaning in one.items()}

    def _write(self, document: Mapping[str, object], module: str, **more: object) -> None:
        self._journal.write({**document, "module": module, **more})

    def _note(self, problem: Problem) -> None:
        if not self._is_over:  # the end of the run is the last line
            self._journal.write(self._document(RunNote(problem=problem)))

    def _attempt(self, event: ToolFinished) -> dict[str, object]:
        """What `--json` does not have of an attempt: the traceback, the end of what it printed if it failed, the time
        of its commit, and what it used."""
        found: dict[str, object] = {}
        printed = self._printed.pop(event.module, "")
        if event.status in FAILED and printed:
            found["printed"] = printed
        if (error := event.error) is not None:
            found["error"] = replace(error, traceback=error.traceback[-LONGEST_TRACEBACK:])
        if event.commit_seconds:
            found["commit_seconds"] = round(event.commit_seconds, 6)
        if event.seen is not None:
            found["seen"] = _reads_and_writes(event.seen)
        return found

    def _data(self, module: str) -> dict[str, object]:
        """What the tool was seen to use in this run, and what it declares."""
        used = self.tools.take_used(module)
        if used is None:
            return {}
        flow, versions = used
        tool = self._steps[module].tool
        names = {
            "files_read": dict.fromkeys((*tool.inputs, *flow.reads)),
            "files_written": dict.fromkeys((*tool.outputs, *flow.writes)),
            "tables_read": flow.tables_read,
            "tables_written": flow.tables_written,
        }
        data = {kind: [*found][:MOST_NAMES] for kind, found in names.items() if found}
        return {"data": data, "versions": versions}

    def _changes(self, event: ToolFinished) -> dict[str, object]:
        """What tells a write of a killed run from a later one by another program."""
        seen = event.seen
        has_used = seen is not None and (seen.database or uses_main_database(seen))
        changes = self._database.count_changes() if has_used else None
        return {} if changes is None else {"changes": changes}

    def _document(self, event: Event) -> dict[str, object]:
        shown = build_event(event, self._tools)
        return {} if shown is None else to_builtins(shown)

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
        recorded = [one.run for one in self._current.database.all_known.values()]
        if runs:  # the newest run is never pruned
            return max([int(runs[0]), *recorded])
        results = (*self._memory.results(self._registry.order).values(), *self._current.gone)
        return max(
            [0, *recorded, *(max(_number(one.last.run), run_of(one.latest)) for one in results)]
        )

    # The end.

    def _save(self) -> list[Problem]:
        """Saves what belongs to the run as a whole."""
        self.tools.hash_outputs()
        if self._report.finished:
            self._database.save()
        found = [*self._results.save_flows(), *self._results.note_outdated_lock(self._current)]
        self._current.write()
        return found

    def _finish(self) -> list[Problem]:
        found = [*self.tools.overlaps.find_conflicts(self._plan.tools), *self._save()]
        prune(self._project.root, self._project.keep_runs, self.run, time.time())
        return found


def _reads_and_writes(seen: Observation) -> Observation:
    """The tables and files that were read and written, which is all that the journal keeps of it."""
    files = seen.find("file", *_FILES_USED)
    tables = [use for use in seen.find("table", *_TABLES_USED) if use.name != WHOLE]
    return Observation(
        uses=tuple(Use(use.key, use.kind) for use in (*tables, *files)[:MOST_USES]),
        has_committed=seen.has_committed,
        database=seen.database,
        dialect=seen.dialect,
    )


def _number(run: str) -> int:
    return int(run) if run.isdecimal() else 0


def _is_given(step: Step) -> bool:
    """Whether the step has values beside those of its item."""
    return len(step.arguments) > len(step.tool.item.values) or bool(step.extra)


def _record_step(step: Step, code: Mapping[str, str], *, is_recorded: bool) -> RecordedStep:
    secret = [name for name, text in step.extra.items() if is_secret_value(name, text)]
    return RecordedStep(
        module=step.tool.module,
        name=step.tool.name,
        stage=step.stage,
        path=step.tool.path,
        doc=step.tool.doc,
        after=step.after,
        reason=step.reason,
        params={
            bound.param.name: ParamValue(texts=bound.effective, origin=bound.origin)
            for bound in step.arguments
            if not (bound.is_secret or bound.param.name in step.tool.item.values)
        },
        item=step.tool.item.values,
        defaults=_find_defaults(step),
        extra={name: text for name, text in step.extra.items() if name not in secret},
        secrets=(*(bound.param.name for bound in step.arguments if bound.is_secret), *secret),
        code=hash_meanings(code),
        is_recorded=is_recorded,
    )


def _find_defaults(step: Step) -> dict[str, str]:
    """What the parameters are that were not given, as one would type it; a secret is masked."""
    given = {bound.param.name for bound in step.arguments} | step.tool.item.values.keys()
    return {
        param.name: param.shown_default
        for param in step.tool.params
        if param.name not in given and param.default_source not in (None, "None")
    }


def records_success(tool: Tool, registry: Registry) -> bool:
    """Whether its transaction records its success; not known of a tool whose signature is not readable."""
    has_transaction = tool.is_readable and not tool.commits_by_itself
    return has_transaction and takes_connection(tool, registry)
