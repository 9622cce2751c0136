"""What is read while shared code is loaded or a resource is opened: once in a worker, and every tool rests on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.driven_worker import DrivenWorker
from tests.support.editors import save
from tests.support.remembered import reasons
from tests.support.watching import tool_text, watching

CONFIG = "[tool.orch]\nstages = ['one']\ndatabase = 'sqlite:///data.db'\n"
TAKES_CFG = "from src import cfg\nSTAGE = 'one'\ndef run(): pass\n"
ALONE = "STAGE = 'one'\ndef run(): pass\n"
RESOURCE = "from discover_orch import resource\n"


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


def test_what_is_loaded_by_way_of_other_modules_and_tools_counts_too(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "pyproject.toml": CONFIG,
            "cfg.json": "1",
            "own.json": "1",
            "src/deep.py": "TEXT = open('cfg.json').read()\n",
            "src/cfg.py": "from src.deep import TEXT\n",
            "src/t1.py": tool(top="from src import deep\nOWN = open('own.json').read()"),
            "src/t2.py": TAKES_CFG,
            "src/t3.py": tool(top="from src.t1 import OWN"),
            "src/t4.py": ALONE,
        }
    )
    run_all(orch)
    (root / "cfg.json").write_text("22")
    assert list(reasons(orch)) == ["t1", "t2", "t3"]
    run_all(orch)
    (root / "own.json").write_text("22")
    assert {"t1", "t3"} <= reasons(orch).keys()
    assert "t4" not in reasons(orch)


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
    with DrivenWorker(root, observes=True) as worker:
        first, second = worker.run("t1"), worker.run("t2")
        worker.finish()
    assert (first.status, second.status) == ("failed", "passed")
    assert [path for path, *_ in first.setup.read] == ["cfg.json"]
    assert second.setup is None


def test_nothing_is_early_where_nothing_was_heard_before_the_call(project: Project) -> None:
    root = project(
        {
            "in.csv": "",
            "t1.py": "def run(): open('in.csv').close()\n",
            "t2.py": "OWN = open('in.csv').read()\ndef run(): open('x', 'w').close()\n",
        }
    )
    with DrivenWorker(root, observes=True) as worker:
        first, second = worker.run("t1"), worker.run("t2")
        worker.finish()
    assert first.setup is None
    assert [path for path, *_ in second.setup.read] == ["in.csv"]
    assert (second.setup.written, second.seen.written) == ((), ("x",))


def test_a_resource_that_reads_a_file_hands_it_on(project: Project, orch: Orch) -> None:
    root = project(
        {
            "pyproject.toml": CONFIG,
            "orchconf.py": RESOURCE
            + "@resource\ndef keys(): return open('keys.txt').read()\n"
            + "@resource\ndef client(keys): return keys\n",
            "keys.txt": "a",
            "src/t1.py": tool("def run(keys): pass"),
            "src/t2.py": tool("def run(client): pass"),
            "src/t3.py": tool("def run(keys): pass"),
            "src/t4.py": ALONE,
        }
    )
    run_all(orch)
    (root / "keys.txt").write_text("bb")
    assert reasons(orch) == {name: ["keys.txt changed"] for name in ("t1", "t2", "t3")}


def test_what_a_tool_reads_itself_is_not_handed_on_with_a_resource_that_was_open_already(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "pyproject.toml": CONFIG,
            "orchconf.py": RESOURCE + "@resource\ndef keys(): return 1\n",
            "own.txt": "a",
            "src/t1.py": tool("def run(keys): pass"),
            "src/t2.py": tool("def run(keys): pass", top="OWN = open('own.txt').read()"),
            "src/t3.py": tool("def run(keys): pass"),
        }
    )
    run_all(orch)
    (root / "own.txt").write_text("bb")
    assert reasons(orch) == {"t2": ["own.txt changed"]}


def test_a_resource_that_reads_a_table_hands_it_on(project: Project, orch: Orch) -> None:
    project(
        {
            "pyproject.toml": CONFIG,
            "orchconf.py": RESOURCE
            + "@resource\ndef names(conn): return conn.execute('SELECT a FROM t').fetchall()\n"
            + "@resource\ndef log(conn): conn.execute('CREATE TABLE IF NOT EXISTS log(a)')\n",
            "src/a.py": tool("def run(conn): conn.executescript('DROP TABLE IF EXISTS t;"
                             "CREATE TABLE t(a); INSERT INTO t VALUES (1);')"),
            "src/b.py": tool("def run(names): pass", top="AFTER = 'a'"),
            "src/c.py": tool("def run(names, log): pass", top="AFTER = 'b'"),
        }
    )  # fmt: skip
    run_all(orch)
    assert orch("run", "-q", "a").code == 0
    written = ["table t was rewritten by a (run 2)"]
    assert reasons(orch) == {"b": written, "c": written}


def test_a_database_that_shared_code_has_opened_is_looked_at_in_each_step(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "pyproject.toml": CONFIG,
            "src/store.py": "import sqlite3\nstore = sqlite3.connect('other.db')\n"
            "store.execute('CREATE TABLE IF NOT EXISTS t(a)')\n",
            "src/t1.py": tool(
                "def run():\n    store.execute('INSERT INTO t VALUES (1)')\n    store.commit()",
                top="from src.store import store",
            ),
            "src/t2.py": tool(
                "def run(): store.execute('SELECT * FROM t').fetchall()",
                top="from src.store import store\nAFTER = 't1'",
            ),
        }
    )
    run_all(orch)
    run_all(orch)
    assert orch("run", "-q", "t1").code == 0
    assert reasons(orch) == {"t2": ["other.db was rewritten by t1 (run 3)"]}


def test_a_file_that_is_written_after_shared_code_has_read_it_leaves_the_others_stale(
    project: Project, orch: Orch
) -> None:
    """They have seen the earlier text, and would see another one if they ran now."""
    project(
        {
            "pyproject.toml": CONFIG,
            "cfg.json": "1",
            "src/cfg.py": "TEXT = open('cfg.json').read()\n",
            "src/t1.py": tool("def run(): open('cfg.json', 'a').write('1')", "from src import cfg"),
            "src/t2.py": TAKES_CFG,
        }
    )
    assert orch("run", "-q").code == 0
    assert reasons(orch) == {"t2": ["cfg.json was rewritten by t1 (run 1)"]}
    assert orch("run", "-q", "--changed").code == 0
    assert reasons(orch) == {}


def test_own_files_in_a_folder_that_shared_code_listed_do_not_count(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "pyproject.toml": CONFIG,
            "out/first": "",
            "src/cfg.py": "import os\nNAMES = os.listdir('out')\n",
            "src/t1.py": TAKES_CFG,
            "src/t2.py": tool("def run(): open('out/second', 'w').close()", "from src import cfg"),
        }
    )
    assert orch("run", "-q").code == 0  # from now on, `t2` comes first
    assert reasons(orch) == {"t1": ["out/second was made by t2 (run 1, after this tool)"]}
    run_all(orch)
    run_all(orch)


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
