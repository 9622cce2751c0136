"""Finds the statement of an SQL text that ends a transaction.

A text is split at semicolons outside of quotes and comments. Called for every statement of a tool: most texts
are seen to have no such statement at the first look.
"""

from __future__ import annotations

import functools
import re

_COMMENT = r"--[^\n]*|/\*.*?\*/"
_WORDS = "commit|end|rollback|abort|prepare"
_FIRST_LOOK = re.compile(rf"(?:\A|;)(?:\s+|{_COMMENT}|;)*+(?:{_WORDS})\b", re.I | re.S)
_PART = re.compile(
    rf"""(?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
    | (?<![\w$])(\$(?:[^\W\d]\w*)?\$).*?\1 | {_COMMENT} | (?P<end>;)""",
    re.S | re.X,
)
# A function with such a body has semicolons and an END that belong to it.
_SQL_BODY = re.compile(r"\bbegin\s+atomic\b", re.I)
_ENDS = re.compile(
    r"(?:commit|end|rollback|abort)(?:\s+(?:work|transaction))?(?:\s+and\s+(?:no\s+)?chain)?|prepare\s+transaction\b.*",
    re.I | re.S,
)
LONGEST_CACHED = 5_000  # characters
_NESTED = re.compile(r"/\*(?:(?!\*/).)*/\*", re.S)
_QUOTED = (
    r"(?<!\w)[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"
    r'"(?:[^"]|"")*"|(?<![\w$])(\$(?:[^\W\d]\w*)?\$).*?\1|--[^\n]*'
)
_QUOTED_OR_COMMENT = re.compile(rf"{_QUOTED}|(?P<comment>/\*)", re.S)
_MARK = re.compile(r"/\*|\*/")


def find_end(text: str) -> str:
    """The first statement that ends the transaction; "" where none does."""
    return _find_cached(text) if len(text) <= LONGEST_CACHED else _find(text)


def _find(text: str) -> str:
    if _NESTED.search(text):
        text = _without_comments(text)
    if not _FIRST_LOOK.search(text) or _SQL_BODY.search(text):
        return ""
    bare = (re.sub(_COMMENT, " ", one, flags=re.S).strip() for one in _split(text))
    return next((one for one in bare if _ENDS.fullmatch(one)), "")


def _without_comments(text: str) -> str:
    """Comments nest in PostgreSQL and DuckDB, and no pattern can follow that."""
    kept, start = [], 0
    while found := _QUOTED_OR_COMMENT.search(text, start):
        if not found["comment"]:
            kept.append(text[start : found.end()])
            start = found.end()
            continue
        kept.append(text[start : found.start()])
        depth, start = 1, found.end()
        while depth and (mark := _MARK.search(text, start)):
            depth += 1 if mark[0] == "/*" else -1
            start = mark.end()
        if depth:  # it has no end, so the server refuses the text
            return ""
        kept.append(" ")
    return "".join((*kept, text[start:]))


_find_cached = functools.lru_cache(maxsize=512)(_find)


def _split(text: str) -> list[str]:
    ends = [found.start() for found in _PART.finditer(text) if found["end"]]
    starts = [0, *(end + 1 for end in ends)]
    return [text[start:end] for start, end in zip(starts, [*ends, len(text)], strict=True)]
