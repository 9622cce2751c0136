"""What the last success of a tool depended on, and whether that still holds.

Whatever a tool can depend on has a key, and most keys have a version: a text that differs where the thing differs. A
success stores the version of each key. Tables have no version that is cheap to read, so for them, and for "this tool
ran later", sequence numbers are compared: they only grow. Every write is remembered with its number and the state that
it left, so that a change by the user differs from one by the pipeline. Pure: reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow

#: In place of a version or a mark: there is no such thing, or it was removed.
ABSENT = ""
#: Equal to nothing, itself included: it changed while the tool ran. As a mark: the writer was cut off, and what it
#: left is unknown.
UNSURE = "?"
#: The same for what the tool used out of order: a later tool had changed it, so a run from scratch would have given
#: something else.
OUT_OF_ORDER = "!"
_UNKNOWN = frozenset((UNSURE, OUT_OF_ORDER))
#: The mark of what is there but has no state that could be compared, as a table.
EXISTS = "+"
#: In the key of a table, in place of its name: the tool used tables that cannot be observed.
ANY = "*"
_AND = "\0"
_RUN_SHIFT = 20  # a run has fewer than half a million tools

#: - `file:data/x.csv`: the hash of its bytes; ABSENT where it was looked for in vain.
#: - `folder:in`, `glob:in/*.csv`: the paths in it, or those that it matches, joined by a null character.
#: - `param:since`: the value as text. `env:REGION`: a hash. `package:numpy`: its version. `python`. `database`.
#: - `table:3:raw`: a table of database 3; `table:3:*` is unclear use, `table:3:` the list of tables. No version.
Key = str
#: The number of the run << 20 | the count of starts and ends of tools in that run.
Seq = int


class Write(Struct, frozen=True, array_like=True):
    """The latest write of a table or a file by one tool.

    `seq` is when the tool ended; `mark` is the state of the file as it was left. `is_checked`: the file or table must
    exist while the tool is fresh. That is not so for a log, and for what was not observed to be written by the tool.
    `only_adds`: it only inserted rows, or only appended, so that others who do that too are no concern of it.
    """

    seq: Seq
    mark: str = UNSURE
    is_checked: bool = True
    only_adds: bool = False


class Inputs(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The versions of what a tool depends on: `code` has the hash of the syntax tree of each file of its code, by
    path, and `other` the version of each key that has one."""

    code: Mapping[str, str] = {}
    other: Mapping[Key, str] = {}


class LastOutcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a tool ended last. `run` is the id of the run; `status` a status word, `accepted`, or "" if it has never
    ended; `at` the local time, ISO 8601; `duration` in seconds."""

    run: str = ""
    status: str = ""
    at: str = ""
    duration: float = 0.0


class Success(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last success of a tool, and what it depended on.

    What other tools do after `asof` counts against it: that is when it began, or when it was accepted; `ended` is when
    it ended. `tables` are keys without a version that it read or looked for in vain. `is_whole`: nothing that it read
    or wrote can have gone unseen. `marks` are the states of input files that still stand for their versions; `modules`
    are those that it loaded though no import in its source names them; `flow` is what it was seen to read and write.
    """

    asof: Seq
    ended: Seq
    inputs: Inputs = Inputs()
    tables: tuple[Key, ...] = ()
    is_whole: bool = True
    is_accepted: bool = False
    at: str = ""
    duration: float = 0.0
    marks: Mapping[Key, str] = {}
    modules: tuple[str, ...] = ()
    flow: Dataflow = Dataflow()


class ToolResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is remembered of one tool: how it ended last, its last success, its latest write of each table and file,
    failed attempts included, and the inputs of a failed attempt after the success."""

    module: str
    last: LastOutcome = LastOutcome()
    success: Success | None = None
    writes: Mapping[Key, Write] = {}
    tried: Inputs = Inputs()

    def was_accepted_after(self, run: str) -> bool:
        """Whether the tool was marked as fresh during that run or later."""
        last = self.last
        return last.status == "accepted" and last.run.isdecimal() and int(last.run) >= int(run)

    @property
    def latest(self) -> Seq:
        """The number of the latest thing that it did."""
        ended = self.success.ended if self.success else 0
        return max((ended, *(write.seq for write in self.writes.values())))


class Writer(Struct, frozen=True):
    """The tool that wrote a key last; `place` is its place in the order of all tools."""

    place: int
    module: str
    write: Write


class Upstream(Struct, frozen=True):
    """A tool that comes before another one; `is_observed` if only observed data flow says so, not `AFTER`, and not a
    data flow that is unknown."""

    module: str
    result: ToolResult
    is_observed: bool


class Reason(Struct, frozen=True):
    """Why a tool is stale: what of `key` is different. `by` is the tool that did it, and `seq` when; "" for anybody
    else. `then` and `now` are versions; None where the success, or the tool as it is now, does not have the key.
    `is_by_gone`: `by` is no tool any more."""

    key: Key
    by: str = ""
    seq: Seq = 0
    then: str | None = None
    now: str | None = None
    is_by_gone: bool = False


#: Finds the present state of a file, as a mark; ABSENT where there is none.
MarkOf = Callable[[Key], str]


def compare(
    result: ToolResult,
    place: int,
    now: Inputs,
    mark_of: MarkOf,
    writers: Mapping[Key, Writer],
    upstream: Iterable[Upstream],
    foreign_write: float = 0,
) -> Iterator[Reason]:
    """The reasons why a tool that has succeeded is stale. `place` is its place in the order of all tools, `now` has
    what its inputs are now, `writers` who wrote each key last. `foreign_write` is when another program wrote to the
    database."""
    success = result.success
    if success is None:
        return
    is_same_python = success.inputs.other.get("python") == now.other.get("python")
    if is_same_python:  # else trees cannot be compared
        yield from compare_code(success.inputs.code, now.code)
    for key, then, current in differences(success.inputs.other, now.other):
        reason = judge(place, key, then, current, mark_of, writers)
        if reason is not None:
            yield reason
    yield from _missing(result, success, mark_of, writers)
    if foreign_write > success.asof and success.tables:
        yield Reason("database", seq=1)
    read: tuple[Key, ...] | None = None
    for other in upstream:
        if other.result.latest <= success.asof:
            continue
        if read is None:
            # A later tool has rewritten these, so their content says nothing of the earlier ones.
            moved = (
                key
                for key in success.inputs.other
                if key in writers and writers[key].place >= place
            )
            read = (*success.tables, *moved)
        yield from _later(other, success, shared_keys(read, result.writes, other.result.writes))


def compare_code(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Reason]:
    if then == now and _UNKNOWN.isdisjoint(then.values()):
        return
    for path in dict.fromkeys((*then, *now)):
        old, new = then.get(path), now.get(path)
        if old != new or old in _UNKNOWN:
            yield Reason(f"code:{path}", then=old, now=new)


def differences(
    then: Mapping[Key, str], now: Mapping[Key, str]
) -> Iterator[tuple[Key, str | None, str | None]]:
    """Each key whose version is another one, with both. Of a folder or a glob each path that came or went."""
    if then == now and _UNKNOWN.isdisjoint(then.values()):
        return
    listed: set[Key] = set()
    # Folders and globs first: that a file came or went says more than that its content is another one.
    for key in sorted(then.keys() | now.keys(), key=_is_file):
        old, new = then.get(key), now.get(key)
        if (old == new and old not in _UNKNOWN) or key in listed:
            continue
        if (
            key.startswith(("folder:", "glob:"))
            and old is not None
            and old not in _UNKNOWN
            and new is not None
        ):
            before, after = frozenset(paths_in(old)), frozenset(paths_in(new))
            if before == after:  # it was empty, and is gone now
                yield key, old, new
            for path in sorted(before ^ after):
                is_new = path in after
                listed.add(f"file:{path}")
                yield f"file:{path}", *((ABSENT, EXISTS) if is_new else (EXISTS, ABSENT))
        else:
            yield key, old, new


def _is_file(key: Key) -> tuple[bool, Key]:
    return key.startswith("file:"), key


def paths_in(version: str | None) -> list[str]:
    """The paths that the version of a folder or a glob has."""
    if not version or version in _UNKNOWN:
        return []
    return [path for path in version.split(_AND) if path]


def join_paths(paths: Iterable[str]) -> str:
    """The version of a folder or a glob with these paths; of an empty one it is not ABSENT."""
    return _AND.join(sorted(paths)) or _AND


def judge(
    place: int,
    key: Key,
    then: str | None,
    now: str | None,
    mark_of: MarkOf,
    writers: Mapping[Key, Writer],
) -> Reason | None:
    """Whether a difference makes the tool at `place` stale. It does not if the tool itself or a later one has moved
    the file on, and the file still is as that one left it."""
    writer = writers.get(key)
    if writer is None or writer.write.mark not in (UNSURE, mark_of(key)):
        return Reason(key, then=then, now=now)
    if writer.place >= place and then not in _UNKNOWN:
        return None
    return Reason(key, by=writer.module, seq=writer.write.seq, then=then, now=now)


def _missing(
    result: ToolResult, success: Success, mark_of: MarkOf, writers: Mapping[Key, Writer]
) -> Iterator[Reason]:
    """What the success wrote and is gone. What a later tool removed is not missing."""
    for key, write in result.writes.items():
        if (
            write.is_checked
            and write.mark != ABSENT
            and mark_of(key) == ABSENT
            and not (key in writers and writers[key].write.mark == ABSENT)
        ):
            yield Reason(key, then=EXISTS, now=ABSENT)


def _later(other: Upstream, success: Success, keys: Iterable[Key]) -> Iterator[Reason]:
    """What a tool upstream did after the success began."""
    for key in keys:
        written, seq = find_write(key, other.result.writes)
        if seq > success.asof:
            yield Reason(written, by=other.module, seq=seq)
            return
    theirs = other.result.success
    if theirs is None or theirs.ended <= success.asof:
        return
    is_whole = theirs.is_whole and success.is_whole
    if is_whole and (other.is_observed or _exchange_files_alone(other.result, success)):
        return  # equal content stops the wave
    yield Reason(f"tool:{other.module}", by=other.module, seq=theirs.ended)


def _exchange_files_alone(other: ToolResult, success: Success) -> bool:
    if any(find_write(key, other.writes)[1] for key in success.tables):
        return False
    return any(key in other.writes for key in used_files(success.inputs))


def find_write(key: Key, writes: Mapping[Key, Write]) -> tuple[Key, Seq]:
    """When the tool with these writes wrote what `key` names last, and under which key; 0 for never."""
    found = (key, writes[key].seq) if key in writes else (key, 0)
    if not key.startswith("table:"):
        return found
    start = _database_of(key)
    if is_table_list(key):
        return found
    if key == start + ANY:
        others = ((other, one.seq) for other, one in writes.items() if other.startswith(start))
        return max(others, key=lambda one: one[1], default=found)
    unclear = writes.get(start + ANY)
    return (start + ANY, unclear.seq) if unclear and unclear.seq > found[1] else found


def shared_keys(
    read: Iterable[Key], own: Mapping[Key, Write], theirs: Mapping[Key, Write]
) -> Iterator[Key]:
    """What one tool has read, and what it wrote, without what both tools only add to and the list of tables."""
    yield from read
    for key in own:
        if not _only_add(key, own, theirs) and not is_table_list(key):
            yield key


def _only_add(key: Key, one: Mapping[Key, Write], other: Mapping[Key, Write]) -> bool:
    return key in one and key in other and one[key].only_adds and other[key].only_adds


def used_files(inputs: Inputs) -> Iterator[Key]:
    """The keys of all files among the inputs, those in listed folders included."""
    for key, version in inputs.other.items():
        if key.startswith("file:"):
            yield key
        elif key.startswith(("folder:", "glob:")):
            yield from (f"file:{path}" for path in paths_in(version))


def find_removed(inputs: Inputs, removed: Iterable[Key]) -> list[Key]:
    """Those of these removed files that would be in a folder that the tool listed."""
    return [
        key
        for key in removed
        if key.startswith("file:")
        and f"folder:{key[5:].rpartition('/')[0] or '.'}" in inputs.other
        and key not in inputs.other
    ]


# What an attempt leaves in the memory.


def add_success(
    before: ToolResult,
    success: Success,
    writes: Mapping[Key, Write],
    place: int,
    writers: Mapping[Key, Writer],
    earlier: Iterable[ToolResult],
    *,
    is_repeatable: bool = False,
) -> ToolResult:
    """What is remembered after a success that wrote `writes`. `writers` are as they were when the tool began;
    `earlier` are the tools before it."""
    removed = find_removed(
        success.inputs, (key for key, one in writers.items() if one.write.mark == ABSENT)
    )
    read = (*used_files(success.inputs), *removed, *success.tables)
    moved = find_out_of_order(read, writes, place, writers, earlier, is_repeatable=is_repeatable)
    kept = {
        key: replace(write, is_checked=False)
        for key, write in before.writes.items()
        if key not in writes and key in writers and writers[key].place == place
    }
    return replace(
        before,
        success=replace(
            success,
            inputs=replace(
                success.inputs, other={**success.inputs.other, **dict.fromkeys(moved, OUT_OF_ORDER)}
            ),
        ),
        writes={**kept, **writes},
        tried=Inputs(),
    )


def add_failure(before: ToolResult, inputs: Inputs, writes: Mapping[Key, Write]) -> ToolResult:
    """What is remembered after an attempt that failed; `writes` has what stayed."""
    return replace(before, writes={**before.writes, **writes}, tried=inputs)


def cut_off(before: ToolResult, ended: Seq) -> ToolResult:
    """What is remembered of a tool that was killed or cancelled: what is in its files is unknown."""
    writes = {
        key: Write(ended, UNSURE, write.is_checked, write.only_adds)
        if key.startswith("file:")
        else write
        for key, write in before.writes.items()
    }
    return replace(before, writes=writes)


def move_tables(before: ToolResult, database: int) -> ToolResult:
    """The same result, with its tables in the database of this number."""

    def moved(key: Key) -> Key:
        return f"table:{database}:{key.split(':', 2)[2]}" if key.startswith("table:") else key

    success = before.success
    return replace(
        before,
        writes={moved(key): write for key, write in before.writes.items()},
        success=success and replace(success, tables=tuple(map(moved, success.tables))),
    )


def find_out_of_order(
    read: Collection[Key],
    writes: Mapping[Key, Write],
    place: int,
    writers: Mapping[Key, Writer],
    earlier: Iterable[ToolResult],
    *,
    is_repeatable: bool,
) -> list[Key]:
    """What an earlier tool makes, and this tool used as a later one had left it, or, unless it is repeatable, as it
    had left it itself. A run from scratch would have given it something else."""
    moved = [
        key
        for key in dict.fromkeys((*read, *writes))
        if not is_table_list(key)
        and (writer := find_writer(key, writers)) is not None
        and (writer.place > place or (writer.place == place and not is_repeatable))
    ]
    if not moved:
        return []
    made = {
        key for one in earlier for key in shared_keys(read, writes, one.writes) if makes(key, one)
    }
    return [key for key in moved if key in made]


def makes(key: Key, result: ToolResult) -> bool:
    """Whether the tool writes this when it runs: its last success did, or an attempt since. One that only kept a table
    as it was cannot make it anew."""
    _, seq = find_write(key, result.writes)
    return seq > 0 and (result.success is None or seq >= result.success.ended)


def find_overwritten(
    result: ToolResult,
    place: int,
    earlier: Iterable[tuple[str, ToolResult]],
    writers: Mapping[Key, Writer],
    *,
    is_repeatable: bool,
) -> dict[str, Key]:
    """The tools of `earlier` that must run again before the tool at `place` can, each with what is no longer as it
    left it: this tool or a later one has changed it since. What this one changed does not count if it is
    repeatable."""
    success = result.success
    inputs = success.inputs if success else result.tried
    tables = success.tables if success else ()
    read = dict.fromkeys((*used_files(inputs), *used_files(result.tried), *tables))
    found: dict[str, Key] = {}
    for module, other in earlier:
        for key in shared_keys(read, result.writes, other.writes):
            written, seq = find_write(key, other.writes)
            if is_table_list(key) or not makes(key, other):
                continue
            writer = find_writer(key, writers)
            is_moved = (
                writer is not None
                and writer.place >= place
                and writer.write.seq > seq
                and not (writer.place == place and is_repeatable)
            )
            # Unless the other tool has made it anew since.
            was_moved = inputs.other.get(key) == OUT_OF_ORDER and success and seq < success.asof
            if is_moved or was_moved:
                found[module] = written
                break
    return found


def find_disturbed(
    earlier: Iterable[tuple[str, ToolResult]], writers: Mapping[Key, Writer], mark_of: MarkOf
) -> dict[str, Key]:
    """The tools of `earlier` that must run again before a tool that was cut off in its first attempt, so that it
    is unknown what it writes: those with a file that is not as its last writer left it."""
    found: dict[str, Key] = {}
    for module, result in earlier:
        for key in result.writes:
            is_file = key.startswith("file:") and key in writers
            if is_file and writers[key].write.mark != mark_of(key):
                found[module] = key
                break
    return found


def find_left_behind(
    gone: Iterable[ToolResult], results: Sequence[ToolResult]
) -> dict[str, list[Reason]]:
    """The tools that must run again because of tools that no longer exist: the first writer of what one of these has
    written after it. `results` are in the order of all tools."""
    found: dict[str, list[Reason]] = {}
    for other in gone:
        for key, write in other.writes.items():
            if is_table_list(key):
                continue
            first = next(
                (
                    one
                    for one in results
                    if makes(key, one) and not _only_add(key, one.writes, other.writes)
                ),
                None,
            )
            if first is not None and find_write(key, first.writes)[1] < write.seq:
                reason = Reason(key, by=other.module, seq=write.seq, is_by_gone=True)
                found.setdefault(first.module, []).append(reason)
    return found


def find_writers(results: Iterable[tuple[int, ToolResult]]) -> dict[Key, Writer]:
    """Who wrote each key last; each result comes with the place of its tool in the order of all."""
    found: dict[Key, Writer] = {}
    for place, result in results:
        for key, write in result.writes.items():
            known = found.get(key)
            if known is None or write.seq >= known.write.seq:
                found[key] = Writer(place, result.module, write)
    return found


def find_writer(key: Key, writers: Mapping[Key, Writer]) -> Writer | None:
    """Who wrote what `key` names last, unclear use of its database included."""
    found = writers.get(key)
    if not key.startswith("table:"):
        return found
    start = _database_of(key)
    if key == start + ANY:
        others = (one for other, one in writers.items() if other.startswith(start))
        return max(others, key=lambda one: one.write.seq, default=None)
    unclear = writers.get(start + ANY) if key != start else None
    if found is None or (unclear is not None and unclear.write.seq > found.write.seq):
        return unclear
    return found


def is_table_list(key: Key) -> bool:
    """Whether this stands for the list of tables. Who makes a table changes the list, and leaves the others' part."""
    return key.startswith("table:") and key.endswith(":")


def _database_of(key: Key) -> Key:
    """`table:3:` of `table:3:raw`: also the key of the list of tables."""
    return key[: key.index(":", 6) + 1]


def run_of(seq: Seq) -> int:
    """The number of the run."""
    return seq >> _RUN_SHIFT


def sequence(run: int, count: int) -> Seq:
    """The number of the `count`-th start or end of a tool in a run."""
    return run << _RUN_SHIFT | count


def end_of_run(run: int, tools: int) -> Seq:
    """The number of what ended with a run that was killed and had so many tools."""
    return sequence(run, 2 * tools)


def after_run(run: int) -> Seq:
    """A number after all tools of that run."""
    return sequence(run + 1, 0) - 1
