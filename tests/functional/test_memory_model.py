"""Random histories of edits and runs, compared after each step with a small model of what must be remembered."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from discover_orch.execution import session
from discover_orch.execution.request import ReadyRun, Request
from discover_orch.model.tool_events import ToolFinished, ToolOutput
from discover_orch.planning import project_view
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.planning.resume import find_run_to_resume, plan_resumed
from discover_orch.state.journal import find_runs, read_record
from discover_orch.worker.spawn import start_interpreter
from tests.support.memory_model import (
    FILES_WRITTEN,
    STAGE,
    STAGES,
    TOOLS,
    Model,
    deep_text,
    tool_text,
)
from tests.support.project_builder import write_files

pytestmark = pytest.mark.usefixtures("forked_workers")

SINCES = (None, "x")
TARGETS: tuple[tuple[str, ...], ...] = (
    (),
    *((tool,) for tool in TOOLS),
    *((one,) for one in STAGES),
)
since_values = st.sampled_from(SINCES)
tools = st.sampled_from(TOOLS)
versions = st.integers(0, 2)
targets = st.sampled_from(TARGETS)


def meant(words: Sequence[str]) -> tuple[str, ...]:
    if not words:
        return TOOLS
    (word,) = words
    return tuple(one for one in TOOLS if word in (one, STAGES[STAGE[one]]))


class Histories(RuleBasedStateMachine):
    """The product beside the model. Looks and plans in this process; tools run in workers as ever."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="orch-model-")
        self.root = Path(self._folder.name)
        self.model = Model()
        self.comments = dict.fromkeys(TOOLS, 0)
        write_files(
            self.root,
            {
                # The model knows who ran, and not what tables contain.
                "orch.toml": f"stages = {list(STAGES)!r}\ntable_version_rows = 0\n",
                "input.csv": "0\n",
                "side.txt": "0\n",
                "src/lib/__init__.py": "",
                "src/lib/cells.py": "from src.lib.deep import DEEP\n",
                "src/lib/deep.py": deep_text(0),
                "fail/": "",
                "hold/": "",
            },
        )
        for tool in TOOLS:
            self._write_tool(tool)

    def teardown(self) -> None:
        self._folder.cleanup()

    # Edits.

    @rule(tool=tools, version=versions)
    def change_meaning(self, tool: str, version: int) -> None:
        self.model.versions[tool] = version
        self._write_tool(tool)

    @rule(tool=tools)
    def add_a_comment(self, tool: str) -> None:
        self.comments[tool] += 1
        self._write_tool(tool)

    @rule(version=versions)
    def change_the_deep_helper(self, version: int) -> None:
        self.model.versions["deep"] = version
        (self.root / "src/lib/deep.py").write_text(deep_text(version))

    @rule(name=st.sampled_from(["input.csv", "side.txt"]), version=versions)
    def change_a_data_file(self, name: str, version: int) -> None:
        self.model.files[name] = version
        (self.root / name).write_text(f"{version}\n")

    @rule(name=st.sampled_from(sorted(FILES_WRITTEN.values())))
    def delete_an_output(self, name: str) -> None:
        self.model.outputs.discard(name)
        (self.root / name).unlink(missing_ok=True)

    @rule()
    def delete_the_database(self) -> None:
        self.model.database = None
        self.model.tables.clear()
        for path in self.root.glob("data.db*"):
            path.unlink()

    @rule(tool=tools)
    def turn_a_failure_on_or_off(self, tool: str) -> None:
        folder = self.root / "fail" / tool
        self.model.failing ^= {tool}
        if tool in self.model.failing:
            folder.mkdir()
        else:
            folder.rmdir()

    # Runs.

    @initialize(has_run=st.sampled_from([True, True, False]))
    def perhaps_run_all(self, has_run: bool) -> None:
        if has_run:
            self.run((), None)

    @rule(words=targets, since=since_values)
    def run(self, words: tuple[str, ...], since: str | None) -> None:
        self.model.run(meant(words), since)
        self._run(self._plan(words, since))

    @rule(words=targets, since=since_values)
    def run_what_changed(self, words: tuple[str, ...], since: str | None) -> None:
        chosen = meant(words)
        stale = self.model.stale(since)
        steps = tuple(one for one in chosen if one in stale)
        view = self._look()
        plan = self._remaining(view, since).keep_stale(self._plan(words, since))
        assert [step.tool.name for step in plan.steps] == list(steps)
        if steps:
            fresh = [one for one in chosen if one not in steps]
            self.model.run(steps, since, whole=chosen, fresh=fresh, is_changed=True)
            self._run(plan)

    @rule()
    def resume(self) -> None:
        run = self.model.resumable()
        plan = self._resumed()
        if run is None:
            assert plan.steps == ()
            return
        steps = self.model.to_resume(run)
        assert [step.tool.name for step in plan.steps] == list(steps)
        if steps:
            self.model.run(
                steps,
                run.since,
                whole=run.plan,
                resumes=run.number,
                fresh=[one for one in run.plan if one not in steps],
                is_changed=True,
            )
            self._run(plan)

    @rule(words=targets, since=since_values, place=st.integers(0, 4))
    def a_killed_run(self, words: tuple[str, ...], since: str | None, place: int) -> None:
        steps = meant(words)
        at = steps[place % len(steps)]
        if any(self.model.would_fail(one) for one in steps[: steps.index(at)]):
            return  # it would not come so far
        (self.root / "hold" / at).mkdir()
        plan = self._plan(words, since)
        self.model.run(steps, since, killed_at=at)
        self._kill(plan, at)
        (self.root / "hold" / at).rmdir()
        self._note_ordered(steps[steps.index(at) + 1 :])
        self._note_database()

    def _note_ordered(self, later: Sequence[str]) -> None:
        """The order of the next one was out when orch was killed, or not: that nobody can foresee."""
        record = read_record(str(self.root), find_runs(str(self.root))[0])
        assert record is not None
        statuses = {tool.name: tool.status for tool in record.tools}
        if later and statuses[later[0]] == "unknown":
            self.model.ordered(later[0])

    @rule(words=targets, since=since_values)
    def accept(self, words: tuple[str, ...], since: str | None) -> None:
        view = self._look()
        assert self._remaining(view, since).accept(self._plan(words, since))
        self.model.accept(meant(words), since)

    # What must be true after each step.

    @invariant()
    def it_stands_as_the_model_says(self) -> None:
        view = self._look()
        for since in SINCES:
            freshnesses = self._remaining(view, since).freshness()
            stale = {
                one.module.removeprefix("src.") for one in freshnesses.values() if not one.is_fresh
            }
            assert stale == self.model.stale(since), {
                one.module: one.sentences for one in freshnesses.values()
            }
            words = {
                one.module.removeprefix("src."): one.last_ending for one in freshnesses.values()
            }
            assert words == {tool: self.model.word(tool) for tool in TOOLS}

    @invariant()
    def the_history_is_as_the_model_says(self) -> None:
        assert len(find_runs(str(self.root))) == len(self.model.runs)
        if self.model.runs:
            expected = self.model.runs[-1]
            record = read_record(str(self.root), str(expected.number))
            assert record is not None
            assert record.status == expected.status
            assert {tool.name: tool.status for tool in record.tools} == expected.statuses
            assert record.resumes == (str(expected.resumes) if expected.resumes else None)

    @invariant()
    def a_resume_would_run_what_the_model_says(self) -> None:
        run = self.model.resumable()
        steps = [step.tool.name for step in self._resumed().steps]
        expected = list(self.model.to_resume(run)) if run else []
        assert steps == expected, (steps, expected, run, self._resumed().intro, self.model.runs)

    # The product.

    def _write_tool(self, tool: str) -> None:
        text = tool_text(tool, self.model.versions[tool], self.comments[tool])
        (self.root / "src" / f"{tool}.py").write_text(text)

    def _look(self) -> ProjectView:
        return project_view.read_project(str(self.root), None, {})

    def _values(self, since: str | None) -> GivenParams:
        options = {} if since is None else {"since": (since,)}
        return GivenParams(options=options, folder=str(self.root))

    def _remaining(self, view: ProjectView, since: str | None) -> RemainingWork:
        return RemainingWork(view, self._values(since))

    def _plan(self, words: Sequence[str], since: str | None) -> Plan:
        takes = {"fetch", "page"} & set(meant(words))
        return project_view.plan_targets(
            self._look(), words, values=self._values(since if takes else None)
        )

    def _resumed(self) -> Plan:
        return plan_resumed(
            find_run_to_resume(str(self.root), None), self._remaining(self._look(), None)
        )

    def _run(self, plan: Plan) -> None:
        view = self._look()
        interpreter = start_interpreter()
        ended = {}
        told = []
        for event in session.run_plan(
            _ready(plan, view), host=session.Host(interpreter=interpreter)
        ):
            if isinstance(event, ToolFinished):
                ended[event.module.removeprefix("src.")] = event.status
            told.append(event)
        assert ended == self.model.runs[-1].statuses, told
        self._note_database()

    def _kill(self, plan: Plan, at: str) -> None:
        """In a process of its own, which dies while that tool is held; its worker dies with it."""
        view = self._look()
        pid = os.fork()
        if pid == 0:
            try:
                for event in session.run_plan(_ready(plan, view)):
                    if isinstance(event, ToolOutput) and event.module == f"src.{at}":
                        os.kill(os.getpid(), signal.SIGKILL)
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL

    def _note_database(self) -> None:
        """Whether a database was made at all by a tool that did nothing with it is SQLite's own affair."""
        if not (self.root / "data.db").exists():
            self.model.database = None


