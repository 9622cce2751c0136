"""The loop of a watch: real projects and real workers, keys that a test presses between two events.

A test waits for what the watch says, never for a time: `keys.take` is called at least at every look, and fails
the test when nothing that it waits for comes. That nothing was run is proved by a sentinel that is saved after it.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from discover_orch.loops import MOST as LOOPS
from discover_orch.moments import (
    Answered,
    Began,
    Broken,
    Changed,
    Moment,
    Remark,
    Scope,
    Unchanged,
    Waiting,
)
from discover_orch.progress import Progress
from discover_orch.request import Request
from discover_orch.run import Event, RunFinished, ToolFinished, ToolOutput
from discover_orch.values import Values
from discover_orch.watching import WISHES, WITH_STAGE, Manner, Watching
from tests.conftest import Project
from tests.support.project_builder import clean_environment
from tests.support.running import is_gone

DEADLINE = 15.0
SENTINEL = "src/sentinel.py"


class TypedKeys:
    """Keys that a test presses; looks at the clock on behalf of whoever waits."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.deadline = 0.0
        self.waits_for = ""
        self.seen: list[Moment | Event] = []
        self._ring: Callable[[], None] = lambda: None

    def listen(self, ring: Callable[[], None]) -> None:
        self._ring = ring

    def press(self, *keys: str) -> None:
        self.lines += keys
        self._ring()

    def take(self) -> list[str]:
        assert time.monotonic() < self.deadline, (
            f"waited in vain for {self.waits_for}, but at last came {self.seen[-12:]}"
        )
        taken, self.lines = self.lines, []
        return taken


class Ran:
    """One run, from its `Began` to its end."""

    def __init__(self, began: Began) -> None:
        self.began = began
        self.tools = tuple(step.tool.name for step in began.plan.steps)
        self.reasons = {step.tool.name: step.reason for step in began.plan.steps}
        self.ends: dict[str, str] = {}
        self.output = ""
        self.status = ""


class Watched:
    """A watch, what it has said, and what a test does to it."""

    def __init__(
        self,
        root: Path,
        *words: str,
        scope: Scope = "tool",
        preload: tuple[str, ...] | None = (),
        **manner: Any,
    ) -> None:
        self.root = root
        self.keys = TypedKeys()
        self.seen: list[Moment | Event] = []
        self.runs: list[Ran] = []
        self.code: int | None = None
        self._versions = 0
        self.watching = Watching(
            Request(start=str(root), folder=None, words=words, values=Values(folder=str(root))),
            Manner(scope=scope, preload=preload, **manner),
            clean_environment(),
        )
        self._events = self.watching.events(self.keys)

    def wait_for(self, what: str) -> None:
        """The time for that begins now."""
        self.keys.waits_for, self.keys.seen = what, self.seen
        self.keys.deadline = time.monotonic() + DEADLINE

    def next(self) -> Moment | Event | None:
        """What comes next; None is the end."""
        try:
            one = next(self._events)
        except StopIteration as end:
            self.code = end.value
            return None
        self.seen.append(one)
        match one:
            case Began():
                self.runs.append(Ran(one))
            case ToolOutput(text=text):
                self.runs[-1].output += text
            case ToolFinished(module=module, status=status):
                self.runs[-1].ends[module.rpartition(".")[2]] = status
            case RunFinished(status=status):
                self.runs[-1].status = status
            case _:
                pass
        return one

    def until(self, kind: type, fits: Callable[[Any], bool] = lambda _: True) -> Any:
        """The next of a kind."""
        self.wait_for(kind.__name__)
        while True:
            one = self.next()
            assert one is not None, f"ended before a {kind.__name__}: {self.seen[-12:]}"
            if isinstance(one, kind) and fits(one):
                return one

    def until_printed(self, text: str) -> None:
        self.until(ToolOutput, lambda one: text in one.text)

    def until_idle(self) -> list[Ran]:
        """The runs until it waits again."""
        before = len(self.runs)
        self.until(Waiting)
        return self.runs[before:]

    def next_run(self) -> Ran:
        """The one run until it waits again."""
        (run,) = self.until_idle()
        return run

    def save(self, files: Mapping[str, str]) -> None:
        """At once, as far as anybody can see."""
        for name, text in files.items():
            beside = self.root / "beside"
            beside.write_text(text)
            (self.root / name).parent.mkdir(exist_ok=True)
            os.replace(beside, self.root / name)

    def settle(self) -> list[Ran]:
        """The runs that come before one of the sentinel alone, which is saved now."""
        self._versions += 1
        self.save({SENTINEL: tool(f"sentinel {self._versions}", stage="zz")})
        before = len(self.runs)
        self.until_printed(f"sentinel {self._versions}\n")
        self.until(Waiting)
        *others, last = self.runs[before:]
        assert last.tools == ("sentinel",)
        return others

    def press(self, *keys: str) -> None:
        self.keys.press(*keys)

    def end(self) -> int | None:
        """Read to the end; the exit code."""
        self.wait_for("the end")
        while self.next() is not None:
            pass
        return self.code

    def all_of(self, kind: type) -> list[Any]:
        return [one for one in self.seen if isinstance(one, kind)]

    def close(self) -> None:
        self._events.close()


