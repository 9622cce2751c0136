"""A listener that records what a database driver reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from discover_orch.databases.catalog import Catalog
from discover_orch.databases.effect import Effect
from discover_orch.databases.statement_log import find_driver


class RecordingListener:
    """Records all calls of a driver."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.texts: list[str] = []
        self.effects: list[Effect] = []
        self.paths: list[tuple[str, bool]] = []
        self.others: list[str] = []
        self.defers_commits = False

    def on_statement(self, text: str, /) -> None:
        self.texts.append(text)

    def on_effect(self, effect: Effect, /) -> None:
        self.effects.append(effect)

    def on_files(self, paths: Iterable[str], /, *, is_written: bool) -> None:
        self.paths.extend((one, is_written) for one in paths)

    def on_commit(self, conn: Any, /) -> None:
        self.others.append("commit")

    def on_error(self, *, is_statement: bool) -> None:
        self.others.append("error")

    def on_other_connection(self) -> None:
        self.others.append("other connection")

    def on_unknown(self) -> None:
        self.others.append("unknown")


def attach(conn: Any) -> RecordingListener:
    driver = find_driver(conn)
    assert driver is not None
    listener = RecordingListener(conn)
    driver.attach(listener)
    return listener


def read_catalog(conn: Any) -> Catalog:
    driver = find_driver(conn)
    assert driver is not None
    return driver.read_catalog(conn)
