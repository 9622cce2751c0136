"""`orch watch --json` while it runs: its events, its runs as values, keys and signals.

Every wait has a deadline, and nothing sleeps. That nothing was run is proved by what comes next: `settle` saves the
sentinel, a tool that nothing else touches, and returns the runs before its own. A failing test shows all events so
far.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from discover_orch.watch.file_events import LATE
from tests.support.editors import save
from tests.support.fork_server import ORCH_FORKER
from tests.support.forker import Order, can_fork, find_forker
from tests.support.project_builder import clean_environment
from tests.support.running import DEADLINE, SIGNALS, find_marked, is_gone, wait_until

Event = dict[str, Any]
# Seconds until no process may be left; two are promised, on a machine that is not busy.
TIME_TO_GO = 30.0
SENTINEL = "src/sentinel.py"
MARK = "WATCH_TEST_MARK"  # in the environment of all that a watch starts
#: A tool that only prints would else be downstream of all tools of earlier stages, since its data flow is unknown.
ALL_IS_SEEN = 'ORCH = {"inputs": [], "outputs": []}'


def tool_text(
    version: int | str = 0, *, stage: str = "s", top: str = "", takes: str = "", body: str = ""
) -> str:
    """A tool that prints its version; `top` is put before `run`, and `body` into it, before the print. All that it
    reads and writes is seen, unless `top` has an `ORCH` of its own."""
    tag = "" if "ORCH =" in top else ALL_IS_SEEN
    lines = [top, tag, f'STAGE = "{stage}"', f"VERSION = {version}", f"def run({takes}):"]
    lines += ["    " + line for line in body.splitlines()]
    return "\n".join([*lines, "    print(VERSION)", ""])


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run, from its `run_started` to its `run_finished`."""

    tools: tuple[str, ...]  # as planned, in order
    status: str
    exit_code: int
    ended: Mapping[str, str]  # status by tool
    errors: Mapping[str, Event]
    output: Mapping[str, str]  # what it printed, by tool
    end: int  # of how many events it was the last


@dataclass
class _Unfinished:
    tools: tuple[str, ...]
    ended: dict[str, str] = field(default_factory=dict)
    errors: dict[str, Event] = field(default_factory=dict)
    output: dict[str, str] = field(default_factory=dict)


# Of sentinels: none like another, also in a project that is watched again.
NUMBERS = itertools.count(1)


