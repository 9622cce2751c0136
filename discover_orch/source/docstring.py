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
        elif stripped.lower() in _NUMPY_TITLES and _is_underlined(lines, number, least=3):
            number = _read_section(lines, number, found, is_numpy=True)
        elif stripped.endswith(":") and stripped[:-1].lower() in _GOOGLE_TITLES:
            number = _read_section(lines, number, found, is_numpy=False)
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


def _is_underlined(lines: list[str], number: int, *, least: int = 1) -> bool:
    rule = lines[number + 1].strip() if number + 1 < len(lines) else ""
    return len(rule) >= least and set(rule) == {"-"}


def _read_section(
    lines: list[str], start: int, found: dict[str, list[str]], *, is_numpy: bool
) -> int:
    """The entries below a title, the text of each deeper. NumPy's `limit : int` stand at the indent of the title, and
    the next title ends the section; Google's `limit (int): text` stand deeper, and a line that does not ends it."""
    entry = _NUMPY_ENTRY if is_numpy else _GOOGLE_ENTRY
    title = _indent(lines[start])
    depth = title if is_numpy else None
    parts: list[str] = []
    for number in range(start + 1 + is_numpy, len(lines)):
        line, indent = lines[number], _indent(lines[number])
        if not line.strip():
            parts = parts and []  # only the first paragraph
            continue
        if indent < title or (indent == title and not is_numpy):
            return number
        depth = indent if depth is None else depth
        match = entry.match(line.strip()) if indent <= depth else None
        if match is not None and not (is_numpy and _is_underlined(lines, number)):
            parts = [] if is_numpy else [match[2] or ""]
            for name in _names(match[1]):
                found.setdefault(name, parts)
        elif indent > depth:
            parts.append(line)
        elif is_numpy:
            return number
        else:
            parts = []
    return len(lines)


def _names(text: str) -> list[str]:
    return [name.strip().lstrip("*") for name in text.split(",")]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _showable(text: str) -> str:
    """Replaces lone surrogates, which escapes in the source can make and no terminal accepts."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
