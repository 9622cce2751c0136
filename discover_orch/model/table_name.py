"""The names of tables as they are shown and remembered: with the schema where it is not the usual one."""

from __future__ import annotations

#: In place of a table: all tables of the database, where it is not known which.
WHOLE = "*"
#: Tables that orch and the databases keep for themselves. They never count.
OWN_TABLE = "orch_ledger"
SYSTEM_PREFIX = "sqlite_"


def is_counted(name: str) -> bool:
    """Whether this is a table of the user's."""
    table = name.rpartition(".")[2]
    return table != OWN_TABLE and not table.startswith(SYSTEM_PREFIX)


def shown_table(name: str) -> str:
    """`table raw`, as part of a sentence."""
    return "the database" if name == WHOLE else f"table {name}"


def named_table(name: str) -> str:
    """`the table raw`, as part of a sentence."""
    shown = shown_table(name)
    return shown if shown.startswith("the ") else f"the {shown}"
