"""What changes mean for a watch: of real projects, while it waits and during its runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from discover_orch.execution.events import RunFinished, ToolFinished
from discover_orch.state.journal import begin_run
from discover_orch.state.lock import ProjectLock
from discover_orch.watch.events import (
    CannotRun,
    ChangesFound,
    NoMeaningfulChange,
    RunStarting,
    WatchNote,
    WatchWaiting,
)
from discover_orch.watch.loop import WatchOptions
from discover_orch.watch.project import OtherRuns
from tests.conftest import Project
from tests.support.journals import started, tool_started, whole_run
from tests.support.watched import ALL, FILES, Watch, answer, busy, gated, let_go, tool

# Changes while it waits.


def test_a_save_runs_what_it_affects_and_says_why(watch: Watch) -> None:
    watched = watch()
    watched.save({"src/helper.py": "x = 2\n"})
    changed = watched.until(ChangesFound)
    assert (changed.paths, changed.tools) == (("src/helper.py",), ("b",))
    assert changed.reasons == {"b": "src/helper.py changed"}
    assert (changed.stages, changed.not_affected) == (("s",), 3)
    assert (changed.during_run, changed.action) == (False, "run")
    run = watched.next_run()
    assert (run.tools, run.reasons) == (("b",), {"b": "src/helper.py changed"})
    assert (run.began.reason, run.began.is_first) == ("src/helper.py changed", False)
    assert watched.settle() == []


def test_what_the_scope_adds_runs_because_its_stage_is_affected(watch: Watch) -> None:
    watched = watch(scope="stage")
    watched.save({"src/helper.py": "x = 2\n"})
    run = watched.next_run()
    assert run.tools == ("a", "b")
    assert run.reasons["a"] == "its stage is affected"


def test_a_change_is_acted_on_with_the_settings_that_were_saved_with_it(watch: Watch) -> None:
    watched = watch()
    watched.watching._options_of = lambda settings: WatchOptions(
        scope="stage" if settings else "tool", preload=()
    )
    settings = FILES["orch.toml"] + '[watch]\nscope = "stage"\n'
    watched.save({"orch.toml": settings, "src/a.py": tool("a1")})
    assert watched.until(ChangesFound).scope == "stage"
    watched.until_idle()


def test_after_the_fix_of_what_could_not_be_read_the_watch_says_that_it_watches(
    watch: Watch,
) -> None:
    watched = watch()
    for path, wrong in (("orch.toml", "stagse = []\n"), ("src/helper.py", "x = (\n")):
        right = (watched.root / path).read_text()
        watched.save({path: wrong})
        watched.until(CannotRun)
        seen = len(watched.seen)
        watched.save({path: right})
        assert watched.until_idle() == []
        waits = [one for one in watched.seen[seen:] if isinstance(one, ChangesFound)]
        assert all(one.action != "wait" for one in waits), "the problem has said that"
    assert watched.settle() == []


def test_what_waited_for_a_fix_and_is_as_it_was_does_not_run_and_is_not_named(watch: Watch) -> None:
    watched = watch()
    watched.save({"orch.toml": "stagse = []\n"})
    watched.until(CannotRun)
    watched.save({"src/a.py": tool("a1")})
    assert "a" in watched.until(ChangesFound).left
    watched.save({"src/a.py": FILES["src/a.py"]})
    watched.until(ChangesFound)
    watched.save({"orch.toml": FILES["orch.toml"]})
    fixed = watched.until(ChangesFound)
    assert (fixed.tools, fixed.action) == ((), "none")
    assert watched.settle() == []


def test_a_mistake_in_the_configuration_during_a_run_is_reported_once(watch: Watch) -> None:
    watched = busy(watch)
    watched.save({"orch.toml": "stagse = []\n"})
    watched.until(CannotRun)
    watched.save({"orch.toml": FILES["orch.toml"]})
    watched.until(ChangesFound)
    assert len(watched.all_of(ChangesFound)) == len(watched.all_of(CannotRun)) == 1
    let_go(watched)
    watched.until_idle()


def test_a_new_tool_runs_because_it_is_new(watch: Watch) -> None:
    watched = watch()
    watched.save({"src/d.py": tool("d0")})
    assert watched.next_run().began.reason == "src/d.py is new"


def test_a_broken_module_is_reported_once_and_its_tools_wait_for_the_fix(watch: Watch) -> None:
    watched = watch()
    watched.save({"src/helper.py": "x = (\n"})
    broken = watched.until(CannotRun)
    assert [str(one.location) for one in broken.problems] == ["src/helper.py:1"]
    assert watched.settle() == []
    assert len(watched.all_of(CannotRun)) == 1
    watched.save({"src/helper.py": "x = 3\n"})
    assert watched.next_run().tools == ("b",)


def test_a_tool_that_is_gone_waits_for_no_fix(watch: Watch) -> None:
    watched = watch()
    watched.save({"src/helper.py": "x = (\n"})
    watched.until(CannotRun)
    watched.press("a")
    watched.until_idle()
    (watched.root / "src/b.py").unlink()
    watched.save({"src/c.py": "STAGE = 't'\ndef run(since): ...\n"})
    assert watched.until(CannotRun).waiting == ()


def test_a_break_that_is_taken_back_runs_nothing(watch: Watch) -> None:
    watched = watch()
    watched.save({"src/helper.py": "x = (\n"})
    watched.until(CannotRun)
    watched.save({"src/helper.py": FILES["src/helper.py"]})
    assert watched.settle() == []
    watched.save({"src/helper.py": "x = (\n"})
    watched.until(CannotRun)  # it is news again


def test_a_held_tool_runs_with_its_stage_after_the_fix(
    watch: Watch,
) -> None:
    watched = watch(scope="stage")
    watched.save({"src/helper.py": "x = (\n"})
    watched.until(CannotRun)
    watched.save({"src/a.py": tool("a1")})
    assert watched.next_run().tools == ("a",)
    watched.save({"src/helper.py": FILES["src/helper.py"]})
    run = watched.next_run()
    assert "b" in run.tools
    assert (run.ends["b"], watched.settle()) == ("passed", [])


def test_what_is_broken_at_the_start_is_reported_and_what_is_not_downstream_runs(
    watch: Watch,
) -> None:
    watched = watch({"src/a.py": "STAGE = (\n", "src/d.py": tool("d0")}, waits=False)
    assert watched.until(CannotRun).problems
    assert watched.next_run().tools == ("d",)
    assert len(watched.all_of(CannotRun)) == 1
    watched.save({"src/a.py": tool("a1")})
    assert {*watched.next_run().tools} == {"a", "b", "c", "sentinel"}


def test_a_folder_that_an_import_awaits_does_not_end_the_watch(watch: Watch) -> None:
    """`wanted` may be installed or not: a module of that name at the root would come first."""
    tries = "try: import wanted\nexcept ImportError: pass"
    watched = watch({"src/a.py": tool("a0", top=tries)})
    (watched.root / "wanted").mkdir()
    assert watched.settle() == []
    watched.save({"wanted/__init__.py": ""})
    assert watched.next_run().tools == ("a",)


# What runs write.


def test_a_module_that_a_tool_writes_counts_once(watch: Watch) -> None:
    """It may be seen while the tool still runs, which is then cancelled, or behind the run."""
    writes = "open('src/made.py', 'w').write('x = 1\\n')"
    watched = watch(
        {
            "src/a.py": tool("a0", top="from src import made", body="print('x is', made.x)"),
            "src/b.py": tool("b0", top="AFTER = 'a'", body=writes),
            "src/made.py": "x = 0\n",
        },
        waits=False,
    )
    watched.until_printed("x is 0\n")
    watched.until_printed("x is 1\n")
    watched.until(WatchWaiting)
    assert watched.settle() == []


# Changes during a run.


def test_what_has_finished_runs_again_with_all_that_did_not(watch: Watch) -> None:
    watched = busy(watch)
    watched.save({"src/a.py": tool("a1")})
    assert watched.until(ChangesFound).action == "restart"
    watched.until(RunFinished)
    let_go(watched)
    run = watched.next_run()
    assert run.tools == ALL
    assert "a1" in run.output


def test_a_change_of_a_waiting_tool_is_included_in_the_run(watch: Watch) -> None:
    watched = busy(watch)
    watched.save({"src/c.py": tool("c1", stage="t")})
    changed = watched.until(ChangesFound)
    assert (changed.action, changed.tools) == ("none", ("c",))
    let_go(watched)
    watched.until_idle()
    (run,) = watched.runs
    assert run.status == "passed"
    assert "c1" in run.output
    assert watched.settle() == []


def test_a_waiting_tool_with_another_signature_is_planned_again(watch: Watch) -> None:
    watched = busy(watch)
    watched.save({"src/c.py": tool("c1", stage="t").replace("run()", "run(*, x: str = 'y')")})
    assert watched.until(ChangesFound).action == "hold"
    let_go(watched)
    watched.until_idle()
    first, second = watched.runs
    assert (first.status, first.ends["b"], first.ends["c"]) == ("cancelled", "passed", "not_run")
    assert second.tools == ("c", "sentinel")


def test_a_save_that_means_the_same_disturbs_no_run(watch: Watch) -> None:
    watched = busy(watch)
    watched.save({"src/helper.py": "x = 1  # one\n"})
    assert answer(watched, "x")
    let_go(watched)
    assert watched.until(NoMeaningfulChange).paths == ("src/helper.py",)
    assert watched.settle() == []
    assert [one.status for one in watched.runs] == ["passed", "passed"]


def test_data_that_changes_during_a_run_counts_behind_it(watch: Watch) -> None:
    tag = "from src import helper\nAFTER = 'a'\nORCH = {'inputs': 'in.csv'}"
    watched = busy(watch, {"src/b.py": gated("b0", top=tag), "in.csv": "1\n"})
    watched.save({"in.csv": "2\n"})
    let_go(watched)
    assert watched.until(RunFinished).status == "passed"
    watched.until(RunStarting)
    watched.until_idle()
    assert [one.tools for one in watched.runs] == [ALL, ("b",)]


def test_a_waiting_tool_whose_helper_breaks_does_not_stay_failed_when_the_break_is_taken_back(
    watch: Watch,
) -> None:
    watched = busy(
        watch,
        {"src/c.py": tool("c0", stage="t", top="from src import late"), "src/late.py": "x = 1\n"},
    )
    watched.save({"src/late.py": "x = (\n"})
    watched.until(CannotRun)
    let_go(watched)
    watched.until(RunFinished)
    watched.save({"src/late.py": "x = 1\n"})
    watched.until(ToolFinished, lambda one: one.module == "src.c" and one.status == "passed")
    watched.until(WatchWaiting)
    assert watched.settle() == []
    last = {name: end for run in watched.runs for name, end in run.ends.items()}
    assert last["c"] == "passed"


# Runs of other commands.


@pytest.fixture
def root(project: Project) -> Path:
    return project({"orch.toml": ""})


@pytest.fixture
def others(root: Path) -> OtherRuns:
    whole_run(root)  # before it is watched
    return OtherRuns(str(root), ProjectLock(str(root)))


def test_that_others_have_run_tools_is_found_once(root: Path, others: OtherRuns) -> None:
    assert others.have_run() is False
    whole_run(root, ["fetch"])
    whole_run(root, ["parse", "fetch"])
    assert others.have_run() is True
    assert others.have_run() is False


def test_runs_of_the_watch_itself_are_left_out(root: Path, others: OtherRuns) -> None:
    whole_run(root, ["fetch"])
    others.note_own(whole_run(root, ["parse"]))
    assert others.have_run() is True
    others.note_own(whole_run(root, ["parse"]))
    assert others.have_run() is False


def test_without_another_run_the_lock_is_not_tried(root: Path, others: OtherRuns) -> None:
    lock = ProjectLock(str(root))
    assert lock.acquire() is None
    assert others.find_holder() is None
    assert others.have_run() is False
    lock.release()


def test_while_another_command_runs_tools_changes_wait_for_its_end(watch: Watch) -> None:
    watched = watch()
    root = str(watched.root)
    lock, journal = ProjectLock(root), begin_run(root)
    assert lock.acquire() is None
    journal.write(started(journal.run, ["fetch"]))
    journal.write(tool_started("fetch"))
    watched.save({"src/a.py": tool("a1")})
    note = watched.until(WatchNote)
    assert note.problem.message.startswith("another run is in progress (pid ")
    watched.save({"src/a.py": tool("a2")})
    assert watched.all_of(ChangesFound) == []
    journal.close()
    lock.release()
    run = watched.next_run()
    assert (run.tools, run.output) == (("a",), "a2\n")
    assert len(watched.all_of(WatchNote)) == len(watched.all_of(ChangesFound)) == 1
