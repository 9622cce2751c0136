"""What SQLite reports about statements when it prepares them, and what only their text says.

SQLite calls the authorizer when it prepares a statement, not when it runs one, so a statement that runs a
million times costs nothing. It does not report a table that IF EXISTS or IF NOT EXISTS finds or misses, how a
conflict is resolved, and values. The connection passes the text for these.
"""

from __future__ import annotations

import functools
import os
import re
import sqlite3
import sys

from discover_orch.databases.sqlite_calls import list_databases
from discover_orch.databases.sqlite_text import GAP, read_name
from discover_orch.databases.table_log import find_sought, is_asked_whether_there, may_drop
from discover_orch.model.database_url import IN_MEMORY
from discover_orch.model.keys import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    Name = tuple[str | None, str]  # (database, table)

READ = sqlite3.SQLITE_READ
SELECT = sqlite3.SQLITE_SELECT
PRAGMA = sqlite3.SQLITE_PRAGMA
INSERT = sqlite3.SQLITE_INSERT
UPDATE = sqlite3.SQLITE_UPDATE
ALTER_TABLE = sqlite3.SQLITE_ALTER_TABLE
ATTACH = sqlite3.SQLITE_ATTACH
TRANSACTION = sqlite3.SQLITE_TRANSACTION
ALLOWED = sqlite3.SQLITE_OK
CREATES = frozenset(
    {sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_CREATE_VTABLE}
)
CREATE_INDEX = sqlite3.SQLITE_CREATE_INDEX
DROP_INDEX = sqlite3.SQLITE_DROP_INDEX
CREATE_TRIGGER = sqlite3.SQLITE_CREATE_TRIGGER
DROP_TRIGGER = sqlite3.SQLITE_DROP_TRIGGER
CHANGES = frozenset({INSERT, UPDATE, sqlite3.SQLITE_DELETE})
DROPS = frozenset({sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_VIEW, sqlite3.SQLITE_DROP_VTABLE})
#: These ask about the one table that they are given, and about one index.
TABLE_PRAGMAS = frozenset(
    {"table_info", "table_xinfo", "table_list", "index_list", "foreign_key_list"}
)
INDEX_PRAGMAS = frozenset({"index_info", "index_xinfo"})
ALL = ("main", WHOLE)
VACUUM = "vacuum_"  # how the name of the database begins that VACUUM copies into
#: The first words of statements, or of scripts, whose text says more than the authorizer.
DDL = frozenset({"CREATE", "DROP", "ALTER", "SCRIPT"})

_OWN_FOLDER = os.path.dirname(__file__) + os.sep
_NAME = r'("(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|\'[^\']+\'|[\w$]+)'
_PLACE = rf"{_NAME}(?:{GAP}\.{GAP}{_NAME})?"


def _words(text: str) -> str:
    return rf"\b{GAP}".join(text.split()) + rf"\b{GAP}"


# The patterns are compiled when they are first used: a run without statements does not wait for that.

