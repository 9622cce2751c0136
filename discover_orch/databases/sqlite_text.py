"""What the text of a SQLite statement means for transactions, and where the statements of a script end.

Pure: text in, values out. This module knows no connection.
"""

from __future__ import annotations

import functools
import re
import sqlite3
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FLAGS = re.DOTALL | re.IGNORECASE
# All but the first pattern are compiled when they are first used: a run without statements does not wait for that.
_BLANK = r"\s|\ufeff|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$)"
GAP = rf"(?:{_BLANK})*+"
_FIRST_WORD = re.compile(rf"(?:;|{_BLANK})*+([a-zA-Z]*)", re.DOTALL)
#: Before these, and before these alone, Python begins a transaction. A `;` before the word hides it from Python.
_BEGINS = r"(?:[ \t\f\n\r]|--[^\n]*\n|/\*.*?\*/)*+(?:INSERT|UPDATE|DELETE|REPLACE)(?![a-zA-Z])"
# Numbers in the database file; setting one is a change like any other.
_STORED_PRAGMA = r"\bPRAGMA\s+(?:\w+\.)?(?:user_version|application_id|schema_version)\s*[=(]"
#: SQLite ignores these inside a transaction, or refuses them.
_SETTING = r"\bPRAGMA\s+(?:\w+\.)?(foreign_keys|journal_mode)\s*[=(]\s*[\"']?(\w+)"
_CHANGING_WORD = r"\b(?:insert|update|delete|replace)\b"
_NAME = r"""(?:"(?:[^"]|"")+"|'(?:[^']|'')+'|`(?:[^`]|``)+`|\[[^\]]+\]|[^\s;"'`\[(),]+)"""
_SAVEPOINT = (
    rf"(?:(SAVEPOINT)\b|(RELEASE)\b{GAP}(?:SAVEPOINT\b)?"
    rf"|(ROLLBACK)\b{GAP}(?:TRANSACTION\b{GAP})?TO\b{GAP}(?:SAVEPOINT\b)?){GAP}({_NAME})"
)
_PART = r"""'[^']*(?:'|$)|"[^"]*(?:"|$)|`[^`]*(?:`|$)|\[[^\]]*(?:\]|$)|--[^\n]*|/\*.*?(?:\*/|$)|;"""

_LITERAL = r"""('(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\])|(?:--[^\n]*|/\*.*?\*/|\s)+"""

READS = "reads"  # nothing that a rollback could undo
CHANGES = "changes"
SETS = "sets"  # something that cannot be set inside a transaction
BEGIN, COMMIT, ROLLBACK = "BEGIN", "COMMIT", "ROLLBACK"
SAVEPOINT, RELEASE, ROLLBACK_TO = "SAVEPOINT", "RELEASE", "ROLLBACK TO"
CONTROLS = frozenset({BEGIN, COMMIT, ROLLBACK, SAVEPOINT, RELEASE, ROLLBACK_TO})
_READING = frozenset({"", "SELECT", "VALUES", "EXPLAIN", "PRAGMA", "ATTACH", "DETACH", "VACUUM"})


class Statement(NamedTuple):
    """`word` is the first keyword. `begins`: Python begins a transaction before it. `name` is that of a savepoint, or
    of the setting that would get `value`."""

    word: str
    kind: str
    begins: bool = False
    name: str = ""
    value: str = ""


#: By the first seven characters, of the statements that a tool may execute by the thousand.
_FREQUENT = {
    start: Statement(word, READS if word == "SELECT" else CHANGES, begins=word != "SELECT")
    for word in ("SELECT", "INSERT", "UPDATE", "DELETE")
    for start in (f"{word} ", f"{word.lower()} ")
}


def read_statement(sql: str) -> Statement:
    """What the text of one statement means; anything that is no text reads."""
    if not isinstance(sql, str):
        return Statement("", READS)
    return _FREQUENT.get(sql[:7]) or _read_statement(sql)


@functools.lru_cache(maxsize=512)
def _read_statement(sql: str) -> Statement:
    found = _FIRST_WORD.match(sql)
    word = found[1].upper() if found else ""
    if word in _READING:
        return _read_pragma(sql) if word == "PRAGMA" else Statement(word, READS)
    if word == "WITH" and not re.search(_CHANGING_WORD, sql, _FLAGS):
        return Statement(word, READS)
    if word in ("BEGIN", "COMMIT", "END"):
        return Statement(word, COMMIT if word == "END" else word)
    if word in ("SAVEPOINT", "RELEASE", "ROLLBACK"):
        named = re.match(_SAVEPOINT, sql[found.start(1) if found else 0 :], _FLAGS)
        if named is None:
            return Statement(word, word)
        kind = ROLLBACK_TO if named[3] else word
        return Statement(word, kind, name=read_name(named[4]))
    return Statement(word, CHANGES, begins=re.match(_BEGINS, sql, _FLAGS) is not None)


def split_script(script: str) -> Iterator[str]:
    """The statements of a script, each with its semicolon; what follows the last one too."""
    start = 0
    for part in re.finditer(_PART, script, _FLAGS):
        if part[0] == ";" and sqlite3.complete_statement(script[start : part.end()]):
            yield script[start : part.end()]
            start = part.end()
    if script[start:].strip():
        yield script[start:]


def fold_definition(sql: str) -> str:
    """The text of a definition without comments, layout and capitals, which mean nothing outside of quotes."""
    parts: list[str] = []
    end = 0
    for part in re.finditer(_LITERAL, sql, _FLAGS):
        parts += sql[end : part.start()].lower(), part[1] or " "
        end = part.end()
    return "".join((*parts, sql[end:].lower()))


def _read_pragma(sql: str) -> Statement:
    """A stored pragma has the word "STORE"."""
    if re.search(_STORED_PRAGMA, sql, _FLAGS):
        return Statement("STORE", CHANGES)
    found = re.search(_SETTING, sql, _FLAGS)
    if found is None:
        return Statement("PRAGMA", READS)
    return Statement("PRAGMA", SETS, name=found[1].lower(), value=found[2].lower())


def read_name(text: str) -> str:
    """A name without its quotes, in small letters."""
    if text[0] in "\"'`":
        text = text[1:-1].replace(text[0] * 2, text[0])
    elif text[0] == "[":
        text = text[1:-1]
    return text.lower()
