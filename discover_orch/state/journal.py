"""The journal of runs, `.orch/runs/`: a folder a run, with `events.jsonl` and a log for each tool.

In: documents and text as a run goes on; each is in the hands of the system when the call returns, so that what was
written survives a kill. Out: the runs as `history` reads them. Ids are growing whole numbers, not times: the clock may
go back. A journal that cannot be written is no reason to stop: its problem is kept to be told, and nothing is raised.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from discover_orch.model.errors import Problem
from discover_orch.state.process_identity import is_alive
from discover_orch.state.run_record import (
    RunRecord,
    has_clean_end,
    read_first_and_last,
    read_run,
    read_writer,
)
from discover_orch.state.store import FOLDER, UNFINISHED, file_name, make_folder, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import BufferedReader

RUNS = "runs"
EVENTS = "events.jsonl"
LOGS = "logs"
_APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_PIECE = 1 << 16
_encode = json.JSONEncoder(separators=(",", ":")).encode  # `dumps` would make one for each line


class Journal:
    """The journal of one run. `folder` is None where none could be made; `problem` is the first failure."""

    def __init__(self, run: str, folder: str | None, problem: Problem | None = None) -> None:
        self.run = run
        self.problem = problem
        self._folder = folder
        self._logs: dict[str, int] = {}
        self._events = -1
        if folder is not None:
            try:
                self._events = os.open(os.path.join(folder, EVENTS), _APPENDING, 0o644)
            except OSError as error:
                self._fail(error)

    def write(self, document: Mapping[str, object]) -> None:
        """One line; the end of a tool closes its log."""
        if self._events >= 0:
            try:
                line = _encode(document).encode() + b"\n"
                write_all(self._events, line)
                if os.fstat(self._events).st_nlink == 0:
                    raise FileNotFoundError(2, "its file was removed")
            except (OSError, TypeError, ValueError, RecursionError) as error:
                self._fail(error)
        module = document.get("module")
        if document.get("event") == "tool_finished" and isinstance(module, str):
            log = self._logs.pop(module, -1)
            if log >= 0:
                _close(log)

    def log(self, module: str, stream: str, text: str) -> None:
        """Appends what a tool printed; both streams are in one log, in the order in which they came."""
        if self._events < 0 or not text:
            return
        try:
            fd = self._logs.get(module, -1)
            if fd < 0:
                fd = self._logs[module] = self._open_log(module)
            write_all(fd, _encoded(text))
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        for fd in (self._events, *self._logs.values()):
            if fd >= 0:
                _close(fd)
        self._events = -1
        self._logs.clear()

    def _open_log(self, module: str) -> int:
        assert self._folder is not None
        path = _log_path(self._folder, module)
        try:
            return os.open(path, _APPENDING, 0o644)
        except FileNotFoundError:
            os.mkdir(os.path.dirname(path))
            return os.open(path, _APPENDING, 0o644)

    def _fail(self, error: Exception) -> None:
        self.problem = self.problem or _lost(error)
        self.close()


def begin_run(root: str, floor: int = 0) -> Journal:
    """The journal of a new run, whose id is above all that are there and above `floor`, the highest one that anything
    else remembers."""
    run = floor + 1
    try:
        make_folder(os.path.join(root, FOLDER))
        _sweep(os.path.join(root, FOLDER))
        runs = os.path.join(root, FOLDER, RUNS)
        os.makedirs(runs, exist_ok=True)
        run = max([floor, *map(int, find_runs(root))]) + 1
        while True:
            folder = os.path.join(runs, str(run))
            try:
                os.mkdir(folder)
                return Journal(str(run), folder)
            except FileExistsError:  # another process was faster
                run += 1
    except OSError as error:
        return Journal(str(run), None, _lost(error))


def prune(root: str, keep: int, current: str = "") -> None:
    """Removes the oldest runs beyond the newest `keep`, `current` never. What cannot be removed stays."""
    if os.path.islink(os.path.join(root, FOLDER, RUNS)):
        return
    for run in find_runs(root)[max(keep, 0) :]:
        if run == current:
            continue
        folder = _run_folder(root, run)
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, EVENTS))  # first: without it there is no such run
        for inner in (os.path.join(folder, LOGS), folder):
            _empty(inner)
            with contextlib.suppress(OSError):
                os.rmdir(inner)


def find_runs(root: str) -> list[str]:
    """The ids of the runs that are kept, newest first."""
    try:
        with os.scandir(os.path.join(root, FOLDER, RUNS)) as entries:
            found = [
                entry.name
                for entry in entries
                if entry.name.isascii()
                and entry.name.isdecimal()
                and entry.name[0] != "0"
                and entry.is_dir(follow_symlinks=False)
            ]
    except (OSError, ValueError):
        return []
    return sorted(found, key=int, reverse=True)


def has_begun(root: str, run: str) -> bool:
    """Whether anything was written of it: a run may be killed right after its folder was made."""
    try:
        return os.path.getsize(os.path.join(_run_folder(root, run), EVENTS)) > 0
    except OSError:
        return False


def read_record(root: str, run: str) -> RunRecord | None:
    """The run with all its tools; None where there is none, or none that can be read."""
    try:
        with _open_events(root, run) as file:
            lines = file.readlines()
    except (OSError, MemoryError):
        return None
    writer = read_writer(lines)
    record = read_run(
        lines, writer is not None and is_alive(writer.pid, writer.process, writer.boot)
    )
    return None if record is None else replace(record, run=run)


def has_ended(root: str, run: str) -> bool:
    """Whether its end is recorded, and every tool that began has one: the last line alone says so."""
    try:
        with _open_events(root, run) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _PIECE, 0))
            return has_clean_end(file.read().rpartition(b"\n")[0].rpartition(b"\n")[2])
    except OSError:
        return False


def read_summary(root: str, run: str) -> RunRecord | None:
    """The run without its tools where its end is recorded, from two lines; else as `read_record` has it."""
    try:
        with _open_events(root, run) as file:
            first = file.readline()
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _PIECE, 0))
            last = file.read().splitlines(keepends=True)[-1:]
    except (OSError, MemoryError):
        return None
    record = read_first_and_last(first, last[0]) if last else None
    return read_record(root, run) if record is None else replace(record, run=run)


def find_log(root: str, run: str, module: str) -> str | None:
    """The path of what a tool printed in a run; None where it printed nothing."""
    path = _log_path(_run_folder(root, run), module)
    return path if os.path.isfile(path) else None


def read_log(path: str) -> Iterator[bytes]:
    """Piece by piece, as it was kept: UTF-8, and whatever bytes a tool wrote between."""
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            yield piece


def _run_folder(root: str, run: str) -> str:
    return os.path.join(root, FOLDER, RUNS, run)


def _log_path(folder: str, module: str) -> str:
    return os.path.join(folder, LOGS, file_name(module) + ".log")


def _open_events(root: str, run: str) -> BufferedReader:
    """Not blocking: a pipe of that name would wait for a writer."""
    path = os.path.join(_run_folder(root, run), EVENTS)
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def _encoded(text: str) -> bytes:
    """Bytes that were no UTF-8 become what they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _close(fd: int) -> None:
    with contextlib.suppress(OSError):  # some file systems tell only here that they are full
        os.close(fd)


