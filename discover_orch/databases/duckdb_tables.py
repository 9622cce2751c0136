"""Which tables a tool used on a DuckDB connection, as DuckDB itself explains its statements.

The methods of DuckDB's classes are wrapped, because its connections have no attributes to replace. A wrapped method
does what it did before, and an error in orch's part never reaches the tool. DuckDB is asked for the plan of each
different statement just before it runs, on the same connection; for that of a relation just after it was made, unless
the tool may still read a result, which a question would end. Then the words of its text count.
Imports nothing of DuckDB: a process that has one of its connections has loaded it.
"""

from __future__ import annotations

import functools
import os
import re
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress

from msgspec.structs import replace

from discover_orch.databases.driver_transaction import ask_duckdb, plain_method
from discover_orch.databases.duckdb_catalog import (
    Catalog,
    Table,
    display_name,
    find_file,
    find_words,
    read_catalog,
)
from discover_orch.databases.duckdb_plan import (
    KEEPS_NAMES,
    Effect,
    Plan,
    Statement,
    find_uses,
    read_effect,
    read_failure,
    read_words,
)
from discover_orch.databases.sqlite_calls import quote
from discover_orch.databases.table_content import join_version, read_head
from discover_orch.databases.table_log import FoundTables, TableContent, TableLog
from discover_orch.model.table_keys import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, ClassVar

#: Statements that are remembered by their text; more are explained anew.
MOST_TEXTS = 10_000
#: Kinds of statements that leave nothing behind; that set nothing; and that have no result.
READS = ("SELECT", "MULTI", "EXPLAIN", "PRAGMA", "SET", "VARIABLE_SET", "LOAD", "VACUUM", "PREPARE")
SETS_NOTHING = ("CREATE", "DROP", "ALTER", *KEEPS_NAMES)
NO_RESULT = ("INSERT", "UPDATE", "DELETE", "MERGE_INTO", "CREATE", "DROP", "ALTER", "SET")
#: Methods of a relation that take expressions as text; an expression can hold a query or call a macro.
EXPRESSIONS = (
    *("aggregate", "apply", "filter", "group_by", "join", "order", "project", "select", "sort", "with_columns"),
    *("any_value", "avg", "count", "first", "last", "list", "max", "mean", "min", "pivot", "string_agg", "sum"),
)  # fmt: skip
#: Methods of a connection that read a result to its end.
FETCHES = (
    *("fetchall", "fetchdf", "fetch_df", "df", "fetchnumpy", "pl", "torch", "tf", "complete", "abort"),
    *("arrow", "fetch_arrow_table", "to_arrow_table"),
)  # fmt: skip
#: ATTACH: the name of the file, and what follows it.
_ATTACH = re.compile(
    r"\A\s*attach\s+(?:or\s+replace\s+)?(?:database\s+)?(?:if\s+not\s+exists\s+)?"
    r"(?:'((?:[^']|'')*)')?([^;]*)",
    re.I,
)
_FOREIGN_TYPE = re.compile(r"\btype\s+(?!'?(?:duckdb|sqlite)\b)", re.I)


class NotExplained(Exception):
    """`has_lost`: the error has ended the transaction, and a new one is open."""

    def __init__(self, message: str, *, has_lost: bool) -> None:
        super().__init__(message)
        self.has_lost = has_lost


class Sent:
    """A statement that the tool has sent, or what a method did in its place."""

    def __init__(self, effect: Effect, *, has_lost: bool = False) -> None:
        """`has_lost`: DuckDB did not explain it, and a transaction has been begun anew, in which it fails again."""
        self.effect, self.has_lost, self.is_done = effect, has_lost, False