# SQLite copies `INSERT INTO a SELECT * FROM b` between tables of one shape page by page and does not report b
# to its authorizer. So the text is searched for such tables.
_INSERTS = r"\b(insert|replace)\b"
_COPY = rf"\bselect\b{GAP}(?:all\b{GAP})?\*{GAP}from\b{GAP}\(*{GAP}{_PLACE}"
#: REPLACE INTO, INSERT OR IGNORE, ON CONFLICT; not the function `replace(...)`.
_CONFLICT = (
    rf"\breplace\b(?!{GAP}\()|\bor{GAP}\b(?:ignore|abort|fail|rollback)\b|\bon{GAP}\bconflict\b"
)
_DROP_IF_EXISTS = rf"\bdrop\b{GAP}(?:table|view)\b{GAP}{_words('if exists')}{_PLACE}"
_INDEX_IF_NOT_EXISTS = (
    rf"\bcreate\b{GAP}(?:unique\b{GAP})?index\b{GAP}{_words('if not exists')}{_PLACE}{GAP}"
    rf"\bon\b{GAP}{_NAME}"
)
_TRIGGER_IF_NOT_EXISTS = rf"\bcreate\b{GAP}{_words('trigger if not exists')}{_PLACE}"
_VIRTUAL_IF_NOT_EXISTS = rf"\bcreate\b{GAP}{_words('virtual table if not exists')}{_PLACE}"
_OF_TYPE = r"type\s*(?:==?\s*'\w+'|in\s*\([^()]*\))"
#: The list of tables. Statements that SQLite makes for itself read it too, but do not stand in the text.
LIST = r"\bsqlite_(?:master|schema)\b"
SCHEMA_TABLES = frozenset({"sqlite_master", "sqlite_schema"})
_BOTH_LISTS = (  # as SQLAlchemy asks for them
    r"\(\s*select\s+\*\s+from\s+sqlite_master\s+union\s+all\s+select\s+\*\s+from\s+sqlite_temp_master\s*\)"
)
_VALUE = r"(?:\?1?|:\w+|'[^']*')"
#: Asks the list of tables for some names.
_LOOKUP = (
    r"\s*(?:select\s+exists\s*\(\s*)?select\s+(?:[\w*,.\s]|count\s*\([\w*]+\))+\s+from\s+"
    rf"(?:(?:main\.)?sqlite_(?:master|schema)|{_BOTH_LISTS})\s+"
    rf"where\s+(?:{_OF_TYPE}\s+and\s+)?(?:tbl_)?name\s*(?:==?|\bis\b|\bin\s*\()\s*({_VALUE}(?:\s*,\s*{_VALUE})*)"
    rf"(?:\s*\))?(?:\s+and\s+{_OF_TYPE})?(?:\s+limit\s+\d+)?[\s;)]*"
)


