"""What tools and their children print comes live, whole, in order and to the right tool."""

from __future__ import annotations

import os
import time

import pytest

from discover_orch.model.tool_events import ToolFinished, ToolOutput
from tests.conftest import Project
from tests.support.driven_worker import DrivenWorker

pytestmark = pytest.mark.usefixtures("forked_workers")


def test_each_line_comes_when_it_is_printed(project: Project) -> None:
    root = project(
        {
            "live.py": """
            import sys
            def run(gate: str = ""):
                for word in ("one", "two", "three"):
                    print(word)
                    print(word, file=sys.stderr)
                    open(gate).read()  # goes on when the test has seen the line
            """
        }
    )
    gate = root / "gate"
    os.mkfifo(gate)
    with DrivenWorker(root) as worker:
        step = worker.send("live", gate=str(gate))
        for word in ("one", "two", "three"):
            worker.until_printed(word)
            gate.write_text("")
        worker.until(lambda event: isinstance(event, ToolFinished))
        assert worker.output(step) == worker.output(step, "stderr") == "one\ntwo\nthree\n"
        worker.finish()


ODD_BODIES = (
    "print('word')",
    "os.write(1, b'word\\n')",
    "subprocess.run(['echo', 'word'])",
    "os.system('echo word')",
    "sys.__stdout__.write('word\\n')",
    "ctypes.CDLL(None).puts(b'word')",
    "print('word', end='')",
    "sys.stdout.buffer.write(b'word')",
    "sys.stdout.close(); os.write(1, b'word')",
    "sys.stdout = io.StringIO(); print('lost'); os.write(1, b'word')",
    "sys.stdout.detach(); os.write(1, b'word')",
    "sys.stdout.reconfigure(encoding='utf-16', line_buffering=False); os.write(1, b'word')",
    "os.write(1, b'word'); os.close(1)",
    "os.write(1, b'word'); os.close(1); file = open('other', 'w'); print('lost')",
    "os.write(1, b'word'); os.dup2(os.open('other', os.O_CREAT | os.O_WRONLY), 1); print('lost')",
    "os.write(1, b'word'); os.set_blocking(1, False)",
    "os.write(1, b'word'); os.close(0); os.close(2)",
    "contextlib.redirect_stdout(io.StringIO()).__enter__(); print('lost'); os.write(1, b'word')",
    "logging.basicConfig(stream=sys.stdout, format='%(message)s'); logging.warning('word')",
    "multiprocessing.get_context('fork').Pool(1).map(print, ['word'])",
)


def test_whatever_a_tool_does_to_its_output_the_next_has_its_own(project: Project) -> None:
    names = "contextlib, ctypes, io, logging, multiprocessing, os, subprocess, sys"
    root = project(
        {
            **{
                f"odd{number}.py": f"import {names}\ndef run():\n    {body}\n"
                for number, body in enumerate(ODD_BODIES)
            },
            "plain.py": """
            import logging, os, subprocess, sys
            def run():
                print("out")
                print("err", file=sys.stderr)
                subprocess.run(["sh", "-c", "echo child; echo child >&2"])
                assert sys.stdin.read() == ""
                assert logging.getLogger().handlers == []
            """,
        }
    )
    with DrivenWorker(root) as worker:
        steps = []
        for number, body in enumerate(ODD_BODIES):
            first = worker.run(f"odd{number}")
            assert first.status == "passed", (body, first.error)
            second = worker.run("plain")
            assert second.status == "passed", (body, second.error)
            steps.append((body, worker.steps - 1, worker.steps))
        worker.finish()
        for body, odd, plain in steps:
            assert worker.output(odd).rstrip("\n") == "word", body
            assert worker.output(plain) == "out\nchild\n", body
            assert worker.output(plain, "stderr") == "err\nchild\n", body


def test_many_steps_keep_their_output_apart(project: Project) -> None:
    root = project(
        {"say.py": "def run(word: str = ''):\n    print(word)\n    print(word, end='')\n"}
    )
    with DrivenWorker(root) as worker:
        for n in range(500):
            worker.run("say", word=f"w{n}")
            assert worker.output() == f"w{n}\nw{n}"
        worker.finish()


@pytest.mark.parametrize("by", ["print", "child"])
def test_200_000_lines_block_nobody(project: Project, by: str) -> None:
    line = "a line of some length, as a tool would write it"
    body = {
        "print": f"for n in range(200_000): print(n, {line!r})",
        "child": f"subprocess.run(['awk', 'BEGIN {{ for (n = 0; n < 200000; n++) print n, \"{line}\" }}'])",
    }[by]
    root = project({"floods.py": f"import subprocess\ndef run():\n    {body}\n"})
    with DrivenWorker(root) as worker:
        started = time.monotonic()
        worker.run("floods")
        taken = time.monotonic() - started
        worker.finish()
        lines = worker.output().splitlines()
        assert len(lines) == 200_000
        assert lines[-1] == f"199999 {line}"
        assert taken < 10, f"{taken:.1f} s"  # 1 s or less where nothing else runs


def test_both_streams_can_be_flooded_while_nobody_reads(project: Project) -> None:
    root = project(
        {
            "floods.py": """
            import sys
            def run(**more):
                for n in range(20_000):
                    print("out" * 10)
                    print("err" * 10, file=sys.stderr)
            """
        }
    )
    with DrivenWorker(root) as worker:
        # A long order and a full pipe both ways: neither side may wait for the other.
        worker.run("floods", extra={"pad": "x" * 600_000})
        counts = [worker.output(None, one).count("\n") for one in ("stdout", "stderr")]
        assert counts == [20_000, 20_000]
        worker.finish()


def test_odd_bytes_and_endless_lines(project: Project) -> None:
    root = project(
        {
            "odd.py": r"""
            import os
            def run():
                os.write(1, b"\xff\xfe caf\xc3\xa9 \xe2\x82")
                os.write(1, b"\xac\r\n\x00\x1b[31m progress 1\r progress 2\n")
                for _ in range(50):
                    os.write(1, "é".encode() * 50_000)
                print("\udcff", "\u2028")
            """
        }
    )
    with DrivenWorker(root) as worker:
        worker.run("odd")
        worker.finish()
        text = worker.output()
        first, second, third = text.split("\n")[:3]
        assert first == "\\xff\\xfe café €"
        assert second == " progress 2"
        assert third == "é" * 2_500_000 + "\\udcff \u2028"


def test_raw_output_goes_straight_to_the_parents_own(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    root = project(
        {"say.py": "import sys\ndef run():\n    print('raw')\n    print('e', file=sys.stderr)\n"}
    )
    with DrivenWorker(root, raw_output=True) as worker:
        assert worker.run("say").status == "passed"
        worker.finish()
        assert not [event for event in worker.seen if isinstance(event, ToolOutput)]
    assert capfd.readouterr() == ("raw\n", "e\n")
