"""`--jobs N`: tools side by side where nothing speaks against it, with the same result as one after another."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import run_all, run_changed
from tests.support.running import running, wait_until

#: Waits until as many tools as `wanted` have begun, so that it ends only if they run at the same time.
TOGETHER = """
    import os, time
    STAGE = "{stage}"
    AFTER = ()
    def run():
        open("began-{name}", "w").close()
        until = time.monotonic() + 60
        while sum(os.access.__wrapped__("began-" + one, os.F_OK) for one in "abcd") < {wanted}:  # not observed
            assert time.monotonic() < until, "alone"
            time.sleep(0.005)
        print("this is {name}")
"""

#: Fails if another of its kind runs at the same time.
ALONE = """
    import os, time
    STAGE = "{stage}"
    {tags}
    def run({arguments}):
        {body}
        os.close(os.open("alone", os.O_CREAT | os.O_EXCL))
        time.sleep(0.05)
        os.unlink("alone")
"""


def together(name: str, wanted: int, stage: str = "s") -> str:
    return TOGETHER.format(name=name, wanted=wanted, stage=stage)


def alone(tags: str = "AFTER = ()", body: str = "", arguments: str = "", stage: str = "s") -> str:
    return ALONE.format(tags=tags, body=body, arguments=arguments, stage=stage)


def events_of(orch: Orch, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in orch("run", *words, "--json").out.splitlines()]


def test_independent_tools_run_at_the_same_time(project: Project, orch: Orch) -> None:
    project({f"src/{name}.py": together(name, wanted=4) for name in "abcd"})
    answer = orch("run", "--jobs", "4")
    assert answer.code == 0, answer.text
    assert "running 4 tools with 4 workers: a, b, c, d\n" in answer.out
    assert answer.out.splitlines()[-1].startswith("4 passed in ")
    assert orch("status", "--exit-code").code == 0


def test_what_a_tool_prints_is_one_block(project: Project, orch: Orch) -> None:
    project({f"src/{name}.py": together(name, wanted=3) for name in "abc"})
    answer = orch("run", "--jobs", "3")
    for name in "abc":
        assert re.search(rf"/3\] s › {name}\n    this is {name}\n    ✓ ", answer.out)
    assert re.findall(r"\[(\d)/3\]", answer.out) == ["1", "2", "3"]  # in the order of their ends


@pytest.mark.parametrize(
    "tags", ["", 'ORCH = {"inputs": "x"}', 'ORCH = {"outputs": []}'], ids=["none", "in", "out"]
)
def test_a_tool_that_declares_too_little_runs_alone(
    project: Project, orch: Orch, tags: str
) -> None:
    project({"src/a.py": alone(), "src/b.py": alone(tags), "src/c.py": alone()})
    answer = orch("run", "--jobs", "4")
    assert answer.code == 0, answer.text


def test_what_was_observed_completely_with_these_parameters_counts_as_declared(
    project: Project, orch: Orch
) -> None:
    text = together("{}", wanted=1).replace("    AFTER = ()\n", "").replace("run()", "run(x=1)")
    root = project({f"src/{name}.py": text.replace("{}", name) for name in "ab"})
    nothing = "no two of these tools may run at the same time"
    assert nothing in orch("run", "--jobs", "2").err
    assert orch("run", "a", "--jobs", "2").err == "", "one tool needs no advice"
    assert nothing not in orch("run", "--jobs", "2").err
    assert nothing in orch("run", "--jobs", "2", "--x", "2").err
    assert nothing not in orch("run", "--jobs", "2", "--x", "2").err
    (root / "src/a.py").write_text((root / "src/a.py").read_text() + "    print('more')\n")
    assert nothing in orch("run", "--jobs", "2").err, "a has no success of its present code"


def test_a_stage_begins_when_the_one_before_it_has_ended(project: Project, orch: Orch) -> None:
    config = {"orch.toml": 'stages = ["s", "t"]\n'}
    tools = {f"src/{name}.py": together(name, wanted=2) for name in "ab"}
    project(config | tools | {"src/c.py": alone(stage="t")})
    kinds = [(one["event"], one.get("name")) for one in events_of(orch, "--jobs", "3")]
    begins = kinds.index(("tool_started", "c"))
    assert {("tool_finished", "a"), ("tool_finished", "b")} < {*kinds[:begins]}


def test_a_tool_waits_for_those_that_after_names(project: Project, orch: Orch) -> None:
    project(
        {"src/a.py": alone(), "src/b.py": alone('AFTER = "a"'), "src/c.py": alone('AFTER = "b"')}
    )
    assert orch("run", "--jobs", "3").code == 0


def test_only_one_tool_at_a_time_writes_to_a_sqlite_database(project: Project, orch: Orch) -> None:
    root = project(
        {
            f"src/{name}.py": alone(
                body=f'conn.execute("create table {name} (x)")', arguments="conn"
            )
            for name in "abcd"
        }
    )
    answer = orch("run", "--jobs", "4")
    assert answer.code == 0, answer.text
    with closing(sqlite3.connect(root / "data.db")) as conn:
        assert [
            *conn.execute(
                "select name from sqlite_master where name not like '%orch%' order by name"
            )
        ] == [*(("a",), ("b",), ("c",), ("d",))]


def test_tools_that_only_read_a_sqlite_database_run_beside_each_other(
    project: Project, orch: Orch
) -> None:
    """Once orch has seen that they only read."""
    reads = "run(conn):\n        print(conn.execute('select count(*) from t').fetchone())"
    readers = {f"src/{name}.py": together(name, wanted=2).replace("run():", reads) for name in "bc"}
    make = 'STAGE = "first"\ndef run(conn):\n    conn.execute("create table if not exists t (x)")\n'
    stages = {"orch.toml": 'stages = ["first", "s"]\n', "src/make.py": make}
    root = project(stages | readers | {"began-b": "", "began-c": ""})
    assert orch("run", "--jobs", "3").code == 0
    for name in "bc":
        (root / f"began-{name}").unlink()
    answer = orch("run", "--jobs", "3")
    assert answer.code == 0, answer.text


def test_a_tool_that_only_read_until_now_and_meets_a_lock_fails(
    project: Project, orch: Orch
) -> None:
    """`b` reads in the first run, and in the second one writes while `a` has the lock."""
    wait = """
