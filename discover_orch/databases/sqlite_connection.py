"""orch's own SQLite connection: an ordinary one for the tool, with a transaction that orch ends.

Python opens no transaction for `CREATE TABLE` and the like, so a failed tool would leave them behind. This
connection opens one, as Python does for INSERT, just before the first statement that can change
something: until then, what does not work inside a transaction (VACUUM, PRAGMA foreign_keys, the tool's
own BEGIN) works. A tool that commits by itself is heard, so that it can be told.
"""

from __future__ import annotations

import functools
import re
import sqlite3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Literal

    Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]

BUSY_TIMEOUT = 5.0  # seconds
# What changes nothing that a rollback could undo, or opens or ends a transaction by itself.
NEEDS_NO_TRANSACTION = frozenset(
    {"SELECT", "VALUES", "EXPLAIN", "PRAGMA", "VACUUM", "ATTACH", "DETACH"}
    | {"BEGIN", "COMMIT", "END", "ROLLBACK", "RELEASE"}
)
_FIRST_WORD = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$)|;)*([a-zA-Z]*)", re.DOTALL)
# Numbers kept in the database file: setting one is a change like any other.
_ENDS = frozenset(["COMMIT", "END"])
_STORED_PRAGMA = re.compile(
    r"\bPRAGMA\s+(?:\w+\.)?(?:user_version|application_id|schema_version)\s*[=(]", re.IGNORECASE
)

# `INSERT INTO a SELECT * FROM b` between tables of one shape SQLite carries out page by page, and tells its authorizer
# nothing of b: only the text does. Also where it reads as ever, such a text reads what it says.
_GAP = r"(?:\s|/\*.*?\*/|--[^\n]*\n)*+"
_NAME = r'("(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|\'[^\']+\'|[\w$]+)'
_INSERTS = re.compile(r"\b(insert|replace)\b", re.IGNORECASE)
_COPY = re.compile(
    rf"\bselect\b{_GAP}(?:all\b{_GAP})?\*{_GAP}from\b{_GAP}\(*{_GAP}{_NAME}(?:{_GAP}\.{_GAP}{_NAME})?",
    re.IGNORECASE | re.DOTALL,
)


# Looked up once: a tool may execute millions of statements.
_new_cursor = sqlite3.Connection.cursor
_execute = sqlite3.Cursor.execute
_authorize = sqlite3.Connection.set_authorizer


@functools.lru_cache(maxsize=512)
def find_keyword(sql: str) -> str:
    """The first keyword of a statement, in capitals, after comments; "" where there is none."""
    found = _FIRST_WORD.match(sql)
    word = found[1].upper() if found else ""
    return "STORE" if word == "PRAGMA" and _STORED_PRAGMA.search(sql) else word


