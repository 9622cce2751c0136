"""Drops and empties tables that tools made, for `orch run --rebuild`: on the connection of the tool that makes them
anew, so that a failure of the tool brings them back.

What depends on a dropped table (a view on PostgreSQL, a table with a foreign key) is dropped with it if it is to be
made anew too. Otherwise that is an error.
"""

from __future__ import annotations

from discover_orch.model.keys import shown_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from discover_orch.databases.database import Database


class CannotRemove(Exception):
    """A table cannot be dropped; the message is a sentence for the user."""


def remove_tables(
    database: Database, drops: Iterable[str], empties: Iterable[str], may_drop: Collection[str]
) -> tuple[str, ...]:
    """Drops these tables and views and deletes the rows of those, as far as they are there. Returns what was dropped,
    with what depended on it among `may_drop`. Raises CannotRemove, and what the database raises."""
    if not database.is_known:
        raise CannotRemove("--rebuild cannot drop tables on this kind of connection")
    there, removed = database.find_removable(), dict[str, None]()

    def drop(name: str, above: str = "") -> None:
        if name in removed or name not in there:
            return
        if above and name not in may_drop:
            raise CannotRemove(
                f"--rebuild cannot drop {shown_table(above)}: {shown_table(name)} depends on it, and is not made anew"
            )
        removed[name] = None  # before what depends on it, or a circle would not end
        kind, quoted = there[name]
        for user in database.find_users(name, quoted):
            drop(user, name)
        database.remove(f"DROP {kind} IF EXISTS {quoted}")  # a partition goes with its table

    for name in drops:
        drop(name)
    for name in empties:
        if name in there:
            database.remove(f"DELETE FROM {there[name][1]}")
    return tuple(removed)
