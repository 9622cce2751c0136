"""Opens the database that a URL names, and says in a sentence why one cannot be opened.

orch opens SQLite, PostgreSQL (psycopg 3) and DuckDB itself, and every other database with SQLAlchemy: the tool
gets the connection of the driver. No message shows a password.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import suppress
from importlib.util import find_spec
from typing import assert_never

from discover_orch.databases.error_hints import find_hint
from discover_orch.databases.sqlite_calls import ask_rows, quote_path
from discover_orch.databases.sqlite_connection import BUSY_TIMEOUT, Connection, apply_settings
from discover_orch.databases.sqlite_user_connections import connect_plainly
from discover_orch.model.database_url import (
    IN_MEMORY,
    KNOWN_SCHEMES,
    CannotOpen,
    DuckdbUrl,
    OtherUrl,
    PostgresUrl,
    SqliteUrl,
    find_database_file,
    masked_url,
    read_database_url,
)
from discover_orch.model.errors import nearest
from discover_orch.model.secret_masking import MASK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The packages that bring modules of another name.
PACKAGES = {
    "MySQLdb": "mysqlclient",
    "psycopg2": "psycopg2-binary",
    "mysql": "mysql-connector-python",
}


def find_path(url: str, root: str) -> str:
    """The path of a URL's database file; "" for a database in memory and for any other URL."""
    file = find_database_file(url)
    return os.path.join(root, file) if file else ""


def check_url(url: str) -> None:
    """Raises CannotOpen if the URL is wrong or its driver is missing. Connects to nothing."""
    match read_database_url(url):
        case SqliteUrl():
            pass
        case DuckdbUrl():
            _need_driver("duckdb", "DuckDB", "discover-orch[duckdb]")
        case PostgresUrl():
            _need_driver("psycopg", "PostgreSQL", "discover-orch[postgres]")
        case OtherUrl() as other:
            _check_dialect(other)
        case unreachable:
            assert_never(unreachable)


def open_url(url: str, root: str) -> Any:
    """A connection to the database of this URL; raises CannotOpen."""
    check_url(url)
    match read_database_url(url):
        case SqliteUrl(path=path, query=query):
            return open_sqlite(os.path.join(root, path) if path else IN_MEMORY, query)
        case DuckdbUrl(path=path, settings=settings):
            return _open_duckdb(os.path.join(root, path) if path else IN_MEMORY, dict(settings))
        case PostgresUrl(url=given):
            return _open_postgres(given)
        case OtherUrl() as other:
            return _open_with_sqlalchemy(other)
        case unreachable:
            assert_never(unreachable)


def open_sqlite(path: str, query: str = "") -> Connection:
    """A connection that has read the file; raises CannotOpen."""
    conn: Any = None
    try:
        name = f"file:{quote_path(path)}?{query}" if query else path
        conn = connect_plainly(name, timeout=BUSY_TIMEOUT, factory=Connection, uri=bool(query))
        apply_settings(conn)
        ask_rows(conn, "PRAGMA schema_version")  # reads the header: is it a database?
    except sqlite3.Error as error:
        if conn is not None:
            conn.close()
        raise _cannot_open(path, error) from None
    opened: Connection = conn
    return opened


def allow_reading_beside_a_writer(conn: Any) -> None:
    """Several workers use the database. The setting of SQLite stays in the file."""
    if isinstance(conn, sqlite3.Connection):
        # It may be opened for reading, or another program uses it.
        with suppress(sqlite3.OperationalError):
            conn.execute("PRAGMA journal_mode = WAL")


def _cannot_open(path: str, error: Exception) -> CannotOpen:
    """The driver's own reason why a database file cannot be opened."""
    hint = (
        f"check the URL, that the folder {os.path.dirname(path)} exists, that orch may read and write there, and that "
        "the file is a database of this kind"
    )
    text = str(error).partition("\n")[0]
    return CannotOpen(f"cannot open the database {path}: {text}", find_hint(error) or hint)


def _need_driver(module: str, database: str, package: str) -> None:
    if find_spec(module) is None:
        raise CannotOpen(
            f"the driver for {database} is not installed: no module named {module}",
            f'pip install "{package}"',
        )


def _open_duckdb(path: str, settings: dict[str, Any]) -> Any:
    import duckdb

    try:
        return duckdb.connect(path, config=settings)
    except duckdb.Error as error:
        raise _cannot_open(path, error) from None


def _open_postgres(url: str) -> Any:
    import psycopg

    try:
        return psycopg.connect(url)
    except (psycopg.Error, UnicodeError) as error:
        raise _cannot_connect(url, error) from None


def _cannot_connect(url: str, error: BaseException) -> CannotOpen:
    """The driver's own reason, without the addresses that libpq has tried, and without the password."""
    reason = str(error).rpartition("failed: ")[2].strip().partition("\n")[0]
    text = _hide(reason or type(error).__name__, url)
    hint = "check the URL, and whether the server is running"
    return CannotOpen(f"cannot connect to {masked_url(url)}: {text}", hint)


def _hide(text: str, url: str) -> str:
    """libpq quotes the URL, or the part of it that it cannot read, which may be the password."""
    masked = masked_url(url)
    hidden = text.replace(url, masked)
    for quoted in re.findall(r'"([^"]+)"', hidden):
        if quoted in url and quoted not in masked:
            hidden = hidden.replace(quoted, MASK)
    return hidden


def _check_dialect(given: OtherUrl) -> None:
    """Raises CannotOpen where SQLAlchemy has no dialect for this URL, or where its driver is missing."""
    if find_spec("sqlalchemy") is None:
        raise _unknown_kind(given.scheme, "install SQLAlchemy, which opens most others")
    from sqlalchemy import exc, make_url

    try:
        dialect: Any = make_url(given.url).get_dialect()
    except exc.NoSuchModuleError:
        raise _unknown_kind(
            given.scheme, "open any other database in get_connection() of orchconf.py"
        ) from None
    except (exc.ArgumentError, ValueError):
        raise CannotOpen(
            f'"{masked_url(given.url)}" is not a database URL',
            "write it as SQLAlchemy reads it: scheme://user:password@host:port/database",
        ) from None
    if dialect.is_async:
        raise CannotOpen(
            f"{given.scheme}:// is the URL of an asynchronous driver",
            "name a driver that is not asynchronous, or leave the part after + out",
        )
    try:
        dialect.import_dbapi()
    except ImportError as error:
        module = (error.name or str(error)).partition(".")[0]
        raise CannotOpen(
            f"the driver for {given.scheme}:// is not installed: no module named {module}",
            f"pip install {PACKAGES.get(module, module)}",
        ) from None


def _unknown_kind(scheme: str, way: str) -> CannotOpen:
    near = nearest(scheme, KNOWN_SCHEMES)
    question = f"did you mean {near}://? " if near else ""
    known = ", ".join(f"{name}://" for name in KNOWN_SCHEMES)
    return CannotOpen(f"unknown kind of database: {scheme}://", f"{question}known: {known}; {way}")


def _open_with_sqlalchemy(given: OtherUrl) -> Any:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    try:
        pooled = create_engine(given.url, poolclass=NullPool).raw_connection()
        conn = pooled.driver_connection
        pooled.detach()  # else it is closed when `pooled` is gone
    except Exception as error:
        raise _cannot_connect(given.url, getattr(error, "orig", None) or error) from None
    return conn