class Watching:
    """One `orch watch --json`, its events so far, and the keys and signals for it."""

    def __init__(self, root: Path, pid: int, out: int, keys: int, errors: Path, mark: str) -> None:
        self.root = root
        self.pid = pid
        self.events: list[Event] = []
        self.runs: list[Run] = []
        self.out = out
        self._keys = keys
        self._errors = errors
        self._mark = mark
        self._half_line = b""
        self._looked = 0  # events that `wait_for` has been through
        self._taken = 0  # runs that `next_run` has given
        self._run: _Unfinished | None = None
        self._status: int | None = None

    # Its events

    def wait_for(self, event: str, **match: object) -> Event:
        """The next event of that kind with these values, after the one found last."""

        def fits(one: Event) -> bool:
            return one["event"] == event and all(one.get(k) == v for k, v in match.items())

        return self.wait_for_one(fits, f"{event} {match or ''}")

    def wait_for_one(self, fits: Callable[[Event], bool], what: str) -> Event:
        deadline = time.monotonic() + DEADLINE
        while True:
            while self._looked < len(self.events):
                one = self.events[self._looked]
                self._looked += 1
                if fits(one):
                    return one
            self._must_read(deadline, what)

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Read events until this is so; those that were read can still be waited for."""
        deadline = time.monotonic() + DEADLINE
        while not is_so():
            self._must_read(deadline, what)

    def next_run(self, *, then_idle: bool = True) -> Run:
        """The run after the one returned last, once it is over; then wait until the watch waits again."""
        self.until(lambda: len(self.runs) > self._taken, "another run")
        run = self.runs[self._taken]
        self._taken += 1
        if then_idle:
            self.until_idle(run.end)
        return run

    def until_idle(self, since: int) -> None:
        """Wait for a `watching` event after the first `since` events."""
        self.until(
            lambda: any(one["event"] == "watching" for one in self.events[since:]), "the waiting"
        )

    def all_events(self, event: str) -> list[Event]:
        return [one for one in self.events if one["event"] == event]

    # What a test does to it

    def settle(self) -> list[Run]:
        """The runs that were not returned yet, before a run of the sentinel alone.

        To be called while the watch waits: runs because of an earlier save come before the sentinel's.
        """
        number = next(NUMBERS)
        save(self.root / SENTINEL, sentinel_text(number))

        def has_run() -> bool:
            return any(run.output.get("sentinel") == f"{number}\n" for run in self.runs)

        self.until(has_run, f"the sentinel's run {number}")
        *before, last = self.runs[self._taken :]
        self._taken = len(self.runs)
        assert (last.tools, last.status) == (("sentinel",), "passed"), self.story()
        self.until_idle(last.end)
        return before

    def runs_within(self, seconds: float) -> int:
        """The number of further runs in this time: for promises about time itself."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        return len(self.runs) - self._taken

    def read_for(self, seconds: float) -> None:
        """Read what comes within this time."""
        self._read(time.monotonic() + seconds)

    def press(self, key: str = "") -> None:
        os.write(self._keys, f"{key}\n".encode())

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """It is stopped meanwhile, so that all changes of this time are one burst for it: their events come late."""
        self.send(signal.SIGSTOP)
        wait_until(self._has_stopped, "its threads to stop")
        try:
            yield
            time.sleep(2 * LATE)
        finally:
            self.send(signal.SIGCONT)

    def _has_stopped(self) -> bool:
        """The signal reaches the threads one by one, and each can still handle an event before."""
        threads = [one.read_text() for one in Path(f"/proc/{self.pid}/task").glob("*/stat")]
        return all(one.rpartition(")")[2].split()[0] == "T" for one in threads)

    # Its end

    def wait(self) -> int:
        """The exit code, or minus the signal that ended it; reads to the end first."""
        deadline = time.monotonic() + DEADLINE
        while self._read(deadline):
            pass
        if self._status is None:
            wait_until(self.has_ended, f"the end of orch watch:\n{self.story()}")
        assert self._status is not None
        return os.waitstatus_to_exitcode(self._status)

    def processes(self) -> set[int]:
        """The living processes among itself and all that it has started."""
        return {pid for pid in find_marked(self._mark) if not is_gone(pid)}

    def assert_no_process_left(self) -> None:
        deadline = time.monotonic() + TIME_TO_GO
        while left := self.processes():
            assert time.monotonic() < deadline, f"still there: {[*map(describe, left)]}"
            select.select([], [], [], 0.01)

    def close(self) -> None:
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.out)
        if self._keys >= 0:
            os.close(self._keys)

    # Its state

    @property
    def stderr(self) -> str:
        return self._errors.read_text(encoding="utf-8", errors="replace")

    def story(self) -> str:
        """For the message of a test that fails."""
        lines = [json.dumps(one) for one in self.events[-25:]]
        return "\n".join(["events:", *lines, "stderr:", self.stderr[-3000:]])

    def has_ended(self) -> bool:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self._status = status
        return bool(pid)

    def _must_read(self, deadline: float, what: str) -> None:
        if not self._read(deadline):
            raise AssertionError(f"waited in vain for {what}\n{self.story()}")

    def _read(self, deadline: float) -> bool:
        """Whether something came before the end and the deadline."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.out], [], [], left)[0]:
            return False
        data = os.read(self.out, 1 << 16)
        *lines, self._half_line = (self._half_line + data).split(b"\n")
        for line in lines:
            self._add(line)
        return bool(data)

    def _add(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, KeyError, TypeError):
            raise AssertionError(f"no JSON event: {line!r}\n{self.story()}") from None
        self.events.append(event)
        if kind == "run_started":
            assert self._run is None, f"two runs at once\n{self.story()}"
            self._run = _Unfinished(tuple(event["tools"]))
        run = self._run
        if run is None:
            return
        if kind == "tool_output":
            run.output[event["name"]] = run.output.get(event["name"], "") + event["text"]
        elif kind == "tool_finished":
            run.ended[event["name"]] = event["status"]
            if event.get("error"):
                run.errors[event["name"]] = event["error"]
        elif kind == "run_finished":
            self._run = None
            self.runs.append(
                Run(
                    tools=run.tools,
                    status=event["status"],
                    exit_code=event["exit_code"],
                    ended=run.ended,
                    errors=run.errors,
                    output=run.output,
                    end=len(self.events),
                )
            )


@contextlib.contextmanager
def watching(
    root: Path,
    *words: str,
    keys: str = "pipe",
    waits: bool = True,
    forks: bool = True,
    **environment: str,
) -> Iterator[Watching]:
    """`orch watch --json` in a process group of its own, once it waits after its first run.

    `keys` is its standard input: a pipe, nothing (/dev/null), or closed. With `waits=False` it has just been started.
    The sentinel is added to the project. Without `forks` it and its workers are new interpreters, which start later
    and have the mark in their environment.
    """
    if not (root / SENTINEL).exists():
        (root / SENTINEL).parent.mkdir(parents=True, exist_ok=True)
        (root / SENTINEL).write_text(sentinel_text(0))
    mark = f"mark-{os.getpid()}-{os.urandom(4).hex()}"
    errors = root.parent / f"stderr-{mark}"
    needs_own = keys == "closed" or any(one.startswith("PYTHON") for one in environment)
    forks = forks and can_fork() and not needs_own
    watch = _start(root, words, keys, errors, {MARK: mark, **environment}, forks=forks)
    try:
        if waits and "--no-initial" not in words:
            watch.next_run()
        elif waits:
            watch.until_idle(0)
        yield watch
    finally:
        watch.close()


def _start(
    root: Path,
    words: tuple[str, ...],
    keys: str,
    errors: Path,
    environment: Mapping[str, str],
    *,
    forks: bool,
) -> Watching:
    out, their_out = os.pipe()
    their_errors = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    their_keys, ours = os.pipe() if keys == "pipe" else (os.open(os.devnull, os.O_RDONLY), -1)
    words = ("-C", str(root), "watch", "--json", *words)
    start = _fork if forks else _spawn
    try:
        pid = start(words, environment, [(their_keys, 0), (their_out, 1), (their_errors, 2)], keys)
    finally:
        os.close(their_out)
        os.close(their_errors)
        os.close(their_keys)
    return Watching(root, pid, out, ours, errors, environment[MARK])


def _spawn(
    words: tuple[str, ...],
    environment: Mapping[str, str],
    given: list[tuple[int, int]],
    keys: str,
) -> int:
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "discover_orch", *words],
        clean_environment(**environment),
        file_actions=[
            (os.POSIX_SPAWN_CLOSE, 0)
            if target == 0 and keys == "closed"
            else (os.POSIX_SPAWN_DUP2, fd, target)
            for fd, target in given
        ],
        setpgroup=0,
        setsigdef=SIGNALS,
    )


def _fork(
    words: tuple[str, ...],
    environment: Mapping[str, str],
    given: list[tuple[int, int]],
    _: str,
) -> int:
    order = Order(
        what=words,
        folder=os.getcwd(),
        environment=clean_environment(**environment),
        given=given,
        default=SIGNALS,
    )
    return find_forker(ORCH_FORKER, clean_environment()).fork(order)


def sentinel_text(number: int) -> str:
    """A tool of a stage of its own, after all others."""
    return tool_text(number, stage="zz_sentinel")


def describe(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        return f"{pid}: {words.decode(errors='replace')[:200]}"
    return str(pid)
