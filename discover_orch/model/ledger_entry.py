"""The noun of the ledger: what one row of the table `orch_ledger` is about. Pure."""

from __future__ import annotations

from msgspec import Struct

#: The outcomes that a row has. `void`: a run was killed, and this attempt cannot be committed any more.
COMMITTED, VOID = "committed", "void"


class AlreadyCommitted(Exception):
    """The ledger has this attempt; the message is a sentence for the user."""


class LedgerEntry(Struct, frozen=True, kw_only=True):
    """One attempt at a tool. `tool` is its module, `run` the number that `orch history` shows, and `key` tells this
    run from all others: numbers start again where `.orch` was deleted, and in each copy of the project."""

    project: str
    tool: str
    run: str
    key: str
    attempt: int = 1
