"""What a session makes ready before any process is started, signals and what a worker must know; and short runs."""

from __future__ import annotations

import math
import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.execution import session
from discover_orch.execution.events import (
    Event,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolOutput,
    ToolStarted,
)
from discover_orch.execution.signal_handlers import STOPPING, SignalHandlers
from discover_orch.execution.supervisor import Supervisor
from discover_orch.planning import project_reader, project_view
from discover_orch.source.facts import ConfFacts, ResourceFacts
from discover_orch.state.journal import find_runs, read_record
from discover_orch.worker.protocol import Prepare
from tests.conftest import Project as MakeProject
from tests.support.values import make_conf, make_facts, make_project, make_registry

pytestmark = pytest.mark.usefixtures("forked_workers")

HANDLED = (*STOPPING, signal.SIGTSTP)


@pytest.fixture
def signals() -> Iterator[SignalHandlers]:
    """Where no signal is ignored, as in a terminal; all is put back."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in HANDLED}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    made = SignalHandlers()
    yield made
    made.close()
    for number, handler in before.items():
        signal.signal(number, handler)


def get(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def is_awake(signals: SignalHandlers) -> bool:
    return bool(select.select([signals.wake], [], [], 0)[0])


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_signal_interrupts_and_is_remembered(
    signals: SignalHandlers, number: int
) -> None:
    with signals:
        assert signals.drain() == []
        get(number)
        assert signals.drain() == ["interrupt"]
    assert signals.signal == number


def test_the_second_kills_whichever_it_is_and_the_first_is_remembered(
    signals: SignalHandlers,
) -> None:
    with signals:
        get(signal.SIGTERM)
        assert signals.drain() == ["interrupt"]
        get(signal.SIGINT)
        get(signal.SIGHUP)
        assert signals.drain() == ["kill", "kill"]
    assert signals.signal == signal.SIGTERM


def test_a_stop_from_the_terminal_is_no_interrupt(signals: SignalHandlers) -> None:
    with signals:
        get(signal.SIGTSTP, signal.SIGINT, signal.SIGTSTP)
        assert signals.drain() == ["suspend", "interrupt", "suspend"]
    assert signals.signal == signal.SIGINT


def test_a_signal_makes_wake_readable_until_it_is_drained(signals: SignalHandlers) -> None:
    with signals:
        assert not is_awake(signals)
        get(signal.SIGINT)
        assert is_awake(signals)
        signals.drain()
        assert not is_awake(signals)


def test_any_number_of_signals_fits(signals: SignalHandlers) -> None:
    with signals:
        get(*[signal.SIGINT] * 2000)
        assert signals.drain() == ["interrupt", *["kill"] * 1999]
        assert not is_awake(signals)


def test_afterwards_all_is_as_it_was(signals: SignalHandlers) -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in HANDLED]

    before = handlers()
    wake = signal.set_wakeup_fd(-1)
    with signals:
        assert handlers() != before
    assert handlers() == before
    assert signal.set_wakeup_fd(wake) == -1
    with signals, pytest.raises(KeyboardInterrupt):
        raise KeyboardInterrupt
    assert handlers() == before


def test_what_was_to_be_ignored_stays_ignored_but_for_ctrl_c(signals: SignalHandlers) -> None:
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
    with signals:
        get(signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP)
        assert signals.drain() == []
        get(signal.SIGINT)
        assert signals.drain() == ["interrupt"]
    assert {signal.getsignal(number) for number in HANDLED} == {signal.SIG_IGN}


def test_a_pause_stops_this_process_as_the_terminal_would(
    signals: SignalHandlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    signals.pause()
    assert sent == [(os.getpid(), signal.SIGSTOP)]


def test_closing_leaves_no_descriptor() -> None:
    before = os.listdir("/dev/fd")
    SignalHandlers().close()
    assert os.listdir("/dev/fd") == before


# The bell.


def test_wake_up_makes_wake_readable_and_requests_nothing(signals: SignalHandlers) -> None:
    assert not is_awake(signals)
    signals.wake_up()
    assert is_awake(signals)
    assert signals.drain() == []
    assert not is_awake(signals)
    assert signals.signal == 0


def test_wake_up_can_be_called_from_any_thread_any_number_of_times(signals: SignalHandlers) -> None:
    def wake_up() -> None:
        for _ in range(40_000):  # more than a pipe holds
            signals.wake_up()

    threads = [threading.Thread(target=wake_up) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_awake(signals)
    with signals:
        get(signal.SIGINT)  # is not lost though nothing more fits into the pipe
        assert signals.drain() == ["interrupt"]
    assert not is_awake(signals)


# A run of a watch.


class Wishes:
    """Interrupts nothing, unless it is told to at the first chance."""

    poll_interval = math.inf
    signal = 0

    def __init__(self, *wishes: str) -> None:
        self.wake, self._wake_writer = os.pipe()
        self._wishes = list(wishes)
        if wishes:
            os.write(self._wake_writer, b"x")

    def drain(self) -> list[str]:
        wishes, self._wishes = self._wishes, []
        if wishes:
            os.read(self.wake, 1)
        return wishes

    def pause(self) -> None:
        raise AssertionError("nobody asked for it")

    def close(self) -> None:
        os.close(self.wake)
        os.close(self._wake_writer)


def run_watched(root: Path, *wishes: str, warm_worker: Supervisor | None = None) -> list[Event]:
    view = project_reader.read_project(str(root), None, {})
    interruptions = Wishes(*wishes)
    try:
        return list(
            session.run_watched(
                project_view.plan_targets(view, []),
                view.registry,
                view.project,
                worker=warm_worker,
                is_importing=False,
                requests=interruptions,
                environment={"PATH": os.defpath, "TOLD": "so"},
            )
        )
    finally:
        interruptions.close()


WRITES = """
import os, sys
STAGE = "s"
def run():
    open("made.csv", "w").close()
    print(sorted(set(os.environ) - {"LC_CTYPE"}))
