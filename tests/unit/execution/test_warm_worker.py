"""The warm worker: real workers, taken once. Each test waits for what the worker says or for its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from discover_orch.execution import warm_worker as warm_worker_module
from discover_orch.execution.supervisor import Supervisor
from discover_orch.execution.warm_worker import (
    PackageDetector,
    WarmWorker,
    WarmWorkerSpec,
    discard_worker,
    read_installation,
)
from discover_orch.model.tool_events import ToolFinished
from discover_orch.worker.protocol import Closed, Finish, Preload, Prepare, RunStep
from tests.conftest import Project
from tests.support.running import DEADLINE, is_gone, wait_until


class NotedWorker(WarmWorker):
    """Tells which process waits, and whether it has spoken."""

    @property
    def worker(self) -> Supervisor:
        assert self._worker is not None
        return self._worker

    @property
    def pid(self) -> int:
        return self.worker.pid

    @property
    def is_there(self) -> bool:
        return self._worker is not None

    def until_it_is_dead(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def warm_worker() -> Iterator[NotedWorker]:
    made = NotedWorker()
    yield made
    made.close()


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., WarmWorkerSpec]:
    """A spec for these modules, in a project without any."""

    def make(
        *modules: str, installed: str = "now", pythonpath: tuple[str, ...] = ()
    ) -> WarmWorkerSpec:
        order = Preload(
            root=str(tmp_path),
            pythonpath=pythonpath,
            modules=tuple((name, ()) for name in modules),
        )
        return WarmWorkerSpec(order=order, installed=installed)

    return make


MakeSpec = Callable[..., WarmWorkerSpec]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that workers can import."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def run_tool(worker: Supervisor, root: Path) -> ToolFinished:
    """Run the tool `tool` as a run would, and end the worker."""
    worker.send(Prepare(root=str(root), pythonpath=(str(root),), database="sqlite:///data.db"))
    worker.send(RunStep(module="tool", name="tool", path="tool.py"))
    worker.send(Finish())
    events = worker.close(DEADLINE)
    (end,) = [one for one in events if isinstance(one, ToolFinished)]
    assert [one for one in events if isinstance(one, Closed)] == [Closed()]
    return end


def test_a_warm_worker_has_its_imports_done_and_is_used_once(
    warm_worker: NotedWorker, spec: MakeSpec, tmp_path: Path
) -> None:
    (tmp_path / "tool.py").write_text(
        "import sys\nseen = 'decimal' in sys.modules\ndef run(): return {'seen': seen}\n"
    )
    warm_worker.prepare(spec("decimal"))
    worker = warm_worker.claim(spec("decimal"))
    assert worker is not None
    assert warm_worker.claim(spec("decimal")) is None
    end = run_tool(worker, tmp_path)
    assert (end.status, end.metrics) == ("passed", {"seen": True})


def test_without_a_warm_worker_there_is_a_cold_start(
    warm_worker: NotedWorker, spec: MakeSpec
) -> None:
    assert warm_worker.claim(spec()) is None


def test_the_same_spec_again_keeps_the_warm_worker(
    warm_worker: NotedWorker, spec: MakeSpec
) -> None:
    warm_worker.prepare(spec("decimal"))
    before = warm_worker.pid
    warm_worker.prepare(spec("decimal"))
    assert warm_worker.pid == before


def test_another_spec_starts_a_new_one_and_ends_the_old(
    warm_worker: NotedWorker, spec: MakeSpec
) -> None:
    warm_worker.prepare(spec("decimal"))
    before = warm_worker.pid
    warm_worker.prepare(spec("decimal", "fractions"))
    assert warm_worker.pid != before
    assert is_gone(before)


# What fits.


def fits(warm_worker: NotedWorker, had: WarmWorkerSpec, wanted: WarmWorkerSpec) -> bool:
    """Whether a warm worker for one spec does for another."""
    warm_worker.prepare(had)
    pid = warm_worker.pid
    worker = warm_worker.claim(wanted)
    if worker is None:
        assert is_gone(pid)
        return False
    discard_worker(worker)
    return True


def test_one_that_has_imported_less_fits(warm_worker: NotedWorker, spec: MakeSpec) -> None:
    assert fits(warm_worker, spec("decimal"), spec("decimal", "fractions"))
    assert fits(warm_worker, spec(), spec("decimal"))


def test_one_that_has_imported_more_does_not(warm_worker: NotedWorker, spec: MakeSpec) -> None:
    """It could hide that an import is missing."""
    assert not fits(warm_worker, spec("decimal", "fractions"), spec("decimal"))


def test_other_installed_packages_do_not_fit(warm_worker: NotedWorker, spec: MakeSpec) -> None:
    assert not fits(warm_worker, spec("decimal"), spec("decimal", installed="later"))


def test_another_pythonpath_or_root_does_not_fit(warm_worker: NotedWorker, spec: MakeSpec) -> None:
    assert not fits(warm_worker, spec(), spec(pythonpath=("/x",)))
    elsewhere = replace(spec(), order=replace(spec().order, root="/"))
    assert not fits(NotedWorker(), spec(), elsewhere)


# What goes wrong.


def test_a_warm_worker_whose_imports_fail_serves(
    warm_worker: NotedWorker, spec: MakeSpec, installed: Path, tmp_path: Path
) -> None:
    (installed / "bad.py").write_text("1 / 0\n")
    (tmp_path / "tool.py").write_text("def run(): pass\n")
    warm_worker.prepare(spec("bad", "nowhere"))
    worker = warm_worker.claim(spec("bad", "nowhere"))
    assert worker is not None
    assert run_tool(worker, tmp_path).status == "passed"


def test_a_module_of_the_project_with_the_name_of_an_installed_one_ends_it(
    warm_worker: NotedWorker, spec: MakeSpec, installed: Path, project: Project
) -> None:
    (installed / "one.py").write_text("import two\n")
    (installed / "two.py").write_text("")
    src = str(project({"src/two.py": ""}) / "src")
    warm_worker.prepare(spec("one", pythonpath=(src,)))
    warm_worker.until_it_is_dead()


def test_where_no_process_can_be_started_there_is_none(
    warm_worker: NotedWorker, spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> Supervisor:
        raise OSError("no more processes")

    monkeypatch.setattr(Supervisor, "start", fail)
    warm_worker.prepare(spec("decimal"))
    assert not warm_worker.is_there
    assert warm_worker.claim(spec("decimal")) is None


# Its end.


def test_closing_leaves_no_process_and_no_descriptor(spec: MakeSpec) -> None:
    before = sorted(os.listdir("/dev/fd"))
    warm_worker = NotedWorker()
    warm_worker.close()
    warm_worker.prepare(spec("decimal"))
    pid = warm_worker.pid
    warm_worker.close()
    warm_worker.close()
    assert not os.path.exists(f"/proc/{pid}")
    assert sorted(os.listdir("/dev/fd")) == before
    assert warm_worker.claim(spec("decimal")) is None


def test_closing_ends_what_an_import_has_started(spec: MakeSpec, installed: Path) -> None:
    (installed / "starts.py").write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('child', 'w').write(str(child.pid))\n"
    )
    warm_worker = NotedWorker()
    made = spec("starts")
    warm_worker.prepare(made)
    path = Path(made.order.root) / "child"
    wait_until(lambda: path.exists() and bool(path.read_text()), "the start of the child")
    child = int(path.read_text())
    warm_worker.close()
    wait_until(lambda: is_gone(child), "the end of the child")


def test_a_warm_worker_in_the_middle_of_an_endless_import_can_be_closed(
    spec: MakeSpec, installed: Path
) -> None:
    (installed / "endless.py").write_text(
        "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.mkfifo('gate')\nopen('gate')\n"
    )
    warm_worker = NotedWorker()
    warm_worker.prepare(spec("endless"))
    pid = warm_worker.pid
    warm_worker.close()
    assert is_gone(pid)


# What is installed.


def test_an_installation_is_the_same_until_something_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "site-packages"
    packages.mkdir()
    other = tmp_path / "src"
    other.mkdir()
    monkeypatch.setattr(sys, "path", [str(packages), str(other), str(tmp_path / "gone")])
    before = read_installation()
    assert read_installation() == before
    (other / "mine.py").touch()
    assert read_installation() == before
    (packages / "new").mkdir()
    os.utime(packages, (1_600_000_000, 1_600_000_000))
    assert read_installation() != before
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").touch()
    assert str(tmp_path / "python") in read_installation()


def test_an_installation_counts_when_it_is_seen_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter("aaabbcbbb")
    monkeypatch.setattr(warm_worker_module, "read_installation", lambda: next(looks))
    detector = PackageDetector()
    assert [detector.has_changed() for _ in "aab"] == [False, False, False]
    assert [detector.has_changed() for _ in "bc"] == [True, False]
    assert detector.installed == "b"
    assert [detector.has_changed() for _ in "bbb"] == [False, False, False]
