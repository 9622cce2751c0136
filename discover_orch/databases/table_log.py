"""What the steps of a worker do to tables on one connection: the part that all kinds of databases share."""

from __future__ import annotations

from msgspec import Struct, field

from discover_orch.model.observation import TableUse
from discover_orch.model.table_name import is_counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


_SETS = (
    *("read", "written", "changed", "missed", "found"),
    *("created", "dropped", "kept", "empty"),
)


class FoundTables(Struct, kw_only=True):
    """What steps did to tables, by the names that are shown. The rest as in `TableUse`.

    - `changed` were written in another way than by inserting rows.
    - `empty` were created, and nothing else was done to them.
    - `files_read` and `files_written` are paths or globs as they were written.
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
    files_read: tuple[str, ...] = ()
    files_written: tuple[str, ...] = ()
    lists_tables: bool = False
    is_unclear: bool = False

    def add(self, step: FoundTables) -> None:
        """What the next step did, but for its files."""
        self.empty -= step.written
        for name in _SETS:
            getattr(self, name).update(getattr(step, name))
        self.lists_tables |= step.lists_tables
        self.is_unclear |= step.is_unclear

    def as_use(self) -> TableUse:
        written = {one for one in self.written if is_counted(one)}
        return TableUse(
            tables_read=_sorted(self.read),
            tables_written=_sorted(written),
            tables_missed=_sorted(self.missed - written),
            tables_found=_sorted(self.found - written),
            tables_inserted=_sorted(written - self.changed),
            tables_created=_sorted(written & self.created - self.dropped),
            tables_dropped=_sorted(written & self.dropped - self.created),
            tables_kept=_sorted((self.kept - written) | self.empty),
            lists_tables=self.lists_tables,
            is_unclear=self.is_unclear,
        )


class TableLog:
    """Which tables the steps of a worker use on one connection.

    For each step: `begin_step`, the tool, `resolve` before its transaction ends, `drain`.
    """

    dialect = "sqlite"  # of its statements, by the name that sqlglot has for it
    uses_other_connection = False  # to the same database, in this step
    has_committed = False  # the tool itself, in this step; known after `resolve`
    has_written = False  # the step, to any table; known after `resolve`
    file = ""  # the absolute path of the database file; "" where there is none
    #: Called after a call of the tool has raised, with the texts that may have done something; None if unknown.
    after_error: Callable[[list[str] | None], None] | None = None
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

    def hash_tables(self, names: Iterable[str], most_rows: int) -> dict[str, str]:
        """The versions of those of these tables that have at most so many rows. Asked after `resolve`."""
        return {}

    def read_version(self) -> int | None:
        """A number that is another one once another connection has changed the database; None where that is not known.
        Asked between two steps."""
        return None

    def may_have_set(self) -> bool:
        """Whether a statement of the step may have changed a setting of the connection."""
        return True

    def peek(self, *others: TableLog) -> TableUse:
        """What was resolved since the last `drain`, here and by these other logs of the same database."""
        found = FoundTables()
        for one in (self, *others):
            found.add(one._found)
        return found.as_use()

    def drain(self, *others: TableLog) -> TableUse:
        """The same, and forget it."""
        use = self.peek(*others)
        for one in (self, *others):
            one._found = FoundTables()
        return use


def _sorted(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(filter(is_counted, names)))
