"""Which file each database of a SQLite connection is at one moment: the same file may be attached under other names.

The names of the tables of a connection begin with a base: `main`, `temp`, `:` and the path of another file, or `=` and
the name of a database in memory that was there before the tool. One that the tool attaches itself is `temp`.
"""

from __future__ import annotations

import os

from discover_orch.databases.sqlite_queries import list_databases
from discover_orch.model.table_name import attached_name, main_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

MAIN, TEMP = "main", "temp"
_FILE, _MEMORY = ":", "="


class AttachedFiles:
    """The databases of one connection. `bases` has for each name of a database, in small letters, what the names of
    its tables begin with; `used` has all files that were attached since it was last cleared."""

    def __init__(self, conn: sqlite3.Connection, show_path: Callable[[str], str]) -> None:
        """`show_path` gives an absolute path as it is shown."""
        self._conn, self._show_path = conn, show_path
        self.bases: dict[str, str] = {}
        self.names: dict[str, str] = {}  # the present name of each base
        self.used: dict[str, None] = {}  # paths as they are shown

    def refresh(self, *, is_first: bool = False) -> None:
        """Ask SQLite. `is_first`: before the tool. Raises what SQLite raises."""
        if is_first:
            self.used.clear()
        known = {one for one in self.names if one[:1] == _MEMORY}
        self.bases.clear()
        self.names.clear()
        found = list_databases(self._conn)
        has_others = any(name not in (MAIN, TEMP) for name, _ in found)
        main = found[0][1] if has_others else ""  # SQLite lists the main database first
        main = os.path.realpath(main) if main else ""
        for name, path in found:
            base = self._find_base(name, path, main)
            in_memory = _MEMORY + name.lower()
            if base == TEMP and name != TEMP and (is_first or in_memory in known):
                base = in_memory
            self.bases[name.lower()] = base
            self.names.setdefault(base, name)
            if base[:1] == _FILE:
                self.used[base[1:]] = None

    def _find_base(self, name: str, path: str, main: str) -> str:
        if name in (MAIN, TEMP):
            return name
        real = os.path.realpath(path) if path else ""
        if real and real == main:
            return MAIN
        # A database in memory may have a name that looks like a path.
        return _FILE + self._show_path(real) if real and os.path.exists(real) else TEMP


def is_known_base(base: str | None) -> bool:
    """Whether it is known which database this is."""
    return base is None or base[:1] in (_FILE, _MEMORY) or base.lower() in (MAIN, TEMP, "vacuum_db")


def display_name(base: str | None, name: str) -> str:
    """The name of a table as it is shown."""
    shown = name.lower()
    if base is not None and base[:1] == _FILE:
        return attached_name(base[1:], shown)
    shown = main_name(shown)
    return (
        shown if base is None or base.lower() == MAIN else f"{base.lower().lstrip(_MEMORY)}.{shown}"
    )
