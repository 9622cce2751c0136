"""What `.orch/` has for the report of a run: its record, the latest earlier runs of its tools, data flow, the first
rows of the tables that they wrote, and logs.

The logs are packed so that a page can hold them: gzip and base64.
"""

from __future__ import annotations

import binascii
import os
import zlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from msgspec import Struct

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.encoding import decode
from discover_orch.model.tool_events import TableHead, TablesMade, ToolEnd, UsedData
from discover_orch.state.journal import find_log, find_runs, read_lines
from discover_orch.state.recorded_run import RunRecord, ToolRecord, read_ends
from discover_orch.state.sealed_files import open_nonblocking, read_flows

#: Earlier runs of each tool that a report shows, and the runs that are searched for them.
SHOWN_RUNS, READ_RUNS = 10, 30
#: Bytes of the end of a log that is kept of a longer one.
LONGEST_LOG = 20 << 20
#: Bytes and lines of the end that is shown at once.
TAIL, TAIL_LINES = 4000, 20
_TABLES = b'{"event":"tables_made"'
_GZIP = 31  # the format, as zlib names it


class PackedLog(Struct, frozen=True, kw_only=True):
    """`packed` is the log of `size` bytes, without the `cut` bytes at its start that are left out; `tail` has its last
    lines."""

    packed: str
    size: int
    cut: int = 0
    tail: str = ""


class ReportSource(Struct, frozen=True, kw_only=True):
    """`earlier` has by module the ends of its latest successes before this run, oldest first; `used` what each tool
    read and wrote then; `tables` those that each tool of the run wrote, or had written where it was fresh; `logs`
    those of the tools that printed something."""

    record: RunRecord
    earlier: Mapping[str, Sequence[ToolEnd]]
    used: Mapping[str, UsedData | Dataflow]
    logs: Mapping[str, PackedLog]
    tables: Mapping[str, Sequence[TableHead]] = {}


def read_report_source(root: str, record: RunRecord) -> ReportSource:
    """Of a run that is in the journal."""
    modules = [tool.module for tool in record.tools if tool.has_started]
    logs = {module: _read_log(find_log(root, record.run, module)) for module in modules}
    earlier, flows = _read_earlier(root, record), read_flows(root)
    return ReportSource(
        record=record,
        earlier={module: earlier[module] for module in modules},
        used={
            tool.module: _find_used(tool, earlier[tool.module], flows.get(tool.module))
            for tool in record.tools
        },
        logs={module: log for module, log in logs.items() if log is not None},
        tables=_read_tables(root, record),
    )


def _read_tables(root: str, record: RunRecord) -> Mapping[str, Sequence[TableHead]]:
    """Of the tools that have passed: where the run is one transaction, it may have been rolled back later. Of those
    that were fresh, as their latest success left them."""
    passed = {tool.module for tool in record.tools if tool.status == "passed"}
    found = _find_tables(read_lines(root, record.run), passed)
    fresh = {tool.module for tool in record.tools if tool.status == "fresh"}
    for run in _earlier_runs(root, record) if fresh else ():
        lines = read_lines(root, run)
        ended = {end.module for end in read_ends(lines) if end.status == "passed"} & fresh
        found.update(_find_tables(lines, ended))
        fresh -= ended
        if not fresh:
            break
    return found


def _find_tables(
    lines: Sequence[bytes], modules: Collection[str]
) -> dict[str, Sequence[TableHead]]:
    """Those that these tools made, by the lines of one journal."""
    found: dict[str, Sequence[TableHead]] = {}
    for line in lines:
        if line.startswith(_TABLES):
            with suppress(ValueError, RecursionError):  # a damaged line
                made: TablesMade = decode(line, TablesMade)
                if made.module in modules:
                    found[made.module] = made.tables
    return found


def _earlier_runs(root: str, record: RunRecord) -> list[str]:
    return [run for run in find_runs(root) if int(run) < int(record.run)][:READ_RUNS]


def _find_used(
    tool: ToolRecord, earlier: Sequence[ToolEnd], last: Dataflow | None
) -> UsedData | Dataflow:
    """What the tool read and wrote in this run. Of a tool that did not succeed in it, what it read, and the rest as in
    its latest success before; `last` is what was last observed, for runs of which nothing is known."""
    if tool.data != UsedData() or (tool.status == "passed" and tool.seen is not None):
        return tool.data
    known = [end.data for end in earlier if end.seen is not None or end.data != UsedData()]
    usual = known[-1] if known else last or UsedData()
    files = tool.seen.names("file", "read", "opened") if tool.seen else ()
    tables = tool.seen.names("table", "read") if tool.seen else ()
    if not (files or tables):
        return usual
    return UsedData(
        files_read=files,
        files_written=usual.files_written,
        tables_read=tables,
        tables_written=usual.tables_written,
    )


def _read_earlier(root: str, record: RunRecord) -> Mapping[str, Sequence[ToolEnd]]:
    """The latest successes of its tools before this run, oldest first; of one that did not start at least one."""
    runs = _earlier_runs(root, record)
    found: dict[str, list[ToolEnd]] = {tool.module: [] for tool in record.tools}
    needed = {tool.module: SHOWN_RUNS if tool.has_started else 1 for tool in record.tools}
    open_count = len(found)
    for run in runs:
        for end in read_ends(read_lines(root, run)):
            ends = found.get(end.module)
            if ends is not None and end.status == "passed" and len(ends) < SHOWN_RUNS:
                ends.append(end)
                open_count -= len(ends) == needed[end.module]
        if open_count <= 0:
            break
    return {module: ends[::-1] for module, ends in found.items()}


def _read_log(path: str | None) -> PackedLog | None:
    """None for a log that is empty, or cannot be read."""
    try:
        with open(path or "", "rb", opener=open_nonblocking) as file:
            cut = max(os.fstat(file.fileno()).st_size - LONGEST_LOG, 0)
            file.seek(cut)
            data = file.read()
    except OSError:
        return None
    packed = binascii.b2a_base64(zlib.compress(data, wbits=_GZIP), newline=False).decode("ascii")
    lines = data[-TAIL:].decode("utf-8", "replace").splitlines()[-TAIL_LINES:]
    return (
        PackedLog(packed=packed, size=len(data), cut=cut, tail="\n".join(lines)) if data else None
    )