class StatementNotes:
    """What the statements of one step do to tables. `authorize` is the authorizer.

    - `changed`: written in another way than by inserting rows, or by triggers and by statements whose text has not
      been read, which may replace rows.
    - `created`: tables that a statement creates, if they are not there yet. `dropped`. `filled`: names of tables that
      were written to, created with rows, dropped, or to be dropped if they had been there.
    - `kept`: tables that got or lost an index, and virtual tables that are created if they are not there yet.
    - `objects`: indexes and triggers that were created, as `index by_day`; `kept_objects` are created if they are not
      there yet. `has_defined`: one was created or dropped.
    - `looked_up`: tables that were asked for by name; they may be there. `droppable`: names of those that may have
      been dropped if they were. `asked`: those whose columns were asked for, WHOLE for all. `asked_indexes`: names of
      indexes.
    - `is_silent`: nothing was prepared on the connection.
    - `on_attach` is called with the name of a file that is attached; None where it is not known.
    """

    def __init__(self) -> None:
        self.tables_of_caller: Callable[[], set[str]] | None = None  # see `TableLog`
        self.on_attach: Callable[[str | None], None] = lambda name: None
        self.clear()

    def clear(self) -> None:
        self.is_silent = True
        self.read: set[Name] = set()
        self._read_here: set[str] | None = None  # by the code that prepares the statement
        self.written: set[Name] = set()
        self.changed: set[Name] = set()
        self._inserting: set[Name] = set()  # by the statement
        self.created: set[Name] = set()
        self.dropped: set[Name] = set()
        self.filled: set[str] = set()
        self.kept: set[Name] = set()
        self.objects: set[str] = set()
        self.kept_objects: set[str] = set()
        self.has_defined = False
        self.looked_up: set[Name] = set()
        self.droppable: set[str] = set()
        self.asked: set[Name] = set()
        self.asked_indexes: set[str] = set()
        self.lists_tables = False
        self.has_committed = False
        self.has_set = False  # a setting of the connection, or it has attached a database
        self.may_have_renamed = False  # tables may have other names
        #: Statements that ask for one table, by their text, and whether they read its definition; they are prepared
        #: once and run with several names.
        self.lookups: dict[str, tuple[str, bool]] = {}
        self.is_waiting = False  # for the text of the statement that was prepared last
        self.has_bypassed = False  # a statement that writes was not passed to `read_text`
        self.has_unseen_texts = False  # the tool has cursors of a class of its own
        self._creating = ""  # the table that the statement creates; a query fills it
        self._indexing: str | None = None
        self._reads_list = False  # the statement reads the list of tables
        self._reads_definitions = False  # and what stands in it of their columns
        self._attached: str | None = ""  # by the latest ATTACH, or VACUUM; None for a value
        self._attaches_value = False  # the statement attaches a file whose name is a value

    def authorize(self, action: int, one: Any, two: Any, base: Any, inner: Any) -> int:
        """Called several times for each prepared statement. Allows everything; must not raise."""
        self.is_silent = False
        if action == READ:
            if one.lower() in SCHEMA_TABLES:
                self._reads_list = self.is_waiting = True
                self._reads_definitions |= two == "sql"
                if inner is not None:  # it is behind a view or a trigger
                    self._note_list()
            elif self._indexing != one:
                self.read.add((base, one))
                if self._read_here is not None:
                    self._read_here.add(one.lower())
            return ALLOWED
        self._indexing = None
        if action == SELECT:
            self.filled.add(self._creating)
            if self.tables_of_caller is not None:
                self._read_here = self.tables_of_caller()
        elif action in CHANGES:
            self._note_change(action, one, base, inner)
        else:
            self._note_other(action, one, two, base)
        return ALLOWED

    def _note_change(self, action: int, one: str, base: str | None, inner: str | None) -> None:
        if one[:7] != "sqlite_":
            self._check_caller()
            self._creating = ""
            self.written.add((base, one))
            self.filled.add(one)
            if action == INSERT:
                (self.changed if inner else self._inserting).add((base, one))
                self.is_waiting = True
            else:
                self.changed.add((base, one))
        elif base is not None and base.startswith(VACUUM) and self._attached:
            self.read.add(ALL)  # VACUUM INTO copies all tables into this file

    def _note_other(self, action: int, one: Any, two: Any, base: str | None) -> None:
        if action in CREATES:
            self._check_caller()
            self._creating = one
            self.created.add((base, one))
            if action != sqlite3.SQLITE_CREATE_TABLE:
                self.filled.add(one)
        elif action in DROPS:
            self._check_caller()
            self.dropped.add((base, one))
            self.filled.add(one)
        elif action == ALTER_TABLE:
            self._check_caller()
            self.may_have_renamed = True
            self.written.add((one, two))
            self.changed.add((one, two))
            self.filled.add(two)
        elif action == CREATE_INDEX:
            self._indexing = two  # reads of the indexed columns do not count
            if one[:7] != "sqlite_":  # an index of SQLite's own belongs to the table being created
                self.kept.add((base, two))
                self._note_object(f"index {one}", base)
        elif action == CREATE_TRIGGER:
            self._note_object(f"trigger {one}", base)
        elif action == DROP_INDEX:
            self.kept.add((base, two))
            self.has_defined = True
        elif action == DROP_TRIGGER:
            self.has_defined = True
        elif action == PRAGMA:
            if two and one in TABLE_PRAGMAS:
                self._note_looked_up(base, two)
                if not is_asked_whether_there():
                    self._note_asked((base, two))
            elif two and one in INDEX_PRAGMAS and not is_asked_whether_there():
                self.asked_indexes.add(two)
            elif one == "table_list":
                self.lists_tables = True
                self._note_asked(ALL)
            self.has_set |= two is not None
        elif action == ATTACH:
            self.has_set = True
            self._attached = one
            if one is not None:
                self.on_attach(one)
            else:
                self._attaches_value = self.is_waiting = True
        elif action == TRANSACTION and one == "COMMIT":
            self.has_committed = True

    def _note_object(self, name: str, base: str | None) -> None:
        self.has_defined = True
        if base == "main":
            self.objects.add(name.lower())

    def _note_list(self) -> None:
        sought = find_sought()
        if sought is not None:
            for name in sought:
                self._note_looked_up(None, name)
            return
        self.lists_tables = True
        if self._reads_definitions and not is_asked_whether_there():
            self._note_asked(ALL)

    def _note_looked_up(self, base: str | None, name: str) -> None:
        self.looked_up.add((base, name))
        if may_drop():
            self.droppable.add(name)

    def _note_asked(self, one: Name) -> None:
        self.asked.add(one)
        if self.tables_of_caller is not None:
            self.tables_of_caller().add(one[1].lower())

    @property
    def has_altered(self) -> bool:
        """Whether other tables may be there, or under other names."""
        return bool(self.created or self.dropped) or self.may_have_renamed

    def note_use(self, base: str, table: str, *, is_written: bool = False) -> None:
        """A method has used a table; WHOLE stands for all of the database."""
        self.is_silent = False
        used = (base, table)
        self.read.add(used)
        if is_written:
            self.written.add(used)
            self.changed.add(used)
            self.filled.add(table)

    def find_bases(self) -> set[str]:
        """The names of the databases whose tables were used, in small letters."""
        names = (*self.read, *self.written, *self.kept, *self.looked_up, *self.asked)
        return {base.lower() for base, _ in names if base is not None}

    def _check_caller(self) -> None:
        """A method of `sqlite3` may be called past the one that orch has put in its place: then neither the text of
        the statement is known, nor whether it was committed."""
        if not self.has_unseen_texts:
            caller = sys._getframe(3).f_code.co_filename
            self.has_bypassed |= not caller.startswith(_OWN_FOLDER)

    def read_text(self, conn: sqlite3.Connection, sql: str, word: str, args: Sequence[Any]) -> None:
        """A statement, or a script, has been run; `word` is the first of a statement, or "SCRIPT"."""
        if self.has_unseen_texts:
            return
        if self._attaches_value:
            self._attaches_value = False
            for name, path in list_databases(conn)[-1:]:
                if name not in ("main", "temp"):
                    self.on_attach(path or IN_MEMORY)
        if self._inserting:
            if _compiled(_CONFLICT).search(sql):
                self.changed |= self._inserting
            if "*" in sql:
                self.read.update(find_copied(sql))
            self._inserting.clear()
        if self._reads_list:
            self._reads_list = False
            found = _compiled(_LOOKUP).fullmatch(sql)
            if found:
                self.lookups[sql] = found[1], self._reads_definitions
            elif _compiled(LIST).search(sql):
                self._note_list()
            self._reads_definitions = False
        if sql in self.lookups:
            self._note_lookup(*self.lookups[sql], args)
        if word in DDL:
            self._read_ddl(sql)
        self._creating, self.is_waiting = "", False

    def needs_text(self, sql: str, word: str) -> bool:
        return self.is_waiting or word in DDL or sql in self.lookups

    def _note_lookup(self, given: str, reads_definition: bool, args: Sequence[Any]) -> None:
        values: Any = args[0] if args else ()
        for place, one in enumerate(_compiled(_VALUE).findall(given)):
            name: object = one[1:-1]
            if one[0] != "'":
                try:
                    name = values[one[1:]] if isinstance(values, dict) else values[place]
                except (LookupError, TypeError):  # the statement has failed
                    return
            if isinstance(name, str):
                self._note_looked_up(None, name)
                if reads_definition and not is_asked_whether_there():
                    self._note_asked((None, name))
            else:
                self.lists_tables = True

    def _read_ddl(self, sql: str) -> None:
        dropped = [*_find_names(_DROP_IF_EXISTS, sql)]
        self.looked_up.update(dropped)
        self.filled.update(name for _, name in dropped)
        self.kept.update(_find_names(_VIRTUAL_IF_NOT_EXISTS, sql))
        for base, index, table in _compiled(_INDEX_IF_NOT_EXISTS).findall(sql):
            place = read_name(base) if index else None
            self.kept.add((place, read_name(table)))
            self.kept_objects.add(f"index {read_name(index or base)}")
        self.kept_objects.update(
            f"trigger {name}" for _, name in _find_names(_TRIGGER_IF_NOT_EXISTS, sql)
        )

    def finish(self) -> None:
        """The step has ended."""
        if self._reads_list:
            self._note_list()
        self.changed |= self._inserting


@functools.lru_cache(maxsize=512)
def find_copied(sql: str) -> tuple[Name, ...]:
    """The tables that a statement copies whole into others, as (database or None, table)."""
    return tuple(_find_names(_COPY, sql)) if _compiled(_INSERTS).search(sql) else ()


def _find_names(pattern: str, sql: str) -> Iterator[Name]:
    for first, second in _compiled(pattern).findall(sql):
        yield (read_name(first), read_name(second)) if second else (None, read_name(first))


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)
