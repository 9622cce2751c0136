"""Which tables and files a tool used on a DuckDB connection, as its statements say.

The methods of DuckDB's classes are wrapped, because its connections have no attributes to replace. A wrapped method
does what it did before, and an error in orch's part never reaches the tool. Only the text of each statement is kept
while the tool runs. Before the transaction ends, the statements are parsed and their names looked up in the database.
Imports nothing of DuckDB: a process that has one of its connections has loaded it.
"""

from __future__ import annotations

import functools
import glob
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress

from msgspec.structs import replace

from discover_orch.databases.driver_transaction import ask_duckdb
from discover_orch.databases.duckdb_catalog import (
    display_name,
    find_file,
    fold,
    read_catalog,
    resolve_effects,
)
from discover_orch.databases.duckdb_sql import DATA, DIALECT, Effect, read_statements
from discover_orch.databases.sqlite_calls import quote
from discover_orch.databases.table_content import join_version, read_head
from discover_orch.databases.table_log import TableContent, TableLog
from discover_orch.model.table_keys import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, ClassVar

    from discover_orch.databases.duckdb_catalog import Catalog

    #: Gets absolute paths of files read, of files written, and of folders listed.
    Files = Callable[[Iterable[str], Iterable[str], Iterable[str]], None]

#: A step with more different statements, or longer ones, is unclear.
MOST_STATEMENTS = 1_000
MOST_CHARACTERS = 500_000
DEFINITIONS = "SELECT database_name, schema_name, table_name, sql FROM duckdb_tables()"


FILE_READERS = (
    "read_csv", "read_json", "read_parquet", "from_csv_auto", "from_parquet",
)  # fmt: skip
#: Methods of a relation that take expressions as text; an expression can hold a query or call a function.
EXPRESSIONS = (
    *("aggregate", "apply", "filter", "group_by", "join", "order", "project", "select", "sort", "with_columns"),
    *("any_value", "avg", "count", "first", "last", "list", "max", "mean", "min", "pivot", "string_agg", "sum"),
)  # fmt: skip
_PART = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')
#: ATTACH: the name of the file, and what follows it.
_ATTACH = re.compile(
    r"(?:\A|;)(?:\s|--[^\n]*\n)*attach\s+(?:or\s+replace\s+)?(?:database\s+)?(?:if\s+not\s+exists\s+)?"
    r"(?:'((?:[^']|'')*)')?([^;]*)",
    re.I,
)
_FOREIGN_TYPE = re.compile(r"\btype\s+(?!'?(?:duckdb|sqlite)\b)", re.I)


