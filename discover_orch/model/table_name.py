"""The names of tables as they are shown and remembered.

A table of the main database has its own name, with the schema where it is not the usual one: `raw`, `staging.raw`. A
table of another database file, which a tool has attached, comes after the path of the file: `data/other.db:raw`. So it
is the same table under whatever name the file was attached.
"""

from __future__ import annotations

#: In place of a table: all tables of the database or the file, where it is not known which.
WHOLE = "*"
#: Tables that orch and the databases keep for themselves. They never count.
OWN_TABLE = "orch_ledger"
SYSTEM_PREFIX = "sqlite_"


def main_name(table: str) -> str:
    """The name of a table of the main database; in quotes where it looks like one of another file."""
    return f'"{table}"' if ":" in table else table


def attached_name(path: str, table: str) -> str:
    """The name of a table in this file."""
    return f"{path}:{main_name(table)}"


def file_of(name: str) -> str:
    """The path of the file of an attached table; "" for a table of the main database."""
    if name[-1:] == '"':
        return "" if name[:1] == '"' else name.partition(':"')[0]
    return name.rpartition(":")[0]


def is_counted(name: str) -> bool:
    """Whether this is a table of the user's."""
    table = name.rpartition(":")[2].rpartition(".")[2]
    return table != OWN_TABLE and not table.startswith(SYSTEM_PREFIX)


def shown_table(name: str) -> str:
    """`table raw`, as part of a sentence."""
    path = file_of(name)
    if name == WHOLE:
        return "the database"
    return (
        f"the database {path}" if path and name == attached_name(path, WHOLE) else f"table {name}"
    )


def named_table(name: str) -> str:
    """`the table raw`, as part of a sentence."""
    shown = shown_table(name)
    return shown if shown.startswith("the ") else f"the {shown}"