def tool(says: str = "0", *, stage: str = "s", top: str = "", body: str = "") -> str:
    """Says something when it runs, after its `body`."""
    lines = ["import os, time", top, f"STAGE = {stage!r}", "def run():"]
    lines += [f"    {line}" for line in body.splitlines()]
    return "\n".join([*lines, f"    print({says!r})", ""])


def gated(says: str = "0", *, stage: str = "s", top: str = "") -> str:
    """Says `begins`, and goes on when there is a file `go`."""
    wait = "print('begins', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.002)"
    return tool(says, stage=stage, top=top, body=wait)


FILES = {
    "orch.toml": "stages = ['s', 't']\n",
    SENTINEL: tool("sentinel", stage="zz"),
    "src/a.py": tool("a0"),
    "src/b.py": tool("b0", top="from src import helper\nAFTER = 'a'"),
    "src/c.py": tool("c0", stage="t"),
    "src/helper.py": "x = 1\n",
}
ALL = ("a", "b", "c", "sentinel")

Watch = Callable[..., Watched]


@pytest.fixture
def watch(project: Project) -> Iterator[Watch]:
    """Starts a watch on these files beside the usual ones, and takes its first run."""
    made: list[Watched] = []

    def start(
        files: Mapping[str, str] | None = None, *words: str, waits: bool = True, **more: Any
    ) -> Watched:
        one = Watched(project({**FILES, **(files or {})}), *words, **more)
        made.append(one)
        if waits:
            one.until_idle()
        return one

    yield start
    for one in made:
        one.close()
    gc.unfreeze()


# From the beginning to the end.


def test_it_runs_everything_and_then_waits(watch: Watch) -> None:
    watched = watch()
    (first,) = watched.runs
    assert (first.tools, first.status) == (ALL, "passed")
    assert first.began.is_first
    assert set(first.reasons.values()) == {"everything that is watched"}
    waiting = watched.seen[-1]
    assert isinstance(waiting, Waiting)
    assert (waiting.tools, waiting.files, waiting.scope) == (4, 6, "tool")


def test_it_can_wait_for_the_first_change(watch: Watch) -> None:
    watched = watch(runs_at_start=False)
    assert watched.runs == []
    watched.save({"src/a.py": tool("a1")})
    run = watched.next_run()
    assert (run.tools, run.began.is_first) == (("a",), True)


def test_targets_limit(watch: Watch) -> None:
    watched = watch({}, "t", "zz")
    assert watched.runs[0].tools == ("c", "sentinel")
    watched.save({"src/a.py": tool("a1")})
    changed = watched.until(Changed)
    assert (changed.paths, changed.tools) == (("src/a.py",), ())
    assert watched.settle() == []


def test_q_ends_it_well(watch: Watch) -> None:
    watched = watch()
    watched.press("q")
    assert watched.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_code(watch: Watch, number: signal.Signals) -> None:
    watched = watch()
    before = signal.getsignal(number)
    os.kill(os.getpid(), number)
    assert watched.end() == 128 + number
    assert signal.getsignal(number) != before


