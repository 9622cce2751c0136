"""A worker that nobody prepared, one that has died, and one on another system."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from discover_orch.execution.supervisor import Supervisor, WorkerDied, WorkerEnded
from discover_orch.worker.protocol import Finish, Prepare
from tests.support.driven_worker import TIME_LIMIT, DrivenWorker

Project = Callable[[Mapping[str, str | bytes]], Path]


def test_a_worker_that_was_never_prepared_can_be_killed(tmp_path: Path) -> None:
    worker = Supervisor.start()
    worker.kill()
    (last,) = [one for one in worker.close(TIME_LIMIT) if isinstance(one, WorkerDied)]
    assert last.signal == "SIGKILL"
    assert worker.is_over
    assert worker.events(0) == worker.close() == []
    worker.kill()
    worker.control("interrupt")


def test_a_worker_that_gets_no_step_ends_well(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path) as worker:
        worker.finish()
        assert worker.seen[-1] == WorkerEnded()


def test_orders_to_a_worker_that_has_died_are_no_error(project: Project) -> None:
    root = project({"bad.py": "import os\ndef run(): os._exit(1)\n"})
    with DrivenWorker(root) as worker:
        worker.send("bad")
        os.waitid(os.P_PID, worker.supervisor.pid, os.WEXITED | os.WNOWAIT)
        worker.send("later")
        worker.supervisor.send(Finish())
        died = worker.until_over()
        assert isinstance(died, WorkerDied)
        assert died.exit_code == 1


def test_without_a_process_descriptor_the_worker_is_polled(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As macOS, which has neither of the two."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.delattr(os, "waitid", raising=False)
    root = project(
        {"bad.py": "import os\ndef run(): os._exit(7)\n", "good.py": "def run(): pass\n"}
    )
    with DrivenWorker(root) as worker:
        worker.run("good")
        worker.finish()
        assert worker.seen[-1] == WorkerEnded()
    with DrivenWorker(root) as worker:
        worker.send("bad")
        died = worker.until_over()
        assert isinstance(died, WorkerDied)
        assert died.exit_code == 7


def test_raw_output_must_be_chosen_at_the_start() -> None:
    worker = Supervisor.start()
    with pytest.raises(ValueError, match="when the worker is started"):
        worker.send(Prepare(root="/", pythonpath=(), database="sqlite://", raw_output=True))
    worker.kill()
    worker.close(TIME_LIMIT)


def test_the_same_package_is_found_from_anywhere(project: Project, tmp_path: Path) -> None:
    """Run from a checkout that is neither installed nor the current folder, under other names."""
    root = project(
        {"good.py": "def run():\n    import discover_orch\n    print(discover_orch.__file__)\n"}
    )
    code = (
        f"import sys; sys.path.insert(0, {os.fspath(Path(__file__).parents[3])!r})\n"
        "from discover_orch.execution.supervisor import *; from discover_orch.worker.protocol import *\n"
        f"worker = Supervisor.start(); root = {os.fspath(root)!r}\n"
        "worker.send(Prepare(root=root, pythonpath=(root,), database='sqlite://'))\n"
        "worker.send(RunStep(module='good', name='good', path='good.py'))\n"
        "worker.send(Finish())\n"
        "for e in worker.close(30): print(getattr(e, 'text', ''), end='')\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == os.fspath(Path(__file__).parents[3] / "discover_orch/__init__.py")


def test_a_worker_takes_the_environment_of_its_orders(project: Project) -> None:
    root = project({"tool.py": "import os\ndef run():\n    print(sorted(os.environ))\n"})
    with DrivenWorker(root, environment={"ONLY": "this", "PATH": os.defpath}) as worker:
        worker.run("tool")
        worker.finish()
        assert worker.output() == "['ONLY', 'ORCH_INSIDE', 'PATH']\n"
