"""orch's own SQLite connection: an ordinary connection for the tool, in a transaction that orch ends.

Python begins no transaction for `CREATE TABLE` and the like, so a failed tool would leave them behind. This
connection begins one just before the first statement that can change something, as Python does for INSERT.
Until then, statements that do not work in a transaction (VACUUM, PRAGMA foreign_keys, the tool's own BEGIN)
work. It notes when the tool itself commits.
"""

from __future__ import annotations

import functools
import re
import sqlite3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from discover_orch.databases.sqlite_statements import StatementNotes

    Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]

BUSY_TIMEOUT = 5.0  # seconds
# These change nothing that a rollback could undo, or begin or end a transaction themselves.
NEEDS_NO_TRANSACTION = frozenset(
    {"SELECT", "VALUES", "EXPLAIN", "PRAGMA", "VACUUM", "ATTACH", "DETACH"}
    | {"BEGIN", "COMMIT", "END", "ROLLBACK", "RELEASE"}
)
_FIRST_WORD = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$)|;)*([a-zA-Z]*)", re.DOTALL)
_COMMITS = frozenset(["COMMIT", "END"])
SCRIPT = "SCRIPT"  # the word of a text with several statements
# Numbers in the database file; setting one is a change like any other.
_STORED_PRAGMA = re.compile(
    r"\bPRAGMA\s+(?:\w+\.)?(?:user_version|application_id|schema_version)\s*[=(]", re.IGNORECASE
)

# Bound once: a tool may execute millions of statements.
_new_cursor = sqlite3.Connection.cursor
_execute = sqlite3.Cursor.execute
_authorize = sqlite3.Connection.set_authorizer


@functools.lru_cache(maxsize=512)
def find_keyword(sql: str) -> str:
    """The first keyword after comments, in capitals; "" where there is none, "STORE" for a stored pragma."""
    found = _FIRST_WORD.match(sql) if isinstance(sql, str) else None
    word = found[1].upper() if found else ""
    return "STORE" if word == "PRAGMA" and _STORED_PRAGMA.search(sql) else word


class Connection(sqlite3.Connection):
    """With `managed` False (`transaction = "none"`), an ordinary connection."""

    managed = False
    own_commits: set[str]  # the tool's calls that committed: "commit()", "executescript()"
    is_closed = False
    has_lost_writes = False  # the tool closed it with uncommitted changes
    _changes_before = 0
    _listener: Authorizer | None = None  # notes what is read and written, allows everything
    _user_authorizer: Authorizer | None = None  # the tool's own
    is_interrupted: Callable[[], bool] | None = None  # whether an interrupt was raised in the tool
    statements: StatementNotes | None = None  # receives the text of statements

    def set_listener(self, listener: Authorizer | None, *, is_exclusive: bool = False) -> None:
        """Call `listener` too for each statement prepared from now on, cached ones included.

        With `is_exclusive` the tool's own authorizer is not called: for queries of orch itself.
        """
        self._listener = listener
        user_authorizer = None if is_exclusive else self._user_authorizer
        if listener is not None and user_authorizer is not None:
            _authorize(self, lambda *asked: listener(*asked) or user_authorizer(*asked))
        else:
            _authorize(self, listener or user_authorizer)

    def note_text(self, sql: str, word: str, args: tuple[Any, ...]) -> None:
        """A statement, which has this keyword, or with SCRIPT several of them, have been run."""
        statements = self.statements
        if statements is not None and statements.needs_text(sql, word):
            statements.read_text(sql, word, args)

    def begin_step(self, managed: bool) -> None:
        """A tool starts. The transaction begins only with its first change."""
        self.managed = managed
        self.own_commits = set()

    def end_step(self, keep: bool) -> None:
        """Commit or roll back; raises sqlite3.Error where a commit is refused."""
        self.managed = False
        if self.in_transaction:
            if keep:
                super().commit()
            else:
                super().rollback()

    def reset(self) -> None:
        """Undo the settings that a tool may have changed; only outside a transaction."""
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

    def _begin(self, word: str) -> None:
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

    # The methods that a tool calls.

    def cursor(self, factory: Any = None) -> Any:
        if factory is None:
            return _new_cursor(self, Cursor)
        if self.managed and not self.in_transaction and not _is_own_cursor(factory):
            self._begin("ANY")  # its statements do not come through `Cursor`: begin early
        if self.statements is not None and not _is_own_cursor(factory):
            self.statements.has_unseen_texts = True
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
        """SQLite swallows an interrupt inside `listener` and refuses the statement: raise it here."""
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
        """Whether the open transaction changed anything. Rolls back, to see whether the schema changed."""
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
        word = find_keyword(sql)
        is_end = False
        if conn.managed:
            if not conn.in_transaction:
                conn._begin(word)
            else:
                is_end = word in _COMMITS
        try:
            _execute(self, sql, *args)
        except sqlite3.DatabaseError as error:
            conn.raise_if_interrupted(error)
            raise
        finally:
            conn.note_text(sql, word, args)
        if is_end:
            conn._note_commit("COMMIT")
        return self

    def executemany(self, sql: str, *args: Any) -> Cursor:
        conn: Connection = self.connection  # type: ignore[assignment]
        word = find_keyword(sql)
        if conn.managed and not conn.in_transaction:
            conn._begin(word)
        try:
            super().executemany(sql, *args)
        except sqlite3.DatabaseError as error:
            conn.raise_if_interrupted(error)
            raise
        finally:
            conn.note_text(sql, word, args)
        return self

    def executescript(self, script: str) -> Cursor:
        """Like Python's: commits the open transaction, then each statement by itself."""
        conn: Connection = self.connection  # type: ignore[assignment]
        conn._note_commit("executescript()")
        try:
            super().executescript(script)
        except sqlite3.DatabaseError as error:
            conn.raise_if_interrupted(error)
            raise
        finally:
            conn.note_text(script, SCRIPT, ())
        return self


def apply_settings(conn: sqlite3.Connection) -> None:
    """The settings of every connection of orch: check foreign keys, wait for locks."""
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")


def _is_own_cursor(factory: object) -> bool:
    return isinstance(factory, type) and issubclass(factory, Cursor)
