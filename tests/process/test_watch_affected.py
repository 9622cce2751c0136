"""What a change affects: exactly the tools that it reaches, by import, by data, by configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.editors import save
from tests.support.marks import slow_but
from tests.support.running import wait_until
from tests.support.watching import ALL_IS_SEEN, Event, Watching, tool_text, watching

TOOL = ("--scope", "tool")
# s: a, b; t: c reads what a writes, d reads what b writes.
FLOW = {
    "orch.toml": 'stages = ["s", "t"]\n',
    "src/a.py": tool_text(0, top='ORCH = {"inputs": [], "outputs": "a.txt"}', body="open('a.txt', 'w').close()"),
    "src/b.py": tool_text(0, top='ORCH = {"inputs": [], "outputs": "b.txt"}', body="open('b.txt', 'w').close()"),
    "src/c.py": tool_text(0, stage="t", top='ORCH = {"inputs": "a.txt", "outputs": []}', body="open('a.txt').close()"),
    "src/d.py": tool_text(0, stage="t", top='ORCH = {"inputs": "b.txt", "outputs": []}', body="open('b.txt').close()"),
}  # fmt: skip


def bump(root: Path, path: str, version: int = 1) -> None:
    """Save a module with the same text and another version."""
    text = (root / path).read_text()
    head, _, rest = text.partition("VERSION = ")
    save(root / path, f"{head}VERSION = {version}\n{rest.partition(chr(10))[2]}")


def gone(watch: Watching, path: str) -> Event:
    """The news of a change of that path that no tool is to be run for."""
    return watch.wait_for_one(
        lambda one: one["event"] == "changed" and path in one["paths"] and not one["tools"],
        f"a change of {path} without tools",
    )


# Scopes and targets


SCOPES: dict[str, dict[str, tuple[str, ...]]] = {
    "affected": {"src/a.py": ("a", "c"), "src/b.py": ("b", "d"), "src/d.py": ("d",)},
    "stage": {"src/a.py": ("a", "b", "c", "d"), "src/d.py": ("c", "d")},
    "tool": {"src/a.py": ("a",)},
}


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_says_how_much_is_run(project: Project, scope: str) -> None:
    root = project(FLOW)
    with watching(root, "s", "t", "--scope", scope) as watch:
        assert watch.all_events("watching")[-1]["scope"] == scope
        for version, (path, tools) in enumerate(SCOPES[scope].items(), start=1):
            bump(root, path, version)
            changed = watch.wait_for("changed")
            assert (changed["paths"], changed["tools"]) == ([path], [*tools])
            assert (changed["action"], changed["during_run"]) == ("run", False)
            left = ["c"] if scope == "tool" else []
            assert (changed["stale"], changed["not_affected"]) == (left, 4 - len(tools) - len(left))
            assert watch.next_run().tools == tools


def test_the_settings_of_a_watch_are_read_again(project: Project) -> None:
    root = project({**FLOW, "orch.toml": 'stages = ["s", "t"]\n'})
    with watching(root) as watch:
        mode = watch.all_events("watching")[-1]["mode"]
        for scope, tools, poll in (
            ("tool", ("a",), "true"),
            ("stage", ("a", "b", "c", "d"), "false"),
        ):
            settings = f'[watch]\nscope = "{scope}"\npoll = {poll}\n'
            save(root / "orch.toml", f"{FLOW['orch.toml']}{settings}")
            gone(watch, "orch.toml")
            bump(root, "src/a.py", len(tools))
            assert watch.next_run().tools == tools
            now = watch.wait_for("watching")["mode"]
            assert now == ("polling" if poll == "true" else mode)
        assert watch.all_events("notice") == []


@pytest.mark.parametrize("scope", slow_but({"tool"}, ["affected", "tool"]))
def test_what_a_failed_tool_blocked_runs_with_it_when_it_is_fixed(
    project: Project, scope: str
) -> None:
    files = {
        "src/a.py": tool_text(),
        "src/b.py": tool_text(stage="t", top="AFTER = 'a'"),
        "src/c.py": tool_text(stage="u"),
    }
    root = project({"orch.toml": 'stages = ["s", "t", "u"]\n', **files})
    with watching(root, "s", "t", "u", "--scope", scope) as watch:
        with watch.held():
            save(root / "src/a.py", tool_text(1, body="raise OSError"))
            bump(root, "src/b.py")
        assert watch.next_run().ended == {"a": "failed", "b": "blocked"}, watch.story()
        bump(root, "src/c.py")
        watch.wait_for("changed", tools=["c"], stale=["a", "b"])
        assert watch.next_run().ended == {"c": "passed"}
        watch.press("f")
        assert watch.next_run().ended == {"a": "failed", "b": "blocked"}
        save(root / "src/a.py", tool_text(2))
        assert watch.next_run().ended == {"a": "passed", "b": "passed"}


@pytest.mark.parametrize("scope", slow_but({"affected"}, ["affected", "stage", "tool"]))
def test_a_tool_downstream_of_a_failed_one_is_blocked_until_that_one_has_passed(
    project: Project, scope: str
) -> None:
    root, top = project(FLOW), FLOW["src/a.py"].splitlines()[0]
    with watching(root, "s", "t", "--scope", scope) as watch:
        save(root / "src/a.py", tool_text(1, top=top, body="open('a.txt', 'a').close(); 1 / 0"))
        assert watch.next_run().ended["a"] == "failed"
        bump(root, "src/c.py")
        if scope == "stage":  # d is in the stage of c, and runs there
            assert "c" not in watch.next_run().tools
        else:
            watch.wait_for("changed", tools=[], blocked={"c": "a"}, action="none")
        watch.press("")  # the last tools again, whatever their state
        watch.next_run()
        bump(root, "src/c.py", 2)
        save(root / "src/a.py", tool_text(2, top=top, body="open('a.txt', 'w').close()"))
        while (run := watch.next_run()).ended.get("c") != "passed":
            assert "c" not in run.ended
        assert run.ended["a"] == "passed"


def test_a_success_that_grows_too_old_while_nothing_changes_is_stale(
    project: Project, orch: Orch
) -> None:
    """It starts no run by itself, but the line on a change counts it."""
    aging = FLOW["src/a.py"].replace('"inputs": []', '"inputs": [], "max_age": 0.5')
    root = project({**FLOW, "src/a.py": aging})
    with watching(root, "s", "t") as watch:
        wait_until(lambda: "stale" in orch("status", "a").out, "a is too old")
        bump(root, "src/d.py")
        watch.wait_for("changed", tools=["d"], stale=["a", "c"])
        assert watch.next_run().tools == ("d",)


def test_exclude_limits(project: Project) -> None:
    root = project({**FLOW, "b.txt": ""})
    with watching(root, "--exclude", "b") as watch:
        assert "b" not in watch.runs[0].tools
        bump(root, "src/b.py")
        bump(root, "src/a.py")
        assert watch.next_run().tools == ("a", "c")


def test_parameters_of_the_command_line_are_given_to_every_run(project: Project) -> None:
    tool = 'STAGE = "s"\nVERSION = 0\ndef run(*, since: str, top: int = 3): print(since, top, VERSION)\n'
    root = project({"src/a.py": f"{ALL_IS_SEEN}\n{tool}"})
    with watching(root, "--since", "2024", "-p", "a.top=7") as watch:
        assert watch.runs[0].output["a"] == "2024 7 0\n"
        bump(root, "src/a.py")
        assert watch.next_run().output == {"a": "2024 7 1\n"}


# Imports

DEEP = {
    "orch.toml": "",
    "src/a.py": tool_text(top="from src.lib import one"),
    "src/b.py": tool_text(top="from src.lib import other"),
    "src/c.py": tool_text(stage="t", body="from src.lib.one import TWO"),
    "src/lib/one.py": "from .two import VERSION as TWO\n",
    "src/lib/two.py": "VERSION = 0\n",
    "src/lib/other.py": "VERSION = 0\n",
    "src/lib/nobody.py": "VERSION = 0\n",
}


def test_a_helper_two_imports_deep_affects_exactly_its_importers(project: Project) -> None:
    root = project(DEEP)
    with watching(root, *TOOL) as watch:
        bump(root, "src/lib/two.py")
        changed = watch.wait_for("changed")
        assert changed["tools"] == ["a", "c"]
        assert changed["not_affected"] == 2  # b and the sentinel
        assert changed["reasons"] == dict.fromkeys("ac", "src/lib/two.py changed")
        assert watch.next_run().tools == ("a", "c")
        bump(root, "src/lib/other.py")
        assert watch.next_run().tools == ("b",)
        bump(root, "src/lib/nobody.py")
        gone(watch, "src/lib/nobody.py")
        assert watch.settle() == [], watch.story()


# Tools that come, go and move


def test_a_target_that_is_deleted_is_said_to_be_wrong_and_the_others_go_on(
    project: Project,
) -> None:
    root = project({"orch.toml": "", "src/a.py": tool_text(), "src/b.py": tool_text(stage="t")})
    with watching(root, "a", "b") as watch:
        (root / "src/b.py").unlink()
        (error,) = watch.wait_for("broken")["errors"]
        assert '"b"' in error["message"], error
        bump(root, "src/a.py")
        assert watch.next_run().output == {"a": "1\n"}


def test_a_tool_that_moves_keeps_what_is_known_of_it(project: Project) -> None:
    root = project({"orch.toml": "", "src/a.py": tool_text()})
    with watching(root) as watch:
        (root / "src/later").mkdir()
        (root / "src/a.py").rename(root / "src/later/a.py")
        assert watch.settle() == [], watch.story()
        assert not [one for one in watch.all_events("changed") if one["gone"]]
        bump(root, "src/later/a.py", 1)
        assert watch.next_run().tools == ("a",)


def test_a_source_folder_that_is_gone_for_a_while_is_read_again(project: Project) -> None:
    root = project({"orch.toml": "", "src/a.py": tool_text(), "src/b.py": tool_text(stage="t")})
    with watching(root) as watch:
        (root / "src").rename(root / "elsewhere")
        watch.wait_for("broken")
        (root / "elsewhere").rename(root / "src")
        watch.wait_for("watching")
        bump(root, "src/b.py", 1)
        assert watch.next_run().tools == ("b",)
        said = [one["problem"]["message"] for one in watch.all_events("notice")]
        assert not [text for text in said if "was planned" in text], watch.story()


def test_a_failed_tool_does_not_run_for_what_does_not_concern_it(project: Project) -> None:
    reads = "open('in.csv').close()"
    root = project(
        {
            "orch.toml": "",
            "in.csv": "1",
            "src/a.py": tool_text(body=reads),
            "src/b.py": tool_text(stage="t"),
        }
    )
    with watching(root, *TOOL) as watch:
        save(root / "src/a.py", tool_text(body=f"1 / 0\n{reads}"))
        assert watch.next_run().ended == {"a": "failed"}
        for version in (1, 2):
            bump(root, "src/b.py", version)
            assert watch.next_run().ended == {"b": "passed"}
        save(root / "in.csv", "2")
        assert watch.next_run().ended == {"a": "failed"}


def test_a_failed_tool_does_not_run_for_what_it_blocks(project: Project) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/a.py": tool_text(body="open('a.txt', 'w').close()"),
            "src/b.py": tool_text(top="import os\nAFTER = 'a'", body="os.remove('a.txt')"),
            "src/c.py": tool_text(stage="t"),
        }
    )
    with watching(root) as watch:
        save(root / "src/a.py", tool_text(1, body="1 / 0"))
        assert watch.next_run().ended == {"a": "failed", "b": "blocked"}
        for version in (1, 2):
            bump(root, "src/c.py", version)
            assert watch.next_run().ended == {"c": "passed"}


def test_the_fix_of_a_module_that_a_failed_tool_loaded_by_a_computed_name_runs_it_once(
    project: Project,
) -> None:
    loads = "importlib.import_module('.'.join(['src', 'plug'])).go()"
    fails, works = "def go(): raise ValueError\n", "def go(): print('works')\n"
    tool = tool_text(top="import importlib", body=loads)
    root = project({"orch.toml": "", "src/a.py": tool, "src/plug.py": fails})
    with watching(root) as watch:
        save(root / "src/plug.py", works)
        assert watch.next_run().ended == {"a": "passed"}
        save(root / "src/plug.py", fails)
        assert watch.next_run().ended == {"a": "failed"}
        assert watch.settle() == [], watch.story()
        save(root / "src/plug.py", works)
        assert watch.next_run().ended == {"a": "passed"}
        assert watch.settle() == [], watch.story()


def test_a_file_that_a_failed_attempt_did_not_read_is_no_change(project: Project) -> None:
    reads = tool_text(body='open("a.csv").close()')
    root = project({"orch.toml": "", "a.csv": "1", "src/a.py": reads})
    with watching(root) as watch:
        save(root / "src/a.py", f"import nowhere_to_be_found\n{reads}")
        assert watch.next_run().ended == {"a": "failed"}
        save(root / "src/a.py", f"X = 1\n{reads}")
        assert watch.next_run().ended == {"a": "passed"}
        paths = [one["paths"] for one in watch.all_events("changed")]
        assert paths == [["src/a.py"], ["src/a.py"]], watch.story()


# Broken modules


def test_what_waited_for_a_fix_is_announced_also_where_the_file_is_as_it_was(
    project: Project,
) -> None:
    root = project(DEEP)
    with watching(root, "s", "t") as watch:
        path = root / "src/lib/two.py"
        good = path.read_text()
        save(path, "def run(:\n")
        watch.wait_for("broken")
        watch.press("a")
        assert watch.next_run().tools == ("b",)
        save(path, good)
        changed = watch.wait_for("changed")
        assert (changed["paths"], changed["tools"]) == (["src/lib/two.py"], ["a", "c"])
        assert watch.next_run().tools == ("a", "c")
        assert watch.all_events("unchanged") == []


def test_what_waited_for_a_fix_and_is_as_it_was_does_not_run(project: Project) -> None:
    root = project(DEEP)
    good = (root / "src/a.py").read_text()
    with watching(root, "s", "t") as watch:
        save(root / "orch.toml", "stagse = []\n")
        watch.wait_for("broken")
        watch.press("a")
        assert watch.wait_for("key", key="a")["sentence"].startswith("nothing can run until")
        bump(root, "src/a.py")
        watch.wait_for("changed", paths=["src/a.py"])
        save(root / "src/a.py", good)
        watch.wait_for("changed", paths=["src/a.py"])
        save(root / "orch.toml", "")
        watch.wait_for("changed", paths=["orch.toml"], tools=[])
        bump(root, "src/b.py")
        assert watch.next_run().tools == ("b",)


# s: first, other; t: a tool that names the first, one whose reads are not known, and one that reads a file alone.
AFTER_BROKEN = {
    "orch.toml": 'stages = ["s", "t"]\n',
    "in.txt": "1",
    "src/first.py": tool_text(0, top='ORCH = {"inputs": [], "outputs": "first.txt"}', body="open('first.txt', 'w').close()"),
    "src/named.py": tool_text(0, stage="t", top='AFTER = "first"'),
    "src/other.py": tool_text(0),
    "src/unseen.py": 'STAGE = "t"\ndef run():\n    print(0)\n',
}  # fmt: skip


def test_a_watch_that_begins_with_a_broken_tool_runs_nothing_downstream_of_it(
    project: Project,
) -> None:
    root = project(AFTER_BROKEN)
    good = (root / "src/first.py").read_text()
    (root / "src/first.py").write_text('STAGE = "s"\ndef run(:\n')
    with watching(root) as watch:
        (error,) = watch.wait_for("broken")["errors"]
        assert error["path"] == "src/first.py"
        assert watch.runs[0].tools == ("other",), watch.story()
        bump(root, "src/named.py")
        gone(watch, "src/named.py")
        bump(root, "src/other.py")
        assert watch.next_run().tools == ("other",)
        save(root / "src/first.py", good)
        expected = {"first", "named", "unseen", "sentinel"}
        assert {*watch.next_run().tools} == expected, watch.story()


def test_a_typing_error_in_after_holds_what_is_downstream(project: Project) -> None:
    root = project(AFTER_BROKEN)
    good = (root / "src/first.py").read_text()
    with watching(root) as watch:
        assert {*watch.runs[0].tools} == {"first", "named", "other", "sentinel", "unseen"}
        save(root / "src/first.py", good + 'AFTER = "ohter"\n')
        (error,) = watch.wait_for("broken")["errors"]
        assert '"other"' in error["hint"] + error["message"], error
        bump(root, "src/named.py")
        bump(root, "src/other.py")
        assert "named" not in watch.next_run().tools
        save(root / "src/first.py", good)
        assert "named" in watch.next_run().tools, watch.story()


# Configuration and resources


def test_a_changed_default_of_a_parameter_affects_its_tools(project: Project) -> None:
    config, table = "pyproject.toml", "[tool.orch.params]\n{}\n"
    root = project(
        {
            config: table.format("level = 1"),
            "src/a.py": tool_text(takes="*, level: int = 0", body="print(level)"),
            "src/b.py": tool_text(),
        }
    )
    with watching(root, *TOOL) as watch:
        assert watch.runs[0].output["a"] == "1\n0\n"
        save(root / config, table.format("level = 2"))
        assert watch.next_run().output == {"a": "2\n0\n"}
        save(root / config, table.format("level = 2  # the same"))
        assert watch.settle() == [], watch.story()


# Data


OUTPUTS = {
    "an input of the next": (
        tool_text(top='ORCH = {"outputs": "data/out.csv"}', body="open('data/out.csv', 'a').write('x')"),
        tool_text(top='ORCH = {"inputs": "data/out.csv"}'),
    ),
    "its own input": (
        tool_text(
            top='ORCH = {"inputs": "data/in.csv"}',
            body="text = open('data/in.csv').read()\nopen('data/in.csv', 'w').write(text + 'x')",
        ),
        tool_text(),
    ),
    "seen to be read": (
        tool_text(body="open('data/out.csv', 'a').write('x')"),
        tool_text(body="open('data/out.csv').read()"),
    ),
    "in a folder that is listed": (
        tool_text(top="import time", body="open(f'data/{time.time_ns()}.csv', 'w').close()"),
        tool_text(top="import os", body="os.listdir('data')"),
    ),
    "what was looked for in vain": (
        tool_text(body="open('data/late.csv', 'w').close()"),
        tool_text(top="import os", body="if not os.path.exists('x'): os.path.isfile('data/late.csv')"),
    ),
    "in the folder of the sources": (
        tool_text(body="open('src/out.log', 'a').write('x')\nopen('src/table.json', 'w').write('{}')"),
        tool_text(body="open('src/table.json').read()"),
    ),
    "by a child": (
        tool_text(
            top='import subprocess\nORCH = {"outputs": "data/out.csv"}',
            body="subprocess.run('date >> data/out.csv', shell=True, check=True)",
        ),
        tool_text(top='ORCH = {"inputs": "data/out.csv"}'),
    ),
    "renamed": (
        tool_text(
            top='import os, time\nORCH = {"outputs": "data/out.csv"}',
            body="open('data/x', 'w').write(str(time.time()))\nos.replace('data/x', 'data/out.csv')",
        ),
        tool_text(top='ORCH = {"inputs": "data/*.csv"}'),
    ),
}  # fmt: skip


@pytest.mark.parametrize("scope", ["affected", "stage", "tool"])
def test_what_a_run_writes_causes_no_loop(project: Project, scope: str) -> None:
    """Each scope has a third of the ways, each in a folder of its own."""
    ways = {
        what: [re.sub(r"data(?=['/])", f"data{number}", text) for text in OUTPUTS[what]]
        for number, what in enumerate(OUTPUTS)
        if number % 3 == ("affected", "stage", "tool").index(scope)
    }
    files = {"orch.toml": "", **{f"data{number}/in.csv": "" for number in range(len(OUTPUTS))}}
    for number, (writer, reader) in enumerate(ways.values()):
        files |= {f"src/a{number}.py": writer, f"src/b{number}.py": reader}
    root = project(files)
    targets = [f"{letter}{number}" for number in range(len(ways)) for letter in "ab"]
    with watching(root, *targets, "--scope", scope) as watch:
        for number, what in enumerate(ways):
            bump(root, f"src/a{number}.py")
            run = watch.next_run()
            assert run.status == "passed", what
            assert set(run.tools) >= {f"a{number}"}
            # Without the sentinel, which is downstream here: a tool of one of the two runs once more.
            bump(root, f"src/b{number}.py")
            run = watch.next_run()
            assert run.output[f"b{number}"].endswith("1\n"), what
            assert len(watch.runs) == 3 + 2 * number, f"{what}\n{watch.story()}"


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scope", ["affected", "stage"])
@pytest.mark.parametrize("what", OUTPUTS)
def test_for_a_minute_nothing_comes_of_what_runs_write(
    project: Project, what: str, scope: str
) -> None:
    writer, reader = OUTPUTS[what]
    root = project({"orch.toml": "", "data/in.csv": "", "src/a.py": writer, "src/b.py": reader})
    with watching(root, "a", "b", "--scope", scope) as watch:
        bump(root, "src/a.py")
        watch.next_run()
        assert watch.runs_within(60) == 0, watch.story()


def test_a_generator_that_loops_is_stopped_with_a_notice(project: Project) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/made.py": "X = 0\n",
            "src/gen.py": tool_text(
                top='import time\nAFTER = "use"',
                body="open('used.txt').read(); open('src/made.py', 'w').write(f'X = {time.time_ns()}\\n')",
            ),
            "src/use.py": tool_text(
                body="from src.made import X; open('used.txt', 'w').write(str(X))"
            ),
        }
    )
    with watching(root) as watch:
        notice = watch.wait_for("notice")
        assert "src/made.py" in notice["problem"]["message"], watch.story()
        watch.until(lambda: watch.events[-1]["event"] in ("watching", "notice"), "the waiting")
        assert len(watch.settle()) <= 5, watch.story()
        assert watch.settle() == [], watch.story()
        # It is the edge that rests, not the watch.
        bump(root, "src/use.py", 7)
        watch.until(lambda: watch.runs[-1].output.get("use") == "7\n", "the edit")
        watch.settle()
        save(root / "src/made.py", "X = 'by hand'\n")
        watch.wait_for_one(
            lambda one: (
                one["event"] == "changed" and one["paths"] == ["src/made.py"] and one["tools"]
            ),
            "the file that the user saved",
        )


def test_a_tool_that_interrupts_itself_does_not_end_the_watch(project: Project) -> None:
    top, body = "import signal", "signal.raise_signal(signal.SIGINT)"
    root = project({"orch.toml": "", "src/a.py": tool_text(top=top, body=body)})
    with watching(root, *TOOL) as watch:
        assert watch.runs[0].ended["a"] == "failed"
        save(root / "src/a.py", tool_text(1))
        assert watch.next_run().status == "passed"


def test_an_import_that_is_gone_from_a_tool_that_fails_starts_no_second_run(
    project: Project,
) -> None:
    root = project({"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(): ...\n"})
    with watching(root, *TOOL) as watch:
        save(root / "src/a.py", "STAGE = 's'\ndef run():\n    import src.not_there\n")
        assert watch.next_run().status == "failed"
        fails = "    conn.execute('CREATE TABLE t (x)')\n    open('made.txt', 'w').close()\n    raise ValueError\n"
        save(root / "src/a.py", f"STAGE = 's'\ndef run(conn):\n{fails}")
        assert watch.next_run().status == "failed"
        save(root / "src/a.py", "STAGE = 's'\ndef run(): print(1)\n")
        assert watch.next_run().status == "passed", watch.story()
        assert watch.settle() == [], watch.story()
