"""What one SQL statement does to tables: the value that the parser makes and the catalog resolves."""

from __future__ import annotations

from msgspec import Struct

#: Stands for a value in a text whose values were taken out. No table has this name.
BLANK = "?"

#: A name as it was written, the outermost part first: ("main", "records").
Name = tuple[str, ...]


class Effect(Struct, frozen=True, kw_only=True):
    """What one statement does.

    - `inserted` are those of `written` into which it only inserts new rows. `kept` are tables that get an index,
      or that it would drop.
    - `looked_up` are tables that it asks for by name, or with IF EXISTS. With `lists_tables` it reads the list.
    - `has_failed`: it was never run without an error, so that it wrote and created nothing.
    - `created` are new tables; with `if_not_exists`, only where there is none of that name. `creates_empty`: they
      have no rows.
      `temporary_created` are new temporary tables.
    - `files_read` and `files_written` are paths or globs in the statement itself.
    - `called` are functions that may be the user's own.
    - `cascades`: a TRUNCATE also empties the tables that refer to its own.
    - `changes_names`: other tables may exist afterwards, or a name may mean another table. With
      `changes_search_path`, names before and after it cannot be resolved together; `rolls_back` may undo
      such a change.
    """

    read: tuple[Name, ...] = ()
    written: tuple[Name, ...] = ()
    inserted: tuple[Name, ...] = ()
    kept: tuple[Name, ...] = ()
    looked_up: tuple[Name, ...] = ()
    lists_tables: bool = False
    has_failed: bool = False
    created: tuple[Name, ...] = ()
    if_not_exists: bool = False
    creates_empty: bool = False
    temporary_created: tuple[Name, ...] = ()
    files_read: tuple[str, ...] = ()
    files_written: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    cascades: bool = False
    changes_names: bool = False
    changes_search_path: bool = False
    rolls_back: bool = False
    commits: bool = False
    is_unclear: bool = False


NOTHING = Effect()
LIST_READ = Effect(lists_tables=True)
SEARCH_PATH_CHANGED = Effect(changes_names=True, changes_search_path=True)
UNCLEAR = Effect(is_unclear=True, changes_names=True)
