"""Whether what the last success of a tool depended on still holds, and what else must run again with a stale tool.

Keys are compared by their versions, and what has none by sequence numbers. Pure: reads nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.staleness.fingerprint import (
    ABSENT,
    EXISTS,
    OUT_OF_ORDER,
    UNKNOWN_VERSIONS,
    UNSURE,
    Evidence,
    Inputs,
    Key,
    Seq,
    Success,
    ToolResult,
    Writer,
    find_sure_writer,
    find_write,
    find_writer,
    makes,
    only_add,
    paths_in,
    shared_keys,
    used_files,
)
from discover_orch.staleness.table_keys import ANY, is_table_list


class Upstream(Struct, frozen=True):
    """A tool that comes before another one; `is_observed` if only observed data flow says so, not `AFTER`, and not a
    data flow that is unknown."""

    result: ToolResult
    is_observed: bool


class Reason(Struct, frozen=True):
    """Why a tool is stale: what of `key` is different. `by` is the tool that did it, and `seq` when; "" for anybody
    else. `evidence` says how that is known. `then` and `now` are versions; None where the success, or the tool as it
    is now, does not have the key. `is_by_gone`: the tool `by` no longer exists."""

    key: Key
    by: str = ""
    seq: Seq = 0
    then: str | None = None
    now: str | None = None
    is_by_gone: bool = False
    evidence: Evidence = ""


class Overwritten(Struct, frozen=True):
    """What of a tool was changed since. `may_be_by`: it is not known what this tool has written; it may be that."""

    key: Key
    may_be_by: str = ""


#: Finds the present state of a file, as a mark; ABSENT where there is none.
MarkOf = Callable[[Key], str]
#: Finds when something happened to the database last, as a number of an end.
TimeOf = Callable[[], float]


def compare(
    result: ToolResult,
    place: int,
    now: Inputs,
    mark_of: MarkOf,
    writers: Mapping[Key, Writer],
    upstream: Iterable[Upstream],
    foreign_write: TimeOf,
    looked: TimeOf,
    *,
    ignores_foreign: bool,
    is_declared: Callable[[Key], bool],
) -> Iterator[Reason]:
    """The reasons why a tool that has succeeded is stale. `place` is its place in the order of all tools, `now` has
    what its inputs are now, `writers` who wrote each key last. `foreign_write` finds when another program wrote to a
    database; where that is ignored, only tables that are missing count. `is_declared`: it declares this input."""
    success = result.success
    if success is None:
        return
    is_same_python = success.inputs.other.get("python") == now.other.get("python")
    if is_same_python:  # else trees cannot be compared
        yield from compare_code(success.inputs.code, now.code)
    for key, then, current in differences(success.inputs.other, now.other):
        reason = judge(place, key, then, current, mark_of, writers, is_declared)
        if reason is not None:
            yield reason
    yield from _missing(result, mark_of, writers, looked)
    if not ignores_foreign and success.tables and foreign_write() > success.asof:
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
    if then == now and UNKNOWN_VERSIONS.isdisjoint(then.values()):
        return
    # What changed first: that it imports something else follows from that.
    for path in sorted(
        then.keys() | now.keys(), key=lambda one: (one not in then or one not in now, one)
    ):
        old, new = then.get(path), now.get(path)
        if old != new or old in UNKNOWN_VERSIONS:
            yield Reason(f"code:{path}", then=old, now=new)


def differences(
    then: Mapping[Key, str], now: Mapping[Key, str]
) -> Iterator[tuple[Key, str | None, str | None]]:
    """Each key whose version is another one, with both. Of a folder or a glob each path that came or went."""
    if then == now and UNKNOWN_VERSIONS.isdisjoint(then.values()):
        return
    listed: set[Key] = set()
    # Folders and globs first: that a file came or went says more than that its content is another one.
    for key in sorted(then.keys() | now.keys(), key=_is_file):
        old, new = then.get(key), now.get(key)
        if (old == new and old not in UNKNOWN_VERSIONS) or key in listed:
            continue
        if key.startswith("stat:") and new == ABSENT:
            continue  # that it is missing is said of another key
        if (
            key.startswith(("folder:", "glob:", "there:"))
            and old is not None
            and old not in UNKNOWN_VERSIONS
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


def judge(
    place: int,
    key: Key,
    then: str | None,
    now: str | None,
    mark_of: MarkOf,
    writers: Mapping[Key, Writer],
    is_declared: Callable[[Key], bool],
) -> Reason | None:
    """Whether a difference makes the tool at `place` stale. It does not if the tool itself or a later one has surely
    moved the file on, and the file still is as that one left it. A write that only the kernel
    reported moves no declared input.
    """
    if key.startswith("stat:"):
        file = judge(place, f"file:{key[5:]}", then, now, mark_of, writers, is_declared)
        return file and replace(file, key=key)
    writer = writers.get(key)
    if writer is None:
        return Reason(key, then=then, now=now)
    last, writer = writer, find_sure_writer(key, writers)
    is_declared_input = writer is not None and writer.write.evidence != "" and is_declared(key)
    if writer is None or is_declared_input or writer.write.mark not in (UNSURE, mark_of(key)):
        if last.write.evidence == "" or last.write.mark != mark_of(key):
            return Reason(key, then=then, now=now)
        by, write = last.module, last.write
        return Reason(key, by=by, seq=write.seq, then=then, now=now, evidence=write.evidence)
    if writer.place >= place and then not in UNKNOWN_VERSIONS:
        return None
    return Reason(key, by=writer.module, seq=writer.write.seq, then=then, now=now)


def _missing(
    result: ToolResult,
    mark_of: MarkOf,
    writers: Mapping[Key, Writer],
    looked: TimeOf,
) -> Iterator[Reason]:
    """What the success wrote and is gone. What a later tool removed is not missing. A table is looked for only where
    another program has written since."""
    asof = result.success.asof if result.success else 0
    for key, write in result.writes.items():
        if (
            write.is_checked
            and write.mark != ABSENT
            and (not key.startswith("table:") or max(write.seq, asof) < looked())
            and mark_of(key) == ABSENT
            and not (key in writers and writers[key].write.mark == ABSENT)
        ):
            yield Reason(key, then=EXISTS, now=ABSENT)


def _later(other: Upstream, success: Success, keys: Iterable[Key]) -> Iterator[Reason]:
    """What a tool upstream did after the success began."""
    for key in keys:
        written, seq = find_write(key, other.result.writes)
        if seq > success.asof:
            yield Reason(written, by=other.result.module, seq=seq)
            return
    theirs = other.result.success
    if theirs is None or theirs.ended <= success.asof:
        return
    is_whole = theirs.is_whole and success.is_whole
    if is_whole and (other.is_observed or _exchange_files_alone(other.result, success)):
        return  # equal content stops the wave
    module = other.result.module
    yield Reason(f"tool:{module}", by=module, seq=theirs.ended)


def _exchange_files_alone(other: ToolResult, success: Success) -> bool:
    if any(find_write(key, other.writes)[1] for key in success.tables):
        return False
    return any(key in other.writes for key in used_files(success.inputs))


def find_overwritten(
    result: ToolResult,
    place: int,
    earlier: Iterable[ToolResult],
    writers: Mapping[Key, Writer],
    *,
    is_repeatable: bool,
    out_of_order: Collection[Key] = (),
) -> dict[str, Overwritten]:
    """The tools of `earlier` that must run again before the tool at `place` can, each with what is no longer as it
    left it: this tool or a later one has changed it since. What this one changed does not count if it is
    repeatable. `out_of_order` is what it used out of order."""
    success = result.success
    read = find_read(result)
    found: dict[str, Overwritten] = {}
    for other in earlier:
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
            was_moved = key in out_of_order and success and seq < success.asof
            if is_moved or was_moved:
                found[other.module] = (
                    _tell_overwritten(key, written, writer, writers)
                    if is_moved and writer is not None
                    else Overwritten(written)
                )
                break
    return found


class SharedWrites:
    """What several tools have written. Where the order of tools has changed since they ran, a tool may have used what
    a tool that now runs later had written."""

    def __init__(self, results: Sequence[ToolResult]) -> None:
        """`results` are in the order of all tools."""
        self._results = results
        seen: set[Key] = set()
        several: set[Key] = set()
        for result in results:
            # An intersection with the keys of a dictionary would go through all that was seen.
            several.update(filter(seen.__contains__, result.writes))
            seen.update(result.writes)
        self._several = {key for key in several if not is_table_list(key)}
        places: dict[Key, list[int]] = {key: [] for key in self._several}
        for place, result in enumerate(results if places else ()):
            for key in filter(places.__contains__, result.writes):
                places[key].append(place)
        self._places = places
        #: The least number of the writes at each of these places and after it.
        self._least = {
            key: [*accumulate((results[place].writes[key].seq for place in reversed(some)), min)][
                ::-1
            ]
            for key, some in places.items()
        }

    def find_out_of_order(self, place: int) -> list[Key]:
        """What the tool at `place` has used as a later one had left it, though an earlier one makes it. What the
        earlier one has written since then counts for itself."""
        result = self._results[place]
        success = result.success
        if not self._several or success is None:
            return []
        began = min(success.asof, success.ended)  # it was accepted later
        read = {*used_files(success.inputs), *success.tables}
        written = {key for key, one in result.writes.items() if one.seq >= success.ended}
        return [
            key
            for key in sorted((read | written) & self._several - {*success.out_of_order})
            if self._is_out_of_order(key, place, began, is_read=key in read)
        ]

    def _is_out_of_order(self, key: Key, place: int, asof: Seq, *, is_read: bool) -> bool:
        places = self._places[key]
        after = bisect_right(places, place)
        if after == len(places) or self._least[key][after] >= asof:
            return False  # the usual case
        own, made, later = self._results[place].writes, 0, 0
        for other in places:
            writes = self._results[other].writes
            if other == place or (not is_read and only_add(key, own, writes)):
                continue
            seq = writes[key].seq
            if other < place and makes(key, self._results[other]):
                made = max(made, seq)
            elif other > place and seq < asof:
                later = max(later, seq)
        return 0 < made < later


def find_marked_out_of_order(result: ToolResult) -> list[Key]:
    """What the tool was seen to use out of order when it ran."""
    known = result.success.inputs.other if result.success else {}
    return [key for key, version in known.items() if version == OUT_OF_ORDER]


def find_read(result: ToolResult) -> dict[Key, None]:
    """The files and tables that the tool read at its last success or at a failed attempt since."""
    success = result.success
    inputs = (success.inputs, result.tried) if success else (result.tried,)
    files = (key for one in inputs for key in used_files(one))
    return dict.fromkeys((*files, *(success.tables if success else ())))


def _tell_overwritten(
    key: Key, written: Key, writer: Writer, writers: Mapping[Key, Writer]
) -> Overwritten:
    """`writer` has changed what `key` names; `written` is what of it another tool had written."""
    if writers.get(written) is writer:
        return Overwritten(written)
    is_whole = key.startswith("table:") and key.endswith(f":{ANY}")
    if is_whole and writers.get(key) is not writer:  # it has written another table
        return Overwritten(key)
    return Overwritten(written, writer.module)


def find_disturbed(
    earlier: Iterable[ToolResult], writers: Mapping[Key, Writer], mark_of: MarkOf
) -> dict[str, Overwritten]:
    """Those of these tools with a file that is not as its last writer left it. They must run again before a later tool
    that was cut off in its first attempt, so that it is unknown what it writes."""
    found: dict[str, Overwritten] = {}
    for result in earlier:
        for key in result.writes:
            if key.startswith("file:") and writers[key].write.mark != mark_of(key):
                found[result.module] = Overwritten(key)
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
                    if makes(key, one) and not only_add(key, one.writes, other.writes)
                ),
                None,
            )
            if first is None:
                continue
            success = first.success
            accepted = success.asof if success and success.is_accepted else 0
            if max(accepted, find_write(key, first.writes)[1]) < write.seq:
                reason = Reason(key, by=other.module, seq=write.seq, is_by_gone=True)
                found.setdefault(first.module, []).append(reason)
    return found
