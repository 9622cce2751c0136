"""A pytest plugin: every connection of `sqlite3` is one whose transaction belongs to orch, in the middle of a tool."""

from __future__ import annotations

import sqlite3
from typing import Any

from discover_orch.databases.sqlite_connection import adopt
from discover_orch.databases.sqlite_user_connections import connect


def connect_managed(*args: Any, **named: Any) -> sqlite3.Connection:
    made = connect(*args, **named)
    adopted = adopt(made)
    if adopted is not None:
        adopted.begin_step(managed=True)
    return made


sqlite3.connect = sqlite3.dbapi2.connect = connect_managed  # type: ignore[assignment]
