"""Which tables a tool read and wrote on a connection that is not SQLite's, as the statements say that it sent.

In: a connection, and what its driver was heard to be sent. Out: names of tables, as `tables` gives them for SQLite;
and the files that statements name. What cannot be understood, or not be looked up in the database, is unclear.
"""

from __future__ import annotations

import glob
import os
from importlib.util import find_spec

from discover_orch.catalog import look_up
from discover_orch.drivers import find_driver
from discover_orch.statements import Effect, read_statements, shape_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from discover_orch.catalog import Catalog
    from discover_orch.drivers import Driver

    Files = Callable[[Iterable[str], Iterable[str]], None]

#: So many different texts of a step are read as they are; of those that come after them the shapes alone.
PLAIN_TEXTS = 100
#: More different statements than this one step does not have: what they do is then unclear.
MOST = 1_000


class Statements:
    """Listens to one connection, as `Tables` does: `begin` before each tool, `settle` before its transaction
    ends, then `take`. `note_files` is told of files that were read and written."""

    def __init__(self, conn: Any, driver: Driver, note_files: Files) -> None:
        self._conn, self._driver, self._note_files = conn, driver, note_files
        self._heard: dict[str, None] = {}
        self._texts: set[str] = set()
        self._named: dict[tuple[str, bool], None] = {}  # a table, and whether it was written
        self._effects: dict[str, tuple[Effect, ...]] = {}
        self._catalog: Catalog | None = None  # as it is, as far as anybody knows
        self._before: Catalog | None = None  # as it was when the step began
        self._found: tuple[set[str], set[str]] = (set(), set())
        self._is_unclear = self._is_lost = False
        self._has_committed = False
        self.file = _find_file(driver, conn)
        driver.hear(self)

    # What the driver calls, in any thread: as little as can be.

    def text(self, text: str, /) -> None:
        if text in self._texts:
            return
        if len(self._texts) < PLAIN_TEXTS:
            self._texts.add(text)
            self._heard[text] = None
        elif len(self._heard) < MOST:
            self._heard[shape_of(text)] = None
        elif shape_of(text) not in self._heard:
            self._is_lost = True

    def table(self, name: str, /, *, is_written: bool) -> None:
        self._named[name, is_written] = None

    def files(self, paths: Iterable[str], /, *, is_written: bool) -> None:
        found = [*_find_files(paths)]
        self._note_files([] if is_written else found, found if is_written else [])

    def commit(self) -> None:
        self._has_committed = True

    def stranger(self) -> None:
        self._is_lost = True

    # What the worker calls.

    def begin(self) -> None:
        """Called before the tool's transaction."""
        self._heard.clear()
        self._texts.clear()
        self._named.clear()
        self._is_lost = self._has_committed = False
        if self._catalog is None:
            self._catalog = self._ask()
        self._before = self._catalog

    def settle(self) -> None:
        """Make names of what was heard, while the tool's transaction is as it left it."""
        heard, named = list(self._heard), list(self._named)
        if not heard and not named and not self._is_lost:
            return
        effects = [one for text in heard for one in self._read(text)]
        self._has_committed |= any(one.commits for one in effects)
        self._is_unclear |= self._is_lost or any(one.is_unclear for one in effects)
        is_changed = any(one.changes_names for one in effects) or any(one for _, one in named)
        catalog = self._ask() if is_changed or self._catalog is None else self._catalog
        self._catalog = None if is_changed else catalog  # else its transaction may be rolled back
        if catalog is None or self._before is None:
            self._is_unclear = True
        if catalog is not None:
            touched = look_up(effects, named, catalog, self._before or catalog)
            self._is_unclear |= touched.is_unclear
            self._found[0].update(touched.read)
            self._found[1].update(touched.written)
            self.files(touched.files_read, is_written=False)
            self.files(touched.files_written, is_written=True)

    @property
    def has_committed(self) -> bool:
        """Whether the tool committed by itself; asked before orch does."""
        return self._has_committed

    def peek(self) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        """(read, written, is unclear) since the last `take`, of what is settled."""
        read, written = self._found
        return tuple(sorted(read)), tuple(sorted(written)), self._is_unclear

    def take(self) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        """(read, written, is unclear) since the last time."""
        taken = self.peek()
        self._found = set(), set()
        self._is_unclear = False
        return taken

    def _read(self, text: str) -> tuple[Effect, ...]:
        found = self._effects.get(text)
        if found is None:
            found = self._effects[text] = read_statements(text, self._driver.dialect)
        return found

    def _ask(self) -> Catalog | None:
        try:
            return self._driver.ask(self._conn)
        except Exception:  # it is closed, or its transaction is broken
            return None


def listen(conn: Any, note_files: Files) -> Statements | None:
    """None for a connection whose statements nobody can hear, or read."""
    driver = find_driver(conn)
    if driver is None or find_spec("sqlglot") is None:
        return None
    return Statements(conn, driver, note_files)


def _find_files(paths: Iterable[str]) -> Iterable[str]:
    """Absolute paths; what a glob matches, and nothing that lies elsewhere than on a disk."""
    for path in paths:
        if "://" in path:
            continue
        if glob.has_magic(path):
            yield from map(os.path.abspath, glob.glob(path, recursive=True))
        else:
            yield os.path.abspath(path)


def _find_file(driver: Driver, conn: Any) -> str:
    try:
        return driver.find_file(conn)
    except Exception:
        return ""
