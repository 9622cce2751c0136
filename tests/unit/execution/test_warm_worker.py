"""The spare: real workers, taken once. Each test waits for what the worker says or for its end."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from discover_orch.execution.supervisor import Supervisor
from discover_orch.execution.warm_worker import Spare, Taken, Wish, close_worker, read_installation
from discover_orch.execution.worker_exit import Died, Ended
from discover_orch.worker.protocol import Closed, Finish, Preload, Prepare, RunStep, StepFinished
from tests.conftest import Project
from tests.support.running import DEADLINE, is_gone


class NotedSpare(Spare):
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

    def until_it_has_spoken(self) -> None:
        messages = self.worker.filenos()[0]
        assert select.select([messages], [], [], DEADLINE)[0], "the spare says nothing"

    def until_it_is_dead(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def spare() -> Iterator[NotedSpare]:
    made = NotedSpare()
    yield made
    made.close()


@pytest.fixture
def wish(tmp_path: Path) -> Callable[..., Wish]:
    """A wish for these modules, in a project without any."""

    def make(*modules: str, installed: str = "now", pythonpath: tuple[str, ...] = ()) -> Wish:
        order = Preload(
            root=str(tmp_path),
            pythonpath=pythonpath,
            modules=tuple((name, ()) for name in modules),
        )
        return Wish(order=order, installed=installed)

    return make


MakeWish = Callable[..., Wish]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that workers can import."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def finish(worker: Supervisor) -> None:
    """End it as a run would."""
    worker.send(Finish())
    events = worker.close(DEADLINE)
    assert isinstance(events[-1], Ended | Died)


def test_a_spare_has_its_imports_done_and_is_used_once(
    spare: NotedSpare, wish: MakeWish, tmp_path: Path
) -> None:
    (tmp_path / "tool.py").write_text(
        "import sys\nseen = 'decimal' in sys.modules\ndef run(): return {'seen': seen}\n"
    )
    spare.prepare(wish("decimal"))
    spare.until_it_has_spoken()
    taken = spare.take(wish("decimal"))
    assert [(name, wrong) for name, _, wrong in taken.modules] == [("decimal", "")]
    assert taken.sentence == ""
    worker = taken.worker
    assert worker is not None
    assert spare.take(wish("decimal")) == Taken()
    worker.send(
        Prepare(root=str(tmp_path), pythonpath=(str(tmp_path),), database="sqlite:///data.db")
    )
    worker.send(RunStep(step=1, module="tool", name="tool", path="tool.py"))
    worker.send(Finish())
    events = worker.close(DEADLINE)
    (end,) = [one for one in events if isinstance(one, StepFinished)]
    assert (end.status, end.metrics) == ("passed", {"seen": True})
    assert [one for one in events if isinstance(one, Closed)] == [Closed()]


def test_without_a_spare_a_run_starts_cold_and_nothing_is_said(
    spare: NotedSpare, wish: MakeWish
) -> None:
    assert spare.take(wish()) == Taken()


def test_a_spare_that_has_not_done_yet_is_taken_all_the_same(
    spare: NotedSpare, wish: MakeWish
) -> None:
    spare.prepare(wish("decimal"))
    taken = spare.take(wish("decimal"))
    assert taken.worker is not None
    assert (taken.is_importing, taken.sentence) == (True, "")
    taken.worker.send(Prepare(root="/", pythonpath=(), database=""))
    finish(taken.worker)


def test_the_same_wish_again_keeps_the_spare(spare: NotedSpare, wish: MakeWish) -> None:
    spare.prepare(wish("decimal"))
    before = spare.pid
    spare.prepare(wish("decimal"))
    assert spare.pid == before


def test_another_wish_makes_a_new_one_and_ends_the_old(spare: NotedSpare, wish: MakeWish) -> None:
    spare.prepare(wish("decimal"))
    before = spare.pid
    spare.prepare(wish("decimal", "fractions"))
    assert spare.pid != before
    assert is_gone(before)


# What fits.


def changed(spare: NotedSpare, had: Wish, wanted: Wish) -> str:
    """Why a spare for one wish does not do for another; empty where it does."""
    spare.prepare(had)
    pid = spare.pid
    taken = spare.take(wanted)
    if taken.worker is None:
        assert is_gone(pid)
        return taken.sentence
    close_worker(taken.worker)
    assert taken.sentence == ""
    return ""


COLD = "starting from nothing: "
OTHER = f"{COLD}the tools import other modules than before"
CHANGED = f"{COLD}the installed packages have changed"


def test_one_that_has_imported_less_fits(spare: NotedSpare, wish: MakeWish) -> None:
    assert changed(spare, wish("decimal"), wish("decimal", "fractions")) == ""
    assert changed(spare, wish(), wish("decimal")) == ""


def test_one_that_has_imported_more_does_not(spare: NotedSpare, wish: MakeWish) -> None:
    """It could hide that an import is missing."""
    assert changed(spare, wish("decimal", "fractions"), wish("decimal")) == OTHER


def test_other_installed_packages_do_not_fit(spare: NotedSpare, wish: MakeWish) -> None:
    assert changed(spare, wish("decimal"), wish("decimal", installed="later")) == CHANGED


def test_another_pythonpath_or_root_does_not_fit(spare: NotedSpare, wish: MakeWish) -> None:
    assert changed(spare, wish(), wish(pythonpath=("/x",))) == OTHER
    elsewhere = replace(wish(), order=replace(wish().order, root="/"))
    assert changed(NotedSpare(), wish(), elsewhere) == OTHER


def test_a_reason_is_told_once(spare: NotedSpare, wish: MakeWish) -> None:
    assert changed(spare, wish(installed="1"), wish(installed="2")) == CHANGED
    assert changed(spare, wish(installed="2"), wish(installed="3")) == ""
    assert not spare.is_there


# What goes wrong.


def test_imports_that_fail_are_told_and_the_spare_serves(
    spare: NotedSpare, wish: MakeWish, installed: Path
) -> None:
    (installed / "bad.py").write_text("1 / 0\n")
    spare.prepare(wish("bad", "nowhere"))
    spare.until_it_has_spoken()
    taken = spare.take(wish("bad", "nowhere"))
    wrong = "ZeroDivisionError: division by zero"
    assert taken.sentence == f"could not be imported ahead: bad ({wrong})"
    assert [(name, wrong) for name, _, wrong in taken.modules] == [
        ("bad", wrong),
        ("nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
    ]
    assert taken.worker is not None
    close_worker(taken.worker)


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("os._exit(3)", "exited with code 3 by os._exit"),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL (out of memory?)"),
        ("os.kill(os.getpid(), 11)", "crashed with SIGSEGV"),
    ],
)
def test_a_spare_that_dies_of_its_imports_is_told_once_and_the_next_one_does_without_them(
    spare: NotedSpare, wish: MakeWish, installed: Path, code: str, end: str
) -> None:
    (installed / "deadly.py").write_text(f"import os\n{code}\n")
    spare.prepare(wish("deadly"))
    spare.until_it_is_dead()
    assert spare.take(wish("deadly")) == Taken(sentence=f"{COLD}the spare worker {end}")
    spare.prepare(wish("deadly"))
    spare.until_it_has_spoken()
    taken = spare.take(wish("deadly"))
    assert (taken.sentence, taken.modules) == ("", ())
    assert taken.worker is not None
    close_worker(taken.worker)


def test_a_spare_that_somebody_killed_costs_a_cold_start(spare: NotedSpare, wish: MakeWish) -> None:
    spare.prepare(wish("decimal"))
    spare.until_it_has_spoken()
    os.kill(spare.pid, 9)
    spare.until_it_is_dead()
    assert spare.take(wish("decimal")).worker is None
    spare.prepare(wish("decimal"))
    spare.until_it_has_spoken()
    taken = spare.take(wish("decimal"))
    assert taken.worker is not None
    close_worker(taken.worker)


def test_a_module_of_the_project_with_the_name_of_an_installed_one_makes_it_no_use(
    spare: NotedSpare, wish: MakeWish, installed: Path, project: Project
) -> None:
    (installed / "one.py").write_text("import two\n")
    (installed / "two.py").write_text("")
    src = str(project({"src/two.py": ""}) / "src")
    spare.prepare(wish("one", pythonpath=(src,)))
    pid = spare.pid
    spare.until_it_has_spoken()
    taken = spare.take(wish("one", pythonpath=(src,)))
    assert taken.worker is None
    assert taken.sentence == f"{COLD}the project has modules named as installed ones: two"
    assert is_gone(pid)


def test_where_no_process_can_be_started_there_is_none(
    spare: NotedSpare, wish: MakeWish, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> Supervisor:
        raise OSError("no more processes")

    monkeypatch.setattr(Supervisor, "start", fail)
    spare.prepare(wish("decimal"))
    assert not spare.is_there
    assert spare.take(wish("decimal")) == Taken()


# Its end.


def test_closing_leaves_no_process_and_no_descriptor(wish: MakeWish) -> None:
    before = sorted(os.listdir("/dev/fd"))
    spare = NotedSpare()
    spare.close()
    spare.prepare(wish("decimal"))
    pid = spare.pid
    spare.close()
    spare.close()
    assert not os.path.exists(f"/proc/{pid}")
    assert sorted(os.listdir("/dev/fd")) == before
    assert spare.take(wish("decimal")) == Taken()


def test_closing_ends_what_an_import_has_started(wish: MakeWish, installed: Path) -> None:
    (installed / "starts.py").write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('child', 'w').write(str(child.pid))\n"
    )
    spare = NotedSpare()
    made = wish("starts")
    spare.prepare(made)
    spare.until_it_has_spoken()
    child = int((Path(made.order.root) / "child").read_text())
    spare.close()
    assert is_gone(child)


def test_a_spare_in_the_middle_of_an_endless_import_can_be_closed(
    wish: MakeWish, installed: Path
) -> None:
    (installed / "endless.py").write_text(
        "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.mkfifo('gate')\nopen('gate')\n"
    )
    spare = NotedSpare()
    spare.prepare(wish("endless"))
    pid = spare.pid
    spare.close()
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
