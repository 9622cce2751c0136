"""Which step of a plan comes next: one after another, or side by side where the plan allows it.

The time is an argument; the queue never reads the clock.
"""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from discover_orch.config.project import Project
from discover_orch.discovery.registry import NO_DATAFLOW, Registry, uses_get_connection
from discover_orch.model.errors import Problem
from discover_orch.model.tool import Tool
from discover_orch.planning.parallel import Waits, find_waits
from discover_orch.planning.plan import Plan
from discover_orch.staleness.current_inputs import takes_connection

#: Tokens and how many of each.
_Needs = tuple[tuple[str, int], ...]
#: The token of the SQLite database: which tool may write to it.
WRITES = "(writes to SQLite)"
#: The token of a database that one process at a time can open: who may have it open.
OPENS = "(opens DuckDB)"
_IMPORTS_DUCKDB = re.compile(r"^\s*(?:import|from)\s+duckdb\b", re.M)


class StepQueue:
    """The steps that are ready, the first of them in the plan first. A step that is to be tried again keeps its place.

    `waits` is what each step waits for. `needs` has the tokens that each step holds while it runs, and `tokens` how
    many there are.
    """

    def __init__(
        self,
        modules: Sequence[str],
        waits: Sequence[Waits],
        needs: Mapping[str, Mapping[str, int]],
        tokens: Mapping[str, int],
    ) -> None:
        self.modules = modules
        self._waits, self._needs = waits, needs
        self._free = dict(tokens)
        self._places = {module: place for place, module in enumerate(modules)}
        self._missing = [len(one.steps) for one in waits]  # of the steps that each waits for
        self._followers: list[list[int]] = [[] for _ in modules]
        for place, one in enumerate(waits):
            for earlier in one.steps:
                self._followers[earlier].append(place)
        self._has_ended = [False] * len(modules)
        self._ended_prefix = 0
        self._opened = 0  # so many steps wait for no more than the ended prefix
        self._alone: list[int] = []  # those of them that run alone, unless they never ran
        self._ready: dict[_Needs, list[int]] = {}  # in the order of the plan, by the tokens needed
        self._holders: set[int] = set()  # of tokens
        self._not_before: dict[int, float] = {}
        self._left = len(modules)  # neither taken nor ended
        self._open()

    def __bool__(self) -> bool:
        return self._left > 0

    def next(self, now: float) -> str | None:
        found = [
            place
            for needs, places in self._ready.items()
            if places
            and all(self._free.get(token, 0) >= count for token, count in needs)
            and (place := self._first(places, now)) is not None
        ]
        return self.modules[min(found)] if found else None

    def wait_time(self, now: float) -> float:
        times = [at - now for at in self._not_before.values()]
        return min((one for one in times if one > 0), default=math.inf)

    def take(self, module: str) -> None:
        place = self._places[module]
        self._not_before.pop(place, None)
        self._remove_ready(place)
        self._left -= 1
        for token, count in self._needs_of(place):
            self._free[token] -= count
        self._holders.add(place)

    def put_back(self, module: str, at: float = 0.0) -> None:
        place = self._places[module]
        self._return_tokens(place)
        if at:
            self._not_before[place] = at
        self._left += 1
        if place < self._opened:
            self._add_if_ready(place)

    def holds(self, module: str, token: str) -> bool:
        """Whether the step holds the token while it runs, of those that orch hands out."""
        return token in self._needs.get(module, {})

    def end(self, module: str) -> None:
        place = self._places[module]
        if self._has_ended[place]:
            return
        has_run = place in self._holders
        if has_run:
            self._return_tokens(place)
        else:
            self._left -= 1
            self._not_before.pop(place, None)
            self._remove_ready(place)
        self._has_ended[place] = True
        if not has_run and place in self._alone:
            self._alone.remove(place)
        while self._ended_prefix < len(self.modules) and self._has_ended[self._ended_prefix]:
            self._ended_prefix += 1
        for follower in self._followers[place]:
            self._missing[follower] -= 1
            if follower < self._opened:
                self._add_if_ready(follower)
        self._open()

    def follow(self, other: StepQueue) -> None:
        """What has ended, is running or waits to be tried again there has done so here. All of its steps are among
        these."""
        for place, module in enumerate(other.modules):
            if other._has_ended[place]:
                self.end(module)
        for place, module in enumerate(other.modules):
            if place in other._holders:
                self.take(module)
            elif place in other._not_before:
                self._not_before[self._places[module]] = other._not_before[place]

    def _open(self) -> None:
        """A step that runs alone and was blocked before its turn keeps no other from starting."""
        while self._opened < len(self.modules):
            place, one = self._opened, self._waits[self._opened]
            if not self._has_ended[place]:
                last_alone = self._alone[-1] + 1 if self._alone else 0
                if max(one.all_before, place if one.is_alone else last_alone) > self._ended_prefix:
                    return
                if one.is_alone:
                    self._alone.append(place)
            self._opened += 1
            self._add_if_ready(place)

    def _add_if_ready(self, place: int) -> None:
        is_idle = not (self._has_ended[place] or place in self._holders)
        if is_idle and not self._missing[place]:
            insort(self._ready.setdefault(self._needs_of(place), []), place)

    def _remove_ready(self, place: int) -> None:
        places = self._ready.get(self._needs_of(place), [])
        at = bisect_left(places, place)
        if places[at : at + 1] == [place]:
            del places[at]

    def _first(self, places: Sequence[int], now: float) -> int | None:
        """The first of these that need not wait until it is tried again."""
        held = self._not_before
        return next((one for one in places if one not in held or now >= held[one]), None)

    def _needs_of(self, place: int) -> _Needs:
        needs = self._needs.get(self.modules[place])
        return tuple(needs.items()) if needs else ()

    def _return_tokens(self, place: int) -> None:
        self._holders.discard(place)
        for token, count in self._needs_of(place):
            self._free[token] += count


