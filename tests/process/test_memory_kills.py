"""kill -9 at random moments: what the history says has passed is in the database, and a resume completes the rest.

Several projects are worked on at a time, each run in a process of its own, killed after a part of the time that a
whole run takes. The seed is printed.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from discover_orch.planning import project_view
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.staleness.reason_sentences import Freshness
from discover_orch.state.journal import find_runs, read_record
from tests.support.project_builder import clean_environment, run_orch, write_files

TOOLS = ["a", "b", "c", "d"]
#: What is typed next after a kill; "" is the resume itself.
NEXT = ("history", "status", "list", "check", "", "", "", "")
#: Adds its row to what is there, so that a tool which runs twice is seen; every second one prints.
TOOL = """
    import os
    STAGE = "s"
    AFTER = {after}
    def run(conn, *, since: str = ""):
        conn.execute("create table if not exists {name} (x)")
        conn.execute("insert into {name} values (?)", (since,))
        if {prints}:
            for number in range(50):
                print("line", number, flush=True)
        with open("{name}.txt", "w") as file:
            file.write(since)
    """
FILES = {
    "orch.toml": "",
    **{
        f"src/{name}.py": TOOL.format(name=name, after=repr(tuple(TOOLS[:at][-1:])), prints=at % 2)
        for at, name in enumerate(TOOLS)
    },
}


def committed(root: Path) -> dict[str, list[str]]:
    """The rows of each tool that has any."""
    if not (root / "data.db").exists():
        return {}
    with closing(sqlite3.connect(root / "data.db", timeout=20)) as conn:
        names = [name for (name,) in conn.execute("select name from sqlite_master")]
        return {
            name: [row for (row,) in conn.execute(f"select x from {name}")]
            for name in TOOLS
            if name in names
        }


def kill_after(root: Path, seconds: float, *words: str) -> bool:
    """Start a run in a group of its own and kill orch itself, the worker not; whether it was still there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "discover_orch", *words],
        cwd=root,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    fd = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else -1
    try:
        if fd >= 0:
            select.select([fd], [], [], seconds)  # its end, or the time
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL
    finally:
        if fd >= 0:
            os.close(fd)


def freshnesses(root: Path, since: str) -> dict[str, Freshness]:
    """As `orch status --since` would tell, from within this process."""
    view = project_view.read_project(str(root), None, {})
    values = GivenParams(options={"since": (since,)}, folder=str(root))
    found = RemainingWork(view, values).freshness()
    return {module.removeprefix("src."): one for module, one in found.items()}


def check(root: Path, before: dict[str, list[str]], mark: str, next_command: str) -> None:
    """What must be true after a kill, and that the run can be gone on with."""
    if next_command:
        next_one = run_orch(root, next_command)
        assert (next_one.code, next_one.err) == (0, ""), next_one.text
    now = committed(root)
    new = {name for name in TOOLS if now.get(name, []) != before.get(name, [])}
    for name in new:
        assert now[name] == [*before.get(name, []), mark], (name, now)
    killed = read_record(str(root), find_runs(str(root))[0])
    if killed is None or killed.params["since"].texts != (mark,):  # it was not even begun
        assert new == set(), killed
        return
    assert killed.status in ("killed", "passed"), killed
    status = {tool.name: tool.status for tool in killed.tools}
    settled = {tool.name for tool in killed.tools if tool.is_settled}
    passed = {name for name in TOOLS if status[name] == "passed"}
    assert passed <= new, f"passed and not committed: {passed - new}"
    unsure = {name for name in TOOLS if status[name] == "unknown"}
    for name in new:
        assert name in passed | unsure, f"{name} is committed, and {status[name]}"
    for name, one in freshnesses(root, mark).items():
        known = {"unknown": "unknown", "failed": "failed"}.get(status[name], "")
        assert one.last_ending == known or name in settled, one
        if known:
            assert not one.is_fresh, one
    answer = run_orch(root, "run", "--resume")
    assert (answer.code, answer.err) == (0, ""), answer.text
    for name, found in committed(root).items():
        assert found == [*before.get(name, []), mark], (name, found, status)
        assert (root / f"{name}.txt").read_text() == mark
    assert set(committed(root)) == set(TOOLS)
    again = read_record(str(root), killed.run)
    assert again is not None
    settled = {tool.name for tool in again.tools if tool.is_settled}
    for name, one in freshnesses(root, mark).items():
        # What a tool used that was committed and never reported its end is not known.
        assert one.is_fresh or name in settled or one.upstream, (name, one)


def kill_many(root: Path, seed: int, kills: int) -> int:
    """How many of them came in time."""
    chance = random.Random(seed)
    write_files(root, FILES)
    assert run_orch(root, "run", "--since", "warm").code == 0
    longest = 0.0
    for number in range(2):
        started = time.monotonic()
        assert run_orch(root, "run", "--since", f"timed {number}").code == 0
        longest = max(longest, time.monotonic() - started)
    in_time = 0
    for number in range(kills):
        mark = f"mark {number}"
        before = committed(root)
        # Most of a run is the start of two interpreters: the second half is where tools are.
        moment = longest * chance.choice((chance.uniform(0.0, 1.1), chance.uniform(0.4, 0.9)))
        was_in_time = kill_after(root, moment, "run", "--since", mark)
        in_time += was_in_time
        # How long a run takes is another time when the machine has other things to do.
        if not was_in_time:
            longest = (longest + min(moment, longest * 0.9)) / 2
        elif moment > longest * 0.9:
            longest *= 1.1
        try:
            check(root, before, mark, chance.choice(NEXT))
        except AssertionError as error:
            raise AssertionError(
                f"seed {seed}, kill {number} after {moment:.4f} s: {error}"
            ) from error
    return in_time


def kill_in_parallel(folder: Path, kills: int, lanes: int = 4) -> int:
    """How many of the kills came before the end of the run."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")

    def work(lane: int) -> int:
        root = folder / f"lane{lane}"
        root.mkdir()
        return kill_many(root, seed + lane, kills // lanes)

    with ThreadPoolExecutor(lanes) as pool:
        return sum(pool.map(work, range(lanes)))


def test_after_kill_9_at_a_random_moment_the_history_is_true_and_a_resume_completes(
    tmp_path: Path,
) -> None:
    assert kill_in_parallel(tmp_path, 8, lanes=2) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_after_60_kills_too(tmp_path: Path) -> None:
    assert kill_in_parallel(tmp_path, 60) > 30, "the moments are to lie within a run"


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_after_a_thousand_kills_too(tmp_path: Path) -> None:
    assert kill_in_parallel(tmp_path, 1000) > 500
