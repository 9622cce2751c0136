"""The files that the tools of a run made, for its report: whether they are as that run left them, and what is in
those that a page can show.

By what is remembered of the tools. Reads these files and runs no code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from posixpath import splitext

from msgspec import Struct

from discover_orch.model.items import last_items
from discover_orch.model.keys import Key, is_file_key, path_of
from discover_orch.model.observation import WRITTEN, Observation
from discover_orch.staleness.input_versions import Versions
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.tool_result import ABSENT, DATABASE, EXISTS, ToolResult, Write, run_of
from discover_orch.staleness.writers import Writers
from discover_orch.state.recorded_run import RunRecord, ToolRecord
from discover_orch.state.sealed_files import open_nonblocking, read_flows

#: Items of one tool whose results are shown.
MOST_OF_ITEMS = 3
#: Bytes: of one file that a page shows, of the start of one whose first rows are shown, and of all files of a page.
MOST_SHOWN, START, MOST_IN_ALL = 200_000, 64_000, 5_000_000
_IMAGES, _TEXTS = (
    ["png", "jpg", "jpeg", "gif", "webp", "svg"],
    ["txt", "md", "markdown", "rst", "json"],
)
#: By the end of a name, how a page shows the file.
KINDS = {
    **dict.fromkeys(_IMAGES, "image"),
    **dict.fromkeys(_TEXTS, "text"),
    **dict.fromkeys(("html", "htm"), "page"),
    **dict.fromkeys(("csv", "tsv"), "rows"),
}


class MadeFile(Struct, frozen=True, kw_only=True):
    """A file that a tool made. `change` says what became of it since; it is empty where the file is as the run left
    it. `data` is what a page shows of it, in the way of its `kind`; None where that is nothing."""

    path: str
    size: int = 0
    change: str = ""
    kind: str = ""
    data: bytes | None = None


def read_made_files(root: str, record: RunRecord) -> dict[str, tuple[MadeFile, ...]]:
    """By module, of the tools that have passed in this run or were fresh, in the order of the page; of items the last
    ones."""
    tools = [
        tool
        for tool in record.tools
        if tool.status == "fresh" or (tool.status == "passed" and _has_written(tool))
    ]
    last = {*last_items((tool.module for tool in tools), MOST_OF_ITEMS)}
    tools = [tool for tool in tools if tool.module in last]
    reader = _Reader(root, record) if tools else None
    return {tool.module: tuple(reader.find(tool)) for tool in tools} if reader else {}


def _has_written(tool: ToolRecord) -> bool:
    seen = tool.seen or Observation()
    return bool(tool.data.files_written or seen.find("file", *WRITTEN))


class _Reader:
    """Of one run. `_room` is for bytes of files that are not read yet."""

    def __init__(self, root: str, record: RunRecord) -> None:
        self._root, self._run, self._room = root, int(record.run), MOST_IN_ALL
        self._names = {tool.module: tool.name for tool in record.tools}
        self._results = Memory(root).results({*self._names, *read_flows(root)})
        self._writers = Writers(enumerate(self._results.values()))

    def find(self, tool: ToolRecord) -> Iterator[MadeFile]:
        result = self._results.get(tool.module) or ToolResult(module=tool.module)
        for key, write in sorted(result.writes.items()):
            path = path_of(key)
            is_file = is_file_key(key) and write.mark not in (ABSENT, EXISTS)
            if not is_file or write.version == DATABASE:
                continue
            is_fresh = tool.status == "fresh"  # what it made is of an earlier run
            if is_fresh or run_of(write.seq) == self._run or path in tool.data.files_written:
                change = self._find_change(tool, key, write)
                yield MadeFile(path=path, change=change) if change else self._read(path)

    def _find_change(self, tool: ToolRecord, key: Key, write: Write) -> str:
        """What became of the file since the tool wrote it in this run."""
        run = run_of(write.seq)
        if run > self._run or (run < self._run and tool.status != "fresh"):
            return f"replaced by run {run}"
        versions = Versions(self._root)
        mark = versions.mark(key)
        if mark in (ABSENT, EXISTS):
            return "deleted since" if mark == ABSENT else "not a file any more"
        has_same_size = mark.split()[0] == write.mark.split()[0]
        if mark == write.mark or (has_same_size and versions.version(key) == write.version):
            return "edited since, and accepted" if write.is_by_hand else ""
        last = self._writers.last(key)
        if last is None or last.module == tool.module:
            return "changed since"
        run = run_of(last.write.seq)
        return f"replaced by {f'run {run}' if run > self._run else self._names[last.module]}"

    def _read(self, path: str) -> MadeFile:
        """The file, with what is shown of it."""
        kind, data = KINDS.get(splitext(path)[1][1:].lower(), ""), None
        most = START if kind == "rows" else MOST_SHOWN
        try:
            with open(os.path.join(self._root, path), "rb", opener=open_nonblocking) as file:
                size = os.fstat(file.fileno()).st_size
                is_shown = kind == "rows" or (kind and size <= most)
                if is_shown and min(size, most) <= self._room:
                    data = file.read(most)
                    self._room -= len(data)
        except OSError as error:
            return MadeFile(path=path, change=f"cannot be read: {error.strerror}")
        return MadeFile(path=path, size=size, kind=kind, data=data)
