"""The files that the tools of a run made, for its report: whether they are as that run left them, and what is in
those that a page can show.

By what is remembered of the tools. Reads these files and runs no code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from posixpath import splitext
from stat import S_ISREG

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.observation import WRITTEN, Observation
from discover_orch.staleness.fingerprint import (
    ABSENT,
    DATABASE,
    EXISTS,
    ToolResult,
    Write,
    run_of,
)
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.versions import Versions, read_mark
from discover_orch.state.run_record import RunRecord, ToolRecord
from discover_orch.state.store import open_nonblocking, read_flows

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
    """By module, of the tools that have passed in this run, in the order of the page."""
    reader, found = _Reader(root, record), {}
    for tool in record.tools:
        seen = tool.seen or Observation()
        has_written = tool.data.files_written or seen.find("file", *WRITTEN)
        if tool.status == "passed" and has_written:
            found[tool.module] = tuple(reader.find(tool))
    return found


class _Reader:
    """Of one run. `_room` is for bytes of files that are not read yet."""

    def __init__(self, root: str, record: RunRecord) -> None:
        self._root, self._run, self._memory = root, int(record.run), Memory(root)
        self._names = {tool.module: tool.name for tool in record.tools}
        self._room = MOST_IN_ALL

    @cached_property
    def _flows(self) -> Mapping[str, Dataflow]:
        return read_flows(self._root)

    def _result(self, module: str) -> ToolResult:
        return self._memory.results([module]).get(module) or ToolResult(module=module)

    def find(self, tool: ToolRecord) -> Iterator[MadeFile]:
        result = self._result(tool.module)
        for key, write in sorted(result.writes.items()):
            path, run = key.partition(":")[2], run_of(write.seq)
            is_file = key.startswith("file:") and write.mark not in (ABSENT, EXISTS)
            if not is_file or write.evidence == "once" or write.version == DATABASE:
                continue
            if run == self._run:
                change = self._find_change(tool, result, path, write)
                yield self._read(MadeFile(path=path, change=change))
            elif path in tool.data.files_written:
                yield MadeFile(path=path, change=f"replaced by run {run}")

    def _find_change(self, tool: ToolRecord, result: ToolResult, path: str, write: Write) -> str:
        """What became of the file since the tool wrote it."""
        full = os.path.join(self._root, path)
        mark = read_mark(full)
        if mark == ABSENT:
            return "deleted since"
        if mark == EXISTS:
            return "not a file any more"
        if mark == write.mark:
            # What `orch accept` has found there counts as if the tool had left it.
            is_accepted = result.success is not None and result.success.is_accepted
            ended = tool.time.timestamp() if tool.time else 0.0
            is_edited = is_accepted and int(mark.split()[-1]) > ended * 1e9
            return "edited since, and accepted" if is_edited else ""
        has_same_size = mark.split()[0] == write.mark.split()[0]
        if has_same_size and Versions(self._root).file(path)[0] == write.version:
            return ""
        return self._find_writer(tool.module, path, write)

    def _find_writer(self, module: str, path: str, write: Write) -> str:
        """Which tool replaced the file."""
        others = [one for one, flow in self._flows.items() if path in flow.writes and one != module]
        rows = [(self._result(one).writes.get(f"file:{path}"), one) for one in others]
        later = [(one.seq, name) for one, name in rows if one is not None and one.seq > write.seq]
        if not later:
            return "changed since"
        seq, name = max(later)
        run = run_of(seq)
        return f"replaced by {self._names.get(name, name) if run == self._run else f'run {run}'}"

    def _read(self, file: MadeFile) -> MadeFile:
        """The same with its size, and with what is shown of it."""
        if file.change:
            return file
        kind = KINDS.get(splitext(file.path)[1][1:].lower(), "")
        most = START if kind == "rows" else MOST_SHOWN
        try:
            with open(os.path.join(self._root, file.path), "rb", opener=open_nonblocking) as opened:
                found = os.fstat(opened.fileno())
                if not S_ISREG(found.st_mode):
                    return replace(file, change="not a file any more")
                file = replace(file, size=found.st_size)
                is_shown = kind == "rows" or found.st_size <= most
                if not kind or not is_shown or min(found.st_size, most) > self._room:
                    return file
                data = opened.read(most)
        except OSError as error:
            return replace(file, change=f"cannot be read: {error.strerror}")
        self._room -= len(data)
        return replace(file, kind=kind, data=data)
