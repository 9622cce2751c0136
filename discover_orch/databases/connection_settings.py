"""The settings of a connection that tools share: each tool and each attempt finds those of when it was opened.

What `get_connection()` and the resources that use the connection have set stays. Settings are restored outside of a
transaction, but within it in a run that is one.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from discover_orch.databases.driver_transaction import (
    ask_duckdb,
    ask_postgres,
    find_driver_connection,
    find_kind,
)
from discover_orch.databases.sqlite_calls import ask_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Attributes of connections of `sqlite3` and psycopg.
ATTRIBUTES = (
    *("autocommit", "isolation_level", "row_factory", "text_factory", "orch_authorizer"),
    "cursor_factory",
    *("server_cursor_factory", "read_only", "deferrable", "prepare_threshold"),
)
#: Of SQLite's settings those that say what statements of this connection do, and that can be asked without the file.
PRAGMAS = (
    *("foreign_keys", "busy_timeout", "recursive_triggers", "ignore_check_constraints"),
    *("query_only", "locking_mode", "read_uncommitted", "legacy_alter_table"),
    *("reverse_unordered_selects", "trusted_schema"),
)
ASK_DUCKDB = "SELECT name, value FROM duckdb_settings()"
#: Roles are no settings for RESET ALL, and the role of a session goes before that of its statements.
ASK_POSTGRES = (
    b"SELECT name, current_setting(name) FROM pg_catalog.pg_settings WHERE source = 'session' UNION ALL "
    b"SELECT name, current_setting(name) FROM (VALUES ('session_authorization'), ('role')) AS roles (name)"
)


class ConnectionSettings:
    """Of a connection, or of one of SQLAlchemy. What cannot be asked or set is left as it is."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self._attributes: dict[str, Any] = {}
        self._options: Any = None  # of SQLAlchemy
        self._session: dict[str, Any] = {}  # what SQLite and DuckDB have set
        self._reset = b""  # what gives PostgreSQL its settings back
        self.note()

    def note(self) -> None:
        """What is set now is what each tool starts with."""
        driver = find_driver_connection(self._conn)
        self._options = getattr(self._conn, "_execution_options", None)
        self._attributes, self._session, self._reset = {}, {}, b""
        with suppress(Exception):  # the connection is closed or broken, or speaks another dialect
            kind = find_kind(driver)
            self._attributes = _read_attributes(driver) if kind else {}
            if kind in ("sqlite3", "duckdb"):
                self._session = _read_session(driver)
            elif kind and driver.info.vendor == "PostgreSQL":
                self._reset = _build_reset(driver)

    def restore(self, *, may_be_set: bool) -> None:
        """`may_be_set`: a statement of the tool may have set something. DuckDB takes milliseconds to say what."""
        driver = find_driver_connection(self._conn)
        if getattr(self._conn, "_execution_options", None) is not self._options:
            self._conn._execution_options = self._options
        with suppress(Exception):  # the tool has closed it
            if self._attributes:
                _restore_attributes(driver, self._attributes)
            if self._reset:
                ask_postgres(driver, self._reset)
            elif self._session and may_be_set:
                _restore_session(driver, self._session)


def _read_attributes(driver: Any) -> dict[str, Any]:
    return {name: getattr(driver, name) for name in ATTRIBUTES if hasattr(driver, name)}


def _restore_attributes(driver: Any, known: dict[str, Any]) -> None:
    for name, value in known.items():
        now = getattr(driver, name)
        if now is not value and now != value:
            with suppress(Exception):  # a transaction is open
                setattr(driver, name, value)


def _read_session(driver: Any) -> dict[str, Any]:
    if isinstance(driver, sqlite3.Connection):
        return {name: ask_rows(driver, f"PRAGMA {name}")[0][0] for name in PRAGMAS}
    return dict(ask_duckdb(driver, ASK_DUCKDB))


def _restore_session(driver: Any, known: dict[str, Any]) -> None:
    for name, value in _read_session(driver).items():
        if name in known and known[name] != value:
            before = str(known[name] or "").replace("'", "''")
            with suppress(Exception):  # one that follows from another
                if isinstance(driver, sqlite3.Connection):
                    ask_rows(driver, f"PRAGMA {name} = {known[name]}")
                else:
                    ask_duckdb(driver, f"SET {name} = '{before}'")


def _build_reset(driver: Any) -> bytes:
    from psycopg.pq import Escaping

    result = ask_postgres(driver, ASK_POSTGRES)
    quote = Escaping(driver.pgconn).escape_literal
    settings = [
        b"set_config(%b, %b, false)"
        % tuple(bytes(quote(result.get_value(row, column) or b"")) for column in (0, 1))
        for row in range(result.ntuples)
    ]
    return b"RESET ALL; SELECT " + b", ".join(settings)
