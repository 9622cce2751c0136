"""Database URLs: which of them orch opens itself, and what they name. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from discover_orch.model.errors import nearest

EXTRAS: Mapping[str, str] = {"postgresql": "postgres", "postgres": "postgres", "duckdb": "duckdb"}
KNOWN_SCHEMES = ("sqlite", "postgresql", "duckdb")
IN_MEMORY = ":memory:"
#: The parameters of a SQLite URL and their values (https://sqlite.org/uri.html).
SQLITE_QUERY: Mapping[str, tuple[str, ...]] = {
    "mode": ("ro", "rw", "rwc", "memory"),
    "cache": ("shared", "private"),
    "immutable": ("0", "1"),
}


class CannotOpen(Exception):
    """The database cannot be used; `hint` says how to fix that."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class SqliteUrl(Struct, frozen=True, kw_only=True):
    """`path` is absolute or relative to the root; "" for a database in memory without a name. `query` is that of
    SQLite's own URI, "" where there is none."""

    path: str
    query: str = ""

    @property
    def file(self) -> str:
        """The path of the file, "" for a database in memory."""
        return "" if "mode=memory" in self.query.split("&") else self.path


def read_database_url(url: str) -> SqliteUrl:
    """Raises CannotOpen for a URL that orch cannot open."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise CannotOpen(
            f"{url!r} is not a database URL", "write sqlite:///data.db for the file data.db"
        )
    if scheme in EXTRAS:
        extra = EXTRAS[scheme]
        raise CannotOpen(
            f"orch does not open {scheme}:// databases itself",
            "open it in get_connection() of orchconf.py; to install a driver: "
            f'pip install "discover-orch[{extra}]"',
        )
    if scheme != "sqlite":
        near = nearest(scheme, KNOWN_SCHEMES)
        question = f"did you mean {near}://? " if near else ""
        known = ", ".join(f"{name}://" for name in KNOWN_SCHEMES)
        raise CannotOpen(
            f"unknown kind of database: {scheme}://",
            f"{question}known: {known}; open any other database in get_connection() of orchconf.py",
        )
    rest, _, query = rest.partition("?")
    _check_query(query)
    if rest in ("", "/", "/" + IN_MEMORY):
        return SqliteUrl(path="", query=query)
    if not rest.startswith("/"):
        raise CannotOpen(
            f"sqlite://{rest} names a server, but SQLite has no server", f"write sqlite:///{rest}"
        )
    return SqliteUrl(path=rest[1:], query=query)


def find_file(url: str) -> str:
    """The path of a URL's SQLite file, relative to the root or absolute; "" for a database in memory and for any
    other URL."""
    try:
        return read_database_url(url).file
    except CannotOpen:
        return ""


def is_in_memory(url: str) -> bool:
    try:
        return not read_database_url(url).file
    except CannotOpen:
        return False


def _check_query(query: str) -> None:
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        values = SQLITE_QUERY.get(name)
        if values is None:
            near = nearest(name, SQLITE_QUERY)
            question = f"did you mean {near}? " if near else ""
            raise CannotOpen(
                f"unknown parameter {name!r} in a SQLite URL",
                f"{question}known: {', '.join(SQLITE_QUERY)}",
            )
        if value not in values:
            raise CannotOpen(
                f"{name}={value} in a SQLite URL is not possible",
                f"write {name}={' or '.join(values)}",
            )