def can_overlap(queue: StepQueue) -> bool:
    """Whether two of these steps can ever run at the same time. Uses the queue up."""
    while (module := queue.next(0.0)) is not None:
        queue.take(module)
        if queue.next(0.0) is not None:
            return True
        queue.end(module)
    return False


def one_by_one(modules: Sequence[str]) -> StepQueue:
    """The steps in order, each alone."""
    return StepQueue(modules, [Waits(0, is_alone=True)] * len(modules), {}, {})


def build_queue(
    plan: Plan, registry: Registry, project: Project, has_known_use: Callable[[Tool], bool]
) -> StepQueue | None:
    """The steps as they may run side by side; None if no two of them may. Only one tool at a time may write to a
    SQLite database, or have a DuckDB file open."""
    waits = find_waits(plan.steps, registry, has_known_use)
    tools = [step.tool for step in plan.steps]
    needs = {tool.module: tool.tokens for tool in tools if tool.tokens}
    if _is_sqlite(registry, project):
        for tool in tools:
            if not takes_connection(tool, registry):
                continue
            flow = registry.flows.get(tool.module, NO_DATAFLOW)
            if flow.tables_written or not has_known_use(tool):
                needs[tool.module] = {**tool.tokens, WRITES: 1}
    elif _is_duckdb(registry, project):
        for tool in tools:
            if takes_connection(tool, registry):
                needs[tool.module] = {**tool.tokens, OPENS: 1}
    modules, tokens = [tool.module for tool in tools], {**project.tokens, WRITES: 1, OPENS: 1}
    if not can_overlap(StepQueue(modules, waits, needs, tokens)):
        return None
    return StepQueue(modules, waits, needs, tokens)


def nothing_to_overlap(plan: Plan, registry: Registry, project: Project) -> Problem:
    """What to say where more than one worker was asked for and `build_queue` gives None."""
    message = (
        "no two of these tools may run at the same time, so more than one worker does not help"
    )
    hint = "orch check --jobs shows what each waits for, and which AFTER would change it"
    tools = [step.tool for step in plan.steps]
    if any(takes_connection(tool, registry) for tool in tools):
        if _is_sqlite(registry, project):
            hint = "only one tool at a time can write to SQLite; PostgreSQL takes several"
        elif _is_duckdb(registry, project):
            hint = "only one process at a time can open a DuckDB file; PostgreSQL takes several"
    return Problem(code="nothing-to-overlap", message=message, hint=hint, severity="warning")


def _is_sqlite(registry: Registry, project: Project) -> bool:
    return project.database.startswith("sqlite:") and not uses_get_connection(registry, project)


def _is_duckdb(registry: Registry, project: Project) -> bool:
    if not uses_get_connection(registry, project) or registry.conf is None:
        return project.database.startswith("duckdb:")
    with (
        suppress(OSError),
        open(os.path.join(project.root, registry.conf.path), errors="replace") as file,
    ):
        return bool(_IMPORTS_DUCKDB.search(file.read()))
    return False
