"""The keys of tables: `table:3:raw` in database 3 of the project, `table:@data/other.db:raw` in an attached file."""

from __future__ import annotations

from collections.abc import Iterable

from discover_orch.model.table_name import WHOLE, file_of

#: In the key of a table, in place of its name: the tool used tables, and it is not known which.
ANY = WHOLE
_COLON = "%3A"  # in the path of a key


def table_key(number: int, name: str) -> str:
    """The key of a table of this name; `number` is that of the main database."""
    path = file_of(name)
    if not path:
        return f"table:{number}:{name}"
    return f"table:@{path.replace(':', _COLON)}:{name[len(path) + 1 :]}"


def table_name(key: str) -> str:
    """The name of the table of a key; "" for the list of tables."""
    path = attached_path(key)
    name = key[len(database_of(key)) :]
    return f"{path}:{name}" if path else name


def attached_path(key: str) -> str:
    """The path of the attached file in which this table is; "" for a table of the main database."""
    if not key.startswith("table:@"):
        return ""
    return key[7 : key.index(":", 7)].replace(_COLON, ":")


def attached_paths(keys: Iterable[str]) -> list[str]:
    """The attached files in which these tables are."""
    return [*dict.fromkeys(path for key in keys if (path := attached_path(key)))]


def is_table_list(key: str) -> bool:
    """Whether this stands for the list of tables. Who makes a table changes the list, and leaves the others' part."""
    return key.startswith("table:") and key.endswith(":")


def database_of(key: str) -> str:
    """`table:3:` of `table:3:raw`: also the key of the list of tables."""
    return key[: key.index(":", 6) + 1]
