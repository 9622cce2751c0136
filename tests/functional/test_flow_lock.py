"""`orch.lock` in clones of git: what is known there before anything has run. The rest is in `tests/scenes/lock.scene`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Orch, Project

PIPELINE = {
    "orch.toml": 'stages = ["ingest", "report"]\n',
    ".gitignore": ".orch/\ndata.db*\n__pycache__/\nout/\n",
    "data/orders.csv": "north,1\n",
    "conf/shop.yaml": "title: Shop\n",
    "conf/days/monday.csv": "1\n",
    "scripts/count.sh": "wc -l data/orders.csv\n",
    "scripts/child.py": "import sys\nsys.path.insert(0, 'src')\nimport helper\n",
    "src/helper.py": "NUMBER = 1\n",
    "src/load.py": """
        STAGE = "ingest"
        import csv, subprocess
        def run(conn):
            conn.execute("CREATE TABLE IF NOT EXISTS orders (shop, amount)")
            conn.execute("DELETE FROM orders")
            conn.executemany("INSERT INTO orders VALUES (?, ?)", csv.reader(open("data/orders.csv")))
        """,
    # By name it would come first.
    "src/clean.py": """
        STAGE = "ingest"
        def run(conn):
            conn.execute("DROP TABLE IF EXISTS cleaned")
            conn.execute("CREATE TABLE cleaned AS SELECT * FROM orders")
        """,
    "src/counted.py": """
        STAGE = "ingest"
        ORCH = {"outputs": []}
        import subprocess
        def run(): subprocess.run(["sh", "scripts/count.sh"], check=True)
        """,
    "src/child.py": f"""
        STAGE = "ingest"
        ORCH = {{"outputs": []}}
        import subprocess
        def run(): subprocess.run([{sys.executable!r}, "-B", "scripts/child.py"], check=True)
        """,
    "src/again.py": """
        STAGE = "report"
        def run(conn):
            conn.execute("UPDATE orders SET amount = 2 * amount")
        """,
    "src/totals.py": """
        STAGE = "report"
        from pathlib import Path
        def run(conn):
            Path("conf/shop.yaml").read_text()
            for path in Path("conf/days").iterdir(): path.read_text()
            if Path("conf/extra.yaml").exists(): pass
            conn.execute("SELECT * FROM cleaned")
            Path("out").mkdir(exist_ok=True)
            Path("out/totals.txt").write_text("x")
        """,
    "src/zip.py": """
        STAGE = "report"
        from pathlib import Path
        def run(): Path("out/totals.zip").write_text(Path("out/totals.txt").read_text())
        """,
}
IN_ORDER = ("load", "clean", "counted", "child", "totals", "zip", "again")
WHO = ("-c", "user.name=a", "-c", "user.email=a@b.c")


def git(root: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(["git", *WHO, *words], cwd=root, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def clone(project: Project, orch: Orch) -> Callable[[], Path]:
    """Runs the pipeline, locks and commits it, and puts a fresh clone in place of the project."""
    root = project(PIPELINE)
    assert orch("run", "--quiet", *IN_ORDER).code == 0
    assert orch("run", "--quiet").code == 0
    assert orch("lock").code == 0
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")

    def build() -> Path:
        first = root.with_name("first")
        if not first.exists():
            root.rename(first)
        else:
            shutil.rmtree(root)
        git(root.parent, "clone", "-q", "first", "project")
        return root

    return build


def names(text: str) -> list[str]:
    """Those of a listing, in its order."""
    return [line.split()[0] for line in text.splitlines() if line[:2] == "  " != line[1:3]]


def test_the_order_and_the_checks_of_a_clone_are_those_of_where_it_has_run(
    clone: Callable[[], Path], orch: Orch
) -> None:
    order, check = names(orch("list").out), orch("check")
    assert order.index("load") < order.index("clean")
    assert "warning: " in check.out
    root = clone()
    assert names(orch("list").out) == order
    assert orch("check").out == check.out
    planned = orch("run", "--dry-run").out
    assert planned.index(" load ") < planned.index(" clean ")
    (root / "orch.lock").unlink()
    assert names(orch("list").out) != order
    assert orch("check").out != check.out


#: A path, its new text, and the tools that a change of it selects.
CHANGES = [
    ("conf/shop.yaml", "title: Other\n", ["totals", "zip"]),
    ("conf/days/tuesday.csv", "2\n", ["totals", "zip"]),
    ("conf/extra.yaml", "", ["totals", "zip"]),
    ("data/orders.csv", "north,2\n", ["clean", "load", "counted", "again", "totals", "zip"]),
    ("scripts/count.sh", "echo\n", ["counted"]),
    ("scripts/child.py", "print(1)\n", ["child"]),
    ("src/helper.py", "NUMBER = 2\n", ["child"]),
    ("src/helper.py", "NUMBER = 1  # a comment\n", []),
    ("README.md", "nobody reads this\n", []),
]


def test_a_pull_request_of_what_tools_read_selects_them_in_a_clone(
    clone: Callable[[], Path], orch: Orch
) -> None:
    root = clone()
    for path, text, selected in CHANGES:
        git(root, "checkout", "-q", "-B", "change", "origin/main")
        (root / path).write_text(text)
        git(root, "add", "-A")
        git(root, "commit", "-qm", "two")
        listed = orch("list", "--changed-since", "origin/main")
        assert sorted(names(listed.out)) == sorted(selected), path
        (root / "orch.lock").unlink()  # as it was without
        git(root, "commit", "-qam", "three")
        assert names(orch("list", "--changed-since", "origin/main").out) == []


def test_what_read_the_data_of_a_tool_that_is_gone_is_selected(
    clone: Callable[[], Path], orch: Orch
) -> None:
    root = clone()
    git(root, "rm", "-q", "src/totals.py")
    assert orch("lock").code == 0  # it says nothing of totals any more
    git(root, "commit", "-qam", "two")
    assert "src.totals" not in (root / "orch.lock").read_text()
    shown = orch("run", "--dry-run", "--changed-since", "origin/main").out
    assert " zip " in shown
    assert "downstream of totals, which was removed" in shown


def test_no_tool_is_fresh_because_of_the_lock(project: Project, orch: Orch) -> None:
    """What has run here is judged as if there were no lock: who has not run may write anything."""
    tool = """
        STAGE = "{0}"
        from pathlib import Path
        def run(): Path("{1}").write_text(Path("in.txt").read_text())
        """
    made = {"src/a.py": tool.format("ingest", "a.txt"), "src/b.py": tool.format("report", "b.txt")}
    root = project({"orch.toml": 'stages = ["ingest", "report"]\n', "in.txt": "1", **made})
    assert orch("run", "--quiet").code == 0
    assert orch("lock").code == 0
    shutil.rmtree(root / ".orch")
    assert states(orch) == {"a": "never", "b": "never"}
    assert orch("run", "b", "--quiet").code == 0
    assert states(orch) == {"a": "never", "b": "stale"}
    (root / "orch.lock").unlink()
    assert states(orch) == {"a": "never", "b": "stale"}


def states(orch: Orch) -> dict[str, str]:
    return {one["name"]: one["state"] for one in orch("status", "--json").json["tools"]}


def test_a_conflict_of_git_is_named_and_written_anew(clone: Callable[[], Path], orch: Orch) -> None:
    root = clone()
    for branch, line in (("one", "reads file conf/one"), ("two", "reads file conf/two")):
        git(root, "checkout", "-qb", branch, "origin/main")
        lock = root / "orch.lock"
        lock.write_text(lock.read_text().replace("reads file conf/shop.yaml", line))
        git(root, "commit", "-qam", branch)
    git(root, "merge", "-q", "one", code=1)
    listed = orch("list")
    assert listed.code == 0
    assert "warning: orch.lock:" in listed.err
    assert "git has left a conflict here" in listed.err
    refused = orch("run", "--changed-since", "origin/main")
    assert refused.code == 2
    assert "git has left a conflict here" in refused.err
    assert orch("lock").code == 1
    assert orch("run", "--quiet", *IN_ORDER).code == 0
    assert orch("lock").code == 0
    git(root, "diff", "--quiet", "origin/main", "--", "orch.lock")


def test_ci_sees_that_the_lock_is_out_of_date_after_a_run(
    clone: Callable[[], Path], orch: Orch
) -> None:
    root = clone()
    totals = root / "src/totals.py"
    totals.write_text(totals.read_text().replace("conf/shop.yaml", "data/orders.csv"))
    ran = orch("run", "--quiet")
    assert ran.err.count("orch.lock is out of date: it says something else of totals") == 1
    checked = orch("lock", "--check")
    assert checked.code == 1
    assert "-  reads file conf/shop.yaml\n+  reads file data/orders.csv\n" in checked.out.replace(
        "   reads file conf/days/monday.csv\n", ""
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "duckdb"])
def test_the_lock_is_the_same_on_each_database_and_after_each_run(
    kind: str, project: Project, orch: Orch, postgres: str
) -> None:
    urls = {"sqlite": "sqlite:///a.db", "postgres": postgres, "duckdb": "duckdb:///a.duckdb"}
    env = {"ORCH_DATABASE": urls[kind]}
    root = project(
        {
            "src/z_load.sql": "-- STAGE: one\nDROP TABLE IF EXISTS raw;\nCREATE TABLE raw AS SELECT 1 AS x",
            "src/m_clean.sql": "-- STAGE: one\nDROP TABLE IF EXISTS clean;\n"
            "CREATE TABLE clean AS SELECT x FROM raw WHERE x > 0",
            "src/a_keep.sql": "-- STAGE: two\nCREATE TABLE IF NOT EXISTS kept (x INTEGER);\n"
            "INSERT INTO kept SELECT x FROM clean",
        }
    )
    assert orch("run", "z_load", "m_clean", "a_keep", "--quiet", env=env).code == 0
    assert orch("lock", env=env).code == 0
    assert (
        (root / "orch.lock").read_text().partition("\n")[2]
        == """
