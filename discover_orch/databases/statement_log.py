"""Which tables a tool read and wrote on a connection that is not SQLite's, as the statements say that it sent.

In: a connection, and what its driver was heard to be sent. Out: names of tables, as `tables` gives them for SQLite;
and the files that statements name. What cannot be understood, or not be looked up in the database, is unclear.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from importlib.util import find_spec

from msgspec.structs import replace

from discover_orch.databases.catalog import resolve_effects
from discover_orch.databases.driver_duckdb import DuckdbDriver
from discover_orch.databases.driver_psycopg import PsycopgDriver
from discover_orch.databases.sql_effects import BLANK, Effect, read_statements
from discover_orch.databases.sqlite_tables import TableLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from discover_orch.databases.catalog import Catalog
    from discover_orch.databases.driver import Driver

    Files = Callable[[Iterable[str], Iterable[str]], None]

#: So many different texts of a step are read as they are; of those that come after them, and of long ones, the shapes
#: alone.
EXACT_TEXTS = 100
EXACT_LENGTH = 5_000
#: More different statements than this one step does not have, nor longer ones: what they do is then unclear.
MOST_STATEMENTS = 1_000
MOST_CHARACTERS = 500_000

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

_PSYCOPG, _DUCKDB = PsycopgDriver(), DuckdbDriver()


class StatementLog(TableLog):
    """Listens to one connection, as `Tables` does: `begin_step` before each tool, `resolve` before its transaction
    ends, then `drain`. `note_files` is told of files that were read and written."""

    def __init__(self, conn: Any, driver: Driver, note_files: Files) -> None:
        super().__init__()
        self.conn, self._driver, self._note_files = conn, driver, note_files
        self._heard: dict[str, int] = {}  # how often
        self._characters = 0  # in them
        self._effects_reported: dict[Effect, None] = {}
        self._effects: dict[str, tuple[Effect, ...]] = {}
        self._plain: tuple[str, str] | None = None
        self._before: Catalog | None = None  # as it was when the step began
        self._is_lost = False
        self._has_committed = self._has_failed = self._is_aside = self._has_moved = False
        self._has_written = False
        self.file = _find_file(driver, conn)
        driver.attach(self)

    # What the driver calls, in any thread: as little as can be.

    def on_statement(self, text: str, /) -> None:
        heard = self._heard
        if text not in heard and (len(heard) >= EXACT_TEXTS or len(text) > EXACT_LENGTH):
            text = shape_of(text)
        if text in heard:
            heard[text] += 1
        elif len(heard) < MOST_STATEMENTS and self._characters + len(text) < MOST_CHARACTERS:
            heard[text] = 1
            self._characters += len(text)
        else:
            self._is_lost = True

    def on_effect(self, effect: Effect, /) -> None:
        self._effects_reported[effect] = None

    def on_files(self, paths: Iterable[str], /, *, is_written: bool) -> None:
        found = [*_find_files(paths)]
        self._note_files([] if is_written else found, found if is_written else [])

    def on_commit(self) -> None:
        self._has_committed = True

    def on_error(self) -> None:
        self._has_failed = True

    def on_other_connection(self) -> None:
        self._is_aside = True

    def on_unknown(self) -> None:
        self._is_lost = True

    # What the worker calls.

    def begin_step(self) -> None:
        """Called before the tool's transaction."""
        self._heard.clear()
        self._effects_reported.clear()
        self._characters = 0
        self._is_lost = self._has_committed = self._has_failed = self._is_aside = False
        self._has_written = False
        self._before = self._read_catalog()

    def resolve(self) -> None:
        """Make names of what was heard, while the tool's transaction is as it left it."""
        if not self._heard and not self._effects_reported and not self._is_lost:
            return
        try:
            self._resolve()
        except Exception:  # it is no fault of the tool's
            self._is_unclear = True

    def _resolve(self) -> None:
        read = {text: self._read(text) for text in list(self._heard)}
        effects = [*self._effects_reported, *(one for found in read.values() for one in found)]
        effects += self._repeated(read)
        self._has_committed |= any(one.commits for one in effects)
        self._has_written = any(one.written or one.created for one in effects)
        self._has_moved |= any(one.changes_search_path for one in effects)
        self._is_unclear |= self._is_lost or any(one.is_unclear for one in effects)
        before = self._before
        is_changed = any(one.changes_names for one in effects)
        now = self._read_catalog() if is_changed or before is None else before
        if now is None or before is None:
            self._is_unclear = True
        if now is None:
            return
        before = before or now
        if self._is_aside and (self._has_moved or now.temporary or before.temporary):
            self._is_unclear = True  # another connection has places and tables of its own
        if now.has_variables and self._has_failed and not _are_all_tables(effects, now, before):
            self._is_unclear = True  # a table that was looked for and not there, it may be
        touched = resolve_effects(effects, now, before)
        self._is_unclear |= touched.is_unclear
        self._tables_read.update(touched.read)
        self._tables_written.update(touched.written)
        self.on_files(touched.files_read, is_written=False)
        self.on_files(touched.files_written, is_written=True)

    def _repeated(self, read: Mapping[str, tuple[Effect, ...]]) -> list[Effect]:
        """What moved names more than once, and not alone: nobody knows in which order."""
        moving = {
            text: [one for one in found if one.changes_search_path or one.rolls_back]
            for text, found in read.items()
        }
        moving = {text: found for text, found in moving.items() if found}
        again = [one for text, found in moving.items() if self._heard[text] > 1 for one in found]
        return again if len(moving) > 1 else []

    @property
    def has_committed(self) -> bool:
        """Whether the tool committed by itself; asked before orch does."""
        return self._has_committed

    @property
    def has_written(self) -> bool:
        """Whether it wrote to any table, as far as is settled."""
        return self._has_written

    def _read(self, text: str) -> tuple[Effect, ...]:
        found = self._effects.get(text)
        if found is None:
            found = self._effects[text] = read_statements(text, self._driver.dialect)
        return found

    def _read_catalog(self) -> Catalog | None:
        try:
            catalog = self._driver.read_catalog(self.conn)
        except Exception:  # it is closed, or its transaction is broken
            return None
        # Tables keep their names wherever a tool goes in the database.
        self._plain = self._plain or catalog.default_schema
        return replace(catalog, default_schema=self._plain)


