"""Data under a watch: what tools were seen to need, what runs write themselves, and what stays in the history."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing

import pytest

from tests.conftest import Orch, Project
from tests.support.editors import save
from tests.support.running import running
from tests.support.watching import Watching, tool_text, watching

TOOL = ("--scope", "tool")
GATE = (
    "print('begins', flush=True)\nwhile not os.access.__wrapped__('go', os.F_OK): time.sleep(0.005)"
)


def reasons(watch: Watching, name: str = "a") -> dict[str, str]:
    """Of the next change that makes this tool run."""
    found = watch.wait_for_one(
        lambda one: one["event"] == "changed" and name in one["tools"], f"a change for {name}"
    )
    return dict(found["reasons"])


def states(orch: Orch) -> dict[str, str]:
    return {one["name"]: one["state"] for one in orch("status", "--json").json["tools"]}


def test_the_database_of_the_command_line_is_that_of_each_run(project: Project) -> None:
    makes = "conn.execute('CREATE TABLE IF NOT EXISTS t (x)')"
    root = project({"orch.toml": "", "src/a.py": tool_text(takes="conn", body=makes)})
    with watching(root, *TOOL, "--database", "sqlite:///other.db") as watch:
        save(root / "src/a.py", tool_text(1, takes="conn", body=makes))
        assert watch.next_run().status == "passed"
    assert (root / "other.db").exists()
    assert not (root / "data.db").exists()


# What a tool was seen to need.


def test_a_file_that_a_tool_missed_affects_it_when_it_is_there(project: Project) -> None:
    looks = (
        "try:\n    print(open('config.json').read())\nexcept FileNotFoundError:\n    print('none')"
    )
    root = project({"orch.toml": "", "src/a.py": tool_text(body=looks)})
    with watching(root, *TOOL) as watch:
        save(root / "config.json", "{}")
        assert reasons(watch) == {"a": "config.json now exists"}
        assert watch.next_run().output == {"a": "{}\n0\n"}
        save(root / "config.json", "{1}")
        assert reasons(watch) == {"a": "config.json changed"}
        watch.next_run()
        (root / "config.json").unlink()
        assert reasons(watch) == {"a": "config.json is missing"}
        assert watch.next_run().output == {"a": "none\n0\n"}
        assert watch.settle() == [], watch.story()


def test_an_output_that_is_deleted_is_said_to_be_deleted(project: Project) -> None:
    tool = "STAGE = 's'\ndef run(): open('report.txt', 'w').close()\n"
    root = project({"orch.toml": "", "src/a.py": tool})
    with running(root, "watch") as watch:
        watch.wait_for(r"watching \d files")
        (root / "report.txt").unlink()
        watch.wait_for(r"\d report.txt was deleted → s: 1 tool stale\n")
        watch.wait_for(r"1 passed in .*  \(report.txt is missing\)")


def test_a_new_name_in_a_folder_that_a_tool_listed_affects_it(project: Project) -> None:
    lists = tool_text(top="import os", body="print(sorted(os.listdir('in')))")
    root = project({"orch.toml": "", "in/a.csv": "1", "src/a.py": lists})
    with watching(root, *TOOL) as watch:
        save(root / "in/a.csv", "2")  # what is in the file is no matter
        assert watch.settle() == [], watch.story()
        save(root / "in/b.csv", "1")
        assert reasons(watch) == {"a": "in/b.csv now exists"}
        assert watch.next_run().output == {"a": "['a.csv', 'b.csv']\n0\n"}
        project({"in/.DS_Store": "", "in/deep/x.csv": ""})
        assert reasons(watch) == {"a": "in/deep now exists"}
        watch.next_run()
        project({"in/deep/y.csv": ""})
        assert watch.settle() == [], watch.story()
        (root / "in/a.csv").unlink()
        assert reasons(watch) == {"a": "in/a.csv is missing"}
        watch.next_run()
        assert watch.settle() == [], watch.story()


def test_downstream_follows_tables_and_files_as_soon_as_they_were_seen(project: Project) -> None:
    """Nothing is declared: before the first run every tool of a later stage is downstream."""
    makes = (
        "conn.execute('CREATE TABLE IF NOT EXISTS t (x)')\nconn.execute('INSERT INTO t VALUES (1)')"
    )
    root = project(
        {
            "orch.toml": 'stages = ["one", "two", "zz_sentinel"]\n',
            "in.csv": "1",
            "src/a.py": tool_text(
                stage="one", takes="conn", body=f"open('in.csv').read()\n{makes}"
            ),
            "src/b.py": tool_text(
                stage="two",
                takes="conn",
                body="open('b.txt', 'w').write(str(len(list(conn.execute('SELECT x FROM t')))))",
            ),
            "src/c.py": tool_text(stage="two", body="open('other.csv').close()"),
            "src/d.py": tool_text(stage="two", body="open('b.txt').close()"),
            "other.csv": "",
        }
    )
    with watching(root, "one", "two", "--scope", "affected") as watch:
        save(root / "in.csv", "2")
        assert watch.next_run().tools == ("a", "b", "d")
        save(root / "other.csv", "2")
        assert watch.next_run().tools == ("c",)


# What a run writes.


def test_a_tool_that_was_seen_to_read_what_a_run_writes_is_not_run_again(project: Project) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/fetch.py": tool_text(
                top="import time", body="open('raw.csv', 'w').write(str(time.time_ns()))"
            ),
            "src/parse.py": tool_text(top='AFTER = "fetch"', body="open('raw.csv').read()"),
        }
    )
    with watching(root, *TOOL) as watch:
        for version in (1, 2):
            text = (root / "src/fetch.py").read_text()
            save(root / "src/fetch.py", text.replace(f"N = {version - 1}", f"N = {version}"))
            assert watch.next_run().tools == ("fetch",)
        assert watch.settle() == [], watch.story()
        save(root / "raw.csv", "by hand")
        assert watch.settle() == [], watch.story()  # it is no input of the user's


def test_what_a_child_writes_is_no_news_to_the_tool_that_has_read_it_since(
    project: Project,
) -> None:
    """No tool was seen to write it, but every tool that needs it has read its current content."""
    root = project(
        {
            "orch.toml": "",
            "src/a.py": tool_text(
                top="import subprocess, time",
                body="subprocess.run('date +%N >> raw.csv', shell=True, check=True)\ntime.sleep(0.02)",
            ),
            "src/b.py": tool_text(top='AFTER = "a"', body="open('raw.csv').read()"),
        }
    )
    with watching(root, "a", "b", "sentinel") as watch:
        for version in (1, 2):
            text = (root / "src/a.py").read_text()
            save(root / "src/a.py", text.replace(f"N = {version - 1}", f"N = {version}"))
            assert watch.next_run().tools == ("a", "b")
            assert watch.settle() == [], watch.story()
        assert watch.all_events("notice") == []


def test_what_a_tool_reads_after_the_user_has_saved_it_does_not_run_it_again(
    project: Project,
) -> None:
    root = project(
        {
            "orch.toml": "",
            "in.csv": "1",
            "src/a.py": tool_text(top="import os, time", body=f"{GATE}\ntime.sleep(0.02)"),
            "src/b.py": tool_text(top='AFTER = "a"', body="print(open('in.csv').read())"),
        }
    )
    (root / "go").touch()
    with watching(root, *TOOL) as watch:
        (root / "go").unlink()
        watch.press("a")
        watch.wait_for("key", key="a")  # in the first run both lines may come at once
        watch.wait_for("tool_output", name="a", text="begins\n")
        save(root / "in.csv", "2")
        (root / "go").touch()
        assert watch.next_run().output["b"] == "2\n0\n"
        assert watch.settle() == [], watch.story()


def test_what_another_command_writes_by_a_run_sets_off_none(project: Project, orch: Orch) -> None:
    writes = "open('raw.csv', 'w').write(str(time.time_ns()))"
    root = project(
        {
            "orch.toml": "",
            "src/fetch.py": tool_text(top="import time", body=f"{writes}\ntime.sleep(0.5)"),
            "src/parse.py": tool_text(top='AFTER = "fetch"', body="open('raw.csv').read()"),
        }
    )
    with watching(root, *TOOL) as watch:
        for _ in range(2):
            assert orch("run", "fetch").code == 0
            assert watch.settle() == [], watch.story()
        save(root / "raw.csv", "by hand")
        assert watch.settle() == [], watch.story()  # it is no input of the user's


@pytest.mark.parametrize("database", ["data/app.db", "app.db"])
def test_the_database_is_not_an_input(project: Project, database: str) -> None:
    makes = (
        "conn.execute('CREATE TABLE IF NOT EXISTS t (x)')\nconn.execute('INSERT INTO t VALUES (1)')"
    )
    root = project(
        {
            "orch.toml": f'database = "sqlite:///{database}"\n',
            "data/in.csv": "1",
            "src/a.py": tool_text(takes="conn", top='ORCH = {"inputs": "data"}', body=makes),
            "src/b.py": tool_text(top="import os", body="os.listdir('data'), os.listdir('.')"),
        }
    )
    with watching(root, *TOOL) as watch:
        for version in (1, 2):
            text = (root / "src/a.py").read_text()
            save(root / "src/a.py", text.replace(f"N = {version - 1}", f"N = {version}"))
            assert watch.next_run().tools == ("a",)
        assert watch.settle() == [], watch.story()
        assert watch.all_events("notice") == []


# What is remembered of runs of a watch.


def test_a_tool_that_runs_below_one_that_another_program_made_stale_is_named(
    project: Project,
) -> None:
    fills = "conn.execute('CREATE TABLE IF NOT EXISTS t (x)')\nopen('f.txt', 'w').close()"
    root = project(
        {
            "orch.toml": "stages = ['s', 't']\n",
            "src/a.py": tool_text(takes="conn", body=f"{fills}\nconn.execute('SELECT x FROM t')"),
            "src/b.py": tool_text(stage="t", body="open('f.txt').close()"),
        }
    )
    with watching(root, "s", "t") as watch:
        with closing(sqlite3.connect(root / "data.db")) as conn:
            conn.execute("INSERT INTO t VALUES (1)")
            conn.commit()
        save(root / "src/b.py", tool_text(1, stage="t", body="open('f.txt').close()"))
        changed = watch.wait_for("changed")
        assert (changed["tools"], changed["stale"], changed["stays_stale"]) == (["b"], ["a"], ["b"])
        assert watch.next_run().tools == ("b",)


def test_its_runs_are_in_the_history(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "keep_runs = 2\n", "src/a.py": tool_text()})
    with watching(root, "a") as watch:
        for version in (1, 2, 3):
            save(root / "src/a.py", tool_text(version))
            watch.next_run()
        runs = orch("history", "--json").json["runs"]
        assert [(one["run"], one["kind"], one["status"]) for one in runs] == [
            ("4", "watch", "passed"),
            ("3", "watch", "passed"),
        ]
        assert states(orch)["a"] == "fresh"
        assert orch("logs", "a").out == "3\n"
        assert orch("run", "a").code == 0  # the project is not held while the watch waits


def test_a_cancelled_run_is_recorded_and_its_tool_is_stale(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/a.py": tool_text(top="import os, time", body=GATE)})
    with watching(root, "a", waits=False) as watch:
        watch.wait_for("tool_output", name="a", text="begins\n")
        watch.press("c")
        assert watch.next_run().status == "cancelled"
        (run,) = orch("history", "--json").json["runs"]
        assert (run["kind"], run["status"]) == ("watch", "cancelled")
        assert [(one["name"], one["status"]) for one in run["tools"]] == [("a", "cancelled")]
        assert states(orch)["a"] == "stale"


def test_after_kill_9_in_a_run_the_outcome_of_the_tool_is_unknown(
    project: Project, orch: Orch
) -> None:
    root = project({"orch.toml": "", "src/a.py": tool_text(top="import os, time", body=GATE)})
    with watching(root, "a", waits=False) as watch:
        watch.wait_for("tool_output", name="a", text="begins\n")
        held = orch("run", "a")
        assert held.code == 2, held.text
        assert str(watch.pid) in held.err
        watch.send(signal.SIGKILL)
        assert watch.wait() == -signal.SIGKILL
    (tool,) = [one for one in orch("status", "--json").json["tools"] if one["name"] == "a"]
    assert tool["unknown"], tool
    (run,) = orch("history", "--json").json["runs"]
    assert run["status"] == "killed"


def test_a_tool_that_is_cancelled_by_the_user_is_not_run_again_for_what_it_has_half_written(
    project: Project,
) -> None:
    writes = f"open('raw.csv', 'w').write(str(time.time_ns()))\n{GATE}"
    root = project(
        {
            "orch.toml": "",
            "go": "",
            "src/a.py": tool_text(top="import os, time", body=writes),
            "src/b.py": tool_text(top='AFTER = "a"', body="open('raw.csv').close()"),
        }
    )
    with watching(root, "a", "b", "sentinel", *TOOL) as watch:
        (root / "go").unlink()
        watch.press("a")
        watch.until(lambda: len(watch.all_events("run_started")) == 2, "another run")
        watch.wait_for("run_started")
        watch.wait_for("run_started")
        watch.wait_for("tool_output", name="a", text="begins\n")
        watch.press("c")
        assert watch.next_run().status == "cancelled"
        assert watch.settle() == [], watch.story()


def test_a_tool_reads_two_thousand_files_and_a_change_of_each_counts(project: Project) -> None:
    files = {f"in/{number // 200}/{number}.csv": "1" for number in range(2_000)}
    reads = "for number in range(2000):\n    open(f'in/{number // 200}/{number}.csv').close()"
    root = project({"orch.toml": "", **files, "src/a.py": tool_text(body=reads)})
    with watching(root, *TOOL) as watch:
        assert watch.all_events("watching")[-1]["files"] > 2_000
        save(root / "in/7/1500.csv", "2")
        assert reasons(watch) == {"a": "in/7/1500.csv changed"}
        watch.next_run()


def test_each_tool_with_a_shared_module_runs_again_for_what_it_read(project: Project) -> None:
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
