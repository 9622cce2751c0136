"""A change during a run: never lost, never mixed into it, and it stops only what it affects."""

from __future__ import annotations

import itertools
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.support.editors import in_place, save
from tests.support.marks import slow_but
from tests.support.project_builder import run_orch
from tests.support.running import is_gone, wait_until
from tests.support.watching import Run, Watching, tool_text, watching

TOOL = ("--scope", "tool")
GATE = (
    "print('begins', flush=True)\nwhile not os.access.__wrapped__('go', os.F_OK): time.sleep(0.005)"
)


def gated(version: int, *, top: str = "", **more: str) -> str:
    """A tool that goes on only once the file `go` is there."""
    return tool_text(version, top=f"import os, time\n{top}", body=GATE, **more)


def until_begun(watch: Watching, name: str) -> None:
    watch.wait_for("tool_output", name=name, text="begins\n")


def rows(root: Path) -> list[int]:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        try:
            return [row[0] for row in conn.execute("SELECT x FROM t ORDER BY 1")]
        except sqlite3.OperationalError:  # no such table
            return []


def test_a_cancelled_tool_is_rolled_back(project: Project) -> None:
    writes = "\n".join(
        [
            "conn.execute('CREATE TABLE t (x)')",
            "conn.executemany('INSERT INTO t VALUES (?)', [(i,) for i in range(10)])",
            GATE,
        ]
    )
    counts = "print([row[0] for row in conn.execute('SELECT name FROM sqlite_master')])"
    root = project({"src/a.py": tool_text(0, top="import os, time", takes="conn", body=writes)})
    with watching(root, waits=False) as watch:
        until_begun(watch, "a")
        save(root / "src/a.py", tool_text(1, takes="conn", body=counts))
        assert watch.next_run(then_idle=False).ended["a"] == "cancelled"
        assert watch.next_run().output["a"] == "[]\n1\n"
        assert rows(root) == []


def test_what_had_finished_and_is_not_affected_stays_done(project: Project) -> None:
    root = project(
        {
            "orch.toml": 'stages = ["one", "two", "three"]\n',
            "src/a.py": tool_text(
                stage="one", takes="conn", body="conn.execute('CREATE TABLE t (x)')"
            ),
            "src/b.py": gated(0, stage="two"),
            "src/c.py": tool_text(stage="three"),
        }
    )
    with watching(root, *TOOL, waits=False) as watch:
        until_begun(watch, "b")
        save(root / "src/b.py", tool_text(1, stage="two"))
        changed = watch.wait_for("changed")
        assert (changed["during_run"], changed["action"]) == (True, "restart")
        assert changed["tools"] == ["b"]
        first = watch.next_run(then_idle=False)
        assert first.status == "cancelled"
        assert "0\n" not in first.output["b"].splitlines(keepends=True)
        assert first.ended == {
            "a": "passed",
            "b": "cancelled",
            "c": "not_run",
            "sentinel": "not_run",
        }
        second = watch.next_run()
        assert second.tools == ("b", "c", "sentinel")
        assert (second.status, second.output["b"]) == ("passed", "1\n")
        assert watch.settle() == [], watch.story()


def test_a_running_tool_is_cancelled_when_its_file_is_deleted_and_what_waits_runs(
    project: Project,
) -> None:
    root = project(
        {
            "orch.toml": 'stages = ["one", "two"]\n',
            "src/a.py": gated(0, stage="one"),
            "src/b.py": tool_text(0, stage="two"),
        }
    )
    with watching(root, *TOOL, waits=False) as watch:
        until_begun(watch, "a")
        (root / "src/a.py").unlink()
        assert watch.wait_for("changed")["action"] == "restart"
        assert watch.next_run(then_idle=False).ended["a"] == "cancelled"
        assert watch.next_run().output["b"] == "0\n"
        assert watch.settle() == [], watch.story()


def test_what_a_tool_needs_that_was_stopped_in_its_first_attempt_is_made_anew(
    project: Project,
) -> None:
    """In a project that has never run, so nothing says yet that the second tool changes what the first one makes."""
    adds = "with open('f.txt', 'a') as file: file.write('x')"
    more = "import os, time\nAFTER = 'a'\n"
    root = project(
        {
            "src/a.py": tool_text(body="open('f.txt', 'w').close()"),
            "src/b.py": tool_text(0, top=more, body=f"{adds}\n{GATE}"),
        }
    )
    with watching(root, "a", "b", waits=False) as watch:
        until_begun(watch, "b")
        save(root / "src/b.py", tool_text(1, top=more, body=adds))
        assert watch.next_run(then_idle=False).ended["b"] == "cancelled"
        assert watch.next_run().ended == {"a": "passed", "b": "passed"}
        assert (root / "f.txt").read_text() == "x"


