"""Carries out random histories while `orch watch` runs: when it waits, nothing may be stale, and the project must be as
one that was run from scratch.

The user edits files one after another, in part while a run is in progress. Some tools fail until the user presses a
key, some are stopped by an edit, and sometimes the watch is killed. Other programs write to the database, and other
commands run tools; that starts nothing by contract, so the user presses a key for it.
"""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.differential import DEADLINE, Play
from tests.support.editors import save
from tests.support.histories import History, Step, change, random_history
from tests.support.promises import Wrong
from tests.support.watching import NUMBERS, SENTINEL, Watching, sentinel_text, watching
from tests.support.worlds import ALL

#: Without what cannot change while a process runs: its environment and its parameters.
KINDS = tuple(kind for kind in ALL if kind not in ("variable", "param", "resume"))
#: Seconds in which a watch compares all files, whatever events have come.
COMPARED = 5.0


def random_watch_history(seed: int, kinds: Collection[str] = KINDS) -> History:
    """A random history in which the user sometimes waits until the watch does, and seldom types other commands."""
    history = random_history(seed, kinds)
    chance = random.Random(seed)
    steps: list[Step] = []
    for step in history.steps:
        if step.kind not in ("run", "changed") or step.end or chance.random() < 0.2:
            steps.append(step)
        if chance.random() < 0.4:
            steps.append(Step("wait"))
    return replace(history, steps=tuple(steps))


class WatchPlay(Play):
    """One history beside a watch. `_is_excused`: there may be stale tools for which the watch starts nothing."""

    # Events of several folders may come in another order than the saves: the watch may run once more after its sentinel.
    when_busy = ("--if-busy", "wait")
    _watch: Watching
    _is_excused = False
    _number = _seen = _changes = (
        0  # of the latest save of the sentinel, of the runs and the changes before it
    )

    def go(self) -> None:
        with contextlib.ExitStack() as self._open:
            self._write(self.root)
            self._start()
            super().go()

    def _start(self) -> None:
        self._watch = self._open.enter_context(watching(self.root))

    def _do(self, step: Step) -> None:
        match step.kind, step.end:
            case "wait", _:
                self._settle()
            case "check", _:
                self._check()
            case _, "fail":
                self._fail(step)
            case _, "kill":
                self._hold(step)
            case "run" | "changed", _:
                self._settle()
                self._is_excused |= step.kind == "run"
                self._run(step)
            case _:
                self._is_excused |= step.kind == "drop" or step.name == "data.db"
                super()._do(step)

    def _edit(self, tool: str) -> None:
        change(self.state, Step("edit", tool))
        self._write(self.root)

    def _fail(self, step: Step) -> None:
        """The tool is edited and fails; then the user mends what was wrong, which is no file, and presses a key."""
        flag = self.folder / f"fail-{step.tool}"
        flag.touch()
        self._edit(step.tool)
        self._settle()
        flag.unlink()
        self._press("f")

    def _hold(self, step: Step) -> None:
        """The tool is edited, and while it runs it is edited again, or the watch is killed."""
        held = self.folder / f"held-{step.tool}"
        flag = self.folder / f"hold-{step.tool}"
        flag.touch()
        since = len(self._watch.events)
        self._edit(step.tool)
        try:
            self._wait_until_held(held, since)
        finally:
            flag.unlink()
        if step.words:
            self._watch.send(signal.SIGKILL)
            self._watch.wait()
        if held.exists():
            held.rmdir()
        if step.words:
            self._start()
        else:
            self._edit(step.tool)

    def _wait_until_held(self, held: Path, since: int) -> None:
        """Until the tool waits, or the watch does because something before the tool has failed."""
        deadline = time.monotonic() + DEADLINE
        while not held.exists():
            kinds = [one["event"] for one in self._watch.events[since:]]
            if "run_finished" in kinds and kinds[-1] == "watching":
                return
            if time.monotonic() > deadline:
                raise Wrong("the tool was not reached", self._watch.story())
            self._watch.read_for(0.005)

    # When the watch waits.

    def _settle(self) -> None:
        """All edits before this are judged, and what they started has ended."""
        while True:
            self._number, self._seen = next(NUMBERS), len(self._watch.runs)
            self._changes = len(self._watch.all_events("changed"))
            save(self.root / SENTINEL, sentinel_text(self._number))
            self._watch.until(self._has_run, f"the sentinel's run {self._number}")
            last = self._watch.runs[-1]
            self._watch.until_idle(last.end)
            if last.tools == ("sentinel",) or self._is_blocked():
                return

    def _has_run(self) -> bool:
        """Whether the sentinel has run, or was not reached because another tool failed."""
        return (
            any(
                run.output.get("sentinel") == f"{self._number}\n"
                or (run.status == "failed" and "sentinel" in run.tools)
                for run in self._watch.runs[self._seen :]
            )
            or self._is_blocked()
        )

    def _is_blocked(self) -> bool:
        """Whether a tool that has failed, and of which it is not known what it writes, keeps the sentinel from running."""
        changed = self._watch.all_events("changed")[self._changes :]
        waits = self._watch.all_events("watching")[-1:] if changed else []
        return any("sentinel" in one["blocked"] for one in (*changed, *waits))

    def _press(self, key: str) -> None:
        self._watch.press(key)
        self._watch.wait_for("key")
        self._settle()

    def _check(self) -> None:
        if self._is_excused:
            self._settle()
            self._press("a")
            self._is_excused = False
        stale, status = self._find_stale()
        if stale:
            told = {name: status[name]["reasons"] for name in stale}
            raise Wrong("stale while the watch waits", f"{told}\n{self._watch.story()}")
        self._compare_with_scratch(self._watch.story())

    def _find_stale(self) -> tuple[list[str], dict[str, Any]]:
        """What is stale when the watch waits. Events of several folders may come in another order, so the sentinel's run
        does not prove that they have come; a comparison finds what they would tell."""
        deadline = time.monotonic() + COMPARED
        while True:
            self._settle()
            is_last = time.monotonic() > deadline
            try:
                stale, status = self._agree()
            except Wrong:  # a run has started between two commands
                if is_last:
                    raise
                continue
            if not stale or is_last:
                return stale, status
