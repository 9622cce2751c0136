"""What a burst of changes means for a watch: judged, told, and put down for the next run.

In: paths that are calm, and what a run that has ended wrote. Out: what the run that is going on is asked for, and
moments. One change is judged in one place, whether a run is going on or not: what it affects decides both what is
stopped and what is started. What the runs wrote themselves is no change of the user's. It listens to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from discover_orch.model.errors import Problem
from discover_orch.watch.feedback_loops import Loops
from discover_orch.watch.other_runs import Others
from discover_orch.watch.outbox import Telling
from discover_orch.watch.project_state import Finding, Ground
from discover_orch.watch.schedule import Course
from discover_orch.watch.snapshot import read_head
from discover_orch.watch.watch_events import Action, Changed

#: From here on a batch may be called a switch of branches.
MANY = 2
#: What the run that is going on is asked for, for the sake of a change.
WISHES: Mapping[str, list[str]] = {"restart": ["cancel"], "hold": ["hold"]}


class Changes:
    """Judges on the `course` of a watch; `others` are runs that other commands make beside it."""

    def __init__(self, ground: Ground, course: Course, telling: Telling, others: Others) -> None:
        self._ground, self._course = ground, course
        self._telling, self._others = telling, others
        self._own: set[str] = set()  # changed while tools ran, and perhaps by them
        self._made: set[str] = set()  # data that the latest run wrote
        self._loops = Loops()
        self._head = read_head(ground.view.project.root)

    # A change.

    def judge(self, paths: Collection[str], *, is_rescan: bool = False) -> list[str]:
        """A burst of events is over: find out what it means, and decide.

        A whole look at the disk follows, when the run has been started: should the system have told only a part,
        then what it finds is one more change, during that run.
        """
        ground, course, is_running = self._ground, self._course, self._course.is_running
        news = ground.manifest.look(paths) if is_rescan else ground.manifest.glance(paths)
        only_code = is_running or not self._take_in_others()
        finding = ground.consider(only_code=only_code)
        self._telling.problems(finding.problems, ground.waiting)
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
        if not found and self._loops.let_be.issuperset(finding.paths):
            return wishes
        if wishes:
            course.restarts = True
        self._tell(finding, found, action, is_running=is_running)
        return list(wishes) or self._spare_the_waiting(finding)

    def judge_installation(self) -> None:
        """Packages were installed or removed: that may concern every tool."""
        why = "the installed packages changed"
        ground = self._ground
        tools = self._course.plan_next(dict.fromkeys(ground.targets, why), "run")
        names = tuple(map(ground.registry.display, tools))
        self._telling.tell(
            Changed(
                paths=(),
                tools=names,
                reasons=dict.fromkeys(names, why),
                stages=self._stages(tools),
            )
        )

    def _decide(self, finding: Finding, *, is_running: bool) -> tuple[Mapping[str, str], Action]:
        """The tools that count as found, and what becomes of the change."""
        found, course = finding.found, self._course
        action = course.decide(found, is_structural=finding.is_structural)
        if action != "none":
            looped = self._find_loops(finding, is_running=is_running)
            if looped:
                found = {
                    one: why for one, why in found.items() if finding.by.get(one) not in looped
                }
                action = course.decide(found, is_structural=finding.is_structural)
            if action == "restart" and self._loops.is_tiresome(finding.by.values()):
                action = "after"
        return found, action

    def _tell(
        self, finding: Finding, found: Mapping[str, str], action: Action, *, is_running: bool
    ) -> None:
        """Put down what is to run, and say so."""
        ground = self._ground
        tools = self._course.plan_next(found, action)
        head, self._head = self._head, read_head(ground.view.project.root)
        self._telling.tell(
            Changed(
                paths=finding.paths,
                tools=tuple(map(ground.registry.display, tools)),
                reasons={ground.registry.display(one): why for one, why in found.items()},
                stages=self._stages(tools),
                not_affected=len(set(ground.targets).difference(tools)),
                gone=finding.gone,
                during_run=is_running,
                action=_shown(action, tools, is_waiting=bool(finding.held or finding.problems)),
                is_switch="" not in (head, self._head)
                and head != self._head
                and len(finding.paths) >= MANY,
            )
        )

    def _spare_the_waiting(self, finding: Finding) -> list[str]:
        if not self._course.must_hold(finding.problems):
            return []
        self._course.restarts = True
        return ["hold"]

    def _take_in_others(self) -> bool:
        """What runs of other commands have written is no change; whether data can be judged: not while one goes on."""
        ground = self._ground
        data = {one for one in ground.manifest.differing() if not ground.survey.is_code(one)}
        if not data:
            return True
        ran = self._others.find_tools()
        if ran:
            ground.learn()
            ground.manifest.accept(
                data & (ground.sightings.find_writes(ran) | ground.find_outputs(ran))
            )
        return ran is not None

    def _find_loops(self, finding: Finding, *, is_running: bool) -> set[str]:
        """Paths that set off one run after another, each written during the one before: they are let be."""
        if not is_running:
            self._loops.note_saved(path for path in finding.paths if path not in self._own)
        blamed = {finding.by[module] for module in finding.found if module in finding.by}
        own = {path for path in blamed if is_running or path in self._own}
        data = [path for path in own if not self._ground.survey.is_code(path)]
        for path, times in self._loops.blame(own, data=data):
            is_let_be = path in self._loops.let_be
            self._telling.remark(_loop(path, times, is_let_be=is_let_be))
        return blamed & self._loops.let_be

    def _tell_saved(self, paths: Collection[str]) -> None:
        """Files that were saved, and nothing comes of it."""
        quiet = (
            self._ground.manifest.differing().keys() | self._loops.let_be | self._own | self._made
        )
        saved = [path for path in dict.fromkeys(paths) if path not in quiet]
        self._telling.saved(saved, time.monotonic())

    def _stages(self, tools: Collection[str]) -> tuple[str, ...]:
        wanted, stages = set(tools), self._ground.registry.stages
        return tuple(stage.name for stage in stages if wanted.intersection(stage.tools))

    # After a run.

    def settle(self, wrote: Collection[str], loaded: Mapping[str, str]) -> Collection[str]:
        """A run has ended: what it `wrote` is taken in, and who ran on half a file runs again. `loaded` as of
        `find_torn`. Gives back what else has changed meanwhile, and must be heard of again."""
        ground, course = self._ground, self._course
        ground.manifest.look()
        differing = set(ground.manifest.differing()) - set(ground.manifest.broken)
        self._loops.note_written(wrote)
        data = {one for one in differing if not ground.survey.is_code(one)}
        self._made = data.intersection(wrote)
        self._made |= ground.find_taken_in(data - self._made)
        ground.manifest.accept(self._made)
        self._own = differing - self._made
        for module, why in ground.survey.find_torn(course.latest, loaded).items():
            if not course.is_put_down(module) and not differing & loaded.keys():
                course.put_down([module], why, own=[module])
        if not course.has_next and not self._own:
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