def test_a_tool_that_comes_back_while_what_it_reads_is_made_runs_afterwards(
    project: Project,
) -> None:
    """Its own code is that of its last success, and the run in progress does not know of it."""
    writes = "open('a.txt', 'w').write('{}')"
    reads = tool_text(stage="two", body="print(open('a.txt').read())")
    root = project(
        {
            "orch.toml": 'stages = ["one", "two"]\n',
            "src/a.py": tool_text(stage="one", body=writes.format("old")),
            "src/b.py": reads,
        }
    )
    with watching(root) as watch:
        (root / "src/b.py").unlink()
        assert watch.wait_for("changed", gone=["b"])["tools"] == []
        top, body = "import os, time", f"{GATE}\n{writes.format('new')}"
        save(root / "src/a.py", tool_text(1, stage="one", top=top, body=body))
        until_begun(watch, "a")
        save(root / "src/b.py", reads)
        changed = watch.wait_for("changed", paths=["src/b.py"])
        assert "b" in changed["tools"]
        assert (changed["stale"], changed["stays_stale"]) == ([], [])
        (root / "go").touch()
        watch.until(lambda: any(run.output.get("b") == "new\n0\n" for run in watch.runs), "b")
        assert {one.status for one in watch.settle()} == {"passed"}, watch.story()


def test_an_unrelated_edit_lets_the_run_go_on(project: Project) -> None:
    root = project(
        {"src/a.py": tool_text(0), "src/z.py": tool_text(0, stage="z"), "src/lib.py": "X = 1\n"}
    )
    with watching(root, *TOOL) as watch:
        save(root / "src/a.py", gated(1))
        until_begun(watch, "a")
        save(root / "src/z.py", tool_text(1, stage="z"))
        changed = watch.wait_for("changed", paths=["src/z.py"])
        assert (changed["during_run"], changed["action"]) == (True, "after")
        save(root / "src/lib.py", "X = 2\n")
        (root / "go").touch()
        first = watch.next_run(then_idle=False)
        assert (first.status, first.output["a"]) == ("passed", "begins\n1\n")
        if first.tools == ("a",):
            second = watch.next_run()
            assert (second.tools, second.output["z"]) == (("z",), "1\n")
        assert watch.settle() == [], watch.story()


def test_a_tool_that_waits_gets_the_default_that_was_saved(project: Project) -> None:
    def last(top: int) -> str:
        return tool_text(stage="z", takes=f"*, top: int = {top}", body="print(top)")

    root = project({"orch.toml": "", "src/a.py": gated(0), "src/z.py": last(3)})
    with watching(root, *TOOL, waits=False) as watch:
        until_begun(watch, "a")
        save(root / "src/z.py", last(4))
        changed = watch.wait_for("changed", paths=["src/z.py"])
        assert (changed["during_run"], changed["action"]) == (True, "hold")
        (root / "go").touch()
        first = watch.next_run(then_idle=False)
        assert (first.ended["a"], first.ended["z"]) == ("passed", "not_run")
        assert watch.next_run().output["z"] == "4\n0\n"


@pytest.mark.parametrize("how", slow_but({"tag"}, ["flag", "configuration", "tag"]))
def test_a_run_may_be_finished_first(project: Project, how: str) -> None:
    tag = 'ORCH = {"cancel": False}' if how == "tag" else ""
    table = '[watch]\non_busy = "queue"\n' if how == "configuration" else ""
    root = project({"orch.toml": table, "src/a.py": gated(0, top=tag)})
    words = ("--on-busy", "queue") if how == "flag" else ()
    with watching(root, *TOOL, *words, waits=False) as watch:
        until_begun(watch, "a")
        for version in (1, 2):  # two edits are one run
            save(root / "src/a.py", tool_text(version, top=tag))
            changed = watch.wait_for("changed")
            assert changed["during_run"]
            assert changed["action"] in ("after", "hold") if tag else ("after",)
        (root / "go").touch()
        first = watch.next_run(then_idle=False)
        assert (first.ended["a"], first.output["a"]) == ("passed", "begins\n0\n")
        second = watch.next_run()
        assert second.output["a"] == "2\n"
        assert tag or second.tools == ("a",)
        assert watch.settle() == [], watch.story()


