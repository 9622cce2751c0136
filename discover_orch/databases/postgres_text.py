"""What the text of a statement for PostgreSQL says that the server does not: whether it ends the transaction, and
which names it asks the list of tables for.

Pure: text in, values out.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LONGEST_CACHED = 5_000  # characters
_COMMENT = (
    r"--[^\n]*|/\*(?:/\*.*?\*/|(?!\*/).)*+\*/"  # PostgreSQL nests comments; two levels are read
)
_BLANK = rf"(?:\s|{_COMMENT})*+"
_FIRST = rf"(?:\A|;)(?:\s|;|{_COMMENT})*+"
#: Most texts have none of these, and then nothing more is looked for.
_MAY_END = re.compile(rf"{_FIRST}(?:commit|end|rollback|abort|prepare)\b", re.I | re.S)
_QUOTED = re.compile(
    rf"""(?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
    | (?<![\w$])(\$(?:[^\W\d]\w*)?\$).*?\1 | (?P<comment>{_COMMENT})""",
    re.S | re.X,
)
#: A function with such a body has semicolons and an END that belong to it.
_SQL_BODY = re.compile(r"\bbegin\s+atomic\b", re.I)
_END = re.compile(
    r"(?:commit|end|rollback|abort)(?:\s+(?:work|transaction))?(?:\s+and\s+(?:no\s+)?chain)?|prepare\s+transaction\b.*",
    re.I | re.S,
)
_TO_SAVEPOINT = re.compile(r"(?:rollback|abort)\b.*\bto\b", re.I | re.S)
_SETTING = re.compile(rf"{_BLANK}(?:set|show|reset|begin|start|savepoint|release)\b", re.I | re.S)
_NOTIFIES = re.compile(r"\bnotify\b|\bpg_notify\b", re.I)
_CONFLICT = re.compile(r"\bon\s+conflict\b", re.I)
_TRUNCATE = re.compile(r"\btruncate\b", re.I)
_LISTS = re.compile(
    r"\b(?:pg_class|pg_tables|pg_views|pg_matviews|information_schema|to_regclass|pg_attribute|pg_attrdef)\b",
    re.I,
)
#: Lists of columns, and what says something of columns in lists of tables.
_COLUMNS = re.compile(
    r"\b(?:pg_attribute|pg_attrdef|pg_indexes|pg_get_viewdef|relnatts|definition|view_definition|"
    r'information_schema"?\s*\.\s*"?(?!(?:tables|views|schemata)\b)\w+)\b',
    re.I,
)
_PLACE = r"%(?:\(\w+\))?[sbt]"
_VALUE = rf"(?:'[^']*'|{_PLACE})(?:::\w+)?"
_OF_SCHEMA = re.compile(
    rf"\b(?:nspname|schemaname|table_schema)(?:::\w+)?\s*(?:=|\bin\b)(?P<given>\s*\(?\s*{_VALUE}(?:\s*,\s*{_VALUE})*)?",
    re.I,
)
_NAME = r"(?:relname|tablename|viewname|matviewname|table_name)"
_OID = r"(?:attrelid|adrelid|conrelid|indrelid)"
_LOOKUP = re.compile(rf"(?:\bto_regclass\s*\(\s*{_VALUE}|\b{_NAME}(?:::\w+)?\s*=\s*{_VALUE})", re.I)
#: A question about columns names its tables in these ways too.
_LOOKUP_OF_COLUMNS = re.compile(
    rf"\b(?:where|and|on)\s+\(*\s*(?:\w+\.)*(?:{_NAME}|{_OID})(?:::\w+)?\s*"
    rf"(?:=\s*(?:to_regclass\s*\(\s*)?|in\s*\(\s*){_VALUE}(?:\s*,\s*{_VALUE})*",
    re.I,
)
_ONE_VALUE = re.compile(r"'(?P<text>[^']*)'|%(?:\((?P<key>\w+)\))?[sbt]")
#: With these a condition does not tell which tables are meant.
_UNSURE = re.compile(rf"\b(?:or|union|filter|not\s+\(*\s*(?:\w+\.)?{_NAME})\b", re.I)


class Lookup(NamedTuple):
    """A table that is asked for: by its name, or by the key or place of the parameter that holds it or its oid."""

    text: str | None
    key: str | int = ""

    def find_name(self, params: Any) -> str | int | None:
        if self.text is not None:
            return self.text
        try:
            found = params[self.key]
        except (LookupError, TypeError):  # the statement fails
            return None
        return found if isinstance(found, str | int) else None


class TextNotes(NamedTuple):
    """`end` is the first statement that ends the transaction. `rolls_back`: to a savepoint; `has_several`: where it is
    one of several statements. `is_setting`: it uses no table. `asks_columns`: what columns tables have, those of
    `lookups` or all. `schemas`: those in which these are looked for; the path of the connection if there are none."""

    end: str = ""
    rolls_back: bool = False
    has_several: bool = False
    is_setting: bool = False
    has_conflict: bool = False
    truncates: bool = False
    notifies: bool = False
    lists_tables: bool = False
    asks_columns: bool = False
    lookups: tuple[Lookup, ...] = ()
    schemas: tuple[Lookup, ...] = ()


def read_text(text: str) -> TextNotes:
    return _read_cached(text) if len(text) <= LONGEST_CACHED else _read(text)


def _read(text: str) -> TextNotes:
    ends = _find_ends(text) if _MAY_END.search(text) else []
    lists = _LISTS.search(text) is not None
    asks_columns = lists and _COLUMNS.search(text) is not None
    is_sure = not _UNSURE.search(text)
    if not asks_columns:
        is_sure &= all(one["given"] for one in _OF_SCHEMA.finditer(text))
    lookup = _LOOKUP_OF_COLUMNS if asks_columns else _LOOKUP
    lookups = tuple(_find_lookups(lookup, text)) if lists and is_sure else ()
    return TextNotes(
        end=next((one for one in ends if _END.fullmatch(one)), ""),
        rolls_back=any(map(_TO_SAVEPOINT.match, ends)),
        has_several=len([*filter(None, ends)]) > 1,
        is_setting=_SETTING.match(text) is not None and ";" not in text.rstrip("; \n"),
        has_conflict=_CONFLICT.search(text) is not None,
        truncates=_TRUNCATE.search(text) is not None,
        notifies=_NOTIFIES.search(text) is not None,
        lists_tables=lists and not lookups,
        asks_columns=asks_columns,
        lookups=lookups,
        schemas=tuple(_find_lookups(_OF_SCHEMA, text)) if lookups and not asks_columns else (),
    )


_read_cached = functools.lru_cache(maxsize=512)(_read)


def _find_ends(text: str) -> list[str]:
    """The statements of a text, without comments and with empty strings."""
    if _SQL_BODY.search(text):
        return []
    bare = _QUOTED.sub(lambda found: " " if found["comment"] else "''", text)
    return [one.strip() for one in bare.split(";")]


def _find_lookups(pattern: re.Pattern[str], text: str) -> list[Lookup]:
    found = []
    for condition in pattern.finditer(text):
        for one in _ONE_VALUE.finditer(text, *condition.span()):
            place = len(re.findall(r"%[sbt]", text[: one.start()]))
            found.append(Lookup(one["text"], one["key"] or place))
    return found
