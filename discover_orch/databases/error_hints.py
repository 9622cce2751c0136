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

QUERY_CANCELED, IN_FAILED_TRANSACTION = "57014", "25P02"
#: PostgreSQL's codes for what cannot be done in a transaction, such as a VACUUM or a COMMIT in a procedure, and what
#: psycopg and DuckDB say.
_NEEDS_NO_TRANSACTION = ("25001", "2D000")
_NO_TRANSACTION_WORDS = (
    *("in transaction status INTRANS", "CHECKPOINT:"),
    *("single attached database", "within a transaction", "aborted (please ROLLBACK)"),
)
#: A name that a database refuses to create again.
_EXISTS = re.compile(r'\b(table|view|relation)(?: with name)? "?([\w.]+)"? already exists', re.I)

_read_cause, _read_context = (
    BaseException.__dict__[name].__get__ for name in ("__cause__", "__context__")
)


def find_hint(error: BaseException, holds_lock: bool = False, tables: Collection[str] = ()) -> str:
    """How to fix an error that a database driver raised, where its own words do not say it; or "". `holds_lock`: orch
    has not committed yet what the tool has. `tables` are those that exist."""
    inner = read_attribute(error, "orig", error)
    module = type(inner).__module__.lstrip("_").partition(".")[0]
    is_sqlite = issubclass(type(inner), sqlite3.Error)
    if not (is_sqlite or module in ("duckdb", "psycopg")):
        return ""
    text = str(inner)
    if read_attribute(inner, "sqlstate", None) in _NEEDS_NO_TRANSACTION or (
        not is_sqlite and any(one in text for one in _NO_TRANSACTION_WORDS)
    ):
        return (
            "orch has begun a transaction for the tool and ends it: leave out BEGIN and COMMIT, do this before the "
            'first write, or set ORCH = {"transaction": "none"}'
        )
    if found := _EXISTS.search(text):
        kind = "VIEW" if found[1].lower() == "view" else "TABLE"
        return f"if an earlier run made it, write DROP {kind} IF EXISTS {found[2]} before it"
    if not is_sqlite:
        return ""
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
    return ""


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