def test_an_edit_taken_back_during_the_run_is_run_with_what_is_there(project: Project) -> None:
    root = project({"src/a.py": tool_text(0)})
    with watching(root, *TOOL) as watch:
        save(root / "src/a.py", gated(1))
        until_begun(watch, "a")
        save(root / "src/a.py", tool_text(0))  # what passed last
        run = watch.next_run()
        assert run.status == "cancelled"
        assert all(run.status == "cancelled" or run.output["a"] == "0\n" for run in watch.settle())


def test_a_syntax_error_during_a_run_is_reported_and_the_fix_is_run(project: Project) -> None:
    root = project({"src/a.py": gated(0)})
    with watching(root, *TOOL, waits=False) as watch:
        until_begun(watch, "a")
        save(root / "src/a.py", "def run(:\n")
        broken = watch.wait_for("broken")
        assert (broken["errors"][0]["path"], broken["errors"][0]["line"]) == ("src/a.py", 1)
        (root / "go").touch()
        save(root / "src/a.py", tool_text(1))
        watch.until(
            lambda: any(run.output.get("a") == "1\n" for run in watch.runs), "the fixed tool"
        )


def test_a_change_of_a_waiting_tool_is_in_the_run_and_a_broken_one_ends_it(
    project: Project,
) -> None:
    waiting = {"stage": "z", "top": "from src import late"}
    root = project(
        {"src/a.py": gated(0), "src/z.py": tool_text(0, **waiting), "src/late.py": "X = 1\n"}
    )
    with watching(root, "a", "z", *TOOL, waits=False) as watch:
        until_begun(watch, "a")
        save(root / "src/z.py", tool_text(1, **waiting))
        changed = watch.wait_for("changed")
        assert (changed["action"], changed["tools"]) == ("none", ["z"])
        (root / "go").touch()
        assert watch.next_run().output == {"a": "begins\n0\n", "z": "1\n"}
        (root / "go").unlink()
        watch.press("a")
        watch.until(lambda: watch.events[-1].get("text") == "begins\n", "the second run")
        save(root / "src/late.py", "X = (\n")
        watch.wait_for("broken")
        (root / "go").touch()
        assert watch.next_run().ended == {"a": "passed", "z": "not_run"}
        save(root / "src/late.py", "X = 1\n")
        assert watch.next_run().ended == {"z": "passed"}


DEAF = """
import os, signal, time
STAGE = "s"
VERSION = {version}
def note():
    with open("log", "a") as file:
        file.write(f"{{VERSION}} {{os.getpid()}}\\n")
def run():
    signal.signal(signal.SIGTERM, lambda *_: note())
    end = time.monotonic() + {seconds}
    note()
    print("begins", flush=True)
    while time.monotonic() < end:
        try:
            time.sleep(0.01)
            note()
        except KeyboardInterrupt:
            note()
    print(VERSION)
"""


@pytest.mark.slow
def test_the_next_run_starts_when_the_last_one_has_ended(project: Project) -> None:
    """Of a tool that traps every signal, too: the two never write at the same time."""
    root = project({"src/a.py": DEAF.format(version=0, seconds=600)})
    with watching(root, *TOOL, waits=False) as watch:
        until_begun(watch, "a")
        save(root / "src/a.py", DEAF.format(version=1, seconds=0.2))
        first = watch.next_run(then_idle=False)
        assert first.ended["a"] == "cancelled", watch.story()
        assert watch.next_run().status == "passed"
    assert_never_interleaved(root)


def assert_never_interleaved(root: Path) -> None:
    writers = [line.split()[1] for line in (root / "log").read_text().splitlines()]
    in_order = list(dict.fromkeys(writers))
    assert len(in_order) > 1
    assert writers == sorted(writers, key=in_order.index)


def test_children_of_a_cancelled_tool_are_gone_before_the_next_run(project: Project) -> None:
    ways = (
        "subprocess.Popen(['sleep', '86400'])",
        "subprocess.Popen(['setsid', 'sleep', '86400'])",
        "subprocess.Popen(['sh', '-c', 'trap \"\" TERM INT HUP; exec sleep 86400'], start_new_session=True)",
        "subprocess.run(['sh', '-c', 'setsid sleep 86400 >/dev/null 2>&1 &'])",
    )
    body = "\n".join([*ways, GATE])
    root = project({"src/a.py": tool_text(0, top="import os, subprocess, time", body=body)})
    count = "import os\ndef others():\n    return sum(b'86400' in open(f'/proc/{p}/cmdline', 'rb').read() for p in PIDS if os.path.exists(f'/proc/{p}'))\n"
    with watching(root, *TOOL, waits=False, forks=False) as watch:
        until_begun(watch, "a")
        before = watch.processes() - {watch.pid}
        assert len(before) >= 5, "the worker and its children"
        top = f"PIDS = {sorted(before)}\n{count}"
        save(root / "src/a.py", tool_text(1, top=top, body="print(others())"))
        assert watch.next_run(then_idle=False).ended["a"] == "cancelled"
        assert watch.next_run().output["a"] == "0\n1\n"
        assert all(map(is_gone, before))