class DuckdbLog(TableLog):
    """Of one connection. The latest log receives the calls of all connections.

    `note_attach` receives the name of each file that is attached, or None where it is not known. `functions` are
    written in Python: DuckDB calls them to explain, too.
    """

    dialect = "duckdb"
    latest: ClassVar[DuckdbLog | None] = None

    def __init__(
        self, conn: Any, note_attach: Callable[[str | None], None] = lambda name: None
    ) -> None:
        super().__init__()
        self.conn, self._note_attach = conn, note_attach
        with suppress(Exception):
            self.file = find_file(conn)
        self._sent: list[Sent] = []  # in this step, each text once
        self._sent_before_check: list[Sent] = []
        self._by_text: dict[object, Sent] = {}
        self._relations: list[Statement] = []  # their names may mean something else when they run
        self._parsed: dict[str, Statement] = {}
        self._prepared: dict[str, str] = {}
        self._open: set[int] = set()  # connections with a result that the tool may still read
        self._after_error = self.after_error
        self._default = ("", "")
        self._before: Catalog | None = None  # when the step began
        self._catalog: Catalog | None = None  # now; None if it may have changed
        self._macros: Catalog | None = None  # the latest one, while its macros still hold
        self._view_parts: dict[Table, tuple[str, ...] | None] = {}
        self.functions: set[str] = set()
        self._has_variable = self.has_unknown = self._may_have_committed = False
        DuckdbLog.latest = self
        wrap_methods()

    # Wrapped methods call these, in any thread, while the tool waits.

    def parse(self, conn: Any, query: Any) -> list[tuple[Statement, Any]]:
        """The statements of a text, with those of DuckDB where there are several."""
        if isinstance(query, str) and query in self._parsed:
            return [(self._parsed[query], query)]
        given = conn.extract_statements(query) if isinstance(query, str) else [query]
        try:
            found = [(Statement(str(one.type).rpartition(".")[2], one.query), one) for one in given]
        except IndexError:  # before version 2, a PIVOT is several statements without a text
            found = [(Statement("MULTI", query), query)]
        if len(found) == 1 and isinstance(query, str) and len(self._parsed) < MOST_TEXTS:
            self._parsed[query] = found[0][0]
        return found

    def on_statement(self, conn: Any, one: Statement, values: Any, caller: FrameType) -> Sent:
        """A statement is about to run, or a relation was made of it."""
        self.uses_other_connection |= conn is not self.conn
        if one.kind == "ATTACH" and (found := _ATTACH.match(one.clean)):
            self._note_attach(_read_attached(found))
        # Values decide what is read only where one of them may be the name of a table.
        has_names = "query" in one.text.lower() or bool(self._known().find_macros())
        key = (id(conn), one.text, repr(values) if values and has_names else "")
        sent = self._by_text.get(key)
        if sent is None:
            sent = self._ask(conn, one, values, caller)
            self._sent.append(sent)
            if len(self._by_text) < MOST_TEXTS and one.kind in KEEPS_NAMES:
                self._by_text[key] = sent
        self._note_caller(sent.effect)
        return sent

    def on_relation(self, conn: Any, one: Statement, values: Any, caller: FrameType) -> None:
        """A relation was made, which runs later or never."""
        self._relations.append(one)
        if id(conn) in self._open:
            self.on_words(one)
        else:
            self.on_success(self.on_statement(conn, one, values, caller))

    def on_words(self, one: Statement) -> None:
        """A query that cannot be explained now."""
        self.on_success(self.on_effect(read_words(one, self._known())))

    def on_method(self, one: Statement) -> Sent:
        """A method does what this statement would do."""
        return self.on_effect(read_effect(one, None, self._known(), frozenset()))

    def on_effect(self, effect: Effect) -> Sent:
        self._sent.append(sent := Sent(effect))
        self._note_caller(effect)
        return sent

    def on_success(self, sent: Sent | None) -> None:
        if sent is None:
            return
        if sent.has_lost and any(
            one.is_done and one.effect.kind not in READS for one in self._sent
        ):
            # It ran in a new transaction, and what the tool had written is lost.
            with suppress(Exception):
                ask_duckdb(self.conn, "SELECT error('')")
            raise RuntimeError("DuckDB has ended the transaction, and does not say why")
        sent.is_done = True
        if sent.effect.kind not in KEEPS_NAMES:
            named = sent.effect.named
            self.forget(keeps_macros=named is not None and not named[2].startswith("macro "))

    def on_executed(self, conn: Any, one: Statement) -> None:
        """The result, if it has one, is the one that the tool may read."""
        self._open.discard(id(conn))
        if one.kind not in NO_RESULT or one.has(r"\breturning\b"):
            self._open.add(id(conn))

    def on_fetched(self, conn: Any) -> None:
        self._open.discard(id(conn))

    def on_error(self, one: Statement | None = None, error: object = "") -> None:
        """A call has raised; `one` would have been a relation."""
        if one is not None:
            self._sent.append(Sent(read_failure(one, str(error), self._known())))
        if self.after_error is not None:
            done = [one.effect for one in self._sent if one.is_done]
            is_read_only = all(one.kind in READS and not one.is_unclear for one in done)
            self.after_error(is_read_only and not self.has_unknown)

    def forget(self, *, keeps_macros: bool = False) -> None:
        """Names may mean something else from now on."""
        self._by_text.clear()
        self._view_parts.clear()
        self._catalog = None
        if not keeps_macros:
            self._macros = None

    def _note_caller(self, effect: Effect) -> None:
        if self.tables_of_caller is not None:
            is_whole = effect.asked or effect.lists_columns or effect.gap
            names = {display_name(one, self._default) for one in effect.read}
            self.tables_of_caller().update({WHOLE} if is_whole else names)

    # Questions to DuckDB.

    def _ask(self, conn: Any, one: Statement, values: Any, caller: FrameType) -> Sent:
        catalog = self._latest(conn)
        given = [*(values.values() if isinstance(values, dict) else values or ())]
        texts = [one.clean, *(value for value in given if isinstance(value, str))]
        words = find_words(one.clean)
        gap, plan = "", None
        if one.kind in ("PREPARE", "EXECUTE"):
            name = (*re.split(r"[\s(]+", one.clean.strip().lower(), maxsplit=2), "")[1]
            if one.kind == "PREPARE":
                self._prepared[name] = one.clean
            elif name not in self._prepared:
                gap = "ran a prepared statement that it has not prepared"
            texts.append(self._prepared.get(name, ""))
        if "getvariable" in words and not self._has_variable:
            gap = "read a variable that another tool may have set"
        self._has_variable |= one.kind in ("SET", "VARIABLE_SET") and bool(one.planned)
        if one.planned and (catalog.find_macros() or not one.is_insert_of_values):
            if words & self.functions or _names_pipe(texts):
                return Sent(read_failure(one, "", catalog))
            try:
                plan = Plan(_explain(conn, one.planned, values, caller))
            except NotExplained as error:
                return Sent(read_failure(one, str(error), catalog), has_lost=error.has_lost)
        is_part = functools.partial(self._is_part, plan, catalog)
        uses = frozenset(find_uses(" ".join(texts), catalog, is_part))
        if conn is not self.conn and (one.kind == "SET" or {"temp", "temporary"} & words):
            self.has_unknown = True  # names mean something else on this connection
        effect = read_effect(one, plan, catalog, uses)
        return Sent(replace(effect, gap=gap) if gap else effect)

    def _is_part(self, plan: Plan | None, catalog: Catalog, view: Table) -> bool:
        """Whether the plan has a part that reads what this view reads; where that cannot be told, too."""
        if plan is None:
            return False
        if view not in self._view_parts:
            self._view_parts[view] = _find_view_part(self.conn, catalog, view)
        part = self._view_parts[view]
        return part is None or part in plan.parts

    def _latest(self, conn: Any) -> Catalog:
        """The catalog as it is now, or as it was when it could be read last."""
        if self._catalog is None:
            with suppress(Exception):  # the transaction has failed, or the connection is closed
                self._catalog = self._macros = read_catalog(conn, self._macros)
        return self._known()

    def _known(self) -> Catalog:
        """The same without a question to DuckDB."""
        return self._catalog or self._macros or self._before or Catalog()

    # The worker calls these.

    def begin_step(self) -> None:
        self._sent.clear()
        self._relations.clear()
        self._open.clear()
        self.forget()
        self.has_unknown = self._has_variable = self.uses_other_connection = False
        self.has_committed = self.has_written = self._may_have_committed = False
        self._before = None  # while it is not known
        self._latest(self.conn)
        self._before = self._catalog
        if self._before is not None:
            # A thing keeps its display name, also after a tool has changed the current schema.
            self._default = self._default if self._default[0] else self._before.default
            others = self._before.attached.items()
            files = [path for name, path in others if path and name != self._default[0]]
            self.attached = tuple(map(os.path.realpath, files))

    def begin_check(self) -> None:
        self._sent_before_check, self._sent = self._sent, []
        self._by_text.clear()
        # It begins the transaction anew where nothing is lost, and what the tool has written would be.
        self._after_error, self.after_error = self.after_error, None

    def end_check(self) -> bool:
        new, self._sent = self._sent, self._sent_before_check + self._sent
        self._by_text.clear()
        self.after_error = self._after_error
        return any(one.effect.written or one.effect.named or one.effect.commits for one in new)

    def read_tables(self, names: Iterable[str], most_rows: int) -> dict[str, TableContent]:
        found: dict[str, TableContent] = {}
        wanted, catalog = {*names}, self._latest(self.conn)
        for thing, (_, text) in catalog.things.items():
            shown = display_name(thing, self._default)
            if shown in wanted and thing not in catalog.tables:
                found[shown] = TableContent(version=join_version(text) if text else None)
            elif shown in wanted:
                with suppress(Exception):  # the transaction has failed
                    found[shown] = _read_table(self.conn, thing, shown, text, most_rows)
        return found

    def may_have_set(self) -> bool:
        return self.has_unknown or any(one.effect.kind not in SETS_NOTHING for one in self._sent)

    @property
    def may_have_committed(self) -> bool:
        return self.has_committed or self.uses_other_connection or self._may_have_committed

    def resolve(self) -> None:
        if self._sent or self.has_unknown:
            try:
                self._may_have_committed = self._resolve()
            except Exception:  # must not fail the tool
                self._may_have_committed = True
            self._found.is_unclear |= self._may_have_committed

    def _resolve(self) -> bool:
        """Whether something that was done is unclear. What a statement did that failed is undone."""
        before, now = self._before, self._latest(self.conn)
        if before is None:
            return True
        done = [one.effect for one in self._sent if one.is_done]
        failed = [one.effect for one in self._sent if not one.is_done]
        if before.path != now.path or _texts(before) != _texts(now):
            done += [read_words(one, now) for one in self._relations]
        self.has_committed |= any(one.commits for one in (*done, *failed))
        self.has_written = any(one.written or one.named for one in done)
        self._found.add(_find_used(done, failed, now, before, self._shown))
        return self.has_unknown or any(one.is_unclear for one in done)

    def _shown(self, things: Iterable[Table]) -> set[str]:
        """Their names. An attached file counts as a file, a database in memory only where the tool has found it."""
        known = self._before.attached.items() if self._before else ()
        counted = {self._default[0], *(name for name, path in known if not path)}
        return {display_name(one, self._default) for one in things if one[0] in counted}


