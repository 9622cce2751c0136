"""What is read while shared code is loaded or a resource is opened: once in a worker, and every tool rests on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.driven_worker import DrivenWorker
from tests.support.editors import save
from tests.support.remembered import reasons
from tests.support.seen import see
from tests.support.watching import tool_text, watching

CONFIG = "[tool.orch]\nstages = ['one']\ndatabase = 'sqlite:///data.db'\n"
TAKES_CFG = "from src import cfg\nSTAGE = 'one'\ndef run(): pass\n"
ALONE = "STAGE = 'one'\ndef run(): pass\n"


def tool(run: str = "def run(): pass", top: str = "") -> str:
    return f"{top}\nSTAGE = 'one'\n{run}\n"


def run_all(orch: Orch) -> None:
    answer = orch("run", "-q")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}


@pytest.mark.parametrize(
    ("read", "change", "reason"),
    [
        ("open('cfg.json').read()", "edit", "cfg.json changed"),
        ("sorted(os.listdir('in'))", "add", "in/b.csv now exists"),
        ("open('absent.json').read() if try_it() else None", "make", "absent.json now exists"),
    ],
)
def test_every_tool_with_shared_code_rests_on_what_its_loading_read(
    project: Project, orch: Orch, read: str, change: str, reason: str
) -> None:
    try_it = "def try_it():\n    try: open('absent.json')\n    except OSError: return False\n"
    root = project(
        {
            "pyproject.toml": CONFIG,
            "cfg.json": "1",
            "in/a.csv": "",
            "src/cfg.py": f"import os\n{try_it}\nFOUND = {read}\n",
            "src/t1.py": TAKES_CFG,
            "src/t2.py": TAKES_CFG,
            "src/t3.py": ALONE,
        }
    )
    run_all(orch)
    change_project(root, change)
    assert reasons(orch) == {"t1": [reason], "t2": [reason]}
    assert orch("run", "-q", "t2").code == 0  # it loads it anew, and is the first to
    assert reasons(orch) == {"t1": [reason]}
    run_all(orch)


def change_project(root: Path, how: str) -> None:
    if how == "edit":
        (root / "cfg.json").write_text("22")
    elif how == "add":
        (root / "in" / "b.csv").touch()
    else:
        (root / "absent.json").touch()


def test_a_tool_that_fails_as_it_is_loaded_has_loaded_for_others(
    project: Project,
) -> None:
    root = project(
        {
            "cfg.json": "1",
            "cfg.py": "TEXT = open('cfg.json').read()\n",
            "t1.py": "import cfg\n1 / 0\n",
            "t2.py": "import cfg\ndef run(): pass\n",
        }
    )
    with DrivenWorker(root) as worker:
        first, second = worker.run("t1"), worker.run("t2")
        worker.finish()
    assert (first.status, second.status) == ("failed", "passed")
    shared = {use.path: [path for path, *_ in use.read] for use in see(first.seen).shared}
    assert shared == {"cfg.py": ["cfg.json"], "t1.py": ["cfg.json"]}
    assert see(second.seen).shared == ()


def test_what_a_tool_reads_and_does_not_keep_is_not_shared(project: Project) -> None:
    root = project(
        {
            "in.csv": "",
            "t1.py": "def run(): open('in.csv').close()\n",
            "t2.py": "OWN = open('in.csv').read()\ndef run(): open('x', 'w').close()\n",
        }
    )
    with DrivenWorker(root) as worker:
        first, second = worker.run("t1"), worker.run("t2")
        worker.finish()
    assert see(first.seen).shared == ()
    (use,) = see(second.seen).shared
    assert [path for path, *_ in use.read] == ["in.csv"]
    assert (use.written, see(second.seen).written) == ((), ("x",))


def test_under_a_watch_each_of_them_runs_again(project: Project) -> None:
    top = "from src import cfg"
    root = project(
        {
            "orch.toml": "",
            "cfg.json": "1",
            "src/cfg.py": "TEXT = open('cfg.json').read()\n",
            "src/t1.py": tool_text(top=top),
            "src/t2.py": tool_text(top=top),
            "src/t3.py": tool_text(),
        }
    )
    with watching(root, "--scope", "tool") as watch:
        for text in ("22", "333"):
            save(root / "cfg.json", text)
            assert {*watch.next_run().ended} == {"t1", "t2"}
        assert watch.settle() == [], watch.story()
