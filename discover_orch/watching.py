"""The loop of a watch: waits for changes, finds out what they affect, and runs that, one run after another.

In: a `Ground`, what to listen to, and how to behave. Out: moments, and the events of the runs between them. One
change is judged in one place, whether a run is going on or not: what it affects decides both what is stopped and
what is started. Parses no words and prints nothing.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping

from discover_orch import looking, session
from discover_orch.agenda import Agenda
from discover_orch.attention import SOON, Attention, Calm, Found, Keys, Occurrence, Pressed
from discover_orch.debounce import Debouncer
from discover_orch.errors import Problem
from discover_orch.ground import Finding, Ground
from discover_orch.lock import Holder, Lock
from discover_orch.loops import Loops
from discover_orch.manifest import read_head
from discover_orch.moments import (
    SCOPES,
    Action,
    Began,
    Changed,
    Moment,
    Remark,
    Scope,
    Waiting,
)
from discover_orch.others import Others
from discover_orch.progress import Progress, decide
from discover_orch.protocol import Preload
from discover_orch.request import Request
from discover_orch.run import (
    Event,
    Noticed,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    Woken,
)
from discover_orch.session import Signals
from discover_orch.spare import Spare, Wish, read_installation
from discover_orch.telling import GATHER, Telling
from discover_orch.value import value
from discover_orch.watcher import Watcher

WITH_STAGE = "its stage is affected"
#: Seconds between two tries to hold the project while another run does.
LOOK_AT_LOCK = 0.25
#: From here on a batch may be called a switch of branches.
MANY = 2


#: What the run that is going on is asked for, for the sake of a change.
WISHES: Mapping[str, list[str]] = {"restart": ["cancel"], "hold": ["hold"]}


@value
class Manner:
    """How a watch behaves. `preload` None: what the tools import; a tuple: these modules, perhaps none."""

    scope: Scope = "stage"
    queues: bool = False
    runs_at_start: bool = True
    must_poll: bool = False
    debounce: float = 0.0
    preload: tuple[str, ...] | None = None
    all_frames: bool = False


class Watching:
    """One watch; `events` is its whole life. It is also what interrupts the run that is going on."""

    def __init__(
        self,
        request: Request,
        manner: Manner,
        environ: Mapping[str, str],
    ) -> None:
        """Raises ProjectError and UsageError, as a run would."""
        self.ground = Ground(request, environ)
        self._manner, self._environ = manner, environ
        self._scope: Scope = manner.scope
        self._telling = Telling()
        self._agenda = Agenda()
        self._latest: tuple[str, ...] = ()
        self._progress: Progress | None = None
        self._is_paused = self._is_over = False
        self._is_asked = False  # a key asked for the next run, which holds in a pause too
        self._restarts = False  # the run that is going on was stopped for a newer save
        self._begun_at = 0.0
        self._passed: set[str] = set()  # in the run that is going on
        self._lock = Lock(self._root)
        self._own: set[str] = set()  # changed while tools ran, and perhaps by them
        self._made: set[str] = set()  # data that the latest run wrote
        self._others = Others(self._root, self._lock)
        self._loops = Loops()
        self._head = read_head(self._root)
        self._installed = self._candidate = read_installation()
        self._spare = Spare()

    @property
    def _root(self) -> str:
        return self.ground.view.project.root

    @property
    def _must_run(self) -> bool:
        return bool(self._agenda) and (self._is_asked or not self._is_paused)

    # The loop.

    def events(self, keys: Keys | None = None) -> Generator[Moment | Event, None, int]:
        """Ends with the exit code, when the user quits or a signal comes; leaves no process behind."""
        self._signals = Signals()
        if keys is not None:
            keys.listen(self._signals.ring)
        with self._signals:
            watcher = Watcher(self._root, self._signals.ring, must_poll=self._manner.must_poll)
            try:
                yield from self._arm(watcher, keys)
                while not self._is_over:
                    if self._must_run:
                        yield from self._run()
                    else:
                        yield from self._wait()
            finally:
                self._signals.rest()
                watcher.close()
                self._spare.close()
                self._signals.close()
        return 128 + self._signals.signal if self._signals.signal else 0

    def _arm(self, watcher: Watcher, keys: Keys | None) -> Iterator[Moment]:
        """Listen first and look then: what is saved from here on is seen."""
        self._watcher = watcher
        self._folders = self.ground.survey.folders
        watcher.watch(*self._folders)
        manner = self._manner
        self._attention = Attention(
            self._signals,
            watcher,
            Debouncer(
                tells_end=watcher.mode == "events" and sys.platform == "linux",
                least=manner.debounce,
            ),
            lambda: self.ground.manifest,
            keys=keys,
            root=self._root,
            clock=time.monotonic,
        )
        self._attention.hear_again(self.ground.manifest.look().paths)
        for problem in watcher.check():
            yield Remark(problem=problem)
        ground = self.ground
        standing = (
            *looking.errors(ground.view),
            *ground.manifest.broken.values(),
            *ground.problems,
        )
        if manner.runs_at_start:
            self._put_down(ground.targets, "everything that is watched")
        self._telling.problems(_once(standing), ground.waiting)
        yield from self._telling.take()

    def _wait(self) -> Iterator[Moment | Event]:
        """Until there is something to run, or the end."""
        self._prepare_spare()
        self.ground.warm()
        yield self._waiting()
        gc.collect()
        gc.freeze()
        while not self._is_over and not self._must_run:
            waits = LOOK_AT_LOCK if self._others.is_awaited else math.inf
            self._attention.wait(GATHER if self._telling.is_gathering else waits)
            if self._others.have_ended():
                self._change((), is_rescan=True)
            for occurrence in self._attention.take():
                self._occur(occurrence)
            self._telling.gather(time.monotonic())
            self._look_at_installation()
            yield from self._telling.take()

    def _run(self) -> Iterator[Moment | Event]:
        """Hold the project for one run; another command's run is waited for."""
        told = False
        while (holder := self._lock.take()) is not None and not self._is_over:
            if not told:
                told = True
                self._telling.remark(_held_up(holder))
            yield from self._telling.take()
            self._attention.wait(LOOK_AT_LOCK)
            for occurrence in self._attention.take():
                self._occur(occurrence)
        if self._is_over or not self._must_run:
            self._lock.release()
            return
        try:
            yield from self._run_pending()
        finally:
            self._lock.release()

    def _run_pending(self) -> Iterator[Moment | Event]:
        reasons, self._is_asked = self._agenda.take(), False
        plan = self.ground.plan_of(reasons)
        if not plan.steps:
            return
        order = tuple(step.tool.module for step in plan.steps)
        registry = self.ground.registry
        taken = self._spare.take(self._wish())
        names = {module: registry.display(module) for module in order}
        yield Began(
            plan=plan,
            names=names,
            is_first=not self._latest,
            reason=_in_short(list(reasons.values())),
            imported=taken.modules,
            cold=taken.sentence,
        )
        self._latest = order
        self._progress = Progress(waiting=order)
        self._restarts = False
        self._passed.clear()
        self._begun_at = time.monotonic()
        self.ground.sightings.begin()
        self.ground.manifest.rests = True
        self._attention.look_soon()
        wrote: set[str] = set()
        loaded: dict[str, str] = {}
        events = session.run_watched(
            plan,
            registry,
            self.ground.view.project,
            worker=taken.worker,
            is_importing=taken.is_importing,
            interruptions=self,
            environment=self._environ,
            all_frames=self._manner.all_frames,
            code=self.ground.survey.code,
        )
        try:
            for event in events:
                self._follow(event, loaded)
                if isinstance(event, ToolFinished) and event.seen is not None:
                    wrote.update(event.seen.written, event.seen.removed)
                match event:
                    case Noticed(problem=Problem(code="cold-start") as problem):
                        if self._spare.once(problem.message):
                            yield Remark(problem=problem)
                    case Woken():
                        pass
                    case _:
                        yield event
                if isinstance(event, RunFinished):
                    self._settle(event, order, wrote, loaded)
                yield from self._telling.take()
        finally:
            events.close()
            self._progress = None
            self.ground.manifest.rests = False
        yield from self._telling.take()

    def _follow(self, event: Event, loaded: dict[str, str]) -> None:
        """Keep in mind how far the run is, and what it has shown of its tools."""
        assert self._progress is not None
        self._progress = self._progress.after(event)
        match event:
            case Noticed(problem=Problem(code="cold-start", message=message)):
                if "the spare worker" in message:
                    self._spare.avoid(self._wish())
            case RunStarted(run=run):
                self._others.note_own(run)
            case ToolStarted(module=module):
                self.ground.sightings.note_start(module)
            case ToolFinished(module=module, status=status):
                loaded.update(event.loaded)
                if event.seen is not None:
                    passed = status == "passed"
                    self.ground.sightings.note_end(module, event.seen, has_passed=passed)
                self._prepare_spare()
                if status == "passed":
                    self._passed.add(module)
                    is_unread = self.ground.survey.has_unread(module)
                    self.ground.survey.note_loaded(module, loaded if is_unread else event.loaded)
                self._agenda.note(module, status)
            case _:
                pass

    def _settle(
        self, end: RunFinished, order: tuple[str, ...], wrote: set[str], loaded: dict[str, str]
    ) -> None:
        """After a run: what it wrote itself is taken in, what it did not come to is run next."""
        self._attention.settle(was_cancelled=self._restarts)
        self._progress = None
        if end.status == "interrupted":
            self._is_over = True  # by a signal or by q
            return
        if end.status == "cancelled" and self._restarts:
            for module in order:
                if module not in self._passed:
                    self._put_down([module], "its run was cancelled")
        if end.status == "cancelled":  # if by the user, then he wants none of it
            self._agenda.forgive(order)
        ground = self.ground
        outputs = ground.find_outputs(order)
        ground.manifest.rests = False
        ground.learn(wrote | outputs)
        self._listen()
        ground.manifest.look()
        differing = set(ground.manifest.differing()) - set(ground.manifest.broken)
        self._loops.note_written(wrote | outputs)
        data = {one for one in differing if not ground.survey.is_code(one)}
        self._made = data & (wrote | outputs)
        self._made |= ground.find_taken_in(data - self._made)
        ground.manifest.accept(self._made)
        self._own = differing - self._made
        self._attention.hear_again(self._own)
        for module, why in ground.survey.find_torn(order, loaded).items():
            if module not in self._agenda.pending and not differing & loaded.keys():
                self._put_down([module], why, own=[module])
        if not self._agenda and not self._own:
            self._loops.note_end()

    def _put_down(
        self, modules: Iterable[str], why: str, *, own: Collection[str] = ()
    ) -> list[str]:
        """For the next run; or for one after a mend, where a file that they depend on cannot be read, or a tool
        upstream waits for that. Tools that are `own` have changed themselves, and only wait for their files.

        Gives back those that can run.
        """
        blocked, ready = self.ground.blocked, []
        for module in modules:
            if self.ground.is_held(module) or (module in blocked and module not in own):
                self.ground.put_off(module, why)
            else:
                self._agenda.put([module], why)
                ready.append(module)
        return ready

    # What interrupts a run.

    @property
    def wake(self) -> int:
        return self._attention.wake

    @property
    def signal(self) -> int:
        return self._attention.signal

    @property
    def patience(self) -> float:
        return self._attention.patience

    def pause(self) -> None:
        self._signals.pause()

    def take(self) -> list[str]:
        """Wishes for the run that is going on."""
        wishes = []
        for occurrence in self._attention.take():
            wishes += self._occur(occurrence)
        if time.monotonic() > self._begun_at + SOON:
            self._prepare_spare()
        if self._telling:
            wishes.append("wake")
        return wishes

    def _occur(self, occurrence: Occurrence) -> list[str]:
        """Do what is to be done about it; what it means for the run that is going on."""
        match occurrence:
            case Calm(paths=paths, is_rescan=is_rescan):
                return [] if self._is_paused else self._change(paths, is_rescan=is_rescan)
            case Pressed(key=key):
                return self._press(key)
            case Found(problem=problem):
                self._telling.remark(problem)
                return []
            case _ if occurrence.wish == "suspend" and self._progress is None:
                self._signals.pause()
                return []
            case _:
                self._is_over |= occurrence.wish != "suspend"
                return [occurrence.wish]

    # Changes.

    def _change(self, paths: Collection[str], *, is_rescan: bool = False) -> list[str]:
        """A burst of events is over: find out what it means, and decide.

        A whole look at the disk follows, when the run has been started: should the system have told only a part,
        then what it finds is one more change, during that run.
        """
        ground, is_running = self.ground, self._progress is not None
        news = ground.manifest.look(paths) if is_rescan else ground.manifest.glance(paths)
        only_code = is_running or not self._take_in_others()
        finding = ground.consider(only_code=only_code)
        self._telling.problems(_once(finding.problems), ground.waiting)
        for warning in finding.warnings:
            self._telling.remark(warning)
        self._attention.hear_again(ground.survey.again)
        self._listen()
        if not finding.paths and not finding.found:
            self._tell_saved((*news.paths, *news.saved))
            if not is_running:
                self._own.difference_update(paths)
            return self._spare_the_waiting(finding.problems)
        action = self._decide(finding.found, is_structural=finding.is_structural)
        found = dict(finding.found)
        if action != "none":
            looped = self._find_loops(finding, is_running=is_running)
            if looped:
                found = {
                    one: why for one, why in found.items() if finding.by.get(one) not in looped
                }
                action = self._decide(found, is_structural=finding.is_structural)
            if action == "restart" and self._loops.is_tiresome(finding.by.values()):
                action = "after"
        wishes = WISHES.get(action, [])
        if not is_running:
            self._own.difference_update(paths, finding.paths)
        if not found and self._loops.let_be.issuperset(finding.paths):
            return wishes
        if wishes:
            self._restarts = True
        tools = self._plan_next(found, action)
        head, self._head = self._head, read_head(self._root)
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
        return list(wishes) or self._spare_the_waiting(finding.problems)

    def _take_in_others(self) -> bool:
        """What runs of other commands have written is no change; whether data can be judged: not while one goes on."""
        ground = self.ground
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

    def _listen(self) -> None:
        """To the folders that count by now."""
        folders = self.ground.survey.folders
        if folders != self._folders:
            self._folders = folders
            self._watcher.watch(*folders)

    def _spare_the_waiting(self, problems: Collection[Problem]) -> list[str]:
        """A file has just broken: where a tool that waits for its turn depends on it, the run goes no further."""
        progress = self._progress
        if progress is None or not problems:
            return []
        if not any(self.ground.is_held(module) for module in progress.waiting):
            return []
        self._restarts = True
        return ["hold"]

    def _plan_next(self, found: Mapping[str, str], action: Action) -> tuple[str, ...]:
        """What the change makes run; put down for the next run, unless the one that is going on will do."""
        ground = self.ground
        if action == "none":
            return tuple(one for one in ground.targets if one in found)
        tools = ground.expand(found, self._scope)
        ready: list[str] = []
        for one in tools:
            self._agenda.pending.pop(one, None)  # the newest reason holds
            ready += self._put_down([one], found.get(one, WITH_STAGE), own=found)
        if ready:
            self._agenda.add_owed(ground.registry, ground.targets, ground.is_held)
        return tuple(ready)

    def _decide(self, found: Collection[str], *, is_structural: bool) -> Action:
        """What becomes of a change that affects these tools, and of the run that is going on."""
        concerned = set(found)
        if self._scope == "downstream":
            concerned |= self.ground.registry.downstream(found) & set(self.ground.targets)
        running = self._progress.running if self._progress else None
        tool = self.ground.registry.tools.get(running or "")
        return decide(
            self._progress,
            concerned,
            is_structural=is_structural,
            queues=self._manner.queues,
            can_cancel=tool is None or tool.is_cancellable,
        )

    def _find_loops(self, finding: Finding, *, is_running: bool) -> set[str]:
        """Paths that set off one run after another, each written during the one before: they are let be."""
        if not is_running:
            self._loops.note_saved(path for path in finding.paths if path not in self._own)
        blamed = {finding.by[module] for module in finding.found if module in finding.by}
        own = {path for path in blamed if is_running or path in self._own}
        data = [path for path in own if not self.ground.survey.is_code(path)]
        for path, times in self._loops.blame(own, data=data):
            is_let_be = path in self._loops.let_be
            self._telling.remark(_loop(path, times, is_let_be=is_let_be))
        return blamed & self._loops.let_be

    def _tell_saved(self, paths: Collection[str]) -> None:
        """Files that were saved, and nothing comes of it."""
        quiet = (
            self.ground.manifest.differing().keys() | self._loops.let_be | self._own | self._made
        )
        saved = [path for path in dict.fromkeys(paths) if path not in quiet]
        self._telling.saved(saved, time.monotonic())

    def _stages(self, tools: Collection[str]) -> tuple[str, ...]:
        wanted = set(tools)
        return tuple(
            stage.name for stage in self.ground.registry.stages if wanted.intersection(stage.tools)
        )

    # Keys.

    def _press(self, key: str) -> list[str]:
        """Each key answers at once, in a sentence, whatever is going on."""
        is_running = self._progress is not None
        key = key.strip().lower()
        match key:
            case "" | "r":
                return self._ask(key, self._latest or self.ground.targets, "what ran last")
            case "a":
                return self._ask(key, self.ground.targets, "everything")
            case "f":
                failed = self._agenda.failed
                below = self.ground.registry.downstream(failed) if failed else ()
                return self._ask(
                    key, [one for one in self.ground.targets if one in below], "failed"
                )
            case "c" if is_running:
                return self._answer(key, "cancelling", "cancel")
            case "c":
                return self._answer(key, "nothing is running")
            case "s":
                self._scope = SCOPES[(SCOPES.index(self._scope) + 1) % len(SCOPES)]
                return self._answer(key, f"scope: {self._scope}")
            case "p" if self._is_paused:
                self._is_paused = False
                self._answer(key, "watching again")
                return self._change((), is_rescan=True)
            case "p":
                self._is_paused = True
                return self._answer(key, "paused: changes wait (p goes on)")
            case "q":
                self._is_over = True
                return self._answer(key, "bye", "interrupt") if is_running else []
            case "h" | "?":
                return self._answer("h")
            case _:
                return self._answer(key, f'"{key}" is no key (h shows them)')

    def _ask(self, key: str, tools: Collection[str], why: str) -> list[str]:
        """Run these now; what is going on makes way."""
        ground = self.ground
        wanted = [one for one in tools if one in ground.targets]
        if ground.problems:
            return self._answer(key, "nothing can be run before what was told is mended")
        if not wanted:
            return self._answer(
                key, "nothing has failed" if key == "f" else "there is nothing to run"
            )
        ready = self._put_down(wanted, f"asked for: {why}")
        waits = f"; {', '.join(ground.waiting)}: not before the mend" if ground.waiting else ""
        if not ready:
            return self._answer(key, f"nothing can be run now{waits}")
        # What the run that makes way has not done comes as well.
        self._is_asked = self._restarts = True
        if self._progress is None:
            return self._answer(key, f"running {why}{waits}")
        return self._answer(key, f"cancelling, then running {why}{waits}", "cancel")

    def _answer(self, key: str, sentence: str = "", *wishes: str) -> list[str]:
        self._telling.answer(key, sentence)
        return list(wishes)

    # The spare.

    def _wish(self) -> Wish:
        project = self.ground.view.project
        preload = self._manner.preload
        modules = (
            self.ground.preload() if preload is None else tuple((name, ()) for name in preload)
        )
        order = Preload(
            root=project.root,
            pythonpath=session.absolute_pythonpath(project),
            modules=modules,
        )
        return Wish(order=order, installed=self._installed)

    def _prepare_spare(self) -> None:
        self._spare.prepare(self._wish())

    def _look_at_installation(self) -> None:
        """Packages that were installed or removed may concern every tool; installing takes its time."""
        now = read_installation()
        if now != self._installed and now == self._candidate:
            self._installed = now
            why = "the installed packages changed"
            found = dict.fromkeys(self.ground.targets, why)
            tools = self._plan_next(found, "run")
            names = tuple(map(self.ground.registry.display, tools))
            self._telling.tell(
                Changed(
                    paths=(),
                    tools=names,
                    reasons=dict.fromkeys(names, why),
                    stages=self._stages(tools),
                )
            )
        self._candidate = now

    def _waiting(self) -> Waiting:
        return Waiting(
            tools=len(self.ground.targets),
            files=len(self.ground.manifest),
            folders=len(self.ground.survey.folders[0]),
            mode=self._watcher.mode,
            scope=self._scope,
            is_paused=self._is_paused,
            failing=tuple(
                self.ground.registry.display(one)
                for one in self.ground.targets
                if one in self._agenda.failed
            ),
        )


