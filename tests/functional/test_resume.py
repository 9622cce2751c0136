"""`orch run --resume` after a signal, and with several workers. The other cases are in `tests/scenes/resume.scene`."""

from __future__ import annotations

import signal

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import ran, reasons
from tests.support.running import running

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
        (signal.SIGKILL, "killed", "failed"),
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
    assert third == "not_run" or (third, status) == ("unknown", "failed")
    assert [tool["status"] for tool in run["tools"]] == ["passed", status, third]
    shown = orch("status", "--json").json["tools"]
    states = {"unknown": "unknown", "failed": "failed", "not_run": "never"}
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
