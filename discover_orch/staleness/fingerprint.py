"""What a tool depended on at its last success, compared with what is there now.

`compare` and `written_later` give the reasons why a tool is stale, each a sentence for the user; no reason means that
it is fresh. A tool depends on what it was seen to use. Others make the hashes; this module reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field

#: Raised when a hash, or what enters a fingerprint, means something else than before. Fingerprints of two schemes
#: cannot be compared.
SCHEME = 1
#: In place of a hash: the file changed while the tool ran, so it is not known which text the tool read.
UNSURE = "?"
#: In place of a hash: there is no such file.
GONE = ""


class DatabaseIdentity(Struct, frozen=True, kw_only=True):
    """The database of `conn`. `name` is a URL without password, or `get_connection()`; `epoch` counts how often the
    database of that name has been replaced by another one."""

    name: str
    epoch: int


class Fingerprint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a tool depends on, as it was at the last success or as it is now. Paths are relative to the root.

    - `code`: the hash of the syntax tree of each file that the tool's module reaches.
    - `params`: the texts of each parameter that is given.
    - `files`: the hash of each file that it read.
    - `folders`: the hash of the names in each folder that it listed.
    - `patterns`: the hash of the paths that a declared glob or folder matches.
    - `missed`: the files that it looked for and that are not there.
    - `written`: the files that it wrote and that are there.
    - `database`: None for a tool that takes no `conn`.
    """

    code: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    distributions: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)
    missed: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    database: DatabaseIdentity | None = None
    scheme: int = field(default_factory=lambda: SCHEME)  # so that it is never omitted


class Freshness(Struct, frozen=True, kw_only=True):
    """Whether a tool is fresh, and why not. `reasons` are its own; `upstream` names a stale tool before it, where that
    is the only reason.

    `last_ending`: `never`, `failed`, `unknown`, or "" where that does not count. `has_only_failed`: since its last
    success nothing has changed except that a later attempt failed.
    """

    module: str
    reasons: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    last_ending: str = ""
    has_only_failed: bool = False

    @property
    def state(self) -> str:
        """`fresh`, `stale`, or how the last run of the tool ended: `never`, `failed`, `unknown`."""
        if self.is_fresh:
            return "fresh"
        return self.last_ending if self.last_ending in ("never", "failed", "unknown") else "stale"

    @property
    def is_fresh(self) -> bool:
        return not self.reasons and not self.upstream

    @property
    def sentences(self) -> tuple[str, ...]:
        return (*self.reasons, *self.upstream)


def compare(then: Fingerprint, now: Fingerprint) -> tuple[str, ...]:
    """The reasons why a tool is stale; the most important first."""
    if then.scheme != now.scheme:
        return ("orch was upgraded and now compares tools differently",)
    return (
        *_code(then, now),
        *_params(then.params, now.params),
        *_files(then, now),
        *_database(then.database, now.database),
        *_surroundings(then, now),
    )


def _code(then: Fingerprint, now: Fingerprint) -> Iterator[str]:
    if then.code == now.code or then.python != now.python:  # then syntax trees cannot be compared
        return
    for path, meaning in then.code.items():
        if path not in now.code:
            yield f"{path} is no longer imported"
        elif meaning == UNSURE:
            yield f"{path} changed while the tool ran"
        elif now.code[path] != meaning:
            yield f"{path} changed"
    for path in now.code:
        if path not in then.code:
            yield f"{path} is now imported"


def _params(then: Mapping[str, tuple[str, ...]], now: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [
        f"--{name.replace('_', '-')}: {_text(then.get(name))} → {_text(now.get(name))}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


def _text(texts: tuple[str, ...] | None) -> str:
    return "default" if texts is None else ", ".join(texts) or '""'


def _files(then: Fingerprint, now: Fingerprint) -> Iterator[str]:
    for path, content in then.files.items():
        current = now.files.get(path, GONE)
        if content == UNSURE:
            yield f"{path} changed while the tool ran"
        elif current != content:
            how = (
                "is missing" if current == GONE else "now exists" if content == GONE else "changed"
            )
            yield f"{path} {how}"
    for folder, names in then.folders.items():
        if now.folders.get(folder) != names:
            shown = "the project folder" if folder == "." else f"{folder}/"
            yield f"the list of files in {shown} changed"
    for pattern in dict.fromkeys((*then.patterns, *now.patterns)):
        if then.patterns.get(pattern) != now.patterns.get(pattern):
            yield f"{pattern} now matches other files"
    missed = frozenset(now.missed)
    yield from (f"{path} now exists" for path in then.missed if path not in missed)
    written = frozenset(now.written)
    yield from (f"{path} is missing" for path in then.written if path not in written)


def _database(then: DatabaseIdentity | None, now: DatabaseIdentity | None) -> Iterator[str]:
    if then is None or now is None or then == now:
        return  # the code of a tool that now takes `conn`, or no longer does, has changed
    name = f"of {now.name}" if now.name.endswith("()") else now.name
    if then.name != now.name:
        yield f"database: {then.name} → {now.name}"
    elif now.epoch == 0:
        yield f"the database {name} is missing"
    else:
        yield f"the database {name} {'was replaced' if then.epoch else 'now exists'}"


def _surroundings(then: Fingerprint, now: Fingerprint) -> Iterator[str]:
    if then.python != now.python:
        yield f"Python: {then.python} → {now.python}"
    for name, version in then.distributions.items():
        current = now.distributions.get(name)
        if current is None:
            yield f"{name} {version} is no longer installed"
        elif current != version:
            yield f"{name}: {version} → {current}"


#: In place of a table: a tool used the database in a way that orch cannot observe.
ANY_TABLE = "*"


def written_later(
    tables: Iterable[str],
    until: tuple[int, int],
    place: int,
    writers: Mapping[str, Iterable[tuple[int, tuple[int, int], str]]],
) -> list[str]:
    """Reasons for a tool that read or wrote `tables` at the moment `until` and stands at `place` in the order of all.

    `writers` has the tools that wrote a table, the latest first: place in the order, moment, name. Only a tool before
    this one counts: of two tools that update a table in place, the second one is the later one in each run. In a run
    with another order (typed, or not known yet) the first one may be the later one, and then the second one is stale.
    """
    wanted = set(tables)
    if not wanted:
        return []
    found = []
    for table in writers if ANY_TABLE in wanted else (*wanted, ANY_TABLE):
        for where, moment, name in writers.get(table, ()):
            if moment <= until:
                break  # as a rule at once: most tables were written before
            if where < place:
                found.append((table, moment[0], name, moment[0] == until[0]))
    return [_written(*one) for one in sorted(found)]


def _written(table: str, run: int, name: str, is_same_run: bool) -> str:
    when = f"run {run}, after this tool" if is_same_run else f"run {run}"
    if table == ANY_TABLE:
        return f"{name} used the database in a way that cannot be observed ({when})"
    return f"table {table} was rewritten by {name} ({when})"
