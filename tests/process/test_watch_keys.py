"""Keys, on a pipe and on a terminal; and what is written, for a person and for nobody."""

from __future__ import annotations

import re
import signal
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.support.editors import save
from tests.support.marks import slow_but
from tests.support.running import is_gone, on_terminal, running, wait_until
from tests.support.watching import tool_text, watching

TOOL = ("--scope", "tool")
FILES = {"orch.toml": "", "src/a.py": tool_text(0), "src/b.py": tool_text(0, stage="t")}
GATE = tool_text(
    0,
    top="import os, time",
    body="print('begins', flush=True)\nwhile not os.access.__wrapped__('go', os.F_OK): time.sleep(0.005)",
)


# By a pipe


def test_c_cancels_and_waits(project: Project) -> None:
    root = project({**FILES, "src/a.py": GATE})
    with watching(root, *TOOL, waits=False) as watch:
        watch.wait_for("tool_output", text="begins\n")
        watch.press("c")
        run = watch.next_run()
        assert (run.status, run.ended["a"]) == ("cancelled", "cancelled")
        (root / "src/b.py").open("a").close()
        watch.wait_for("unchanged")
        assert len(watch.runs) == 1, watch.story()
        (root / "go").touch()
        watch.press("a")
        assert watch.next_run().ended["a"] == "passed"


def test_f_runs_what_failed_and_all_that_is_downstream(project: Project) -> None:
    makes = 'ORCH = {"inputs": [], "outputs": "a.txt"}'
    reads = 'ORCH = {"inputs": "a.txt", "outputs": []}'
    good = tool_text(top=makes, body="open('a.txt', 'w').close()")
    root = project({**FILES, "src/a.py": good, "src/b.py": tool_text(stage="t", top=reads)})
    with watching(root, "--scope", "tool") as watch:
        save(root / "src/a.py", tool_text(top=makes, body="1 / 0"))
        assert watch.next_run().ended == {"a": "failed"}
        watch.press("f")
        assert watch.next_run().ended == {"a": "failed", "b": "blocked"}


def test_any_other_key_does_no_harm(project: Project) -> None:
    root = project(FILES)
    with watching(root) as watch:
        for key in ("x", "R!", "run", "\x00", "é"):
            watch.press(key)
        assert watch.settle() == [], watch.story()
        watch.press(" " * 5000)
        watch.next_run()


@pytest.mark.parametrize("keys", slow_but({"nothing"}, ["nothing", "closed"]))
def test_it_watches_without_keys(project: Project, keys: str) -> None:
    root = project(FILES)
    with watching(root, *TOOL, keys=keys) as watch:
        for version in range(1, 3):
            save(root / "src/a.py", tool_text(version))
            assert watch.next_run().output == {"a": f"{version}\n"}
        assert watch.settle() == []
        watch.send(signal.SIGTERM)
        assert watch.wait() == 143


def test_a_tool_gets_none_of_the_keys(project: Project) -> None:
    reads = tool_text(0, top="import sys", body="print(repr(sys.stdin.read()))")
    root = project({"orch.toml": "", "src/a.py": reads})
    with watching(root) as watch:
        assert watch.runs[0].output["a"] == "''\n0\n"
        watch.press("a")
        assert watch.next_run().output["a"] == "''\n0\n"


# On a terminal


def test_h_is_answered_at_once_also_during_a_run(project: Project) -> None:
    root = project({**FILES, "src/a.py": GATE})
    with on_terminal(root, "watch") as orch:
        orch.wait_for("begins")
        orch.type("h\n")
        # The help names each key; `h` itself is echoed by the terminal.
        orch.wait_for(r"(?s)pause.*quit|quit.*pause")
        assert "2 passed in " not in orch.text
        (root / "go").touch()
        orch.wait_for("2 passed in ")
        orch.wait_for("watching")
        orch.type("q\n")
        assert orch.wait() == 0, orch.text


def test_keys_work_on_a_terminal(project: Project) -> None:
    root = project(FILES)
    with on_terminal(root, "watch", *TOOL) as orch:
        orch.wait_for("watching")
        orch.type("a\n")
        orch.wait_for("2 passed in ")
        orch.wait_for("watching")
        save(root / "src/a.py", tool_text(1))
        orch.wait_for("1 passed in ")
        orch.wait_for("watching")
        orch.type("\n")
        orch.wait_for("1 passed in ")
        orch.wait_for("watching")
        orch.type("q\n")
        assert orch.wait() == 0, orch.text


