"""The methods of `sqlite3.Connection` itself, past those of its subclasses, and the subclass that takes the place of a
plain connection."""

from __future__ import annotations

import sqlite3

from discover_orch.model.table_name import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]

#: The mode of `autocommit` in which Python begins transactions, the only one before Python 3.12.
LEGACY = -1

# Bound once: a tool may execute millions of statements.
new_cursor = sqlite3.Connection.cursor
execute = sqlite3.Cursor.execute
authorize = sqlite3.Connection.set_authorizer
is_really_open = sqlite3.Connection.in_transaction.__get__
level_of = sqlite3.Connection.isolation_level.__get__  # type: ignore[union-attr]
set_level = sqlite3.Connection.isolation_level.__set__  # type: ignore[union-attr]


class OrdinaryConnection(sqlite3.Connection):
    """An ordinary connection that can become a `Connection`. A plain one of C cannot."""

    _user_authorizer: Authorizer | None = None
    #: Is called before the user's, and allows everything.
    _first_authorizer: Authorizer | None = None

    def listen(self, first_authorizer: Authorizer) -> None:
        """Call this too for each statement that is prepared, until the connection is adopted."""
        self._first_authorizer = first_authorizer
        authorize(self, first_authorizer)

    def set_authorizer(self, authorizer_callback: Authorizer | None) -> None:
        self._user_authorizer = authorizer_callback
        authorize(self, combine(self._first_authorizer, authorizer_callback))

    def backup(self, target: sqlite3.Connection, **kwargs: Any) -> None:
        statements = getattr(target, "statements", None)
        if isinstance(target, OrdinaryConnection) and statements is not None:
            statements.note_use(kwargs.get("name", "main"), WHOLE, is_written=True)
            statements.has_committed = True
        super().backup(target, **kwargs)


def combine(one: Authorizer | None, other: Authorizer | None) -> Authorizer | None:
    """An authorizer that asks both."""
    if one is None or other is None:
        return one or other
    return lambda *asked: one(*asked) or other(*asked)


def autocommit_of(conn: sqlite3.Connection) -> bool | int:
    autocommit = getattr(sqlite3.Connection, "autocommit", None)
    mode: bool | int = LEGACY if autocommit is None else autocommit.__get__(conn)
    return mode


def set_autocommit(conn: sqlite3.Connection, mode: bool | int) -> None:
    sqlite3.Connection.autocommit.__set__(conn, mode)  # type: ignore[attr-defined]
