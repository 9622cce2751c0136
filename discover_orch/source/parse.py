"""The bytes of a module → its syntax tree, or one `Problem` that says why it has none, with the line.

The bytes are decoded as Python does, by the encoding named in the first lines. Nothing is executed.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from discover_orch.model.errors import Location, Problem

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
TOP_LINE = re.compile(rb"^(?![ \t\f\r\n#)\]}]|$)", re.MULTILINE)  # where a statement may begin
MAX_TRIES = 24
LONGEST_SOURCE = 500  # characters of a line in a problem

_CONFLICT = re.compile(rb"^(?:<{7}|>{7}|\|{7})(?: .*)?\r?$", re.MULTILINE)
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BLANK = re.compile(rb"^[ \t\f]*(?:#.*)?$")


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


def can_read(data: bytes, read: Callable[[bytes], object] = parse) -> bool:
    """Whether the bytes parse, or with `parse_strictly` can be imported."""
    try:
        read(data)
    except PARSE_ERRORS:
        return False
    return True


def build_problem(error: BaseException, data: bytes, path: str) -> Problem:
    """The problem of a file for which `parse` or `parse_strictly` raised `error`."""
    if b"\0" in data:
        message, hint = "not a text file: it contains a null byte", "save it as UTF-8 text"
        return _problem("syntax", message, hint, path, _line_at(data, data.index(b"\0")))
    encoding = _encoding_problem(data, path, str(error))
    if encoding is not None:
        return encoding
    if conflict := _CONFLICT.search(data):
        message = "not valid Python: unresolved merge conflict"
        hint = "keep one side and delete the lines <<<<<<<, ======= and >>>>>>>"
        return _problem("conflict", message, hint, path, _line_at(data, conflict.start()), data)
    if isinstance(error, SyntaxError):
        line = min(error.lineno or first_bad_line(data), _line_at(data, len(data)))
        message = f"not valid Python: {_one_line(error.msg or 'invalid syntax')}"
        hint = "fix the syntax error, or remove STAGE if this is not a tool"
        return _problem("syntax", message, hint, path, line, data)
    # Python 3.13 and later encode docstrings when they compile them.
    if isinstance(error, UnicodeError):
        message = "not valid Python: a docstring contains half of a surrogate pair"
        hint = r"remove the escape, such as \ud800, from the docstring"
        return _problem("syntax", message, hint, path, first_bad_line(data, parse_strictly))
    message = "expressions or blocks are nested too deeply for Python"
    hint = "split the expression, or move the data into a data file"
    return _problem("too-deep", message, hint, path, first_bad_line(data))


def first_bad_line(data: bytes, read: Callable[[bytes], object] = parse) -> int:
    """The line of the first top-level statement with which `read` fails: all before it can be read."""
    starts = [match.start() for match in TOP_LINE.finditer(data)] or [0]
    low, high = 0, len(starts)  # the data before starts[low] parses, the whole does not
    while high - low > 1:
        middle = (low + high) // 2
        if can_read(data[: starts[middle]], read):
            low = middle
        else:
            high = middle
    return _line_at(data, starts[low])


def _encoding_problem(data: bytes, path: str, reason: str) -> Problem | None:
    """The problem of an unknown encoding, or of bytes that are not in the encoding (PEP 263)."""
    has_mark = data.startswith(b"\xef\xbb\xbf")
    cookie, line = _read_cookie(data[3:] if has_mark else data)
    hint = "save it as UTF-8, or name its encoding in the first line: # -*- coding: latin-1 -*-"
    name = cookie or "utf-8"
    try:
        data.decode("utf-8-sig" if has_mark and cookie is None else name)
    except LookupError:
        message = f'unknown encoding "{_one_line(name)}"'
        return _problem("encoding", message, hint, path, line)
    except UnicodeDecodeError as error:
        message = f"not valid {_one_line(name)}: {_one_line(error.reason)}"
        return _problem("encoding", message, hint, path, _line_at(data, error.start))
    except (UnicodeError, ValueError, TypeError, AssertionError):
        return _problem("encoding", f"not valid {_one_line(name)}", hint, path, line)
    if has_mark and cookie is not None and "BOM" in reason:
        message = f"begins with a UTF-8 byte order mark, but names the encoding {_one_line(name)}"
        return _problem("encoding", message, "remove the line with the encoding", path, line)
    return None


def _read_cookie(data: bytes) -> tuple[str | None, int]:
    for number, text in enumerate(data.split(b"\n", 2)[:2], start=1):
        match = _COOKIE.match(text)
        if match is not None:
            return match[1].decode("ascii", "replace"), number
        if not _BLANK.match(text.rstrip(b"\r")):
            break
    return None, 1


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
        location=Location(path=path, line=line),
        source=texts[0].decode("utf-8", "replace").strip()[:LONGEST_SOURCE] if texts else "",
    )


def _line_at(data: bytes, position: int) -> int:
    """Python ends a line at LF, CRLF and a lone CR."""
    before = data[:position]
    return before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1


def _one_line(text: str) -> str:
    words = " ".join(text.split())
    return words.encode("ascii", "backslashreplace").decode() if not words.isprintable() else words