def test_a_signal_during_a_run_interrupts_it_and_ends_all(watch: Watch) -> None:
    watched = watch({"src/a.py": gated()}, waits=False)
    watched.until_printed("begins")
    os.kill(os.getpid(), signal.SIGINT)
    assert watched.end() == 130
    (run,) = watched.runs
    assert (run.status, run.ends["a"]) == ("interrupted", "interrupted")


def test_no_process_and_no_descriptor_is_left(project: Project) -> None:
    root = project(FILES)
    before = sorted(os.listdir("/dev/fd"))
    watched = Watched(root, preload=("decimal",))
    watched.until_idle()
    spare = watched.watching._spare._worker
    assert spare is not None
    watched.close()
    assert is_gone(spare.pid)
    assert sorted(os.listdir("/dev/fd")) == before
    gc.unfreeze()


def test_closed_in_the_middle_of_a_run_it_leaves_none_either(project: Project) -> None:
    root = project({**FILES, "src/a.py": gated().replace("'begins'", "'begins', os.getpid()")})
    watched = Watched(root)
    watched.until_printed("begins")
    pid = int(watched.runs[-1].output.split()[-1])
    watched.close()
    assert is_gone(pid)


# Changes while it waits.


def test_a_save_runs_what_it_affects_and_says_why(watch: Watch) -> None:
    watched = watch()
    watched.save({"src/helper.py": "x = 2\n"})
    changed = watched.until(Changed)
    assert (changed.paths, changed.tools) == (("src/helper.py",), ("b",))
    assert changed.reasons == {"b": "src/helper.py changed"}
    assert (changed.stages, changed.not_affected) == (("s",), 3)
    assert (changed.during_run, changed.action) == (False, "run")
    run = watched.next_run()
    assert (run.tools, run.reasons) == (("b",), {"b": "src/helper.py changed"})
    assert (run.began.reason, run.began.is_first) == ("src/helper.py changed", False)
    assert watched.settle() == []


def test_the_new_text_is_what_runs(watch: Watch) -> None:
    watched = watch()
    for version in range(3):
        watched.save({"src/a.py": tool(f"a{version + 1}")})
        assert watched.next_run().output == f"a{version + 1}\n"


def test_a_save_that_means_the_same_runs_nothing_and_is_told(watch: Watch) -> None:
    watched = watch()
    watched.save({"src/a.py": tool("a0") + "# a comment\n"})
    assert watched.until(Unchanged).paths == ("src/a.py",)
    assert watched.settle() == []


@pytest.mark.parametrize(
    ("scope", "tools"),
    [("tool", ("b",)), ("stage", ("a", "b")), ("downstream", ("b", "c", "sentinel"))],
)
def test_the_scope_says_what_else_runs(watch: Watch, scope: Scope, tools: tuple[str, ...]) -> None:
    watched = watch(scope=scope)
    watched.save({"src/helper.py": "x = 2\n"})
    run = watched.next_run()
    assert run.tools == tools
    assert {run.reasons[one] for one in tools if one != "b"} <= {WITH_STAGE}


def test_a_new_tool_runs_a_deleted_one_goes(watch: Watch) -> None:
    watched = watch()
    watched.save({"src/d.py": tool("d0")})
    assert watched.next_run().tools == ("d",)
    (watched.root / "src/d.py").unlink()
    changed = watched.until(Changed)
    assert (changed.gone, changed.tools) == (("d",), ())
    assert watched.settle() == []


def test_a_broken_module_is_told_once_and_its_tools_wait_for_the_mend(watch: Watch) -> None:
    watched = watch()
    watched.save({"src/helper.py": "x = (\n"})
    broken = watched.until(Broken)
    assert [str(one.location) for one in broken.problems] == ["src/helper.py:1"]
    assert watched.settle() == []
    assert len(watched.all_of(Broken)) == 1
    watched.save({"src/helper.py": "x = 3\n"})
    assert watched.next_run().tools == ("b",)


def test_a_break_that_is_taken_back_runs_nothing(watch: Watch) -> None:
    watched = watch()
    watched.save({"src/helper.py": "x = (\n"})
    watched.until(Broken)
    watched.save({"src/helper.py": FILES["src/helper.py"]})
    assert watched.settle() == []
    watched.save({"src/helper.py": "x = (\n"})
    watched.until(Broken)  # it is news again


