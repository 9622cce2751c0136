"""Which tables a tool used on a DuckDB connection, as DuckDB itself explains its statements.

DuckDB is asked for the plan of each different statement just before it runs, on the same connection; for that of a
relation just after it was made, unless the tool may still read a result, which a question would end. Then the words of
its text count. `duckdb_calls` has the methods that report what a tool does.
Imports nothing of DuckDB: a process that has one of its connections has loaded it.
"""

from __future__ import annotations

import functools
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress

from msgspec.structs import replace

from discover_orch.databases.driver_transaction import ask_duckdb, call_from, plain_method
from discover_orch.databases.duckdb_catalog import (
    ACTING,
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
from discover_orch.databases.table_log import (
    FoundTables,
    TableContent,
    TableLog,
    is_asked_whether_there,
)
from discover_orch.model.keys import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, ClassVar

#: Statements that are remembered by their text; more are explained anew.
MOST_TEXTS = 10_000
#: Kinds of statements that leave nothing behind; that set nothing; and that have no result.
READS = ("SELECT", "EXPLAIN", "PRAGMA", "SET", "VARIABLE_SET", "LOAD", "VACUUM", "PREPARE")
SETS_NOTHING = ("CREATE", "DROP", "ALTER", *KEEPS_NAMES)
NO_RESULT = ("INSERT", "UPDATE", "DELETE", "MERGE_INTO", "CREATE", "DROP", "ALTER", "SET")
_LINE = re.compile(r"LINE (\d+):")  # in an error
#: ATTACH: the name of the file, and what follows it.
_ATTACH = re.compile(
    r"\A\s*attach\s+(?:or\s+replace\s+)?(?:database\s+)?(?:if\s+not\s+exists\s+)?"
    r"(?:'((?:[^']|'')*)')?([^;]*)",
    re.I,
)
_FOREIGN_TYPE = re.compile(r"\btype\s+(?!'?(?:duckdb|sqlite)\b)", re.I)


class Sent:
    """A statement that the tool has sent, or what a method did in its place."""

    def __init__(self, effect: Effect) -> None:
        self.effect, self.is_done = effect, False
        #: Why DuckDB did not explain it, if a transaction has been begun anew then, in which it fails again.
        self.lost: Exception | None = None


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
        self._sent: dict[Effect, Sent] = {}  # in this step
        self._sent_before_check: dict[Effect, Sent] = {}
        self._by_text: dict[object, Sent] = {}
        self._relations: list[Statement] = []  # their names may mean something else when they run
        self._parsed: dict[str, Statement] = {}
        self._prepared: list[str] = []  # in this step
        self.open: set[int] = set()  # connections with a result that the tool may still read
        self._after_error = self.after_error
        self._default = ("", "")
        self._before: Catalog | None = None  # when the step began
        self._catalog: Catalog | None = None  # now; None if it may have changed
        self._macros: Catalog | None = None  # the latest one, while its macros still hold
        self._view_parts: dict[Table, tuple[str, ...] | None] = {}
        self.functions: set[str] = set()
        self._has_variable = self.has_unknown = self._may_have_committed = False
        DuckdbLog.latest = self

    # Wrapped methods call these, in any thread, while the tool waits.

    def parse(self, conn: Any, query: Any) -> list[tuple[Statement, Any]]:
        """The statements of a text, with those of DuckDB where there are several."""
        if isinstance(query, str) and query in self._parsed:
            return [(self._parsed[query], query)]
        given = conn.extract_statements(query) if isinstance(query, str) else [query]
        found = [(Statement(str(one.type).rpartition(".")[2], one.query), one) for one in given]
        if not all(one.text for one, _ in found):  # before version 2, a PIVOT is several statements
            found = [(Statement("MULTI", query), query)]
        if len(found) == 1 and isinstance(query, str) and len(self._parsed) < MOST_TEXTS:
            self._parsed[query] = found[0][0]
        return found

    def on_statement(self, conn: Any, one: Statement, values: Any, caller: FrameType) -> Sent:
        """A statement is about to run, or a relation was made of it."""
        if self.tables_of_caller is not None:
            self.tables_of_caller().add(WHOLE)
        self.uses_other_connection |= conn is not self.conn
        if one.kind == "ATTACH" and (found := _ATTACH.match(one.clean)):
            self._note_attach(_read_attached(found))
        # Values decide what is read only where one of them may be the name of a table.
        has_names = "query" in one.text.lower() or self._known().has_macros
        key = (id(conn), one.text, repr(values) if values and has_names else "")
        sent = self._by_text.get(key)
        if sent is None:
            effect, lost = self._ask(conn, one, values, caller)
            sent = self._sent.setdefault(effect, Sent(effect))
            sent.lost = lost
            is_same = one.kind in KEEPS_NAMES and not effect.asked  # for other values too
            if len(self._by_text) < MOST_TEXTS and is_same:
                self._by_text[key] = sent
        return sent

    def on_relation(self, conn: Any, one: Statement, values: Any, caller: FrameType) -> None:
        """A relation was made, which runs later or never."""
        self._relations.append(one)
        if id(conn) in self.open:
            self.on_words(one)
        else:
            self.on_success(self.on_statement(conn, one, values, caller))

    def on_words(self, one: Statement) -> None:
        """A query that cannot be explained now."""
        effect = read_words(one, self._known())
        self._sent.setdefault(effect, Sent(effect)).is_done = True

    def on_method(self, kind: str, text: str) -> Sent:
        """A method does what this statement would do."""
        effect = read_effect(Statement(kind, text), None, self._known(), frozenset())
        return self._sent.setdefault(effect, Sent(effect))

    def on_success(self, sent: Sent | None) -> None:
        if sent is None:
            return
        if sent.lost is not None and self.has_changed():
            # It ran in a new transaction, and what the tool had written is lost.
            with suppress(Exception):
                ask_duckdb(self.conn, "SELECT error('')")
            raise RuntimeError("DuckDB has ended the transaction, and does not say why")
        sent.is_done = True
        if sent.effect.kind not in KEEPS_NAMES:
            named = sent.effect.created | sent.effect.altered
            self.forget(
                keeps_macros=bool(named) and not any(one[2][:6] == "macro " for one in named)
            )

    def has_changed(self) -> bool:
        """Whether the tool has done something but read."""
        return any(one.is_done and one.effect.kind not in READS for one in self._sent.values())

    def find_own_error(self, sent: Sent | None) -> Exception | None:
        """What a statement that has failed would have raised before what the tool had written was lost."""
        return sent.lost if sent is not None and self.has_changed() else None

    def on_executed(self, conn: Any, one: Statement) -> None:
        """The result, if it has one, is the one that the tool may read."""
        self.open.discard(id(conn))
        if one.kind not in NO_RESULT or one.has(r"\breturning\b"):
            self.open.add(id(conn))

    def on_error(self, one: Statement | None = None, error: object = "") -> None:
        """A call has raised; `one` would have been a relation."""
        if one is not None:
            effect = read_failure(one, str(error), self._known())
            self._sent.setdefault(effect, Sent(effect))
        if self.after_error is not None:
            done = [one.effect for one in self._sent.values() if one.is_done]
            is_read_only = all(one.kind in READS and not one.is_unclear for one in done)
            self.after_error(is_read_only and not self.has_unknown)

    def on_close(self, conn: Any) -> None:
        """What there is now is what the tool has left."""
        if conn is self.conn:
            self.forget()
            self._latest(conn)

    def forget(self, *, keeps_macros: bool = False) -> None:
        """Names may mean something else from now on."""
        self._by_text.clear()
        self._view_parts.clear()
        self._catalog = None
        if not keeps_macros:
            self._macros = None

    # Questions to DuckDB.

    def _ask(
        self, conn: Any, one: Statement, values: Any, caller: FrameType
    ) -> tuple[Effect, Exception | None]:
        catalog = self._latest(conn)
        given = [*(values.values() if isinstance(values, dict) else values or ())]
        texts = [one.clean, *(value for value in given if isinstance(value, str))]
        words = find_words(one.clean)
        gap, plan = "", None
        if one.kind == "PREPARE":
            self._prepared.append(one.clean)
        elif one.kind == "EXECUTE":
            texts += self._prepared
            gap = "" if self._prepared else "ran a statement that another tool has prepared"
        if "getvariable" in words and not self._has_variable:
            gap = "read a variable that another tool may have set"
        self._has_variable |= one.kind in ("SET", "VARIABLE_SET") and bool(one.planned)
        if one.planned and (catalog.has_macros or not one.is_insert_of_values):
            if words & self.functions or _names_pipe(texts):
                return read_failure(one, "", catalog), None
            plan, error, lost = _explain(conn, one.planned, values, caller)
            if plan is None:
                return read_failure(one, error, catalog), lost
        is_part = functools.partial(self._is_part, plan, catalog)
        uses = frozenset(find_uses(" ".join(texts), catalog, is_part))
        if conn is not self.conn and (one.kind == "SET" or {"temp", "temporary"} & words):
            self.has_unknown = True  # names mean something else on this connection
        effect = read_effect(one, plan, catalog, uses)
        if effect.lists_columns and is_asked_whether_there():
            effect = replace(effect, lists_columns=False)
        return (replace(effect, gap=gap) if gap else effect), None

    def _is_part(self, plan: Plan | None, catalog: Catalog, view: Table) -> bool:
        """Whether the plan has a part that reads what this view reads; True where that is not known."""
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
        self._prepared.clear()
        self.open.clear()
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
        self._sent_before_check, self._sent = self._sent, {}
        self._by_text.clear()
        # It begins the transaction anew where nothing is lost, and what the tool has written would be.
        self._after_error, self.after_error = self.after_error, None

    def end_check(self) -> bool:
        new, self._sent = self._sent, self._sent | self._sent_before_check
        self._by_text.clear()
        self.after_error = self._after_error
        return any(one.writes for one in new)

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
        return self.has_unknown or any(
            one.effect.kind not in SETS_NOTHING for one in self._sent.values()
        )

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
        self.forget(keeps_macros=self._macros is not None)
        before, now = self._before, self._latest(self.conn)
        if before is None:
            return True
        done = [one.effect for one in self._sent.values() if one.is_done]
        failed = [one.effect for one in self._sent.values() if not one.is_done]
        if before.path != now.path or _texts(before) != _texts(now):
            done += [read_words(one, now) for one in self._relations]
        self.has_committed |= any(one.commits for one in (*done, *failed))
        self.has_written = any(one.writes for one in done)
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

    def every(effects: list[Effect], *fields: str) -> set[Table]:
        return {one for effect in effects for field in fields for one in getattr(effect, field)}

    both = done + failed
    there = now.things.keys() | before.things.keys()
    named = every(done, "created", "altered")
    # A reference to a table makes it anew before version 2.
    made = {
        one
        for one in there
        if (old := before.things.get(one)) != (new := now.things.get(one))
        and not (old and new and old[1] == new[1] and one in now.tables and one not in named)
    }
    created = made & now.things.keys() - before.things.keys()
    rows, filled = every(done, "written"), {one[2] for one in every(done, "filled")}
    needed = every(failed, "written", "altered", "missed")
    # What the tool itself has made and dropped was there.
    looked_up = every(done, "altered") - there - every(done, "created")
    indexed = every(done, "indexed")
    acting = {(*one[:2], ACTING + one[2]) for one in indexed}
    kept = every(both, "created") | every(done, "altered") | indexed | acting
    asked = {name for one in both for name in one.asked}
    lists = any(one.lists for one in both)
    about = {one for one in there if one[2] in asked}
    read = every(both, "read") | needed
    read |= about if any(one.asked and one.lists_columns for one in both) else set()
    whole = {WHOLE} if any(one.lists and one.lists_columns for one in both) else set()
    return FoundTables(
        read=shown(read & there) | whole,
        written=shown(made | rows & there),
        changed=shown(made | every([one for one in done if not one.inserts], "written") & there),
        missed=shown(looked_up | needed - there) | asked - {one[2] for one in there},
        found=shown((every(done, "found") | about) & there - read),
        created=shown(created),
        dropped=shown(made - now.things.keys()),
        kept=shown((kept & there | looked_up) - made - rows),
        # Had those been there that it looked for, it may have dropped them.
        empty=shown(
            one
            for one in created & every(done, "created") - rows - every(done, "altered") - needed
            if one[2] not in filled and one[2] not in asked and not lists
        ),
        lists_tables=lists,
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


def _explain(
    conn: Any, text: str, values: Any, caller: FrameType | None = None
) -> tuple[Plan | None, str, Exception | None]:
    """The logical plan, or DuckDB's error, and if that has ended the transaction, the error as that of the statement.
    Then a new one is begun, in which the statement fails too: without what the tool has written it may say something
    else."""
    text = f"EXPLAIN (FORMAT JSON)\n{text}"
    explain = functools.partial(plain_method("execute"), conn, text, values or None)
    [(output,)] = ask_duckdb(conn, "SELECT current_setting('explain_output')")
    ask_duckdb(conn, "SET explain_output = 'all'")
    try:
        rows = (call_from(caller, explain) if caller else explain()).fetchall()
        return Plan(dict(rows)["logical_plan"]), "", None
    except Exception as error:
        try:
            ask_duckdb(conn, "SELECT 1")
        except Exception:
            plain_method("rollback")(conn)
            plain_method("begin")(conn)
            message = _LINE.sub(lambda found: f"LINE {int(found[1]) - 1}:", str(error))
            return None, str(error), type(error)(message)
        return None, str(error), None
    finally:
        with suppress(Exception):  # interrupted
            ask_duckdb(conn, f"SET explain_output = '{output}'")


def _find_view_part(conn: Any, catalog: Catalog, view: Table) -> tuple[str, ...] | None:
    """What the view reads, as in `Plan.parts`. A second connection is asked: a view that is broken would end the
    transaction of the tool. None where that one does not know this view."""
    cursor = plain_method("cursor")(conn)
    with suppress(Exception):
        if read_catalog(cursor, catalog).things.get(view, (0, ""))[1] == catalog.things[view][1]:
            plan, _, _ = _explain(cursor, f"FROM {'.'.join(map(quote, view))}", None)
            return None if plan is None else plan.whole
    return None


def _names_pipe(texts: Iterable[str]) -> bool:
    """Whether one of these names a file that can be read only once: DuckDB reads it to explain."""
    look = getattr(os.stat, "__wrapped__", os.stat)
    for name in (part for text in texts for part in text.split("'") if "/" in part):
        with suppress(OSError, ValueError):
            if not stat.S_ISREG(mode := look(name).st_mode) and not stat.S_ISDIR(mode):
                return True
    return False


def _read_attached(found: re.Match[str]) -> str | None:
    """The name of the file that DuckDB attaches; None for a server, or one that the text does not tell."""
    name: str | None = found[1]
    if name is None or _FOREIGN_TYPE.search(found[2]):
        return None
    is_elsewhere = name != ":memory:" and re.match(r"[a-z]\w+:", name, re.I)
    return None if is_elsewhere else name.replace("''", "'")
