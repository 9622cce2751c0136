"""Random kills of orch's workers, of their hosts, and of schedulers: nothing is lost, and nothing runs twice."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.executors import Cluster, dask_cluster, new_mark
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
        with open("{starts}/{name}", "a") as file:
            file.write("{name} %d %d\\n" % (os.getpid(), os.getppid()))
        conn.execute("CREATE TABLE IF NOT EXISTS done_{name} (x integer)")
        conn.execute("INSERT INTO done_{name} VALUES (1)")
        time.sleep({seconds})
    """


def rows(root: Path, url: str) -> Counter[str]:
    """How often each tool has committed."""
    if url:
        with psycopg.connect(url) as conn:
            found: Any = conn.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' "
                "AND table_name NOT LIKE 'orch%'"
            )
            counts = {one: count(conn, one) for (one,) in found.fetchall()}
    elif (root / "data.db").exists():
        with closing(sqlite3.connect(root / "data.db", timeout=60)) as file:
            found = file.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE '%orch%'")
            counts = {one: count(file, one) for (one,) in found.fetchall()}
    else:
        counts = {}
    return Counter({one.removeprefix("done_"): many for one, many in counts.items() if many})


def count(conn: Any, table: str) -> int:
    [(found,)] = conn.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(found)


def begun_in(root: Path) -> Path:
    """Beside the project: there the kernel's file events would show that this program reads it."""
    return root.with_name(f"starts-{root.name}")


def starts(root: Path) -> list[list[str]]:
    """Tool, process and host of each start, the latest last."""
    paths = sorted(begun_in(root).iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return [line.split() for path in paths for line in path.read_text().splitlines()]


def check(seed: int, folder: Path, new_database: Callable[[], str]) -> None:
    """One run with a kill, then what its history says against what there is; then its resume."""
    chance = random.Random(seed)
    name, victim = chance.choice(KILLS)
    url = new_database() if name == "dask" else ""
    root = folder / f"p{seed}"
    tools = {
        f"src/t{n}.py": TOOL.format(
            starts=begun_in(root), name=f"t{n}", seconds=round(chance.uniform(0, 0.3), 3)
        )
        for n in range(TOOLS)
    }
    begun_in(root).mkdir()
    write_files(root, {**tools, "orch.toml": f'database = "{url}"' if url else ""})
    mark = new_mark()
    after, delay = chance.randint(1, TOOLS - 1), chance.uniform(0, 0.2)
    jobs = chance.randint(1, 3)
    with dask_cluster(folder, jobs + 1, mark) if url else nullcontext() as cluster:
        executor = "command" if cluster is None else f"dask={cluster.address}"
        words = ("run", "--jobs", str(jobs), "--executor", executor)
        with running(root, *words, **{mark: "1"}) as orch:
            wait_until(lambda: len(starts(root)) >= after, "the start of a tool")
            time.sleep(delay)  # a random moment
            kill(victim, orch.pid, starts(root)[-1], cluster)
            code = orch.wait()
        said = f"seed {seed}: {words}, killed {victim}, exit {code}\n{orch.text}"
        assert code == (-signal.SIGKILL if victim == "orch" else code), said
        assert code in (0, 1, -signal.SIGKILL), said
        processes = {int(line[1]) for line in starts(root)}  # those of the cluster stay
        wait_until(lambda: all(map(is_gone, processes)), f"the end of all tools; {said}")
    wait_until(lambda: not find_marked(mark), f"the end of all processes; {said}")
    (run,) = json.loads(run_orch(root, "history", "--json").out)["runs"]
    statuses = {one["name"]: one["status"] for one in run["tools"]}
    begun, kept = Counter(line[0] for line in starts(root)), rows(root, url)
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
        for tool, count in rows(root, url).items():
            assert count == 1 or statuses[tool] == "unknown", (tool, said, resumed.text)
    assert len(rows(root, url)) == TOOLS, said


KILLS: Sequence[tuple[str, str]] = (
    ("dask", "worker"),
    ("dask", "host"),
    ("dask", "scheduler"),
    ("dask", "orch"),
    ("command", "worker"),
    ("command", "host"),
    ("command", "orch"),
)


def kill(victim: str, orch: int, start: list[str], cluster: Cluster | None) -> None:
    """SIGKILL to the tool's process, to the process that supervises it, to the scheduler, or to orch."""
    pids = {"orch": orch, "worker": int(start[1]), "host": int(start[2])}
    if cluster is not None:
        pids["scheduler"] = cluster.scheduler.pid
    if not is_gone(pids[victim]):
        with suppress(ProcessLookupError):
            os.kill(pids[victim], signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_12_random_kills_lose_and_repeat_nothing(
    tmp_path: Path, new_postgres: Callable[[], str]
) -> None:
    for seed in range(12):
        check(seed, tmp_path, new_postgres)


@pytest.mark.full
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("start", range(1000, 1000 + FULL, FULL // CHUNKS))
def test_2000_random_kills_lose_and_repeat_nothing(
    start: int, tmp_path: Path, new_postgres: Callable[[], str]
) -> None:
    for seed in range(start, start + FULL // CHUNKS):
        check(seed, tmp_path, new_postgres)
