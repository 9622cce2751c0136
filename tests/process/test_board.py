"""Several workers on a terminal: the board below what has been printed."""

from __future__ import annotations

import re
import signal

import pytest

from tests.conftest import Orch, Project
from tests.support.running import on_terminal

WAITS = """
    import os, sys, time
    STAGE = "s"
    AFTER = ()
    def run():
        print("this is {name}\\x1b[2J")
        print("\\r 50%|#####     | 1/2", end="", file=sys.{stream}, flush=True)
        while not os.access.__wrapped__("go-{name}", os.F_OK):  # not observed
            time.sleep(0.01)
"""


def waits(name: str, *, has_bar: bool = False) -> str:
    text = WAITS.format(name=name, stream="stderr")
    return text if has_bar else text.replace('print("\\r', '"" and print("\\r')


def test_the_board_shows_each_running_tool_and_leaves_nothing_behind(project: Project) -> None:
    root = project(
        {
            "src/a.py": waits("a"),
            "src/b.py": waits("b", has_bar=True),
            "src/c.py": waits("c"),
            "src/d.py": 'STAGE = "s"\nAFTER = "c"\ndef run(): pass\n',
        }
    )
    (root / "go-a").touch()
    with on_terminal(root, "run", "--jobs", "2", columns=60) as orch:
        # a has ended, and the board is drawn again over the lines that it had before.
        bar, said = r"    b +\d+ s  +50%\|#####     \| 1/2", r"    c +\d+ s  this is c\\x1b\[2J"
        below = r"    1 of 4 done\x1b\[2A\r\x1b\[J"
        orch.wait_for(rf"{bar}\n{said}\n{below}")
        (root / "go-c").touch()
        orch.wait_for(rf"{bar}\n    3 of 4 done")
        (root / "go-b").touch()
        assert orch.wait() == 0, orch.text
    screen = re.sub(r".*\x1b\[J|.*\r\x1b\[K", "", orch.text)
    assert re.search(r"\[1/4\] s › a\n    this is a\\x1b\[2J\n    ✓ ", screen)
    assert screen.splitlines()[-1].startswith("4 passed in ")
    assert " done" not in screen.splitlines()[-2]
    # As with one worker: the cursor is not hidden, the screen not cleared.
    used = {*re.findall(r"\x1b[^A-Za-z]*[A-Za-z]", orch.text)}
    assert used <= {"\x1b[K", "\x1b[J", "\x1b[1A", "\x1b[2A"}


def test_the_board_has_a_bar_for_a_tool_with_items(project: Project) -> None:
    each = 'ORCH = {"each": {"name": ["w", "x", "y", "z"]}}\n'
    text = waits("{name}").replace("AFTER = ()\n", each).replace("run()", "run(*, name)")
    text = text.replace('"go-{name}"', 'f"go-{name}"').replace("this is {name}", "")
    root = project({"src/a.py": text})
    (root / "go-w").touch()
    with on_terminal(root, "run", "--jobs", "2", columns=60) as orch:
        steps = r"    a x +\d+ s.*\n    a y +\d+ s.*"
        orch.wait_for(rf"    a  █{{5}}░{{15}} 1 of 4 names\n{steps}\n    1 of 4 done")
        for name in "xyz":
            (root / f"go-{name}").touch()
        assert orch.wait() == 0, orch.text


@pytest.mark.slow
def test_the_time_left_is_predicted_by_past_runs_and_an_interrupt_clears_the_board(
    project: Project, orch: Orch
) -> None:
    root = project({"src/a.py": waits("a"), "src/b.py": waits("b")})
    with on_terminal(root, "run", "--jobs", "2") as first:
        first.wait_for(r"    [ab]  ([2-9]|\d\d) s .*\n.*\n    0 of 2 done\x1b")
        (root / "go-a").touch()
        (root / "go-b").touch()
        assert first.wait() == 0
    longest = max(tool["duration"] for tool in orch("status", "--json").json["tools"])
    for name in "ab":
        (root / f"go-{name}").unlink()
    with on_terminal(root, "run", "--jobs", "2") as second:
        second.wait_for(
            r"    a  \d+ s of about \d+ s  .*\n(.*\n)?    0 of 2 done, about \d+ s left\x1b"
        )
        left = re.search(r"about (\d+) s left", second.text)
        assert left, "two workers take half as long as the tools one after another"
        assert int(left[1]) <= round(longest)
        second.wait_for(r"    0 of 2 done, about 1 s left\x1b")
        second.send(signal.SIGINT)
        assert second.wait() == 130
    assert re.search(r"\x1b\[J\[\d/2\]", second.text), "what is printed stands where the board was"
    assert second.text.splitlines()[-1].startswith("2 interrupted in ")
    project({"src/c.py": waits("c")})
    with on_terminal(root, "run", "--jobs", "2") as third:
        third.wait_for(r"    0 of 3 done\x1b")
        for name in "abc":
            (root / f"go-{name}").touch()
        assert third.wait() == 0
    assert " left" not in third.text, "of c nothing is known"
