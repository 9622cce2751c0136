"""Tools on a Dask cluster: what Dask repeats, loses or cannot reach starts nothing twice and is a sentence.

The trials with random kills are in `test_executor_kills.py`.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from discover_orch import Project as OrchProject
from tests.conftest import Orch, Project
from tests.functional.test_executors import ELSEWHERE, MIXED
from tests.support.executors import dask_cluster, new_mark, outcome
from tests.support.running import find_marked, is_gone, running, wait_until

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
        while not os.access.__wrapped__("go", os.F_OK):
            time.sleep(0.02)
        print("it ends")
    """
LATER = 'STAGE = "two"\nAFTER = ()\ndef run(): print("later")\n'


def test_a_cluster_that_exists_is_used_with_all_its_threads(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    project({f"src/t{n}.py": LATER for n in range(4)})
    with dask_cluster(tmp_path, workers=2) as made:
        answer = orch("run", "--executor", f"dask={made.address}")
        assert answer.code == 0, answer.text
        assert f"executor dask: {made.address}" in answer.out
        assert "with 2 workers" in answer.out
        assert answer.out.count("later") == 4
        again = orch("run", "--executor", f"dask={made.address}", "--jobs", "1")
        assert again.code == 0
        assert "with" not in again.out.split("running")[1].split("\n")[0]


def test_a_local_database_file_is_refused_on_a_cluster(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    project({"src/a.py": 'STAGE = "one"\ndef run(conn): pass\n'})
    answer = orch("run", "--executor", "dask=tcp://127.0.0.1:1")
    assert answer.code == 2
    assert "a uses sqlite:///data.db, a local file" in answer.err


def test_a_cluster_that_is_not_there_or_is_empty_is_refused(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    root = project({"src/a.py": LATER})
    answer = orch("run", "--executor", "dask=tcp://127.0.0.1:1")
    assert answer.code == 2
    assert "the Dask scheduler tcp://127.0.0.1:1 cannot be reached" in answer.err
    answer = orch("run", "--executor", "dask=nonsense://x")
    assert answer.code == 2
    assert "Traceback" not in answer.err
    with dask_cluster(tmp_path, workers=0) as made:
        answer = orch("run", "--executor", f"dask={made.address}")
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
    with dask_cluster(tmp_path, 1 + spare, mark) as made:
        with running(root, "run", "--executor", f"dask={made.address}", "--jobs", "1") as orch:
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


def test_a_run_on_a_cluster_is_as_a_run_here(
    project: Project, orch: Orch, tmp_path: Path, new_postgres: Callable[[], str]
) -> None:
    root = project({path: text.replace("(?)", "(%s)") for path, text in MIXED.items()})
    words = ("run", "--json", *ELSEWHERE)
    expected = outcome(orch(*words, "--database", new_postgres()))
    assert expected["counts"]["passed"] == 3
    with dask_cluster(tmp_path, workers=2) as made:
        for jobs in ("1", "3"):
            (root / "count.txt").unlink()
            where = ("--executor", f"dask={made.address}", "--database", new_postgres())
            answer = orch(*words, "--jobs", jobs, *where)
            assert outcome(answer) == expected, answer.err
            assert "swordfish" not in answer.out


def test_a_program_that_runs_tools_on_a_cluster_keeps_its_logging(
    project: Project, tmp_path: Path
) -> None:
    root = project({"src/a.py": LATER})
    level = logging.getLogger("asyncio").level
    with dask_cluster(tmp_path) as made:
        result = OrchProject(root).run(executor=f"dask={made.address}")
    assert result.output["a"] == "later\n"
    assert logging.getLogger("asyncio").level == level


def test_a_tool_is_ended_when_its_scheduler_is_gone(
    project: Project, orch: Orch, tmp_path: Path, postgres: str
) -> None:
    """orch calls it unknown, so that a resume may run it again: it must not go on beside that."""
    tool = """
        import os, time
        STAGE = "one"
        def run(conn):
            conn.execute("CREATE TABLE t (x integer)")
            print("it runs", os.getpid(), flush=True)
            time.sleep(8)
        """
    root = project({"src/a.py": tool, "orch.toml": f'database = "{postgres}"'})
    with (
        dask_cluster(tmp_path) as made,
        running(root, "run", "--executor", f"dask={made.address}") as first,
    ):
        pid = int(first.wait_for(r"it runs (\d+)")[1])
        made.scheduler.kill()
        assert first.wait() == 1, first.text
        assert "1 failed" in first.text
        wait_until(lambda: is_gone(pid), "the end of the tool")
        project({"src/a.py": tool.replace("time.sleep(8)", "pass")})
        answer = orch("run", "--resume")  # it would fail if the first one had committed
        assert answer.code == 0, answer.text


def test_a_scheduler_that_is_killed_makes_the_tool_unknown(
    project: Project, tmp_path: Path
) -> None:
    root = project({"src/a.py": WAITS, "src/b.py": 'STAGE = "one"\nAFTER = ()\ndef run(): pass\n'})
    mark = new_mark()
    with dask_cluster(tmp_path, mark=mark) as made:
        with running(root, "run", "--executor", f"dask={made.address}") as orch:
            orch.wait_for("it runs")
            made.scheduler.kill()
            assert orch.wait() == 1, orch.text
            assert (
                "the connection to the Dask scheduler was lost while the tool ran: what the"
                in orch.text
            )
            assert (
                "the connection to the Dask scheduler was lost before the tool started" in orch.text
            )
            assert "1 failed, 1 unknown" in orch.text
            assert "Traceback" not in orch.text
        assert (root / "starts").read_text() == "x"
        made.close()
    wait_until(lambda: not find_marked(mark), "the end of all processes")


def test_a_tool_that_waits_for_a_thread_of_the_cluster_can_be_cancelled(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    """orch never answers its greeting, so the tool has certainly not run."""
    root = project({"src/a.py": WAITS})
    with dask_cluster(tmp_path) as made:
        with running(root, "run", "--executor", f"dask={made.address}") as first:
            first.wait_for("it runs")
            other = tmp_path / "other"
            (other / "src").mkdir(parents=True)
            (other / "src" / "b.py").write_text('STAGE = "one"\ndef run(): open("ran", "w")\n')
            with running(other, "run", "--executor", f"dask={made.address}") as second:
                second.wait_for("running 1 tool")
                second.send(signal.SIGINT)
                assert second.wait() == 130, second.text
            (root / "go").touch()
            assert first.wait() == 0, first.text
        assert not (other / "ran").exists()
