"""Times whole processes side by side.

A round goes through all contestants, each first without state and bytecode, then a second time
with what the first has left. Rounds are repeated and medians taken, so that a machine that drifts
does so for everyone. Before the rounds each contestant is tried out and must prove that it did its
work; memory is taken then too, because looking at it takes time. Nothing here judges a figure.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from projects import Project

#: What of the user's own environment would change what is measured.
UNWANTED = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONPYCACHEPREFIX", "DATABASE_URL")
#: Seconds after which a file counts as not just changed, for everyone who asks.
SETTLED = 3.0
LOOK_EVERY = 0.002  # seconds between two looks at the memory


@dataclass(frozen=True)
class Contestant:
    """A command in a project of its own, and how one sees that it did its work."""

    label: str
    words: Sequence[str]
    project: Project
    must_print: str = ""
    must_run: int = 0  # so many tools


@dataclass
class Result:
    """Seconds of each round, and the peak of memory in bytes, or why there are none."""

    label: str
    first: list[float] = field(default_factory=list)
    second: list[float] = field(default_factory=list)
    first_memory: int = 0
    second_memory: int = 0
    note: str = ""


class TooLong(Exception):
    """The command was stopped at the limit."""


class Failed(Exception):
    """The command said that it failed, or did not do what it said."""


def measure(contestants: Sequence[Contestant], rounds: int, limit: int) -> list[Result]:
    """One result for each contestant, in their order."""
    results = [Result(contestant.label) for contestant in contestants]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no process and no folder
    time.sleep(SETTLED)
    tell("trying each once")
    pairs = list(zip(contestants, results, strict=True))
    for contestant, result in pairs:
        with noting(result):
            try_out(contestant, result, limit)
        if results[0].note:
            return results  # nothing to compare with
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}")
        start = number % len(pairs)
        for contestant, result in pairs[start:] + pairs[:start]:
            if result.note:
                continue
            with noting(result):
                contestant.project.reset()
                result.first.append(run(contestant, limit).seconds)
                result.second.append(run(contestant, limit).seconds)
    return results


@contextmanager
def noting(result: Result) -> Iterator[None]:
    """A contestant that fails or takes too long is out; the others go on."""
    try:
        yield
    except TooLong as problem:
        result.note = str(problem)
    except Failed as problem:
        result.note = f"failed: {problem}"


def try_out(contestant: Contestant, result: Result, limit: int) -> None:
    """Untimed: does it do its work, and with how much memory?"""
    with tempfile.TemporaryDirectory() as folder:
        proof = Path(folder) / "proof"
        more = {"BENCHMARK_PROOF": str(proof)} if contestant.must_run else {}
        peaks = []
        for _ in ("first", "second"):
            done = run(contestant, limit, more, is_watched=True)
            peaks.append(done.memory)
            if contestant.must_print not in done.output:
                raise Failed(f"does not print {contestant.must_print}: {ending(done.output)}")
            if contestant.must_run:
                ran = len(set(proof.read_text(encoding="utf-8").split())) if proof.exists() else 0
                proof.unlink(missing_ok=True)
                if ran != contestant.must_run:
                    raise Failed(f"{ran} tools ran, not {contestant.must_run}")
        result.first_memory, result.second_memory = peaks


@dataclass(frozen=True)
class Done:
    seconds: float
    memory: int
    output: str


def run(
    contestant: Contestant,
    limit: int,
    more: Mapping[str, str] | None = None,
    is_watched: bool = False,
) -> Done:
    """The command from its start to its end. Raises TooLong and Failed."""
    project = contestant.project
    environment = clean_environment(project.root.parent) | project.environment | dict(more or {})
    is_late = threading.Event()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        begin = time.perf_counter()
        process = subprocess.Popen(
            contestant.words,
            cwd=project.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # A wait with a timeout asks again and again, at growing distances, which blurs short times.
        timer = threading.Timer(limit, stop, [process, is_late.set])
        timer.start()
        try:
            memory = peak_memory(process) if is_watched else 0
            process.wait()
            seconds = time.perf_counter() - begin
        except BaseException:
            stop(process)
            process.wait()
            raise
        finally:
            timer.cancel()
        output.seek(0)
        text = output.read()
    if is_late.is_set():
        raise TooLong(f"over {limit} s")
    if process.returncode:
        raise Failed(f"exit code {process.returncode}: {ending(text)}")
    return Done(seconds, memory, text)


def ending(text: str) -> str:
    """The last of what a command said, on one line."""
    words = " ".join(text.split())
    return words if len(words) < 100 else f"... {words[-100:]}"


def stop(process: subprocess.Popen[bytes], before: Callable[[], None] = lambda: None) -> None:
    """End the process with all that belongs to its session's group."""
    if process.poll() is None:
        before()
        os.killpg(process.pid, signal.SIGKILL)


def clean_environment(home: Path) -> dict[str, str]:
    """The user's, less what would change the figures; nobody calls home."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in UNWANTED and not name.startswith("ORCH_")
    }
    return environment | {"HOME": str(home), "DO_NOT_TRACK": "1"}


def peak_memory(process: subprocess.Popen[bytes]) -> int:
    """Watches a process and all that it started until it ends: the largest sum seen, in bytes."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, tree_memory(process.pid))
        time.sleep(LOOK_EVERY)
    return peak


def tree_memory(root: int) -> int:
    """Bytes that a process and its descendants hold; what they share is counted once (PSS).

    0 where there is no /proc of Linux.
    """
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry))
    total = 0
    found = [root]
    for pid in found:
        found += children.get(pid, ())
        total += process_memory(pid)
    return total


def process_memory(pid: int) -> int:
    """Bytes of one process, 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def tell(words: str) -> None:
    """How far it is, for whoever waits."""
    print(f"... {words}", file=sys.stderr, flush=True)