def _shown(action: Action, tools: Collection[str], *, is_waiting: bool) -> Action:
    """A change that makes nothing run waits for a mend, or comes to nothing."""
    if tools or action not in ("run", "after"):
        return action
    return "wait" if is_waiting else "none"


def _held_up(holder: Holder) -> Problem:
    return Problem(
        code="locked",
        message=f"{holder.sentence}: waiting for its end",
        severity="warning",
    )


def _loop(path: str, times: int, *, is_let_be: bool) -> Problem:
    what = "it is let be" if is_let_be else "runs are no longer cancelled for it"
    how = "it counts again when it is saved between two runs; " if is_let_be else ""
    return Problem(
        code="loop",
        message=f"{path} changed during {times} runs in a row that it set off itself: {what}",
        hint=f'{how}what a tool writes belongs into its ORCH = {{"outputs": ...}}',
        severity="warning",
    )


def _once(problems: Collection[Problem]) -> list[Problem]:
    """One problem of each place: a broken tool is found by the scan and by the watch."""
    found: dict[object, Problem] = {}
    for problem in problems:
        place = problem.location
        found.setdefault((place.path, place.line) if place else problem, problem)
    return list(found.values())


def _in_short(reasons: list[str]) -> str:
    different = list(dict.fromkeys(one for one in reasons if one != WITH_STAGE)) or reasons
    return different[0] + (f" and {len(different) - 1} more" if len(different) > 1 else "")
