"""The settings of a connection that tools share: each tool and each attempt finds those of when it was opened.

What `get_connection()` and the resources that use the connection have set stays. Settings are restored outside of a
transaction, but within it in a run that is one.
"""

from __future__ import annotations

from contextlib import suppress

from discover_orch.databases.drivers import find_database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Attributes of connections of `sqlite3` and psycopg.
ATTRIBUTES = (
    *("autocommit", "isolation_level", "row_factory", "text_factory", "orch_authorizer"),
    "cursor_factory",
    *("server_cursor_factory", "read_only", "deferrable", "prepare_threshold"),
)


class ConnectionSettings:
    """Of a connection, or of one of SQLAlchemy. What cannot be asked or set is left as it is."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self._attributes: dict[str, Any] = {}
        self._options: Any = None  # of SQLAlchemy
        self._settings: Any = None  # of the session
        self.note()

    def note(self) -> None:
        """What is set now is what each tool starts with."""
        database = find_database(self._conn)
        self._options = getattr(self._conn, "_execution_options", None)
        self._attributes, self._settings = {}, None
        with suppress(Exception):  # the connection is closed or broken, or speaks another dialect
            if database.is_known:
                there = (name for name in ATTRIBUTES if hasattr(database.conn, name))
                self._attributes = {name: getattr(database.conn, name) for name in there}
                self._settings = database.read_settings()

    def restore(self, *, may_be_set: bool) -> None:
        """`may_be_set`: a statement of the tool may have set something. Asking the database what takes time."""
        if getattr(self._conn, "_execution_options", None) is not self._options:
            self._conn._execution_options = self._options
        with suppress(Exception):  # the tool has closed it
            database = find_database(self._conn)
            for name, value in self._attributes.items():
                now = getattr(database.conn, name)
                if now is not value and now != value:
                    with suppress(Exception):  # a transaction is open
                        setattr(database.conn, name, value)
            if self._settings:
                database.restore_settings(self._settings, may_be_set=may_be_set)
