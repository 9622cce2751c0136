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


def find_end(text: str) -> str:
    """The first statement that ends the transaction; "" where none does."""
    return _find_cached(text) if len(text) <= LONGEST_CACHED else _find(text)


def _find(text: str) -> str:
    if not _FIRST_LOOK.search(text) or _SQL_BODY.search(text):
        return ""
    bare = (re.sub(_COMMENT, " ", one, flags=re.S).strip() for one in _split(text))
    return next((one for one in bare if _ENDS.fullmatch(one)), "")


_find_cached = functools.lru_cache(maxsize=512)(_find)


def _split(text: str) -> list[str]:
    ends = [found.start() for found in _PART.finditer(text) if found["end"]]
    starts = [0, *(end + 1 for end in ends)]
    return [text[start:end] for start, end in zip(starts, [*ends, len(text)], strict=True)]
