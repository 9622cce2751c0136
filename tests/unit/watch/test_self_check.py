"""How watching works on this machine, with real folders and a real worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from discover_orch.execution.supervisor import Supervisor
from discover_orch.planning.param_values import GivenParams
from discover_orch.watch import self_check
from discover_orch.watch.project import WatchedProject, WatchRequest
from discover_orch.watch.self_check import WatchDiagnostics, diagnose
from tests.conftest import Orch, Project
from tests.support.running import is_gone

TOOL = "{top}\nSTAGE = 's'\nopen('ran', 'w').close()\ndef run(): pass\n"
FILES = {
    "orch.toml": "",
    "src/a.py": TOOL.format(top="import decimal"),
    "src/sub/helper.py": "x = 1\n",
}


@pytest.fixture
def pids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of the workers that were started."""
    started: list[int] = []

    def start() -> Supervisor:
        made = Supervisor.start()
        started.append(made.pid)
        return made

    class Noted(Supervisor):
        pass

    monkeypatch.setattr(Noted, "start", start)
    monkeypatch.setattr(self_check, "Supervisor", Noted)
    return started


def find(
    root: Path, *words: str, must_poll: bool = False, preload: tuple[str, ...] | None = None
) -> WatchDiagnostics:
    request = WatchRequest(
        start=str(root), folder=None, words=words, values=GivenParams(folder=str(root))
    )
    found = diagnose(WatchedProject(request, {}), must_poll=must_poll, preload=preload)
    assert not (root / "ran").exists()
    return found


def test_it_says_what_is_watched_and_how(project: Project) -> None:
    diagnosis = find(project(FILES))
    assert (diagnosis.tools, diagnosis.files) == (1, 3)
    assert diagnosis.mode in ("events", "polling", "mixed")
    assert 0 < diagnosis.look < 5
    assert diagnosis.interval > 0
    folders = {one.path: one for one in diagnosis.folders}
    assert (folders["src"].is_deep, folders["src"].inside) == (True, 2)
    assert (folders["."].is_deep, folders["."].inside) == (False, 1)
    assert diagnosis.warnings == ()


def test_it_counts_the_data_that_tools_were_seen_to_read(project: Project, orch: Orch) -> None:
    reads = (
        "open('in.csv'); open('in/x.csv'); os.listdir('in'); os.path.exists('x') or os.stat('in')"
    )
    text = f"import os\nSTAGE = 's'\nORCH = {{'inputs': 'late.csv'}}\ndef run(): {reads}\n"
    root = project({"orch.toml": "", "src/a.py": text, "in.csv": "", "in/x.csv": ""})
    assert orch("run").code == 0
    diagnosis = find(root)
    assert (diagnosis.observed, diagnosis.listed) == (3, 1)
    assert diagnosis.files == 4


def test_polling_can_be_asked_for(project: Project) -> None:
    assert find(project(FILES), must_poll=True).mode == "polling"


def test_what_the_watched_tools_import_is_imported_in_a_process_that_then_ends(
    project: Project, pids: list[int]
) -> None:
    diagnosis = find(project(FILES))
    assert [(name, wrong) for name, _, wrong in diagnosis.imports] == [("decimal", "")]
    (pid,) = pids
    assert is_gone(pid)


def test_targets_limit_what_is_imported(project: Project) -> None:
    root = project({**FILES, "src/b.py": TOOL.format(top="import fractions")})
    names = [name for name, _, _ in find(root, "b").imports]
    assert names == ["fractions"]


def test_others_can_be_named_or_none(project: Project) -> None:
    root = project(FILES)
    imports = find(root, preload=("fractions", "no_such_module")).imports
    assert {name: wrong for name, _, wrong in imports} == {
        "fractions": "",
        "no_such_module": "ModuleNotFoundError: No module named 'no_such_module'",
    }
    assert find(root, preload=()).imports == ()


def test_the_slowest_come_first(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(
        {
            **FILES,
            "site-packages/slow.py": "import time; time.sleep(0.05)\n",
            "site-packages/quick.py": "",
        }
    )
    monkeypatch.setenv("PYTHONPATH", str(root / "site-packages"))
    assert [name for name, _, _ in find(root, preload=("quick", "slow")).imports] == [
        "slow",
        "quick",
    ]


def test_imports_that_end_the_process_are_a_warning(
    project: Project, pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project({**FILES, "site-packages/deadly.py": "import os; os._exit(3)\n"})
    monkeypatch.setenv("PYTHONPATH", str(root / "site-packages"))
    diagnosis = find(root, preload=("deadly",))
    (warning,) = diagnosis.warnings
    assert warning.message == ("preloading ends the process: it exited with code 3")
    assert warning.severity == "warning"
    assert "set preload in [watch] to" in warning.hint
    (root / "orch.toml").unlink()
    (root / "pyproject.toml").write_text("[tool.orch]\n")
    (warning,) = find(root, preload=("deadly",)).warnings
    assert "set preload in [tool.orch.watch] to" in warning.hint
    assert is_gone(pids[0])


def test_imports_that_never_end_are_a_warning(
    project: Project, pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(
        {**FILES, "site-packages/endless.py": "import os\nos.mkfifo('gate')\nopen('gate')\n"}
    )
    monkeypatch.setenv("PYTHONPATH", str(root / "site-packages"))
    monkeypatch.setattr(self_check, "IMPORT_TIMEOUT", 0.1)
    (warning,) = find(root, preload=("endless",)).warnings
    assert warning.message == "preloading takes longer than 0.1 s"
    assert is_gone(pids[0])


def test_a_module_of_the_project_with_the_name_of_an_installed_one_is_a_warning(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(
        {**FILES, "site-packages/one.py": "import two\n", "site-packages/two.py": "", "two.py": ""}
    )
    monkeypatch.setenv("PYTHONPATH", str(root / "site-packages"))
    (warning,) = find(root, preload=("one",)).warnings
    assert warning.message == "modules of the project have the names of installed modules: two"


def test_it_leaves_no_descriptor(project: Project) -> None:
    root = project(FILES)
    find(root)
    before = sorted(os.listdir("/dev/fd"))
    find(root)
    assert sorted(os.listdir("/dev/fd")) == before
