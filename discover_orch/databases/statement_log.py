"""Which tables a tool read and wrote on a PostgreSQL or DuckDB connection, as its statements say.

The methods of the driver's classes are wrapped, because its connections have no attributes to replace. A wrapped
method does what it did before, and an error in orch's part never reaches the tool. Only the text of each statement is
kept while the tool runs. Before the transaction ends, the statements are parsed and their names looked up in the
database. A step is "unclear" where a statement is not understood or the database cannot be asked. Knows no driver.
"""

from __future__ import annotations

import functools
import glob
import os
import sys

from msgspec.structs import replace

from discover_orch.databases.catalog import resolve_effects
from discover_orch.databases.effect import Effect
from discover_orch.databases.sql_effects import DATA, read_statements, shape_of
from discover_orch.databases.table_log import TableLog
from discover_orch.model.table_name import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType
    from typing import Any, ClassVar

    from discover_orch.databases.catalog import Catalog

    #: Gets absolute paths of files read, of files written, and of folders listed.
    Files = Callable[[Iterable[str], Iterable[str], Iterable[str]], None]

#: This many different texts of a step are kept as they are. Of later texts, and of longer ones, only the shape
#: is kept: the text without its values.
EXACT_TEXTS = 100
EXACT_LENGTH = 5_000
#: A step with more or longer statements is unclear.
MOST_STATEMENTS = 1_000
MOST_CHARACTERS = 500_000


