"""Bytes to a tree exactly where Python compiles them, else the one problem with its line."""

from __future__ import annotations

import ast
import warnings

import pytest

from discover_orch.model.errors import Problem
from discover_orch.source.parse import (
    PARSE_ERRORS,
    build_problem,
    ignore_warnings,
    parse,
    parse_strictly,
)


def refused(data: bytes) -> Problem:
    """The problem of a file that does not compile."""
    with ignore_warnings(), pytest.raises(PARSE_ERRORS) as caught:
        parse_strictly(data)
    return build_problem(caught.value, data, "src/a.py")


def told(data: bytes) -> str:
    problem = refused(data)
    return f"{problem.location} {problem.code}: {problem.message}"


SOUND = [
    b"",
    b"x = 1",
    b"x = 1\r\ny = 2\r",
    b"\xef\xbb\xbfx = 1",
    b"# coding: latin-1\nx = '\xe9'",
    b"\n# vim: set fileencoding=cp1252 :\nx = '\x80'",
    "été = 'ü'".encode(),
    b"def f():\n    return 1",
    b"async def f():\n    await g()",
    b"class C:\n    x: int = 1",
    b"type X = int" if hasattr(ast, "TypeAlias") else b"type = int",
]


@pytest.mark.parametrize("data", SOUND)
def test_what_python_compiles_gives_the_tree_that_it_gives(data: bytes) -> None:
    assert ast.dump(parse_strictly(data)) == ast.dump(parse(data)) == ast.dump(ast.parse(data))


@pytest.mark.parametrize("text", ["return 1", "def f(a, a): 0", "x = *a", "f(a=1, a=2)", "break"])
def test_what_only_the_compiler_refuses_is_refused_too(text: str) -> None:
    ast.parse(text)
    problem = refused(f"x = 1\n{text}\n".encode())
    assert (problem.code, str(problem.location)) == ("syntax", "src/a.py:2")


def test_no_warning_leaves_and_none_is_made_an_error() -> None:
    data = b"x = '\\d'\nassert (x, 'always true')\ny = 1 is 1\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ignore_warnings():
            parse_strictly(data)
        with pytest.raises(SyntaxError):
            parse_strictly(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"x = 1\ny = (\n", "src/a.py:2 syntax: not valid Python: '(' was never closed"),
        (b"x = 1\n  y = 2\n", "src/a.py:2 syntax: not valid Python: unexpected indent"),
        (b"if x:\n\ty = 1\n        z = 2\n", "src/a.py:3 syntax: not valid Python: inconsistent"),
        (b"x = 1\rprint 1\r", "src/a.py:2 syntax: not valid Python: Missing parentheses"),
        (b"\n\nx = 'a\0b'", "src/a.py:3 syntax: not a text file: it contains a null byte"),
        (
            b"x = 1\n<<<<<<< HEAD\ny\n",
            "src/a.py:2 conflict: not valid Python: unresolved merge conflict",
        ),
        (
            b"x = 1\r\n>>>>>>> topic\r\n",
            "src/a.py:2 conflict: not valid Python: unresolved merge conflict",
        ),
        (
            b"x = 1\ny = '\xff'",
            "src/a.py:2 encoding: cannot be decoded: 'utf-8' codec can't decode byte 0xff",
        ),
        (
            b"# coding: ascii\n\ny = '\xc3\xa9'",
            "src/a.py:1 encoding: cannot be decoded: 'ascii' codec can't decode",
        ),
        (
            b"#!x\n# coding: latn-1\n",
            "src/a.py:1 encoding: cannot be decoded: unknown encoding: latn-1",
        ),
        (b"# coding: hex\n", "src/a.py:1 encoding: "),
        (
            b"\xef\xbb\xbf# coding: latin-1\nx = 1",
            "src/a.py:1 encoding: cannot be decoded: encoding problem: ",
        ),
        (
            b"x = 1\ny = " + b"-" * 99_999 + b"1",
            "src/a.py:1 too-deep: expressions or blocks are nested",
        ),
    ],
)
def test_a_problem_says_what_is_wrong_at_its_line(data: bytes, said: str) -> None:
    assert told(data).startswith(said)


def test_a_line_that_the_file_does_not_have_is_never_told() -> None:
    error = SyntaxError("odd", ("", 99, 1, "", None, None))
    assert str(build_problem(error, b"x = 1\ny = 2\n", "a.py").location) == "a.py:3"
    assert str(build_problem(SyntaxError("odd"), b"", "a.py").location) == "a.py:1"


def test_text_of_the_error_becomes_one_line_that_can_be_written() -> None:
    found = build_problem(SyntaxError("odd\n  thing\udcff\u202e"), b"x", "a.py")
    assert found.message == "not valid Python: odd thing\\udcff\\u202e"
