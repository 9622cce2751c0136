"""Who wrote what: an index of all writes that are remembered. Pure: reads nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from functools import cached_property
from itertools import chain

from msgspec import Struct

from discover_orch.model.items import item_text, tool_of
from discover_orch.model.keys import (
    WHOLE,
    Key,
    database_of,
    is_file_key,
    is_rows,
    is_table_key,
    is_table_list,
    path_of,
    whole_table,
)
from discover_orch.staleness.tool_result import ABSENT, DATABASE, Seq, ToolResult, Write

#: The place of a tool that no longer exists.
GONE = -1
#: Finds when something happened to the database last, as a number of an end.
TimeOf = Callable[[], float]
#: Finds the version that a table has now, if it was asked for after the write of this number; None where that is not
#: known.
ContentOf = Callable[[Key, Seq], str | None]


class Writer(Struct, frozen=True):
    """A write of a tool; `place` is its place in the order of all tools, or GONE; of a table that of the first item of
    the tool, since the items of a tool are one writer of it. `ended` is when its last success
    did, and `accepted` when it was marked as fresh since, 0 if it was not."""

    key: Key
    place: int
    module: str
    write: Write
    ended: Seq = 0
    accepted: Seq = 0

    @property
    def is_left_over(self) -> bool:
        """Whether the tool made it, no longer makes it, and the user has not said that it is meant to stay."""
        write = self.write
        is_of_gone = self.place == GONE and write.mark != ABSENT and not write.is_by_hand
        return write.is_left_over or is_of_gone

    def stands_for(self, seq: Seq) -> bool:
        """Whether what the write of this number left is what the tool makes: it is its own, or the tool found that at
        its last success and left it."""
        return seq == self.write.seq or self.write.seq < seq < self.ended


class _Alike:
    """The writes of one thing, from one place and of one kind, by module: of a table all items of a tool have one
    place, and 10,000 items ask who wrote last. `last` is the one with the highest number, `marked` those that may be
    asked for by `find_anew` and `was_edited`."""

    __slots__ = ("last", "marked", "rows")

    def __init__(self) -> None:
        self.rows: dict[str, Writer] = {}
        self.marked: dict[str, Writer] = {}
        self.last: Writer | None = None

    def add(self, row: Writer) -> None:
        self.rows[row.module] = row
        if row.write.anew or row.write.edited:
            self.marked[row.module] = row
        if self.last is None or row.write.seq > self.last.write.seq:
            self.last = row

    def remove(self, module: str) -> bool:
        """Whether there was one."""
        row = self.rows.pop(module, None)
        self.marked.pop(module, None)
        if row is self.last:
            self.last = max(self.rows.values(), key=_number_of, default=None)
        return row is not None

    def last_before(self, until: Seq | None) -> Writer | None:
        last = self.last
        if until is None or last is None or last.write.seq < until:
            return last
        rows = (row for row in self.rows.values() if row.write.seq < until)
        return max(rows, key=_number_of, default=None)


#: The place of a writer, and whether it is made, only adds, only creates, and writes rows of its own alone.
_Kind = tuple[int, bool, bool, bool, bool]
_NO_ROWS: Mapping[_Kind, _Alike] = {}


class Writers:
    """Who wrote what."""

    def __init__(
        self,
        results: Iterable[tuple[int, ToolResult]],
        *,
        foreign_write: TimeOf = lambda: 0,
        content_of: ContentOf = lambda key, seq: None,
    ) -> None:
        """Each result comes with the place of its tool. `foreign_write` finds when another program wrote to the
        database last: of tables that were written before, only `content_of` knows the content."""
        self._rows: dict[Key, dict[_Kind, _Alike]] = {}
        self._left: dict[Key, None] = {}  # of some tool; others may make it
        self._foreign_write, self._content_of = foreign_write, content_of
        self._until: Seq | None = None
        self._first: dict[str, int] = {}  # of each tool, the place of its first item
        for place, result in results:
            self._add(place, result)

    def replace(self, place: int, before: ToolResult, now: ToolResult) -> None:
        """A tool has ended."""
        for key in before.writes:
            kinds = self._rows.get(key, {})
            for kind, rows in [*kinds.items()]:
                if rows.remove(before.module) and not rows.rows:
                    del kinds[kind]
            if not kinds:
                self._rows.pop(key, None)
        self._add(place, now)
        if not self._left.keys().isdisjoint((*before.writes, *now.writes)):
            self.__dict__.pop("left_over", None)
            self.__dict__.pop("left_rows", None)
        for index in ("_tables", "_folders", "of_several"):
            self.__dict__.pop(index, None)

    def _add(self, place: int, result: ToolResult) -> None:
        success = result.success
        ended = success.ended if success else 0
        accepted = success.asof if success and success.is_accepted else 0
        first = place if place == GONE else self._first.setdefault(tool_of(result.module), place)
        for key, write in result.writes.items():
            here = first if is_table_key(key) else place
            row = Writer(key, here, result.module, write, ended, accepted)
            kind = (here, write.is_made, write.only_adds, write.only_creates, write.is_in_rows)
            kinds = self._rows.setdefault(key, {})
            if (alike := kinds.get(kind)) is None:
                alike = kinds[kind] = _Alike()
            alike.add(row)
            if row.is_left_over:
                self._left[key] = None

    def as_of(self, seq: Seq) -> Writers:
        """The same with the writes that had ended by then."""
        found = copy(self)
        found._until = seq
        return found

    def place_of(self, key: Key, module: str, place: int) -> int:
        """The place that a tool at this place has among the writers of the thing."""
        return self._first.get(tool_of(module), place) if is_table_key(key) else place

    def find_anew(self, key: Key, module: str, place: int, since: Seq) -> Writer | None:
        """The writer that found the table without what this tool at this place had left: an item of the same tool that
        found it gone or edited since, or an earlier tool that has created it since."""
        tool = tool_of(module)
        for row in self._marked(key):
            if row.module != module and tool_of(row.module) == tool:
                found = max(row.write.anew, row.write.edited)
            else:
                found = row.write.anew if 0 <= row.place < place else 0
            if found > since:
                return row
        return None

    def was_edited(self, key: Key, own: Write, since: Seq) -> bool:
        """Whether a tool has found the table edited or dropped since, so that what this write left there may be too.
        Rows are gone with their table, whoever has made it again."""
        rows = self._marked(key, own)
        if is_rows(key):
            rows = chain(rows, self._marked(whole_table(key), own))
        return any(row.write.edited > max(since, row.accepted) for row in rows)

    def _marked(self, key: Key, own: Write | None = None) -> Iterator[Writer]:
        """Those that found the table gone or edited, and are of concern to this write."""
        for kind, alike in self._find_kinds(key):
            if alike.marked and not (own is not None and _is_unconcerned(own, kind)):
                yield from alike.marked.values()

    @cached_property
    def left_over(self) -> Mapping[Key, Writer]:
        """What tools made and no tool makes any more, each with the last of them. What another tool removed is its
        own. A table may still have the rows of an item that is no more."""
        found = {}
        for key in self._left:
            rows = self._rows_of(key)
            left = [row for row in rows if row.is_left_over]
            others = [row for row in rows if not row.is_left_over and row.place != GONE]
            whole = self._rows_of(whole_table(key)) if is_rows(key) else rows
            anew = max((one.write.anew for one in whole), default=0)
            if is_rows(key):  # who else writes rows with this value does not say whose they are
                left = [row for row in left if row.write.seq >= anew]
                others = []
            elif is_table_key(key):
                # Of an item that is gone its rows are left over, where it said which they are.
                left = [row for row in left if not (row.place == GONE and row.write.is_in_rows)]
                if left and others:
                    left = [
                        row
                        for row in left
                        if row.place == GONE and item_text(row.module) and row.write.seq >= anew
                    ]
                    others = []
            if left and not others:
                found[key] = max(left, key=_number_of)
        tables = {key for key in found if not is_rows(key)}
        return {
            key: row
            for key, row in found.items()
            if key in tables or whole_table(key) not in tables
        }

    def find_sharer(self, key: Key) -> str:
        """A tool that makes these rows too; "" if there is none."""
        rows = (row for row in self._rows_of(key) if row.place != GONE and row.write.is_made)
        return next((row.module for row in rows), "")

    @cached_property
    def left_rows(self) -> Mapping[Key, list[Key]]:
        """Of what is left over, the rows of each table."""
        return _grouped((whole_table(key), key) for key in self.left_over if is_rows(key))

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def of(self, key: Key) -> list[Writer]:
        """All who wrote what the key names. Unclear use of a database is use of each of its tables."""
        found = [row for _, alike in self._find_kinds(key) for row in alike.rows.values()]
        if self._until is None:
            return found
        return [row for row in found if row.write.seq < self._until]

    def _rows_of(self, key: Key) -> list[Writer]:
        kinds = self._rows.get(key, _NO_ROWS)
        return [row for alike in kinds.values() for row in alike.rows.values()]

    def _find_kinds(self, key: Key) -> Iterator[tuple[_Kind, _Alike]]:
        rows = self._rows
        if not _is_table(key):
            yield from rows.get(key, _NO_ROWS).items()
            return
        start = database_of(key)
        if key != start + WHOLE:
            yield from rows.get(key, _NO_ROWS).items()
            if is_rows(key):  # who does not say which rows it writes may write these
                all_kinds = rows.get(whole_table(key), _NO_ROWS).items()
                yield from (one for one in all_kinds if not one[0][-1])
            yield from rows.get(start + WHOLE, _NO_ROWS).items()
            return
        for one in self._tables.get(start, ()):
            yield from rows[one].items()

    def _find_last(self, key: Key, concerns: Callable[[_Kind], bool]) -> Writer | None:
        """The last writer of the kinds that count."""
        rows = (
            alike.last_before(self._until)
            for kind, alike in self._find_kinds(key)
            if concerns(kind)
        )
        return max((row for row in rows if row is not None), key=_number_of, default=None)

    @cached_property
    def _tables(self) -> Mapping[str, list[Key]]:
        """The tables of each database, without the lists of tables."""
        tables = (one for one in self._rows if _is_table(one) and not is_rows(one))
        return _grouped((database_of(one), one) for one in tables)

    @cached_property
    def of_several(self) -> list[Key]:
        """What more than one tool has written, without the lists of tables."""
        return [
            key
            for key, kinds in self._rows.items()
            if sum(len(alike.rows) for alike in kinds.values()) > 1 and not is_table_list(key)
        ]

    def in_database(self, whole: Key) -> list[Key]:
        """The tables of which it is known that tools wrote them, for the key of all tables."""
        return [one for one in self._tables.get(database_of(whole), ()) if one != whole]

    def is_log(self, key: Key) -> bool:
        """Whether all who are known to write the file or table only add to it, so that users may add to it too."""
        kinds = [kind for kind, alike in self._find_kinds(key) if self._is_there(alike)]
        made = [kind for kind in kinds if kind[0] != GONE and kind[1]]
        return all(adds or creates for _, _, adds, creates, _ in made or kinds)

    def _is_there(self, alike: _Alike) -> bool:
        """Whether one of these writes had ended by then."""
        return alike.last_before(self._until) is not None

    def in_folder(self, folder: str) -> list[Key]:
        """The files directly in the folder that tools wrote or removed."""
        return self._folders.get(folder, [])

    @cached_property
    def _folders(self) -> Mapping[str, list[Key]]:
        keys = (one for one in self._rows if is_file_key(one))
        return _grouped((path_of(one).rpartition("/")[0] or ".", one) for one in keys)

    def last(
        self,
        key: Key,
        *,
        adds: Write | None = None,
        own: int = GONE,
        since: int = GONE,
    ) -> Writer | None:
        """The last writer of all, or of those from the place `since` on. `adds` is as of `maker`; the tool at the
        place `own` always counts."""

        def concerns(kind: _Kind) -> bool:
            place = kind[0]
            return place >= since and (
                adds is None or place == own >= 0 or not _is_unconcerned(adds, kind)
            )

        return self._find_last(key, concerns)

    def first(self, key: Key, adds: Write) -> Writer | None:
        """The tool that makes the thing first; `adds` is as of `maker`."""
        first: Writer | None = None
        for kind, alike in self._find_kinds(key):
            place, is_made, _, only_creates, _ = kind
            counts = place >= 0 and is_made and not only_creates and not _is_unconcerned(adds, kind)
            rows = alike.rows.values() if counts and (first is None or place < first.place) else ()
            first = next(
                (row for row in rows if self._until is None or row.write.seq < self._until), first
            )
        return first

    def maker(
        self,
        key: Key,
        place: int,
        adds: Write | None = None,
        *,
        fills: bool = False,
        ever: bool = False,
    ) -> Writer | None:
        """The last writer before `place`. `adds` is the write of a tool that does nothing else with the key: what only
        adds to it too is no concern of such a tool. With `fills`, a tool counts only if running it again makes the
        thing anew. `ever`: also one whose code does not write it any more."""

        def concerns(kind: _Kind) -> bool:
            at, is_made, _, only_creates, _ = kind
            return (
                0 <= at < place
                and (ever or is_made)
                and not (fills and only_creates)
                and (adds is None or not _is_unconcerned(adds, kind))
            )

        return self._find_last(key, concerns)

    def version(self, key: Key, writer: Writer) -> str | None:
        """The version that the writer left; None where it is not known."""
        write = writer.write
        if write.mark == ABSENT:
            return ABSENT
        if write.version is None or write.version == DATABASE:
            return None
        if not _knows_version(key, writer):
            return None
        if not is_table_key(key) or write.seq > self._foreign_write():
            return write.version
        return None if self._content_of(key, write.seq) is None else write.version

    def knows_rows(self, table: Key, written: Iterable[Key]) -> bool:
        """Whether those of these keys that are rows of the table were written last by somebody who says which rows."""
        rows = [one for one in written if is_rows(one) and whole_table(one) == table]
        last = [row for one in rows if (row := self.last(one)) is not None]
        return all(is_rows(one.key) for one in last)

    def may_be_edited(self, key: Key) -> bool:
        """Whether another program has written to the database since, and what a table contains that had a version is
        not known."""
        last = self.last(key) if _is_table(key) else None
        has_version = last is not None and bool(last.write.version) and _knows_version(key, last)
        return last is not None and has_version and self.version(key, last) is None

    def find_edit(self, key: Key) -> str | None:
        """The version that a table has now, if another program has changed it since its last writer; None where that
        is not so, or not known."""
        last = self.last(key) if _is_table(key) else None
        if last is None or last.write.mark == ABSENT or last.write.version is None:
            return None
        if not _knows_version(key, last):
            return None
        now = self._content_of(key, last.write.seq)
        return None if now == last.write.version else now


def _grouped(pairs: Iterable[tuple[str, Key]]) -> dict[str, list[Key]]:
    found: dict[str, list[Key]] = {}
    for group, key in pairs:
        found.setdefault(group, []).append(key)
    return found


def _knows_version(key: Key, writer: Writer) -> bool:
    """Whether the version that it left is that of these rows, not of the whole table."""
    return writer.key == key or not is_rows(key)


def _is_table(key: Key) -> bool:
    """Not a list of tables, which has no content and which each tool that makes a table writes."""
    return is_table_key(key) and not is_table_list(key)


def _number_of(writer: Writer) -> Seq:
    return writer.write.seq


def _is_unconcerned(one: Write, kind: _Kind) -> bool:
    """Whether neither writer minds the other: both only add, or one only creates what is not there."""
    _, _, only_adds, only_creates, _ = kind
    return (one.only_adds and only_adds) or one.only_creates or only_creates
