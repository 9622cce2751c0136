"""What a watch reports between its runs: values that `render` shows and that `--json` prints, and the queue that they
wait in.

Pure. The events of the runs themselves are those of `execution.run_state`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from msgspec import Struct, field

from discover_orch.model.errors import Problem
from discover_orch.planning.plan import Plan

Scope = Literal["affected", "stage", "tool"]
SCOPES: tuple[Scope, ...] = ("affected", "stage", "tool")
#: What is done about a change. `run`: its tools run now. `none`: the run in progress includes it. `restart`: that
#: run is cancelled, and its unfinished tools run with the change. `after`: its tools run after that run. `hold`: the
#: running tool may finish, then as `restart`. `wait`: nothing runs before a file is fixed.
Action = Literal["run", "none", "restart", "after", "hold", "wait"]


class WatchWaiting(Struct, frozen=True, kw_only=True, tag_field="event", tag="watching"):
    """The watch waits for changes: from now on every save is noticed. `files` are watched, for `tools` tools.

    `failing` are the names of the tools that failed when they last ran; `blocked` names the tools that would run, each
    with the one of these that they wait for.
    """

    tools: int
    files: int
    mode: str
    scope: Scope
    is_paused: bool = field(default=False, name="paused")
    failing: tuple[str, ...] = ()
    blocked: Mapping[str, str] = field(default_factory=dict)


class ChangesFound(Struct, frozen=True, kw_only=True, tag_field="event", tag="changed"):
    """Files that changed in meaning, appeared or disappeared. `tools` are the names of those to run, with `reasons`.

    `stages` are the affected ones: `stale` is the number of stale tools among `tools`, `fresh` that of the other tools
    of these stages. `left` are the names of stale tools that do not run, and `stays_stale` of those that run and are
    stale after it, because a tool upstream of them does not run; `blocked` names the tools that do not run because of
    a failed one, which is the value; `not_affected` is the number of tools that are fresh
    and do not run. `gone` are the names of tools that no longer exist, `deleted` those of `paths` that do not.
    """

    paths: tuple[str, ...]
    tools: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    stages: tuple[str, ...] = ()
    stale: int = field(default=0, name="stale_tools")
    fresh: int = 0
    left: tuple[str, ...] = field(default=(), name="stale")
    stays_stale: tuple[str, ...] = ()
    blocked: Mapping[str, str] = field(default_factory=dict)
    not_affected: int = 0
    gone: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    scope: Scope = "affected"
    during_run: bool = False
    action: Action = "run"


class NoMeaningfulChange(Struct, frozen=True, kw_only=True, tag_field="event", tag="unchanged"):
    """Files that were saved and mean the same as when their tools last ran."""

    paths: tuple[str, ...]


class CannotRun(Struct, frozen=True, kw_only=True, tag_field="event", tag="broken"):
    """What cannot be read or run; `waiting` are the names of tools that wait for the fix."""

    problems: tuple[Problem, ...] = field(name="errors")
    waiting: tuple[str, ...] = ()


class RunStarting(Struct, frozen=True, kw_only=True):
    """A run is about to start: its plan, and why, in a few words."""

    plan: Plan
    is_first: bool
    reason: str = ""


class WatchNote(Struct, frozen=True, kw_only=True, tag_field="event", tag="notice"):
    """A message for the user that is not the failure of a tool."""

    problem: Problem


class KeyAnswered(Struct, frozen=True, kw_only=True, tag_field="event", tag="key"):
    """A key was pressed: a sentence about what it did; none for the help on keys."""

    key: str
    sentence: str = ""


WatchEvent = (
    WatchWaiting
    | ChangesFound
    | NoMeaningfulChange
    | CannotRun
    | RunStarting
    | WatchNote
    | KeyAnswered
)


class Outbox:
    """The events that the loop has not reported yet. Reports each problem once until it is fixed."""

    def __init__(self) -> None:
        self._queue: list[WatchEvent] = []
        self._reported: set[Problem] = set()  # and not fixed
        #: All problems that were reported are fixed. Whoever tells the user sets it back.
        self.is_all_fixed = False

    def __bool__(self) -> bool:
        return bool(self._queue)

    def drain(self) -> list[WatchEvent]:
        queue, self._queue = self._queue, []
        return queue

    def add(self, event: WatchEvent) -> None:
        self._queue.append(event)

    def add_note(self, problem: Problem) -> None:
        self.add(WatchNote(problem=problem))

    def add_problems(self, problems: Collection[Problem], waiting: tuple[str, ...] = ()) -> bool:
        """All problems that there are now; the new ones are reported. Returns whether there are any."""
        current = _one_per_place(problems)
        new = [problem for problem in current if problem not in self._reported]
        self.is_all_fixed = not current and (bool(self._reported) or self.is_all_fixed)
        self._reported = set(current)
        if new:
            self.add(CannotRun(problems=tuple(new), waiting=waiting))
        return bool(new)


def _one_per_place(problems: Collection[Problem]) -> list[Problem]:
    """A broken tool is found by the scan and by the watch."""
    found: dict[object, Problem] = {}
    for problem in problems:
        place = problem.location
        found.setdefault((place.path, place.line) if place else problem, problem)
    return list(found.values())
