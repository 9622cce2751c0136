"""What each key does in a watch. Every key is answered at once, in a sentence, during a run too.

Reads no keys itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from discover_orch.watch.events import KeyAnswered, Outbox, Scope
from discover_orch.watch.project import WatchedProject
from discover_orch.watch.schedule import Schedule

SCOPE_MEANINGS: Mapping[Scope, str] = {
    "affected": "runs the stale tools of the affected stages",
    "stage": "runs all tools of the affected stages",
    "tool": "runs only the tools whose own code or inputs changed",
}


class KeyCommands:
    """Keys act at once, also in a pause. They schedule, and the loop runs."""

    def __init__(
        self,
        watched: WatchedProject,
        schedule: Schedule,
        outbox: Outbox,
    ) -> None:
        self._watched, self._schedule, self._outbox = watched, schedule, outbox

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
                downstream = watched.registry.downstream(watched.failing)
                tools = [module for module in watched.targets if module in downstream]
                return self._run(key, tools, "the failed tools")
            case "c" if schedule.is_running:
                return self._answer(key, "cancelling", "cancel")
            case "c":
                return self._answer(key, "nothing is running")
            case "s":
                scope = schedule.next_scope()
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
        schedule.request_run()
        if not schedule.is_running:
            return self._answer(key, f"running {what}{waits}")
        return self._answer(key, f"cancelling, then running {what}{waits}", "cancel")

    def _answer(self, key: str, sentence: str = "", *requests: str) -> list[str]:
        self._outbox.add(KeyAnswered(key=key, sentence=sentence))
        return list(requests)
