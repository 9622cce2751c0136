"""The keys of what tools use and make: a kind, and what of it.

Most keys have a version: a text that differs where the thing differs.

- `file:data/x.csv`: the hash of its bytes; absent where it was looked for in vain.
- `folder:in`, `glob:in/*.csv`: the paths in it, or those that it matches, joined by a null character.
- `there:data/x.csv`: the path if it is there, in this form too. `stat:data/x.csv`: its size and time.
- `link:current`: the target of a link; absent where it is none.
- `code:src/a.py`: what counts of a file of code, as the functions in it that ran.
- `param:since`: the value as text. `env:REGION`: a hash. `environ:`: the names of all variables.
- `package:numpy`: its version; absent where it is not installed. `python`. `database`.
- `table:3:raw`: a table of database 3 of the project, by its name as it is shown, with the schema where it is not the
  usual one; `table:3:*` is unclear use, `table:3:` the list of tables. What else tools make in a database has its kind
  before the name: `table:3:index by_day`.

Paths are relative to the root where they are in it, with `/`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

Key = str
#: What the keys of files begin with.
FILES = ("file:", "folder:", "glob:", "there:", "stat:", "link:")
#: In place of a table: all tables of the database, where it is not known which.
WHOLE = "*"
#: Tables that orch and the databases keep for themselves. They never count.
OWN_TABLE = "orch_memory"
SYSTEM_PREFIX = "sqlite_"
#: How the names of things begin that are neither tables nor views. Their version is their definition.
OBJECTS = ("function ", "index ", "macro ", "sequence ", "trigger ", "type ")
#: Before the name of a table: what decides what happens when rows are written to it. Who writes them uses that too.
_ACTING = "trigger or index on "


#: Before the name of a table, its column and a value: the rows that one item of a tool with `"column"` writes.
_ROWS = "rows of "
_ROWS_NAME = re.compile(_ROWS + r"(.+?) \((.*?) = (.*)\)", re.DOTALL)


def file_key(path: str) -> Key:
    return f"file:{path}"


def is_file_key(key: Key) -> bool:
    return key.startswith("file:")


def is_table_key(key: Key) -> bool:
    return key.startswith("table:")


def path_of(key: Key) -> str:
    """What the key is of, without its kind: of a file its path."""
    return key.partition(":")[2]


class Rows(NamedTuple):
    """The rows of a table that have this value in the column."""

    table: str
    column: str
    value: str

    @property
    def name(self) -> str:
        return f"{_ROWS}{self.table} ({self.column} = {self.value})"


def read_rows(name: str) -> Rows | None:
    """Which rows the name of a thing stands for; None for a table and all else."""
    found = _ROWS_NAME.fullmatch(name) if name.startswith(_ROWS) else None
    return Rows(*found.groups()) if found else None


def any_rows(table: str) -> str:
    """In place of rows of the table, where it is not known which."""
    return Rows(table, "", "").name


def rows_key(key: str, column: str, value: str) -> str:
    """The key of these rows of the table with this key."""
    return f"{database_of(key)}{Rows(table_name(key), column, value).name}"


def is_rows(key: str) -> bool:
    return is_table_key(key) and read_rows(table_name(key)) is not None


def whole_table(key: str) -> str:
    """The key of the table, for the key of rows of it."""
    rows = read_rows(table_name(key)) if is_rows(key) else None
    return f"{database_of(key)}{rows.table}" if rows else key


def is_counted(name: str) -> bool:
    """Whether this is a table of the user's."""
    table = name.rpartition(".")[2]
    return table != OWN_TABLE and not table.startswith(SYSTEM_PREFIX)


def shown_table(name: str) -> str:
    """`table raw`, as part of a sentence."""
    if name == WHOLE:
        return "the database"
    if rows := read_rows(name):
        return f"table {rows.table} ({rows.column} = {rows.value})"
    return name if is_object(name) else f"table {name}"


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


def acting_name(table: str) -> str:
    """The name of all triggers and unique indexes of a table together."""
    return f"{_ACTING}{table}"


def acting_key(key: str) -> str:
    """The key of the same, for the key of a table."""
    return f"{database_of(key)}{_ACTING}{table_name(key)}"


def is_object(name: str) -> bool:
    """Whether this is no table and no view: the list of tables does not have it."""
    return name.startswith(OBJECTS)


def is_acting(key: str) -> bool:
    return is_table_key(key) and table_name(key).startswith(_ACTING)


def is_table_list(key: str) -> bool:
    """Whether this stands for the list of tables. Who makes a table changes the list, and leaves the others' part."""
    return is_table_key(key) and key.endswith(":")


def is_all_tables(key: str) -> bool:
    """Whether it is not known which tables were used."""
    return is_table_key(key) and table_name(key) == WHOLE


def database_of(key: str) -> str:
    """`table:3:` of `table:3:raw`: also the key of the list of tables."""
    return key[: key.index(":", 6) + 1]
