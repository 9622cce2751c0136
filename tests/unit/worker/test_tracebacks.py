"""What is told of an exception: the user's frames, the user's place, never a second failure."""

from __future__ import annotations

import os
from typing import Any

import pytest

from discover_orch.worker.tracebacks import describe_exception, describe_exit, read_crash

ROOT = "/project"
LIB = "/project/env/lib/python3.11/site-packages/pandas/core.py"


def code(path: str, source: str, **given: Any) -> dict[str, Any]:
    """Names of a module that stands at this path, though no file is there."""
    namespace: dict[str, Any] = dict(given)
    exec(compile(source, path, "exec"), namespace)
    return namespace


def caught(function: Any, *args: Any) -> BaseException:
    try:
        function(*args)
    except BaseException as error:
        return error
    pytest.fail("nothing was raised")


def test_the_place_is_the_last_frame_of_the_project() -> None:
    library = code(LIB, "def read(x):\n    return inner(x)\ndef inner(x):\n    return 1 / x\n")
    tool = code(
        "/project/src/tool.py", "\n\ndef run(x):\n    return read(x)\n", read=library["read"]
    )
    told = describe_exception(caught(tool["run"], 0), ROOT)
    assert (told.kind, told.type, told.message) == (
        "exception",
        "ZeroDivisionError",
        "division by zero",
    )
    assert (told.path, told.line) == ("src/tool.py", 4)
    assert 'File "src/tool.py", line 4, in run' in told.traceback
    assert "test_tracebacks" in told.traceback  # a test is no code of orch's


def test_a_syntax_error_has_the_place_of_the_mistake() -> None:
    told = describe_exception(caught(code, "/project/src/broken.py", "x = 1\ny = (\n"), ROOT)
    assert (told.type, told.path, told.line) == ("SyntaxError", "src/broken.py", 2)
    assert "src/broken.py" not in told.message
    assert 'File "src/broken.py", line 2' in told.traceback


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((), "called sys.exit()"),
        ((None,), "called sys.exit()"),
        ((0,), "called sys.exit(0)"),
        ((True,), "called sys.exit(1)"),
        (("no luck",), "called sys.exit: no luck"),
    ],
)
def test_an_exit_is_a_kind_of_its_own(given: tuple[Any, ...], sentence: str) -> None:
    told = describe_exception(SystemExit(*given), ROOT)
    assert (told.kind, told.message) == ("exit", sentence)
    assert told.hint


def test_causes_contexts_groups_and_notes_are_kept() -> None:
    source = """
def run():
    try:
        raise KeyError("first")
    except KeyError as error:
        group = ExceptionGroup("many", [ValueError("one"), error])
        group.add_note("a note")
        raise group from OSError("cause")
"""
    told = describe_exception(caught(code("/project/tool.py", source)["run"]), ROOT)
    for text in (
        "OSError: cause",
        "direct cause",
        "many (2 sub-exceptions)",
        "ValueError: one",
        "a note",
    ):
        assert text in told.traceback
    assert "/project" not in told.traceback


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