# At random

PARTS = 4
JOINED = "".join(f"from src.lib.m{i} import X as X{i}\n" for i in range(PARTS))
SHOWS = (
    JOINED
    + f"""
import time
STAGE = "s"
def run():
    time.sleep({{seconds}})
    print({", ".join(f"X{i}" for i in range(PARTS))})
"""
)


@pytest.mark.slow
def test_after_edits_at_random_times_the_last_run_has_seen_the_disk(project: Project) -> None:
    edit_at_random(project, edits=50, seed=random.randrange(10**6))


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_after_1000_edits_at_random_times_the_last_run_has_seen_the_disk(project: Project) -> None:
    for _ in range(20):
        edit_at_random(project, edits=50, seed=random.randrange(10**6))


def edit_at_random(project: Project, edits: int, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    disk = [0] * PARTS
    root = project(
        {
            "src/a.py": SHOWS.format(seconds=0.1),
            **{f"src/lib/m{i}.py": "X = 0\n" for i in range(PARTS)},
        }
    )
    with watching(root, *TOOL) as watch:
        for value in range(1, edits + 1):
            part = chance.randrange(PARTS)
            disk[part] = value
            chance.choice([in_place, save])(root / f"src/lib/m{part}.py", f"X = {value}\n")
            time.sleep(chance.random() * 0.08)
        wanted = " ".join(map(str, disk)) + "\n"
        watch.until(
            lambda: watch.runs[-1].output.get("a") == wanted, f"{wanted} (seed {seed}) at last"
        )
        assert watch.runs[-1].status == "passed"
        # If the last save came while it was planned, it runs once more.
        wait_until(lambda: is_fresh(root, "a"), f"that a is fresh (seed {seed})")
        watch.until_idle(watch.runs[-1].end)
        assert_never_old_after_new(watch.runs)
        watch.settle()
        last = [run for run in watch.runs if run.output.get("a")][-1]
        assert last.output["a"] == wanted, f"seed {seed}"


def is_fresh(root: Path, name: str) -> bool:
    (tool,) = run_orch(root, "status", "--json", name).json["tools"]
    return bool(tool["state"] == "fresh")


def assert_never_old_after_new(runs: list[Run]) -> None:
    """Each part is only ever seen to grow."""
    seen = [[int(word) for word in run.output["a"].split()] for run in runs if run.output.get("a")]
    for one, other in itertools.pairwise(seen):
        assert all(x <= y for x, y in zip(one, other, strict=True)), (one, other)


@pytest.mark.parametrize("what", slow_but({"helper"}, ["tool", "helper"]))
@pytest.mark.parametrize(
    "count", [8, pytest.param(200, marks=[pytest.mark.full, pytest.mark.timeout(900)])]
)
def test_saves_of_one_size_as_fast_as_possible_each_run_their_own_version(
    project: Project, what: str, count: int
) -> None:
    """As soon as one version has printed itself the next is written, within the same tick of a clock."""
    helper = "VERSION = {}\n"
    top = "from src.lib import VERSION as SEEN"
    root = project(
        {
            "src/a.py": tool_text(1000)
            if what == "tool"
            else tool_text(0, top=top, body="print(SEEN)"),
            "src/lib.py": helper.format(1000),
        }
    )
    with watching(root, *TOOL) as watch:
        for version in range(1001, 1001 + count):
            if what == "tool":
                in_place(root / "src/a.py", tool_text(version))
            else:
                in_place(root / "src/lib.py", helper.format(version))
            seen = watch.wait_for("tool_output", name="a")
            while seen["text"].split("\n")[0] != f"{version}":
                # A run that was cancelled may have printed again what it is: never an older one.
                assert seen["text"].split("\n")[0] in ("0", f"{version - 1}"), watch.story()
                seen = watch.wait_for("tool_output", name="a")