def wait_for(name):
    until = time.monotonic() + 60
    while not os.access.__wrapped__(name, os.F_OK):  # not observed
        assert time.monotonic() < until, name
        time.sleep(0.005)
"""
    writer = f"""
import os, time
STAGE = "s"
AFTER = ()
{wait}
def run(conn):
    conn.execute("create table if not exists a (x)")
    conn.execute("insert into a values (1)")
    if os.path.exists("second"):
        open("a-wrote", "w").close()
        wait_for("b-failed")
"""
    reader = f"""
import os, time
STAGE = "s"
AFTER = ()
{wait}
def run(conn):
    conn.execute("pragma busy_timeout = 0")
    conn.execute("select 1")
    if not os.path.exists("second"):
        return
    wait_for("a-wrote")
    conn.execute("begin")
    conn.execute("select * from sqlite_master").fetchall()
    try:
        conn.execute("create table b (x)")
    except Exception:
        open("b-failed", "w").close()
        raise
"""
    root = project({"src/a.py": writer, "src/b.py": reader})
    assert orch("run", "--jobs", "2").code == 0
    (root / "second").touch()
    answer = orch("run", "--jobs", "2")
    assert answer.code == 1, answer.text
    assert "FAILED b src/b.py:21  OperationalError: database is locked" in answer.out
    assert "hint: another connection has locked the database" in answer.out
    assert orch("run", "--jobs", "1").code == 0
    with closing(sqlite3.connect(root / "data.db")) as conn:
        found = conn.execute("select count(*) from sqlite_master where name in ('a', 'b')")
        assert found.fetchall() == [(2,)]


def test_no_more_tokens_are_held_than_there_are(project: Project, orch: Orch) -> None:
    tags = 'AFTER = (); ORCH = {"tokens": {"gpu": 1}}'
    project(
        {
            "orch.toml": "tokens = {gpu = 1}\n",
            **{f"src/{name}.py": alone(tags) for name in "abcd"},
        }
    )
    assert orch("run", "--jobs", "4").code == 0


def test_a_failure_lets_the_others_end_and_blocks_what_depends_on_it(
    project: Project, orch: Orch
) -> None:
    fails = together("a", wanted=2).replace("print(", "raise ValueError(")
    project(
        {
            "src/a.py": fails,
            "src/b.py": together("b", wanted=2),
            "src/c.py": alone('AFTER = "a"'),
            "src/d.py": alone('AFTER = "b"'),
        }
    )
    answer = orch("run", "--jobs", "2")
    assert answer.code == 1
    assert "  blocked by a: c\n" in answer.out
    assert answer.out.splitlines()[-1].startswith("1 failed, 2 passed, 1 blocked in ")


def test_ctrl_c_ends_all_that_run(project: Project) -> None:
    root = project(
        {
            f"src/{name}.py": f"""
                import time
                STAGE = "s"
                AFTER = ()
                def run():
                    try:
                        open("began-{name}", "w").close()
                        time.sleep(60)
                    finally:
                        open("ended-{name}", "w").close()
            """
            for name in "abc"
        }
    )
    with running(root, "run", "--jobs", "2") as orch:
        wait_until(lambda: (root / "began-a").exists() and (root / "began-b").exists(), "both")
        orch.send(signal.SIGINT)
        assert orch.wait() == 130
    assert "2 interrupted, 1 not run in " in orch.text
    assert (root / "ended-a").exists()
    assert (root / "ended-b").exists()
    assert not (root / "began-c").exists()


def test_two_tools_that_turn_out_to_share_a_file_are_named_and_kept_apart(
    project: Project, orch: Orch
) -> None:
    writes = together("a", wanted=2) + '        open("shared.txt", "w").write("x")\n'
    reads = (
        together("b", wanted=2)
        + """
        until = time.monotonic() + 60
        while not os.access.__wrapped__("shared.txt", os.F_OK):
            assert time.monotonic() < until
            time.sleep(0.005)
        open("shared.txt").read()
