"""The order between tools that follows from what they read and write.

A path that was observed is that path and nothing else. A declared one may be a glob, and is also the file of exactly
that name, since only the disk says which it is. Two patterns meet where some file can match both. Where that is not
certain they count as meeting, so that an edge is rather one too many than one too few. Compares names; reads no files.
"""

from __future__ import annotations

import fnmatch
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from discover_orch.model.conventions import GLOB_CHARACTERS
from discover_orch.model.dataflow import Dataflow, union
from discover_orch.model.items import item_text, tool_of
from discover_orch.model.keys import WHOLE, acting_name, any_rows, named_table, read_rows

#: More items of one tool that write the same are one writer.
MOST_ITEMS = 10


def edges(
    flows: Mapping[str, Dataflow], written: Written | None = None
) -> dict[str, tuple[str, ...]]:
    """For each reader the other tools that write what it reads, in the order of `flows`.

    A tool reads what another writes where a file or glob that it reads, or a file that it missed, meets one that the
    other writes; where a table is the same, one that it missed too, unless it is there to drop it; where the
    other writes directly into a folder that it listed, or creates or drops a table and it read the list of these. Near
    linear: paths are looked up, and only declared globs are compared one by one.
    """
    tools = list(flows)
    written = written or Written(flows.values())
    if not written:
        return {}
    found = {}
    for number, (tool, flow) in enumerate(flows.items()):
        writers = written.members_of(written.writers_for(flow), number)
        writers.discard(number)
        if writers:
            found[tool] = tuple([tools[one] for one in sorted(writers)])
    return found


def upstream(
    order: Sequence[str],
    flows: Mapping[str, Dataflow],
    readers: Mapping[str, tuple[str, ...]],
    written: Written,
) -> dict[str, tuple[str, ...]]:
    """For each tool the earlier ones in this order that write what it reads or writes. `readers` are the `edges` of
    these flows.

    A second writer is downstream of the first, unless both only insert into the table, or only append to the file. A
    tool that removes a file counts as a writer of it. A tool that missed a table is downstream of its writers; a tool
    that read the list of tables is downstream of those that create or drop one. A tool does not write what it keeps.
    """
    removed = Written(Dataflow(writes=flow.removed) for flow in flows.values())
    numbers_of = {tool: number for number, tool in enumerate(flows)}
    if not (written or removed):
        return {}
    place = {tool: number for number, tool in enumerate(order)}
    places = [place[tool] for tool in flows]
    found = {}
    for here, tool in enumerate(order):
        flow = flows[tool]
        numbers = written.other_writers(flow)
        if removed:
            numbers |= removed.writers_for(flow) | removed.other_writers(flow)
        others = {places[one] for one in written.members_of(numbers, numbers_of[tool])}
        others.update([place[other] for other in readers.get(tool, ())])
        if earlier := sorted([one for one in others if one < here]):
            found[tool] = tuple([order[one] for one in earlier])
    return found


def without_updates(flow: Dataflow) -> Dataflow:
    """Without the reads of what the tool writes itself. Two tools that update the same table read each other."""
    own = Written([flow])
    return replace(
        flow,
        reads=tuple(path for path in flow.reads if not own.of_path(path)),
        inputs=tuple(path for path in flow.inputs if not own.of_declared(path)),
        tables_read=tuple(name for name in flow.tables_read if name not in flow.tables_written),
        folders=tuple(folder for folder in flow.folders if not own.of_folder(folder)),
        missed=tuple(path for path in flow.missed if not own.of_path(path)),
        tables_missed=tuple(name for name in flow.tables_missed if not own.of_table(name)),
        lists_tables=flow.lists_tables and not (flow.tables_created or flow.tables_dropped),
    )


def shared(reader: Dataflow, writer: Dataflow) -> tuple[str, ...]:
    """The files and tables that one reads and the other writes, as parts of a sentence."""
    written = Written([writer])
    declared = tuple(path for path in reader.inputs if written.of_declared(path))
    return (
        *union(declared, tuple(path for path in reader.reads if written.of_path(path))),
        *(named_table(name) for name in reader.tables_read if written.of_table(name)),
    )


def _matches(path: str, pattern: str) -> bool:
    """`*` crosses folders here, and `**/` may stand for no folder; a folder that matches contains all below it."""
    loose = pattern.replace("**/", "*")
    return fnmatch.fnmatchcase(path, loose) or fnmatch.fnmatchcase(path, loose.rstrip("/") + "/*")


