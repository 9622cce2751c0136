"""What a burst of changes means for a watch: judged, told, and put down for the next run.

In: paths that are calm, and what a run that has ended wrote. Out: what the run that is going on is asked for, and
moments. One change is judged in one place, whether a run is going on or not: what it affects decides both what is
stopped and what is started. What the runs wrote themselves is no change of the user's. It listens to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from discover_orch.model.errors import Problem
from discover_orch.watch.feedback_loops import FeedbackLoops
from discover_orch.watch.other_runs import OtherRuns
from discover_orch.watch.outbox import Outbox
from discover_orch.watch.project_state import ChangeImpact, WatchedProject
from discover_orch.watch.schedule import Schedule
from discover_orch.watch.snapshot import read_head
from discover_orch.watch.watch_events import Action, ChangesFound

#: From here on a batch may be called a switch of branches.
MANY = 2
#: What the run that is going on is asked for, for the sake of a change.
WISHES: Mapping[str, list[str]] = {"restart": ["cancel"], "hold": ["hold"]}


class ChangeHandler:
    """Judges on the `schedule` of a watch; `others` are runs that other commands make beside it."""

    def __init__(
        self, watched: WatchedProject, schedule: Schedule, telling: Outbox, others: OtherRuns
    ) -> None:
        self._watched, self._schedule = watched, schedule
        self._telling, self._others = telling, others
        self._own: set[str] = set()  # changed while tools ran, and perhaps by them
        self._made: set[str] = set()  # data that the latest run wrote
        self._loops = FeedbackLoops()
        self._head = read_head(watched.view.project.root)

    # A change.

    def judge(self, paths: Collection[str], *, is_rescan: bool = False) -> list[str]:
        """A burst of events is over: find out what it means, and decide.

        A whole look at the disk follows, when the run has been started: should the system have told only a part,
        then what it finds is one more change, during that run.
        """
        watched, schedule, is_running = self._watched, self._schedule, self._schedule.is_running
        news = watched.snapshot.look(paths) if is_rescan else watched.snapshot.glance(paths)
        only_code = is_running or not self._take_in_others()
        finding = watched.consider(only_code=only_code)
        self._telling.problems(finding.problems, watched.waiting)
        for warning in finding.warnings:
            self._telling.remark(warning)
        if not finding.paths and not finding.found:
            self._tell_saved((*news.paths, *news.saved))
            if not is_running:
                self._own.difference_update(paths)
            return self._spare_the_waiting(finding)
        found, action = self._decide(finding, is_running=is_running)
        wishes = WISHES.get(action, [])
        if not is_running:
            self._own.difference_update(paths, finding.paths)
        if not found and self._loops.muted.issuperset(finding.paths):
            return wishes
        if wishes:
            schedule.restarts = True
        self._tell(finding, found, action, is_running=is_running)
        return list(wishes) or self._spare_the_waiting(finding)

    def judge_installation(self) -> None:
        """Packages were installed or removed: that may concern every tool."""
        why = "the installed packages changed"
        watched = self._watched
        tools = self._schedule.plan_next(dict.fromkeys(watched.targets, why), "run")
        names = tuple(map(watched.registry.display, tools))
        self._telling.tell(
            ChangesFound(
                paths=(),
                tools=names,
                reasons=dict.fromkeys(names, why),
                stages=self._stages(tools),
            )
        )

    def _decide(
        self, finding: ChangeImpact, *, is_running: bool
    ) -> tuple[Mapping[str, str], Action]:
        """The tools that count as found, and what becomes of the change."""
        found, schedule = finding.found, self._schedule
        action = schedule.decide(found, is_structural=finding.is_structural)
        if action != "none":
            looped = self._find_loops(finding, is_running=is_running)
            if looped:
                found = {
                    one: why for one, why in found.items() if finding.by.get(one) not in looped
                }
                action = schedule.decide(found, is_structural=finding.is_structural)
            if action == "restart" and self._loops.is_tiresome(finding.by.values()):
                action = "after"
        return found, action

    def _tell(
        self, finding: ChangeImpact, found: Mapping[str, str], action: Action, *, is_running: bool
    ) -> None:
        """Put down what is to run, and say so."""
        watched = self._watched
        tools = self._schedule.plan_next(found, action)
        head, self._head = self._head, read_head(watched.view.project.root)
        self._telling.tell(
            ChangesFound(
                paths=finding.paths,
                tools=tuple(map(watched.registry.display, tools)),
                reasons={watched.registry.display(one): why for one, why in found.items()},
                stages=self._stages(tools),
                not_affected=len(set(watched.targets).difference(tools)),
                gone=finding.gone,
                during_run=is_running,
                action=_shown(action, tools, is_waiting=bool(finding.held or finding.problems)),
                is_switch="" not in (head, self._head)
                and head != self._head
                and len(finding.paths) >= MANY,
            )
        )

    def _spare_the_waiting(self, finding: ChangeImpact) -> list[str]:
        if not self._schedule.must_hold(finding.problems):
            return []
        self._schedule.restarts = True
        return ["hold"]

    def _take_in_others(self) -> bool:
        """What runs of other commands have written is no change; whether data can be judged: not while one goes on."""
        watched = self._watched
        data = {one for one in watched.snapshot.differing() if not watched.watch_set.is_code(one)}
        if not data:
            return True
        ran = self._others.find_tools()
        if ran:
            watched.learn()
            watched.snapshot.accept(
                data & (watched.observed_inputs.find_writes(ran) | watched.find_outputs(ran))
            )
        return ran is not None

    def _find_loops(self, finding: ChangeImpact, *, is_running: bool) -> set[str]:
        """Paths that set off one run after another, each written during the one before: they are let be."""
        if not is_running:
            self._loops.note_saved(path for path in finding.paths if path not in self._own)
        blamed = {finding.by[module] for module in finding.found if module in finding.by}
        own = {path for path in blamed if is_running or path in self._own}
        data = [path for path in own if not self._watched.watch_set.is_code(path)]
        for path, times in self._loops.blame(own, data=data):
            is_let_be = path in self._loops.muted
            self._telling.remark(_loop(path, times, is_let_be=is_let_be))
        return blamed & self._loops.muted

    def _tell_saved(self, paths: Collection[str]) -> None:
        """Files that were saved, and nothing comes of it."""
        quiet = (
            self._watched.snapshot.differing().keys() | self._loops.muted | self._own | self._made
        )
        saved = [path for path in dict.fromkeys(paths) if path not in quiet]
        self._telling.saved(saved, time.monotonic())

    def _stages(self, tools: Collection[str]) -> tuple[str, ...]:
        wanted, stages = set(tools), self._watched.registry.stages
        return tuple(stage.name for stage in stages if wanted.intersection(stage.tools))

    # After a run.

    def settle(self, wrote: Collection[str], loaded: Mapping[str, str]) -> Collection[str]:
        """A run has ended: what it `wrote` is taken in, and who ran on half a file runs again. `loaded` as of
        `find_torn`. Gives back what else has changed meanwhile, and must be heard of again."""
        watched, schedule = self._watched, self._schedule
        watched.snapshot.look()
        differing = set(watched.snapshot.differing()) - set(watched.snapshot.broken)
        self._loops.note_written(wrote)
        data = {one for one in differing if not watched.watch_set.is_code(one)}
        self._made = data.intersection(wrote)
        self._made |= watched.find_taken_in(data - self._made)
        watched.snapshot.accept(self._made)
        self._own = differing - self._made
        for module, why in watched.watch_set.find_torn(schedule.latest, loaded).items():
            if not schedule.is_put_down(module) and not differing & loaded.keys():
                schedule.enqueue([module], why, own=[module])
        if not schedule.has_next and not self._own:
            self._loops.note_end()
        return self._own


def _shown(action: Action, tools: Collection[str], *, is_waiting: bool) -> Action:
    """A change that makes nothing run waits for a mend, or comes to nothing."""
    if tools or action not in ("run", "after"):
        return action
    return "wait" if is_waiting else "none"


def _loop(path: str, times: int, *, is_let_be: bool) -> Problem:
    what = "it is let be" if is_let_be else "runs are no longer cancelled for it"
    how = "it counts again when it is saved between two runs; " if is_let_be else ""
    return Problem(
        code="loop",
        message=f"{path} changed during {times} runs in a row that it set off itself: {what}",
        hint=f'{how}what a tool writes belongs into its ORCH = {{"outputs": ...}}',
        severity="warning",
    )
