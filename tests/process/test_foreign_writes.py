"""What another program writes to the SQLite database while a run is in progress, and what is not to be taken for it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.project_builder import write_files
from tests.support.remembered import reasons, rows
from tests.support.running import running

#: Goes on when the other program has written.
WAIT = """
    import os, time
    def wait():
        print("ready", flush=True)
        end = time.monotonic() + 60
        while not os.path.exists("../go") and time.monotonic() < end:
            time.sleep(0.01)
    """
READ = """
    STAGE = "{stage}"
    ORCH = {{"inputs": [], "outputs": []}}
    from src.lib.waiting import wait
    def run(conn):
        print(conn.execute("SELECT x FROM raw").fetchall())
        {last}
    """
PAUSE = """
    STAGE = "b"
    ORCH = {"inputs": [], "outputs": []}
    from src.lib.waiting import wait
    def run():
        wait()
    """
#: The tools, and those of them that are stale afterwards.
MOMENTS = {
    "during_a_tool": ({"early": ("a", "pass"), "one": ("b", "wait()")}, ["early", "one"]),
    "between_two_tools": ({"early": ("a", "pass"), "late": ("c", "pass")}, ["early"]),
    "after_the_last_tool": ({"early": ("a", "pass")}, ["early"]),
}


def build(project: Project, mode: str, tools: dict[str, tuple[str, str]]) -> Path:
    root = project({"src/lib/__init__.py": "", "src/lib/waiting.py": WAIT})
    for name, (stage, last) in tools.items():
        write_files(root, {f"src/{name}.py": READ.format(stage=stage, last=last)})
    if "one" not in tools:
        write_files(root, {"src/pause.py": PAUSE})
    with closing(sqlite3.connect(root / "data.db", isolation_level=None)) as conn:
        conn.execute(f"PRAGMA journal_mode = {mode}")
        conn.execute("CREATE TABLE raw (x)")
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "mode"),
    [
        *((moment, "delete") for moment in MOMENTS),
        ("during_a_tool", "wal"),
        pytest.param("between_two_tools", "wal", marks=pytest.mark.slow),
        pytest.param("after_the_last_tool", "wal", marks=pytest.mark.slow),
    ],
)
def test_what_another_program_writes_during_a_run_makes_its_readers_stale(
    moment: str, mode: str, project: Project, orch: Orch
) -> None:
    tools, expected = MOMENTS[moment]
    root = build(project, mode, tools)
    with running(root, "run", "--output", "live") as run:
        run.wait_for("ready")
        with closing(sqlite3.connect(root / "data.db")) as conn:
            conn.execute("INSERT INTO raw VALUES (3)")
            conn.commit()
        (root / "../go").touch()
        assert run.wait() == 0, run.text
    stale = reasons(orch)
    assert [*stale] == expected
    assert all("another program wrote to the database" in stale[name][0] for name in expected)
    assert orch("run", "--changed").code == 0
    assert reasons(orch) == {}


@pytest.mark.slow
def test_an_edit_in_the_middle_of_a_run_is_not_hidden_by_what_changes_the_table_later(
    project: Project, orch: Orch
) -> None:
    make = 'conn.execute("DROP TABLE IF EXISTS t"); conn.execute("CREATE TABLE t AS SELECT 1 AS x")'
    root = project(
        {
            "src/lib/__init__.py": "",
            "src/lib/waiting.py": WAIT,
            "src/pause.py": PAUSE,
            "src/make.py": f'STAGE = "a"\ndef run(conn): {make}\n',
            "src/double.py": 'STAGE = "c"\ndef run(conn): conn.execute("UPDATE t SET x = x * 2")\n',
        }
    )
    with running(root, "run", "--output", "live") as run:
        run.wait_for("ready")
        with closing(sqlite3.connect(root / "data.db")) as conn:
            conn.execute("UPDATE t SET x = 5")
            conn.commit()
        (root / "../go").touch()
        assert run.wait() == 0, run.text
    assert rows(root, "SELECT x FROM t") == [(10,)]
    assert "ran on table t as an edit had left it, not as make leaves it" in reasons(orch)["double"]
    assert orch("run", "--changed").code == 0
    assert rows(root, "SELECT x FROM t") == [(2,)]
    assert reasons(orch) == {}


OWN_WRITES = {
    "a_connection_of_its_own": """
        def run(conn):
            conn.execute("SELECT x FROM raw").fetchall()
            with sqlite3.connect("data.db") as own:
                own.execute("INSERT INTO raw VALUES (1)")
            own.close()
        """,
    "a_connection_that_a_module_keeps": """
        from src.lib.shared import own
        def run(conn):
            conn.execute("SELECT x FROM raw").fetchall()
            with own() as kept:
                kept.execute("INSERT INTO raw VALUES (1)")
        """,
    "a_process": """
        def run(conn):
            conn.execute("SELECT x FROM raw").fetchall()
            code = "import sqlite3; c = sqlite3.connect('data.db'); c.execute('INSERT INTO raw VALUES (1)'); c.commit()"
            subprocess.run([sys.executable, "-c", code], check=True)
        """,
}
SHARED = """
    import functools, sqlite3
    @functools.cache
    def own():
        return sqlite3.connect("data.db", check_same_thread=False)
    """


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("how", OWN_WRITES)
def test_what_a_tool_writes_past_conn_is_not_taken_for_another_program(
    how: str, jobs: int, project: Project, orch: Orch
) -> None:
    head = "import sqlite3, subprocess, sys\nSTAGE = 'b'\nAFTER = ()\n"
    root = project({"src/lib/__init__.py": "", "src/lib/shared.py": SHARED})
    write_files(root, {"src/early.py": READ.format(stage="a", last="pass")})
    for name in ("one", "two"):
        write_files(root, {f"src/{name}.py": OWN_WRITES[how]})
        path = root / "src" / f"{name}.py"
        path.write_text(head + path.read_text())
    write_files(root, {"src/lib/waiting.py": WAIT})
    rows(root, "CREATE TABLE raw (x)")
    answer = orch("run", "--jobs", str(jobs))
    assert answer.code == 0, answer.text
    told = [reason for some in reasons(orch).values() for reason in some]
    assert not [one for one in told if "another program" in one]


def test_what_a_run_wrote_before_its_reader_was_gone_is_its_own(
    project: Project, orch: Orch
) -> None:
    root = project({"src/lib/__init__.py": "", "src/lib/waiting.py": WAIT})
    write = "STAGE = 'a'\ndef run(conn):\n    conn.execute('CREATE TABLE IF NOT EXISTS raw (x)')\n    conn.execute('INSERT INTO raw VALUES (1)')\n"
    write_files(
        root,
        {
            "src/fill.py": write,
            "src/more.py": write,
            "src/look.py": READ.format(stage="b", last="pass"),
        },
    )
    write_files(root, {"src/pause.py": PAUSE.replace('"b"', '"c"')})
    with running(root, "run", "--output", "live") as run:
        run.wait_for("ready")
        run.hang_up()  # as `orch run | head` does
        (root / "../go").touch()
        run.wait()
    told = [reason for some in reasons(orch).values() for reason in some]
    assert not [one for one in told if "another program" in one], told