def test_a_tool_that_was_to_run_with_its_stage_and_was_held_runs_after_the_mend(
    watch: Watch,
) -> None:
    watched = watch(scope="stage")
    watched.save({"src/helper.py": "x = (\n"})
    watched.until(Broken)
    watched.save({"src/a.py": tool("a1")})
    assert watched.next_run().tools == ("a",)
    watched.save({"src/helper.py": FILES["src/helper.py"]})
    run = watched.next_run()
    assert "b" in run.tools
    assert (run.ends["b"], watched.settle()) == ("passed", [])


def test_what_is_broken_at_the_start_is_told_and_the_rest_runs(watch: Watch) -> None:
    watched = watch({"src/a.py": "STAGE = (\n"}, waits=False)
    assert watched.until(Broken).problems
    assert "a" not in watched.next_run().tools
    assert len(watched.all_of(Broken)) == 1
    watched.save({"src/a.py": tool("a1")})
    assert "a" in watched.next_run().tools


def test_a_broken_configuration_is_told_and_the_watch_goes_on(watch: Watch) -> None:
    watched = watch()
    watched.save({"orch.toml": "stages = [\n"})
    assert watched.until(Broken).problems[0].location.path == "orch.toml"
    watched.save({"orch.toml": FILES["orch.toml"]})
    assert watched.settle() == []


def test_a_folder_that_an_import_awaits_does_not_end_the_watch(watch: Watch) -> None:
    """`wanted` may be installed or not: a folder of that name at the root would come first."""
    tries = "try: import wanted\nexcept ImportError: pass"
    watched = watch({"src/a.py": tool("a0", top=tries)})
    (watched.root / "wanted").mkdir()
    assert watched.next_run().tools == ("a",)


# What runs write.


def test_data_that_a_tool_writes_sets_nothing_off(watch: Watch) -> None:
    reads = "ORCH = {'inputs': 'out.csv'}"
    writes = "open('out.csv', 'w').write(str(time.time()))"
    watched = watch(
        {"src/a.py": tool("a0", body=writes), "src/c.py": tool("c0", stage="t", top=reads)}
    )
    assert len(watched.runs) == 1
    assert watched.settle() == []
    watched.save({"out.csv": "by somebody else\n"})
    assert watched.next_run().tools == ("c",)


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
    watched.until(Waiting)
    assert watched.settle() == []


def test_a_loop_is_noticed_named_and_let_be_until_it_is_saved_by_hand(watch: Watch) -> None:
    writes = "open('src/made.py', 'w').write(f'x = {time.time_ns()}\\n')"
    watched = watch(
        {
            "src/a.py": tool("a0", top="from src import made", body=writes),
            "src/made.py": "x = 0\n",
        },
        waits=False,
    )
    remark = watched.until(Remark)
    assert remark.problem.code == "loop"
    assert remark.problem.message.startswith("src/made.py ")
    assert LOOPS <= len(watched.runs) <= LOOPS + 2
    watched.settle()
    assert watched.settle() == []
    assert len(watched.all_of(Remark)) == 1
    watched.save({"src/made.py": "x = 'by hand'\n"})
    assert watched.until(Changed).tools == ("a",)


# Changes during a run.


def busy(watch: Watch, files: Mapping[str, str] | None = None, **more: Any) -> Watched:
    """In its first run a has finished, b is running, c waits."""
    gate = gated("b0", top="from src import helper\nAFTER = 'a'")
    watched = watch({"src/b.py": gate, **(files or {})}, waits=False, **more)
    watched.until_printed("begins")
    return watched


def let_go(watched: Watched) -> None:
    (watched.root / "go").touch()


def test_what_is_running_is_cancelled_and_what_did_not_finish_runs_anew(watch: Watch) -> None:
    watched = busy(watch)
    let_go(watched)
    (watched.root / "go").unlink()
    watched.save({"src/helper.py": "x = 2\n"})
    changed = watched.until(Changed)
    assert (changed.during_run, changed.action, changed.tools) == (True, "restart", ("b",))
    watched.until(RunFinished)
    let_go(watched)
    run = watched.next_run()
    assert watched.runs[0].status == "cancelled"
    assert watched.runs[0].ends["a"] == "passed"
    assert (run.tools, run.status) == (("b", "c", "sentinel"), "passed")
    assert run.reasons["b"] == "src/helper.py changed"
    assert run.reasons["c"] == "its run was cancelled"
    assert watched.settle() == []


