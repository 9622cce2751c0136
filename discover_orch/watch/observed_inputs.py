"""What a watch has seen its tools do: what each needs beside its code, and what it met in the latest run.

In: what is remembered of earlier runs, and what tools were seen to do as they end. Out: `ToolInputs`, and of data
files that changed during a run those that each of their readers has read as they stand. Stats files, reads folders;
knows neither order nor runs.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping

from discover_orch.model.dataflow import Dataflow, merge
from discover_orch.model.observation import SIDE_FILES, Observation
from discover_orch.model.tool import Tool
from discover_orch.staleness.affected import ToolInputs, find_inputs, meets_input
from discover_orch.staleness.file_hashes import FileHashes, mark_of
from discover_orch.staleness.last_result import FileStat

_UNKNOWN = Dataflow()
#: Of more folders than this that lie below one, that one is listened to with all below it.
MANY_FOLDERS = 16


class ObservedInputs:
    """`flows` is what each tool was seen to do at its last success. `has_news` until somebody takes them."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.flows: dict[str, Dataflow] = {}
        self.has_news = False
        self._failed: dict[str, Dataflow] = {}  # since their last success
        self._latest: dict[str, Observation] = {}  # in the latest run
        self._begun: set[str] = set()  # in the same
        self._database = ""
        self._known: dict[str, tuple[Tool, Dataflow, Dataflow, ToolInputs]] = {}

    def recall(self, flows: Mapping[str, Dataflow], database: str = "") -> None:
        """What is remembered from here on; of what is not, what was seen stays."""
        self.flows |= flows
        self._database = database or self._database

    def begin(self) -> None:
        """Another run."""
        self._latest.clear()
        self._begun.clear()

    def note_start(self, module: str) -> None:
        self._begun.add(module)

    def note_end(self, module: str, seen: Observation, *, has_passed: bool) -> None:
        """One that has failed needs what it met this time as well: it may be what makes it pass."""
        self._latest[module] = seen
        if seen.database:
            self.has_news |= seen.database != self._database
            self._database = seen.database
        kept = self.flows if has_passed else self._failed
        flow = _with_remembered(_flow(seen), kept.get(module))
        self.has_news |= kept.get(module, _UNKNOWN) != flow or (
            has_passed and module in self._failed
        )
        kept[module] = flow
        if has_passed:
            self._failed.pop(module, None)

    @property
    def nobodys(self) -> frozenset[str]:
        """The project's database, and what SQLite puts beside it."""
        if not self._database:
            return frozenset()
        return frozenset(self._database + end for end in ("", *SIDE_FILES))

    def find_inputs(self, tools: Iterable[Tool]) -> dict[str, ToolInputs]:
        """Of those of these tools that were seen to need anything."""
        found = {}
        for tool in tools:
            flow = self.flows.get(tool.module, _UNKNOWN)
            other = self._failed.get(tool.module, _UNKNOWN)
            if flow is _UNKNOWN and other is _UNKNOWN:
                continue
            known = self._known.get(tool.module)
            if known is None or known[0] is not tool or known[1:3] != (flow, other):
                known = (tool, flow, other, find_inputs(tool, flow, other))
                self._known[tool.module] = known
            found[tool.module] = known[3]
        return found

    def find_unseen_writes(self, modules: Iterable[str]) -> set[str]:
        """What those of these tools wrote at their last success, that began in the latest run and were killed
        before anybody could see what they did."""
        begun = self._begun - self._latest.keys()
        return self.find_writes(module for module in modules if module in begun)

    def find_writes(self, modules: Iterable[str]) -> set[str]:
        """What these tools wrote at their last success."""
        return {
            path for module in modules if module in self.flows for path in self.flows[module].writes
        }

    def find_changed_since(self, paths: Collection[str]) -> set[str]:
        """Of these, those that are not as tools met them in the latest run."""
        found = set()
        for seen in self._latest.values():
            for path, *mark in seen.read:
                if path in paths and self._mark(path) != tuple(mark):
                    found.add(path)
            for path in seen.missed:
                if path in paths and os.path.exists(os.path.join(self._root, path)):
                    found.add(path)
        return found

    def find_taken_in(
        self, paths: Collection[str], names: Collection[str], tools: Iterable[Tool]
    ) -> set[str]:
        """Of these data files, those that every tool which needs them has read in the latest run as they stand now:
        whoever changed them, it is done. `names` came or went in some folder."""
        wanted, moved = frozenset(paths), frozenset(names)
        done: set[str] = set()
        undone: set[str] = set()
        tools = tuple(tools)
        inputs = self.find_inputs(tools)
        for tool in tools:
            own = inputs.get(tool.module, ToolInputs())
            reads = wanted & own.reads
            if tool.inputs:
                reads |= {path for path in wanted if meets_input(path, tool.inputs)}
            lists = {path for path in moved & wanted if own.find_cause(frozenset(), (path,))}
            needs = reads | lists | (wanted & own.missed)
            if not needs:
                continue
            seen = self._latest.get(tool.module)
            met = self._find_met(seen, reads, lists) if seen is not None else set()
            done |= met
            undone |= needs - met
        return done - undone

    def _find_met(
        self, seen: Observation, reads: Collection[str], lists: Collection[str]
    ) -> set[str]:
        """What the tool has read as it stands, and seen in a folder whose names are still the same."""
        began = seen.began[0]
        marks = {path: (size, changed, inode) for path, size, changed, inode in seen.read}
        met = {
            path
            for path in reads
            if path in marks
            and self._mark(path) == marks[path]
            and began
            and self._changed(path) < began
        }
        if lists:
            file_hashes = FileHashes(self._root, self._database)
            same = {
                folder
                for folder, names in seen.listed
                if file_hashes.folder(folder, seen.written) == names
            }
            in_same = {path for path in lists if (path.rpartition("/")[0] or ".") in same}
            met = (met - (set(lists) - in_same)) | (in_same - (set(reads) - met))
        return met

    def _mark(self, path: str) -> FileStat | None:
        return mark_of(os.path.join(self._root, path))

    def _changed(self, path: str) -> int:
        try:
            return os.stat(os.path.join(self._root, path)).st_ctime_ns
        except OSError:
            return 0


def find_folders(inputs: ToolInputs) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where to listen for them: folders with all below them, and for themselves alone."""
    folders = {path.rpartition("/")[0] for path in inputs.reads | inputs.missed}
    folders |= {"" if folder == "." else folder for folder in inputs.folders}
    by_top: dict[str, list[str]] = {}
    for folder in sorted(folders):
        by_top.setdefault(folder.split("/", 1)[0], []).append(folder)
    deep = [os.path.commonpath(one) for one in by_top.values() if len(one) > MANY_FOLDERS]
    flat = [folder for one in by_top.values() if len(one) <= MANY_FOLDERS for folder in one]
    return tuple(deep), tuple(flat)


def _flow(seen: Observation) -> Dataflow:
    return Dataflow(
        reads=tuple(path for path, *_ in seen.read),
        writes=seen.written,
        tables_read=seen.tables_read,
        tables_written=seen.tables_written,
        folders=tuple(path for path, _ in seen.listed),
        missed=seen.missed,
        is_unclear=seen.is_unclear,
    )


def _with_remembered(flow: Dataflow, known: Dataflow | None) -> Dataflow:
    """What is remembered, where that is the same and more: what was read as shared code was loaded is seen of the tool
    alone that loaded it first. Where it is less by now, the memory of the run says so at its end."""
    if known is None or known.writes != flow.writes or known.tables_written != flow.tables_written:
        return flow
    return known if merge(known, flow) == known else flow
