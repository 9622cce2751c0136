"""Tools on a Dask cluster: what Dask repeats, loses or cannot reach starts nothing twice and is a sentence.

The trials with random kills are in `test_executor_kills.py`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.executors import new_mark
from tests.support.project_builder import clean_environment
from tests.support.running import DEADLINE, find_marked, running, wait_until

pytestmark = pytest.mark.slow

WAITS = """
    import os, time
    from pathlib import Path
    STAGE = "one"
    ORCH = {"retries": 2}
    def run():
        with open("starts", "a") as file:
            file.write("x")
        print("it runs", os.getppid(), flush=True)
        while not Path("go").exists():
            time.sleep(0.02)
        print("it ends")
    """
LATER = 'STAGE = "two"\nAFTER = ()\ndef run(): print("later")\n'


class Cluster:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path, mark: str) -> None:
        self._folder, self._env = folder, clean_environment(**{mark: "1"})
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.scheduler = self._start(
            "distributed.cli.dask_scheduler",
            *("--host", "127.0.0.1", "--port", self.address.rpartition(":")[2], "--no-dashboard"),
        )
        self.workers: list[subprocess.Popen[bytes]] = []

    def add_worker(self, threads: int = 1) -> None:
        words = (self.address, "--nthreads", str(threads), "--no-nanny", "--no-dashboard")
        where = ("--local-directory", str(self._folder))
        self.workers.append(self._start("distributed.cli.dask_worker", *words, *where))

    def _start(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        code = f"from {module} import main; main()"
        null = subprocess.DEVNULL
        return subprocess.Popen(
            [sys.executable, "-c", code, *words], env=self._env, stdout=null, stderr=null
        )

    def close(self) -> None:
        for one in (*self.workers, self.scheduler):
            one.kill()
            one.wait()


@contextmanager
def cluster(folder: Path, mark: str = "CLUSTER", workers: int = 1) -> Iterator[Cluster]:
    made = Cluster(folder, mark)
    try:
        for _ in range(workers):
            made.add_worker()
        if workers:
            from distributed import Client  # in the extra `dask`

            with Client(made.address, timeout=DEADLINE) as client:
                client.wait_for_workers(workers, timeout=DEADLINE)
        yield made
    finally:
        made.close()


def test_a_cluster_that_exists_is_used_with_all_its_threads(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    project({f"src/t{n}.py": LATER for n in range(4)})
    with cluster(tmp_path, workers=2) as made:
        answer = orch("run", "--dask-address", made.address)
        assert answer.code == 0, answer.text
        assert f"executor dask: {made.address}" in answer.out
        assert "with 2 workers" in answer.out
        assert answer.out.count("later") == 4
        again = orch("run", "--dask-address", made.address, "--jobs", "1")
        assert again.code == 0
        assert "with" not in again.out.split("running")[1].split("\n")[0]


def test_a_local_database_file_is_refused_on_a_cluster(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    project({"src/a.py": 'STAGE = "one"\ndef run(conn): pass\n'})
    answer = orch("run", "--dask-address", "tcp://127.0.0.1:1")
    assert answer.code == 2
    assert "a uses sqlite:///data.db, a local file" in answer.err


def test_a_cluster_that_is_not_there_or_is_empty_is_refused(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    root = project({"src/a.py": LATER})
    answer = orch("run", "--dask-address", "tcp://127.0.0.1:1")
    assert answer.code == 2
    assert "the Dask scheduler tcp://127.0.0.1:1 cannot be reached" in answer.err
    answer = orch("run", "--dask-address", "nonsense://x")
    assert answer.code == 2
    assert "Traceback" not in answer.err
    with cluster(tmp_path, workers=0) as made:
        answer = orch("run", "--dask-address", made.address)
    assert answer.code == 2
    assert "has no workers" in answer.err
    assert not list((root / ".orch").glob("runs/*/events.jsonl"))


@pytest.mark.parametrize("spare", [0, 1])
def test_a_worker_that_is_killed_makes_its_tool_unknown_and_nothing_runs_twice(
    spare: int, project: Project, tmp_path: Path
) -> None:
    """With a spare worker, Dask repeats the task there; without one, nobody does."""
    root = project({"src/a.py": WAITS, "src/b.py": LATER, "orch.toml": 'stages = ["one", "two"]'})
    mark = new_mark()
    with cluster(tmp_path, mark, 1 + spare) as made:
        with running(root, "run", "--dask-address", made.address, "--jobs", "1") as orch:
            host = int(orch.wait_for(r"it runs (\d+)")[1])
            assert host in {one.pid for one in made.workers}
            os.kill(host, signal.SIGKILL)
            if not spare:
                made.add_worker()
            assert orch.wait() == 1, orch.text
            assert "may be in the database" in orch.text
            assert "1 unknown" in orch.text
        assert (root / "starts").read_text() == "x"
        with running(root, "status") as orch:
            orch.wait_for("outcome unknown: its worker was lost in run 1 and may have")
    wait_until(lambda: not find_marked(mark), "the end of all processes")


def test_a_scheduler_that_is_killed_makes_the_tool_unknown(
    project: Project, tmp_path: Path
) -> None:
    root = project({"src/a.py": WAITS, "src/b.py": 'STAGE = "one"\nAFTER = ()\ndef run(): pass\n'})
    mark = new_mark()
    with cluster(tmp_path, mark) as made:
        with running(root, "run", "--dask-address", made.address) as orch:
            orch.wait_for("it runs")
            made.scheduler.kill()
            assert orch.wait() == 1, orch.text
            assert "the connection to the Dask scheduler was lost: what the tool" in orch.text
            assert "the Dask cluster did not start it: the connection" in orch.text
            assert "1 failed, 1 unknown" in orch.text
            assert "Traceback" not in orch.text
        assert (root / "starts").read_text() == "x"
        made.close()
    wait_until(lambda: not find_marked(mark), "the end of all processes")


def test_a_tool_that_waits_for_a_thread_of_the_cluster_can_be_cancelled(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    """orch takes its token back, so the tool has certainly not run."""
    root = project({"src/a.py": WAITS})
    with cluster(tmp_path) as made:
        with running(root, "run", "--dask-address", made.address) as first:
            first.wait_for("it runs")
            other = tmp_path / "other"
            (other / "src").mkdir(parents=True)
            (other / "src" / "b.py").write_text('STAGE = "one"\ndef run(): open("ran", "w")\n')
            with running(other, "run", "--dask-address", made.address) as second:
                second.wait_for("running 1 tool")
                second.send(signal.SIGINT)
                assert second.wait() == 130, second.text
            (root / "go").touch()
            assert first.wait() == 0, first.text
        assert not (other / "ran").exists()


def test_the_sockets_of_dask_as_a_pool_are_refused(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    with cluster(tmp_path) as made:
        pools = f"""
            from distributed import Client
            client = Client({made.address!r})
            def cluster(): return client.get_executor()
            """
        project({"pools.py": pools, "src/a.py": LATER})
        answer = orch("run", "--executor", "pools:cluster")
    assert answer.code == 2, answer.text
    assert "pools:cluster makes an executor of Dask" in answer.err
    assert "use --executor dask --dask-address" in answer.err
