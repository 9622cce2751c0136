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

from discover_orch.databases.catalog import look_up
from discover_orch.databases.driver_duckdb import Duckdb
from discover_orch.databases.driver_psycopg import Psycopg
from discover_orch.databases.sql_effects import BLANK, Effect, read_statements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from discover_orch.databases.catalog import Catalog
    from discover_orch.databases.driver import Driver

    Files = Callable[[Iterable[str], Iterable[str]], None]

#: So many different texts of a step are read as they are; of those that come after them, and of long ones, the shapes
#: alone.
PLAIN_TEXTS = 100
PLAIN_LENGTH = 5_000
#: More different statements than this one step does not have, nor longer ones: what they do is then unclear.
MOST = 1_000
MOST_LETTERS = 500_000

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

_PSYCOPG, _DUCKDB = Psycopg(), Duckdb()


class StatementLog:
    """Listens to one connection, as `Tables` does: `begin` before each tool, `settle` before its transaction
    ends, then `take`. `note_files` is told of files that were read and written."""

    def __init__(self, conn: Any, driver: Driver, note_files: Files) -> None:
        self.conn, self._driver, self._note_files = conn, driver, note_files
        self._heard: dict[str, int] = {}  # how often
        self._letters = 0  # in them
        self._told: dict[Effect, None] = {}
        self._effects: dict[str, tuple[Effect, ...]] = {}
        self._plain: tuple[str, str] | None = None
        self._before: Catalog | None = None  # as it was when the step began
        self._found: tuple[set[str], set[str]] = (set(), set())
        self._is_unclear = self._is_lost = False
        self._has_committed = self._has_failed = self._is_aside = self._has_moved = False
        self._has_written = False
        self.file = _find_file(driver, conn)
        driver.hear(self)

    # What the driver calls, in any thread: as little as can be.

    def text(self, text: str, /) -> None:
        heard = self._heard
        if text not in heard and (len(heard) >= PLAIN_TEXTS or len(text) > PLAIN_LENGTH):
            text = shape_of(text)
        if text in heard:
            heard[text] += 1
        elif len(heard) < MOST and self._letters + len(text) < MOST_LETTERS:
            heard[text] = 1
            self._letters += len(text)
        else:
            self._is_lost = True

    def effect(self, effect: Effect, /) -> None:
        self._told[effect] = None

    def files(self, paths: Iterable[str], /, *, is_written: bool) -> None:
        found = [*_find_files(paths)]
        self._note_files([] if is_written else found, found if is_written else [])

    def commit(self) -> None:
        self._has_committed = True

    def failed(self) -> None:
        self._has_failed = True

    def aside(self) -> None:
        self._is_aside = True

    def stranger(self) -> None:
        self._is_lost = True

    # What the worker calls.

    def begin(self) -> None:
        """Called before the tool's transaction."""
        self._heard.clear()
        self._told.clear()
        self._letters = 0
        self._is_lost = self._has_committed = self._has_failed = self._is_aside = False
        self._has_written = False
        self._before = self._ask()

    def settle(self) -> None:
        """Make names of what was heard, while the tool's transaction is as it left it."""
        if not self._heard and not self._told and not self._is_lost:
            return
        try:
            self._settle()
        except Exception:  # it is no fault of the tool's
            self._is_unclear = True

    def _settle(self) -> None:
        read = {text: self._read(text) for text in list(self._heard)}
        effects = [*self._told, *(one for found in read.values() for one in found)]
        effects += self._repeated(read)
        self._has_committed |= any(one.commits for one in effects)
        self._has_written = any(one.written or one.made for one in effects)
        self._has_moved |= any(one.moves_names for one in effects)
        self._is_unclear |= self._is_lost or any(one.is_unclear for one in effects)
        before = self._before
        is_changed = any(one.changes_names for one in effects)
        now = self._ask() if is_changed or before is None else before
        if now is None or before is None:
            self._is_unclear = True
        if now is None:
            return
        before = before or now
        if self._is_aside and (self._has_moved or now.temporary or before.temporary):
            self._is_unclear = True  # another connection has places and tables of its own
        if now.has_variables and self._has_failed and not _are_known(effects, now, before):
            self._is_unclear = True  # a table that was looked for and not there, it may be
        touched = look_up(effects, now, before)
        self._is_unclear |= touched.is_unclear
        self._found[0].update(touched.read)
        self._found[1].update(touched.written)
        self.files(touched.files_read, is_written=False)
        self.files(touched.files_written, is_written=True)

    def _repeated(self, read: Mapping[str, tuple[Effect, ...]]) -> list[Effect]:
        """What moved names more than once, and not alone: nobody knows in which order."""
        moving = {
            text: [one for one in found if one.moves_names or one.undoes]
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

    def peek(self) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        """(read, written, is unclear) since the last `take`, of what is settled."""
        read, written = self._found
        return tuple(sorted(read)), tuple(sorted(written)), self._is_unclear

    def take(self) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        """(read, written, is unclear) since the last time."""
        taken = self.peek()
        self._found = set(), set()
        self._is_unclear = False
        return taken

    def _read(self, text: str) -> tuple[Effect, ...]:
        found = self._effects.get(text)
        if found is None:
            found = self._effects[text] = read_statements(text, self._driver.dialect)
        return found

    def _ask(self) -> Catalog | None:
        try:
            catalog = self._driver.ask(self.conn)
        except Exception:  # it is closed, or its transaction is broken
            return None
        # Tables keep their names wherever a tool goes in the database.
        self._plain = self._plain or catalog.plain
        return replace(catalog, plain=self._plain)


def listen(conn: Any, note_files: Files) -> StatementLog | None:
    """None for a connection whose statements nobody can hear, or read."""
    driver = find_driver(conn)
    if driver is None or find_spec("sqlglot") is None:
        return None
    return StatementLog(conn, driver, note_files)


def _are_known(effects: Iterable[Effect], now: Catalog, before: Catalog) -> bool:
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
