"""The nouns of the memory in the database: a row of the table `orch_memory` is the record of one tool's last success.
Pure."""

from __future__ import annotations

from msgspec import Struct


class AlreadyCommitted(Exception):
    """The database has this attempt; the message is a sentence for the user."""


class NotOwnTable(Exception):
    """The user has a table of this name; the message says what to do."""


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt at a tool, which is recorded if it succeeds. `tool` is its module, `run` the number that `orch
    history` shows, and `key` tells this run from all others: numbers start again where `.orch` was deleted. `tables`
    are those that it has written, None where that is not known."""

    project: str
    tool: str = ""
    run: int
    key: str
    number: int = 1
    tables: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """What the record is known by; no other attempt at this tool has it."""
        return f"{self.key}.{self.number}"


class SuccessRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last success of a tool that has written to the database: its name, as `Attempt.name`, the number of its run,
    and what is remembered of the tool, as sealed text; "" where that is not known, or was not requested. `former` is
    the name of the tool before it was moved. `tables` as of its `Attempt`."""

    tool: str
    success: str
    run: int
    document: str = ""
    former: str = ""
    has_document: bool = False
    tables: tuple[str, ...] | None = None
