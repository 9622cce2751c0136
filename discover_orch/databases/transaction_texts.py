"""Finds the statements of an SQL text that begin, end or mark a transaction.

A text is split at semicolons outside of quotes and comments. Called for every statement of a tool: most texts
are seen to have no such statement at the first look.
"""

from __future__ import annotations

import functools
import re

from msgspec import Struct

_COMMENT = r"--[^\n]*|/\*.*?\*/"
_WORDS = "begin|start|commit|end|rollback|abort|savepoint|release|prepare"
_WORK = r"(?:\s+(?:work|transaction))?"
_CHAIN = r"(?:\s+and\s+(?:no\s+)?chain)?"

_FIRST_LOOK = re.compile(rf"(?:\A|;)(?:\s+|{_COMMENT}|;)*+(?:{_WORDS})\b", re.I | re.S)
_STARTS = re.compile(rf"(?:\s+|{_COMMENT})*+(?:{_WORDS})\b", re.I | re.S)
_PART = re.compile(
    rf"""(?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
    | (?<![\w$])(\$(?:[^\W\d]\w*)?\$).*?\1 | {_COMMENT} | (?P<end>;)""",
    re.S | re.X,
)
# A function with such a body has semicolons and an END that belong to it.
_SQL_BODY = re.compile(r"\bbegin\s+atomic\b", re.I)
_KINDS = tuple(
    (kind, re.compile(pattern, re.I | re.S))
    for kind, pattern in (
        ("begin", rf"(?:begin{_WORK}|start\s+transaction)((?:\s+(?:isolation|read|not|deferrable)\b.*)?)"),
        ("commit", rf"(?:commit|end){_WORK}({_CHAIN})"),
        ("rollback", rf"(?:rollback|abort){_WORK}({_CHAIN})"),
        ("savepoint", rf"(?:savepoint|release|rollback{_WORK}\s+to)(\s+\S.*)"),
        ("prepare", r"prepare\s+transaction\b(.*)"),
    )
)  # fmt: skip
LONGEST_CACHED = 5_000  # characters
_NESTED = re.compile(r"/\*(?:(?!\*/).)*/\*", re.S)
_QUOTED = (
    r"(?<!\w)[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"
    r'"(?:[^"]|"")*"|(?<![\w$])(\$(?:[^\W\d]\w*)?\$).*?\1|--[^\n]*'
)
_QUOTED_OR_COMMENT = re.compile(rf"{_QUOTED}|(?P<comment>/\*)", re.S)
_MARK = re.compile(r"/\*|\*/")


class Part(Struct, frozen=True):
    """One statement with its `kind`, or with the kind "" some that do nothing to the transaction.

    `rest` are the modes of a BEGIN, or AND CHAIN.
    """

    kind: str
    text: str
    rest: str = ""

    @property
    def is_chained(self) -> bool:
        return "chain" in self.rest.lower() and "no" not in self.rest.lower().split()


def find_transaction_parts(text: str) -> tuple[Part, ...]:
    """The parts of a text, in their order; none where no statement concerns the transaction."""
    return _find_cached(text) if len(text) <= LONGEST_CACHED else _find(text)


def _find(text: str) -> tuple[Part, ...]:
    if _NESTED.search(text):
        text = _without_comments(text)
    if not _FIRST_LOOK.search(text) or _SQL_BODY.search(text):
        return ()
    parts: list[Part] = []
    others: list[str] = []

    def keep_others() -> None:
        joined = ";".join(others)
        if joined.strip():
            parts.append(Part("", joined))
        others.clear()

    for statement in _split(text):
        part = _read(statement)
        if part is None:
            others.append(statement)
        else:
            keep_others()
            parts.append(part)
    keep_others()
    return tuple(parts) if any(part.kind for part in parts) else ()


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


def _read(statement: str) -> Part | None:
    if not _STARTS.match(statement):
        return None
    bare = re.sub(_COMMENT, " ", statement, flags=re.S).strip()
    for kind, pattern in _KINDS:
        if found := pattern.fullmatch(bare):
            return Part(kind, statement, found[1])
    return None
