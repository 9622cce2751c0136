"""Database URLs: what they name, and how they are shown without a password. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from discover_orch.model.errors import nearest
from discover_orch.model.secret_masking import MASK

KNOWN_SCHEMES = ("sqlite", "postgresql", "duckdb")
POSTGRES_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
IN_MEMORY = ":memory:"
#: What libpq takes from the environment where the URL does not say it, and a connection depends on
#: (https://www.postgresql.org/docs/current/libpq-envars.html).
POSTGRES_VARIABLES = (
    *("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER"),
    *("PGSERVICE", "PGSERVICEFILE", "PGOPTIONS"),
)
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


class DuckdbUrl(Struct, frozen=True, kw_only=True):
    """`path` is absolute or relative to the root; "" for a database in memory. `settings` are those of DuckDB."""

    path: str
    settings: Mapping[str, str]

    @property
    def file(self) -> str:
        return self.path


class PostgresUrl(Struct, frozen=True, kw_only=True):
    """`url` as libpq reads it."""

    url: str
    file: str = ""


class OtherUrl(Struct, frozen=True, kw_only=True):
    """A database that only SQLAlchemy can open."""

    url: str
    scheme: str
    file: str = ""


DatabaseUrl = SqliteUrl | DuckdbUrl | PostgresUrl | OtherUrl


def read_database_url(url: str) -> DatabaseUrl:
    """Raises CannotOpen for a URL that no program could open."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        hint = "write sqlite:///data.db for the file data.db"
        if url.startswith("postgres"):
            hint = "write postgresql://user:password@host:port/name"
        raise CannotOpen(f'"{masked_url(url)}" is not a database URL', hint)
    if scheme in POSTGRES_SCHEMES:
        # libpq would take a part of such a password for the host, and show it.
        user = rest.partition("?")[0].rpartition("@")[0]
        if ":" in user and not {*"@/#"}.isdisjoint(user):
            raise CannotOpen(
                f"the password in {scheme}://{masked_url(rest)} has a character that must be encoded",
                "write @ as %40, / as %2F, ? as %3F and # as %23",
            )
        return PostgresUrl(url=f"postgresql://{rest}")
    if scheme not in ("sqlite", "duckdb"):
        return OtherUrl(url=url, scheme=scheme)
    name = "SQLite" if scheme == "sqlite" else "DuckDB"
    rest, _, query = rest.partition("?")
    if rest and not rest.startswith("/"):
        raise CannotOpen(
            f"{scheme}://{masked_url(rest)} names a server, but {name} has no server",
            f"write {scheme}:///{masked_url(rest)}",
        )
    path = "" if rest[1:] == IN_MEMORY else rest[1:]
    if scheme == "duckdb":
        settings = {
            part.partition("=")[0]: part.partition("=")[2] for part in query.split("&") if part
        }
        return DuckdbUrl(path=path, settings=settings)
    _check_query(query)
    return SqliteUrl(path=path, query=query)


def find_database_file(url: str) -> str:
    """The path of the file that a URL names, relative to the root or absolute; "" where it names none."""
    try:
        return read_database_url(url).file
    except CannotOpen:
        return ""


def read_sqlite_name(name: str) -> str:
    """The path in what `sqlite3.connect` or ATTACH is given, a name or a URI; "" for a database in memory
    (https://sqlite.org/uri.html)."""
    if name.startswith("file:"):
        path, _, query = name[5:].partition("#")[0].partition("?")
        if "mode=memory" in query:
            return ""
        if path.startswith("//"):
            path = "/" + path[2:].partition("/")[2]
        if "%" in path:
            from urllib.parse import unquote

            path = unquote(path)
        name = path
    return "" if name == IN_MEMORY else name


def is_in_memory(url: str) -> bool:
    try:
        parts = read_database_url(url)
    except CannotOpen:
        return False
    return isinstance(parts, SqliteUrl | DuckdbUrl) and not parts.file


def database_name(url: str, environ: Mapping[str, str]) -> str:
    """What tells one database from another: the URL without its password, and what libpq adds from `environ`."""
    name = masked_url(url).replace(f":{MASK}@", "@").replace(":@", "@")
    scheme, _, rest = url.partition("://")
    if scheme not in POSTGRES_SCHEMES:
        return name
    place, _, query = rest.partition("?")
    authority, _, database = place.partition("/")
    user, _, host = authority.rpartition("@")
    given = {"PGUSER": user, "PGHOST": host, "PGDATABASE": database}
    given["PGPORT"] = host.rpartition(":")[1]
    for part in query.split("&"):
        key, _, value = part.partition("=")
        given["PGDATABASE" if key == "dbname" else f"PG{key.upper()}"] = value
    found = (f"{one}={environ[one]}" for one in POSTGRES_VARIABLES if environ.get(one))
    return " ".join((name, *(one for one in found if not given.get(one.partition("=")[0]))))


def _check_query(query: str) -> None:
    """SQLite ignores parameters that it does not know."""
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


# Passwords. The patterns are not compiled here: most commands need neither, and compiling takes a millisecond.

URL_PATTERN = r"[A-Za-z][A-Za-z0-9+.-]*://"
_SECRET_IN_QUERY = (
    r"(?i)(?:^|[?&;\s])[\w.-]*(?:pass|pwd|secret|token|api_?key|odbc_connect)[\w.-]*=([^&]*)"
)


def masked_url(url: str) -> str:
    """The URL with `***` in place of its password, wherever a URL or a connection string may have one."""
    masked, end = "", 0
    for start, stop in _secret_spans(url):
        if start > end:
            masked += url[end:start] + MASK
        end = max(end, stop)
    return masked + url[end:]


def url_secrets(url: str) -> tuple[str, ...]:
    """The passwords in a URL that are long enough to be masked in any text, decoded too."""
    found: dict[str, None] = {}
    for start, stop in _secret_spans(url):
        text = url[start:stop]
        found[text] = None
        if "%" in text:
            from urllib.parse import unquote

            found[unquote(text)] = None
    return tuple(text for text in found if len(text) >= 8)


def _secret_spans(url: str) -> list[tuple[int, int]]:
    """Where passwords are. A password that was not encoded may contain `@`, `/` and `?`, so the longest possible
    part is taken: masking too much is better than masking one character too few."""
    spans = [match.span(1) for match in re.finditer(_SECRET_IN_QUERY, url)]
    scheme = re.match(URL_PATTERN, url)
    colon = url.find(":", scheme.end() if scheme else 0)
    at = url.rfind("@")
    if 0 <= colon < at:
        spans.append((colon + 1, at))
    return sorted(span for span in spans if span[0] < span[1])