def _texts(catalog: Catalog) -> dict[Table, tuple[int, str]]:
    """What names may mean besides tables."""
    return {one: catalog.things[one] for several in catalog.by_word.values() for one in several}


def _find_used(
    done: list[Effect],
    failed: list[Effect],
    now: Catalog,
    before: Catalog,
    shown: Callable[[Iterable[Table]], set[str]],
) -> FoundTables:
    """What these statements of one step did; those that failed only looked. `before` is when the step began."""
    both = (*done, *failed)
    there = now.things.keys() | before.things.keys()
    made = {one for one in there if now.things.get(one) != before.things.get(one)}
    rows = {one.written for one in done if one.written}
    created = made & now.things.keys() - before.things.keys()
    bare = {one.named for one in done if one.kind == "CREATE" and one.named and not one.fills}
    fills = {one.fills for one in done}
    asked = {name for one in both for name in one.asked}
    about = {table for table in there if table[2] in asked}
    kept = {
        one.named for one in both if one.named and (one.kind == "CREATE" or one in done)
    } & there
    kept |= {table for one in done for table in one.kept}
    needed = {one.written for one in failed if one.written}
    needed |= {one.named for one in failed if one.named and one.kind != "CREATE"}
    needed |= {table for one in failed for table in one.missed}
    # What the tool itself has made and dropped was there.
    gone = {one.named for one in done if one.named and one.kind != "CREATE"} - there
    gone -= {one.named for one in done if one.named and one.kind == "CREATE"}
    dropped = {one.named for one in done if one.named and one.kind == "DROP"}
    tells = any(one.asked and one.lists_columns for one in both)
    read = {table for one in both for table in one.read} | needed | (about if tells else set())
    found = {table for one in done for table in one.found} | about
    return FoundTables(
        read=shown(read & there)
        | ({WHOLE} if any(one.lists and one.lists_columns for one in both) else set()),
        written=shown(made | rows & there),
        changed=shown(
            made | {one.written for one in done if one.written and not one.inserted} & there
        ),
        missed=shown(gone | needed - there) | asked - {table[2] for table in there},
        found=shown(found & there - read),
        created=shown(created),
        dropped=shown(made - now.things.keys()),
        kept=shown((kept | gone & dropped) - made - rows),
        empty=shown(one for one in created & bare - rows if one[2] not in fills),
        lists_tables=any(one.lists for one in both),
        gaps={one.gap for one in done if one.gap},
        is_unclear=any(one.is_unclear for one in both),
    )