class DuckdbLog(TableLog):
    """Of one connection. The latest log receives the calls of all connections.

    `note_files` receives the files that statements read and wrote, and `note_attach` the name of each file that is
    attached, or None where it is not known.
    """

    dialect = DIALECT
    latest: ClassVar[DuckdbLog | None] = None

    def __init__(
        self,
        conn: Any,
        note_files: Files,
        note_attach: Callable[[str | None], None] = lambda name: None,
    ) -> None:
        super().__init__()
        self.conn, self._note_files, self._note_attach = conn, note_files, note_attach
        with suppress(Exception):
            self.file = find_file(conn)
        #: Texts, and effects of methods; whether each has succeeded.
        self._done: dict[str | Effect, bool] = {}
        self._before_check: dict[str | Effect, bool] = {}
        self._after_error = self.after_error
        self._characters = 0  # of these texts
        self._default: tuple[str, str] | None = None
        self._before: Catalog | None = None  # when the step began
        self._has_unknown = self._may_have_committed = False
        DuckdbLog.latest = self
        wrap_methods()

    # Wrapped methods call these, in any thread, while the tool waits.

    def on_statement(self, text: str) -> str:
        for found in _ATTACH.finditer(text):
            self._note_attach(_read_attached(found))
        self._note_caller()
        if text not in self._done:
            self._characters += len(text)
            if len(self._done) < MOST_STATEMENTS and self._characters < MOST_CHARACTERS:
                self._done[text] = False
            else:
                self._has_unknown = True
        return text

    def on_effect(self, effect: Effect) -> Effect:
        """A method did what a statement would have done."""
        self._note_caller()
        self._done.setdefault(effect, False)
        return effect

    def on_files(self, paths: Iterable[str], *, is_written: bool) -> None:
        found = [*_find_files(paths)]
        if is_written:
            self._note_files((), found, ())
        else:
            self._note_files(found, (), map(os.path.abspath, _find_folders(paths)))

    def on_success(self, used: str | Effect | None) -> None:
        if used in self._done:
            self._done[used] = True

    def on_error(self, used: str | Effect | None) -> None:
        """A call has raised. Of several statements in one text, those before the one that failed have been run."""
        if isinstance(used, str) and ";" in used.strip().rstrip(";"):
            self._has_unknown = True
        if self.after_error is not None:
            effects = (one for one in self._done if isinstance(one, Effect) and self._done[one])
            is_known = not self._has_unknown and not any(
                one.written or one.created for one in effects
            )
            texts = [one for one, is_done in self._done.items() if isinstance(one, str) and is_done]
            self.after_error(texts if is_known else None)

    def on_unknown(self) -> None:
        """A call whose effect orch cannot tell."""
        self._has_unknown = True

    def on_commit(self, conn: Any) -> None:
        self.has_committed = True

    def _note_caller(self) -> None:
        if self.tables_of_caller is not None:
            self.tables_of_caller().add(WHOLE)

    # The worker calls these.

    def begin_step(self) -> None:
        self._done.clear()
        self._characters = 0
        self._has_unknown = self.uses_other_connection = False
        self.has_committed = self.has_written = self._may_have_committed = False
        self._before = None
        self._before = self._read_catalog()
        if self._before is not None:
            main = self._default and self._default[0]
            others = [path for name, path in self._before.attached.items() if path and name != main]
            self.attached = tuple(map(os.path.realpath, others))

    def begin_check(self) -> None:
        self._before_check, self._done = self._done, {}
        # It begins the transaction anew where nothing is lost, and what the tool has written would be.
        self._after_error, self.after_error = self.after_error, None

    def end_check(self) -> bool:
        done, self._done = self._done, self._before_check | self._done
        self.after_error = self._after_error
        for one in done:
            effects = (one,) if isinstance(one, Effect) else read_statements(one)
            if any(each.written or each.created or each.commits for each in effects):
                return True
        return False

    def read_tables(self, names: Iterable[str], most_rows: int) -> dict[str, TableContent]:
        found: dict[str, TableContent] = {}
        wanted, default = {*names}, self._default
        if default is None:
            return found
        with suppress(Exception):  # the transaction has failed
            for *parts, sql in ask_duckdb(self.conn, DEFINITIONS):
                shown = display_name(fold(parts), default)
                if shown not in wanted:
                    continue
                table = ".".join(map(quote, parts))
                columns = [row[0] for row in ask_duckdb(self.conn, f"DESCRIBE {table}")]
                head = read_head(
                    functools.partial(ask_duckdb, self.conn), shown, table, columns, is_sqlite=False
                )
                rows = f"(SELECT * FROM {table} LIMIT {most_rows + 1})"
                row = ", ".join(
                    map(quote, columns)
                )  # a name for the whole row may be one of a column
                query = f"SELECT count(*), sum(hash({row})::HUGEINT) FROM {rows}"
                [(count, total)] = ask_duckdb(self.conn, query)
                version = join_version(sql, count, total) if count <= most_rows else None
                found[shown] = TableContent(version=version, head=head)
        return found

    def may_have_set(self) -> bool:
        texts = (one for one in self._done if isinstance(one, str))
        return self._has_unknown or not all(map(DATA.match, texts))

    @property
    def may_have_committed(self) -> bool:
        return self.has_committed or self.uses_other_connection or self._may_have_committed

    def resolve(self) -> None:
        if self._done or self._has_unknown:
            try:
                self._may_have_committed = self._resolve()
            except Exception:  # must not fail the tool
                self._may_have_committed = True
            self._found.is_unclear |= self._may_have_committed

    def _resolve(self) -> bool:
        """Whether something that was done is unclear. What a statement did that failed is undone."""
        done: list[Effect] = []
        failed: list[Effect] = []
        for one, is_done in self._done.items():
            effects = (one,) if isinstance(one, Effect) else read_statements(one)
            (done if is_done or len(effects) > 1 else failed).extend(effects)
        both = (*done, *failed)
        self.has_committed |= any(one.commits for one in both)
        self.has_written = any(one.written or one.created for one in done)
        self._found.is_unclear |= any(one.is_unclear for one in both)
        before = self._before
        now = before
        if before is None or any(one.changes_names for one in done):
            now = self._read_catalog() or before  # the transaction may have failed
        if now is None:
            return True
        used = resolve_effects(done, failed, now, before or now)
        self._found.add(used)
        self.on_files(used.files_read, is_written=False)
        self.on_files(used.files_written, is_written=True)
        has_temporary = bool(now.temporary or (before or now).temporary)
        return (
            self._has_unknown
            or before is None
            or used.is_unclear
            or any(one.is_unclear for one in done)
            or (self.uses_other_connection and has_temporary)  # it has some of its own
        )

    def _read_catalog(self) -> Catalog | None:
        try:
            catalog = read_catalog(self.conn)
        except Exception:  # the connection is closed, or its transaction has failed
            return None
        # A table keeps its display name, also after the tool has changed the current schema.
        self._default = self._default or catalog.default
        known = catalog if self._before is None else self._before
        kept = {self._default[0], *(name for name, path in known.attached.items() if not path)}
        # An attached file counts as a file, and one in memory only where the tool has found it.
        others = {one for one in catalog.tables if one[0] not in kept}
        return replace(catalog, default=self._default, temporary=catalog.temporary | others)


