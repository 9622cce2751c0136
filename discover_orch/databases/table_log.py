"""What the steps of a worker do to tables on one connection: the part that all kinds of databases share."""

from __future__ import annotations

from discover_orch.model.observation import TableUse
from discover_orch.model.table_name import is_counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class TableLog:
    """Which tables the steps of a worker use on one connection.

    For each step: `begin_step`, the tool, `resolve` before its transaction ends, `drain`. `defers_commits`: the
    tool's commits on the connection are not final, so they do not count.
    """

    dialect = "sqlite"  # of its statements, by the name that sqlglot has for it
    defers_commits = False
    uses_other_connection = False  # to the same database, in this step
    attached: tuple[
        str, ...
    ] = ()  # real paths of the database files that were attached when the step began
    #: Gives the tables that the calling code of the user has read in this step, to add to: names in lower case, or
    #: WHOLE for a statement that is parsed later.
    tables_of_caller: Callable[[], set[str]] | None = None

    def __init__(self) -> None:
        self._read: set[str] = set()
        self._written: set[str] = set()
        self._changed: set[str] = set()  # written in another way than by inserting rows
        self._missed: set[str] = set()
        self._created: set[str] = set()
        self._dropped: set[str] = set()
        self._kept: set[str] = set()
        self._empty: set[str] = set()  # created, and nothing else was done to them
        self._lists_tables = False
        self._is_unclear = False

    def begin_step(self) -> None:
        """Called before the tool, while orch has no transaction open."""
        raise NotImplementedError

    def resolve(self) -> None:
        """Find the tables, while the tool's transaction is as it left it."""
        raise NotImplementedError

    @property
    def has_committed(self) -> bool:
        """Whether the tool itself committed in this step; asked before orch commits."""
        raise NotImplementedError

    @property
    def may_have_committed(self) -> bool:
        """Whether the tool committed, or did something unclear that may have. Asked after `resolve`."""
        return self.has_committed or self._is_unclear

    @property
    def has_written(self) -> bool:
        """Whether the resolved part of the step wrote to any table."""
        raise NotImplementedError

    @property
    def names(self) -> frozenset[str]:
        """The tables that there were when the step began, in lower case; empty where that is not known."""
        return frozenset()

    def read_version(self) -> int | None:
        """A number that is another one once another connection has changed the database; None where that is not known.
        Asked between two steps."""
        return None

    def may_have_set(self) -> bool:
        """Whether a statement of the step may have changed a setting of the connection."""
        return True

    def find_copies(self) -> list[str]:
        """The absolute paths of files into which a statement of the step has copied a database."""
        return []

    def peek(self) -> TableUse:
        """What was resolved since the last `drain`."""
        written = {one for one in self._written if is_counted(one)}
        return TableUse(
            tables_read=_sorted(self._read),
            tables_written=_sorted(written),
            tables_missed=_sorted(self._missed - written),
            tables_inserted=_sorted(written - self._changed),
            tables_created=_sorted(written & self._created - self._dropped),
            tables_dropped=_sorted(written & self._dropped - self._created),
            tables_kept=_sorted((self._kept - written) | self._empty),
            lists_tables=self._lists_tables,
            is_unclear=self._is_unclear,
        )

    def drain(self) -> TableUse:
        """What was resolved since the last call."""
        use = self.peek()
        for names in (self._read, self._written, self._changed, self._missed):
            names.clear()
        for names in (self._created, self._dropped, self._kept, self._empty):
            names.clear()
        self._lists_tables = self._is_unclear = False
        return use


def _sorted(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(filter(is_counted, names)))
