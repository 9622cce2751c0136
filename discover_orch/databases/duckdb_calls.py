"""DuckDB's methods, which report to a log what a tool does with them.

They are wrapped because DuckDB's connections have no attributes to replace. A wrapped method does what it did before,
and an error in orch's part never reaches the tool.
"""

from __future__ import annotations

import functools
import sys
from contextlib import suppress

from discover_orch.databases.driver_transaction import call_from, plain_method
from discover_orch.databases.duckdb_plan import Statement
from discover_orch.databases.duckdb_tables import DuckdbLog, Sent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

#: Methods of a relation that take expressions as text; an expression can hold a query or call a macro.
EXPRESSIONS = "aggregate apply filter group_by join order project select sort with_columns any_value avg count "
EXPRESSIONS += "first last list max mean min pivot string_agg sum"
#: Methods of a connection that read a result to its end.
FETCHES = "fetchall fetchdf fetch_df df fetchnumpy pl torch tf complete abort arrow fetch_arrow_table to_arrow_table"


@functools.cache
def wrap_methods() -> None:
    """Have all methods that matter report to the latest log before they are called."""
    duckdb = sys.modules["duckdb"]
    connection, relation = duckdb.DuckDBPyConnection, duckdb.DuckDBPyRelation

    def insert(log: DuckdbLog, name: str, *_: Any) -> Sent:
        return log.on_method("INSERT", f"INSERT INTO {name}")

    def create(log: DuckdbLog, name: str, *_: Any) -> Sent:
        return log.on_method("CREATE", f"CREATE OR REPLACE TABLE {name}")

    for owner, at in ((connection, 1), (duckdb, 0)):
        for name in ("execute", "executemany", "sql", "query", "from_query", "table", "view"):
            _wrap(owner, name, functools.partial(_run_query, name, at))
        report = functools.partial(_report, owner, at)
        report("append appender", insert)
        report("table_function from_substrait from_substrait_json", _on_unknown)
        report("query_df query_appender", _on_unknown)
        report("register unregister begin rollback", lambda log, *_: log.forget())
        report("create_function", lambda log, name, *_: log.functions.add(name.lower()))
    report = functools.partial(_report, relation, 1)
    report("create to_table create_view to_view", create)
    report("insert_into", insert)
    report("insert update query", _on_unknown)
    report(EXPRESSIONS, _on_expressions)
    report = functools.partial(_report, connection, 0)
    report("cursor duplicate", lambda log, *_: setattr(log, "uses_other_connection", True))
    report(FETCHES, lambda log, conn, *_: log.open.discard(id(conn)))
    report("commit", lambda log, *_: setattr(log, "has_committed", True))
    report("close __exit__", lambda log, conn, *_: log.on_close(conn))


def _wrap(owner: Any, name: str, run: Callable[..., Any]) -> None:
    """`run` is called with the latest log, the frame of the caller, the method, and its arguments."""
    original = vars(owner).get(name)
    if original is None:
        return

    @functools.wraps(original)
    def wrapper(*args: Any, **named: Any) -> Any:
        log, caller = DuckdbLog.latest, sys._getframe(1)
        if log is None:
            return call_from(caller, functools.partial(original, *args, **named))
        return run(log, caller, original, *args, **named)

    setattr(owner, name, wrapper)


def _report(owner: Any, at: int, names: str, report: Callable[..., Any]) -> None:
    """`report` is called with the latest log and the arguments from the one at `at`; it gives what the log has noted,
    if anything."""

    def run(log: DuckdbLog, caller: FrameType, original: Any, *args: Any, **named: Any) -> Any:
        sent = None
        try:
            sent = report(log, *args[at:], *named.values())
        except Exception:  # the arguments are not those that orch knows
            log.has_unknown = True
        call = functools.partial(original, *args, **named)
        return _call(log, caller, sent if isinstance(sent, Sent) else None, call)

    for name in names.split():
        _wrap(owner, name, run)


def _call(log: DuckdbLog, caller: FrameType, sent: Sent | None, call: Callable[[], Any]) -> Any:
    try:
        result = call_from(caller, call)
    except BaseException:
        own = log.find_own_error(sent)
        log.on_error()
        if own is not None:
            raise own from None
        raise
    log.on_success(sent)
    return result


def _run_query(
    name: str, at: int, log: DuckdbLog, caller: FrameType, original: Any, *args: Any, **named: Any
) -> Any:
    """A method that gets SQL. Where its text has several statements, each is run by itself, as DuckDB does."""
    conn = values = None
    parsed: list[tuple[Statement, Any]] = []
    with suppress(Exception):  # the arguments are wrong, or the text is: the call says how
        conn, *rest = args if at else (_default_connection(named), *args)
        query, *rest = rest or [next(iter(named.values()))]
        values = rest[0] if rest else named.get("parameters", named.get("params"))
        values = values[0] if name == "executemany" and values else values
        if name in ("table", "view"):
            parsed = [(Statement("SELECT", f"FROM {query}"), query)]
        elif values is None or isinstance(values, list | tuple | dict):
            parsed = log.parse(conn, query)
    for one, given in parsed[:-1]:
        run = functools.partial(plain_method("execute"), conn, given)
        _send(log, caller, conn, one, None, run)
    if len(parsed) > 1:
        args, named = (*args[:at], parsed[-1][1], *args[at + 1 :]), {**named}
        named.pop("query", None)
    call = functools.partial(original, *args, **named)
    if parsed:
        one = parsed[-1][0]
        is_relation = not name.startswith("execute") and one.kind == "SELECT"
        return _send(log, caller, conn, one, values, call, is_relation=is_relation)
    result = _call(log, caller, None, call)
    log.has_unknown = True
    return result


def _send(
    log: DuckdbLog,
    caller: FrameType,
    conn: Any,
    one: Statement,
    values: Any,
    call: Callable[[], Any],
    *,
    is_relation: bool = False,
) -> Any:
    """DuckDB looks up all names when it makes a relation, so it can explain it afterwards."""
    sent = None
    ask = functools.partial(
        log.on_relation if is_relation else log.on_statement, conn, one, values, caller
    )
    try:
        sent = None if is_relation else ask()
    except Exception:
        log.has_unknown = True
    try:
        result = call_from(caller, call)
    except BaseException as error:
        own = log.find_own_error(sent)
        log.on_error(one if is_relation else None, error)
        if own is not None:
            raise own from None
        raise
    if not is_relation:
        log.on_success(sent)
        log.on_executed(conn, one)
        return result
    try:
        ask()
    except Exception:
        log.has_unknown = True
    return result


def _default_connection(named: dict[str, Any]) -> Any:
    default, conn = sys.modules["duckdb"].default_connection, named.get("connection")
    return conn if conn is not None else default() if callable(default) else default


def _on_unknown(log: DuckdbLog, *_: Any) -> None:
    log.has_unknown = True


def _on_expressions(log: DuckdbLog, *given: Any) -> None:
    """The words of expressions count: DuckDB explains none by itself."""
    for one in given:
        if isinstance(one, list | tuple):
            _on_expressions(log, *one)
        elif (isinstance(one, str) or type(one).__name__ == "Expression") and "(" in str(one):
            log.on_words(Statement("SELECT", str(one)))
