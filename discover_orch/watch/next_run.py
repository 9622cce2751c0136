"""What a watch runs next, and what a change means for the run in progress.

One set of tools decides both what a change stops and what it starts: those that it makes stale. Reads no files, starts
nothing and prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Set

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.execution.run_events import Event
from discover_orch.model.items import tool_of
from discover_orch.model.keys import FILES, path_of
from discover_orch.model.tool_events import DebuggerOpened, RunStatus, ToolFinished, ToolStarted
from discover_orch.staleness.live_status import Change
from discover_orch.watch.watch_events import Action, Scope
from discover_orch.watch.watched_project import WatchedProject

#: After so many runs in a row that a file started by being written during the run before, it is muted. Not a module
#: that no tool was seen to write: the user may save it at each keystroke.
MOST_RUNS = 3


class Affected(Struct, frozen=True, kw_only=True):
    """What a change means for the watched tools.

    `hit` are those that it concerns itself, `below` all that it makes stale, each with a sentence; with the scope
    `tool` the same as `hit`. `runs` are the tools to run, in order. `inside` are all of the affected `stages`.
    """

    hit: Mapping[str, str] = field(default_factory=dict)
    below: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    inside: frozenset[str] = frozenset()
    stages: tuple[str, ...] = ()


class Queued(Struct, frozen=True, kw_only=True):
    """A tool that is to run. `is_requested`: by a key or the start of the watch, so in a pause too, though it is fresh
    and though a tool upstream failed. `is_hit`: a change concerned it itself."""

    why: str
    is_requested: bool = False
    is_hit: bool = False


class Running:
    """How far the run in progress is: the tools that are `waiting` for their turn, the one that runs (`current`), and
    how the others `ended`. `is_debugged`: a debugger is open in the tool that runs."""

    def __init__(self, modules: Iterable[str]) -> None:
        self.waiting, self.ended = {*modules}, dict[str, ToolFinished]()
        self.current: str | None = None
        self.is_debugged = False

    def add(self, event: Event) -> None:
        match event:
            case ToolStarted(module=module):
                self.current = module
                self.waiting.discard(module)
            case ToolFinished(module=module):
                self.current, self.is_debugged = None, False
                self.ended[module] = event
                self.waiting.discard(module)
            case DebuggerOpened():
                self.is_debugged = True
            case _:
                pass

    @property
    def begun(self) -> set[str]:
        return {*self.ended, *filter(None, [self.current])}


class Schedule:
    """`restarts`: if the run in progress is cancelled, its unfinished tools run again. The key `c` prevents it."""

    def __init__(self, watched: WatchedProject, scope: Scope, *, queues: bool = False) -> None:
        """`queues`: no run is cancelled for a change."""
        self._watched, self.queues = watched, queues
        self.started: dict[str, Queued] = {}  # the tools of the run that started last
        self.scope = scope
        self.loops = FeedbackLoops(watched.is_output)
        self.queue: dict[str, Queued] = {}
        self.run: Running | None = None
        self.restarts, self.is_paused, self.is_over = True, False, False

    @property
    def is_running(self) -> bool:
        return self.run is not None

    # A change.

    def affected(self, change: Change) -> Affected:
        """What the change makes stale, and what of it runs, by the scope and within the targets."""
        watched, order = self._watched, self._watched.targets
        targets, freshness = frozenset(order), watched.status.freshness()
        hit = {
            module: why
            for module, why in change.touched.items()
            if module in targets and not self.loops.is_muted(change.causes.get(module, ()))
        }
        spread = hit if self.scope == "tool" else watched.status.spread(hit)
        below = {module: why for module, why in spread.items() if module in targets}
        stages = [
            stage for stage in watched.registry.stages if not below.keys().isdisjoint(stage.tools)
        ]
        inside = targets & {one for stage in stages for one in stage.tools}
        stale = {module for module in targets if not freshness[module].is_fresh}
        match self.scope:
            case "tool":
                wanted = {*hit}
            case "stage":
                wanted = {*inside}
            case "affected":
                wanted = self._find_wanted(stale, below.keys()) & inside
        return Affected(
            hit=hit,
            below=below,
            runs=tuple(module for module in order if module in wanted),
            inside=inside,
            stages=tuple(stage.name for stage in stages),
        )

    def _find_wanted(self, stale: set[str], below: Set[str]) -> set[str]:
        """Those of these stale targets that are stale because of something in the targets that starts a run; `below`
        are all that the change makes stale."""
        status = self._watched.status
        freshness = status.freshness()
        roots = [
            one for one in stale - below if freshness[one].starting or freshness[one].is_for_others
        ]
        return stale & (status.spread(roots).keys() | below)

    def find_left(self, runs: Collection[str]) -> tuple[list[str], frozenset[str]]:
        """The stale targets that do not run where these do, and those of these that are stale after it, because of
        something upstream that does not run."""
        freshness, registry = self._watched.status.freshness(), self._watched.registry
        order, coming = [*freshness], {*runs}
        last = max((place for place, one in enumerate(order) if one in coming), default=0)
        if self.run is not None:
            coming.update(self.run.waiting, filter(None, [self.run.current]))
        stale = [one for one in self._watched.targets if not freshness[one].is_fresh]
        # What comes after all of these in the order is not upstream of them.
        roots = [one for one in order[:last] if one not in coming and freshness[one].reasons]
        staying = registry.downstream(roots).intersection(runs) if roots else frozenset()
        return [one for one in stale if one not in coming], staying

    def decide(self, affected: Affected, *, is_structural: bool) -> Action:
        """What to do about the change. `hold` where waiting tools may have other arguments now: it `is_structural`."""
        run = self.run
        if run is None:
            return "run"
        wanted, registry = {*affected.below}, self._watched.registry
        is_there = run.current is None or tool_of(run.current) in registry.names.display
        if wanted.isdisjoint(run.begun) and is_there:
            if is_structural and not wanted.isdisjoint(run.waiting):
                return "hold"
            return "none" if wanted.issubset(run.waiting) else "after"
        if self.queues or (run.current is None and not run.waiting):
            return "after"
        tool = registry.tools.get(run.current or "")
        can_cancel = tool is None or tool.is_cancellable
        return "restart" if can_cancel and not run.is_debugged else "hold"

    def enqueue_affected(self, affected: Affected) -> None:
        """The tools of the change run next. The newest reason counts."""
        freshness = self._watched.status.freshness()
        for module in affected.runs:
            known = self.queue.get(module, Queued(why=""))
            own = known.why if known.is_hit else ""
            why = affected.hit.get(module) or own or affected.below.get(module)
            sentences = freshness[module].sentences
            self.queue[module] = Queued(
                why=why or (sentences[0] if sentences else "its stage is affected"),
                is_requested=known.is_requested,
                is_hit=known.is_hit or module in affected.hit,
            )

    def enqueue(self, modules: Iterable[str], why: str, *, requested: bool = False) -> None:
        """Add tools to the next run. A reason that is there already stays."""
        for module in modules:
            known = self.queue.get(module, Queued(why=why))
            self.queue[module] = replace(known, is_requested=requested or known.is_requested)

    # What waits.

    def held(self) -> frozenset[str]:
        """The queued tools that wait: a failed tool blocks them, or a file has to be fixed that they import, or that
        keeps a tool upstream of them from being found or, unless they were changed themselves, from running."""
        if self._watched.problems:  # as while the configuration cannot be read
            return frozenset(self.queue)
        own = self._cannot_run(self.queue) | self.blocked().keys()
        below = self._watched.registry.downstream(own) if own else frozenset()
        return frozenset(
            module
            for module, queued in self.queue.items()
            if module in own or (module in below and not queued.is_hit)
        )

    def blocked(self) -> dict[str, str]:
        """The queued tools that would use what a failed tool left, each with that tool. A key that asks for a tool
        runs it all the same, as `orch run TOOL` does."""
        watched = self._watched
        waiting = {one for one, queued in self.queue.items() if not queued.is_requested}
        found: dict[str, str] = {}
        for one in watched.failing if waiting else ():
            if one not in self.queue:
                for module in watched.registry.downstream([one]) & waiting:
                    found.setdefault(module, one)
        return found

    @property
    def waiting(self) -> tuple[str, ...]:
        """The names of the watched tools that wait for a file to be fixed."""
        watched, held = self._watched, self.held()
        return tuple(
            watched.registry.display(module)
            for module in watched.targets
            if module in watched.registry.tools
            and (module in held or watched.status.is_held(module))
        )

    def _runnable(self) -> dict[str, Queued]:
        """The queued tools that are not held."""
        held = self.held()
        return {module: queued for module, queued in self.queue.items() if module not in held}

    def must_run(self) -> bool:
        """Whether there is a tool to run now."""
        return any(
            queued.is_requested or not self.is_paused for queued in self._runnable().values()
        )

    def is_needed(self, module: str) -> bool:
        """Whether the tool is queued and stale, or queued to run though it is fresh. One that waited for a fix may be
        as it was before."""
        now = self._watched.status.freshness().get(module)
        queued = self.queue.get(module)
        if now is None or queued is None:
            return False
        return self._is_forced(queued) or not now.is_fresh

    def _is_forced(self, queued: Queued) -> bool:
        """Whether it runs though it is fresh."""
        return queued.is_requested or self.scope == "stage"

    def must_hold(self) -> bool:
        """Whether a tool that waits in the run in progress cannot run now: then the run goes no further."""
        return self.run is not None and bool(self._cannot_run(self.run.waiting))

    def _cannot_run(self, modules: Iterable[str]) -> set[str]:
        """Those that have code which cannot be read now, or that need a tool that cannot be found now."""
        status, registry = self._watched.status, self._watched.registry
        if any(one.concerns_all for one in registry.broken):
            return {*modules}
        below = registry.downstream(registry.below_broken) if registry.below_broken else ()
        return {module for module in modules if module in below or status.is_held(module)}

    # One run.

    def start(self) -> dict[str, str]:
        """The tools of the run that starts now, each with its reason: those that are stale, or run though they are
        fresh. Tools that are held stay in the queue."""
        self._add_what_was_disturbed()
        coming = self._runnable()
        started = {module: coming[module] for module in coming if self.is_needed(module)}
        self.queue = {module: self.queue[module] for module in self.queue if module not in coming}
        self.started = started or self.started
        return {module: queued.why for module, queued in started.items()}

    def _add_what_was_disturbed(self) -> None:
        """A tool that was stopped may have changed what it needs from others: they run again, too. Not for tools that
        are held: a tool that failed does not run for those that it blocks."""
        if self.scope == "tool":
            return
        status = self._watched.status
        freshness = status.freshness()
        stale = [
            one for one in self._runnable() if one in freshness and not freshness[one].is_fresh
        ]
        for module, why in status.spread(stale).items():
            if module in self._watched.targets:
                self.queue.setdefault(module, Queued(why=why))

    @property
    def forced(self) -> frozenset[str]:
        """The tools of the run that starts now that run though they may be fresh."""
        return frozenset(
            module for module, queued in self.started.items() if self._is_forced(queued)
        )

    @property
    def causes(self) -> list[str]:
        """Why the run that starts now does: the changes themselves, where there are any, say most."""
        queued = self.started.values()
        return [one.why for one in queued if one.is_hit] or [one.why for one in queued]

    def begin(self, modules: Iterable[str]) -> Running:
        """The run starts with these tools. Its events are to be added to what is returned."""
        self.run, self.restarts = Running(modules), True
        return self.run

    def end(self, status: RunStatus) -> None:
        """The run ended. If it was stopped for something else, its unfinished tools run next."""
        ended, self.run = self.run.ended if self.run else {}, None
        if status == "interrupted":
            self.is_over = True  # by a signal or by q
        elif status == "cancelled" and self.restarts:
            passed = {module for module, one in ended.items() if one.status == "passed"}
            for module, known in self.started.items():
                if module not in passed:
                    again = replace(known, why="its run was cancelled")
                    self.queue.setdefault(module, again)
        elif status == "failed":
            blocked = [module for module, one in ended.items() if one.blocked_by]
            self.enqueue(blocked, "blocked when another tool failed")


class FeedbackLoops:
    """Finds files that start one run after another because each run writes them again. Counts runs in a row.

    Files are known by their keys: `code:src/a.py`, `file:data/x.csv`."""

    def __init__(self, is_output: Callable[[str], bool]) -> None:
        """`is_output`: whether a tool writes the file of this path."""
        self._is_output = is_output
        self.muted: set[str] = set()
        self._runs: dict[str, int] = {}
        self._during_run: set[str] = set()  # found changed during the latest run or after it

    def is_muted(self, causes: Collection[str]) -> bool:
        return bool(causes) and self.muted.issuperset(causes)

    def note_end(self, found: Iterable[str]) -> None:
        """A run ended, and these changed during it otherwise than its tools left them."""
        self._during_run = {*found}

    def note_quiet(self) -> None:
        """A run started no other."""
        self._runs.clear()

    def count(
        self, causes: Collection[str], saved: Collection[str], *, is_running: bool
    ) -> list[str]:
        """A change with these causes starts a run; `saved` are the keys of all that changed.

        What changed while nothing ran is saved by the user, and counts again. Returns the causes that are muted from
        now on."""
        if not is_running:
            for key in {*saved} - self._during_run:
                self._runs.pop(key, None)
                self.muted.discard(key)
        suspects = {*causes} if is_running else self._during_run.intersection(causes)
        self._during_run -= {*saved}
        found = []
        for key in sorted(suspects - self.muted):
            is_file = key.startswith(FILES)
            if is_file or (key.startswith("code:") and self._is_output(path_of(key))):
                self._runs[key] = self._runs.get(key, 0) + 1
                found += [key] if self._runs[key] > MOST_RUNS else []
        self.muted.update(found)
        return found
