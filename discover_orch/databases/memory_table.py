"""The table `orch_memory`: the record of each tool's last success, beside the data that the success has written.

The transaction of a tool adds it, so that work and record are there together, or neither is. What is remembered of the
tool is a document, which follows when the run ends (`store`). A run that was killed is asked about later; before its
work is done again, each attempt without a record is made void (`make_void`), which refuses the commit of a worker that
is still alive.
"""

from __future__ import annotations

import time

import msgspec

from discover_orch.databases.sqlite_calls import quote
from discover_orch.model.items import tool_of
from discover_orch.model.keys import OWN_TABLE
from discover_orch.model.success_record import AlreadyCommitted, NotOwnTable, SuccessRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from discover_orch.databases.database import Database
    from discover_orch.model.success_record import Attempt

COLUMNS = (
    "project TEXT NOT NULL, tool TEXT NOT NULL, item TEXT NOT NULL, success TEXT NOT NULL, run BIGINT NOT NULL, "
    "committed_at TEXT NOT NULL, tables TEXT NOT NULL, document TEXT NOT NULL, void TEXT NOT NULL, "
    "PRIMARY KEY (project, tool, item)"
)
NAMES = ", ".join(column.partition(" ")[0] for column in COLUMNS.split(", ")[:9])
#: A longer document is not read.
LONGEST_DOCUMENT = 16 << 20
#: That one statement gets their documents.
_RECORDS = 100
_TWICE = (
    "attempt {0.number} of {0.tool} in run {0.run} is already committed, according to the table "
    f"{OWN_TABLE}, and is not committed twice"
)
_VOID = "another run has found attempt {0.number} of {0.tool} in run {0.run} killed, so it cannot be committed now"
#: No run has a number as high as this.
NO_RUN = 1 << 31


class CannotKeep(Exception):
    """The table cannot be made or written; the message is the reason of the database."""