def _is_glob(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern or "[" in pattern


def _literal_part(pattern: str) -> str:
    """The part before the first wildcard."""
    ends = [pattern.find(mark) for mark in GLOB_CHARACTERS if mark in pattern]
    return pattern[: min(ends)] if ends else pattern


def _folder_of(path: str) -> str:
    """ "." is the root of the project, "" that of the file system."""
    head, slash, _ = path.rpartition("/")
    return head.rstrip("/") if slash else "."


def _can_lie_in(literal: str, folder: str) -> bool:
    """Whether a glob with this literal part can match a file directly in the folder."""
    start = "" if folder == "." else folder + "/"
    if literal.startswith(start):
        return "/" not in literal[len(start) :]
    return start.startswith(literal)


class Written:
    """Which flows, by number, write a path or table, so that a reader need not be compared with each writer.

    Many items of one tool that write a table, or into a folder, are one number behind those of the flows: else each of
    10,000 items would be compared with each other one.
    """

    def __init__(self, flows: Iterable[Dataflow], keys: Iterable[str] = ()) -> None:
        """`keys` are those of the steps with these flows, where some are items."""
        self._members: list[list[int]] = []  # the items of each tool
        self._tool_of: dict[int, int] = {}  # of an item, the index of its tool
        self._place: dict[int, int] = {}  # of an item, its place among those of its tool
        self._count = self._group(keys)
        self._tables: dict[str, list[int]] = {}
        self._changed: dict[str, list[int]] = {}  # of the tables, those that do more than insert
        self._appended: dict[str, list[int]] = {}
        self._created: dict[str, list[int]] = {}
        self._making: list[int] = []  # create or drop tables
        self._paths: dict[str, list[int]] = {}
        self._inside: dict[str, set[int]] = {}
        self._spelled: dict[str, list[int]] = {}
        self._globs: dict[str, list[tuple[str, int]]] = {}  # by the literal part
        for number, flow in enumerate(flows):
            rows = _rows_by_table(flow)
            for table in flow.tables_written:
                # Who reads only some rows reads what is written to those, and by whom it is not known to which.
                for name in (table, rows[table]) if table in rows else (table, any_rows(table)):
                    self._tables.setdefault(name, []).append(number)
                    if table not in flow.tables_inserted:
                        self._changed.setdefault(name, []).append(number)
            for path in flow.appended:
                self._appended.setdefault(path, []).append(number)
            for table in flow.tables_created:
                self._created.setdefault(table, []).append(number)
            if flow.tables_created or flow.tables_dropped:
                self._making.append(number)
            for path in flow.outputs:
                if _is_glob(path):
                    self._globs.setdefault(_literal_part(path), []).append((path, number))
            for path in flow.files_written:
                self._spelled.setdefault(path, []).append(number)
                self._paths.setdefault(path.rstrip("/"), []).append(number)
            for path in flow.folders_made:
                self._inside.setdefault(_folder_of(path), set()).add(number)
        for path, numbers in self._paths.items():
            self._inside.setdefault(_folder_of(path), set()).update(numbers)
        self._below: dict[str, set[int]] = {}
        for folder, inside in self._inside.items():
            for holder in _with_holders(folder):
                self._below.setdefault(holder, set()).update(inside)
        for tables in (self._tables, self._changed, self._created):
            tables.update({table: self._fold(numbers) for table, numbers in tables.items()})
        for folders in (self._inside, self._below):
            folders.update({folder: {*self._fold(inside)} for folder, inside in folders.items()})
        self._making = self._fold(self._making)
        self._literals = sorted(self._globs)
        self._names: list[str] = []
        self._holding: dict[str, set[int]] = {}
        self._matched: dict[str, set[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._tables or self._paths)

    def _group(self, keys: Iterable[str]) -> int:
        tools: dict[str, list[int]] = {}
        count = 0
        for number, key in enumerate(keys):
            count = number + 1
            if item_text(key):
                members = tools.setdefault(tool_of(key), [])
                self._place[number] = len(members)
                members.append(number)
        self._members = [*tools.values()]
        for tool, members in enumerate(self._members):
            self._tool_of.update(dict.fromkeys(members, tool))
        return count

    def _fold(self, numbers: Collection[int]) -> list[int]:
        """With one number for many items of a tool."""
        if len(numbers) <= MOST_ITEMS or not self._members:
            return [*numbers]
        counts = Counter(self._tool_of[one] for one in numbers if one in self._tool_of)
        many = {tool for tool, count in counts.items() if count > MOST_ITEMS}
        others = [one for one in numbers if self._tool_of.get(one) not in many]
        return [*others, *(self._count + tool for tool in sorted(many))]

    def members_of(self, numbers: set[int], own: int) -> set[int]:
        """The flows that these numbers stand for, as they concern the one with the number `own`: of the items of its
        own tool the one before it, which stands for all."""
        tools = [one - self._count for one in numbers if one >= self._count]
        if not tools or not self._members:
            return numbers
        found = {one for one in numbers if one < self._count}
        for tool in tools:
            members = self._members[tool]
            if self._tool_of.get(own) == tool:
                place = self._place[own]
                members = members[max(0, place - 1) : place]
            found.update(members)
        return found

    def writers_for(self, flow: Dataflow) -> set[int]:
        found: set[int] = set()
        rows = _rows_by_table(flow)
        for table in flow.tables_read:
            found |= self.of_table(rows.get(table, table))
        for path in (*flow.reads, *flow.missed) if flow.missed else flow.reads:
            found |= self.of_path(path)
        for pattern in flow.inputs:
            found |= self.of_declared(pattern)
        for folder in flow.folders:
            found |= self.of_folder(folder)
        for table in flow.tables_missed:
            if table not in flow.tables_kept and table not in flow.tables_dropped:
                found |= self._of_missed(table)
        if flow.lists_tables:
            found.update(self._making)
        return found

    def other_writers(self, flow: Dataflow) -> set[int]:
        """Those that write what this flow writes, and the tables that it looked for; itself may be among them."""
        found: set[int] = set()
        rows = _rows_by_table(flow)
        for table in flow.tables_written:
            only_inserts = table in flow.tables_inserted
            name = rows.get(table, table)
            found |= self.of_table(name, self._changed if only_inserts else self._tables)
            found.update(self._tables.get(acting_name(table), ()))
        for table in flow.tables_missed:
            found |= self._of_missed(table)
        if flow.lists_tables:
            found.update(self._making)
        for path in flow.writes:
            others = self.of_path(path)
            found |= (
                others.difference(self._appended.get(path, ())) if path in flow.appended else others
            )
        for path in flow.removed:
            found |= self.of_path(path)
        for pattern in flow.outputs:
            if pattern not in flow.appended:
                found |= self.of_declared(pattern)
        return found

    def of_table(self, table: str, writers: Mapping[str, list[int]] | None = None) -> set[int]:
        """Those that write this table, or tables of which it is not known which."""
        if table == WHOLE:
            return {number for numbers in self._tables.values() for number in numbers}
        known = self._tables if writers is None else writers
        found = {*known.get(table, ())}
        if (rows := read_rows(table)) is not None:
            found.update(known.get(any_rows(rows.table), ()))
        return found.union(self._tables.get(WHOLE, ()))

    def _of_missed(self, table: str) -> set[int]:
        """Those that write this table, or only create it, which matters to a tool that missed it."""
        return self.of_table(table).union(self._created.get(table, ()))

    def of_declared(self, path: str) -> set[int]:
        found = self.of_path(path)
        return found | self._of_glob(path) if _is_glob(path) else found

    def of_path(self, spelled: str) -> set[int]:
        """Those that write this file, something in this folder, or a whole folder that the file is in."""
        path = spelled.rstrip("/")
        found = self._of_holders(_folder_of(path))
        if path in self._paths:
            found = found.union(self._paths[path])
        if path in self._below:
            found = found | self._below[path]
        if self._globs:
            found = found.union(self._of_globs_around(spelled))
        return found

    def _of_globs_around(self, spelled: str) -> Iterator[int]:
        """The globs that match this file, or can match something in this folder."""
        for end in range(len(spelled) + 1):
            for glob, number in self._globs.get(spelled[:end], ()):
                if _matches(spelled, glob):
                    yield number
        for literal in _starting_with(spelled.rstrip("/") + "/", self._literals):
            for _, number in self._globs[literal]:
                yield number

    def _of_glob(self, pattern: str) -> set[int]:
        found = self._matched.get(pattern)
        if found is None:
            literal = _literal_part(pattern)
            found = set(self._of_holders(_folder_of(literal)))
            self._names = self._names or sorted(self._spelled)
            for path in _starting_with(literal, self._names):
                if _matches(path, pattern):
                    found.update(self._spelled[path])
            for other, globs in self._globs.items():
                if other.startswith(literal) or literal.startswith(other):
                    found.update(number for _, number in globs)
            self._matched[pattern] = found
        return found

    def of_folder(self, spelled: str) -> set[int]:
        """Those that write directly into the folder, or declare that they write all of it."""
        folder = spelled.rstrip("/")
        found = set(self._inside.get(folder, ()))
        for literal, globs in self._globs.items():
            if _can_lie_in(literal, folder):
                found.update(number for _, number in globs)
        found.update(self._paths.get(folder, ()))
        return found | self._of_holders(_folder_of(folder))

    def _of_holders(self, folder: str) -> set[int]:
        """Those that declare that they write this folder, or one that contains it."""
        found = self._holding.get(folder)
        if found is None:
            found = set()
            for holder in _with_holders(folder):
                found.update(self._paths.get(holder, ()))
            self._holding[folder] = found
        return found


def _rows_by_table(flow: Dataflow) -> dict[str, str]:
    """By table the rows of it that alone are used."""
    return {rows.table: name for name in flow.rows if (rows := read_rows(name)) is not None}


def _starting_with(start: str, names: Sequence[str]) -> Iterator[str]:
    """The names that start so; `names` are sorted."""
    for place in range(bisect_left(names, start), len(names)):
        if not names[place].startswith(start):
            return
        yield names[place]


def _with_holders(folder: str) -> Iterator[str]:
    """The folder and all folders that contain it, except the root of the project."""
    while folder != ".":
        yield folder
        if not folder:
            return
        folder = _folder_of(folder)