def _find_files(paths: Iterable[str]) -> Iterable[str]:
    """Absolute paths, with globs expanded and without URLs."""
    for path in paths:
        if "://" in path:
            continue
        path = os.path.expanduser(path)
        if glob.has_magic(path):
            yield from map(os.path.abspath, glob.glob(path, recursive=True))
        else:
            yield os.path.abspath(path)


def _find_folders(paths: Iterable[str]) -> Iterable[str]:
    """The folders whose names decide which files the globs of these paths match."""
    for path in paths:
        above, name = os.path.split(os.path.expanduser(path))
        if "://" in path or not glob.has_magic(path):
            continue
        if glob.has_magic(name):
            found = glob.glob(above, recursive=True) if glob.has_magic(above) else [above or "."]
            yield from filter(os.path.isdir, found)
        yield from _find_folders([above])


# DuckDB's methods.


@functools.cache
def wrap_methods() -> None:
    """Have all methods that matter report to the latest log before they are called."""
    duckdb = sys.modules["duckdb"]
    connection, relation = duckdb.DuckDBPyConnection, duckdb.DuckDBPyRelation
    both: dict[str, Callable[..., Any]] = {
        **dict.fromkeys(
            ("execute", "executemany", "sql", "query", "from_query", "query_appender"), _on_query
        ),
        **dict.fromkeys(("table", "view"), functools.partial(_on_table, "read")),
        **dict.fromkeys(("append", "appender"), functools.partial(_on_table, "written")),
        **dict.fromkeys(FILE_READERS, functools.partial(_on_file, is_written=False)),
        **dict.fromkeys(
            ("table_function", "from_substrait", "from_substrait_json", "query_df"), _on_unknown
        ),
    }
    for name, report in both.items():
        _wrap(connection, name, report)
        _wrap(duckdb, name, _of_default_connection(report))
    for name in ("to_csv", "write_csv", "to_parquet", "write_parquet"):
        _wrap(relation, name, functools.partial(_on_file, is_written=True))
    for name in ("create", "to_table", "create_view", "to_view"):
        _wrap(relation, name, functools.partial(_on_table, "made"))
    _wrap(relation, "insert_into", functools.partial(_on_table, "written"))
    for name in ("insert", "update", "query"):
        _wrap(relation, name, _on_unknown)
    for name in EXPRESSIONS:
        before = "SELECT 1 ORDER BY" if name in ("order", "sort") else "SELECT"
        _wrap(relation, name, functools.partial(_on_expressions, before))
    for name in ("cursor", "duplicate"):
        _wrap(connection, name, _on_other_connection)
    _wrap(connection, "commit", lambda log, conn: log.on_commit(conn))


