"""How to fix an error that a database driver raised, and whether it is a statement that was cancelled."""

from __future__ import annotations

import re
import sqlite3

from discover_orch.databases.driver_transaction import read_attribute
from discover_orch.databases.sqlite_connection import BUSY_TIMEOUT
from discover_orch.model.errors import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

#: PostgreSQL's codes for what cannot be done in a transaction: a VACUUM, a COMMIT in a procedure.
NEEDS_NO_TRANSACTION = ("25001", "2D000")
LOCK_TIMEOUT, QUERY_CANCELED, IN_FAILED_TRANSACTION = "55P03", "57014", "25P02"
NEEDS_NO_DUCKDB_TRANSACTION = ("CHECKPOINT:", "single attached database", "within a transaction")
#: A name that a database refuses to create again.
_EXISTS = re.compile(r'\b(table|view|relation)(?: with name)? "?([\w.]+)"? already exists', re.I)
#: A table that a statement takes for a view, or a view that it takes for a table: the words of SQLite, DuckDB and
#: PostgreSQL. The last is of CREATE OR REPLACE VIEW, and names no kind.
_OTHER_KIND = re.compile(
    r"use DROP (?P<sqlite>\w+) to delete \w+ (?P<a>.+)"
    r'|Existing object "(?P<b>.+)" is of type (?P<duckdb>\w+), trying to'
    r'|"(?P<c>.+)" is not an? [\w ]+\s+HINT:\s+Use DROP (?P<postgres>[A-Z ]+) to remove|"(?P<d>.+)" is not a view'
)
_REPLACES = re.compile(r"trying to replace|is not a view\Z")
_OTHER_COLUMNS = re.compile(r"cannot (?:drop columns from|change (?:name|data type) of) view")

_read_cause, _read_context = (
    BaseException.__dict__[name].__get__ for name in ("__cause__", "__context__")
)


def find_hint(error: BaseException, holds_lock: bool = False, tables: Collection[str] = ()) -> str:
    """How to fix an error that a database driver raised, or "". `holds_lock`: orch has not committed yet what the tool
    has. `tables` are those that exist."""
    is_duckdb = type(error).__module__.lstrip("_").partition(".")[0] == "duckdb"
    if is_duckdb and any(one in str(error) for one in NEEDS_NO_DUCKDB_TRANSACTION):
        return (
            "orch has begun a transaction for the tool and ends it: leave out BEGIN and COMMIT, write to one database "
            'only, CHECKPOINT before the first write, or set ORCH = {"transaction": "none"}'
        )
    if is_duckdb and "transaction is aborted" in str(error):
        return (
            "after a failed statement DuckDB discards what the tool has written: avoid the failure, for example with "
            'IF EXISTS or TRY_CAST, or set ORCH = {"transaction": "none"}'
        )
    inner = read_attribute(error, "orig", error)
    code = read_attribute(inner, "sqlstate", None)
    is_psycopg = type(inner).__module__.partition(".")[0] == "psycopg"
    if code == LOCK_TIMEOUT:
        return (
            "another transaction has the lock; what a tool writes on conn is locked until the tool ends, "
            "also for a second connection of its own"
        )
    is_begun = is_psycopg and "in transaction status INTRANS" in str(inner)
    if code in NEEDS_NO_TRANSACTION or is_begun:
        return (
            "orch keeps one transaction open from the tool's first write to its end: do this "
            'before, with conn.autocommit = True, or set ORCH = {"transaction": "none"}'
        )
    is_driver = is_duckdb or is_psycopg or issubclass(type(inner), sqlite3.Error)
    if is_driver and (hint := _find_kind_hint(str(inner).strip())):
        return hint
    if is_driver and (found := _EXISTS.search(str(inner))):
        kind = "VIEW" if found[1].lower() == "view" else "TABLE"
        return f"if an earlier run made it, write DROP {kind} IF EXISTS {found[2]} before it"
    if not issubclass(type(error), sqlite3.OperationalError):
        return ""
    text = str(error)
    if text.startswith("no such table"):
        name = text.rpartition(":")[2].rpartition(".")[2].strip().lower()
        if name.startswith(("read_csv", "read_json", "read_parquet")):
            return 'SQLite reads no files: load this one in a Python tool, or use DuckDB (database = "duckdb:///data.duckdb")'
        close = nearest(name, tables)
        otherwise = f"did you mean {close}? Otherwise " if close else ""
        return f"{otherwise}run the tool that creates this table first, and name it in AFTER"
    if "locked" in text and holds_lock:
        return (
            "conn has locked the database until the tool ends, also where the tool has committed: use conn for this "
            'too, or write ORCH = {"transaction": "none"} in the tool'
        )
    if "locked" in text:
        return (
            f"another connection has locked the database; orch waited {BUSY_TIMEOUT:.0f} s. "
            "Is another program using it, or is a query unfinished?"
        )
    if "readonly" in text or "read-only" in text:
        return "make the database file and its folder writable"
    if "full" in text:
        return "free some disk space"
    return ""


def _find_kind_hint(message: str) -> str:
    """What to do where a table becomes a view, or a view a table. No DROP does for both."""
    if _OTHER_COLUMNS.search(message):
        return "CREATE OR REPLACE VIEW only adds columns: write DROP VIEW IF EXISTS before it"
    if not (found := _OTHER_KIND.search(message)):
        return ""
    name = found["a"] or found["b"] or found["c"] or found["d"]
    kind = (found["sqlite"] or found["duckdb"] or found["postgres"] or "TABLE").upper()
    shown = name if name.replace(".", "_").isidentifier() else f'"{name}"'
    what, drop = f"{shown} is a {kind.lower()}", f"DROP {kind} IF EXISTS {shown}"
    if _REPLACES.search(message):
        return f"{what}: for one run, write {drop} before this statement"
    other = "table" if kind == "VIEW" else "view"
    return f"{what}: write {drop} instead, for one run if the tool makes a {other} from now on"


def is_cancelled(error: BaseException) -> bool:
    """Whether this is how a driver reports a statement that was cancelled, or follows from it: what was cancelled may
    have been a question of orch's own before the statement."""
    return any(
        read_attribute(one, "sqlstate", None) in (QUERY_CANCELED, IN_FAILED_TRANSACTION)
        or type(one).__name__ == "InterruptException"
        or (type(one).__name__ == "TransactionException" and "is aborted" in str(one))
        or read_attribute(one, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
        for one in _find_causes(error)
    )


def _find_causes(error: BaseException) -> Iterator[Any]:
    """The error and those behind it, as the driver raised them."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield read_attribute(found, "orig", None) or found
        # The class of the error may be the user's, so its own attributes are not asked.
        found = _read_cause(found) or _read_context(found)