def _read_table(
    conn: Any, thing: Table, shown: str, definition: str, most_rows: int
) -> TableContent:
    ask, table = functools.partial(ask_duckdb, conn), ".".join(map(quote, thing))
    columns = [row[0] for row in ask(f"DESCRIBE {table}")]
    head = read_head(ask, shown, table, columns, is_sqlite=False)
    row = ", ".join(map(quote, columns))  # a name for the whole row may be one of a column
    rows = f"(SELECT * FROM {table} LIMIT {most_rows + 1})"
    [(count, total)] = ask(f"SELECT count(*), sum(hash({row})::HUGEINT) FROM {rows}")
    version = join_version(definition, count, total) if count <= most_rows else None
    return TableContent(version=version, head=head)


def _explain(conn: Any, text: str, values: Any, caller: FrameType) -> str:
    """The logical plan. Raises NotExplained with DuckDB's error."""
    [(output,)] = ask_duckdb(conn, "SELECT current_setting('explain_output')")
    ask_duckdb(conn, "SET explain_output = 'all'")
    try:
        text = f"EXPLAIN (FORMAT JSON) {text}"
        explain = functools.partial(plain_method("execute"), conn, text, values or None)
        rows = call_from(caller, explain).fetchall()
    except Exception as error:
        raise NotExplained(str(error), has_lost=_begin_anew(conn)) from None
    finally:
        ask_duckdb(conn, f"SET explain_output = '{output}'")
    return str(dict(rows)["logical_plan"])


