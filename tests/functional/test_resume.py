"""`orch run --resume`: what a run left is run, with the parameters that it had."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.project_builder import Answer
from tests.support.remembered import memory_files, ran, reasons
from tests.support.running import running

SECRET = "open-sesame-4711"
#: Fails as long as there is a folder of its name, and tells what it was given.
TOOL = """
    import os
    STAGE = "s"
    AFTER = {after}
    def run(*, since: str = "", limit: int = 0, wide: bool = False):
        assert not os.path.isdir("bad/" + __name__.rpartition(".")[2])
        return {{"since": since, "limit": limit, "wide": wide}}
    """
FIVE = {
    "orch.toml": "",
    **{f"src/t{n}.py": TOOL.format(after=f'"t{n - 1}"' if n > 1 else "()") for n in range(1, 6)},
}


def metrics(answer: Answer) -> dict[str, object]:
    finished = [one for one in answer.events if one["event"] == "tool_finished"]
    return {one["name"]: one["metrics"] for one in finished}


@pytest.fixture
def five(project: Project) -> Path:
    """Five tools in a row, of which the third fails."""
    return project({**FIVE, "bad/t3/": ""})


def test_it_goes_on_after_what_passed_with_the_same_parameters(five: Path, orch: Orch) -> None:
    first = orch("run", "--since", "2024", "-p", "t5.limit=7", "--wide")
    assert first.code == 1
    assert "  resume with: orch run --resume\n" in first.out
    os.rmdir(five / "bad" / "t3")
    answer = orch("run", "--resume")
    assert answer.code == 0, answer.text
    assert "resuming run 1 (failed): 2 tools passed\n" in answer.out
    assert "running 3 tools: t3, t4, t5\n" in answer.out
    assert reasons(orch, "--since", "2024", "-p", "t5.limit=7", "--wide") == {}
    run = orch("history", "2", "--json").json["runs"][0]
    assert [tool["name"] for tool in run["tools"]] == ["t3", "t4", "t5"]
    assert run["tools"][0]["metrics"] == {"since": "2024", "limit": 0, "wide": True}
    assert run["tools"][2]["metrics"] == {"since": "2024", "limit": 7, "wide": True}
    assert "nothing to resume" in orch("run", "--resume").out


def test_a_parameter_given_again_overrides(five: Path, orch: Orch) -> None:
    assert orch("run", "--since", "2024", "--limit", "1").code == 1
    os.rmdir(five / "bad" / "t3")
    answer = orch("run", "--resume", "--json", "--limit", "2", "-p", "t5.since=2025")
    assert answer.code == 0, answer.text
    # What passed had another limit: it is stale by now, and runs again.
    assert ran(answer) == ["t1", "t2", "t3", "t4", "t5"]
    assert metrics(answer)["t3"] == {"since": "2024", "limit": 2, "wide": False}
    assert metrics(answer)["t5"] == {"since": "2025", "limit": 2, "wide": False}


def test_what_passed_and_is_stale_by_now_is_run_again_and_named(five: Path, orch: Orch) -> None:
    assert orch("run").code == 1
    os.rmdir(five / "bad" / "t3")
    text = (five / "src" / "t2.py").read_text()
    (five / "src" / "t2.py").write_text(text + "\nX = 1\n")
    answer = orch("run", "--resume")
    assert answer.code == 0, answer.text
    said = answer.out.replace("\n", " ")
    assert "resuming run 1 (failed): 2 tools passed" in said
    assert "stale again: t2 (src/t2.py changed)" in said
    assert "running 4 tools: t2, t3, t4, t5" in said


def test_a_run_by_its_id(five: Path, orch: Orch) -> None:
    assert orch("run", "--since", "1").code == 1
    assert orch("run", "--since", "2").code == 1
    assert orch("run", "t1").code == 0
    os.rmdir(five / "bad" / "t3")
    answer = orch("run", "--resume", "1", "--json")
    assert answer.code == 0, answer.text
    # Runs 2 and 3 had other parameters: what passed in run 1 is stale.
    assert metrics(answer)["t5"] == {"since": "1", "limit": 0, "wide": False}
    # The tools that run 2 left have run since. It is resumed only by its number.
    assert "nothing to resume" in orch("run", "--resume").out
    again = orch("run", "--resume", "2", "--json")
    assert again.events[0]["event"] == "run_started"
    assert metrics(again)["t5"] == {"since": "2", "limit": 0, "wide": False}


def test_nothing_to_resume_is_said_and_well(five: Path, orch: Orch) -> None:
    os.rmdir(five / "bad" / "t3")
    assert orch("run").code == 0
    for flags in ((), ("--json",), ("-n",), ("-n", "--json")):
        answer = orch("run", "--resume", *flags)
        assert (answer.code, answer.err) == (0, "")
        if flags == ("--json",):
            assert [one["event"] for one in answer.events] == ["run_started", "run_finished"]
            assert answer.events[-1]["exit_code"] == 0
        elif "--json" in flags:
            assert answer.json["tools"] == []
        else:
            assert answer.out.startswith("nothing to resume")
    assert len(orch("history", "--json").json["runs"]) == 1


def test_it_takes_no_targets(five: Path, orch: Orch) -> None:
    assert orch("run").code == 1
    for words in (("t3", "--resume"), ("--exclude", "t3", "--resume"), ("--changed", "--resume")):
        answer = orch("run", *words)
        assert answer.code == 2, answer.text
        assert "hint: " in answer.err
    assert len(orch("history", "--json").json["runs"]) == 1


def test_a_dry_run_shows_what_a_resume_would_run(five: Path, orch: Orch) -> None:
    assert orch("run", "--since", "2024").code == 1
    answer = orch("run", "--resume", "-n")
    assert answer.code == 0, answer.text
    assert "would run 3 tools, in this order:\n" in answer.out
    assert "failed in run 1" in answer.out
    assert answer.out.count("blocked in run 1") == 2
    document = orch("run", "--resume", "-n", "--json").json
    assert [tool["name"] for tool in document["tools"]] == ["t3", "t4", "t5"]
    assert document["tools"][0]["params"]["since"]["value"] == "2024"
    assert len(orch("history", "--json").json["runs"]) == 1


def test_the_lines_of_json_are_complete(five: Path, orch: Orch) -> None:
    assert orch("run").code == 1
    os.rmdir(five / "bad" / "t3")
    events = orch("run", "--resume", "--json").events
    assert {**events[0], "time": "now"} == {
        "event": "run_started",
        "run": "2",
        "targets": ["full"],
        "tools": ["t3", "t4", "t5"],
        "time": "now",
    }
    assert [one["event"] for one in events[1:]] == [
        *(["tool_started", "tool_finished"] * 3),
        "run_finished",
    ]
    assert events[-1]["counts"] == {"passed": 3}


SECRETIVE = {
    "orch.toml": "",
    "src/a.py": "STAGE = 's'\ndef run(*, since: str = ''): pass\n",
    "src/b.py": """
        import os
        STAGE = "s"
        AFTER = "a"
        def run(*, api_key: str = "", since: str = "", **more):
            assert not os.path.isdir("bad")
            return {"length": len(api_key or more.get("my_token", "")), "since": since}
        """,
    "bad/": "",
}


def assert_nowhere(root: Path, *answers: Answer) -> None:
    for answer in answers:
        assert SECRET not in answer.out + answer.err
    for path in memory_files(root):
        assert SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (("--api-key", SECRET), {}),
        (("-p", f"api_key={SECRET}"), {}),
        (("-p", f"b.api_key={SECRET}"), {}),
        ((), {"ORCH_PARAM_API_KEY": SECRET}),
    ],
)
def test_a_secret_is_asked_for_again_and_never_kept(
    project: Project, orch: Orch, words: tuple[str, ...], environment: dict[str, str]
) -> None:
    root = project(SECRETIVE)
    first = orch("run", "--since", "2024", *words, env=environment)
    assert first.code == 1
    (root / "bad").rmdir()
    refused = orch("run", "--resume")
    assert refused.code == 2
    assert "b needs api_key again: secrets are not stored" in refused.err
    as_json = orch("run", "--resume", "--json")
    assert as_json.code == 2
    assert as_json.events[-1]["exit_code"] == 2
    answer = orch("run", "--resume", "--json", *words, env=environment)
    assert answer.code == 0, answer.text
    assert metrics(answer) == {"b": {"length": len(SECRET), "since": "2024"}}
    assert_nowhere(root, first, refused, as_json, answer)


WAITS = """
    import os, time
    STAGE = "s"
    AFTER = "a"
    def run(conn):
        conn.execute("create table b (x)")
        print("waiting", flush=True)
        while not os.path.exists("go"):
            time.sleep(0.01)
    """
INTERRUPTED = {
    "orch.toml": "",
    "src/a.py": "STAGE = 's'\ndef run(conn): conn.execute('create table a (x)')\n",
    "src/b.py": WAITS,
    "src/c.py": "STAGE = 's'\nAFTER = 'b'\ndef run(): pass\n",
}


@pytest.mark.parametrize(
    ("number", "how", "status"),
    [
        (signal.SIGINT, "interrupted", "interrupted"),
        (signal.SIGTERM, "interrupted", "interrupted"),
        (signal.SIGKILL, "killed", "unknown"),
    ],
)
def test_an_interrupted_and_a_killed_run_go_on(
    project: Project, orch: Orch, number: signal.Signals, how: str, status: str
) -> None:
    root = project(INTERRUPTED)
    with running(root, "run") as first:
        first.wait_for("waiting")
        first.send(number)
        assert first.wait() == {2: 130, 15: 143, 9: -9}[number]
    run = orch("history", "--json").json["runs"][0]
    assert run["status"] == how
    # The order of the third goes out while the second runs: after a kill nobody knows whether it began.
    third = run["tools"][2]["status"]
    assert third == "not_run" or (third, status) == ("unknown", "unknown")
    assert [tool["status"] for tool in run["tools"]] == ["passed", status, third]
    shown = orch("status", "--json").json["tools"]
    states = {"unknown": "unknown", "not_run": "never"}
    assert [tool["state"] for tool in shown] == [
        "fresh",
        states.get(status, "stale"),
        states[third],
    ]
    (root / "go").touch()
    answer = orch("run", "--resume", "--json")
    assert answer.code == 0, answer.text
    assert ran(answer) == ["b", "c"]
    assert reasons(orch) == {}


def test_the_database_of_then_is_used_again(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/a.py": "STAGE = 's'\ndef run(conn): conn.execute('create table a (x)')\n",
            "src/b.py": "import os\nSTAGE = 's'\nAFTER = 'a'\ndef run(conn):\n    assert not os.path.isdir('bad')\n    conn.execute('select * from a')\n",
            "bad/": "",
        }
    )
    assert orch("run", "--database", "sqlite:///other.db").code == 1
    (root / "bad").rmdir()
    answer = orch("run", "--resume", "--json")
    assert answer.code == 0, answer.text
    assert ran(answer) == ["b"]
    assert not (root / "data.db").exists()


def test_the_run_that_is_being_resumed_may_have_been_a_run_of_what_changed(
    five: Path, orch: Orch
) -> None:
    os.rmdir(five / "bad" / "t3")
    assert orch("run").code == 0
    (five / "bad" / "t4").mkdir()
    text = (five / "src" / "t3.py").read_text()
    (five / "src" / "t3.py").write_text(text + "\nX = 1\n")
    first = orch("run", "--changed", "--json")
    assert first.code == 1
    assert ran(first) == ["t3", "t4"]
    os.rmdir(five / "bad" / "t4")
    answer = orch("run", "--resume", "--json")
    assert answer.code == 0, answer.text
    assert ran(answer) == ["t4", "t5"]


def test_a_run_whose_tools_have_run_again_since_is_not_resumed(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/a.py": "import os\nSTAGE = 's'\ndef run(*, n: int = 1): assert not os.path.exists('bad')\n",
            "bad": "",
        }
    )
    assert orch("run", "--n", "9").code == 1
    (root / "bad").unlink()
    assert orch("run").code == 0
    assert orch("run", "--resume").out.startswith("nothing to resume")


def test_an_after_that_was_added_since_counts_and_a_typed_order_stands(
    project: Project, orch: Orch
) -> None:
    def tool(name: str, after: str = "") -> str:
        tag = f"AFTER = {after!r}\n" if after else ""
        fails = "1 / 0" if name == "a" else "pass"
        return f"STAGE = 's'\n{tag}def run(): {fails}\n"

    project({f"src/{name}.py": tool(name) for name in "abcd"})

    def left() -> list[str]:
        return [one["name"] for one in orch("run", "--resume", "-n", "--json").json["tools"]]

    assert orch("run").code == 1
    assert left()[0] == "a"
    project({"src/a.py": tool("a", "c")})
    assert left().index("c") < left().index("a")
    assert orch("run", "a", "c", "d").code == 1
    assert left() == ["a", "c", "d"]


def test_the_hint_about_pythonpath_leads_to_a_run_that_can_be_resumed(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": 'stages = ["s"]\n',
            "src/shop/util.py": "X = 1\n",
            "src/shop/load.py": "from shop.util import X\nSTAGE = 's'\ndef run(): pass\n",
        }
    )
    first = orch("run")
    assert 'add "src" to pythonpath' in first.out
    assert "  resume with: orch run --resume\n" in first.out
    (root / "orch.toml").write_text('stages = ["s"]\npythonpath = ["src"]\n')
    answer = orch("run", "--resume")
    assert (answer.code, answer.err) == (0, "")
    assert "running 1 tool: load\n" in answer.out
    assert "nothing to resume" in orch("run", "--resume").out
