"""What the steps of a worker do to tables on one connection: the part that all kinds of databases share."""

from __future__ import annotations

import re
import sys

from msgspec import Struct, field

from discover_orch.model.keys import acting_name, is_counted
from discover_orch.model.observation import UNCLEAR, Use
from discover_orch.model.tool_events import TableHead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from types import FrameType

    from discover_orch.model.observation import Kind

NOTHING: Mapping[str, str] = {}
_SETS = (
    *("read", "written", "changed", "missed", "found"),
    *("created", "dropped", "kept", "empty", "gaps"),
)


#: Functions of SQLAlchemy and pandas that ask about a table to create, drop or empty it. They may read its columns
#: too.
_CHECKS = frozenset({"has_table", "has_multi_table", "drop_table", "delete_rows"})
#: Of SQLAlchemy, before it creates a table that is not there: one that is there stays.
_CREATES = "_can_create_table"
_CHECKING = re.compile(r"[\\/](?:sqlalchemy[\\/]|pandas[\\/]io[\\/]sql\.py$)")
#: Those that read the list of tables and look for some of these only, and the variable that has their names.
_SEEKING = {
    "check_case_sensitive": "name",
    "has_table": "table_name",
    "has_multi_table": "table_names",
    "reflect": "only",
    "_default_multi_reflect": "filter_names",
}


def is_asked_whether_there() -> bool:
    """Whether one of them is being called: what the tool learns is whether the table is there."""
    return any(frame.f_code.co_name in _CHECKS for frame in _find_library_frames())


def may_drop() -> bool:
    """Whether a tool that asks whether a table is there, as it does now, may drop it: not in `create_all`."""
    return all(frame.f_code.co_name != _CREATES for frame in _find_library_frames())


def find_sought() -> frozenset[str] | None:
    """The names of the tables that a library looks for in the list of tables, which it is reading for the tool; None
    where the tool may see all of the list."""
    for frame in _find_library_frames():
        sought = frame.f_locals.get(_SEEKING.get(frame.f_code.co_name, ""))
        names = [sought] if isinstance(sought, str) else sought
        if isinstance(names, list | tuple | set | frozenset) and names:
            return frozenset(one for one in names if isinstance(one, str))
    return None


def _find_library_frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        name = code.co_name
        is_known = name in _CHECKS or name in _SEEKING or name == _CREATES
        if is_known and _CHECKING.search(code.co_filename):
            yield frame
        frame = frame.f_back


class FoundTables(Struct, kw_only=True):
    """What steps did to tables. Their names are in small letters, as `model/keys.py` says; one name may stand for all
    tables of a database. A table that was made and dropped does not count.

    - `missed`: a statement looked for them in vain, with IF EXISTS too, and they are not there at the end either.
    - `read`: rows of them, or what columns they have.
    - `found`: a statement looked for them by name, and they are there.
    - `changed` were written in another way than by inserting rows.
    - `created`, `dropped` did not exist before and do at the end, and the other way round. A table that was renamed is
      both, under its two names.
    - `kept`: no row of them was changed: they would have been created if they had not been there, or they only got or
      lost an index. Of those missed the ones that would have been dropped.
    - `empty` were created, and nothing else was done to them.
    - `lists_tables`: the list of tables was read.
    - `gaps` say why more may have been read, as the end of a sentence.
    - `is_unclear`: there were statements that could not be observed, and may have written anything.
    """

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    found: set[str] = field(default_factory=set)
    created: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    empty: set[str] = field(default_factory=set)
    gaps: set[str] = field(default_factory=set)
    lists_tables: bool = False
    is_unclear: bool = False

    def add(self, step: FoundTables) -> None:
        """What the next step did."""
        self.empty -= step.written
        for name in _SETS:
            getattr(self, name).update(getattr(step, name))
        self.lists_tables |= step.lists_tables
        self.is_unclear |= step.is_unclear

    def uses(self, versions: Mapping[str, str]) -> Iterator[Use]:
        """The same as uses; `versions` are those of tables that were written, as far as they are known."""
        written = {*filter(is_counted, self.written)}
        for name in sorted(written):
            kind: Kind = "written" if name in self.changed else "inserted"
            kind = "made" if name in self.empty else kind
            yield Use(f"table:{name}", kind, versions.get(name, ""))
        groups: tuple[tuple[set[str], Kind], ...] = (
            (self.read, "read"),
            (self.missed - written, "missed"),
            (self.found - written, "found"),
            (written & self.created - self.dropped, "created"),
            (written & self.dropped - self.created, "dropped"),
            (self.kept - written, "kept"),
        )
        for names, kind in groups:
            for name in sorted(filter(is_counted, names)):
                yield Use(f"table:{name}", kind)
        if self.lists_tables:
            yield Use("table:", "listed")
        yield from (Use(f"gap:{gap}", "unclear") for gap in sorted(self.gaps))
        if self.is_unclear:
            yield UNCLEAR


