"""Which signals stop a worker, and what is reported of its end."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from discover_orch.execution.worker_shutdown import (
    STOP_SIGNALS,
    TIME_TO_END,
    StopSignals,
    WorkerDied,
    WorkerEnded,
    WorkerExit,
    read_status,
)
from discover_orch.worker.tracebacks import LOST_STATUS

CRASH = 'Fatal Python error\n\n  File "/project/src/a.py", line 3 in run\n\n'


@pytest.fixture
def ending() -> WorkerExit:
    return WorkerExit()


def last_word(ending: WorkerExit, status: int | None) -> WorkerDied | WorkerEnded:
    return ending.final_event(status, step=7, crash=CRASH, root="/project")


def test_a_worker_that_ends_before_it_is_asked_to_has_died(ending: WorkerExit) -> None:
    died = last_word(ending, 3 << 8)
    assert isinstance(died, WorkerDied)
    assert (died.sentence, died.exit_code) == ("exited with code 3", 3)
    assert (died.signal, died.step) == (None, 7)
    assert (died.path, died.line) == ("src/a.py", 3)
    assert 'File "src/a.py", line 3, in run' in died.traceback


def test_a_killed_worker_died_for_the_given_reason(ending: WorkerExit) -> None:
    ending.kill_reason = "did not stop"
    died = last_word(ending, 9)
    assert isinstance(died, WorkerDied)
    assert (died.sentence, died.exit_code, died.signal) == ("did not stop", None, "SIGKILL")


def test_a_worker_that_closes_and_ends_reports_nothing(ending: WorkerExit) -> None:
    assert (ending.has_closed, ending.due(), ending.is_late(99.0)) == (False, None, False)
    ending.close(10.0, ("Thread-1",))
    assert (ending.has_closed, ending.due()) == (True, 10.0 + TIME_TO_END)
    assert last_word(ending, 0) == WorkerEnded()


def test_a_late_worker_is_killed_and_its_threads_are_named(ending: WorkerExit) -> None:
    ending.close(10.0, ("Thread-1",))
    assert not ending.is_late(10.0 + TIME_TO_END - 0.1)
    assert ending.is_late(10.0 + TIME_TO_END)
    ending.kill_reason = "did not end"
    assert ending.due() is None
    assert last_word(ending, 9) == WorkerEnded(sentence="did not end", threads=("Thread-1",))


def test_a_crash_after_closing_is_reported(ending: WorkerExit) -> None:
    ending.close(10.0, ("Thread-1",))
    assert last_word(ending, 11) == WorkerEnded(sentence="crashed with SIGSEGV while it ended")


def test_the_status_of_a_process_is_read_without_reaping_it_or_with() -> None:
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        assert read_status(child.pid, reap=False) is None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert read_status(child.pid, reap=False) is not None
        assert read_status(child.pid, reap=True) == signal.SIGKILL
        assert read_status(child.pid, reap=True) == LOST_STATUS
    finally:
        child.communicate()


def test_an_interrupt_is_followed_by_term_after_two_seconds_and_kill_after_three() -> None:
    assert [one for one in STOP_SIGNALS if one[1] != signal.SIGCONT] == [
        (0.0, signal.SIGINT),
        (2.0, signal.SIGTERM),
        (3.0, signal.SIGKILL),
    ]


def test_no_signal_is_due_before_the_interrupt() -> None:
    signals = StopSignals()
    assert (signals.has_begun, signals.due(), signals.drain(10.0)) == (False, None, ())


def test_each_signal_is_drained_once_when_it_is_due() -> None:
    signals = StopSignals()
    signals.begin(10.0)
    assert signals.has_begun
    drained: list[tuple[float, signal.Signals]] = []
    while (due := signals.due()) is not None:
        assert signals.drain(due - 0.001) == ()
        drained += signals.drain(due)
    assert tuple(drained) == STOP_SIGNALS
    assert signals.drain(99.0) == ()


def test_signals_that_are_late_are_all_drained_at_once() -> None:
    signals = StopSignals()
    signals.begin(10.0)
    assert signals.drain(99.0) == STOP_SIGNALS
