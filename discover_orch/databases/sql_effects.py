"""What an SQL statement does to tables, as its text says.

An `Effect` holds names as they were written; `catalog` finds the tables. Statements are parsed with sqlglot, which is
imported only when there is one to parse, and `sql_tree` reads the tree. What is not understood is "unclear": the
tool may then depend on anything.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from msgspec.structs import replace

from discover_orch.databases.effect import (
    BLANK,
    LIST_READ,
    NOTHING,
    SEARCH_PATH_CHANGED,
    UNCLEAR,
    Effect,
)
from discover_orch.databases.sql_tree import PART, read_tree, unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


#: Longer statements are not parsed: sqlglot parses about 100 kB a second.
LONGEST = 50_000  # characters

_NO_EFFECT = frozenset(
    {"begin", "start", "savepoint", "release", "checkpoint", "lock", "force"}
    | {"show", "explain", "describe", "listen", "unlisten", "notify", "fetch", "close"}
    | {"deallocate", "analyze", "vacuum", "reindex", "grant", "revoke", "comment"}
    | {"load", "install"}
)
_COMMITS = frozenset(["commit", "end"])
_ROLLBACKS = frozenset(["rollback", "abort"])
_SETS = frozenset(["set", "reset", "pragma"])
_CHANGE_SEARCH_PATH = frozenset(["use", "discard", "attach", "detach"])
#: Settings that change where names are looked up.
_SEARCH_SETTINGS = re.compile(
    r"\b(search_path|schema|role|session\s+authorization)\b|^reset\s+all\b", re.I
)
#: A SET for one transaction only, one that reads tables, one that changes where files are found.
_UNCLEAR_SET = re.compile(
    r"set\s+local\s.*\b(search_path|schema|role)\b|set\s.*\(|.*\b(file_search_path|home_directory)\b",
    re.I | re.S,
)
_SET_CONFIG = re.compile(r"\bset_config\s*\((?:\s*'([^']*)'\s*,)?", re.I)
#: DuckDB's statements for the list of tables.
_SHOWS_TABLES = re.compile(r"(show|describe)(\s+(all\s+)?tables)?\s*$|pragma\s+show_tables", re.I)
_EXECUTES = re.compile(r"\s*explain\s*(\(|.*\banaly[sz]e\b)", re.I | re.S)
_REFRESH = re.compile(
    r'\s*refresh\s+materialized\s+view\s+(?:concurrently\s+)?((?:[\w$]+|"[^"]+")(?:\.(?:[\w$]+|"[^"]+"))*)',
    re.I,
)
_CALL = re.compile(r'((?<![\w$])[\w$]++|"(?:[^"]|"")+")\s*\(')
#: The options after these words describe the format of the rows, and sqlglot does not parse all of them.
_COPY_OPTIONS = re.compile(r"(\b(?:to\s+stdout|from\s+stdin)\b).*", re.I | re.S)
_COPY_DATABASE = re.compile(r"copy\s+from\s+database\b", re.I)
_EXTENSION = re.compile(r"create\s+(extension|type)\b", re.I)
_CASCADE = re.compile(r"\bcascade\b", re.I)
_ON_COMMIT = re.compile(r"\bon\s+commit\s+(drop|delete\s+rows|preserve\s+rows)\b", re.I)


# Shapes: texts without their values.

# With escapes, comments or dollar quotes, values cannot be found without a parser.
_TRICKY = ("\\", "--", "/*")
_DOLLARS = re.compile(r"\$\w*\$")
# The pattern begins with a digit, so that the search skips everything else fast.
_DIGITS = r'\d(?<![\w.$:"%]\d)\d*(?:\.\d*)?(?:[eE][+-]?\d+)?\b'
_NUMBER = re.compile(_DIGITS)
_VALUE = re.compile(r'"(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'|' + _DIGITS)
_ROWS = re.compile(r"(\bvalues\s*)(?:\([^()]*\)\s*,\s*)+(?=\([^()]*\))", re.I)
_LIST = re.compile(r"(?:(?:'\?'|\b0)\s*,\s*){10,}")
DATA = re.compile(r"\s*(select|insert|update|delete|with|merge|replace|values|from)\b", re.I)


@functools.lru_cache(maxsize=512)
def read_statements(text: str, dialect: str) -> tuple[Effect, ...]:
    """The effects of the statements in a text, in their order. Never raises."""
    if len(text) > LONGEST:
        return (UNCLEAR,)
    try:
        return tuple(_read_statement(one, dialect) for one in _split(text, dialect))
    except Exception:  # sqlglot raises more than its own errors
        return (UNCLEAR,)


def _split(text: str, dialect: str) -> Iterator[str]:
    """The single statements, without comments before them."""
    from sqlglot import TokenType, tokenize

    tokens = tokenize(text, read=dialect)
    start: int | None = None
    for token in tokens:
        if token.token_type == TokenType.SEMICOLON:
            if start is not None:
                yield text[start : token.start]
            start = None
        elif start is None:
            start = token.start
    if start is not None:
        yield text[start:]


def _read_statement(text: str, dialect: str) -> Effect:
    found = re.match(r"\w+", text)
    word = found[0].lower() if found else ""
    if dialect == "duckdb" and _SHOWS_TABLES.match(text):
        return LIST_READ
    if word in _COMMITS:
        return Effect(commits=True)
    if word in _ROLLBACKS:
        return Effect(rolls_back=True)
    if word in _SETS:
        if _UNCLEAR_SET.match(text):
            return UNCLEAR
        return SEARCH_PATH_CHANGED if _SEARCH_SETTINGS.search(text) else NOTHING
    if word in _CHANGE_SEARCH_PATH:
        return SEARCH_PATH_CHANGED
    if word in _NO_EFFECT:
        return UNCLEAR if _EXECUTES.match(text) else NOTHING
    if refreshed := _REFRESH.match(text):
        name = tuple(unquote(part, dialect) for part in PART.findall(refreshed[1]))
        return Effect(read=(name,), written=(name,))
    if _EXTENSION.match(text):
        return Effect(changes_names=True)
    if word == "copy":
        if _COPY_DATABASE.match(text):
            return UNCLEAR
        text = _COPY_OPTIONS.sub(r"\1", text)
    effect = read_tree(_parse(_ON_COMMIT.sub("", text), dialect), dialect)
    called = dict.fromkeys(one.strip('"').lower() for one in _CALL.findall(text))
    is_moving = _may_change_search_path(text)
    return replace(
        effect,
        called=tuple(called),
        cascades=word == "truncate" and bool(_CASCADE.search(text)),
        changes_names=effect.changes_names or is_moving,
        changes_search_path=is_moving,
        is_unclear=effect.is_unclear or is_moving,
    )


def _may_change_search_path(text: str) -> bool:
    """Whether `set_config` is called with a setting that changes where names are looked up."""
    names = [found[1] for found in _SET_CONFIG.finditer(text)]
    return any(one in (None, BLANK) or _SEARCH_SETTINGS.search(one) for one in names)


def _parse(text: str, dialect: str) -> Any:
    import logging

    import sqlglot

    logger = logging.getLogger("sqlglot")  # it warns of statements that it does not understand
    was_disabled, logger.disabled = logger.disabled, True
    try:
        return sqlglot.parse_one(text, read=dialect)
    finally:
        logger.disabled = was_disabled


def shape_of(text: str) -> str:
    """The text without its values; long lists of values and of rows are shortened.

    Statements of one shape do the same to tables, so that few of many thousands have to be parsed. A text
    whose values cannot be removed safely is its own shape. Called while the tool waits.
    """
    for mark in _TRICKY:
        if mark in text:
            return text
    if ("$" in text and _DOLLARS.search(text)) or not DATA.match(text):
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