def _of_default_connection(report: Callable[..., Any]) -> Callable[..., Any]:
    def report_function(log: DuckdbLog, *args: Any, **named: Any) -> Any:
        return report(log, named.get("connection"), *args, **named)

    return report_function


_CALL = compile("__orch_call__()", __file__, "eval")


def _wrap(owner: Any, name: str, report: Callable[..., Any]) -> None:
    """`report` is called with the latest log and the arguments, and gives what the log has noted."""
    original = vars(owner).get(name)
    if original is None:
        return

    @functools.wraps(original)
    def wrapper(*args: Any, **named: Any) -> Any:
        log, used = DuckdbLog.latest, None
        if log is not None:
            try:
                used = report(log, *args, **named)
            except Exception:  # the arguments are not those that orch knows
                log.on_unknown()
        try:
            result = call_from(sys._getframe(1), functools.partial(original, *args, **named))
        except BaseException:
            if log is not None:
                log.on_error(used)
            raise
        if log is not None:
            log.on_success(used)
        return result

    setattr(owner, name, wrapper)


def call_from(caller: FrameType, call: Callable[[], Any]) -> Any:
    """Call with the caller's variables in scope, as if orch had not wrapped the method: DuckDB looks for unknown names
    among them."""
    return eval(_CALL, caller.f_globals, {**caller.f_locals, "__orch_call__": call})


def _on_query(log: DuckdbLog, conn: object, query: Any, *_: Any, **__: Any) -> str:
    log.uses_other_connection |= conn is not log.conn
    return log.on_statement(query if isinstance(query, str) else query.query)


def _on_other_connection(log: DuckdbLog, _: object) -> None:
    log.uses_other_connection = True


def _on_table(kind: str, log: DuckdbLog, owner: object, *args: Any, **named: Any) -> Effect:
    text = args[0] if args else next(iter(named.values()))
    name = tuple((quoted or plain).lower() for quoted, plain in _PART.findall(text))
    return log.on_effect(
        Effect(
            read=(name,) if kind == "read" else (),
            written=(name,) if kind == "written" else (),
            inserted=(name,) if kind == "written" else (),
            created=(name,) if kind == "made" else (),
            changes_names=kind == "made",
        )
    )


def _on_file(log: DuckdbLog, owner: object, *args: Any, is_written: bool, **named: Any) -> None:
    given = args[0] if args else next(iter(named.values()))
    paths = given if isinstance(given, list | tuple) else [given]
    paths = [os.fspath(one) for one in paths if isinstance(one, str | os.PathLike)]
    log.on_files(paths, is_written=is_written)


def _on_unknown(log: DuckdbLog, *_: Any, **__: Any) -> None:
    log.on_unknown()


def _on_expressions(before: str, log: DuckdbLog, *args: Any, **named: Any) -> None:
    given = [*args, *named.values()]
    for one in given:
        if isinstance(one, list | tuple):
            given.extend(one)
        elif (isinstance(one, str) or type(one).__name__ == "Expression") and "(" in str(one):
            log.on_success(log.on_statement(f"{before} {one}"))


def _read_attached(found: re.Match[str]) -> str | None:
    """The name of the file that DuckDB attaches; None for a server, or one that the text does not tell."""
    name: str | None = found[1]
    if name is None or _FOREIGN_TYPE.search(found[2]):
        return None
    is_elsewhere = name != ":memory:" and re.match(r"[a-z]\w+:", name, re.I)
    return None if is_elsewhere else name.replace("''", "'")
