"""Carries out random histories, and compares the project after each `run --changed` with one run from scratch.

A check runs `orch run --changed`. Then the data must equal that of a copy of the project run from scratch, nothing may
be stale, and before and after it `status`, `run --changed -n`, `run --changed` and `run --resume -n` must agree.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from tests.support.fork_server import ORCH_AND_WORKERS, ForkServer, has_ended
from tests.support.histories import History, Step, change, random_history, script, smaller
from tests.support.project_builder import Answer
from tests.support.promises import IllFormed, Wrong, shrink
from tests.support.worlds import State, world_files

DEADLINE = 60.0


@dataclass
class Play:
    """One history, carried out in a folder of its own."""

    jobs: ClassVar[int] = 1  # workers, but one for the copy that is run from scratch
    executor: ClassVar[str] = ""  # that of this machine for the copy
    when_busy: ClassVar[tuple[str, ...]] = ()  # what a command that runs tools gets besides
    history: History
    server: ForkServer
    folder: Path
    state: State = field(default_factory=State)
    scratch: dict[str, dict[str, Any]] = field(default_factory=dict)
    tells: Callable[[str], None] = lambda _: None
    may_run: set[str] = field(default_factory=set)  # as the last dry run said
    #: How often a second `run --changed` was needed, in all histories.
    needed_again: ClassVar[int] = 0

    @property
    def root(self) -> Path:
        return self.folder / "project"

    def go(self) -> None:
        self._write(self.root)
        for number, step in enumerate(self.history.steps):
            self.tells(f"{number}: {step}")
            try:
                self._do(step)
            except Wrong as error:
                error.add_note(f"after step {number + 1} ({step.kind})")
                raise

    def _do(self, step: Step) -> None:
        if step.kind in ("run", "changed", "resume"):
            self._run(step)
            self._agree()
        elif step.kind == "check":
            self._check()
        else:
            change(self.state, step)
            if step.kind == "remove":
                for path in self.root.glob(f"{step.name}*"):
                    path.unlink()
            elif step.kind == "drop":
                self._drop(step.name)
            self._write(self.root)
            if step.name in self.state.deleted:
                self._remove_logs(step.name)

    def _write(self, root: Path) -> None:
        """Write the user's files, if they differ."""
        files = world_files(self.history.world, self.state, self.history.gates())
        (root.parent / "side").mkdir(exist_ok=True, parents=True)
        for name, text in files.items():
            path = root / name
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
        tools = (f"src/{tool.name}.py" for tool in self.history.world.tools)
        for name in (*self.history.world.inputs(), *tools):
            if name not in files:
                (root / name).unlink(missing_ok=True)

    def _remove_logs(self, deleted: str) -> None:
        """What a deleted tool has left keeps those stale that list its folder, until the user removes it."""
        tools = self.history.world.tools
        logs = {op.name: tool.name for tool in tools for op in tool.ops if op.kind == "log"}
        for name, last in logs.items():
            if last == deleted:
                (self.root / name).unlink(missing_ok=True)

    def _drop(self, table: str) -> None:
        if (self.root / "data.db").exists():
            with closing(sqlite3.connect(self.root / "data.db", isolation_level=None)) as conn:
                conn.execute(f"DROP TABLE IF EXISTS {table}")

    def _orch(self, *words: str, meanwhile: Callable[[int], None] | None = None) -> Answer:
        return self._orch_in(self.root, *words, meanwhile=meanwhile)

    def _orch_in(
        self, root: Path, *words: str, meanwhile: Callable[[int], None] | None = None
    ) -> Answer:
        if self._takes_since() and self.state.since and "--resume" not in words:
            words = (*words, "--since", self.state.since)
        env = self.state.variables
        if root == self.root and self.jobs > 1:
            env = env | {"ORCH_JOBS": str(self.jobs)}
        if root == self.root and self.executor:
            env = env | {"ORCH_EXECUTOR": self.executor}
        return self.server.run(root, *words, env=env, meanwhile=meanwhile)

    def _takes_since(self) -> bool:
        return bool(self._takers())

    def _takers(self) -> set[str]:
        """The tools with a parameter."""
        return {
            tool.name
            for tool in self.history.world.tools
            if tool.name not in self.state.deleted and "param" in {op.kind for op in tool.ops}
        }

    def _run(self, step: Step) -> None:
        words = {"run": ("run", *step.words), "changed": ("run", "--changed")}
        given = [*words.get(step.kind, ("run", "--resume")), "--json", *self.when_busy]
        takers = self._takers()
        is_partial = step.kind == "run" and step.words
        if is_partial and self.state.since and takers and not takers & {*step.words}:
            self._run_without(given, step)
            return
        answer = self._with_end(step, lambda meanwhile: self._orch(*given, meanwhile=meanwhile))
        self._expect_end(answer, step)

    def _run_without(self, given: list[str], step: Step) -> None:
        """Without the parameter, which none of the targets takes."""
        answer = self._with_end(
            step,
            lambda meanwhile: self.server.run(
                self.root, *given, env=self.state.variables, meanwhile=meanwhile
            ),
        )
        self._expect_end(answer, step)

    def _expect_end(self, answer: Answer, step: Step) -> None:
        if step.kind == "resume" and "none of its tools exists now" in answer.text:
            return  # all of them were deleted, and nothing runs
        if answer.code not in (0, 1, -signal.SIGKILL):
            raise Wrong(f"exit {answer.code}", answer.text)
        if answer.code == -signal.SIGKILL and step.end != "kill":
            raise Wrong("killed", answer.text)

    def _with_end(
        self, step: Step, run: Callable[[Callable[[int], None] | None], Answer]
    ) -> Answer:
        if not step.end:
            return run(None)
        flag = self.folder / f"{'fail' if step.end == 'fail' else 'hold'}-{step.tool}"
        held = self.folder / f"held-{step.tool}"
        flag.touch()
        try:
            return run((lambda pid: kill_when_held(pid, held)) if step.end == "kill" else None)
        finally:
            flag.unlink()
            if held.exists():
                held.rmdir()

    # What must be true.

    def _status(self) -> dict[str, Any]:
        answer = self._orch("status", "--json")
        if answer.code:
            raise Wrong(f"exit {answer.code}", answer.text)
        return {tool["name"]: tool for tool in answer.json["tools"]}

    def _agree(self) -> tuple[list[str], dict[str, Any]]:
        """The stale tools in order, and what `status` says; all commands that only look must agree."""
        status = self._status()
        stale = {name: tool["reasons"] for name, tool in status.items() if tool["state"] != "fresh"}
        answer = self._orch("run", "--changed", "-n", "--json")
        if answer.code:
            raise Wrong(f"exit {answer.code}", answer.text)
        would_run = [tool["name"] for tool in answer.json["tools"]]
        self.may_run = {tool["name"] for tool in answer.json["tools"] if tool.get("may_run")}
        if {*would_run} != {*stale}:
            raise Wrong(
                "status and run --changed -n differ", f"stale {stale}, would run {would_run}"
            )
        self._compare_resume({*stale})
        return would_run, status

    def _compare_resume(self, stale: set[str]) -> None:
        """What the resumed run recorded, less what passed in it and is fresh."""
        answer = self._orch_plain("run", "--resume", "-n")
        found = re.search(r"resuming run (\d+)", answer.out)
        if answer.code not in (0, 2):
            raise Wrong(f"exit {answer.code}", answer.text)
        if found is None or self.state.since:
            return  # where the run had another value, other tools are stale
        dry = self._orch_plain("run", "--resume", "-n", "--json")
        would_resume = {tool["name"] for tool in dry.json["tools"]}
        runs = self._orch_plain("history", "--json").json["runs"]
        (recorded,) = (run["tools"] for run in runs if run["run"] == found[1])
        # What was fresh was not in its plan.
        statuses = {tool["name"]: tool["status"] for tool in recorded if tool["status"] != "fresh"}
        unfinished = {one for one, status in statuses.items() if status != "passed"}
        extra = would_resume - unfinished - stale
        missing = (stale & {*statuses}) - would_resume
        if extra or missing:
            raise Wrong(
                "run --resume -n and status differ",
                f"fresh and run {extra}, stale and not run {missing}, resumes run {found[1]}",
            )

    def _orch_plain(self, *words: str) -> Answer:
        return self.server.run(self.root, *words, env=self.state.variables)

    def _check(self) -> None:
        would_run, before = self._agree()
        reasons = {name: before[name]["reasons"] for name in would_run}
        started = self._run_changed()
        self._compare_with_plan(started, would_run)
        again, after = self._agree()
        if again:
            Play.needed_again += 1
            if all(flow(before[name]) == flow(after[name]) for name in after):
                still = {name: after[name]["reasons"] for name in again}
                raise Wrong("stale after run --changed", f"{still}, it ran {reasons}")
            self._run_changed()
            again, after = self._agree()
            if again:
                still = {name: after[name]["reasons"] for name in again}
                raise Wrong("stale after run --changed twice", still)
        self._compare_with_scratch(f"it had run {reasons}")

    def _compare_with_scratch(self, story: str) -> None:
        found, expected = self._data(self.root), self._from_scratch()
        if found != expected:
            keys = [key for key in {**found, **expected} if found.get(key) != expected.get(key)]
            told = {key: (found.get(key), expected.get(key)) for key in keys}
            raise Wrong("not as from scratch", f"(found, expected) {told}; {story}")

    def _compare_with_plan(self, started: list[str], would_run: list[str]) -> None:
        """A tool that may run need not, and one that was fresh may have become stale."""
        said = [name for name in would_run if name in started or name not in self.may_run]
        ran = [name for name in started if name in would_run]
        if self.jobs > 1:  # side by side, they start in another order
            said, ran = sorted(said), sorted(ran)
        if ran != said:
            text = f"said {would_run}, of which {sorted(self.may_run)} may run, and ran {started}"
            raise Wrong("run --changed and -n differ", text)

    def _run_changed(self) -> list[str]:
        answer = self._orch("run", "--changed", "--json")
        if answer.code:
            errors = [event["error"] for event in answer.events if event.get("error")]
            told = [
                event.get("text", "") for event in answer.events if event["event"] == "tool_output"
            ]
            raise Wrong("run --changed failed", f"{answer.code} {errors} {told} {answer.err}")
        return [event["name"] for event in answer.events if event["event"] == "tool_started"]

    def _from_scratch(self) -> dict[str, Any]:
        key = self.state.key()
        if key not in self.scratch:
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            root = folder / "project"
            self._write(root)
            answer = self._orch_in(root, "run", "--json")
            if answer.code:
                raise IllFormed(answer.text)
            self.scratch[key] = self._data(root)
            shutil.rmtree(folder)
        return self.scratch[key]

    def _data(self, root: Path) -> dict[str, Any]:
        """What tools have made: tables, files but logs, and what is outside the project."""
        found: dict[str, Any] = {}
        if (root / "data.db").exists():
            with closing(sqlite3.connect(root / "data.db")) as conn:
                for (name,) in conn.execute(
                    "SELECT name FROM sqlite_master WHERE name NOT LIKE '%orch%'"
                ).fetchall():
                    found[name] = sorted(conn.execute(f"SELECT x FROM {name}").fetchall())
        for folder in ("out", "../side"):
            for path in sorted((root / folder).iterdir()):
                if path.suffix != ".log":
                    found[f"{folder}/{path.name}"] = path.read_text()
        return found