class Connection(sqlite3.Connection):
    """`managed` is False under `transaction = "none"`: then it is an ordinary connection."""

    managed = False
    own_commits: set[str]  # what the tool called that committed: "commit()", "executescript()"
    is_closed = False
    has_lost_writes = False  # the tool closed it on changes that nobody committed
    _changes_before = 0
    _listener: Authorizer | None = None  # hears what is read and written, and allows everything
    _user_authorizer: Authorizer | None = None  # the tool's own
    is_interrupted: Callable[[], bool] | None = None  # whether the tool was told to end
    copied: set[tuple[str | None, str]] | None = None  # tables, where somebody listens

    def set_listener(self, listener: Authorizer | None, *, is_exclusive: bool = False) -> None:
        """Have `listener` asked too for each statement that is prepared from here on, those in the cache again.

        With `is_exclusive` the tool's own authorizer is not asked, for what orch itself wants to know.
        """
        self._listener = listener
        user_authorizer = None if is_exclusive else self._user_authorizer
        if listener is not None and user_authorizer is not None:
            _authorize(self, lambda *asked: listener(*asked) or user_authorizer(*asked))
        else:
            _authorize(self, listener or user_authorizer)

    def note_copies(self, sql: object) -> None:
        """Of what is about to be executed, whatever the tool takes for a statement."""
        if self.copied is not None and isinstance(sql, str) and "*" in sql:
            self.copied.update(find_copied(sql))

    def begin_step(self, managed: bool) -> None:
        """From here on, what the tool does counts; nothing is begun before it changes something."""
        self.managed = managed
        self.own_commits = set()

    def end_step(self, keep: bool) -> None:
        """Commit or roll back what is open; raises sqlite3.Error where a commit is refused."""
        self.managed = False
        if self.in_transaction:
            if keep:
                super().commit()
            else:
                super().rollback()

    def reset(self) -> None:
        """Undo what a tool may have set for itself; only outside of a transaction."""
        if not self._is_legacy():
            self.autocommit = -1
        level: str | None = self.isolation_level
        if level != "":
            self.isolation_level = ""  # type: ignore[assignment]
        self.row_factory = None
        self.text_factory = str
        if self._user_authorizer is not None:
            self.set_authorizer(None)
        _execute(_new_cursor(self), "PRAGMA foreign_keys = ON")

    def _begin(self, sql: str) -> None:
        word = find_keyword(sql)
        level = self.isolation_level
        # With isolation_level None, or in the autocommit modes of Python 3.12, the tool has taken over.
        if word and word not in NEEDS_NO_TRANSACTION and level is not None and self._is_legacy():
            self._changes_before = self.total_changes
            super().execute(f"BEGIN {level}")

    def _is_legacy(self) -> bool:
        return getattr(self, "autocommit", -1) == -1

    def _note_commit(self, what: str) -> None:
        if self.managed:
            self.own_commits.add(what)

    # What a tool calls, each first what is needed, then as ever.

    def cursor(self, factory: Any = None) -> Any:
        if factory is None:
            return _new_cursor(self, Cursor)
        if self.managed and not self.in_transaction and not _is_ours(factory):
            self._begin("ANY")  # its statements do not pass by here: better begun too early
        return _new_cursor(self, factory)

    def execute(self, sql: str, *args: Any) -> Any:
        return _new_cursor(self, Cursor).execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> Any:
        return _new_cursor(self, Cursor).executemany(sql, *args)

    def executescript(self, script: str) -> Any:
        return _new_cursor(self, Cursor).executescript(script)

    def set_authorizer(self, authorizer_callback: Authorizer | None) -> None:
        self._user_authorizer = authorizer_callback
        self.set_listener(self._listener)

    def raise_if_interrupted(self, error: sqlite3.DatabaseError) -> None:
        """An interrupt that comes while SQLite asks `listener` is swallowed, and the statement refused: raise it."""
        is_interrupted = self.is_interrupted
        is_refused = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_AUTH
        if (
            self._listener is not None
            and is_refused
            and is_interrupted is not None
            and is_interrupted()
        ):
            raise KeyboardInterrupt from None

    def commit(self) -> None:
        if self.in_transaction:
            super().commit()
            self._note_commit("commit()")

    def __exit__(self, *details: Any) -> Literal[False]:
        was_open = self.in_transaction
        super().__exit__(*details)
        if was_open and details[0] is None:
            self._note_commit("with conn:")
        return False

    def blobopen(self, *args: Any, readonly: bool = False, **kwargs: Any) -> Any:
        if self.managed and not readonly and not self.in_transaction:
            self._begin("ANY")
        return super().blobopen(*args, readonly=readonly, **kwargs)

    def close(self) -> None:
        if not self.is_closed:
            if self.managed and self.in_transaction:
                self.has_lost_writes = self._has_changes()
            self.is_closed = True
        super().close()

    def _has_changes(self) -> bool:
        """Whether the open transaction changed anything; it is rolled back to see whether the schema did."""
        if self.total_changes != self._changes_before:
            return True
        before = self._schema_version()
        super().rollback()
        return before != self._schema_version()

    def _schema_version(self) -> object:
        rows: list[Any] = super().cursor().execute("PRAGMA schema_version").fetchall()
        return tuple(rows[0])


class Cursor(sqlite3.Cursor):
    """A cursor of such a connection."""

    def execute(self, sql: str, *args: Any) -> Cursor:
        conn: Connection = self.connection  # type: ignore[assignment]
        conn.note_copies(sql)
        is_end = False
        if conn.managed:
            if not conn.in_transaction:
                conn._begin(sql)
            else:
                is_end = find_keyword(sql) in _ENDS
        try:
            _execute(self, sql, *args)
        except sqlite3.DatabaseError as error:
            conn.raise_if_interrupted(error)
            raise
        if is_end:
            conn._note_commit("COMMIT")
        return self

    def executemany(self, sql: str, *args: Any) -> Cursor:
        conn: Connection = self.connection  # type: ignore[assignment]
        conn.note_copies(sql)
        if conn.managed and not conn.in_transaction:
            conn._begin(sql)
        try:
            super().executemany(sql, *args)
        except sqlite3.DatabaseError as error:
            conn.raise_if_interrupted(error)
            raise
        return self

    def executescript(self, script: str) -> Cursor:
        """Commits what is open, then each statement by itself: this is how Python does it."""
        conn: Connection = self.connection  # type: ignore[assignment]
        conn.note_copies(script)
        conn._note_commit("executescript()")
        try:
            super().executescript(script)
        except sqlite3.DatabaseError as error:
            conn.raise_if_interrupted(error)
            raise
        return self


@functools.lru_cache(maxsize=512)
def find_copied(sql: str) -> Sequence[tuple[str | None, str]]:
    """The tables that a text copies whole into others, each with its database where it says one."""
    if not _INSERTS.search(sql):
        return ()
    return [
        (_unquote(first), _unquote(second)) if second else (None, _unquote(first))
        for first, second in _COPY.findall(sql)
    ]


def _unquote(name: str) -> str:
    if name[0] in "\"`'[":
        return name[1:-1].replace('""', '"')
    return name


def apply_settings(conn: sqlite3.Connection) -> None:
    """What holds on every connection of orch: foreign keys are checked, and a lock is waited for."""
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")


def _is_ours(factory: object) -> bool:
    return isinstance(factory, type) and issubclass(factory, Cursor)