@pytest.mark.parametrize(
    ("number", "busy"), [(signal.SIGKILL, True), (signal.SIGTERM, False), (signal.SIGINT, True)]
)
def test_the_terminal_is_as_it_was_before(
    project: Project, number: signal.Signals, busy: bool
) -> None:
    root = project({**FILES, "src/a.py": GATE if busy else tool_text(0)})
    with on_terminal(root, "watch") as orch:
        before = termios.tcgetattr(orch.fd)  # it has hardly been started
        assert before[3] & termios.ECHO
        assert before[3] & termios.ICANON
        orch.wait_for("begins" if busy else "watching")
        orch.send(number)
        wait_until(lambda: is_gone(orch.pid), "the end")
        assert termios.tcgetattr(orch.fd) == before
        orch.wait()
    hidden, shown = orch.text.count("\x1b[?25l"), orch.text.count("\x1b[?25h")
    assert hidden == 0 or shown >= hidden


def test_ctrl_c_on_a_terminal_ends_it(project: Project) -> None:
    root = project(FILES)
    with on_terminal(root, "watch") as orch:
        orch.wait_for("watching")
        orch.type("\x03")
        assert orch.wait() == 130
    assert "Traceback" not in orch.text


def test_closing_the_terminal_ends_it(project: Project) -> None:
    root = project({**FILES, "src/a.py": GATE})
    with on_terminal(root, "watch") as orch:
        orch.wait_for("begins")
        orch.hang_up()
        assert orch.wait() == 129


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="needs a shell with job control")
def test_it_works_in_the_background_of_a_shell(project: Project) -> None:
    root = project(FILES)
    orch = f"'{sys.executable}' -m discover_orch watch"
    with on_terminal(root, "--norc", "-i", program="/bin/bash", PS1="$ ") as shell:
        shell.wait_for(r"\$ $")
        shell.type(f"{orch} &\n")
        shell.wait_for("2 passed in ")
        shell.wait_for("watching")
        save(root / "src/a.py", tool_text(1))
        shell.wait_for("1 passed in ")
        shell.wait_for("watching")
        shell.type("echo the shell is $((1 + 1)) quick\n")
        shell.wait_for("the shell is 2 quick")
        shell.type("jobs\n")
        assert shell.wait_for("Running|Stopped")[0] == "Running"
        shell.type("kill %1; wait %1; echo code $?\n")
        shell.wait_for("code 143")
        shell.type("exit\n")
        shell.wait()


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="needs a shell with job control")
def test_ctrl_z_stops_it_and_fg_finds_what_was_saved_meanwhile(project: Project) -> None:
    root = project(FILES)
    orch = f"'{sys.executable}' -m discover_orch watch"
    with on_terminal(root, "--norc", "-i", program="/bin/bash", PS1="$ ") as shell:
        shell.wait_for(r"\$ $")
        shell.type(f"{orch}\n")
        shell.wait_for("2 passed in ")
        shell.wait_for("watching")
        shell.type("\x1a")
        shell.wait_for("Stopped")
        save(root / "src/a.py", tool_text(1))
        shell.type("fg\n")
        shell.wait_for("1 passed in ")
        shell.type("q\n")
        shell.wait_for(r"\$ $")
        shell.type("echo code $?\n")
        shell.wait_for("code 0")
        shell.type("exit\n")
        shell.wait()


FAILS = 'STAGE = "s"\ndef run(): 1 / 0\n'


@pytest.mark.parametrize("words", [[], ["--clear"]])
def test_the_screen_is_cleared_only_where_that_was_asked_for(
    project: Project, words: Sequence[str]
) -> None:
    root = project({**FILES, "src/a.py": FAILS})
    with on_terminal(root, "watch", *words) as orch:
        orch.wait_for("watching")
        orch.type("q\n")
        assert orch.wait() == 0
    assert not re.search(r"\x07|\x1b\]2;", orch.text)
    assert bool(re.search(r"\x1b\[H\x1b\[2J", orch.text)) == bool(words)
    assert not re.search(r"\x1b\[3J|\x1bc|\x1b\[\?1049h", orch.text)  # what has scrolled off stays


# What is written


def test_without_unicode_the_arrow_is_ascii(project: Project) -> None:
    root = project(FILES)
    with running(root, "watch", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0") as orch:
        orch.wait_for(r"(?m)^watching .*\n")
        save(root / "src/a.py", tool_text(1))
        orch.wait_for(r"(?m)^\d\d:\d\d:\d\d src/a\.py changed -> s: 1 tool stale\n")


def test_json_holds_nothing_but_json(project: Project) -> None:
    """The support class fails on any other line, as the help would make one."""
    stages = {"orch.toml": 'stages = ["s", "t", "zz_sentinel"]\n'}
    root = project({**FILES, **stages, "src/a.py": FAILS})
    with watching(root, "--clear") as watch:
        assert watch.runs[0].status == "failed"
        watch.press("h")
        watch.wait_for("key", key="h")
        watch.press("q")
        assert watch.wait() == 0
        assert watch.stderr == ""


def test_keys_are_named_only_where_there_are_any(project: Project) -> None:
    root = project(FILES)
    with running(root, "watch") as orch:  # its standard input is /dev/null
        orch.wait_for(r"(?m)^watching .* \(Ctrl-C quits\)\n")
