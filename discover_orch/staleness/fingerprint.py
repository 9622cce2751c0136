"""Whether a tool must run again, and why: what it depended on at its last success beside what is there now.

In: values, with hashes made by others. Out: reasons, each a sentence for the user; none means fresh. Nothing
is declared: what a tool depended on is what it was seen to use. Pure; hashes nothing and opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field

#: Raised when a hash, or what enters a fingerprint, means something else than before: what was remembered under
#: another number cannot be compared.
SCHEME = 1
#: In place of a hash: the file changed while the tool ran, so nobody knows which text it read.
UNSURE = "?"
#: In place of a hash: there is no such file.
GONE = ""


class DatabaseIdentity(Struct, frozen=True, kw_only=True):
    """The database of `conn`: `name` says which (a URL without password, or `get_connection()`), `epoch` which
    one of that name, since a file can be replaced by another."""

    name: str
    epoch: int


class Fingerprint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a tool depends on. The one of its last success says how things were then, the other one how the same
    things are now. Paths are relative to the root.

    `code` has the meaning of each module that the tool reaches; `params` the texts of each parameter that is
    given; `files` the hash of each file that it read; `folders` a hash of the names in each that it listed;
    `patterns` of the paths that a declared glob means; `missed` the files that are not there; `written` those of
    its own files that are; `database` is None for a tool that takes no `conn`; `scheme` tells how all this was made.
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
    """Where a tool stands. `reasons` are its own; `upstream` says what it waits for, where that alone makes it stale.

    `last_ending`: `never`, `failed`, `unknown`, or "" where that does not count. `has_only_failed`:
    nothing has changed since its last success but that it was tried again, in vain.
    """

    module: str
    reasons: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    last_ending: str = ""
    has_only_failed: bool = False

    @property
    def state(self) -> str:
        """`fresh`, `stale`, or how its last run ended where that says more: `never`, `failed`, `unknown`."""
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
    """Why what was true then is not now; the most telling reason first."""
    if then.scheme != now.scheme:
        return ("this version of orch compares tools in another way than the one that it ran with",)
    return (
        *_code(then, now),
        *_params(then.params, now.params),
        *_files(then, now),
        *_database(then.database, now.database),
        *_surroundings(then, now),
    )


def _code(then: Fingerprint, now: Fingerprint) -> Iterator[str]:
    if then.code == now.code or then.python != now.python:  # whose trees cannot be compared
        return
    for path, meaning in then.code.items():
        if path not in now.code:
            yield f"{path} is no longer imported"
        elif meaning == UNSURE:
            yield f"{path} changed while it ran"
        elif now.code[path] != meaning:
            yield f"{path} changed"
    for path in now.code:
        if path not in then.code:
            yield f"{path} is imported now"


def _params(then: Mapping[str, tuple[str, ...]], now: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [
        f"--{name.replace('_', '-')} {_was(then.get(name), now.get(name))}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


def _was(then: tuple[str, ...] | None, now: tuple[str, ...] | None) -> str:
    return f"was {_told(then)}, is {_told(now)}"


def _told(texts: tuple[str, ...] | None) -> str:
    return "not given" if texts is None else ", ".join(texts) or "empty"


def _files(then: Fingerprint, now: Fingerprint) -> Iterator[str]:
    for path, content in then.files.items():
        current = now.files.get(path, GONE)
        if content == UNSURE:
            yield f"{path} changed while it ran"
        elif current != content:
            how = "is gone" if current == GONE else "is there now" if content == GONE else "changed"
            yield f"{path} {how}"
    for folder, names in then.folders.items():
        if now.folders.get(folder) != names:
            shown = "the project's folder" if folder == "." else f"{folder}/"
            yield f"the names in {shown} changed"
    for pattern in dict.fromkeys((*then.patterns, *now.patterns)):
        if then.patterns.get(pattern) != now.patterns.get(pattern):
            yield f"{pattern} means other files now"
    missed = frozenset(now.missed)
    yield from (f"{path} is there now" for path in then.missed if path not in missed)
    written = frozenset(now.written)
    yield from (f"{path} is gone" for path in then.written if path not in written)


def _database(then: DatabaseIdentity | None, now: DatabaseIdentity | None) -> Iterator[str]:
    if then is None or now is None or then == now:
        return  # a tool that begins or ceases to take conn has another meaning
    name = f"of {now.name}" if now.name.endswith("()") else now.name
    if then.name != now.name:
        yield f"the database was {then.name}, is {now.name}"
    elif now.epoch == 0:
        yield f"the database {name} is gone"
    else:
        how = "was replaced" if then.epoch else "is there now"
        yield f"the database {name} {how}"


def _surroundings(then: Fingerprint, now: Fingerprint) -> Iterator[str]:
    if then.python != now.python:
        yield f"Python was {then.python}, is {now.python}"
    for name, version in then.distributions.items():
        current = now.distributions.get(name)
        if current is None:
            yield f"{name} {version} is no longer installed"
        elif current != version:
            yield f"{name} was {version}, is {current}"


#: Stands for every table: a tool used the database, and nobody saw how.
ANY_TABLE = "*"


def written_later(
    tables: Iterable[str],
    until: tuple[int, int],
    place: int,
    writers: Mapping[str, Iterable[tuple[int, tuple[int, int], str]]],
) -> list[str]:
    """Reasons for a tool at `place` in the order that read or wrote `tables`, and knows what was done until then: in
    which run, and as which of its tools. `writers` has for each table the tools that wrote it, the latest first: their
    place, when they did, their name.

    In place updates settle: of two that write one table the second one is the later one, in each run of both. In a
    run that had another order (typed, or not yet known) the first one may be, and then the other is stale.
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
    when = f"run {run}, after it had run" if is_same_run else f"run {run}"
    if table == ANY_TABLE:
        return f"the database was used by {name} ({when}), in a way that cannot be seen"
    return f"{table} was written by {name} ({when})"