def test_what_has_finished_runs_again_with_all_that_did_not(watch: Watch) -> None:
    watched = busy(watch)
    watched.save({"src/a.py": tool("a1")})
    assert watched.until(Changed).action == "restart"
    watched.until(RunFinished)
    let_go(watched)
    run = watched.next_run()
    assert run.tools == ALL
    assert "a1" in run.output


def test_what_only_waits_is_taken_in_by_the_run(watch: Watch) -> None:
    watched = busy(watch)
    watched.save({"src/c.py": tool("c1", stage="t")})
    changed = watched.until(Changed)
    assert (changed.action, changed.tools) == ("none", ("c",))
    let_go(watched)
    watched.until_idle()
    (run,) = watched.runs
    assert run.status == "passed"
    assert "c1" in run.output
    assert watched.settle() == []


def test_what_it_does_not_concern_goes_on(watch: Watch) -> None:
    watched = busy(watch)
    watched.save({"src/other.py": "x = 1\n"})
    changed = watched.until(Changed)
    assert (changed.tools, changed.action) == ((), "none")
    let_go(watched)
    watched.until_idle()
    assert [one.status for one in watched.runs] == ["passed"]


def test_a_new_tool_comes_behind_the_run(watch: Watch) -> None:
    watched = busy(watch)
    watched.save({"src/d.py": tool("d0", stage="t")})
    assert watched.until(Changed).action == "after"
    let_go(watched)
    watched.until_idle()
    assert [one.tools for one in watched.runs] == [ALL, ("d",)]


def test_what_waits_and_has_another_signature_is_planned_anew(watch: Watch) -> None:
    watched = busy(watch)
    watched.save({"src/c.py": tool("c1", stage="t").replace("run()", "run(*, x: str = 'y')")})
    assert watched.until(Changed).action == "hold"
    let_go(watched)
    watched.until_idle()
    first, second = watched.runs
    assert (first.status, first.ends["b"], first.ends["c"]) == ("cancelled", "passed", "not_run")
    assert second.tools == ("c", "sentinel")


def test_a_tool_that_must_not_be_cancelled_finishes_first(watch: Watch) -> None:
    tag = "from src import helper\nAFTER = 'a'\nORCH = {'cancel': False}"
    watched = busy(watch, {"src/b.py": gated("b0", top=tag)})
    watched.save({"src/helper.py": "x = 2\n"})
    assert watched.until(Changed).action == "hold"
    let_go(watched)
    watched.until_idle()
    first, second = watched.runs
    assert (first.ends["b"], first.status) == ("passed", "cancelled")
    assert second.tools == ("b", "c", "sentinel")


def test_a_run_finishes_first_where_changes_queue(watch: Watch) -> None:
    watched = busy(watch, queues=True)
    watched.save({"src/helper.py": "x = 2\n"})
    assert watched.until(Changed).action == "after"
    let_go(watched)
    watched.until_idle()
    first, second = watched.runs
    assert (first.status, second.tools) == ("passed", ("b",))


def test_a_save_that_means_the_same_disturbs_no_run(watch: Watch) -> None:
    watched = busy(watch)
    watched.save({"src/helper.py": "x = 1  # one\n"})
    assert answer(watched, "x")
    let_go(watched)
    assert watched.until(Unchanged).paths == ("src/helper.py",)
    assert watched.settle() == []
    assert [one.status for one in watched.runs] == ["passed", "passed"]


def test_data_that_changes_during_a_run_counts_behind_it(watch: Watch) -> None:
    tag = "from src import helper\nAFTER = 'a'\nORCH = {'inputs': 'in.csv'}"
    watched = busy(watch, {"src/b.py": gated("b0", top=tag), "in.csv": "1\n"})
    watched.save({"in.csv": "2\n"})
    let_go(watched)
    assert watched.until(RunFinished).status == "passed"
    watched.until(Began)
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
    watched.until(Broken)
    let_go(watched)
    watched.until(RunFinished)
    watched.save({"src/late.py": "x = 1\n"})
    watched.until(RunFinished)
    watched.until(Waiting)
    assert watched.settle() == []
    last = {name: end for run in watched.runs for name, end in run.ends.items()}
    assert last["c"] == "passed"


