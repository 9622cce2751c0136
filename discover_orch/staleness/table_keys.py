"""The keys of tables: `table:3:raw` in database 3 of the project."""

from __future__ import annotations

from discover_orch.model.table_name import WHOLE

#: In the key of a table, in place of its name: the tool used tables, and it is not known which.
ANY = WHOLE


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
    return key.startswith("table:") and table_name(key) == ANY


def database_of(key: str) -> str:
    """`table:3:` of `table:3:raw`: also the key of the list of tables."""
    return key[: key.index(":", 6) + 1]
