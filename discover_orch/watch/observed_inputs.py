"""What tools were seen to do in a watch: what each needs beside its code, and what it read in the latest run.

It also finds data files that changed during a run and that all their readers have read already. Stats files and reads
folders; knows neither the order of tools nor when runs start.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping

from discover_orch.model.dataflow import Dataflow, merge
from discover_orch.model.observation import SIDE_FILES, FileStat, Observation
from discover_orch.model.tool import Tool
from discover_orch.staleness.affected import ToolInputs, find_inputs, meets_input
from discover_orch.staleness.file_hashes import FileHashes, read_file_stat

_UNKNOWN = Dataflow()
#: More folders than this below a common one are subscribed to through that one.
MANY_FOLDERS = 16


class ObservedInputs:
    """`flows`: tool → what it was seen to do at its last success. `has_new`: they changed since the owner last reset
    this flag."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.flows: dict[str, Dataflow] = {}
        self.has_new = False
        self._failed: dict[str, Dataflow] = {}  # since their last success
        self._latest: dict[str, Observation] = {}  # in the latest run
        self._started: set[str] = set()  # in the same
        self._database = ""
        self._known: dict[str, tuple[Tool, Dataflow, Dataflow, ToolInputs]] = {}

    def load(self, flows: Mapping[str, Dataflow], database: str = "") -> None:
        """Use these stored flows; flows that are not stored stay."""
        self.flows |= flows
        self._database = database or self._database

    def start_run(self) -> None:
        """Another run starts."""
        self._latest.clear()
        self._started.clear()

    def note_start(self, module: str) -> None:
        self._started.add(module)

    def note_end(self, module: str, seen: Observation, *, has_passed: bool) -> None:
        """A failed tool also needs what it read this time: a change of that may make it pass."""
        self._latest[module] = seen
        if seen.database:
            self.has_new |= seen.database != self._database
            self._database = seen.database
        kept = self.flows if has_passed else self._failed
        flow = _with_stored(_flow(seen), kept.get(module))
        self.has_new |= kept.get(module, _UNKNOWN) != flow or (
            has_passed and module in self._failed
        )
        kept[module] = flow
        if has_passed:
            self._failed.pop(module, None)

    @property
    def database_files(self) -> frozenset[str]:
        """The project's database, and the files that SQLite puts beside it."""
        if not self._database:
            return frozenset()
        return frozenset(self._database + end for end in ("", *SIDE_FILES))

    def find_inputs(self, tools: Iterable[Tool]) -> dict[str, ToolInputs]:
        """The inputs of those of these tools that were seen to have any."""
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
        """What tools that were killed in the latest run, before they could report, wrote at their last success."""
        started = self._started - self._latest.keys()
        return self.find_writes(module for module in modules if module in started)

    def find_writes(self, modules: Iterable[str]) -> set[str]:
        """What these tools wrote at their last success."""
        return {
            path for module in modules if module in self.flows for path in self.flows[module].writes
        }

    def find_changed_since(self, paths: Collection[str]) -> set[str]:
        """Those of these paths that changed since tools read or missed them in the latest run."""
        found = set()
        for seen in self._latest.values():
            for path, *mark in seen.read:
                if path in paths and self._mark(path) != tuple(mark):
                    found.add(path)
            for path in seen.missed:
                if path in paths and os.path.exists(os.path.join(self._root, path)):
                    found.add(path)
        return found

    def find_consumed(
        self, paths: Collection[str], names: Collection[str], tools: Iterable[Tool]
    ) -> set[str]:
        """Those of these data files whose current content every dependent tool read in the latest run, so that nothing
        is left to do. `names` appeared in or disappeared from some folder."""
        wanted, changed_names = frozenset(paths), frozenset(names)
        done: set[str] = set()
        undone: set[str] = set()
        tools = tuple(tools)
        inputs = self.find_inputs(tools)
        for tool in tools:
            own = inputs.get(tool.module, ToolInputs())
            reads = wanted & own.reads
            if tool.inputs:
                reads |= {path for path in wanted if meets_input(path, tool.inputs)}
            lists = {
                path for path in changed_names & wanted if own.find_cause(frozenset(), (path,))
            }
            needs = reads | lists | (wanted & own.missed)
            if not needs:
                continue
            seen = self._latest.get(tool.module)
            current = self._find_current(seen, reads, lists) if seen is not None else set()
            done |= current
            undone |= needs - current
        return done - undone

    def _find_current(
        self, seen: Observation, reads: Collection[str], lists: Collection[str]
    ) -> set[str]:
        """What the tool read and has not changed since, and the names in folders that are still the same."""
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
        return read_file_stat(os.path.join(self._root, path))

    def _changed(self, path: str) -> int:
        try:
            return os.stat(os.path.join(self._root, path)).st_ctime_ns
        except OSError:
            return 0


def find_folders(inputs: ToolInputs) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The folders to subscribe to for these inputs: with everything below them, and alone."""
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


def _with_stored(flow: Dataflow, known: Dataflow | None) -> Dataflow:
    """The stored flow, where it includes the new one.

    What shared code reads when it is loaded is observed of the first tool that loads it only, so a tool may seem to
    read less than before. If it really does, the run stores that at its end."""
    if known is None or known.writes != flow.writes or known.tables_written != flow.tables_written:
        return flow
    return known if merge(known, flow) == known else flow