src.a_keep
  reads table clean
  writes table kept

src.m_clean
  reads table raw
  writes table clean

src.z_load
  reads nothing
  writes table raw
"""
    )
    assert orch("run", "--quiet", env=env).code == 0
    assert orch("lock", "--check", env=env).code == 0
    shutil.rmtree(root / ".orch")
    assert names(orch("list", env=env).out) == ["z_load", "m_clean", "a_keep"]
    # Another database, in which nothing is there yet, says the same.
    fresh = {"ORCH_DATABASE": urls[kind].replace("a.d", "b.d")}
    if kind != "postgres":
        assert orch("run", "--quiet", env=fresh).code == 0
        assert orch("lock", "--check", env=fresh).code == 0


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgres"])
def test_it_says_the_same_whether_or_not_what_a_tool_drops_was_there(
    project: Project, orch: Orch, new_postgres: Callable[[], str], kind: str
) -> None:
    """In the first run nothing is; later an index goes with its table, and with CASCADE views and whole schemas do."""
    url = new_postgres() if kind == "postgres" else f"{kind}:///data.db"
    base = ["DROP TABLE IF EXISTS t", "CREATE TABLE t (a int)", "DROP TABLE IF EXISTS old"]
    more = ["CREATE INDEX IF NOT EXISTS i ON t (a)", "CREATE TABLE IF NOT EXISTS old (a int)"]
    if kind != "sqlite":
        base[0] += " CASCADE"
        base += [
            "DROP SCHEMA IF EXISTS s CASCADE",
            "CREATE SCHEMA s",
            "CREATE TABLE s.t AS SELECT 1 AS a",
        ]
        more += [
            "CREATE OR REPLACE VIEW v AS SELECT * FROM t",
            "CREATE TABLE s.u AS SELECT * FROM s.t",
        ]
    root = project({"orch.toml": f"stages = ['one', 'two']\ndatabase = '{url}'\n"})
    for name, stage, statements in (("base", "one", base), ("more", "two", more)):
        lines = [f"    conn.execute({one!r})\n" for one in statements]
        text = f"STAGE = '{stage}'\ndef run(conn):\n{''.join(lines)}"
        (root / "src").mkdir(exist_ok=True)
        (root / "src" / f"{name}.py").write_text(text)
    assert orch("run").code == orch("lock").code == 0
    first = (root / "orch.lock").read_text()
    assert "drops table old" in first
    for _ in range(2):
        assert orch("run").code == 0
        checked = orch("lock", "--check")
        assert checked.code == 0, checked.text