"""
    )
    root = project({"src/a.py": writes, "src/b.py": reads})
    first = orch("run", "--jobs", "2")
    assert first.code == 0, first.text
    assert "a and b ran at the same time, and both use shared.txt" in first.err
    for name in "ab":
        (root / f"began-{name}").touch()
    second = orch("run", "--jobs", "2")
    assert "no two of these tools may run at the same time" in second.err
    assert second.code == 0


def test_that_each_worker_has_its_own_database_in_memory_is_said_once(
    project: Project, orch: Orch
) -> None:
    conf = "import sqlite3\ndef get_connection(): return sqlite3.connect(':memory:')\n"
    tools = {
        f"src/{name}.py": together(name, wanted=2).replace("run()", "run(conn)") for name in "ab"
    }
    project({"orchconf.py": conf, **tools})
    said = "warning: each worker has its own database in memory"
    answer = orch("run", "--jobs", "2")
    assert answer.code == 0, answer.text
    assert answer.err.count(said) == 1
    assert said not in orch("run").err


def test_a_crash_in_one_worker_leaves_the_others_alone(project: Project, orch: Orch) -> None:
    crashes = together("a", wanted=2).replace('print("this is a")', "os._exit(7)")
    project({"src/a.py": crashes, "src/b.py": together("b", wanted=2), "src/c.py": alone()})
    answer = orch("run", "--jobs", "2")
    assert "FAILED a src/a.py  exited with code 7\n" in answer.out
    assert answer.out.splitlines()[-1].startswith("1 failed, 2 passed in ")


def test_resources_are_opened_and_closed_by_each_worker(project: Project, orch: Orch) -> None:
    conf = """
        import os
        from discover_orch import resource
        @resource
        def counted():
            open(f"opened-{os.getpid()}", "x").close()
            yield os.getpid()
            open(f"closed-{os.getpid()}", "x").close()
    """
    tools = {
        f"src/{name}.py": together(name, wanted=2).replace("run()", "run(counted)") for name in "ab"
    }
    root = project({"orchconf.py": conf, **tools})
    assert orch("run", "--jobs", "2").code == 0
    assert names(root, "opened-") == names(root, "closed-")
    assert len(names(root, "opened-")) == 2


def names(root: Path, start: str) -> list[str]:
    return sorted(one.name.removeprefix(start) for one in root.glob(f"{start}*"))


def test_a_tool_that_is_tried_again_does_not_overlap_with_itself(
    project: Project, orch: Orch
) -> None:
    tool = """
        from pathlib import Path
        STAGE = "s"
        AFTER = ()
        ORCH = {{"retries": 1, "retry_delay": 0.01}}
        def run():
            if not Path("tried_{0}").exists():
                Path("tried_{0}").touch()
                raise OSError
            Path("{0}.txt").write_text("x")
        """
    project({"orch.toml": "", "src/a.py": tool.format("a"), "src/b.py": tool.format("b")})
    answer = orch("run", "--jobs", "2")
    assert (answer.code, answer.err) == (0, "")


COLLIDES = """
    import os, time
    STAGE = "s"
    AFTER = ()
    ORCH = {{"retries": 2, "retry_delay": 0.01}}
    def count(start):
        return len([one for one in os.listdir(".") if one.startswith(start)])
    def run():
        open("all.log", "a+").close()
        open("met-{0}", "w").close()
        deadline = time.monotonic() + 60
        while count("met-") < 4:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        if not os.path.exists("tried-{0}"):
            os.mkdir("tried-{0}")
            raise RuntimeError("deadlock")
