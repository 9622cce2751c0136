"""The values of literal expressions, as JSON can hold them, and what docstrings say of parameters. Nothing is
evaluated.

Text with lone surrogates, which no file or terminal can hold, is not a literal here, and neither are numbers that
JSON cannot hold.
"""

from __future__ import annotations

import ast
import math
import re

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
