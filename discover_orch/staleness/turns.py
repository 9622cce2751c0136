"""Judges each step of a run again when its turn comes: what ran before it may have made it fresh, or stale.

A download that brings the same file, or a helper that was edited without effect, reruns nothing downstream.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from discover_orch.staleness.fingerprint import Key, ToolResult
from discover_orch.staleness.reasons import Freshness
from discover_orch.staleness.status import WELL, Status


class Turns(Protocol):
    """What a run asks. It tells the ends of its tools."""

    def note(self, result: ToolResult) -> None:
        """A tool has ended."""

    def is_needed(self, module: str) -> bool:
        """Whether the tool has to run, now that its turn has come."""


class PlannedTurns:
    """The turns of a plan. `status` is what the plan was made of, and its `own` answer."""

    def __init__(
        self,
        status: Status,
        freshness: Mapping[str, Freshness],
        forced: Collection[str] = frozenset(),
    ) -> None:
        """`forced` tools run though they may be fresh."""
        self._status, self._forced = status, forced
        self._own = dict(status.own())
        self._is_stale = {module: not one.is_fresh for module, one in freshness.items()}
        self._written: set[Key] = set()
        self._passed: set[str] = set()  # in this run
        self._ended: dict[str, ToolResult] = {}  # and not looked at yet
        status.settle()

    def note(self, result: ToolResult) -> None:
        self._ended[result.module] = result

    def is_needed(self, module: str) -> bool:
        own = self._own[module]
        if module in self._forced or own.is_lasting:
            return True
        self._look_at_ended()
        if not self._written:
            return self._is_stale[module]
        if not self._is_stale[module] and self._written.isdisjoint(self._status.find_used(module)):
            return False
        self._own[module] = own = self._judge(module)
        if own.reasons:
            return True
        if module not in self._spread():
            return False
        # It may only be needed by a tool that is fresh by now.
        for other, one in self._own.items():
            if one.reasons and not one.is_lasting:
                self._own[other] = self._judge(other)
        return module in self._spread()

    def _look_at_ended(self) -> None:
        ended, self._ended = self._ended, {}
        self._written.update(self._status.note_results(ended.values()))
        for module, result in ended.items():
            if result.last.status in WELL:
                self._passed.add(module)
            self._own[module] = self._judge(module)

    def _judge(self, module: str) -> Freshness:
        return self._status.judge(module, has_just_run=module in self._passed)

    def _spread(self) -> Collection[str]:
        stale = [module for module, one in self._own.items() if one.reasons]
        return self._status.spread(stale) if stale else ()