"""


def test_tools_that_met_and_are_tried_again_are_named_once_each_pair(
    project: Project, orch: Orch
) -> None:
    project({f"src/t{n}.py": COLLIDES.format(f"t{n}") for n in range(4)} | {"orch.toml": ""})
    answer = orch("run", "--jobs", "4")
    assert answer.code == 0, answer.text
    assert answer.err.count("ran at the same time, and both use all.log") == 6, answer.err


LINGERING = """
    import os, time
    STAGE = "s"
    AFTER = ()
    def run():
        deadline = time.monotonic() + 60
        if os.path.exists("wait"):
            while not all(os.path.exists(f"t{number}.done") for number in range(6)):
                assert time.monotonic() < deadline, "the others wait for this one"
                time.sleep(0.005)
"""

QUICK = """
    STAGE = "s"
    AFTER = ()
    def run():
        open("t{number}.done", "w").close()
"""


def test_a_step_never_stays_behind_a_tool_that_takes_long_while_a_worker_is_free(
    project: Project, orch: Orch
) -> None:
    quick = {f"src/t{number}.py": QUICK.format(number=number) for number in range(6)}
    root = project({"src/lingering.py": LINGERING, **quick})
    assert orch("run", "--jobs", "2").code == 0  # now all have a known flow
    for number in range(6):
        (root / f"t{number}.done").unlink()
    (root / "wait").touch()
    again = orch("run", "--jobs", "2")
    assert again.code == 0, again
    assert "7 passed" in again.out


def test_side_by_side_a_reader_of_a_file_that_is_made_anew_and_changed_again_settles(
    project: Project, orch: Orch
) -> None:
    """`reads` is fresh in its turn, as `makes` has made the same again. What that was must be known although `spoils`
    has overwritten it before the run ends."""
    root = project(
        {
            "orch.toml": 'stages = ["one", "two"]\n',
            "in.txt": "1",
            "src/makes.py": """
                STAGE = "one"
                AFTER = ()
                def run():
                    with open("made.txt", "w") as file:
                        file.write("made")
                """,
            "src/reads.py": """
                STAGE = "two"
                AFTER = ()
                def run():
                    with open("made.txt") as file, open("read.txt", "w") as other:
                        other.write(file.read())
                """,
            "src/counts.py": """
                STAGE = "two"
                AFTER = ()
                def run():
                    with open("in.txt") as file, open("count.txt", "w") as other:
                        other.write(file.read())
                """,
            "src/spoils.py": """
                STAGE = "two"
                AFTER = ("counts", "reads")
                def run():
                    with open("count.txt") as file, open("made.txt", "w") as other:
                        other.write(file.read())
                """,
        }
    )
    run_all(orch)
    (root / "in.txt").write_text("2")
    assert {*run_changed(orch, env={"ORCH_JOBS": "4"})} >= {"makes", "counts", "spoils"}
    assert run_changed(orch, env={"ORCH_JOBS": "4"}) == []
