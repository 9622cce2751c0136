"""What a tool may change in its process is put back for the next one. Each test has a process of its own."""

from __future__ import annotations

import faulthandler
import logging
import logging.config
import os
import shutil
import signal
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from discover_orch.worker.process_state import ProcessState
from tests.support.forked import run_forked

#: What the code of a test has at hand.
TOOL = {
    "faulthandler": faulthandler, "logging": logging, "os": os, "shutil": shutil, "signal": signal,
    "sys": sys, "warnings": warnings,
}  # fmt: skip


def in_process(root: Path, function: Callable[[ProcessState], object]) -> str:
    """What it returns, or how it raised, as text; the process has the root as its folder."""

    def run() -> str:
        os.chdir(root)
        fd = os.open(root / "crash", os.O_WRONLY | os.O_CREAT)
        return repr(function(ProcessState(str(root), fd)))

    return run_forked(run)


def run_tool(baseline: ProcessState, code: str) -> None:
    with baseline:
        exec(textwrap.dedent(code), dict(TOOL))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("os.chdir('sub')", "os.getcwd()"),
        ("os.environ['NEW'] = '1'", "dict(os.environ)"),
        ("os.environ['PATH'] += ':/nowhere'", "dict(os.environ)"),
        ("del os.environ['PATH']", "dict(os.environ)"),
        ("os.environ.clear()", "dict(os.environ)"),
        ("os.environb[b'NEW'] = bytes([255])", "dict(os.environb)"),
        ("os.environ = {}", "type(os.environ), os.getenv('PATH')"),
        ("os.environ['NEW'] = '1'", "os.popen('echo $NEW').read()"),
        ("os.umask(0o077)", "umask()"),
        ("signal.setitimer(signal.ITIMER_REAL, 1000)", "signal.getitimer(signal.ITIMER_REAL)"),
        (
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])",
            "signal.pthread_sigmask(signal.SIG_BLOCK, [])",
        ),
        ("sys.setrecursionlimit(77_777)", "sys.getrecursionlimit()"),
        ("sys.excepthook = print", "sys.excepthook"),
        ("sys.unraisablehook = print", "sys.unraisablehook"),
        ("sys.displayhook = print", "sys.displayhook"),
        ("sys.settrace(lambda *_: None)", "sys.gettrace()"),
        ("sys.setprofile(lambda *_: None)", "sys.getprofile()"),
        ("faulthandler.disable()", "faulthandler.is_enabled()"),
        ("warnings.simplefilter('ignore')", "warnings.filters[:]"),
        ("warnings.showwarning = print", "warnings.showwarning"),
        ("logging.basicConfig(force=True)", "logging.root.handlers[:]"),
        ("logging.root.handlers.clear()", "logging.root.handlers[:]"),
        ("logging.root.setLevel('DEBUG')", "logging.root.level"),
        ("logging.disable(logging.CRITICAL)", "logging.root.manager.disable"),
        ("logging.root.disabled = True", "logging.root.disabled"),
        ("logging.root.addFilter(print)", "logging.root.filters[:]"),
        (
            "logging.config.dictConfig({'version': 1})",
            "logging.getLogger('orch.tests.mine').disabled",
        ),
    ],
)
def test_the_next_tool_finds_it_as_the_first_one_did(root: Path, code: str, state: str) -> None:
    def compare(baseline: ProcessState) -> object:
        def umask() -> int:
            found = os.umask(0)
            os.umask(found)
            return found

        logging.getLogger("orch.tests.mine").disabled = False
        names = {**TOOL, "umask": umask}
        before = repr(eval(state, names))
        with baseline:
            exec(code, dict(TOOL))
            during = repr(eval(state, names))
        after = repr(eval(state, names))
        return during != before, after == before or (before, after)

    assert in_process(root, compare) == "(True, True)"


HANDLED = "INT TERM ALRM CHLD PIPE QUIT USR1 USR2 TSTP CONT TTIN TTOU"


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "signal.SIG_DFL", "lambda *_: None"])
def test_each_signal_is_handled_as_before(root: Path, handler: str) -> None:
    def find_changed(baseline: ProcessState) -> object:
        changed = []
        for name in HANDLED.split():
            number = signal.Signals[f"SIG{name}"]
            before = signal.getsignal(number)
            run_tool(baseline, f"signal.signal({int(number)}, {handler})")
            if signal.getsignal(number) is not before:
                changed.append(name)
        return changed

    assert in_process(root, find_changed) == "[]"


