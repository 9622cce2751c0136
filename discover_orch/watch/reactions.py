"""What a watch does about changes and keys: it schedules tools, and reports it. The loop runs them.

A change is handled in one way, whether a run is in progress or not. Not every change is the user's: tools write files,
and other commands run tools. A key acts at once, in a pause and during a run too, and is answered in a sentence. Reads
no keys itself.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Mapping

from msgspec.structs import replace

from discover_orch.model.errors import Problem
from discover_orch.model.keys import path_of
from discover_orch.staleness.live_status import Change
from discover_orch.watch.next_run import MOST_RUNS, Affected, Schedule
from discover_orch.watch.watch_events import (
    SCOPES,
    Action,
    ChangesFound,
    KeyAnswered,
    NoMeaningfulChange,
    Outbox,
    Scope,
)
from discover_orch.watch.watched_project import OtherRuns, WatchedProject

#: What an action asks of the run in progress.
REQUESTS: Mapping[str, list[str]] = {"restart": ["cancel"], "hold": ["hold"]}


SCOPE_MEANINGS: Mapping[Scope, str] = {
    "affected": "runs the stale tools of the affected stages",
    "stage": "runs all tools of the affected stages",
    "tool": "runs only the tools whose own code or inputs changed",
}


class Reactions:
    """Schedules on the `next_run` of a watch; `others` are runs of other commands."""

    def __init__(
        self,
        watched: WatchedProject,
        schedule: Schedule,
        outbox: Outbox,
        others: OtherRuns,
    ) -> None:
        self._watched, self._schedule = watched, schedule
        self._outbox, self._others = outbox, others
        self._broken = frozenset(watched.status.broken)  # when a change was last acted on

    def judge(self, found: Collection[str]) -> Change:
        """What the changes of a burst mean, which is over.

        Everything is compared again after the run has started: what the system did not announce by then is one
        more change, during that run."""
        watched = self._watched
        if self._others.have_run():
            watched.note_run(watched.registry.order)
        before = watched.view
        change = watched.refresh(found)
        for warning in watched.new_warnings(before) if change.is_structural else ():
            self._outbox.add_note(warning)
        return change

    def act(self, change: Change) -> list[str]:
        """Schedule and report what a change means. Returns requests to the run in progress."""
        schedule, broken = self._schedule, frozenset(self._watched.status.broken)
        fixed, self._broken = self._broken - broken, broken
        has_new_problems = self.report_problems()
        if fixed and schedule.must_run():
            # What waited for them runs, also where they are as they were before.
            change = replace(change, paths=tuple(dict.fromkeys((*change.paths, *fixed))), saved=())
        if not change.paths and not change.touched:
            edited = self._watched.status.find_edited(change.saved)
            for path, module in edited.items():
                self._outbox.add_note(_edited_problem(path, self._watched.registry.display(module)))
            if saved := tuple(path for path in change.saved if path not in edited):
                self._outbox.add(NoMeaningfulChange(paths=saved))
            return self._hold_if_broken()
        self._count_loops(change)
        affected = schedule.affected(change)
        is_muted = all(map(schedule.loops.is_muted, change.causes.values()))
        if change.touched and not affected.hit and is_muted:
            return []
        action = schedule.decide(affected, is_structural=change.is_structural)
        requests = REQUESTS.get(action, [])
        if action != "none":
            schedule.enqueue_affected(affected)
        self._report(change, affected, action, has_new_problems=has_new_problems)
        return requests or self._hold_if_broken()

    def report_problems(self) -> bool:
        """Report what is wrong and was not before. Returns whether there was anything to report."""
        return self._outbox.add_problems(self._watched.all_problems, self._schedule.waiting)

    def key_of(self, path: str) -> str:
        return f"{'code' if self._watched.is_code(path) else 'file'}:{path}"

    def _count_loops(self, change: Change) -> None:
        """Mute files that start one run after another, each written during the run before."""
        targets = change.causes.keys() & {*self._watched.targets}
        causes = {key for module in targets for key in change.causes[module]}
        saved = {*map(self.key_of, change.paths), *causes}
        loops, is_running = self._schedule.loops, self._schedule.is_running
        for key in loops.count(causes, saved, is_running=is_running):
            self._outbox.add_note(_loop_problem(path_of(key)))

    def _hold_if_broken(self) -> list[str]:
        return ["hold"] if self._schedule.must_hold() else []

    def _report(
        self, change: Change, affected: Affected, action: Action, *, has_new_problems: bool
    ) -> None:
        watched, schedule = self._watched, self._schedule
        display, freshness = watched.registry.display, watched.status.freshness()
        held = schedule.held()
        wanted: Collection[str] = affected.runs
        if action == "none":
            wanted, held = affected.below, frozenset()
        elif not schedule.is_running:
            wanted = [*filter(schedule.is_needed, schedule.queue)]  # also what waited for a fix
        runs = [one for one in watched.targets if one in wanted and one not in held]
        waiting = schedule.blocked()
        blocked = {one: by for one, by in waiting.items() if one in affected.runs}
        left, staying = schedule.find_left(runs)
        left = [one for one in left if one not in blocked and one not in blocked.values()]
        if action == "none":
            left = []  # the run in progress may reach them
        if not runs and action in ("run", "after"):
            action = (
                "wait"
                if held - waiting.keys() or watched.status.broken or watched.problems
                else "none"
            )
        if has_new_problems and not runs:
            return  # the problems say all that there is to say
        self._outbox.add(
            ChangesFound(
                paths=change.paths,
                tools=tuple(map(display, runs)),
                reasons={display(module): why for module, why in affected.hit.items()},
                stages=affected.stages,
                stale=sum(not freshness[module].is_fresh for module in runs),
                fresh=sum(freshness[module].is_fresh for module in affected.inside),
                left=tuple(map(display, left)),
                blocked={display(one): display(by) for one, by in blocked.items()},
                stays_stale=tuple(display(module) for module in runs if module in staying),
                not_affected=len({*watched.targets}.difference(runs, left)),
                gone=change.gone,
                deleted=tuple(
                    path
                    for path in change.paths
                    if not os.path.lexists(os.path.join(watched.view.project.root, path))
                ),
                scope=schedule.scope,
                during_run=schedule.is_running,
                action=action,
            )
        )

    # Keys.

    def press(self, key: str) -> list[str]:
        """Do it, and answer. Returns the requests to the run in progress."""
        watched, schedule = self._watched, self._schedule
        key = key.strip().lower()
        match key:
            case "" | "r":
                return self._run(key, schedule.started or watched.targets, "the last tools")
            case "a":
                return self._run(key, watched.targets, "all tools")
            case "f":
                tools = watched.status.spread(watched.failing)
                return self._run(key, tools, "the failed tools")
            case "c" if schedule.is_running:
                schedule.restarts = False
                return self._answer(key, "cancelling", "cancel")
            case "c":
                return self._answer(key, "nothing is running")
            case "s":
                schedule.scope = scope = SCOPES[(SCOPES.index(schedule.scope) + 1) % len(SCOPES)]
                return self._answer(key, f"scope: {scope} ({SCOPE_MEANINGS[scope]})")
            case "p" if schedule.is_paused:
                schedule.is_paused = False
                return self._answer(key, "watching again")
            case "p":
                schedule.is_paused = True
                return self._answer(key, "paused: changes wait (p resumes)")
            case "q":
                schedule.is_over = True
                return self._answer(key, "quitting", "interrupt") if schedule.is_running else []
            case "h" | "?":
                return self._answer("h")
            case _:
                return self._answer(key, f'"{key}" is not a key (h shows the keys)')

    def _run(self, key: str, tools: Collection[str], what: str) -> list[str]:
        """Run these now; a run in progress is cancelled for them."""
        watched, schedule = self._watched, self._schedule
        wanted = [module for module in tools if module in watched.targets]
        if watched.problems:
            return self._answer(key, "nothing can run until the problems above are fixed")
        if not wanted:
            return self._answer(key, "nothing has failed" if key == "f" else "nothing to run")
        schedule.enqueue(wanted, f"requested: {what}", requested=True)
        names = ", ".join(schedule.waiting)
        waits = f"; waiting for a fix: {names}" if names else ""
        if schedule.held().issuperset(wanted):
            return self._answer(key, f"nothing can run now{waits}")
        if not schedule.is_running:
            return self._answer(key, f"running {what}{waits}")
        return self._answer(key, f"cancelling, then running {what}{waits}", "cancel")

    def _answer(self, key: str, sentence: str = "", *requests: str) -> list[str]:
        self._outbox.add(KeyAnswered(key=key, sentence=sentence))
        return list(requests)


def _edited_problem(path: str, maker: str) -> Problem:
    return Problem(
        code="edited",
        message=f"{path} was edited after {maker} made it; this alone starts no run",
        hint=f"{maker} will overwrite it when it next runs; orch accept {shlex.quote(maker)} keeps the edit",
        severity="warning",
    )


def _loop_problem(path: str) -> Problem:
    return Problem(
        code="loop",
        message=f"{path} changed during {MOST_RUNS} runs in a row and started the next run each time: "
        "changes to it are now ignored",
        hint="to end this, save it while nothing runs; if a tool writes this file, declare it: "
        f'ORCH = {{"outputs": "{path}"}}',
        severity="warning",
    )