# What a failure owes.


def test_tools_whose_turn_never_came_have_it_when_the_failure_is_mended(watch: Watch) -> None:
    watched = watch({"src/a.py": tool("a0", body="raise ValueError")})
    (first,) = watched.runs
    assert (first.ends["a"], first.ends["b"]) == ("failed", "blocked")
    assert first.ends["c"] in ("blocked", "not_run")
    watched.save({"src/a.py": tool("a1")})
    run = watched.next_run()
    assert (run.tools, run.status) == (ALL, "passed")
    assert run.reasons["b"] == "its turn had not come"
    assert watched.settle() == []


def test_what_needs_the_failure_waits_while_it_is_not_run_again(watch: Watch) -> None:
    """c and b are owed, but b is behind the failure."""
    free = "AFTER = ()\nORCH = {'inputs': 'none', 'outputs': 'nothing'}"
    watched = watch(
        {
            "orch.toml": "",
            "src/a.py": tool("a0", top=free, body="raise ValueError"),
            "src/b.py": tool("b0", top=free.replace("()", "'a'")),
            "src/c.py": tool("c0", top=free),
            SENTINEL: tool("sentinel", stage="zz", top=free),
        }
    )
    assert watched.runs[0].ends["b"] == "blocked"
    assert watched.runs[0].ends["c"] == "not_run"
    watched.save({"src/c.py": tool("c1", top=free)})
    assert watched.next_run().tools == ("c", "sentinel")


# Keys.


def answer(watched: Watched, key: str) -> str:
    watched.press(key)
    sentence: str = watched.until(Answered, lambda one: one.key == key.strip().lower()).sentence
    return sentence


@pytest.mark.parametrize("key", ["", "r", " R "])
def test_enter_runs_again_what_ran_last(watch: Watch, key: str) -> None:
    watched = watch()
    watched.save({"src/a.py": tool("a1")})
    watched.next_run()
    assert answer(watched, key) == "running what ran last"
    run = watched.next_run()
    assert (run.tools, run.began.reason) == (("a",), "asked for: what ran last")


def test_enter_before_any_run_runs_everything(watch: Watch) -> None:
    watched = watch(runs_at_start=False)
    watched.press("")
    assert watched.next_run().tools == ALL


def test_a_runs_everything(watch: Watch) -> None:
    watched = watch(runs_at_start=False)
    assert answer(watched, "a") == "running everything"
    assert watched.next_run().tools == ALL


def test_f_runs_what_failed_and_what_depends_on_it(watch: Watch) -> None:
    watched = watch({"src/b.py": tool(top="AFTER = 'a'", body="assert os.path.exists('go')")})
    assert watched.runs[0].ends["b"] == "failed"
    let_go(watched)
    assert answer(watched, "f") == "running failed"
    run = watched.next_run()
    assert (run.tools, run.status) == (("b", "c", "sentinel"), "passed")
    assert answer(watched, "f") == "nothing has failed"


def test_c_cancels_the_run_and_nothing_takes_its_place(watch: Watch) -> None:
    watched = busy(watch)
    assert answer(watched, "c") == "cancelling"
    watched.until_idle()
    (run,) = watched.runs
    assert (run.status, run.ends["b"]) == ("cancelled", "cancelled")
    assert answer(watched, "c") == "nothing is running"
    assert watched.settle() == []


def test_enter_during_a_run_begins_it_anew(watch: Watch) -> None:
    watched = busy(watch)
    assert answer(watched, "") == "cancelling, then running what ran last"
    watched.until(RunFinished)
    let_go(watched)
    assert watched.next_run().tools == ALL


def test_q_during_a_run_interrupts_it_and_ends_well(watch: Watch) -> None:
    watched = busy(watch)
    watched.press("q")
    assert watched.end() == 0
    assert watched.runs[0].status == "interrupted"


