"""Random kills of orch's workers, of their hosts, and of schedulers: nothing is lost, and nothing runs twice."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.support.executors import new_mark
from tests.support.project_builder import run_orch, write_files
from tests.support.running import find_marked, is_gone, running, wait_until

FULL, CHUNKS = 2000, 50
TOOLS = 6
#: Each start leaves a line, with the tool's process and its host's, and each success one row.
TOOL = """
    import os, sqlite3, time
    from contextlib import closing
    STAGE = "one"
    AFTER = ()
    def run(conn):
        with open("starts/{name}", "a") as file:
            file.write("{name} %d %d\\n" % (os.getpid(), os.getppid()))
        conn.execute("CREATE TABLE IF NOT EXISTS done_{name} (x)")
        conn.execute("INSERT INTO done_{name} VALUES (1)")
        time.sleep({seconds})
    """


def rows(root: Path) -> Counter[str]:
    """How often each tool has committed."""
    if not (root / "data.db").exists():
        return Counter()
    with closing(sqlite3.connect(root / "data.db", timeout=60)) as conn:
        tables = [name for (name,) in conn.execute("SELECT name FROM sqlite_master")]
        counts = {one: conn.execute(f"SELECT count(*) FROM {one}").fetchone()[0] for one in tables}
    return Counter({one.removeprefix("done_"): count for one, count in counts.items() if count})


def starts(root: Path) -> list[list[str]]:
    """Tool, process and host of each start, the latest last."""
    paths = sorted((root / "starts").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return [line.split() for path in paths for line in path.read_text().splitlines()]


def check(seed: int, folder: Path) -> None:
    """One run with a kill, then what its history says against what there is; then its resume."""
    chance = random.Random(seed)
    name, victim = chance.choice(KILLS)
    tools = {
        f"src/t{n}.py": TOOL.format(name=f"t{n}", seconds=round(chance.uniform(0, 0.3), 3))
        for n in range(TOOLS)
    }
    root = folder / f"p{seed}"
    write_files(root, {**tools, "starts/": ""})
    mark = new_mark()
    after, delay = chance.randint(1, TOOLS - 1), chance.uniform(0, 0.2)
    words = ("run", "--jobs", str(chance.randint(1, 3)), "--executor", name)
    with running(root, *words, **{mark: "1"}) as orch:
        wait_until(lambda: len(starts(root)) >= after, "the start of a tool")
        time.sleep(delay)  # a random moment
        kill(victim, orch.pid, starts(root)[-1], mark)
        code = orch.wait()
    said = f"seed {seed}: {words}, killed {victim}, exit {code}\n{orch.text}"
    assert code == (-signal.SIGKILL if victim == "orch" else code), said
    assert code in (0, 1, -signal.SIGKILL), said
    wait_until(lambda: not find_marked(mark), f"the end of all processes; {said}")
    (run,) = json.loads(run_orch(root, "history", "--json").out)["runs"]
    statuses = {one["name"]: one["status"] for one in run["tools"]}
    begun, kept = Counter(line[0] for line in starts(root)), rows(root)
    for tool in (f"t{n}" for n in range(TOOLS)):
        status = statuses.get(tool, "not_run")
        assert begun[tool] <= 1, (tool, said)
        assert kept[tool] <= begun[tool], (tool, said)
        if status == "passed":
            assert kept[tool] == 1, (tool, status, said)
        elif status != "unknown":
            assert kept[tool] == 0, (tool, status, said)
    if code != 0:
        resumed = run_orch(root, "run", "--resume")
        assert resumed.code == 0, (said, resumed.text)
        for tool, count in rows(root).items():
            assert count == 1 or statuses[tool] == "unknown", (tool, said)
    assert len(rows(root)) == TOOLS, said


KILLS: Sequence[tuple[str, str]] = (
    ("dask", "worker"),
    ("dask", "host"),
    ("dask", "scheduler"),
    ("dask", "orch"),
    ("command", "worker"),
    ("command", "host"),
    ("command", "orch"),
)


def kill(victim: str, orch: int, start: list[str], mark: str) -> None:
    """SIGKILL to the tool's process, to the process that supervises it, to the scheduler, or to orch."""
    match victim:
        case "orch":
            pid = orch
        case "worker":
            pid = int(start[1])
        case "host":
            pid = int(start[2])
        case _:
            pid = find_scheduler(mark)
    if pid and not is_gone(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def find_scheduler(mark: str) -> int:
    """0 where the run has ended its cluster already."""
    for pid in find_marked(mark):
        with suppress(OSError):
            if b"dask_cluster" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_24_random_kills_lose_and_repeat_nothing(tmp_path: Path) -> None:
    for seed in range(24):
        check(seed, tmp_path)


@pytest.mark.full
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("start", range(1000, 1000 + FULL, FULL // CHUNKS))
def test_2000_random_kills_lose_and_repeat_nothing(start: int, tmp_path: Path) -> None:
    for seed in range(start, start + FULL // CHUNKS):
        check(seed, tmp_path)
