"""One worker that is played: what the executor sends it, and what it makes of what the worker says."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from discover_orch.execution.events import (
    DebuggerOpened,
    Event,
    RunNote,
    ToolDeclined,
    ToolFinished,
    ToolOutput,
    ToolStarted,
)
from discover_orch.execution.executors import local
from discover_orch.execution.executors.local import KILLED, LocalExecutor
from discover_orch.execution.supervisor import Supervisor, WorkerEvent
from discover_orch.execution.worker_reader import StepOutput
from discover_orch.execution.worker_shutdown import WorkerDied, WorkerEnded
from discover_orch.model.errors import Failure, Location, Problem
from discover_orch.planning.param_values import BoundArgument
from discover_orch.planning.plan import Step
from discover_orch.worker.protocol import (
    Closed,
    DebugEnded,
    DebugStarted,
    Declined,
    Finish,
    Order,
    Prepare,
    RunStep,
    StepFinished,
    StepStarted,
    WireArgument,
)
from tests.support.values import make_param, make_tool, make_type

PREPARE = Prepare(root="/project", pythonpath=("/project",), database="sqlite://")
RAW = Prepare(root="/project", pythonpath=("/project",), database="sqlite://", raw_output=True)
BAD = Failure(kind="exception", type="E", message="m", path="a.py", line=3, traceback="t", hint="h")


class PlayedWorker:
    """Says what the script says, and keeps the books as a `Supervisor` does."""

    def __init__(self) -> None:
        self.is_over = False
        self.failures = 0
        self.running: int | None = None
        self.committing: int | None = None
        self.unanswered: tuple[int, ...] = ()
        self.sent: list[Order] = []
        self.told: list[str] = []
        self._script: list[WorkerEvent] = []

    def will_say(self, *events: WorkerEvent) -> None:
        self._script += events

    def send(self, order: Order) -> None:
        assert not self.is_over
        self.sent.append(order)
        if isinstance(order, RunStep):
            self.unanswered += (order.step,)

    def events(self, timeout: float, wake: int) -> list[WorkerEvent]:
        assert (timeout, wake) == (0.5, 7)
        said, self._script = self._script, []
        for event in said:
            match event:
                case StepStarted(step=step):
                    self.running = step
                    self._answer(step)
                case Declined(step=step):
                    self._answer(step)
                case StepFinished(status=status):
                    self.running = None
                    self.failures += status == "failed"
                case WorkerDied() | WorkerEnded():
                    self.is_over = True
                case _:
                    pass
        return said

    def _answer(self, step: int) -> None:
        self.unanswered = tuple(one for one in self.unanswered if one != step)

    def interrupt(self) -> None:
        self.told.append("interrupt")

    def kill(self, reason: str = "") -> None:
        self.told.append(f"kill: {reason}")

    def suspend(self) -> None:
        self.told.append("suspend")

    def resume(self) -> None:
        self.told.append("resume")

    def lend_terminal(self) -> bool:
        self.told.append("lend terminal")
        return True

    @property
    def steps(self) -> list[int]:
        return [order.step for order in self.sent if isinstance(order, RunStep)]


class Stage:
    """An executor and its workers; the first stands ready."""

    def __init__(self, prepare: Prepare, monkeypatch: pytest.MonkeyPatch, has_worker: bool) -> None:
        self.workers: list[PlayedWorker] = []
        stage = self

        class Starter:
            @staticmethod
            def start(*, raw_output: bool = False) -> PlayedWorker:
                assert raw_output == prepare.raw_output
                stage.workers.append(PlayedWorker())
                return stage.workers[-1]

        monkeypatch.setattr(local, "Supervisor", Starter)
        worker = Starter.start(raw_output=prepare.raw_output) if has_worker else None
        self.executor = LocalExecutor(prepare, cast("Supervisor | None", worker))

    @property
    def worker(self) -> PlayedWorker:
        return self.workers[-1]

    def submit(self, *modules: str) -> None:
        for module in modules:
            self.executor.submit(Step(tool=make_tool(module), stage="x"))

    def hear(self, *events: WorkerEvent) -> list[Event]:
        """What becomes of what the worker says next."""
        self.worker.will_say(*events)
        return list(self.executor.events(0.5, 7))


Staged = Callable[..., Stage]


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> Staged:
    def make(prepare: Prepare = PREPARE, *, has_worker: bool = True) -> Stage:
        return Stage(prepare, monkeypatch, has_worker)

    return make


def passed(step: int) -> StepFinished:
    return StepFinished(step=step, status="passed", duration=1.5)


def failed(step: int) -> StepFinished:
    return StepFinished(step=step, status="failed", duration=1.5, error=BAD)


# Orders.


def test_a_worker_that_was_started_before_is_prepared_at_once_and_used(staged: Staged) -> None:
    stage = staged()
    assert stage.worker.sent == [PREPARE]
    stage.submit("a")
    assert len(stage.workers) == 1
    assert stage.worker.steps == [0]


def test_without_one_a_worker_is_started_for_the_first_step_alone(staged: Staged) -> None:
    stage = staged(has_worker=False)
    executor = stage.executor
    assert (stage.workers, executor.is_idle, executor.is_over) == ([], True, True)
    assert list(executor.events(0.5, 7)) == []
    for ask in (executor.interrupt, executor.suspend, executor.resume, executor.kill):
        ask()
    executor.finish()
    assert stage.workers == []
    stage.submit("a", "b")
    assert len(stage.workers) == 1
    assert [type(order) for order in stage.worker.sent] == [Prepare, RunStep, RunStep]


def test_an_order_says_all_that_a_worker_must_know(staged: Staged) -> None:
    stage = staged()
    since = make_param("since", "date")
    tool = make_tool("src.parse", name="parse", params=[since], resources=("conn", "http"))
    bound = BoundArgument(param=since, texts=("2024-01-31",), origin="--since")
    stage.executor.submit(Step(tool=tool, stage="x", arguments=(bound,), extra={"k": "v"}))
    argument = WireArgument(texts=("2024-01-31",), type=make_type("date"))
    assert stage.worker.sent[1] == RunStep(
        step=0,
        module="src.parse",
        name="parse",
        path="src/parse.py",
        arguments={"since": argument},
        extra={"k": "v"},
        resources=("conn", "http"),
    )


def test_an_order_carries_the_failures_that_were_known_when_it_was_given(staged: Staged) -> None:
    stage = staged()
    stage.submit("a", "b")
    stage.hear(StepStarted(step=0), failed(0), Declined(step=1))
    stage.submit("b")
    orders = [order for order in stage.worker.sent if isinstance(order, RunStep)]
    assert [(order.step, order.failures) for order in orders] == [(0, 0), (1, 0), (2, 1)]


def test_it_is_idle_when_every_step_has_ended_or_was_declined(staged: Staged) -> None:
    stage = staged()
    executor = stage.executor
    assert executor.is_idle
    stage.submit("a", "b")
    for said, is_idle in (
        (StepStarted(step=0), False),
        (failed(0), False),
        (Declined(step=1), True),
    ):
        stage.hear(said)
        assert executor.is_idle is is_idle
    assert not executor.is_over


# Messages.


def test_what_a_worker_says_becomes_events_of_its_tools(staged: Staged) -> None:
    stage = staged()
    stage.submit("a", "b")
    assert stage.hear(
        StepStarted(step=0),
        StepOutput(step=0, stream="stderr", text="hello\n"),
        StepFinished(step=0, status="passed", duration=1.5, metrics={"rows": 3}, notes=("n",)),
        StepStarted(step=1),
        failed(1),
    ) == [
        ToolStarted(module="a"),
        ToolOutput(module="a", stream="stderr", text="hello\n"),
        ToolFinished(module="a", status="passed", duration=1.5, metrics={"rows": 3}, notes=("n",)),
        ToolStarted(module="b"),
        ToolFinished(
            module="b",
            status="failed",
            duration=1.5,
            error=Failure(
                kind="exception",
                type="E",
                message="m",
                path="a.py",
                line=3,
                traceback="t",
                hint="h",
            ),
        ),
    ]


def test_output_between_steps_is_that_of_the_tool_before_it(staged: Staged) -> None:
    stage = staged()
    late = StepOutput(step=None, stream="stdout", text="late\n")
    assert stage.hear(late) == []
    stage.submit("a", "b")
    assert stage.hear(StepStarted(step=0), passed(0), late)[-1] == ToolOutput(
        module="a", stream="stdout", text="late\n"
    )
    assert stage.hear(StepStarted(step=1), late)[-1] == ToolOutput(
        module="b", stream="stdout", text="late\n"
    )


def test_output_before_the_first_step_is_that_of_the_tool_it_was_started_for(
    staged: Staged,
) -> None:
    stage = staged()
    stage.submit("a", "b")
    early = StepOutput(step=None, stream="stderr", text="early\n")
    assert stage.hear(early) == [ToolOutput(module="a", stream="stderr", text="early\n")]


def test_the_terminal_is_lent_after_the_debugger_was_announced(staged: Staged) -> None:
    stage = staged()
    stage.submit("a")
    stage.worker.will_say(StepStarted(step=0), DebugStarted(step=0))
    for event in stage.executor.events(0.5, 7):
        if isinstance(event, DebuggerOpened):
            assert stage.worker.told == []
    assert stage.worker.told == ["lend terminal"]
    assert stage.hear(DebugEnded(step=0)) == []


# Ends.


def test_finishing_closes_the_worker_once_it_is_there(staged: Staged) -> None:
    stage = staged()
    stage.executor.finish()
    assert stage.worker.sent == [PREPARE, Finish()]
    assert not stage.executor.is_over
    assert stage.hear(Closed(), WorkerEnded()) == []
    assert stage.executor.is_over
    stage.executor.finish()
    assert stage.worker.sent == [PREPARE, Finish()]


def test_each_resource_that_raised_on_closing_is_an_error_with_its_place(staged: Staged) -> None:
    own = Failure(kind="exception", type="", message="cannot be closed", traceback="x", hint="h")
    assert staged().hear(Closed(errors=(BAD, own))) == [
        RunNote(
            problem=Problem(
                code="closing", message="m (E)", hint="h", location=Location(path="a.py", line=3)
            ),
            traceback="t",
        ),
        RunNote(problem=Problem(code="closing", message="cannot be closed", hint="h")),
    ]


def test_threads_that_kept_a_worker_from_ending_are_named_in_a_warning(staged: Staged) -> None:
    (event,) = staged().hear(WorkerEnded(sentence="had to be killed", threads=("poll", "log")))
    assert isinstance(event, RunNote)
    assert event.problem.severity == "warning"
    assert event.problem.message == (
        'the worker process had to be killed; still running: "poll", "log"'
    )
    assert "daemons" in event.problem.hint


def test_a_worker_that_ended_badly_after_all_was_closed_is_a_warning(staged: Staged) -> None:
    (event,) = staged().hear(WorkerEnded(sentence="was killed by SIGSEGV while it ended"))
    assert isinstance(event, RunNote)
    assert (event.problem.code, event.problem.severity) == ("ending", "warning")


def test_a_worker_that_dies_is_a_failed_tool_and_a_new_one_takes_over(staged: Staged) -> None:
    stage = staged()
    stage.submit("a", "b")
    died = WorkerDied(sentence="was killed by SIGSEGV", signal="SIGSEGV", step=0, traceback="t\n")
    assert stage.hear(StepStarted(step=0), died) == [
        ToolStarted(module="a"),
        ToolFinished(
            module="a",
            status="failed",
            error=Failure(
                kind="crash",
                type="SIGSEGV",
                message="was killed by SIGSEGV",
                path="a.py",
                traceback="t\nwas killed by SIGSEGV\n",
            ),
        ),
        ToolDeclined(module="b"),
    ]
    assert stage.executor.is_idle
    stage.submit("b")
    assert len(stage.workers) == 2
    assert stage.worker.sent[0] == PREPARE
    assert stage.worker.steps == [2]
    assert stage.hear(StepStarted(step=2)) == [ToolStarted(module="b")]


def test_a_crash_is_where_the_users_code_was_if_that_is_known(staged: Staged) -> None:
    stage = staged()
    stage.submit("a")
    died = WorkerDied(sentence="exited with code 3", exit_code=3, step=0, path="lib/x.py", line=9)
    (_, end) = stage.hear(StepStarted(step=0), died)
    assert isinstance(end, ToolFinished)
    assert end.error is not None
    assert (end.error.type, end.error.path, end.error.line) == ("crash", "lib/x.py", 9)


def test_nobody_knows_how_a_tool_ended_whose_worker_died_in_its_commit(staged: Staged) -> None:
    stage = staged()
    stage.submit("a")
    stage.worker.committing = 0
    died = WorkerDied(sentence="was killed by SIGKILL", signal="SIGKILL", step=0)
    (*_, event) = stage.hear(StepStarted(step=0), died)
    assert isinstance(event, ToolFinished)
    assert (event.status, event.error and event.error.message) == (
        "unknown",
        "was killed by SIGKILL during its commit: what it wrote may be in the database",
    )


def test_a_worker_that_dies_with_nothing_to_do_is_an_error_of_its_own(staged: Staged) -> None:
    stage = staged()
    stage.submit("a")
    died = WorkerDied(sentence="was killed by SIGKILL", signal="SIGKILL")
    *_, event = stage.hear(StepStarted(step=0), passed(0), died)
    assert isinstance(event, RunNote)
    assert event.problem.code == "worker-died"
    assert event.problem.message == "the worker process was killed by SIGKILL"
    assert event.problem.severity == "error"


@pytest.mark.parametrize("prepare", [PREPARE, RAW])
def test_a_step_whose_worker_died_before_it_started_has_failed(
    staged: Staged, prepare: Prepare
) -> None:
    stage = staged(prepare)
    stage.submit("a", "b")
    *_, event, declined = stage.hear(WorkerDied(sentence="exited with code 7", exit_code=7))
    assert isinstance(event, ToolFinished)
    assert declined == ToolDeclined(module="b")
    assert (event.module, event.status) == ("a", "failed")
    assert event.error is not None
    assert (event.error.kind, event.error.message) == (
        "crash",
        "the worker process exited with code 7 before the tool started",
    )
    assert stage.executor.is_idle


def test_a_step_that_waited_between_two_tools_when_the_worker_died_has_failed(
    staged: Staged,
) -> None:
    stage = staged(RAW)
    stage.submit("a", "b")
    stage.hear()
    *_, event = stage.hear(
        StepStarted(step=0), passed(0), WorkerDied(sentence="exited", exit_code=7)
    )
    assert isinstance(event, ToolFinished)
    assert (event.module, event.status) == ("b", "failed")
    assert stage.executor.is_idle


# Interrupts.


def test_an_interrupt_is_passed_on_and_so_is_the_second(staged: Staged) -> None:
    stage = staged()
    stage.submit("a")
    stage.hear(StepStarted(step=0))
    stage.executor.interrupt()
    stage.executor.kill()
    assert stage.worker.told == ["interrupt", f"kill: {KILLED}"]


def test_a_tool_whose_worker_died_of_the_interrupt_was_interrupted(staged: Staged) -> None:
    stage = staged()
    stage.submit("a")
    stage.hear(StepStarted(step=0))
    stage.executor.interrupt()
    (end,) = stage.hear(WorkerDied(sentence=KILLED, signal="SIGKILL", step=0))
    assert isinstance(end, ToolFinished)
    assert end.status == "interrupted"


def test_a_worker_that_dies_of_the_interrupt_between_steps_is_no_error(staged: Staged) -> None:
    stage = staged()
    stage.submit("a")
    stage.executor.interrupt()
    assert stage.hear(WorkerDied(sentence=KILLED, signal="SIGKILL")) == []
    assert stage.executor.is_idle
    assert stage.executor.is_over


def test_a_worker_that_ended_while_its_last_answers_were_read_gets_no_order(staged: Staged) -> None:
    stage = staged()
    stage.submit("a", "b")
    stage.hear(StepStarted(step=0))
    stage.executor.interrupt()
    stage.executor.finish()
    interrupted = StepFinished(step=0, status="interrupted", duration=1.5)
    stage.hear(interrupted, Declined(step=1), Closed(), WorkerEnded())
    assert stage.executor.is_over


def test_a_worker_stops_and_goes_on_with_orch(staged: Staged) -> None:
    stage = staged()
    stage.executor.suspend()
    stage.executor.resume()
    assert stage.worker.told == ["suspend", "resume"]


# Output to the terminal itself.


def test_with_raw_output_a_tool_is_announced_before_it_starts(staged: Staged) -> None:
    stage = staged(RAW)
    stage.submit("a", "b")
    assert stage.worker.steps == []
    events = stage.executor.events(0.5, 7)
    assert next(events) == ToolStarted(module="a")
    assert stage.worker.steps == []
    assert list(events) == []
    assert stage.worker.steps == [0]


def test_one_tool_at_a_time_writes_to_the_terminal(staged: Staged) -> None:
    stage = staged(RAW)
    stage.submit("a", "b")
    assert stage.hear(StepStarted(step=0)) == [ToolStarted(module="a")]
    assert stage.hear() == []
    assert not stage.executor.is_idle
    assert stage.hear(passed(0)) == [ToolFinished(module="a", status="passed", duration=1.5)]
    assert not stage.executor.is_idle
    assert stage.hear(StepStarted(step=1)) == [ToolStarted(module="b")]
    assert stage.worker.steps == [0, 1]
    stage.hear(passed(1))
    assert stage.executor.is_idle


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_after_a_failure_or_an_interrupt_no_other_tool_gets_the_terminal(
    staged: Staged, is_interrupted: bool
) -> None:
    stage = staged(RAW)
    stage.submit("a", "b")
    stage.hear(StepStarted(step=0))
    if is_interrupted:
        stage.executor.interrupt()
    stage.hear(passed(0) if is_interrupted else failed(0))
    assert stage.executor.is_idle
    assert stage.hear() == []
    assert stage.worker.steps == [0]
