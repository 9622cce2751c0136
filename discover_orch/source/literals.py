"""The values of literal expressions, as JSON can hold them, and what docstrings say of parameters. Nothing is
evaluated.

Text with lone surrogates, which no file or terminal can hold, is not a literal here, and neither are numbers that
JSON cannot hold.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Collection

MAX_INT_BITS = 8192  # well below the 4,300 digits that Python converts to text and back


class NotLiteral(ValueError):
    """The expression is not a literal, or JSON cannot hold its value."""


def literal(node: ast.expr) -> object:
    """The value of the expression, with tuples as lists. Raises NotLiteral."""
    try:
        return _value(node)
    except RecursionError:
        raise NotLiteral("nested too deeply") from None


def text_of(node: ast.expr) -> str | None:
    """The string of a literal, or of literals joined by `+`; None for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        right = _plain_text(node.right)
        if right is None:
            return None
        parts.append(right)
        node = node.left
    left = _plain_text(node)
    if left is None:
        return None
    return left + "".join(reversed(parts)) if parts else left


def docstring_of(body: list[ast.stmt]) -> str | None:
    """The docstring as written: `ast.get_docstring` would strip every line of it."""
    match body:
        case [ast.Expr(value=ast.Constant(value=str(text))), *_]:
            return text
    return None


def is_showable(text: str) -> bool:
    """Whether the text can be written to a file or a terminal."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain_text(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):  # an f-string without placeholders
        parts = [part.value for part in node.values if isinstance(part, ast.Constant)]
        return "".join(map(str, parts)) if len(parts) == len(node.values) else None
    if isinstance(node, ast.BinOp):
        try:
            return text_of(node)  # a sum in parentheses, on the right of another
        except RecursionError:
            return None
    return None


def _value(node: ast.expr) -> object:
    if isinstance(node, ast.Constant):
        return _constant(node.value)
    if isinstance(node, (ast.Tuple, ast.List)):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return dict(_item(key, value) for key, value in zip(node.keys, node.values, strict=True))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        number = _value(node.operand)
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            return -number if isinstance(node.op, ast.USub) else number
    elif isinstance(node, (ast.BinOp, ast.JoinedStr)):
        text = text_of(node)
        if text is not None:
            return _constant(text)
    raise NotLiteral(type(node).__name__)


def _item(key: ast.expr | None, value: ast.expr) -> tuple[str, object]:
    name = None if key is None else text_of(key)
    if name is None or not is_showable(name):
        raise NotLiteral("a key that is not a string")
    return name, _value(value)


def _constant(value: object) -> object:
    match value:
        case None | bool():
            return value
        case str() if is_showable(value):
            return value
        case int() if value.bit_length() <= MAX_INT_BITS:
            return value
        case float() if math.isfinite(value):
            return value
    raise NotLiteral(type(value).__name__)


# Docstrings: the styles of Google, NumPy and Sphinx, also mixed. Any text is accepted, and nothing raises.

_SPHINX_ENTRY = re.compile(
    r"\s*:(?:param|parameter|arg|argument|key|keyword|kwarg)\b[^:]*?(\w+)\s*:(.*)"
)
_NAMES = r"\s*(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)"
_GOOGLE_ENTRY = re.compile(_NAMES + r"(?:\s*\(.*?\)|\s*\[.*?\])?:(?:\s+(.*)|$)")
_NUMPY_ENTRY = re.compile(_NAMES + r"(?:\s+:.*)?()$")


def first_line(docstring: str | None) -> str:
    """The first line that is not blank, its spaces collapsed; "" where there is none."""
    if not docstring:
        return ""
    for line in docstring.split("\n"):
        words = line.split()
        if words:
            return _showable(" ".join(words))
    return ""


def param_help(docstring: str | None, names: Collection[str]) -> dict[str, str]:
    """The first paragraph about each of these parameters that the docstring describes, on one line."""
    found: dict[str, str] = {}
    lines = (docstring or "").expandtabs().splitlines()
    for number, line in enumerate(lines, start=1):
        styles = (_SPHINX_ENTRY, _GOOGLE_ENTRY, _NUMPY_ENTRY)
        match = next(filter(None, (style.match(line) for style in styles)), None)
        described = [one.strip().lstrip("*") for one in match[1].split(",")] if match else []
        if match is None or not all(name in names for name in described):
            continue
        depth = _indent(line)  # what stands deeper belongs to it
        size = next((n for n, one in enumerate(lines[number:]) if _indent(one) <= depth), None)
        more = lines[number:][:size]
        text = " ".join(" ".join([match[2] or "", *more]).split())
        for name in described if text else ():
            found.setdefault(name, _showable(text))
    return found


def _indent(line: str) -> int:
    """-1 for a blank line."""
    return len(line) - len(line.lstrip()) if line.strip() else -1


def _showable(text: str) -> str:
    """Replaces lone surrogates, which escapes in the source can make and no terminal accepts."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
