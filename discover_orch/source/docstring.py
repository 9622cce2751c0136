"""Reads the descriptions of parameters from a docstring: one paragraph for each.

Understands the styles of Google, NumPy and Sphinx, also mixed. Any text is accepted, and nothing raises.
"""

from __future__ import annotations

import re

_SPHINX_FIELD = re.compile(r":(\w+)\b([^:]*):(.*)")
_SPHINX_PARAM = frozenset({"param", "parameter", "arg", "argument", "key", "keyword", "kwarg"})
_TITLES = frozenset(
    {
        *("args", "arguments", "parameters", "params", "other parameters"),
        *("keyword args", "keyword arguments"),
    }
)
_NAMES = r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*"
_GOOGLE_ENTRY = re.compile(_NAMES + r"(?:\(.*?\)|\[.*?\])?\s*:(?:\s+(.*)|$)")
_NUMPY_ENTRY = re.compile(_NAMES + r"(?::.*)?()$")


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
    parts: list[str] = []  # of the entry that is read
    entry: re.Pattern[str] | None = None  # how one begins in this section
    title, depth = 0, -1  # the indents of the section and of its entries
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        text, indent, rule = line.strip(), _indent(line), following.strip()
        is_underlined = len(rule) >= 3 and set(rule) == {"-"}
        field = _SPHINX_FIELD.match(text)
        begins = entry is not None and (indent <= depth or depth < 0)
        if not text:
            parts = parts and []  # only the first paragraph
        elif field is not None:
            entry, parts, depth = None, [field[3]], indent
            words = field[2].split()
            if field[1] in _SPHINX_PARAM and words:
                found.setdefault(words[-1].lstrip("*\\"), parts)
        elif text.lower().removesuffix(":") in _TITLES and (text[-1] == ":" or is_underlined):
            # NumPy's entries stand at the indent of the title, Google's stand deeper.
            entry = _NUMPY_ENTRY if is_underlined else _GOOGLE_ENTRY
            title, depth, parts = indent, indent if is_underlined else -1, []
        elif is_underlined or indent < title or (indent == title and entry is _GOOGLE_ENTRY):
            entry, parts = None, []  # after the section
        elif entry is not None and begins:
            depth, parts = indent, []
            if match := entry.match(text):
                parts += [match[2] or ""] if match[2] else []
                for name in match[1].split(","):
                    found.setdefault(name.strip().lstrip("*"), parts)
        else:
            parts.append(text)
    texts = {name: " ".join(" ".join(words).split()) for name, words in found.items()}
    return {name: _showable(text) for name, text in texts.items() if text}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _showable(text: str) -> str:
    """Replaces lone surrogates, which escapes in the source can make and no terminal accepts."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