def _begin_anew(conn: Any) -> bool:
    """Whether an error has ended the transaction, which is begun anew: the statement itself says what is wrong."""
    try:
        ask_duckdb(conn, "SELECT 1")
    except Exception:
        plain_method("rollback")(conn)
        plain_method("begin")(conn)
        return True
    return False


def _find_view_part(conn: Any, catalog: Catalog, view: Table) -> tuple[str, ...] | None:
    """What the view reads, as in `Plan.parts`. A second connection is asked: a view that is broken would end the
    transaction of the tool. None where that one does not know this view."""
    cursor = plain_method("cursor")(conn)
    try:
        names = ".".join(map(quote, view))
        query = "SELECT sql FROM duckdb_views() WHERE lower(concat_ws('.', database_name, schema_name, view_name)) = ?"
        if ask_duckdb(cursor, query, [".".join(view)]) == [(catalog.things[view][1],)]:
            return Plan(_explain(cursor, f"FROM {names}", None, sys._getframe())).whole
    except Exception:
        pass
    finally:
        plain_method("close")(cursor)
    return None


def _names_pipe(texts: Iterable[str]) -> bool:
    """Whether one of these names a file that can be read only once: DuckDB reads it to explain."""
    look = getattr(os.stat, "__wrapped__", os.stat)
    for name in (part for text in texts for part in text.split("'") if "/" in part):
        with suppress(OSError, ValueError):
            if not stat.S_ISREG(mode := look(name).st_mode) and not stat.S_ISDIR(mode):
                return True
    return False