class FourWorkersPlay(Play):
    jobs = 4


class CommandPlay(Play):
    jobs = 2
    executor = "command"


def flow(tool: dict[str, Any]) -> str:
    return json.dumps([tool["reads"], tool["writes"]], sort_keys=True)


def kill_when_held(pid: int, held: Path) -> None:
    """Wait until the tool waits, or the command has ended without running it."""
    deadline = time.monotonic() + DEADLINE
    while not held.exists() and not has_ended(pid):
        if time.monotonic() > deadline:
            raise Wrong("the tool was not reached")
        select.select([], [], [], 0.002)
    if held.exists():
        os.kill(pid, signal.SIGKILL)


# ---- running many, and shrinking what fails ----


#: Makes the history of a seed.
Maker = Callable[[int], History]


def failure(history: History, server: ForkServer, play: type[Play] = Play) -> Wrong | None:
    """What orch did wrong in this history."""
    with tempfile.TemporaryDirectory(prefix="orch-world-") as folder:
        try:
            play(history, server, Path(folder)).go()
        except Wrong as error:
            return error
        except AssertionError as error:  # waited in vain
            return Wrong("no answer", error)
    return None


def first_failure(
    seeds: Iterable[int], make: Maker = random_history, play: type[Play] = Play
) -> str:
    """What went wrong with the first seed that fails, with the smallest history found; "" for nothing."""
    with ForkServer(ORCH_AND_WORKERS) as server:
        for seed in seeds:
            history = make(seed)
            told = failure(history, server, play)
            if told is not None:
                small, told = shrink(
                    history, told, smaller, partial(failure, server=server, play=play)
                )
                return f"seed {seed}: {told.describe()}\n\n{script(small)}\n{small}"
    return ""