def test_s_goes_through_the_scopes(watch: Watch) -> None:
    watched = watch(scope="stage")
    assert [answer(watched, "s") for _ in range(3)] == [
        *("scope: tool", "scope: downstream", "scope: stage"),
    ]
    answer(watched, "s")
    watched.save({"src/helper.py": "x = 2\n"})
    assert watched.next_run().tools == ("b",)


def test_p_holds_changes_until_it_is_pressed_again(watch: Watch) -> None:
    watched = watch()
    assert answer(watched, "p") == "paused: changes wait (p goes on)"
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
    assert isinstance(waiting, Waiting)
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


@pytest.mark.parametrize("key", ["h", "?", "H"])
def test_h_shows_the_keys(watch: Watch, key: str) -> None:
    watched = watch(runs_at_start=False)
    watched.press(key)
    assert watched.until(Answered).key == "h"


def test_another_key_is_answered_too(watch: Watch) -> None:
    watched = watch(runs_at_start=False)
    assert answer(watched, "x") == '"x" is no key (h shows them)'


def test_a_key_says_who_waits_and_blocks_what_comes_after(watch: Watch) -> None:
    """No stale report: what is downstream of a tool that waits runs with it, after the mend."""
    watched = watch(
        {"src/helper.py": "x = (\n", "src/c.py": tool("c0", stage="t", top="AFTER = 'b'")},
        waits=False,
    )
    broken = watched.until(Broken)
    assert set(broken.waiting) >= {"b", "c"}
    assert watched.next_run().tools == ("a",)
    watched.press("a")
    assert watched.until(Answered).sentence.startswith("running everything; b, c")
    assert watched.next_run().tools == ("a",)
    watched.save({"src/helper.py": FILES["src/helper.py"]})
    run = watched.next_run()
    assert (run.ends["b"], run.ends["c"]) == ("passed", "passed")


def test_nothing_runs_with_a_configuration_that_cannot_be_read(watch: Watch) -> None:
    watched = watch()
    watched.save({"orch.toml": "stages = [\n"})
    watched.until(Broken)
    assert answer(watched, "a") == "nothing can be run before what was told is mended"
    watched.save({"orch.toml": FILES["orch.toml"]})
    assert watched.settle() == []


def test_what_is_broken_cannot_be_asked_for(watch: Watch) -> None:
    watched = watch({"src/helper.py": "x = (\n"}, "b", runs_at_start=False)
    assert answer(watched, "a") == "nothing can be run now; b: not before the mend"


def test_a_key_that_cancels_a_run_loses_no_change(watch: Watch) -> None:
    """c failed before; the run of the change in b is cancelled for another run of c, and comes behind it."""
    fails = tool("c0", stage="t", body="assert os.path.exists('mended')")
    watched = watch({"src/c.py": fails, SENTINEL: tool(stage="zz", top="AFTER = ()")})
    watched.save({"src/b.py": gated("b1", top="AFTER = 'a'")})
    watched.until_printed("begins")
    (watched.root / "mended").touch()
    watched.press("f")
    watched.until(RunFinished)
    let_go(watched)
    watched.until_idle()
    watched.settle()
    assert "b1" in "".join(run.output for run in watched.runs)


# The spare.


def test_each_run_after_the_first_begins_in_a_spare_with_the_imports_done(watch: Watch) -> None:
    watched = watch({"src/a.py": tool("a0", top="import decimal")}, preload=None)
    assert watched.runs[0].began.imported == ()
    spare = watched.watching._spare._worker
    assert spare is not None
    _wait_for_its_word(spare.filenos()[0])
    watched.save({"src/a.py": tool("a1", top="import decimal")})
    run = watched.next_run()
    assert "decimal" in [name for name, _, _ in run.began.imported]
    assert (run.began.cold, run.output) == ("", "a1\n")


def test_a_spare_that_was_killed_costs_a_cold_start_and_a_word(watch: Watch) -> None:
    watched = watch(preload=("decimal",))
    spare = watched.watching._spare._worker
    assert spare is not None
    _wait_for_its_word(spare.filenos()[0])
    os.kill(spare.pid, signal.SIGKILL)
    os.waitid(os.P_PID, spare.pid, os.WEXITED | os.WNOWAIT)
    watched.save({"src/a.py": tool("a1")})
    run = watched.next_run()
    assert (run.status, run.output) == ("passed", "a1\n")
    assert "the spare worker was killed by SIGKILL" in run.began.cold


