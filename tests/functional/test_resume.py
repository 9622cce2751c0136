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
        while not os.access.__wrapped__("go", os.F_OK):
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


def test_a_resume_with_several_workers_keeps_the_stages_apart(project: Project, orch: Orch) -> None:
    """What stages exchange unseen is known to no data flow."""
    slow = """
        import os, time
        STAGE = "{0}"
        AFTER = ()
        ORCH = {{"inputs": [], "outputs": []}}
        def run():
            assert {1}, os.listdir("../")
            time.sleep(0.2)
            open("../{0}-{2}", "w").close()
        """
    root = project(
        {
            "orch.toml": 'stages = ["one", "two"]\n',
            "src/a.py": slow.format("one", 'not os.path.exists("bad")', "a"),
            "src/b.py": slow.format("one", 'not os.path.exists("bad")', "b"),
            "src/c.py": slow.format("two", 'len([*filter(lambda one: one[:3] == "one", os.listdir("../"))]) == 2', "c"),
            "bad": "",
        }
    )  # fmt: skip
    assert orch("run", "--jobs", "3").code == 1
    (root / "bad").unlink()
    answer = orch("run", "--resume", "--jobs", "3")
    assert answer.code == 0, answer.text