def find_objects(
    made: Collection[str],
    gone: Collection[str],
    kept: Collection[str],
    tables: Collection[str],
    acted: Mapping[str, str],
    acting: Mapping[str, str],
) -> FoundTables:
    """What a step did to things that are neither tables nor views: those that it `made` or changed, that are `gone`,
    and that it would have made if they had not been there. `tables`: those to which they belong. `acted` and `acting`:
    the definitions of all that `acting_name` stands for, for each table, as the step began and ended."""
    changed = {one for one in {*acted, *acting} if acted.get(one) != acting.get(one)}
    same = {acting_name(one) for one in tables if one in acting and one not in changed}
    written = {*made, *gone, *map(acting_name, changed)}
    return FoundTables(
        written=written,
        changed=written,
        dropped={*gone, *map(acting_name, changed.difference(acting))},
        kept={*kept} | same,
    )


class TableContent(Struct, frozen=True, kw_only=True):
    """What is known of what a table contains. `version` is None where it is too large or cannot be read, and `head`
    where it cannot be read."""

    version: str | None = None
    head: TableHead | None = None


class TableLog:
    """Which tables the steps of a worker use on one connection.

    For each step: `begin_step`, the tool, `resolve` before its transaction ends, `drain`.
    """

    dialect = "sqlite"  # of its statements
    uses_other_connection = False  # to the same database, in this step
    has_committed = False  # the tool itself, in this step; known after `resolve`
    #: When `read_tables` was called last, in seconds by the clock of the server; 0 where there is none.
    read_at = 0.0
    has_written = False  # the step, to any table; known after `resolve`
    file = ""  # the absolute path of the database file; "" where there is none
    #: Called after a call of the tool has raised; whether all that it has done before only read.
    after_error: Callable[[bool], None] | None = None
    #: Real paths of the database files that were attached when the step began.
    attached: tuple[str, ...] = ()
    #: Gives the tables that the calling code of the user has read in this step, to add to: names in lower case, or
    #: WHOLE for a statement that is parsed later.
    tables_of_caller: Callable[[], set[str]] | None = None

    def __init__(self) -> None:
        self._found = FoundTables()  # since the last `drain`

    def begin_step(self) -> None:
        """Called before the tool, while orch has no transaction open."""
        raise NotImplementedError

    def resolve(self) -> None:
        """Find the tables, while the tool's transaction is as it left it."""
        raise NotImplementedError

    @property
    def may_have_committed(self) -> bool:
        """Whether the tool committed, or did something unclear that may have. Asked after `resolve`."""
        return self.has_committed or self._found.is_unclear

    @property
    def names(self) -> frozenset[str]:
        """The tables that there were when the step began, in lower case; empty where that is not known."""
        return frozenset()

    def begin_without(self, names: Iterable[str]) -> None:
        """orch has dropped these tables since `begin_step`: for the tool they were not there."""
        self.begin_step()

    def begin_check(self) -> None:
        """A check is about to run that no savepoint surrounds."""

    def end_check(self) -> bool:
        """Whether it has written, as far as that is known."""
        return False

    def look(self) -> tuple[str, ...] | None:
        """Find which tables, views and objects there are, before `read_tables` outside of a step; None where they are
        not listed."""
        return None

    def read_tables(self, names: Iterable[str], most_rows: int) -> dict[str, TableContent]:
        """What those of these tables contain that can be read; one with more than so many rows has no version. Asked
        after `resolve`."""
        return {}

    def read_version(self) -> int | None:
        """A number that is another one once another connection has changed the database; None where that is not known.
        Asked between two steps."""
        return None

    def may_have_set(self) -> bool:
        """Whether a statement of the step may have changed a setting of the connection, or attached a database."""
        return True

    def peek(self, *others: TableLog, versions: Mapping[str, str] = NOTHING) -> tuple[Use, ...]:
        """What was resolved since the last `drain`, here and by these other logs of the same database."""
        found = FoundTables()
        for one in (self, *others):
            found.add(one._found)
        return tuple(found.uses(versions))

    def drain(self, *others: TableLog, versions: Mapping[str, str] = NOTHING) -> tuple[Use, ...]:
        """The same, and forget it."""
        uses = self.peek(*others, versions=versions)
        for one in (self, *others):
            one._found = FoundTables()
        return uses
