"""Bytes to a tree exactly where Python compiles them, else the one problem with its line."""

from __future__ import annotations

import ast
import warnings

import pytest

from discover_orch.source.parse import (
    build_problem,
    ignore_warnings,
    parse,
    parse_strictly,
)

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


def test_no_warning_leaves_and_none_is_made_an_error() -> None:
    data = b"x = '\\d'\nassert (x, 'always true')\ny = 1 is 1\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ignore_warnings():
            parse_strictly(data)
        with pytest.raises(SyntaxError):
            parse_strictly(data)


def test_a_line_that_the_file_does_not_have_is_never_told() -> None:
    error = SyntaxError("odd", ("", 99, 1, "", None, None))
    assert str(build_problem(error, b"x = 1\ny = 2\n", "a.py").location) == "a.py:3"
    assert str(build_problem(SyntaxError("odd"), b"", "a.py").location) == "a.py:1"


def test_text_of_the_error_becomes_one_line_that_can_be_written() -> None:
    found = build_problem(SyntaxError("odd\n  thing\udcff\u202e"), b"x", "a.py")
    assert found.message == "not valid Python: odd thing\\udcff\\u202e"