def _wait_for_its_word(fd: int) -> None:
    assert select.select([fd], [], [], DEADLINE)[0]


# What a change means for the run that is going on.


class Deciding:
    """A watch that is not running, in whose run a has finished, b runs and c waits, unless told otherwise."""

    def __init__(self, root: Path, **manner: Any) -> None:
        request = Request(start=str(root), folder=None, values=Values(folder=str(root)))
        self.watching = Watching(request, Manner(**{"scope": "tool", **manner}), {})

    def decide(
        self,
        found: str,
        *,
        finished: str = "a",
        running: str = "b",
        waiting: str = "c sentinel",
        is_structural: bool = False,
        is_debugged: bool = False,
    ) -> Decision:
        self.watching._progress = Progress(
            waiting=tuple(f"src.{one}" for one in waiting.split()),
            finished=frozenset(f"src.{one}" for one in finished.split()),
            running=f"src.{running}" if running else None,
            is_debugged=is_debugged,
        )
        reasons = {f"src.{one}": "why" for one in found.split()}
        action = self.watching._decide(reasons, is_structural=is_structural)
        return WISHES.get(action, []), action


Decision = tuple[list[str], str]
NOTHING: Decision = ([], "none")
AFTER: Decision = ([], "after")
HOLD = (["hold"], "hold")
RESTART = (["cancel"], "restart")


@pytest.fixture
def deciding(project: Project) -> Callable[..., Deciding]:
    def make(files: Mapping[str, str] | None = None, **manner: Any) -> Deciding:
        return Deciding(project({**FILES, **(files or {})}), **manner)

    return make


def test_without_a_run_a_change_runs(deciding: Callable[..., Deciding]) -> None:
    assert deciding().watching._decide(["src.a"], is_structural=False) == "run"


@pytest.mark.parametrize(
    ("found", "more", "decision"),
    [
        ("", {}, NOTHING),
        ("c", {}, NOTHING),
        ("c sentinel", {}, NOTHING),
        ("c", {"is_structural": True}, HOLD),
        ("", {"is_structural": True}, NOTHING),
        ("new", {}, AFTER),
        ("new", {"is_structural": True}, AFTER),
        ("new c", {}, AFTER),
        ("a", {}, RESTART),
        ("b", {}, RESTART),
        ("a c", {"is_structural": True}, RESTART),
        ("b", {"is_debugged": True}, HOLD),
        ("c", {"is_debugged": True}, NOTHING),
        ("a", {"finished": "a b", "running": "", "waiting": "c"}, RESTART),
        ("a", {"finished": "a b c sentinel", "running": "", "waiting": ""}, AFTER),
        ("a", {"finished": "", "running": "", "waiting": "a b c sentinel"}, NOTHING),
    ],
)
def test_what_a_change_means_for_a_run(
    deciding: Callable[..., Deciding],
    found: str,
    more: dict[str, Any],
    decision: Decision,
) -> None:
    assert deciding().decide(found, **more) == decision


@pytest.mark.parametrize(
    ("found", "decision"), [("a", AFTER), ("b", AFTER), ("c", NOTHING), ("new", AFTER)]
)
def test_where_changes_queue_no_run_is_cancelled(
    deciding: Callable[..., Deciding], found: str, decision: Decision
) -> None:
    assert deciding(queues=True).decide(found) == decision


def test_a_tool_that_must_not_be_cancelled_is_waited_for_whatever_it_is_that_changed(
    deciding: Callable[..., Deciding],
) -> None:
    made = deciding({"src/b.py": tool(top="ORCH = {'cancel': False}")})
    assert made.decide("b") == made.decide("a") == HOLD


def test_with_the_scope_downstream_what_is_downstream_is_concerned_too(
    deciding: Callable[..., Deciding],
) -> None:
    more: dict[str, Any] = {"finished": "b", "running": "c", "waiting": "a sentinel"}
    assert deciding().decide("a", **more) == NOTHING
    assert deciding(scope="downstream").decide("a", **more) == RESTART