def observe_statements(conn: Any, note_files: Files) -> StatementLog | None:
    """None for a connection whose statements nobody can hear, or read."""
    driver = find_driver(conn)
    if driver is None or find_spec("sqlglot") is None:
        return None
    return StatementLog(conn, driver, note_files)


def _are_all_tables(effects: Iterable[Effect], now: Catalog, before: Catalog) -> bool:
    return all(now.find(name) or before.find(name) for one in effects for name in one.read)


def _find_files(paths: Iterable[str]) -> Iterable[str]:
    """Absolute paths; what a glob matches, and nothing that lies elsewhere than on a disk."""
    for path in paths:
        if "://" in path:
            continue
        path = os.path.expanduser(path)
        if glob.has_magic(path):
            yield from map(os.path.abspath, glob.glob(path, recursive=True))
        else:
            yield os.path.abspath(path)


def _find_file(driver: Driver, conn: Any) -> str:
    try:
        return driver.find_file(conn)
    except Exception:
        return ""


def find_driver(conn: Any) -> Driver | None:
    """The driver of this connection; None for a kind whose statements orch cannot observe."""
    psycopg, duckdb = sys.modules.get("psycopg"), sys.modules.get("duckdb")
    if psycopg is not None and isinstance(conn, psycopg.Connection):
        return _PSYCOPG
    if duckdb is not None and isinstance(conn, duckdb.DuckDBPyConnection):
        return _DUCKDB
    return None


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
