"""Whether another program has written to the SQLite database while the worker uses it.

SQLite says of each connection whether any other has changed the database. Another one may belong to a tool, to a
process that it has started, or to a driver that Python does not see. Then nothing is known, and nothing is reported.
"""

from __future__ import annotations

import os
import sys

from discover_orch.worker.child_processes import find_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.databases.table_log import TableLog
    from discover_orch.worker.observer import Observer

#: Modules that open SQLite databases by themselves.
OTHER_DRIVERS = ("adbc_driver_sqlite", "apsw", "duckdb")


class ForeignWrites:
    """Ask `have_happened` before each step, after it, and before the connection is closed. `is_by_step` says whether
    the step that has ended last may have written to the database, past its connection."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._log: TableLog | None = None
        self._version: int | None = None  # of the database, at the last call
        self._had_children = False  # at the last call
        self.is_by_step = False
        self._has_others = False  # a tool has opened a connection, which it may have kept

    def have_happened(self, log: TableLog, *, during_step: bool) -> bool:
        """Whether another program has written since the last call; `during_step`: a step has run since. `log` is that
        of the open connection."""
        before = self._version if log is self._log else None
        now = log.read_version()
        if now is None:  # the database is locked, or not asked: the next call compares
            return False
        if self._observer.own.has_written:  # that is known, and hides what others have written
            before = now
        may_be_own = self._has_other_writers(during_step=during_step)
        self._log, self._version = log, now
        self.is_by_step = before not in (None, now) and may_be_own
        return before not in (None, now) and not may_be_own

    def _has_other_writers(self, *, during_step: bool) -> bool:
        observer = self._observer
        self._has_others |= observer.has_foreign_connection()
        had_children = self._had_children or (during_step and observer.native.has_child)
        # Without `subprocess` or `multiprocessing` there are none.
        self._had_children = observer.native.may_have_children() and bool(
            find_children(os.getpid())
        )
        is_loaded = not sys.modules.keys().isdisjoint(OTHER_DRIVERS)
        return self._has_others or had_children or self._had_children or is_loaded