# DuckDB's methods.


@functools.cache
def wrap_methods() -> None:
    """Have all methods that matter report to the latest log before they are called."""
    duckdb = sys.modules["duckdb"]
    connection, relation = duckdb.DuckDBPyConnection, duckdb.DuckDBPyRelation
    for owner, takes_self in ((connection, True), (duckdb, False)):
        for name in ("execute", "executemany", "sql", "query", "from_query", "table", "view"):
            _wrap(owner, name, functools.partial(_run_query, name, takes_self))
        for name in ("append", "appender"):
            _report(owner, name, functools.partial(_on_table, "INSERT INTO {} VALUES", takes_self))
        for name in ("table_function", "from_substrait", "from_substrait_json", "query_df"):
            _report(owner, name, _on_unknown)
        _report(owner, "query_appender", _on_unknown)
        _report(owner, "create_function", functools.partial(_on_function, takes_self))
        for name in ("register", "unregister"):
            _report(owner, name, lambda log, *_, **__: log.forget())
    for name in ("create", "to_table", "create_view", "to_view"):
        _report(relation, name, functools.partial(_on_table, "CREATE OR REPLACE TABLE {}", True))
    _report(relation, "insert_into", functools.partial(_on_table, "INSERT INTO {} VALUES", True))
    for name in ("insert", "update", "query"):
        _report(relation, name, _on_unknown)
    for name in EXPRESSIONS:
        _report(relation, name, _on_expressions)
    for name in ("cursor", "duplicate"):
        _report(connection, name, _on_other_connection)
    for name in FETCHES:
        _report(connection, name, lambda log, conn, *_, **__: log.on_fetched(conn))
    _report(connection, "commit", _on_commit)


_CALL = compile("__orch_call__()", __file__, "eval")


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


def _report(owner: Any, name: str, report: Callable[..., Any]) -> None:
    """`report` is called with the latest log and the arguments, and gives what the log has noted."""

    def run(log: DuckdbLog, caller: FrameType, original: Any, *args: Any, **named: Any) -> Any:
        sent = None
        try:
            sent = report(log, *args, **named)
        except Exception:  # the arguments are not those that orch knows
            log.has_unknown = True
        return _call(log, caller, sent, functools.partial(original, *args, **named))

    _wrap(owner, name, run)


def _call(log: DuckdbLog, caller: FrameType, sent: Sent | None, call: Callable[[], Any]) -> Any:
    try:
        result = call_from(caller, call)
    except BaseException:
        log.on_error()
        raise
    log.on_success(sent)
    return result


