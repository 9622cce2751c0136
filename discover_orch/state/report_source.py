"""What `.orch/` has for the report of a run: its record, the latest earlier runs of its tools, data flow, and logs.

The logs are packed so that a page can hold them: several in one block, gzip and base64.
"""

from __future__ import annotations

import binascii
import os
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from discover_orch.model.dataflow import Dataflow
from discover_orch.state.flows import read_flows
from discover_orch.state.journal import find_runs, log_folder, log_name, read_lines
from discover_orch.state.read_run import read_ends
from discover_orch.state.run_record import RunRecord, ToolRecord
from discover_orch.state.store import open_nonblocking

#: Earlier runs of each tool that a report shows, and the runs that are searched for them.
SHOWN_RUNS, READ_RUNS = 10, 30
#: Bytes of logs in one block, of the end of a log that is kept of a longer one, and of a short log.
BLOCK, LONGEST_LOG, SHORT = 1 << 19, 20 << 20, 1 << 14
#: Bytes and lines of the end that is shown at once.
TAIL, TAIL_LINES = 4000, 20


class LogPlace(Struct, frozen=True, kw_only=True):
    """Where a log is: in which block, from which byte, how many bytes; `cut` bytes of its start are left out."""

    block: int
    start: int
    size: int
    cut: int = 0


class PackedLogs(Struct, frozen=True, kw_only=True):
    """`blocks` are gzip in base64; `places` and `tails` (the last lines, of some tools only) are by module."""

    blocks: tuple[str, ...] = ()
    places: Mapping[str, LogPlace] = {}
    tails: Mapping[str, str] = {}


class ReportSource(Struct, frozen=True, kw_only=True):
    """`earlier` has by module the ends of its latest successes before this run, oldest first; `flows` what was last
    observed of each tool."""

    record: RunRecord
    earlier: Mapping[str, Sequence[ToolRecord]]
    flows: Mapping[str, Dataflow]
    logs: PackedLogs


def read_report_source(
    root: str, record: RunRecord, earlier: Mapping[str, Sequence[ToolRecord]] | None = None
) -> ReportSource:
    """Of a run that is in the journal; `earlier` if `read_earlier` has been called already."""
    failed = [tool.module for tool in record.tools if tool.status in ("failed", "unknown")]
    modules = [tool.module for tool in record.tools if tool.has_started]
    return ReportSource(
        record=record,
        earlier=read_earlier(root, record.run, modules) if earlier is None else earlier,
        flows=read_flows(root),
        logs=_pack_logs(root, record.run, modules, failed),
    )


def read_earlier(
    root: str, current: str, modules: Sequence[str]
) -> Mapping[str, Sequence[ToolRecord]]:
    """The latest successes of these tools before the run `current`, oldest first."""
    runs = [run for run in find_runs(root) if int(run) < int(current)][:READ_RUNS]
    found: dict[str, list[ToolRecord]] = {module: [] for module in modules}
    open_count = len(found)
    for run in runs:
        for end in read_ends(read_lines(root, run)):
            ends = found.get(end.module)
            if ends is not None and end.status == "passed" and len(ends) < SHOWN_RUNS:
                ends.append(end)
                open_count -= len(ends) == SHOWN_RUNS
        if open_count <= 0:
            break
    return {module: ends[::-1] for module, ends in found.items()}


def _pack_logs(root: str, run: str, modules: Iterable[str], failed: Collection[str]) -> PackedLogs:
    folder = log_folder(root, run)
    try:
        there = {*os.listdir(folder)}
    except OSError:
        return PackedLogs()
    blocks: list[str] = []
    places: dict[str, LogPlace] = {}
    tails: dict[str, str] = {}
    pieces: list[bytes] = []
    size = 0
    for module in modules:
        name = log_name(module)
        data, cut = _read_end(os.path.join(folder, name)) if name in there else (b"", 0)
        if not data:
            continue
        places[module] = LogPlace(block=len(blocks), start=size, size=len(data), cut=cut)
        if module in failed:
            lines = data[-TAIL:].decode("utf-8", "replace").splitlines()
            tails[module] = "\n".join(lines[-TAIL_LINES:])
        pieces.append(data)
        size += len(data)
        if size >= BLOCK:
            blocks.append(_pack(pieces))
            pieces, size = [], 0
    if pieces:
        blocks.append(_pack(pieces))
    return PackedLogs(blocks=tuple(blocks), places=places, tails=tails)


def _read_end(path: str) -> tuple[bytes, int]:
    """The log, or the end of a long one, and how many bytes before it are left out. Most logs are short: they are read
    by one call."""
    try:
        fd = open_nonblocking(path, os.O_RDONLY)
    except OSError:
        return b"", 0
    try:
        data = os.read(fd, SHORT)
        if len(data) < SHORT:
            return data, 0
        cut = max(os.fstat(fd).st_size - LONGEST_LOG, 0)
        os.lseek(fd, cut, os.SEEK_SET)
        with open(fd, "rb", buffering=0, closefd=False) as file:
            return file.readall(), cut
    except OSError:
        return b"", 0
    finally:
        os.close(fd)


def _pack(pieces: Sequence[bytes]) -> str:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # 31: the format of gzip
    packed = b"".join([*map(packer.compress, pieces), packer.flush()])
    return binascii.b2a_base64(packed, newline=False).decode("ascii")
