"""Reads the descriptions of parameters from a docstring: one paragraph for each.

Understands the styles of Google, NumPy and Sphinx, also mixed. Any text is accepted, and nothing raises.
"""

from __future__ import annotations

import re

_SPHINX_FIELD = re.compile(r"\s*:(\w+)\b([^:]*):(.*)")
_SPHINX_PARAM = frozenset({"param", "parameter", "arg", "argument", "key", "keyword", "kwarg"})
_GOOGLE_TITLES = frozenset(
    {
        "args",
        "arguments",
        "parameters",
        "params",
        "keyword args",
        "keyword arguments",
        "other parameters",
    }
)
_GOOGLE_ENTRY = re.compile(
    r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?:\(.*?\)|\[.*?\])?\s*:(?:\s+(.*)|$)"
)
_NUMPY_TITLES = frozenset({"parameters", "other parameters", "keyword arguments"})
_NUMPY_ENTRY = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")


def first_line(docstring: str | None) -> str:
    """The first line that is not blank, its spaces collapsed; "" where there is none."""
    if not docstring:
        return ""
    for line in docstring.split("\n"):
        words = line.split()
        if words:
            return _showable(" ".join(words))
    return ""


def param_help(docstring: str | None) -> dict[str, str]:
    """The first paragraph about each parameter that the docstring describes, on one line."""
    if not docstring or ("\n" not in docstring and ":" not in docstring):
        return {}
    lines = docstring.expandtabs().splitlines()
    found: dict[str, list[str]] = {}
    number = 0
    while number < len(lines):
        stripped = lines[number].strip()
        if stripped.startswith(":"):
            number = _read_sphinx(lines, number, found)
        elif _is_numpy_title(lines, number):
            number = _read_numpy(lines, number, found)
        elif stripped.endswith(":") and stripped[:-1].lower() in _GOOGLE_TITLES:
            number = _read_google(lines, number, found)
        else:
            number += 1
    texts = {name: " ".join(" ".join(parts).split()) for name, parts in found.items()}
    return {name: _showable(text) for name, text in texts.items() if text}


def _read_sphinx(lines: list[str], number: int, found: dict[str, list[str]]) -> int:
    """One field, `:param int limit: text`, and the indented lines that continue it."""
    match = _SPHINX_FIELD.match(lines[number])
    indent = _indent(lines[number])
    number += 1
    if match is None:
        return number
    words = match[2].split()
    parts = [match[3]]
    while number < len(lines) and lines[number].strip() and _indent(lines[number]) > indent:
        parts.append(lines[number])
        number += 1
    if match[1] in _SPHINX_PARAM and words:
        found.setdefault(words[-1].lstrip("*\\"), parts)
    return number


def _is_numpy_title(lines: list[str], number: int) -> bool:
    if lines[number].strip().lower() not in _NUMPY_TITLES or number + 1 >= len(lines):
        return False
    rule = lines[number + 1].strip()
    return len(rule) >= 3 and set(rule) <= {"-"}


def _read_numpy(lines: list[str], number: int, found: dict[str, list[str]]) -> int:
    """A section: `limit : int` at its own indent, the text deeper, until the next title."""
    indent = _indent(lines[number])
    number += 2
    names: list[str] = []
    parts: list[str] = []
    while number < len(lines):
        line = lines[number]
        if line.strip() and _indent(line) <= indent:
            match = _NUMPY_ENTRY.match(line.strip())
            is_title = number + 1 < len(lines) and set(lines[number + 1].strip()) == {"-"}
            if match is None or is_title or _indent(line) < indent:
                break
            names = _names(match[1])
            parts = []
            for name in names:
                found.setdefault(name, parts)
        elif line.strip():
            parts.append(line)
        elif parts:
            parts = []  # only the first paragraph
        number += 1
    return number


def _read_google(lines: list[str], number: int, found: dict[str, list[str]]) -> int:
    """A section: entries `limit (int): text` at one deeper indent, their text deeper still."""
    indent = _indent(lines[number])
    number += 1
    entry_indent: int | None = None
    parts: list[str] = []
    while number < len(lines):
        line = lines[number]
        if not line.strip():
            if parts:
                parts = []
        elif _indent(line) <= indent:
            break
        else:
            if entry_indent is None:
                entry_indent = _indent(line)
            match = _GOOGLE_ENTRY.match(line.strip()) if _indent(line) <= entry_indent else None
            if match is not None:
                parts = [match[2] or ""]
                for name in _names(match[1]):
                    found.setdefault(name, parts)
            elif _indent(line) > entry_indent:
                parts.append(line)
            else:
                parts = []
        number += 1
    return number


def _names(text: str) -> list[str]:
    return [name.strip().lstrip("*") for name in text.split(",")]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _showable(text: str) -> str:
    """Replaces lone surrogates, which escapes in the source can make and no terminal accepts."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