def _run_query(
    name: str,
    takes_self: bool,
    log: DuckdbLog,
    caller: FrameType,
    original: Any,
    *args: Any,
    **named: Any,
) -> Any:
    """A method that gets SQL. Where its text has several statements, each is run by itself, as DuckDB does."""
    conn: Any = None
    parsed: list[tuple[Statement, Any]] = []
    values: Any = None
    with suppress(Exception):  # the arguments are wrong, or the text is: the call says how
        conn, *rest = args if takes_self else (_default_connection(named), *args)
        query, *rest = rest or [next(iter(named.values()))]
        if name in ("table", "view"):
            parsed = [(Statement("SELECT", f"FROM {query}"), query)]
        else:
            parsed = log.parse(conn, query)
            values = rest[0] if rest else named.get("parameters", named.get("params"))
            values = values[0] if name == "executemany" and values else values
    for one, given in parsed[:-1]:
        run = functools.partial(plain_method("execute"), conn, given)
        _run_statement(log, caller, conn, one, None, run)
    if len(parsed) > 1:
        args = (*args[:takes_self], parsed[-1][1], *args[takes_self + 1 :])
        named.pop("query", None)
    call = functools.partial(original, *args, **named)
    if not parsed:
        return _call(log, caller, None, call)
    one = parsed[-1][0]
    is_relation = not name.startswith("execute") and one.kind in ("SELECT", "MULTI")
    return (_make_relation if is_relation else _run_statement)(log, caller, conn, one, values, call)


def _run_statement(
    log: DuckdbLog, caller: FrameType, conn: Any, one: Statement, values: Any, call: Any
) -> Any:
    sent = None
    try:
        sent = log.on_statement(conn, one, values, caller)
    except Exception:
        log.has_unknown = True
    result = _call(log, caller, sent, call)
    log.on_executed(conn, one)
    return result


def _make_relation(
    log: DuckdbLog, caller: FrameType, conn: Any, one: Statement, values: Any, call: Any
) -> Any:
    """DuckDB looks up all names when it makes a relation, so it can explain it afterwards."""
    try:
        result = call_from(caller, call)
    except BaseException as error:
        log.on_error(one, error)
        raise
    try:
        log.on_relation(conn, one, values, caller)
    except Exception:
        log.has_unknown = True
    return result


def _default_connection(named: dict[str, Any]) -> Any:
    default, conn = sys.modules["duckdb"].default_connection, named.get("connection")
    return conn if conn is not None else default() if callable(default) else default


def call_from(caller: FrameType, call: Callable[[], Any]) -> Any:
    """Call with the caller's variables in scope, as if orch had not wrapped the method: DuckDB looks for unknown names
    among them."""
    return eval(_CALL, caller.f_globals, {**caller.f_locals, "__orch_call__": call})


def _on_unknown(log: DuckdbLog, *_: Any, **__: Any) -> None:
    log.has_unknown = True


def _on_commit(log: DuckdbLog, _: object) -> None:
    log.has_committed = True


def _on_other_connection(log: DuckdbLog, _: object) -> None:
    log.uses_other_connection = True


def _on_table(text: str, takes_self: bool, log: DuckdbLog, *args: Any, **named: Any) -> Sent:
    """A method does what this statement does with the table whose name it gets."""
    given = args[takes_self] if len(args) > takes_self else next(iter(named.values()))
    return log.on_method(Statement(text.partition(" ")[0], text.format(given)))


def _on_function(takes_self: bool, log: DuckdbLog, *args: Any, **named: Any) -> None:
    log.functions.add((args[takes_self] if len(args) > takes_self else named["name"]).lower())


def _on_expressions(log: DuckdbLog, *args: Any, **named: Any) -> None:
    """The words of expressions count: DuckDB explains none by itself."""
    given = [*args, *named.values()]
    for one in given:
        if isinstance(one, list | tuple):
            given.extend(one)
        elif (isinstance(one, str) or type(one).__name__ == "Expression") and "(" in str(one):
            log.on_words(Statement("SELECT", str(one)))


def _read_attached(found: re.Match[str]) -> str | None:
    """The name of the file that DuckDB attaches; None for a server, or one that the text does not tell."""
    name: str | None = found[1]
    if name is None or _FOREIGN_TYPE.search(found[2]):
        return None
    is_elsewhere = name != ":memory:" and re.match(r"[a-z]\w+:", name, re.I)
    return None if is_elsewhere else name.replace("''", "'")