def test_to_note_how_things_are_changes_nothing(root: Path) -> None:
    def look(_: ProcessState) -> object:
        os.umask(0o077)
        ProcessState(str(root), os.open(os.devnull, os.O_WRONLY))
        return os.umask(0) == 0o077

    assert in_process(root, look) == "True"


def test_each_tool_finds_the_words_of_orch_itself(root: Path) -> None:
    def look(baseline: ProcessState) -> object:
        run_tool(baseline, "sys.argv[:] = ['other', 'words']")
        with baseline:
            return sys.argv

    assert in_process(root, look) == "['orch']"


def test_it_is_put_back_also_after_a_tool_that_raised_and_the_error_goes_on(root: Path) -> None:
    def look(baseline: ProcessState) -> object:
        try:
            run_tool(
                baseline, "os.chdir('sub'); warnings.simplefilter('ignore'); raise KeyError(3)"
            )
        except KeyError as error:
            return os.getcwd() == str(root), error
        return "nothing was raised"

    assert in_process(root, look) == "(True, KeyError(3))"


def test_the_folder_of_the_project_that_is_gone_keeps_nothing_else_from_being_put_back(
    root: Path,
) -> None:
    (root / "project").mkdir()

    def look(_: ProcessState) -> object:
        baseline = ProcessState(str(root / "project"), os.open(os.devnull, os.O_WRONLY))
        umask = os.umask(0o022)
        os.umask(umask)
        run_tool(baseline, f"os.umask(0o077); os.rmdir({str(root / 'project')!r})")
        return os.umask(0) == umask

    assert in_process(root, look) == "True"


def test_a_crash_after_a_tool_that_went_elsewhere_with_it_is_still_told(root: Path) -> None:
    def crash(baseline: ProcessState) -> object:
        run_tool(baseline, "faulthandler.enable(open('elsewhere', 'w'))")
        faulthandler._sigabrt()  # type: ignore[attr-defined]
        return "alive"

    assert in_process(root, crash) == ""
    assert "Aborted" in (root / "crash").read_text()
    assert (root / "elsewhere").read_text() == ""


def test_logging_that_a_tool_was_the_first_to_import_is_as_new(root: Path) -> None:
    def look(_: ProcessState) -> object:
        for name in [name for name in sys.modules if name.partition(".")[0] == "logging"]:
            del sys.modules[name]
        baseline = ProcessState(str(root), os.open(os.devnull, os.O_WRONLY))
        run_tool(
            baseline,
            """
            import logging
            logging.basicConfig(level="DEBUG"); logging.disable(); logging.root.addFilter(print)
            logging.root.disabled = True
            """,
        )
        again = sys.modules["logging"].root
        return again.handlers, again.level, again.manager.disable, again.disabled, again.filters

    assert in_process(root, look) == f"([], {logging.WARNING}, 0, False, [])"


def test_a_tool_that_needs_no_logging_does_not_import_it(root: Path) -> None:
    def look(baseline: ProcessState) -> object:
        for name in [name for name in sys.modules if name.partition(".")[0] == "logging"]:
            del sys.modules[name]
        run_tool(baseline, "")
        return "logging" in sys.modules

    assert in_process(root, look) == "False"


def test_a_logger_that_was_off_before_stays_off(root: Path) -> None:
    def look(_: ProcessState) -> object:
        logging.getLogger("orch.tests.off").disabled = True
        baseline = ProcessState(str(root), os.open(os.devnull, os.O_WRONLY))
        run_tool(baseline, "logging.config.dictConfig({'version': 1})")
        return logging.getLogger("orch.tests.off").disabled

    assert in_process(root, look) == "True"


def test_each_tool_can_have_its_warnings_logged(root: Path) -> None:
    def look(baseline: ProcessState) -> object:
        before, found = warnings.showwarning, []
        for _ in range(2):
            with baseline:
                logging.captureWarnings(True)
                found.append(warnings.showwarning is not before)
            found.append(warnings.showwarning is before)
        return found

    assert in_process(root, look) == "[True, True, True, True]"


def test_what_modules_hold_is_shared_and_stays(root: Path) -> None:
    def look(baseline: ProcessState) -> object:
        run_tool(baseline, "shutil.of_a_tool = 1; sys.modules['of_a_tool'] = shutil")
        return sys.modules["of_a_tool"].of_a_tool

    assert in_process(root, look) == "1"
