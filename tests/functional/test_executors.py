"""The contract of all executors: a run elsewhere is as a run here, and what goes wrong is a sentence."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.executors import SRUN, new_mark, outcome
from tests.support.running import find_marked, running, wait_until

MIXED = {
    "orch.toml": 'stages = ["one", "two"]',
    "orchconf.py": """
        from discover_orch import resource

        @resource
        def book():
            yield "a book"
        """,
    "src/passes.py": """
        import os, sys
        STAGE = "one"
        AFTER = ()
        def run(conn, book, *, limit: int = 3, api_token: str = "none"):
            print("one", limit, book, len(api_token), flush=True)
            print("two", file=sys.stderr)
            conn.execute("CREATE TABLE kept (x integer)")
            conn.execute("INSERT INTO kept VALUES (?)", (limit,))
            return {"rows": limit, "share": float("nan") if limit < 0 else 0.5}
        """,
    "src/fails.py": """
        STAGE = "one"
        AFTER = ()
        def run(conn):
            conn.execute("CREATE TABLE lost (x integer)")
            raise ValueError("no such thing: \\u2603")
        """,
    "src/blocked.py": 'STAGE = "two"\nAFTER = "fails"\ndef run(): pass\n',
    "src/exits.py": 'import sys\nSTAGE = "one"\nAFTER = ()\ndef run(): sys.exit("enough")\n',
    "src/dies.py": 'import os\nSTAGE = "one"\nAFTER = ()\ndef run(): os.kill(os.getpid(), 9)\n',
    "src/hangs.py": """
        import time
        STAGE = "one"
        AFTER = ()
        ORCH = {"timeout": 1}
        def run(conn):
            conn.execute("CREATE TABLE hung (x integer)")
            while True:
                time.sleep(0.1)
        """,
    "src/again.py": """
        from pathlib import Path
        STAGE = "one"
        AFTER = ()
        ORCH = {"retries": 2, "retry_delay": 0.01}
        def run():
            count = Path("count.txt")
            tried = int(count.read_text()) if count.exists() else 0
            count.write_text(str(tried + 1))
            if tried < 1:
                raise RuntimeError("not yet")
        """,
    "src/stops.py": 'STAGE = "one"\nAFTER = ()\ndef run(): breakpoint()\n',
    "src/checked.py": """
        STAGE = "one"
        AFTER = ()
        ORCH = {"retries": 2}
        def run(conn, *, limit: int = 3, api_token: str = "none"):
            conn.execute("CREATE TABLE unchecked (x integer)")
            return {"limit": limit}
        def check_limit(conn, book, result, limit, api_token):
            assert result["limit"] < limit, f"{book} {api_token}"
        def check_rows(conn):
            return conn.execute("SELECT 1 AS one, 2 AS two")
        async def warn_writes(conn):
            conn.execute("DROP TABLE unchecked")
            return [{"limit": 1}]
        """,
    "src/later.py": """
        STAGE = "one"
        AFTER = "passes"
        def run(conn):
            return {"rows": conn.execute("SELECT count(*) FROM kept").fetchone()[0]}
        def check_rows(result, previous):
            assert result["rows"] == 1 and previous in (None, result)
        """,
}
COMMAND = ("--executor", "command")
#: What such a run gets.
ELSEWHERE = ("--limit", "5", "--api-token", "swordfish-and-more")
WAITS = """
    import time
    STAGE = "one"
    def run(conn):
        conn.execute("CREATE TABLE half (x)")
        conn.commit()
        print("it runs", flush=True)
        while True:
            time.sleep(0.05)
    """


def tables(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        return sorted(
            name
            for (name,) in conn.execute(
                "SELECT name FROM sqlite_master WHERE name NOT LIKE '%orch%'"
            )
        )


@pytest.mark.slow
def test_a_run_elsewhere_is_as_a_run_here(project: Project, orch: Orch) -> None:
    root = project(MIXED)
    words = ("run", "--json", *ELSEWHERE)
    expected = outcome(orch(*words))
    here = {one["name"]: one["state"] for one in orch("status", "--json").json["tools"]}
    assert expected["code"] == 1
    assert expected["counts"]["passed"] == 3
    assert tables(root) == ["kept"]
    for name in ("data.db", "data.db-wal", "data.db-shm", "count.txt"):
        (root / name).unlink(missing_ok=True)
    answer = orch(*words, "--jobs", "3", *COMMAND)
    assert outcome(answer) == expected, answer.err
    assert "swordfish" not in answer.out
    assert tables(root) == ["kept"]
    states = {one["name"]: one["state"] for one in orch("status", "--json").json["tools"]}
    assert states == here
    assert "one 5 a book 18" in orch("logs", "passes").out
    resumed = orch("run", "--resume", "-n", "--json", "--api-token", "x").json
    assert {one["name"] for one in resumed["tools"]} == {
        one for one, tool in expected["tools"].items() if tool["ends"][-1]["status"] != "passed"
    }


def test_an_interrupt_stops_the_tool_there_and_undoes_its_work(
    project: Project, tmp_path: Path
) -> None:
    root = project({"src/waits.py": WAITS})
    mark = new_mark()
    with running(root, "run", *COMMAND, **{mark: "1"}) as orch:
        orch.wait_for("it runs")
        orch.send(signal.SIGINT)
        assert orch.wait() == 130, orch.text
        assert "interrupted" in orch.text
        assert "Traceback" not in orch.text
    assert tables(root) == []
    wait_until(lambda: not find_marked(mark), "the end of all processes")


def test_nothing_outlives_an_orch_that_is_killed(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    root = project({"src/waits.py": WAITS})
    mark = new_mark()
    with running(root, "run", *COMMAND, **{mark: "1"}) as killed:
        killed.wait_for("it runs")
        killed.send(signal.SIGKILL)
        wait_until(lambda: not find_marked(mark), "the end of all processes")
    assert tables(root) == []
    assert orch("history", "--json").json["runs"][0]["status"] == "killed"
    assert orch("status", "--json").json["tools"][0]["state"] == "failed"


def test_source_that_has_changed_is_refused_and_named(project: Project, orch: Orch) -> None:
    project(
        {
            "src/lib.py": "VALUE = 1\n",
            "src/a.py": """
                from pathlib import Path
                STAGE = "one"
                def run():
                    Path("src/lib.py").write_text("VALUE = 2\\n")
                """,
            "src/b.py": 'from src.lib import VALUE\nSTAGE = "two"\nAFTER = "a"\ndef run(): print(VALUE)\n',
        }
    )
    answer = orch("run", *COMMAND)
    assert answer.code == 1
    assert "src/lib.py is not the same on" in answer.out
    assert "1 failed" in answer.out
    assert "1 passed" in answer.out


def test_a_resource_that_cannot_be_closed_there_is_reported(project: Project, orch: Orch) -> None:
    conf = """
        from discover_orch import resource

        @resource
        def door():
            yield 1
            raise OSError("it is stuck")
        """
    tool = 'STAGE = "one"\ndef run(door): pass\n'
    project({"orchconf.py": conf, "src/a.py": tool})
    answer = orch("run", *COMMAND)
    assert answer.code == 1, answer.text
    assert "closing door: it is stuck" in answer.err
    assert "1 passed" in answer.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--executor", "dsk"),
            '--executor dsk is not an executor\n  hint: use "local", "command" or "dask=ADDRESS", such as dask=tcp://HOST:8786',
        ),
        (("--executor", "command", "--pdb"), "--pdb cannot be combined with the executor command"),
    ],
)
def test_an_executor_that_cannot_be_used_is_a_sentence_and_nothing_runs(
    words: tuple[str, ...], message: str, project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/a.py": 'STAGE = "one"\ndef run(): pass\n',
        }
    )
    answer = orch("run", *words)
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert "running" not in answer.out
    assert not list((root / ".orch").glob("runs/*/events.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), COMMAND])
def test_a_thread_that_is_left_is_named_with_what_to_do(
    words: tuple[str, ...], project: Project, orch: Orch
) -> None:
    tool = """
        from threading import Thread
        from time import sleep
        STAGE = "one"
        def run():
            Thread(target=sleep, args=(600,), name="heart beat").start()
        """
    project({"src/a.py": tool})
    answer = orch("run", *words)
    assert answer.code == 0
    assert 'and was killed; still running: "heart beat"\n' in answer.err
    assert "hint: make such threads daemons, or join them before run() returns" in answer.err


# A command prefix.


def with_srun(project: Project, more: Mapping[str, str], settings: str = "") -> Path:
    files = {
        "orch.toml": 'executor = "command"\n' + settings + '[command]\nprefix = "./srun --mem=4G"\n'
    }
    root = project({**files, **more})
    (root / "srun").write_text(SRUN)
    (root / "srun").chmod(0o755)
    return root


PLAIN = 'STAGE = "one"\ndef run(*, password: str = "x"):\n    print("it ran", len(password))\n'


@pytest.mark.parametrize("mode", ["plain", "noise"])
def test_a_prefix_may_make_noise_and_never_sees_a_secret(
    mode: str, project: Project, orch: Orch
) -> None:
    root = with_srun(project, {"src/a.py": PLAIN})
    answer = orch("run", "--password", "open-sesame-now", env={"SRUN": mode})
    assert answer.code == 0, answer.text
    assert "executor command: ./srun --mem=4G" in answer.out
    assert "it ran 15" in answer.out
    assert "4711" not in answer.text
    said = (root / "srun.log").read_text()
    assert said.startswith("--mem=4G ")
    assert "sesame" not in said


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("closed", "its standard input is closed, so orch cannot send it anything"),
        (
            "fails",
            "./srun ended with exit code 7 before the tool started, and printed: no such partition",
        ),
        ("echoes", "./srun ended with exit code 7 before the tool started, and printed: srun: "),
    ],
)
def test_a_prefix_that_cannot_run_the_tool_fails_it_with_a_sentence(
    mode: str, message: str, project: Project, orch: Orch
) -> None:
    with_srun(project, {"src/a.py": PLAIN})
    answer = orch("run", "--json", env={"SRUN": mode})
    assert answer.code == 1
    (end,) = (one for one in answer.events if one["event"] == "tool_finished")
    assert end["status"] == "failed"
    assert end["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("fails", "./srun ended with exit code 7 before the tool started"),
        ("garbles", "./srun garbled the output of the tool's worker"),
        ("greets", "./srun ended with exit code 3 before it reported whether the tool had started"),
    ],
)
def test_of_a_prefix_that_fails_the_run_shows_which_tool_and_whether_it_may_have_run(
    mode: str, said: str, project: Project, orch: Orch
) -> None:
    with_srun(project, {"src/a.py": PLAIN})
    answer = orch("run", env={"SRUN": mode})
    assert answer.code == 1
    assert "[1/1] one › a\n    ✗ " in answer.out
    assert said in answer.out
    assert ("may be in the database" in answer.out) == (mode == "greets")
    assert (" unknown" in answer.out) == (mode == "greets")


def test_a_prefix_that_does_not_exist_or_is_empty_runs_nothing(
    project: Project, orch: Orch
) -> None:
    settings = 'executor = "command"\n[command]\nprefix = "no-such-srun --mem=4G"\n'
    project({"orch.toml": settings, "src/a.py": PLAIN})
    answer = orch("run")
    assert answer.code == 2
    assert "the command no-such-srun does not exist or cannot be executed" in answer.err


def test_check_reports_tokens_that_are_missing(project: Project, orch: Orch) -> None:
    project({"src/a.py": 'STAGE = "one"\nORCH = {"tokens": {"gpu": 1}}\ndef run(): pass\n'})
    answer = orch("check")
    assert 'a needs the token "gpu", which is not defined' in answer.out
    assert answer.code == 0


def test_a_connection_that_is_lost_while_the_tool_runs_makes_it_unknown(
    project: Project, tmp_path: Path
) -> None:
    tool = """
        import time
        STAGE = "one"
        ORCH = {"retries": 3}
        def run():
            with open("starts", "a") as file: file.write("x")
            print("it runs", flush=True)
            while True: time.sleep(0.05)
        """
    later = 'STAGE = "two"\ndef run(): pass\n'
    root = with_srun(project, {"src/a.py": tool, "src/b.py": later}, 'stages = ["one", "two"]\n')
    mark = new_mark()
    with running(root, "run", SRUN="lost", **{mark: "1"}) as orch:
        orch.wait_for("it runs")
        (root / "srun.go").touch()
        assert orch.wait() == 1, orch.text
        assert "./srun ended with exit code 3 while the tool ran" in orch.text
        assert "may be in the database" in orch.text
    assert (root / "starts").read_text() == "x"
    wait_until(lambda: not find_marked(mark), "the end of all processes")


def test_a_tool_that_is_cancelled_in_the_queue_of_a_prefix_has_not_run(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    root = with_srun(project, {"src/a.py": PLAIN})
    with running(root, "run", SRUN="waits") as waiting:
        waiting.wait_for("running 1 tool")
        wait_until((root / "srun.pid").exists, "the start of srun")
        waiting.send(signal.SIGINT)
        assert waiting.wait() == 130, waiting.text
    assert orch("history", "--json").json["runs"][0]["tools"][0]["status"] == "not_run"


def test_a_prefix_of_this_machine_can_use_a_local_file(project: Project, orch: Orch) -> None:
    tool = 'STAGE = "one"\ndef run(conn): conn.execute("CREATE TABLE IF NOT EXISTS t (x)")\n'
    settings = 'executor = "command"\n[command]\nprefix = '
    project({"orch.toml": f'{settings}"nice -n 1"\n', "src/a.py": tool})
    answer = orch("run")
    assert answer.code == 0, answer.text
    project({"orch.toml": f'{settings}"sh -c \'exec \\"$@\\"\' sh"\nlocal = true\n'})
    answer = orch("run")
    assert answer.code == 0, answer.text
    project({"orch.toml": f'{settings}"nice -n 1"\nlocal = false\n'})
    assert orch("run").code == 2


def test_a_local_file_is_refused_behind_a_prefix(project: Project, orch: Orch) -> None:
    tool = 'STAGE = "one"\ndef run(conn): conn.execute("CREATE TABLE t (x)")\n'
    root = with_srun(project, {"src/a.py": tool})
    answer = orch("run")
    assert answer.code == 2
    assert "a uses sqlite:///data.db, a local file" in answer.err
    hint = "; if srun runs the tools on this machine, write local = true in [command]\n"
    assert hint in answer.err
    conf = 'import sqlite3\ndef get_connection(): return sqlite3.connect("own.db")\n'
    project({"orchconf.py": conf})
    answer = orch("run", "--json")
    assert answer.code == 1
    (end,) = (one for one in answer.events if one["event"] == "tool_finished")
    assert "own.db is a local file" in end["error"]["message"]
    assert not (root / "own.db").exists() or not os.path.getsize(root / "own.db")
