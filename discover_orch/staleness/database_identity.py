"""The database of a project at one time: which one it is, and whether another program has written to it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from functools import cached_property

from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.model.database_url import database_name, find_database_file, is_in_memory
from discover_orch.model.keys import WHOLE, Key, table_key, table_name, whole_table
from discover_orch.staleness.database_file import (
    DatabaseStat,
    count_changes,
    read_database,
    read_tables,
)
from discover_orch.staleness.memory import KnownDatabase, Memory
from discover_orch.staleness.tool_result import ABSENT, EXISTS, Seq, after_run, sequence
from discover_orch.state.journal import find_runs, has_ended, read_open_run

GET_CONNECTION = "get_connection()"
#: The number of a database that exists and is not known yet, and of one that does not exist.
UNKNOWN, MISSING = -1, 0


class CurrentDatabase:
    """The database of a project at one time: which one it is, and whether another program has written to it.

    `named_file` is the file that the URL names, which may be a link to another database by now; "" where orch opens no
    file. Until the database is known, it counts as the `path`.
    """

    def __init__(
        self,
        project: Project,
        registry: Registry,
        memory: Memory,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        is_named = not uses_get_connection(registry, project)
        file = find_database_file(project.database)
        self._root, self.all_known = project.root, memory.databases()
        self._ignores_others = project.external_writes == "ignore"
        self.name = database_name(project.database, environ) if is_named else GET_CONNECTION
        self.named_file = file if is_named else ""
        self.path = self.known.path if self.known else file
        self._stats: dict[str, DatabaseStat | None] = {}
        self._contents: Mapping[str, str] | None = None  # that were read just now
        self._missing: tuple[str, ...] = ()  # of the tables that were looked for just now

    @property
    def known(self) -> KnownDatabase | None:
        return self.all_known.get(self.name)

    @property
    def state(self) -> tuple[object, ...]:
        """Differs once it was replaced, removed, or written by another program."""
        known = self.known
        return self.number, self.foreign_write, *((known.contents, known.missing) if known else ())

    @property
    def version(self) -> str:
        return f"{self.number} {self.name}"

    @cached_property
    def number(self) -> int:
        """The number of the present database: the known one, or a new one where another has taken its place. MISSING
        where there is no database, UNKNOWN where there is one that is not known yet."""
        known = self.known
        if is_in_memory(self.name):
            return MISSING
        if known is None:
            has_file = self.named_file and read_database(self._root, self.named_file)
            return UNKNOWN if has_file else MISSING
        if not known.path:
            return known.number
        path = self.named_file or known.path
        stat = self._stat(path)
        if stat is None:
            return MISSING
        is_same = known.stat is not None and stat.is_same(known.stat)
        return known.number if is_same and self._is_at(path, known.path) else self.next_number

    @property
    def next_number(self) -> int:
        return max((one.number for one in self.all_known.values()), default=0) + 1

    def mark(self, key: Key) -> str:
        """Whether a table exists."""
        name = table_name(whole_table(key))
        if key.split(":", 2)[1] != str(self.number):
            return EXISTS
        if name in self._missing or (self.known is not None and name in self.known.missing):
            return ABSENT
        if name in ("", WHOLE) or "." in name:
            return EXISTS
        tables = self._tables
        return EXISTS if tables is None or name in tables else ABSENT

    def content(self, key: Key, seq: Seq) -> str | None:
        """The version that a table has now, if that was asked for after the write of this number; else None."""
        known, name = self.known, table_name(key)
        if known is None or self._ignores_others or key != table_key(self.number, name):
            return None
        if self._contents is not None:
            return self._contents.get(name)
        is_read = seq <= known.read and not self.has_changed
        return known.contents.get(name) if is_read else None

    def find_unread(self, written: Mapping[str, Seq]) -> list[str]:
        """Of these tables, each with when a tool wrote it last, those that another program may have changed since, so
        that it is to be found out what they contain."""
        known = self.known
        if known is None or self._ignores_others or self.number != known.number:
            return []
        if not known.path:
            is_server = self.name == GET_CONNECTION or self.name.startswith("postgres")
            return [*written] if is_server else []
        if known.is_unread:
            return [*written]
        since = self.foreign_write if self.foreign_write > known.read else -1
        return [name for name, seq in written.items() if seq <= since]

    def note_contents(
        self, contents: Mapping[str, str], memory: Memory | None = None, now: Seq = 0
    ) -> None:
        """These tables were read. With a `memory`, a run follows, and that is remembered as of `now`."""
        if memory is None or self.known is None:
            self._contents = contents
            return
        if self.was_written:
            self.note_present(memory, now)
            self.__dict__.update(has_changed=False, was_written=False)
        looked = now if self.known.is_unread else self.known.looked
        known = replace(self.known, read=now, contents=contents, looked=looked)
        self.remember(memory, replace(known, latest=now, is_unread=False))

    def after_run(self, run: int) -> Seq:
        """A number after that run, and after all that was remembered since then."""
        return max(after_run(run), self.known.latest + 2 if self.known else 0)

    def note_latest(self, memory: Memory, now: Seq) -> None:
        """Something is remembered as of `now`: what happens later gets a greater number."""
        if self.known is not None:
            self.remember(memory, replace(self.known, latest=now))

    @cached_property
    def _tables(self) -> frozenset[str] | None:
        return read_tables(self._root, self.path)

    @cached_property
    def has_changed(self) -> bool:
        """Whether anybody has written to it since it was remembered."""
        known = self.known
        if known is None or known.stat is None or not known.path or self.number != known.number:
            return False
        found = self._stat(known.path)
        return found is not None and found.was_written_since(known.stat)

    @property
    def foreign_write(self) -> float:
        """When another program wrote to it last: infinite if no run has noticed that yet."""
        if self.known is None:
            return 0
        return math.inf if self.was_written else self.known.foreign_write

    @property
    def looked(self) -> float:
        """When a table that is not there has been missing at the latest; 0 where none can be."""
        known = self.known
        if self._missing or (known is not None and known.is_unread):
            return math.inf
        return max(self.foreign_write, known.looked if known else 0)

    @property
    def may_differ(self) -> bool:
        """Whether it may have other records than are remembered. A file has not that is as it was remembered, and of a
        server that is not known."""
        known = self.known
        if not self.named_file and not (known and known.path):
            return True
        if known is None:
            return self.number == UNKNOWN
        return self.has_changed or self.number not in (MISSING, known.number)

    def note_records(self, memory: Memory, run: int, now: Seq, *, is_ours: bool) -> None:
        """The database has records of this project, the latest of this run. So it is the known one, though it may be
        an older state of it. `now` is later than all that is remembered."""
        known = self.known
        if not is_ours:
            return
        path = self.named_file or (known.path if known else "")
        stat = read_database(self._root, path) if path else None
        if known is None:
            known = KnownDatabase(path=path, number=self.next_number, stat=stat, is_unread=True)
        elif self.was_written or self.number != known.number:
            known = replace(known, foreign_write=now - 1, latest=now)
        found = replace(known, path=path, stat=stat, run=run)
        self.remember(memory, found)
        self.number = found.number

    def note_own_write(self, memory: Memory) -> None:
        """This command has written to it, and no other program since it was remembered."""
        if self.known is not None and self.known.path:
            stat = read_database(self._root, self.known.path)
            self.remember(memory, replace(self.known, stat=stat))

    @property
    def shows_tables(self) -> bool:
        """Whether the file shows which tables there are, so that the database need not be asked."""
        known = self.known
        return known is None or (bool(known.path) and self._tables is not None)

    def note_missing(
        self, names: tuple[str, ...], memory: Memory | None = None, now: Seq = 0
    ) -> None:
        """These tables were looked for just now, and are not there. With a `memory`, a run follows, and that is
        remembered as of `now`."""
        if memory is None:
            self._missing = names
        elif self.known is not None and (names or self.known.missing or self.known.path):
            self.remember(memory, replace(self.known, looked=now, missing=names, latest=now))

    @cached_property
    def was_written(self) -> bool:
        """Whether another program has written to it since the last run."""
        known = self.known
        if known is None or not self.has_changed:
            return False
        runs = find_runs(self._root)
        if not runs or has_ended(self._root, runs[0]):
            return True
        return self._commits_since_kill > 0

    @cached_property
    def _commits_since_kill(self) -> int:
        """How often it was committed to after the last tool of the run, which was killed or is in progress, that used
        it and whose end is recorded. What the run itself has written before is its own, and so is all that SQLite does
        not count."""
        known, record = self.known, read_open_run(self._root)
        changes = count_changes(self._root, known.path) if known else None
        if known is None or record is None or record.status != "killed":
            return 0
        if changes is None or known.stat is None:
            return 0
        counted = (one.changes for one in record.tools if one.changes is not None)
        return changes - max((known.stat.counter, *counted))

    def note_settled(self, memory: Memory, commits: int) -> None:
        """According to the database, the run that was killed has committed so often after the last end that it has
        recorded. Other programs have not written if that is all, and this command has written the rest."""
        if not self.was_written or 0 < self._commits_since_kill <= commits:
            self.was_written = False
            self.note_own_write(memory)

    def remember(self, memory: Memory, known: KnownDatabase) -> None:
        if self.known != known:
            self.all_known[self.name] = known
            memory.write_databases(self.all_known)

    def note_present(self, memory: Memory, now: Seq) -> None:
        """Remembers the present database where none is known, and that another program wrote to it before `now`."""
        known = self.known
        if self.number == MISSING:
            return
        if self.number == UNKNOWN:
            self.number = self.next_number
        if known is None or self.number != known.number:
            path = self.named_file or (known.path if known else "")
            stat = read_database(self._root, path)
            self.remember(memory, KnownDatabase(path=path, number=self.number, stat=stat))
        elif self.was_written:
            stat = read_database(self._root, known.path)
            self.remember(memory, replace(known, stat=stat, foreign_write=now - 1, latest=now))

    def note_version(self, version: str) -> None:
        """A tool of a run in progress has used the database as this version: the run may have made it."""
        if self.number in (MISSING, UNKNOWN):
            self.number = int(version.partition(" ")[0])

    def _stat(self, path: str) -> DatabaseStat | None:
        """What is known of the file at this one time."""
        if path not in self._stats:
            self._stats[path] = read_database(self._root, path)
        return self._stats[path]

    def _is_at(self, path: str, known: str) -> bool:
        """Whether both paths lead to the same file."""
        here, there = (os.path.realpath(os.path.join(self._root, one)) for one in (path, known))
        return here == there


class DatabaseRecord:
    """Which database the run uses. `number` is its number: a new database gets the next one."""

    def __init__(self, current: CurrentDatabase, memory: Memory, root: str) -> None:
        self._current, self._memory, self._root = current, memory, root
        self._is_noted = False
        self._was_written = current.was_written  # by another program, before this run
        self._foreign_write: Seq = 0  # during this run
        self.run = self.key = 0
        self.number = current.number if current.number > 0 else current.next_number

    @property
    def foreign_write(self) -> Seq:
        """When another program wrote to the database last."""
        before = self._current.known
        found = max(before.foreign_write if before else 0, self._foreign_write)
        return max(found, sequence(self.run, 0, self.key)) if self._was_written else found

    def note_start(self) -> None:
        """Saves what another program or a killed run has written before this one, which may be killed too."""
        if self._current.has_changed:
            self.save()

    def note_foreign_write(self, now: Seq) -> None:
        """Another program has written while the run was in progress."""
        self._foreign_write = now
        self.save()

    def note_use(self, path: str, takes_connection: bool) -> None:
        """A tool used the database at `path` ("" if that was not observed). Saved at the first use, so that a killed
        run loses nothing."""
        if not path and not takes_connection:
            return
        known = self._current.known
        found = path or (known.path if known else self._find_named())
        if not self._is_noted or known is None or known.path != found:
            self._is_noted = True
            self._save(found)

    def count_changes(self) -> int | None:
        """SQLite's counter of changes, now that a tool that used the database has ended."""
        known = self._current.known
        return count_changes(self._root, known.path) if known and known.path else None

    def _find_named(self) -> str:
        """The file that the URL names, if it is there: a tool that can take the connection need not use it."""
        path = self._current.named_file
        return path if path and read_database(self._root, path) else ""

    def save(self) -> None:
        """Remembers the database as it is after the run."""
        known = self._current.known
        if known is not None:
            self._save(known.path)

    def _save(self, path: str) -> None:
        stat = read_database(self._root, path) if path else None
        before = self._current.known
        known = before or KnownDatabase(path=path, number=self.number, stat=stat)
        if known.is_unread:
            known = replace(known, looked=sequence(self.run, 0, self.key))
        known = replace(known, path=path, number=self.number, stat=stat, is_unread=False)
        known = replace(known, foreign_write=self.foreign_write)
        self._current.remember(self._memory, known)
