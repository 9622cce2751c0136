"""The one rule of staleness: who left what a tool saw, and would it see the same today?

Every end of a tool has a number, so one integer names a writer. The *maker* of a thing for a tool is the last tool
before it that wrote the thing. Content decides. Where the tool itself or a later one has written the thing since, its
content says nothing, and the tool is compared with what the maker left. Pure: reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.items import item_text, tool_of
from discover_orch.model.keys import (
    FILES,
    Key,
    file_key,
    is_file_key,
    is_rows,
    is_table_key,
    is_table_list,
    path_of,
    whole_table,
)
from discover_orch.staleness.tool_result import (
    ABSENT,
    DATABASE,
    EXISTS,
    UNSURE,
    Inputs,
    Saw,
    Seq,
    Success,
    ToolResult,
    Write,
    differences,
    paths_in,
)
from discover_orch.staleness.tool_uses import ToolUses
from discover_orch.staleness.writers import GONE, Writer, Writers

#: What the keys of things begin with that tools make.
_PASSING = (*FILES, "table:")


class Reason(Struct, frozen=True):
    """Why a tool is stale: what of `key` is different. `by` is the tool that did it, and `seq` when; "" for anybody
    else. `then` and `now` are versions; None where the success, or the tool as it is now, does not have the key. `how`
    distinguishes reasons of one key:

    - `overwritten`: what the tool wrote was overwritten by the earlier tool `by`.
    - `out of order`: the tool used it as a later tool, or the tool itself, had left it, and not as `by` makes it.
    - `edited`: no tool has changed what the tool left. Of a table, `by` left it, and another program changed it.
    - `gone`: the tool `by` no longer exists.
    - `left over`: the tool `by` made it and no longer does; `left by gone`: and no longer exists. The reason stands
      for `more` other things too.
    """

    key: Key
    by: str = ""
    seq: Seq = 0
    then: str | None = None
    now: str | None = None
    how: str = ""
    more: int = 0

    @property
    def is_lasting(self) -> bool:
        """Whether nothing that another tool does ends it."""
        return not self.key.startswith(_PASSING)

    @property
    def starts_run(self) -> bool:
        """Whether a watch acts on it: not on writes by other programs, hand edits, and what is left over."""
        is_quiet = self.how in ("edited", "left over", "left by gone")
        return not is_quiet and not (self.key == "database" and self.seq)


#: Finds the present state of a file or table, as a mark; ABSENT where there is none.
MarkOf = Callable[[Key], str]
#: Finds the present version of a file by its content.
VersionOf = Callable[[Key], str]


class Present(Protocol):
    """What the rule asks about the present. `foreign_write` is when another program wrote to the database last, and
    `looked` when its tables were last looked for."""

    def mark(self, key: Key) -> str: ...

    def version(self, key: Key) -> str: ...

    @property
    def foreign_write(self) -> float: ...

    @property
    def looked(self) -> float: ...


class Judge:
    """Applies the rule to one tool."""

    def __init__(self, result: ToolResult, place: int, writers: Writers, present: Present) -> None:
        self.uses = ToolUses(result, place, writers)
        self._result, self._writers, self._present = result, writers, present
        self._success = self.uses.success
        self._has_item = bool(item_text(result.module))

    def find_reasons(
        self, now: Inputs, upstream: Iterable[ToolResult], *, ignores_foreign: bool = False
    ) -> Iterator[Reason]:
        """The reasons of its own for which a tool that has succeeded is stale. `now` has what its inputs are now.
        Where what another program wrote to the database is ignored, only tables that are missing count."""
        then = self._success.inputs
        if then.other.get("python") == now.other.get("python"):  # else trees cannot be compared
            yield from compare_code(then.code, now.code)
        left = {reason.key: reason for reason in self._find_left()}
        found: set[Key] = set(left)
        blamed: set[str] = set()
        for key, old, new in differences(then.other, now.other):
            reason = None if key in left else self._explain(key, old, new)
            if reason is not None:
                found.add(key)
                blamed.add(reason.by)
                yield reason
        yield from left.values()
        is_written = (
            not ignores_foreign
            and self._success.tables
            and self._present.foreign_write > self._success.asof
        )
        if is_written and not self._knows_tables():
            yield Reason("database", seq=1)
        for reason in self.find_changed():
            if reason.key not in found:
                found.add(reason.key)
                blamed.add(reason.by)
                yield reason
        yield from (one for one in find_unseen(self._success, upstream) if one.by not in blamed)

    def _find_mover(self, key: Key) -> Writer | None:
        """The tool itself or a later one, if it wrote this last and it still is as it was left."""
        last = self._writers.last(key)
        if last is None:
            return None
        is_moved = last.place >= self.uses.place_of(key) or self.uses.own_write(key) is not None
        return last if is_moved and self._is_as_left(key, last.write) else None

    def _is_as_left(self, key: Key, write: Write) -> bool:
        """That a table was dropped is said where it is missed."""
        if is_table_key(key):
            return self._writers.find_edit(key) is None
        return write.mark in (UNSURE, self._present.mark(key))

    def _explain(self, key: Key, then: str | None, now: str | None) -> Reason | None:
        """The reason for a difference in content, unless the tool itself or a later one moved the thing on."""
        if key.startswith(("stat:", "link:")):
            file = self._explain(file_key(path_of(key)), then, now)
            return file and replace(file, key=key)
        last = self._writers.last(key)
        if last is None:
            return Reason(key, then=then, now=now)
        if then != UNSURE and self._find_mover(key) is not None:
            return None
        is_accepted = last.accepted > self._success.asof > last.write.seq  # an edit, since then
        if self._is_as_left(key, last.write) and not is_accepted:
            return Reason(key, last.module, last.write.seq, then, now)
        return Reason(key, then=then, now=now)

    def _knows_tables(self) -> bool:
        """Whether the content of each table that it read is known, whoever has written to the database."""
        last = (self._writers.last(key) for key in self._success.tables)
        return all(one and self._writers.version(one.key, one) is not None for one in last)

    def find_changed(self) -> Iterator[Reason]:
        """What it would see otherwise today, though the content as it is now does not show it, or is not known."""
        for key in self.uses.find_used():
            if key in self._result.writes and is_table_list(key) and key not in self._success.saw:
                continue
            if self.uses.is_by_rows(key):
                continue
            reason = self._judge_seen(key)
            if reason is not None:
                yield reason

    def _judge_seen(self, key: Key) -> Reason | None:
        writers, place, adds = self._writers, self.uses.place_of(key), self.uses.find_adds(key)
        own = self.uses.own_write(key)
        last = writers.last(key, adds=adds)
        if last is None:
            return None
        if own is not None and not is_table_list(key):
            # Who only added since is no matter, but who made it anew before that is.
            earlier = writers.maker(key, place, own, ever=True)
            since = max(own.seq, self._success.asof)
            if earlier and earlier.write.seq > since:
                return Reason(earlier.key, earlier.module, earlier.write.seq, how="overwritten")
            other = writers.find_anew(key, self._result.module, place, since)
            if other is None and is_rows(key):
                other = writers.find_anew(whole_table(key), self._result.module, place, since)
            if other is not None:
                return Reason(
                    key, other.module, max(other.write.anew, other.write.edited), how="overwritten"
                )
            if writers.was_edited(key, own, since):
                return Reason(key, self._result.module, then=own.version, how="edited")
        saw = self._success.saw.get(key, Saw())
        edit = writers.find_edit(key)
        if edit is not None and adds is None:
            is_own = last.place == place and last.write.seq >= self._success.asof
            is_same = edit == saw.version and not is_own
            # `adds` is None, so this is the last writer of all.
            return (
                None if is_same else Reason(key, last.module, then=last.write.version, how="edited")
            )
        # In the list of tables those that the tool itself or a later one makes do not count.
        if is_table_list(key) or edit is not None or self._find_mover(key) is not None:
            maker = writers.maker(key, place, adds)
            if maker and maker.write.seq < self._success.asof and maker.write.only_creates:
                maker = writers.maker(key, place, adds, fills=True)  # it would not make it anew
            if maker is None or maker.stands_for(saw.seq) or self._is_version(key, maker, saw):
                return None
            how = "out of order" if maker.write.seq < self._success.asof else ""
            return Reason(maker.key, maker.module, maker.write.seq, how=how)
        if not is_table_key(key):
            return None  # see `explain`
        version = writers.version(key, last)
        is_known = version is not None and saw.version is not None
        is_same = version == saw.version if is_known else last.write.seq == saw.seq
        how = "edited" if last.write.is_by_hand else ""
        return None if is_same else Reason(last.key, last.module, last.write.seq, how=how)

    def _is_version(self, key: Key, maker: Writer, saw: Saw) -> bool:
        """Whether the maker left what the tool saw."""
        then = self.uses.read.get(key, saw.version)
        is_only_listed = key not in self.uses.read and self.uses.own_write(key) is None
        if is_only_listed and (listed := self._find_listed(key)) is not None:
            return (maker.write.mark == ABSENT) == (listed == ABSENT)
        version = self._writers.version(key, maker)
        return version is not None and version == then and then != UNSURE

    def _find_listed(self, key: Key) -> str | None:
        """Whether the file was in a folder that the tool listed, as a version; None where it listed none."""
        path = path_of(key)
        listed = self.uses.read.get(f"folder:{path.rpartition('/')[0] or '.'}")
        listed = self.uses.read.get(f"there:{path}") if listed is None else listed
        if listed is None:
            return None
        return EXISTS if path in paths_in(listed) else ABSENT

    def _find_left(self) -> Iterator[Reason]:
        """What its success wrote and is missing, or was edited by hand, and what it took away and is there again. What
        a later tool removed, made or changed is neither. A table is looked for only where another program has written
        since."""
        asof = self._success.asof
        for key, write in self._result.writes.items():
            if not (write.is_checked or write.only_adds) or write.mark == UNSURE:
                continue
            is_table = is_table_key(key)
            if (
                is_table
                and not self.uses.is_by_rows(key)
                and self._writers.find_edit(key) is not None
            ):
                last = self._writers.last(key)
                if (
                    last is not None
                    and last.place == self.uses.place_of(key)
                    and not self._writers.is_log(key)
                ):
                    yield Reason(key, last.module, then=last.write.version, how="edited")
                continue
            if is_rows(key) or (is_table and max(write.seq, asof) >= self._present.looked):
                continue  # of rows: whether the table is there counts
            now = self._present.mark(key)
            if now == write.mark:
                continue
            last = self._writers.last(key)
            if write.mark == ABSENT:
                if last is not None and last.place == self.uses.place_of(key) and not is_table:
                    yield Reason(key, then=ABSENT, now=EXISTS)
                continue
            if now == ABSENT:
                if write.is_checked and (last is None or last.write.mark != ABSENT):
                    yield Reason(key, then=EXISTS, now=ABSENT)
                continue
            last = find_edited(key, self._writers, now, self._present.version)
            if last is not None and last.place == self.uses.place_of(key):
                yield Reason(key, then=write.version, now=now, how="edited")

    def find_rebuilt(self, *, is_repeatable: bool) -> dict[str, Key]:
        """The tools that must run again before this one can, each with what this tool or a later one has changed
        since. What this one changed does not count if it is repeatable. Of a tool without a success it is not known
        what it uses, so it may use all that several tools write."""
        found: dict[str, Key] = {}
        is_unknown, used = self._result.success is None, self.uses.find_used(with_tried=True)
        others = self._writers.of_several if is_unknown else self._find_dropped(used)
        for key in {**used, **dict.fromkeys(others)}:
            place = self.uses.place_of(key)
            last = self._writers.last(key, since=place)
            if is_table_list(key) or last is None or self.uses.is_by_rows(key):
                continue
            adds = self.uses.find_adds(key) or (last.write if is_unknown else None)
            # A tool that only creates it or adds to it makes it anew too, once it is gone.
            is_gone = last.write.mark == ABSENT
            maker = self._writers.maker(key, place, None if is_gone else adds, fills=not is_gone)
            if maker is None or maker.stands_for(last.write.seq):
                continue
            if maker.write.seq > last.write.seq and (is_gone or not maker.write.only_adds):
                continue  # it has made the thing anew since
            # Its own result is what it left, not what an edit has made of that.
            is_own = (
                (is_repeatable or (is_table_key(key) and self._has_item))
                and last.place == self.uses.place_of(key)
                and self._is_as_left(key, last.write)
            )
            saw = self._success.saw.get(key, Saw())
            if not (is_own and maker.stands_for(saw.seq)):
                for module in writers_of(maker, self._writers):
                    found.setdefault(module, maker.key)
        return found

    def _find_dropped(self, used: Iterable[Key]) -> Iterator[Key]:
        """The tables that a later tool has dropped, where the tool reads the list of tables."""
        for one in filter(is_table_list, used):
            place = self.uses.place_of(one)
            for key in self._writers.in_database(one):
                last = self._writers.last(key, since=place)
                if last is not None and last.write.mark == ABSENT:
                    yield key


def writers_of(maker: Writer, writers: Writers) -> Iterator[str]:
    """The tool that made the thing; of a table all its items, which are one writer of it."""
    if not (is_table_key(maker.key) and item_text(maker.module)):
        yield maker.module
        return
    tool = tool_of(maker.module)
    yield from (
        row.module
        for row in writers.of(maker.key)
        if row.place != GONE and row.write.is_made and tool_of(row.module) == tool
    )


def find_edited(key: Key, writers: Writers, now: str, version_of: VersionOf) -> Writer | None:
    """The last writer of the file, if it has other content than that one left, and no tool did it. A log may be added
    to, and the file of a database is not edited by hand. `now` is its present mark."""
    last = writers.last(key) if is_file_key(key) else None
    if last is None or writers.is_log(key):
        return None
    write = last.write
    is_edited = (
        ABSENT not in (write.mark, now)
        and EXISTS not in (write.mark, now)
        and write.mark not in (UNSURE, now)
        and write.version != DATABASE
        and (write.version is None or write.version != version_of(key))
    )
    return last if is_edited else None


def find_unseen(success: Success, upstream: Iterable[ToolResult]) -> Iterator[Reason]:
    """The tools upstream that succeeded since the tool began, where what passed between them may not have been seen. A
    tool whose reads were all seen is judged by them alone. Where the database has a record of the tool itself, its
    data are as old as those that the others have there."""
    for other in () if success.is_whole else upstream:
        if other.success is None:
            continue
        ended = other.success.ended
        if max(ended, 0 if success.record else other.adopted) > success.asof:
            yield Reason(f"tool:{other.module}", by=other.module, seq=other.success.ended)


def find_passed_on(result: ToolResult, previous: Iterable[ToolResult]) -> Iterator[Reason]:
    """The tables that the item before this one has written since, and that this one reads, or writes too, so that the
    order decides: the items of a tool are one writer, so that their content does not tell what passed from one to the
    next."""
    success = result.success
    for other in previous if success else ():
        for key, write in other.writes.items():
            if not success or write.seq <= success.asof or is_table_list(key):
                continue
            own = result.writes.get(key) if is_table_key(key) else None
            if key in success.tables or (own and not _may_come_first(own, write)):
                yield Reason(key, by=other.module, seq=write.seq)


def _may_come_first(one: Write, other: Write) -> bool:
    """Whether the order of these writes of a table does not matter."""
    creates = one.only_creates or other.only_creates
    return creates or (one.only_adds and other.only_adds) or (one.is_in_rows and other.is_in_rows)


def find_unlike(
    earlier: Iterable[ToolResult], writers: Writers, present: Present
) -> dict[str, Key]:
    """Those of these tools with a file that is not as its last writer left it. They must run again before a later tool
    that was cut off in its first attempt, so that it is unknown what it has written."""
    found: dict[str, Key] = {}
    for result in earlier:
        for key in result.writes:
            last = writers.last(key)
            if not is_file_key(key) or last is None or last.write.mark == present.mark(key):
                continue
            if last.write.version is None or last.write.version != present.version(key):
                found[result.module] = key
                break
    return found


# Differences in content.


def compare_code(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Reason]:
    if then == now and UNSURE not in then.values():
        return
    different = {path for path, _ in then.items() ^ now.items()}
    different |= {path for path, meaning in then.items() if meaning == UNSURE}
    # What changed first: that it imports something else follows from that.
    for path in sorted(different, key=lambda one: (one not in then or one not in now, one)):
        yield Reason(f"code:{path}", then=then.get(path), now=now.get(path))
