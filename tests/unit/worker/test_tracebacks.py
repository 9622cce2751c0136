"""What is told of an exception: the user's frames, the user's place, never a second failure."""

from __future__ import annotations

import os
from typing import Any

import pytest

from discover_orch.worker.tracebacks import describe_exception, describe_exit, read_crash

ROOT = "/project"


def code(path: str, source: str, **given: Any) -> dict[str, Any]:
    """Names of a module that stands at this path, though no file is there."""
    namespace: dict[str, Any] = dict(given)
    exec(compile(source, path, "exec"), namespace)
    return namespace


def test_exceptions_in_a_circle_come_to_an_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert describe_exception(one, ROOT).message == "one"


def test_one_that_cannot_be_printed_is_told_all_the_same() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise SystemExit

    class Odder(Exception):
        def __getattribute__(self, name: str) -> Any:
            raise SystemExit

    assert "SystemExit" in describe_exception(Odd(), ROOT).message
    assert describe_exception(Odder("text"), ROOT).type == "Odder"


def test_the_dump_of_a_crash_is_turned_around_and_stripped() -> None:
    own = os.path.join(
        os.path.dirname(os.path.abspath(describe_exception.__code__.co_filename)), "worker.py"
    )
    dump = f"""Fatal Python error: Segmentation fault

Current thread 0x00007f (most recent call first):
  File "/project/src/deep.py", line 7 in inner
  File "/project/src/tool.py", line 3 in run
  File "{own}", line 200 in _call_tool
  File "<string>", line 5 in <module>

Extension modules: a.b, c
"""
    text, path, line = read_crash(dump, ROOT)
    assert text == (
        '  File "src/tool.py", line 3, in run\n  File "src/deep.py", line 7, in inner\n'
    )
    assert (path, line) == ("src/deep.py", 7)


@pytest.mark.parametrize("dump", ["", "half a line", '  File "x", line y in z\n', "  File \n"])
def test_a_dump_that_says_nothing_is_no_failure(dump: str) -> None:
    assert read_crash(dump, ROOT) == ("", None, None)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (3 << 8, "exited with code 3"),
        (9, "was killed by SIGKILL (out of memory?)"),
        (11, "crashed with SIGSEGV"),
        (11 | 0x80, "crashed with SIGSEGV"),
        (15, "was killed by SIGTERM"),
        (62, "was killed by signal 62"),
        (None, "ended with an unknown exit status"),
    ],
)
def test_how_a_process_ended_is_a_sentence(status: int | None, sentence: str) -> None:
    assert describe_exit(status)[0] == sentence
