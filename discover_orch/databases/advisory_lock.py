"""The lock of a project in its PostgreSQL database: one run at a time, also from several machines.

PostgreSQL holds it for a connection of its own and ends it with that connection
(https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS). The connection says in its name which
process holds the lock.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from discover_orch.databases.opening import open_url
from discover_orch.model.digest import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOLDER = """
SELECT a.application_name, to_char(a.backend_start, 'HH24:MI')
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.database = a.datid AND a.datname = current_database()
  AND l.objsubid = 1 AND (l.classid::bigint << 32) + l.objid::bigint = %s
"""
LONGEST_NAME = 63  # bytes of an application name that PostgreSQL keeps


class AdvisoryLock:
    """Not held until `acquire` returns ""."""

    def __init__(self, url: str, project: str) -> None:
        """`project` is the project's name in the ledger: runs of one name exclude each other."""
        self._url = url
        digest = blake2b(f"orch {project}".encode(), digest_size=8).digest()
        self._key = int.from_bytes(digest, "big") >> 1  # not negative
        self._conn: Any = None

    def acquire(self, *, waits: bool = False) -> str:
        """Who holds the lock already, "" where it is held now. `waits` for its turn. Raises CannotOpen."""
        if self._conn is None:
            self._conn = open_url(self._url, "")
            self._conn.autocommit = True
            name = f"orch run (pid {os.getpid()} on {socket.gethostname()})"[:LONGEST_NAME]
            self._conn.execute("SELECT set_config('application_name', %s, false)", (name,))
        if waits:
            self._conn.execute("SELECT pg_advisory_lock(%s)", (self._key,))
            return ""
        [is_held] = self._conn.execute("SELECT pg_try_advisory_lock(%s)", (self._key,)).fetchone()
        if is_held:
            return ""
        row = self._conn.execute(HOLDER, (self._key,)).fetchone()
        return f"{row[0]}, since {row[1]}" if row else "unknown"

    def has_lost(self) -> bool:
        """Whether the database has ended the connection, and the lock with it. Sends nothing."""
        if self._conn is None:
            return False
        with suppress(Exception):
            self._conn.pgconn.consume_input()
        return bool(self._conn.closed)

    def acquire_again(self) -> bool:
        """Whether the lock, which was lost, could be taken by a new connection."""
        self.release()
        try:
            return self.acquire() == ""
        except Exception:  # the server is gone
            return False

    def release(self) -> None:
        """Does nothing where the lock is not held."""
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(Exception):
                conn.close()
