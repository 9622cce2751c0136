"""A watch in the process of the test, with a real project, real workers, and keys pressed between two events.

A test waits for events, never for a time. The watch calls `keys.drain` at least at every comparison, which fails the
test when the event does not come in time. That nothing was run is proved by a sentinel that is saved after it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from discover_orch.execution.events import Event, RunFinished, ToolFinished, ToolOutput
from discover_orch.planning.param_values import GivenParams
from discover_orch.watch.events import (
    KeyAnswered,
    RunStarting,
    Scope,
    WatchEvent,
    WatchWaiting,
)
from discover_orch.watch.loop import WatchLoop, WatchOptions
from discover_orch.watch.project import WatchRequest
from tests.support.project_builder import clean_environment
from tests.support.watching import ALL_IS_SEEN

DEADLINE = 60.0
SENTINEL = "src/sentinel.py"


class TypedKeys:
    """Keys that a test presses; also the deadline of the test's waiting."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.deadline = 0.0
        self.waits_for = ""
        self.seen: list[WatchEvent | Event] = []
        self._ring: Callable[[], None] = lambda: None

    def listen(self, ring: Callable[[], None]) -> None:
        self._ring = ring

    def press(self, *keys: str) -> None:
        self.lines += keys
        self._ring()

    def drain(self) -> list[str]:
        assert time.monotonic() < self.deadline, (
            f"{self.waits_for} did not come, but at last {self.seen[-12:]}"
        )
        taken, self.lines = self.lines, []
        return taken


class Ran:
    """One run, from its `RunStarting` to its end."""

    def __init__(self, began: RunStarting) -> None:
        self.began = began
        self.tools = tuple(step.tool.name for step in began.plan.steps)
        self.reasons = {step.tool.name: step.reason for step in began.plan.steps}
        self.ends: dict[str, str] = {}
        self.output = ""
        self.status = ""


class Watched:
    """A watch, its events so far, and what a test does to it."""

    def __init__(
        self,
        root: Path,
        *words: str,
        scope: Scope = "tool",
        preload: tuple[str, ...] | None = (),
        **options: Any,
    ) -> None:
        self.root = root
        self.keys = TypedKeys()
        self.seen: list[WatchEvent | Event] = []
        self.runs: list[Ran] = []
        self.code: int | None = None
        self._versions = 0
        self.watching = WatchLoop(
            WatchRequest(
                start=str(root), folder=None, words=words, values=GivenParams(folder=str(root))
            ),
            lambda _: WatchOptions(scope=scope, preload=preload, **options),
            clean_environment(),
        )
        self._events = self.watching.events(self.keys)

    def wait_for(self, what: str) -> None:
        """Set the deadline for this."""
        self.keys.waits_for, self.keys.seen = what, self.seen
        self.keys.deadline = time.monotonic() + DEADLINE

    def next(self) -> WatchEvent | Event | None:
        """The next event; None at the end."""
        try:
            one = next(self._events)
        except StopIteration as end:
            self.code = end.value
            return None
        self.seen.append(one)
        match one:
            case RunStarting():
                self.runs.append(Ran(one))
            case ToolOutput(text=text):
                self.runs[-1].output += text
            case ToolFinished(module=module, status=status):
                self.runs[-1].ends[module.rpartition(".")[2]] = status
            case RunFinished(status=status):
                self.runs[-1].status = status
            case _:
                pass
        return one

    def until(self, kind: type, fits: Callable[[Any], bool] = lambda _: True) -> Any:
        """The next of a kind."""
        self.wait_for(kind.__name__)
        while True:
            one = self.next()
            assert one is not None, f"ended before a {kind.__name__}: {self.seen[-12:]}"
            if isinstance(one, kind) and fits(one):
                return one

    def until_printed(self, text: str) -> None:
        self.until(ToolOutput, lambda one: text in one.text)

    def until_idle(self) -> list[Ran]:
        """The runs until the watch waits again."""
        before = len(self.runs)
        self.until(WatchWaiting)
        return self.runs[before:]

    def next_run(self) -> Ran:
        """The only run until the watch waits again."""
        (run,) = self.until_idle()
        return run

    def save(self, files: Mapping[str, str]) -> None:
        """Atomically."""
        for name, text in files.items():
            beside = self.root / "beside"
            beside.write_text(text)
            (self.root / name).parent.mkdir(exist_ok=True)
            os.replace(beside, self.root / name)

    def settle(self) -> list[Ran]:
        """Save the sentinel, and return the runs before its own."""
        self._versions += 1
        self.save({SENTINEL: tool(f"sentinel {self._versions}", stage="zz")})
        before = len(self.runs)
        self.until_printed(f"sentinel {self._versions}\n")
        self.until(WatchWaiting)
        *others, last = self.runs[before:]
        assert last.tools == ("sentinel",)
        return others

    def press(self, *keys: str) -> None:
        self.keys.press(*keys)

    def end(self) -> int | None:
        """Read to the end; the exit code."""
        self.wait_for("the end")
        while self.next() is not None:
            pass
        return self.code

    def all_of(self, kind: type) -> list[Any]:
        return [one for one in self.seen if isinstance(one, kind)]

    def close(self) -> None:
        self._events.close()


def tool(says: str = "0", *, stage: str = "s", top: str = "", body: str = "") -> str:
    """A tool that prints something after its `body`. All that it reads and writes is seen, unless `top` has an `ORCH`
    of its own."""
    tag = "" if "ORCH =" in top else ALL_IS_SEEN
    lines = ["import os, time", top, tag, f"STAGE = {stage!r}", "def run():"]
    lines += [f"    {line}" for line in body.splitlines()]
    return "\n".join([*lines, f"    print({says!r})", ""])


def gated(says: str = "0", *, stage: str = "s", top: str = "") -> str:
    """A tool that prints `begins`, and continues when there is a file `go`."""
    wait = "print('begins', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.002)"
    return tool(says, stage=stage, top=top, body=wait)


FILES = {
    "orch.toml": "stages = ['s', 't']\n",
    SENTINEL: tool("sentinel", stage="zz"),
    "src/a.py": tool("a0"),
    "src/b.py": tool("b0", top="from src import helper\nAFTER = 'a'"),
    "src/c.py": tool("c0", stage="t"),
    "src/helper.py": "x = 1\n",
}
ALL = ("a", "b", "c", "sentinel")

Watch = Callable[..., Watched]


def busy(watch: Watch, files: Mapping[str, str] | None = None, **more: Any) -> Watched:
    """A watch in whose first run a has finished, b is running and c waits."""
    gate = gated("b0", top="from src import helper\nAFTER = 'a'")
    watched = watch({"src/b.py": gate, **(files or {})}, waits=False, **more)
    watched.until_printed("begins")
    return watched


def let_go(watched: Watched) -> None:
    (watched.root / "go").touch()


def answer(watched: Watched, key: str) -> str:
    watched.press(key)
    sentence: str = watched.until(KeyAnswered, lambda one: one.key == key.strip().lower()).sentence
    return sentence
