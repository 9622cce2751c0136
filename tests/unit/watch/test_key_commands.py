"""What each key does to a watch, and what it answers."""

from __future__ import annotations

import pytest

from discover_orch.execution.events import RunFinished
from discover_orch.watch.events import CannotRun, KeyAnswered, WatchWaiting
from tests.support.watched import ALL, FILES, SENTINEL, Watch, answer, busy, gated, let_go, tool


def test_enter_runs_again_what_ran_last(watch: Watch) -> None:
    watched = watch()
    watched.save({"src/a.py": tool("a1")})
    watched.next_run()
    for key in ("", "r", " R "):
        assert answer(watched, key) == "running the last tools"
        run = watched.next_run()
        assert (run.tools, run.began.reason) == (("a",), "requested: the last tools")


@pytest.mark.parametrize(
    ("key", "sentence"), [("", "running the last tools"), ("a", "running all tools")]
)
def test_a_and_enter_before_any_run_run_everything(watch: Watch, key: str, sentence: str) -> None:
    watched = watch(runs_at_start=False)
    assert answer(watched, key) == sentence
    assert watched.next_run().tools == ALL


def test_f_runs_what_failed_and_what_depends_on_it(watch: Watch) -> None:
    fails = tool(top="AFTER = 'a'", body="assert os.path.exists('go')")
    watched = watch({"src/b.py": fails, "src/c.py": tool(stage="t", top="AFTER = 'b'")})
    assert watched.runs[0].ends["b"] == "failed"
    let_go(watched)
    assert answer(watched, "f") == "running the failed tools"
    run = watched.next_run()
    assert (run.tools, run.status) == (("b", "c"), "passed")
    assert answer(watched, "f") == "nothing has failed"


def test_enter_during_a_run_starts_it_again(watch: Watch) -> None:
    watched = busy(watch)
    assert answer(watched, "") == "cancelling, then running the last tools"
    watched.until(RunFinished)
    let_go(watched)
    assert watched.next_run().tools == ALL


def test_s_goes_through_the_scopes(watch: Watch) -> None:
    watched = watch(scope="stage")
    assert [answer(watched, "s") for _ in range(3)] == [
        "scope: tool (runs only the tools whose own code or inputs changed)",
        "scope: affected (runs the stale tools of the affected stages)",
        "scope: stage (runs all tools of the affected stages)",
    ]
    answer(watched, "s")
    watched.save({"src/helper.py": "x = 2\n"})
    assert watched.next_run().tools == ("b",)


def test_p_holds_changes_until_it_is_pressed_again(watch: Watch) -> None:
    watched = watch()
    assert answer(watched, "p") == "paused: changes wait (p resumes)"
    watched.save({"src/a.py": tool("a1")})
    watched.save({"src/helper.py": "x = 2\n"})
    assert answer(watched, "p") == "watching again"
    run = watched.next_run()
    assert run.tools == ("a", "b")
    assert watched.settle() == []


def test_in_a_pause_keys_run_all_the_same(watch: Watch) -> None:
    watched = watch()
    answer(watched, "p")
    watched.press("a")
    assert watched.next_run().tools == ALL
    waiting = watched.seen[-1]
    assert isinstance(waiting, WatchWaiting)
    assert waiting.is_paused


def test_a_pause_during_a_run_lets_it_finish_and_holds_what_follows(watch: Watch) -> None:
    watched = busy(watch)
    answer(watched, "p")
    watched.save({"src/helper.py": "x = 2\n"})
    let_go(watched)
    watched.until_idle()
    assert [one.status for one in watched.runs] == ["passed"]
    answer(watched, "p")
    assert watched.next_run().tools == ("b",)


def test_h_shows_the_keys_and_another_key_is_answered_too(watch: Watch) -> None:
    watched = watch(runs_at_start=False)
    for key in ("h", "?", "H"):
        watched.press(key)
        assert watched.until(KeyAnswered).key == "h"
    assert answer(watched, "x") == '"x" is not a key (h shows the keys)'


def test_a_key_says_who_waits_and_blocks_what_comes_after(watch: Watch) -> None:
    """No stale report: what is downstream of a tool that waits runs with it, after the fix."""
    watched = watch(
        {"src/helper.py": "x = (\n", "src/c.py": tool("c0", stage="t", top="AFTER = 'b'")},
        waits=False,
    )
    broken = watched.until(CannotRun)
    assert broken.waiting == ("b", "c")
    assert watched.next_run().tools == ("a", "sentinel")
    watched.press("a")
    assert watched.until(KeyAnswered).sentence.startswith(
        "running all tools; waiting for a fix: b, c"
    )
    assert watched.next_run().tools == ("a", "sentinel")
    watched.save({"src/helper.py": FILES["src/helper.py"]})
    run = watched.next_run()
    assert (run.ends["b"], run.ends["c"]) == ("passed", "passed")


def test_nothing_runs_with_a_configuration_that_cannot_be_read(watch: Watch) -> None:
    watched = watch()
    watched.save({"orch.toml": "stages = [\n"})
    watched.until(CannotRun)
    assert answer(watched, "a") == "nothing can run until the problems above are fixed"
    watched.save({"orch.toml": FILES["orch.toml"]})
    assert watched.settle() == []


def test_what_is_broken_cannot_be_asked_for(watch: Watch) -> None:
    watched = watch({"src/helper.py": "x = (\n"}, "b", runs_at_start=False)
    assert answer(watched, "a") == "nothing can run now; waiting for a fix: b"


def test_a_key_that_cancels_a_run_loses_no_change(watch: Watch) -> None:
    """c failed before; the run of the change in b is cancelled for another run of c, and comes behind it."""
    fails = tool("c0", stage="t", body="assert os.path.exists('fixed')")
    watched = watch({"src/c.py": fails, SENTINEL: tool(stage="zz", top="AFTER = ()")})
    watched.save({"src/b.py": gated("b1", top="AFTER = 'a'")})
    watched.until_printed("begins")
    (watched.root / "fixed").touch()
    watched.press("f")
    watched.until(RunFinished)
    let_go(watched)
    watched.until_idle()
    watched.settle()
    assert "b1" in "".join(run.output for run in watched.runs)
