"""The bytes of a module → its syntax tree, or one `Problem` that says why it has none, with the line.

The bytes are decoded as Python does, by the encoding named in the first lines. Nothing is executed.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from discover_orch.model.errors import Problem

# What `compile` raises for some file or other; found by fuzzing.
PARSE_ERRORS = (
    SyntaxError,
    ValueError,
    LookupError,
    RecursionError,
    MemoryError,
    OverflowError,
    SystemError,
    TypeError,
    AttributeError,
)
LONGEST_SOURCE = 500  # characters of a line in a problem

_CONFLICT = re.compile(rb"^(?:<{7}|>{7}|\|{7})(?: .*)?\r?$", re.MULTILINE)
#: What Python says of bytes that are not in the encoding of the file, or of an encoding that it cannot use (PEP 263).
_ENCODING = re.compile(
    r"'(?!unicodeescape)[\w-]+' codec can't|unknown encoding|encoding problem|.* text encoding"
)


@contextmanager
def ignore_warnings() -> Iterator[None]:
    """No SyntaxWarning is shown, for an invalid escape for example, and none becomes an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parse(data: bytes) -> ast.Module:
    """The syntax tree of a module; call it within `ignore_warnings`. Raises one of PARSE_ERRORS."""
    tree = compile(data, "<module>", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def parse_strictly(data: bytes, tree: ast.Module | None = None) -> ast.Module:
    """The same, only where Python can import the module; `tree` where it was parsed already.

    Compiling finds what parsing does not, such as `return` outside a function or an argument given twice.
    """
    tree = parse(data) if tree is None else tree
    compile(tree, "<module>", "exec", dont_inherit=True)  # a tenth faster than from the bytes
    return tree


def build_problem(error: BaseException, data: bytes, path: str) -> Problem:
    """The problem of a file for which `parse` or `parse_strictly` raised `error`; line 1 where Python tells none."""
    if b"\0" in data:
        message, hint = "not a text file: it contains a null byte", "save it as UTF-8 text"
        return _problem("syntax", message, hint, path, _line_at(data, data.index(b"\0")))
    if not isinstance(error, SyntaxError):
        if isinstance(error, UnicodeError):  # Python 3.13 and later encode docstrings
            hint = r"remove the escape, such as \ud800"
            return _problem("syntax", f"not valid Python: {error}", hint, path, 1)
        message = "expressions or blocks are nested too deeply for Python"
        hint = "split the expression, or move the data into a data file"
        return _problem("too-deep", message, hint, path, 1)
    line = error.lineno or 1
    reason = _one_line(error.msg or "invalid syntax").removeprefix("(unicode error) ")
    if _ENCODING.match(reason):
        hint = "save it as UTF-8, or name its encoding in the first line: # -*- coding: latin-1 -*-"
        return _problem("encoding", f"cannot be decoded: {reason}", hint, path, line)
    if conflict := _CONFLICT.search(data):
        message = "not valid Python: unresolved merge conflict"
        hint = "keep one side and delete the lines <<<<<<<, ======= and >>>>>>>"
        return _problem("conflict", message, hint, path, _line_at(data, conflict.start()), data)
    hint = "fix the syntax error, or remove STAGE if this is not a tool"
    line = min(line, _line_at(data, len(data)))
    return _problem("syntax", f"not valid Python: {reason}", hint, path, line, data)


def _problem(
    code: str, message: str, hint: str, path: str, line: int, data: bytes = b""
) -> Problem:
    """`data` is given where the text of the line helps."""
    line = max(1, line)
    texts = data.splitlines()[line - 1 : line]  # at LF, CRLF and a lone CR, as Python does
    return Problem(
        code=code,
        message=message,
        hint=hint,
        path=path,
        line=line,
        source=texts[0].decode("utf-8", "replace").strip()[:LONGEST_SOURCE] if texts else "",
    )


def _line_at(data: bytes, position: int) -> int:
    """Python ends a line at LF, CRLF and a lone CR."""
    before = data[:position]
    return before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1


def _one_line(text: str) -> str:
    words = " ".join(text.split())
    return words.encode("ascii", "backslashreplace").decode() if not words.isprintable() else words