def check(histories: int) -> None:
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=histories,
            stateful_step_count=6,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("accepted", [("clean",), ("mark",), ()])
def test_what_is_accepted_after_the_database_was_replaced_counts_for_the_new_one(
    accepted: tuple[str, ...],
) -> None:
    history = Histories()
    history.run((), None)
    history.delete_the_database()
    history.run(("fetch",), None)
    history.accept(accepted, None)
    history.it_stands_as_the_model_says()
    history.change_meaning("mark", 1)
    history.it_stands_as_the_model_says()
    history.teardown()


def test_what_a_killed_run_wrote_is_its_own_also_after_a_second_kill() -> None:
    history = Histories()
    history.run((), None)
    history.a_killed_run((), None, TOOLS.index("mark"))
    history.a_killed_run(("mark",), None, 0)
    history.it_stands_as_the_model_says()
    history.teardown()


def test_a_resumed_run_of_what_was_stale_runs_what_was_fresh_then_and_is_stale_now() -> None:
    history = Histories()
    history.run((), None)
    history.turn_a_failure_on_or_off("clean")
    history.change_the_deep_helper(1)
    history.run_what_changed((), None)
    history.delete_the_database()
    history.a_resume_would_run_what_the_model_says()
    history.teardown()


def test_7_random_histories() -> None:
    check(7)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_60_random_histories() -> None:
    check(60)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_2000_random_histories() -> None:
    check(2000)


def _ready(plan: Plan, view: ProjectView) -> ReadyRun:
    return ReadyRun(request=Request(), view=view, plan=plan)
