"""What a driver tells that is listened to, written down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from discover_orch.databases.catalog import Catalog
from discover_orch.databases.sql_effects import Effect
from discover_orch.databases.statement_log import find_driver


class Heard:
    """A note that only writes down."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.texts: list[str] = []
        self.effects: list[Effect] = []
        self.paths: list[tuple[str, bool]] = []
        self.others: list[str] = []

    def text(self, text: str, /) -> None:
        self.texts.append(text)

    def effect(self, effect: Effect, /) -> None:
        self.effects.append(effect)

    def files(self, paths: Iterable[str], /, *, is_written: bool) -> None:
        self.paths.extend((one, is_written) for one in paths)

    def commit(self) -> None:
        self.others.append("commit")

    def failed(self) -> None:
        self.others.append("failed")

    def aside(self) -> None:
        self.others.append("aside")

    def stranger(self) -> None:
        self.others.append("stranger")


def hear(conn: Any) -> Heard:
    driver = find_driver(conn)
    assert driver is not None
    note = Heard(conn)
    driver.hear(note)
    return note


def ask(conn: Any) -> Catalog:
    driver = find_driver(conn)
    assert driver is not None
    return driver.ask(conn)