class MemoryTable:
    """The table on one connection."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._ask, self._place = database.ask, database.find_place()
        self._table = ".".join((*map(quote, self._place), OWN_TABLE))
        self._is_known = False

    # Looking.

    def read(self, project: str, known: Mapping[str, str]) -> tuple[SuccessRecord, ...]:
        """The records of the project; with their documents where another success is known, or none. Makes no table."""
        if not self._is_there():
            return ()
        rows = self._ask(
            f"SELECT tool, success, run, tables, length(document) FROM {self._table} "
            "WHERE project = ? AND item = '' AND success <> ''",
            project,
        )
        found = []
        for tool, success, run, tables, length in rows:
            if not 0 <= int(run) < NO_RUN or "/" in tool_of(tool) or "\0" in tool:
                continue  # orch has not written this row: the name becomes that of a file
            is_wanted = known.get(tool) != success and 0 < int(length) <= LONGEST_DOCUMENT
            document = ""
            if is_wanted:
                [(document,)] = self._ask(
                    f"SELECT document FROM {self._table} WHERE project = ? AND tool = ? AND item = ''",
                    project,
                    tool,
                )
            found.append(
                SuccessRecord(
                    tool=tool,
                    success=success,
                    run=int(run),
                    document=document,
                    has_document=int(length) > 0,
                    tables=_decode(tables),
                )
            )
        return tuple(found)

    def check(self, attempt: Attempt, *, may_come_twice: bool) -> None:
        """Before the attempt. Raises NotOwnTable, and AlreadyCommitted if it has a record. Makes no table."""
        if self._is_there() and may_come_twice and self._has(attempt):
            raise AlreadyCommitted(_TWICE.format(attempt))

    # Writing.

    def add(self, attempt: Attempt) -> None:
        """Within the transaction that is about to be committed. Raises NotOwnTable, CannotKeep, after which the
        transaction can go on, and AlreadyCommitted if the attempt has a record or is void."""
        if self._is_known or not self.database.needs_savepoint:
            self._add(attempt)
            return
        # The first time, another worker may make the table meanwhile, or the role may not write to it.
        for is_last in (False, True):
            self._ask("SAVEPOINT orch_memory")
            try:
                self._add(attempt)
                return
            except (AlreadyCommitted, NotOwnTable):
                raise
            except Exception as error:
                self._ask("ROLLBACK TO orch_memory")
                self._is_known = False
                if is_last:
                    raise CannotKeep(_first_line(error)) from None

    def _add(self, attempt: Attempt) -> None:
        self._make()
        tables = "" if attempt.tables is None else msgspec.json.encode(attempt.tables).decode()
        if not self._upsert(attempt.project, attempt.tool, attempt.name, attempt.run, tables):
            raise AlreadyCommitted((_TWICE if self._has(attempt) else _VOID).format(attempt))

    def make_void(self, attempt: Attempt) -> None:
        """From now on the attempt cannot be committed, unless it is already. Commits."""
        with self.database.transaction():
            self._make()
            self._ask(
                f"INSERT INTO {self._table} VALUES (?, ?, '', '', 0, '', '', '', ?) "
                "ON CONFLICT (project, tool, item) DO UPDATE SET void = excluded.void",
                attempt.project,
                attempt.tool,
                attempt.name,
            )

    def store(self, project: str, records: Iterable[SuccessRecord]) -> None:
        """The documents of these successes, where the database still has these. Commits."""
        with self.database.transaction():
            self._make()
            waiting = [*records]
            for one in waiting:
                if one.former:
                    self._ask(
                        f"DELETE FROM {self._table} WHERE project = ? AND tool = ? AND success = ?",
                        *(project, one.former, one.success),
                    )
                    self._upsert(project, one.tool, one.success, one.run, "")
            while waiting:
                part, waiting = waiting[:_RECORDS], waiting[_RECORDS:]
                given = ", ".join(["(?, ?, ?)"] * len(part))
                self._ask(
                    f"WITH given (tool, success, document) AS (VALUES {given}) UPDATE {self._table} SET document = "
                    f"(SELECT document FROM given WHERE tool = {OWN_TABLE}.tool) WHERE project = ? AND item = '' "
                    "AND (tool, success) IN (SELECT tool, success FROM given)",
                    *(text for one in part for text in (one.tool, one.success, one.document)),
                    project,
                )

    def _upsert(self, project: str, tool: str, success: str, run: int, tables: str) -> bool:
        """Whether it was done: the condition refuses an attempt that is void, or was committed before."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        changed = self.database.change(
            f"INSERT INTO {self._table} VALUES (?, ?, '', ?, ?, ?, ?, '', '') "
            "ON CONFLICT (project, tool, item) DO UPDATE SET success = excluded.success, run = excluded.run, "
            "committed_at = excluded.committed_at, tables = excluded.tables, document = '' "
            f"WHERE {OWN_TABLE}.void <> excluded.success AND {OWN_TABLE}.success <> excluded.success",
            *(project, tool, success, run, now, tables),
        )
        return changed > 0

    def _has(self, attempt: Attempt) -> bool:
        where = "project = ? AND tool = ? AND item = '' AND success = ?"
        given = attempt.project, attempt.tool, attempt.name
        return bool(self._ask(f"SELECT 1 FROM {self._table} WHERE {where}", *given))

    def _make(self) -> None:
        """Makes the table if it is missing, within the present transaction."""
        if not self._is_known and not self._is_there():
            try:
                self._ask(f"CREATE TABLE IF NOT EXISTS {self._table} ({COLUMNS})")
            except Exception as error:
                raise CannotKeep(_first_line(error)) from None
        self._is_known = True

    def _is_there(self) -> bool:
        """Whether there is a table of this name. Raises NotOwnTable if it is another one."""
        if not self._is_known and self.database.has_table(self._place, OWN_TABLE):
            try:
                self._ask(f"SELECT {NAMES} FROM {self._table} WHERE 1 = 0")
            except Exception:
                raise NotOwnTable(
                    f"the table {OWN_TABLE} of the database is not the one in which orch keeps its memory: rename it, "
                    'or set memory = "local" to keep the memory in .orch alone'
                ) from None
            self._is_known = True
        return self._is_known


def _decode(tables: object) -> tuple[str, ...] | None:
    try:
        return msgspec.json.decode(str(tables), type=tuple[str, ...])
    except msgspec.DecodeError:
        return None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