"""


def test_a_run_of_a_watch_has_its_environment_and_reports_what_was_written(
    project: MakeProject,
) -> None:
    root = project({"orch.toml": "", "src/a.py": WRITES, "src/helper.py": ""})
    events = run_watched(root)
    (end,) = [one for one in events if isinstance(one, ToolFinished)]
    assert end.seen is not None
    assert (end.status, end.seen.written, [*end.loaded]) == ("passed", ("made.csv",), ["src/a.py"])
    (said,) = [one.text for one in events if isinstance(one, ToolOutput)]
    assert said == "['ORCH_INSIDE', 'PATH', 'TOLD']\n"
    assert isinstance(events[-1], RunFinished)


def test_a_run_of_a_watch_uses_the_warm_worker_and_leaves_nothing_of_it(
    project: MakeProject,
) -> None:
    root = project({"orch.toml": "", "src/a.py": WRITES.replace("sorted", "os.getpid() or ")})
    warm_worker = Supervisor.start()
    events = run_watched(root, warm_worker=warm_worker)
    (said,) = [one.text for one in events if isinstance(one, ToolOutput)]
    assert said == f"{warm_worker.pid}\n"
    assert warm_worker.is_over


def test_a_run_of_a_watch_can_be_cancelled(project: MakeProject) -> None:
    text = "import time\nSTAGE = 's'\nAFTER = ()\ndef run(): time.sleep(600)\n"
    root = project({"orch.toml": "", "src/a.py": text, "src/b.py": text})
    events = run_watched(root, "cancel")
    ends = [one.status for one in events if isinstance(one, ToolFinished)]
    assert set(ends) <= {"cancelled", "not_run"}
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert (last.status, last.signal) == ("cancelled", 0)
    record = read_record(str(root), "1")
    assert record is not None
    assert (record.status, len(record.tools)) == ("cancelled", 2)


def test_a_run_whose_reader_is_gone_is_interrupted_and_its_history_true(
    project: MakeProject,
) -> None:
    root = project({"orch.toml": "", "src/a.py": WRITES})
    view = project_reader.read_project(str(root), None, {})
    events = session.run_plan(project_view.plan_targets(view, []), view.registry, view.project)
    while not isinstance(next(events), ToolStarted):
        pass
    events.close()
    record = read_record(str(root), "1")
    assert record is not None
    assert record.status == "interrupted"
    assert record.tools[0].status in ("passed", "interrupted")
    assert (root / "made.csv").exists() or record.tools[0].status == "interrupted"


def test_the_folders_of_a_worker_s_imports_are_absolute() -> None:
    project = make_project({"pythonpath": [".", "src/../lib", "/abs"]})
    assert session.absolute_pythonpath(project) == ("/project", "/project/lib", "/abs")


def test_each_run_has_the_next_number_and_is_kept_as_what_it_was(project: MakeProject) -> None:
    root = project({"orch.toml": "", "src/a.py": WRITES})
    begun = [one for _ in range(2) for one in run_watched(root) if isinstance(one, RunStarted)]
    assert [one.run for one in begun] == ["1", "2"]
    records = [read_record(str(root), run) for run in find_runs(str(root))]
    told = [(one.run, one.kind, one.status) for one in records if one is not None]
    assert told == [("2", "watch", "passed"), ("1", "watch", "passed")]


# What a worker must know.


def prepare(registry: Registry, project: Project, **more: bool) -> Prepare:
    flags = {"is_raw": False, "post_mortem": False, "all_frames": False} | more
    return session._prepare(registry, project, **flags)


def test_a_worker_gets_absolute_paths() -> None:
    project = make_project({"pythonpath": ["src", ".", "../common"], "transaction": "none"})
    assert prepare(make_registry(), project) == Prepare(
        root="/project",
        pythonpath=("/project/src", "/project", "/common"),
        database="sqlite:///data.db",
        transaction="none",
        observes=True,
    )


def test_a_worker_gets_the_options_of_the_user() -> None:
    for name, field in (
        ("is_raw", "raw_output"),
        ("post_mortem", "post_mortem"),
        ("all_frames", "all_frames"),
    ):
        told = prepare(make_registry(), make_project(), **{name: True})
        flags = {one: getattr(told, one) for one in ("raw_output", "post_mortem", "all_frames")}
        assert [one for one, is_set in flags.items() if is_set] == [field]


def test_a_worker_gets_the_resources_of_orchconf_and_what_they_need() -> None:
    conf = make_conf({"http": ("conn", "timeout"), "store": ("http", "retries")}, connection_line=3)
    told = prepare(make_registry(make_facts("a"), conf=conf), make_project())
    assert told.orchconf == "/project/orchconf.py"
    assert told.has_connection
    assert told.resources == {"http": ("conn",), "store": ("http",)}


def test_a_resource_gets_an_argument_with_a_default_if_it_is_a_resource() -> None:
    needs = (("conn", True), ("other", True))
    conf = ConfFacts(
        path="orchconf.py", resources=(ResourceFacts(name="http", line=1, needs=needs),)
    )
    told = prepare(make_registry(make_facts("a"), conf=conf), make_project())
    assert told.resources == {"http": ("conn",)}
    assert not told.has_connection


def test_a_database_of_the_command_line_wins_over_get_connection() -> None:
    registry = make_registry(make_facts("a"), conf=make_conf(connection_line=3))
    project = make_project({"database": "sqlite://"})
    assert uses_get_connection(registry, project)
    assert not uses_get_connection(registry, replace(project, database_origin="--database"))
    assert not uses_get_connection(make_registry(), project)
    without = make_registry(make_facts("a"), conf=make_conf({"http": ()}))
    assert not uses_get_connection(without, project)
