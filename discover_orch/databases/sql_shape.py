"""The shape of a statement of SQL: its text without the values in it.

In and out: texts. Statements of one shape do the same to tables, so that of many thousands few have to be parsed.
Where a text cannot be taken apart by patterns safely, it is its own shape. Called while the tool waits: it is quick.
"""

from __future__ import annotations

import re

#: In the place of a text in a shape; nobody calls a table so.
BLANK = "?"

# What makes it unsafe to take texts and numbers out without a parser: escapes, comments, and dollar quotes.
_TRICKY = ("\\", "--", "/*")
_DOLLARS = re.compile(r"\$\w*\$")
# It begins with what it looks for, so that all else is passed over at once.
_DIGITS = r'\d(?<![\w.$:"%]\d)\d*(?:\.\d*)?(?:[eE][+-]?\d+)?\b'
_NUMBER = re.compile(_DIGITS)
_VALUE = re.compile(r'"(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'|' + _DIGITS)
_ROWS = re.compile(r"(\bvalues\s*)(?:\([^()]*\)\s*,\s*)+(?=\([^()]*\))", re.I)
_LIST = re.compile(r"(?:(?:'\?'|\b0)\s*,\s*){10,}")
_DATA = re.compile(r"\s*(select|insert|update|delete|with|merge|replace|values|from)\b", re.I)


def shape_of(text: str) -> str:
    """The text with blanks for its texts and numbers, and few of them for many; as it is, where that is not safe."""
    # Called while the tool waits: what is quickly told goes before the patterns.
    for mark in _TRICKY:
        if mark in text:
            return text
    if ("$" in text and _DOLLARS.search(text)) or not _DATA.match(text):
        return text
    has_texts = "'" in text or '"' in text
    blank = _VALUE.sub(_blank, text) if has_texts else _NUMBER.sub("0", text)
    if ")," in blank or ") " in blank:
        blank = _ROWS.sub(r"\1", blank)
    return _LIST.sub("", blank) if blank.count(",") >= 10 else blank


def _blank(found: re.Match[str]) -> str:
    first = found[0][0]
    if first == '"':
        return found[0]
    return f"'{BLANK}'" if first == "'" else "0"