def _lost(error: Exception) -> Problem:
    reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return Problem(
        code="memory",
        message=f"the history of this run cannot be kept: {reason}",
        hint=f"the run goes on; orch needs a folder {FOLDER} in the project that it can write to",
        severity="warning",
    )


def _empty(folder: str) -> None:
    """Removes what is directly in a folder, folders left out; a link is removed and not followed."""
    try:
        if os.path.islink(folder):
            os.unlink(folder)
            return
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, name))


def _sweep(folder: str) -> None:
    """Removes the unfinished files of processes that are no more."""
    try:
        with os.scandir(folder) as entries:
            inner = [
                entry.path
                for entry in entries
                if entry.name != RUNS and entry.is_dir(follow_symlinks=False)
            ]
        for place in (folder, *inner):
            for name in os.listdir(place):
                if name.endswith(UNFINISHED) and not _is_being_written(name):
                    os.unlink(os.path.join(place, name))
    except OSError:  # no reason not to run
        pass


def _is_being_written(name: str) -> bool:
    """`index.4711.tmp`, `4711.tmp`: by that process, if it is another one that is there."""
    pid = name.removesuffix(UNFINISHED).rpartition(".")[2]
    if not (pid.isascii() and pid.isdecimal()):
        return True  # not ours
    return int(pid) != os.getpid() and is_alive(int(pid), None, None)


def timestamp() -> str:
    """Local time with its offset, to the second: `2024-01-31T12:00:00+01:00`."""
    text = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return f"{text[:-2]}:{text[-2:]}"
