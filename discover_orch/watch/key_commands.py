"""What each key does to a watch: it answers at once, in a sentence, whatever is going on.

In: a key as it was typed. Out: the answer, and what the run that is going on is asked for. It changes the course of
the watch, and reads no keys itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from discover_orch.watch.outbox import Outbox
from discover_orch.watch.project_state import WatchedProject
from discover_orch.watch.schedule import Schedule


class KeyCommands:
    """`look_again` is what follows a pause: it takes in all that has changed meanwhile, and gives what the run that is
    going on is asked for."""

    def __init__(
        self,
        watched: WatchedProject,
        schedule: Schedule,
        telling: Outbox,
        look_again: Callable[[], list[str]],
    ) -> None:
        self._watched, self._schedule = watched, schedule
        self._telling, self._look_again = telling, look_again

    def press(self, key: str) -> list[str]:
        """Do it, and answer; the wishes for the run that is going on."""
        watched, schedule = self._watched, self._schedule
        key = key.strip().lower()
        match key:
            case "" | "r":
                return self._ask(key, schedule.latest or watched.targets, "what ran last")
            case "a":
                return self._ask(key, watched.targets, "everything")
            case "f":
                failed = schedule.failed
                below = watched.registry.downstream(failed) if failed else ()
                return self._ask(key, [one for one in watched.targets if one in below], "failed")
            case "c" if schedule.is_running:
                return self._answer(key, "cancelling", "cancel")
            case "c":
                return self._answer(key, "nothing is running")
            case "s":
                return self._answer(key, f"scope: {schedule.turn_scope()}")
            case "p" if schedule.is_paused:
                schedule.is_paused = False
                self._answer(key, "watching again")
                return self._look_again()
            case "p":
                schedule.is_paused = True
                return self._answer(key, "paused: changes wait (p goes on)")
            case "q":
                schedule.is_over = True
                return self._answer(key, "bye", "interrupt") if schedule.is_running else []
            case "h" | "?":
                return self._answer("h")
            case _:
                return self._answer(key, f'"{key}" is no key (h shows them)')

    def _ask(self, key: str, tools: Collection[str], why: str) -> list[str]:
        """Run these now; what is going on makes way."""
        watched, schedule = self._watched, self._schedule
        wanted = [one for one in tools if one in watched.targets]
        if watched.problems:
            return self._answer(key, "nothing can be run before what was told is mended")
        if not wanted:
            return self._answer(
                key, "nothing has failed" if key == "f" else "there is nothing to run"
            )
        ready = schedule.enqueue(wanted, f"asked for: {why}")
        waits = f"; {', '.join(watched.waiting)}: not before the mend" if watched.waiting else ""
        if not ready:
            return self._answer(key, f"nothing can be run now{waits}")
        schedule.make_way()
        if not schedule.is_running:
            return self._answer(key, f"running {why}{waits}")
        return self._answer(key, f"cancelling, then running {why}{waits}", "cancel")

    def _answer(self, key: str, sentence: str = "", *wishes: str) -> list[str]:
        self._telling.answer(key, sentence)
        return list(wishes)
