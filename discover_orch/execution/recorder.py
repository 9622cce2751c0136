"""Keeps what happens in a run: its journal, the tools' output, and of each tool what its success rested on.

In: the events of a run, their secrets masked. Out: files below `.orch/`, and problems to be told. What a tool rested
on is what its worker saw; where that changed while the tool ran, it is remembered as unsure, and the tool is stale
again. Nothing here can stop a run: what cannot be kept is lost, and that is said once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, with_observed
from discover_orch.execution.events import (
    Event,
    Report,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolOrdered,
    ToolOutput,
    ToolStarted,
    event_document,
)
from discover_orch.execution.success_fingerprint import SuccessBuilder
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.digest import short_hash
from discover_orch.model.errors import ExitCode, Location, Problem
from discover_orch.model.observation import Observation
from discover_orch.model.tool import Tool, is_secret_name
from discover_orch.planning.plan import Plan, Step
from discover_orch.staleness.code_hashes import CodeIndex
from discover_orch.staleness.current import GET_CONNECTION, CurrentState, takes_connection
from discover_orch.staleness.file_hashes import read_database
from discover_orch.staleness.memory import (
    KnownDatabase,
    LastOutcome,
    Memory,
    Success,
    ToolResult,
    UncertainWrites,
)
from discover_orch.state.flows import read_flows
from discover_orch.state.journal import (
    Journal,
    begin_run,
    find_runs,
    has_ended,
    prune,
    read_record,
    timestamp,
)
from discover_orch.state.process_identity import read_boot, read_start

MOST_NAMES = 12
#: A tool's ends after which what is remembered of it is another; all else leaves it as it was.
TRIED = ("passed", "failed", "interrupted", "cancelled")


class Recorder:
    """Of one run. `run` is its id."""

    def __init__(
        self,
        plan: Plan,
        registry: Registry,
        project: Project,
        *,
        kind: str = "run",
        code: CodeIndex | None = None,
    ) -> None:
        """`code` is what is known of the code, where somebody keeps it from one run to the next."""
        self._plan, self._registry, self._project, self._kind = plan, registry, project, kind
        root = self._root = project.root
        self._steps = {step.tool.module: step for step in plan.steps}
        self._names = {step.tool.module: step.tool.name for step in plan.steps}
        self._names |= {tool.module: tool.name for tool in plan.fresh}
        self._memory = Memory(root)
        self._current = CurrentState(project, registry, self._memory, code=code)
        self._report = Report()
        self._flows: dict[str, Dataflow] = {}
        self._had: dict[str, Dataflow] | None = None  # before a killed run was settled
        self._epoch = 0
        self._is_told = self._has_begun = self._is_over = self._is_noted = False
        self._started = time.monotonic()
        self._begun: set[str] = set()
        self._journal: Journal = begin_run(root, self._settle_open_run())
        self.run = self._journal.run
        every = (*plan.steps, *plan.whole)
        self._code = self._current.read_code(one.tool.module for one in every)
        self._successes = SuccessBuilder(self._current, self._code, self._remembered)

    def record(self, event: Event) -> tuple[Problem, ...]:
        """Keep it; what there is to tell."""
        self._report.add(event)
        found: list[Problem] = []
        match event:
            case RunStarted():
                self._epoch = self._begin_database()
                self._has_begun = True
                self._journal.write(self._first_line(event))
            case ToolOrdered(module=module):
                self._journal.write({"event": "tool_ordered", "module": module})
            case ToolStarted(module=module):
                self._begun.add(module)
                self._write(event, module)
            case ToolOutput(module=module, stream=stream, text=text):
                self._journal.log(module, stream, text)
            case ToolFinished(module=module):
                if event.status in TRIED and module in self._steps:
                    found += self._keep(event, self._steps[module])
                self._write(event, module)
            case RunFinished():
                found += self._finish(event)
            case _:
                pass
        return (*found, *self._lost())

    def close(self) -> None:
        """Also where the run was broken off, as by a terminal that is gone: what has not begun did not run, and of
        what has no end nobody knows how it ended."""
        if self._has_begun and not self._is_over:
            ended = {one.module for one in self._report.finished}
            for module in self._steps.keys() - ended - self._begun:
                idle = ToolFinished(module=module, status="not_run")
                self._report.add(idle)
                self._write(idle, module)
            end = {
                "event": "run_finished",
                "status": "killed" if self._begun - ended else "interrupted",
                "exit_code": int(ExitCode.INTERRUPTED),
                "counts": dict(self._report.counts),
                "duration": round(time.monotonic() - self._started, 6),
            }
            self._journal.write(end)
        self._journal.close()

    def _lost(self) -> list[Problem]:
        problem = self._journal.problem
        if problem is None and self._memory.is_lost:
            problem = Problem(
                code="memory",
                message="what this run learns about its tools cannot be kept in .orch",
                hint="make .orch writable, and free space on its disk",
                severity="warning",
            )
        if problem is None or self._is_told:
            return []
        self._is_told = True
        return [problem]

    # The journal.

    def _write(self, event: Event, module: str) -> None:
        document = event_document(event, self._names, self._report)
        if document is not None:
            self._journal.write({**document, "module": module})

    def _first_line(self, event: RunStarted) -> dict[str, object]:
        document = event_document(event, self._names, self._report) or {}
        project = self._project
        return {
            **document,
            "started": timestamp(),
            "pid": os.getpid(),
            "process": read_start(os.getpid()),
            "boot": read_boot(),
            "kind": self._kind,
            "modules": list(event.tools),
            "plan": [self._plan_row(step) for step in self._plan.whole or self._plan.steps],
            "database": self._current.database_name,
            "database_origin": (
                "orchconf.py"
                if self._current.database_name == GET_CONNECTION
                else project.database_origin
            ),
            "resumes": self._plan.resumes or None,
            "passed_before": [
                step.tool.module for step in self._plan.whole if step.tool.module not in self._steps
            ],
        }

    def _plan_row(self, step: Step) -> dict[str, object]:
        return {
            "module": step.tool.module,
            "name": step.tool.name,
            "stage": step.stage,
            "params": {
                bound.param.name: {"texts": list(bound.held), "origin": bound.origin}
                for bound in step.arguments
                if not bound.param.is_secret
            },
            "extra": {name: text for name, text in step.extra.items() if not is_secret_name(name)},
            "secrets": [bound.param.name for bound in step.arguments if bound.param.is_secret]
            + [name for name in step.extra if is_secret_name(name)],
            "code": _digest(self._current.code_of(step.tool, self._code)),
        }

    def _settle_open_run(self) -> int:
        """A run that was killed has left tools of which nobody knows how they ended: remember that, before another
        run hides it. The highest run that anything remembers."""
        runs = find_runs(self._root)
        is_open = bool(runs) and not has_ended(self._root, runs[0])
        record = read_record(self._root, runs[0]) if is_open else None
        if record is not None and record.status == "killed":
            for one in record.tools:
                if one.status == "unknown":
                    result = self._memory.results([one.module]).get(one.module)
                    if result is not None and result.was_accepted_after(record.run):
                        continue
                    last = LastOutcome(run=record.run, status="unknown", at=record.started)
                    kept = result or ToolResult(module=one.module, last=last)
                    self._memory.write(replace(kept, last=last))
            self._settle_flows([one.module for one in record.tools if one.status == "passed"])
        if runs:  # which are never all removed, and never the newest
            return int(runs[0])
        results = self._memory.results(self._registry.order).values()
        return max([0, *(_number(one.last.run) for one in results)])

    def _settle_flows(self, passed: list[str]) -> None:
        """What these were seen to read and write is kept at the end of a run, and that one had none."""
        results = self._memory.results(passed)
        self._flows.update({one: r.success.flow for one, r in results.items() if r.success})
        if self._flows:
            self._had = read_flows(self._root)
            self._memory.write_flows({**self._had, **self._flows})

    # The tools.

    def _keep(self, event: ToolFinished, step: Step) -> list[Problem]:
        module, seen = event.module, event.seen or Observation()
        last = LastOutcome(
            run=self.run, status=event.status, at=timestamp(), duration=event.duration
        )
        found: list[Problem] = []
        success: Success | None
        left: UncertainWrites | None = None
        self._successes.add_event(event)
        self._note_database(step.tool, seen)
        if event.status == "passed":
            success, changed = self._successes.build_success(event, step, self._epoch)
            success = replace(
                success, run=_number(self.run), number=len(self._report.finished), at=last.at
            )
            found = [_changed_since_planned(step.tool, path) for path in changed]
            self._flows[module] = success.flow
        else:
            old = self._memory.results([module]).get(module)
            success = old.success if old else None
            moment = _number(self.run), len(self._report.finished)
            left = self._successes.build_uncertain_writes(
                step.tool, seen, moment, self._epoch, old.uncertain if old else None
            )
        # Before the journal's line: a tool that the journal says has passed is remembered as it passed.
        self._memory.write(ToolResult(module=module, last=last, success=success, uncertain=left))
        self._successes.mark_written(seen)
        return found

    def _remembered(self, module: str) -> ToolResult | None:
        return self._memory.results([module]).get(module)

    # The database.

    def _begin_database(self) -> int:
        """The number of the database that stands there now: another one than the last gets the next number."""
        known = self._current.databases.get(self._current.database_name)
        epoch = self._current.epoch
        return epoch if epoch > 0 else (known.epoch if known else 0) + 1

    def _note_database(self, tool: Tool, seen: Observation) -> None:
        """The first tool that used it tells where and which one it is; from then on a kill loses nothing of it."""
        known = self._current.databases.get(self._current.database_name)
        path = seen.database or (known.path if known else "")
        is_used = seen.database or takes_connection(tool, self._registry)
        if is_used and (not self._is_noted or known is None or known.path != path):
            self._is_noted = True
            self._remember_database(path)

    def _remember_database(self, path: str) -> None:
        stat = read_database(self._root, path) if path else None
        known = KnownDatabase(path=path, epoch=self._epoch, stat=stat)
        databases = {**self._current.databases, self._current.database_name: known}
        if databases != self._current.databases:
            self._current.databases = databases
            self._memory.write_databases(databases)

    # The end.

    def _finish(self, event: RunFinished) -> list[Problem]:
        known = self._current.databases.get(self._current.database_name)
        uses = any(takes_connection(step.tool, self._registry) for step in self._plan.steps)
        if uses and self._report.finished:
            self._remember_database(known.path if known else "")
        found = self._keep_flows()
        self._current.code.write()
        document = event_document(event, self._names, self._report)
        if document is not None:
            self._journal.write(document)
        self._is_over = True
        prune(self._root, self._project.keep_runs, self.run)
        return found

    def _keep_flows(self) -> list[Problem]:
        """What all tools were seen to read and write; where another order follows from it, that is told."""
        before = read_flows(self._root) if self._had is None else self._had
        tools = self._registry.tools
        kept = {
            *tools,
            *(one.module for one in self._registry.broken),
        }  # the broken ones are mended
        now = {one: flow for one, flow in {**before, **self._flows}.items() if one in kept}
        if now == before:
            return []
        self._memory.write_flows(now)
        old, new = self._registry, with_observed(self._registry, now)
        return [
            _reordered([new.display(module) for module in stage.tools], stage.name)
            for stage, was in zip(new.stages, old.stages, strict=True)
            if stage.tools != was.tools
        ]


def _reordered(names: list[str], stage: str) -> Problem:
    shown = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
    return Problem(
        code="reordered",
        message=f"from now on stage {stage} runs in the order {shown}, by what its tools were seen to read and write",
        hint="AFTER says an order that always holds",
        severity="warning",
    )


def _changed_since_planned(tool: Tool, path: str) -> Problem:
    return Problem(
        code="changed-meanwhile",
        message=f"{path} changed after {tool.name} had been planned, or while it ran",
        hint=f"{tool.name} is stale again",
        location=Location(path=path),
        severity="warning",
    )


def _digest(code: Mapping[str, str]) -> str:
    text = "\0".join(f"{path}\0{meaning}" for path, meaning in sorted(code.items()))
    return short_hash(text.encode("utf-8", "surrogateescape"))


def _number(run: str) -> int:
    return int(run) if run.isdecimal() else 0
