"""The names of tables as they are shown and remembered, with the schema where it is not the usual one; and their keys:
`table:3:raw` in database 3 of the project."""

from __future__ import annotations

#: In place of a table: all tables of the database, where it is not known which.
WHOLE = "*"
#: Tables that orch and the databases keep for themselves. They never count.
OWN_TABLE = "orch_memory"
SYSTEM_PREFIX = "sqlite_"
#: What stands before the name of something that is no table and no view; it counts as a table without rows.
OBJECTS = ("macro ", "sequence ", "type ", "index ")


def is_counted(name: str) -> bool:
    """Whether this is a table of the user's."""
    table = name.rpartition(".")[2]
    return table != OWN_TABLE and not table.startswith(SYSTEM_PREFIX)


def shown_table(name: str) -> str:
    """`table raw`, as part of a sentence."""
    if name.startswith(OBJECTS):
        return name
    return "the database" if name == WHOLE else f"table {name}"


def named_table(name: str) -> str:
    """`the table raw`, as part of a sentence."""
    shown = shown_table(name)
    return shown if shown.startswith("the ") else f"the {shown}"


def table_key(number: int, name: str) -> str:
    """The key of a table of this name in the database of this number."""
    return f"table:{number}:{name}"


def table_name(key: str) -> str:
    """The name of the table of a key; "" for the list of tables."""
    return key.split(":", 2)[2]


def is_table_list(key: str) -> bool:
    """Whether this stands for the list of tables. Who makes a table changes the list, and leaves the others' part."""
    return key.startswith("table:") and key.endswith(":")


def is_all_tables(key: str) -> bool:
    """Whether it is not known which tables were used."""
    return key.startswith("table:") and table_name(key) == WHOLE


def database_of(key: str) -> str:
    """`table:3:` of `table:3:raw`: also the key of the list of tables."""
    return key[: key.index(":", 6) + 1]