class StatementLog(TableLog):
    """Of one driver: a subclass says which of its methods to wrap. The latest log of a driver receives all calls.

    `note_files` receives the files that statements read and wrote, and `note_attach` the name of each file that is
    attached, or None where it is not known. `file` is the database file, or "".
    """

    reads_caller_variables = False  # DuckDB looks for unknown names among the caller's variables
    latest: ClassVar[StatementLog | None] = None
    _is_wrapped: ClassVar[bool] = False

    def __init__(
        self,
        conn: Any,
        note_files: Files,
        note_attach: Callable[[str | None], None] = lambda name: None,
    ) -> None:
        super().__init__()
        self.conn, self._note_files, self._note_attach = conn, note_files, note_attach
        self.file = self.find_file(conn)
        self._counts: dict[str, int] = {}  # how often each text, or shape, was executed
        self._characters = 0  # of these texts
        self._method_effects: dict[Effect, int] = {}
        self._failures: dict[str | Effect, int] = {}  # how often each of these raised
        self._latest: str | Effect = ""
        self._default_schema: tuple[str, str] | None = None
        self._before: Catalog | None = None  # when the step began
        self._has_unknown = self._has_error = self.uses_other_connection = False
        self._has_changed_search_path = self._may_have_committed = False
        kind = type(self)
        kind.latest = self
        if not kind._is_wrapped:
            kind._is_wrapped = True
            kind.wrap_methods()

    @classmethod
    def wrap_methods(cls) -> None:
        """Wrap all methods that matter, by `wrap`."""
        raise NotImplementedError

    @classmethod
    def read_catalog(cls, conn: Any) -> Catalog:
        """What is in the database now, as this connection sees it; raises whatever the driver raises."""
        raise NotImplementedError

    @classmethod
    def find_file(cls, conn: Any) -> str:
        """The absolute path of the connection's database file; "" where it is none."""
        return ""

    @classmethod
    def wrap(
        cls,
        owner: Any,
        name: str,
        report: Callable[..., None],
        *,
        after: bool = False,
        is_statement: bool = False,
    ) -> None:
        """Have `report` called with the latest log and the arguments of each call, before it or after it."""
        original = vars(owner).get(name)
        if original is None:
            return

        @functools.wraps(original)
        def wrapper(*args: Any, **named: Any) -> Any:
            call = functools.partial(original, *args, **named)
            if not after:
                cls._notify(report, args, named)
            try:
                is_plain = not cls.reads_caller_variables
                result = call() if is_plain else call_from(sys._getframe(1), call)
            except BaseException:
                if cls.latest is not None:
                    cls.latest.on_error(is_statement=is_statement)
                raise
            if after:
                cls._notify(report, args, named)
            return result

        setattr(owner, name, wrapper)

    @classmethod
    def _notify(
        cls, report: Callable[..., None], args: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        if cls.latest is not None:
            try:
                report(cls.latest, *args, **named)
            except Exception:  # the arguments are not those that orch knows
                cls.latest.on_unknown()

    # Wrapped methods call these, in any thread, while the tool waits.

    def on_statement(self, text: str, /) -> None:
        self._note_caller()
        counts = self._counts
        if text not in counts and (len(counts) >= EXACT_TEXTS or len(text) > EXACT_LENGTH):
            text = shape_of(text)
        self._latest = text
        if text in counts:
            counts[text] += 1
        elif len(counts) < MOST_STATEMENTS and self._characters + len(text) < MOST_CHARACTERS:
            counts[text] = 1
            self._characters += len(text)
        else:
            self._has_unknown = True

    def on_effect(self, effect: Effect, /) -> None:
        """A method did what a statement would have done."""
        self._note_caller()
        self._method_effects[effect] = self._method_effects.get(effect, 0) + 1
        self._latest = effect

    def on_files(self, paths: Iterable[str], /, *, is_written: bool) -> None:
        found = [*_find_files(paths)]
        if is_written:
            self._note_files((), found, ())
        else:
            self._note_files(found, (), map(os.path.abspath, _find_folders(paths)))

    def on_commit(self, conn: Any, /) -> None:
        self.has_committed |= conn is not self.conn or not self.defers_commits

    def on_error(self, *, is_statement: bool) -> None:
        """The latest call raised. If it `is_statement`, it had run the latest statement, once."""
        if is_statement:
            self._failures[self._latest] = self._failures.get(self._latest, 0) + 1
        else:
            self._has_error = True
        if self.after_error is not None:
            self.after_error(self._find_done())

    def _find_done(self) -> list[str] | None:
        """The texts that may have done something in this step; None if not all are known."""
        effects = [one for one in self._method_effects if one not in self._failures]
        if self._has_unknown or any(one.written or one.created for one in effects):
            return None
        failures = self._failures
        return [
            text
            for text, count in self._counts.items()
            if count != failures.get(text) or ";" in text.strip().rstrip(";")
        ]

    def on_unknown(self) -> None:
        """A call whose effect orch cannot tell."""
        self._has_unknown = True

    def _note_caller(self) -> None:
        if self.tables_of_caller is not None:
            self.tables_of_caller().add(WHOLE)

    # The worker calls these.

    def begin_step(self) -> None:
        self._counts.clear()
        self._method_effects.clear()
        self._failures.clear()
        self._characters = 0
        self._has_unknown = self._has_error = self.uses_other_connection = False
        self.has_committed = self.has_written = self._may_have_committed = False
        self._before = None
        self._before = self._read_catalog()
        if self._before is not None:
            main = self._default_schema and self._default_schema[0]
            others = [path for name, path in self._before.attached.items() if path and name != main]
            self.attached = tuple(map(os.path.realpath, others))

    def may_have_set(self) -> bool:
        return self._has_unknown or not all(map(DATA.match, self._counts))

    def resolve(self) -> None:
        if not self._counts and not self._method_effects and not self._has_unknown:
            return
        try:
            self._resolve(self._read_effects())
        except Exception:  # must not fail the tool
            self._note_unclear(True)

    def _read_effects(self) -> list[Effect]:
        """The effects of the step; what was executed several times in an unknown order is there twice."""
        parsed = {text: read_statements(text, self.dialect) for text in list(self._counts)}
        for text, count in self._failures.items():
            # Of several statements in one text, those before the one that failed have been run.
            if isinstance(text, str) and text in parsed:
                if count == self._counts[text] and len(parsed[text]) == 1:
                    parsed[text] = (_as_failed(parsed[text][0]),)
                else:
                    self._has_error = True
        effects = [
            _as_failed(one) if count == self._failures.get(one) else one
            for one, count in self._method_effects.items()
        ]
        effects += (one for found in parsed.values() for one in found)
        changes = {
            text: [one for one in found if one.changes_search_path or one.rolls_back]
            for text, found in parsed.items()
        }
        changes = {text: found for text, found in changes.items() if found}
        if len(changes) > 1:
            for text, found in changes.items():
                effects += found if self._counts[text] > 1 else []
        return effects

    def _resolve(self, effects: list[Effect]) -> None:
        if not self.defers_commits or self.uses_other_connection:
            self.has_committed |= any(one.commits for one in effects)
        self.has_written = any(one.written or one.created for one in effects if not one.has_failed)
        self._has_changed_search_path |= any(one.changes_search_path for one in effects)
        # A statement that failed is undone with the transaction, whatever it did.
        self._may_have_committed = self._has_unknown or any(
            one.is_unclear for one in effects if not one.has_failed
        )
        self._found.is_unclear |= self._may_have_committed or any(one.is_unclear for one in effects)
        before = self._before
        has_changed_names = any(one.changes_names for one in effects)
        now = self._read_catalog() if has_changed_names or before is None else before
        if now is None and before is not None and (self._failures or self._has_error):
            # The transaction has failed and will be rolled back.
            now = _add_created(before, effects)
        self._note_unclear(now is None or before is None)
        if now is None:
            return
        before = before or now
        self._note_unclear(self._may_miss_tables(effects, now, before))
        used = resolve_effects(effects, now, before)
        self._note_unclear(used.is_unclear)
        self._found.add(used)
        self.on_files(used.files_read, is_written=False)
        self.on_files(used.files_written, is_written=True)

    def _note_unclear(self, is_unclear: bool) -> None:
        self._found.is_unclear |= is_unclear
        self._may_have_committed |= is_unclear

    def _may_miss_tables(self, effects: list[Effect], now: Catalog, before: Catalog) -> bool:
        if self.uses_other_connection and (
            self._has_changed_search_path or now.temporary or before.temporary
        ):
            return True  # the other connection has a search path and temporary tables of its own
        # The call that failed may have named a table that does not exist.
        if not now.has_variables or not self._has_error:
            return False
        names = (name for one in effects for name in one.read)
        return not all(now.find(name) or before.find(name) for name in names)

    @property
    def may_have_committed(self) -> bool:
        if self.has_committed or self.uses_other_connection:  # that may be in autocommit mode
            return True
        return self._may_have_committed and not self.defers_commits

    def _read_catalog(self) -> Catalog | None:
        try:
            catalog = self.read_catalog(self.conn)
        except Exception:  # the connection is closed, or its transaction has failed
            return None
        # A table keeps its display name, also after the tool has changed the current schema.
        self._default_schema = self._default_schema or catalog.default_schema
        main = self._default_schema[0]
        known = catalog if self._before is None else self._before
        kept = {main, *(name for name, path in known.attached.items() if not path)}
        # An attached file counts as a file, and one in memory only where the tool has found it.
        others = {one for one in catalog.tables if one[0] not in kept}
        return replace(
            catalog,
            default_schema=self._default_schema,
            temporary=catalog.temporary | others,
        )


def _as_failed(effect: Effect) -> Effect:
    """What is left of a statement that raised: its tables were looked at."""
    return Effect(
        read=(*effect.read, *effect.written),
        created=effect.created,
        looked_up=effect.looked_up,
        lists_tables=effect.lists_tables,
        files_read=effect.files_read,
        called=effect.called,
        commits=effect.commits,
        is_unclear=effect.is_unclear,
        has_failed=True,
    )


def _add_created(catalog: Catalog, effects: Iterable[Effect]) -> Catalog:
    names = (name for one in effects if not one.has_failed for name in one.created)
    return replace(catalog, tables=catalog.tables | {catalog.name_new_table(one) for one in names})


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


_CALL = compile("__orch_call__()", __file__, "eval")


def call_from(caller: FrameType, call: Callable[[], Any]) -> Any:
    """Call with the caller's variables in scope, as if orch had not wrapped the method."""
    return eval(_CALL, caller.f_globals, {**caller.f_locals, "__orch_call__": call})
