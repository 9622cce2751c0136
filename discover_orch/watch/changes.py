"""Decides what a burst of changes means for a watch, reports it, and schedules the affected tools.

A change is judged in one place, whether a run is in progress or not: the affected tools decide both what is stopped
and what is started. Not every change is the user's: tools write files, and other commands run tools.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping

from discover_orch.model.errors import Problem
from discover_orch.state.journal import find_runs, read_record
from discover_orch.state.lock import ProjectLock
from discover_orch.watch.project_state import ChangeImpact, WatchedProject
from discover_orch.watch.schedule import Schedule
from discover_orch.watch.snapshot import read_head
from discover_orch.watch.watch_events import Action, ChangesFound, Outbox

#: From this number of changed files on a batch may be called a branch switch.
SWITCH_FILES = 2
#: After so many runs in a row that a file started by being written during the run before, it is muted.
MOST_RUNS = 3
#: The same for a module that no tool was seen to write: the user may save it at each keystroke. It is not muted,
#: only reported, and no longer cancels runs.
MOST_UNSEEN_RUNS = 10
#: What an action asks of the run in progress.
REQUESTS: Mapping[str, list[str]] = {"restart": ["cancel"], "hold": ["hold"]}


class ChangeHandler:
    """Schedules on the `schedule` of a watch; `others` are runs of other commands."""

    def __init__(
        self, watched: WatchedProject, schedule: Schedule, outbox: Outbox, others: OtherRuns
    ) -> None:
        self._watched, self._schedule = watched, schedule
        self._outbox, self._others = outbox, others
        self._during_run: set[str] = set()  # changed while tools ran, and perhaps by them
        self._written: set[str] = set()  # data that the latest run wrote
        self._loops = FeedbackLoops()
        self._head = read_head(watched.view.project.root)

    # A change.

    def handle(self, paths: Collection[str], *, is_rescan: bool = False) -> list[str]:
        """Find out what a finished burst of events means, and schedule its tools. Returns requests to the run in
        progress.

        Everything is compared again after the run has started: what the system did not announce by then is one
        more change, during that run.
        """
        watched, schedule, is_running = self._watched, self._schedule, self._schedule.is_running
        snapshot = watched.snapshot
        diff = snapshot.compare(paths) if is_rescan else snapshot.compare_paths(paths)
        only_code = is_running or not self._accept_other_runs()
        impact = watched.consider(only_code=only_code)
        self._outbox.add_problems(impact.problems, watched.waiting)
        for warning in impact.warnings:
            self._outbox.add_note(warning)
        if not impact.paths and not impact.found:
            self._report_saved((*diff.paths, *diff.saved))
            if not is_running:
                self._during_run.difference_update(paths)
            return self._hold_if_broken(impact)
        found, action = self._decide(impact, is_running=is_running)
        requests = REQUESTS.get(action, [])
        if not is_running:
            self._during_run.difference_update(paths, impact.paths)
        if not found and self._loops.muted.issuperset(impact.paths):
            return requests
        if requests:
            schedule.restarts = True
        self._schedule_and_report(impact, found, action, is_running=is_running)
        return list(requests) or self._hold_if_broken(impact)

    def handle_installation(self) -> None:
        """Packages were installed or removed: that may affect every tool."""
        reason = "the installed packages changed"
        watched = self._watched
        tools = self._schedule.plan_next(dict.fromkeys(watched.targets, reason), "run")
        names = tuple(map(watched.registry.display, tools))
        self._outbox.add(
            ChangesFound(
                paths=(),
                tools=names,
                reasons=dict.fromkeys(names, reason),
                stages=self._stages(tools),
            )
        )

    def _decide(
        self, impact: ChangeImpact, *, is_running: bool
    ) -> tuple[Mapping[str, str], Action]:
        """The affected tools, less those of muted files, and what to do."""
        found, schedule = impact.found, self._schedule
        action = schedule.decide(found, is_structural=impact.is_structural)
        if action != "none":
            muted = self._find_muted(impact, is_running=is_running)
            if muted:
                found = {
                    module: reason
                    for module, reason in found.items()
                    if impact.by.get(module) not in muted
                }
                action = schedule.decide(found, is_structural=impact.is_structural)
            if action == "restart" and self._loops.must_not_cancel(impact.by.values()):
                action = "after"
        return found, action

    def _schedule_and_report(
        self, impact: ChangeImpact, found: Mapping[str, str], action: Action, *, is_running: bool
    ) -> None:
        watched = self._watched
        tools = self._schedule.plan_next(found, action)
        head, self._head = self._head, read_head(watched.view.project.root)
        self._outbox.add(
            ChangesFound(
                paths=impact.paths,
                tools=tuple(map(watched.registry.display, tools)),
                reasons={
                    watched.registry.display(module): reason for module, reason in found.items()
                },
                stages=self._stages(tools),
                not_affected=len(set(watched.targets).difference(tools)),
                gone=impact.gone,
                during_run=is_running,
                action=_reported(action, tools, is_waiting=bool(impact.held or impact.problems)),
                is_switch="" not in (head, self._head)
                and head != self._head
                and len(impact.paths) >= SWITCH_FILES,
            )
        )

    def _hold_if_broken(self, impact: ChangeImpact) -> list[str]:
        if not self._schedule.must_hold(impact.problems):
            return []
        self._schedule.restarts = True
        return ["hold"]

    def _accept_other_runs(self) -> bool:
        """Accept what runs of other commands wrote. Returns whether data can be judged: not while one is in
        progress."""
        watched = self._watched
        data = {
            path for path in watched.snapshot.differing() if not watched.watch_set.is_code(path)
        }
        if not data:
            return True
        tools = self._others.find_tools()
        if tools:
            watched.apply_observed()
            watched.snapshot.accept(
                data & (watched.observed_inputs.find_writes(tools) | watched.find_outputs(tools))
            )
        return tools is not None

    def _find_muted(self, impact: ChangeImpact, *, is_running: bool) -> set[str]:
        """The paths that started one run after another, each written during the run before."""
        if not is_running:
            self._loops.note_saved(path for path in impact.paths if path not in self._during_run)
        causes = {impact.by[module] for module in impact.found if module in impact.by}
        suspects = {path for path in causes if is_running or path in self._during_run}
        data = [path for path in suspects if not self._watched.watch_set.is_code(path)]
        for path, times in self._loops.count(suspects, data=data):
            is_muted = path in self._loops.muted
            self._outbox.add_note(_loop_problem(path, times, is_muted=is_muted))
        return causes & self._loops.muted

    def _report_saved(self, paths: Collection[str]) -> None:
        """Files that were saved without a change."""
        quiet = (
            self._watched.snapshot.differing().keys()
            | self._loops.muted
            | self._during_run
            | self._written
        )
        saved = [path for path in dict.fromkeys(paths) if path not in quiet]
        self._outbox.add_saved(saved, time.monotonic())

    def _stages(self, tools: Collection[str]) -> tuple[str, ...]:
        wanted, stages = set(tools), self._watched.registry.stages
        return tuple(stage.name for stage in stages if wanted.intersection(stage.tools))

    # After a run.

    def finish_run(self, wrote: Collection[str], loaded: Mapping[str, str]) -> Collection[str]:
        """A run ended: accept what it `wrote`, and schedule the tools that ran on half a file.

        `loaded`: path → hash of what was loaded. Returns the paths that changed otherwise and must be judged.
        """
        watched, schedule = self._watched, self._schedule
        watched.snapshot.compare()
        differing = set(watched.snapshot.differing()) - set(watched.snapshot.broken)
        self._loops.note_written(wrote)
        data = {path for path in differing if not watched.watch_set.is_code(path)}
        self._written = data.intersection(wrote)
        self._written |= watched.find_consumed(data - self._written)
        watched.snapshot.accept(self._written)
        self._during_run = differing - self._written
        for module, reason in watched.watch_set.find_half_written(schedule.latest, loaded).items():
            if not schedule.is_pending(module) and not differing & loaded.keys():
                schedule.enqueue([module], reason, changed=[module])
        if not schedule.has_next and not self._during_run:
            self._loops.note_quiet()
        return self._during_run


class FeedbackLoops:
    """Finds files that start one run after another because each run writes them again. Counts runs in a row."""

    def __init__(self) -> None:
        self.muted: set[str] = set()
        self._runs: dict[str, int] = {}
        self._written: set[str] = set()

    def note_written(self, paths: Iterable[str]) -> None:
        """Tools were seen to write these, or declare them as outputs."""
        self._written.update(paths)

    def note_saved(self, paths: Iterable[str]) -> None:
        """These changed while nothing ran: the user saved them."""
        for path in paths:
            self._runs.pop(path, None)
            self.muted.discard(path)

    def note_quiet(self) -> None:
        """A run ended, and started no other."""
        self._runs.clear()

    def count(self, paths: Collection[str], *, data: Collection[str] = ()) -> list[tuple[str, int]]:
        """These changed during a run and would start another one; nobody saves those that are `data` many times a
        second.

        Returns (path, runs) for each that must be reported now.
        """
        reported = []
        for path in sorted(set(paths) - self.muted):
            runs = self._runs[path] = self._runs.get(path, 0) + 1
            is_generated = path in self._written or path in data
            if is_generated and runs > MOST_RUNS:
                self.muted.add(path)
            if runs == (MOST_RUNS if is_generated else MOST_UNSEEN_RUNS) + 1:
                reported.append((path, runs - 1))
        return reported

    def must_not_cancel(self, paths: Collection[str]) -> bool:
        """Whether each of these has cancelled so many runs that the next one may finish."""
        return bool(paths) and all(self._runs.get(path, 0) > MOST_UNSEEN_RUNS for path in paths)


class OtherRuns:
    """Runs of other commands while the project is watched: what they write is not the user's change.

    `is_waiting`: one of them was found to be in progress.
    """

    def __init__(self, root: str, lock: ProjectLock) -> None:
        self._root, self._lock = root, lock
        self._known = max(map(int, find_runs(root)), default=0)
        self._own: set[str] = set()
        self.is_waiting = False

    def note_own(self, run: str) -> None:
        """A run of the watch itself started."""
        self._own.add(run)

    def have_ended(self) -> bool:
        """Whether the run that was found in progress has ended; true once."""
        if not self.is_waiting or self._is_locked():
            return False
        self.is_waiting = False
        return True

    def find_tools(self) -> tuple[str, ...] | None:
        """The tools that others have run since the last call; None while such a run is in progress. Not to be called
        while the watch holds the lock."""
        runs = [run for run in find_runs(self._root) if int(run) > self._known]
        others = [run for run in runs if run not in self._own]
        if others and self._is_locked():
            self.is_waiting = True
            return None
        self._known = max(map(int, runs), default=self._known)
        self._own.clear()
        records = [read_record(self._root, run) for run in others]
        tools = [tool for record in records if record is not None for tool in record.tools]
        return tuple(dict.fromkeys(tool.module for tool in tools if tool.has_started))

    def _is_locked(self) -> bool:
        if self._lock.acquire() is not None:
            return True
        self._lock.release()
        return False


def _reported(action: Action, tools: Collection[str], *, is_waiting: bool) -> Action:
    """The action, or `wait` or `none` where the change makes no tool run."""
    if tools or action not in ("run", "after"):
        return action
    return "wait" if is_waiting else "none"


def _loop_problem(path: str, runs: int, *, is_muted: bool) -> Problem:
    effect = "changes to it are now ignored" if is_muted else "it no longer cancels runs"
    until = "to end this, save it while nothing runs; " if is_muted else ""
    return Problem(
        code="loop",
        message=f"{path} changed during {runs} runs in a row and started the next run each time: {effect}",
        hint=f'{until}if a tool writes this file, declare it: ORCH = {{"outputs": "{path}"}}',
        severity="warning",
    )
