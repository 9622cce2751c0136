"""The journal of runs, `.orch/runs/`: a folder for each run, with `events.jsonl` and a log for each tool.

What is written is with the system when the call returns, so that it survives a kill. Ids of runs are growing whole
numbers, not times, since a clock can go back. A run without an end is going on while the process that writes it lives.
Nothing here stops a run: what cannot be written becomes a `Problem`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from discover_orch.model.encoding import encode
from discover_orch.model.errors import Problem
from discover_orch.state.lock import is_alive
from discover_orch.state.recorded_run import (
    RunRecord,
    ToolRecord,
    encode_end,
    has_clean_end,
    read_first_and_last,
    read_run,
)
from discover_orch.state.sealed_files import (
    FOLDER,
    file_name,
    make_folder,
    open_nonblocking,
    refuse_link,
    write_all,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import BufferedReader

#: The code of the problem of a run that cannot be recorded.
UNRECORDED = "unrecorded"
RUNS = "runs"
EVENTS = "events.jsonl"
#: The units of an age.
_SECONDS = {"d": 86400, "h": 3600}
LOGS = "logs"
REPORT = "report.html"
_APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_PIECE = 1 << 16
#: Digits of the number of a run. A folder with a longer one is not a run.
_LONGEST_ID = 9


class Journal:
    """The journal of one run. `folder` is None where none could be made; `problem` is the first failure to write.
    `keep` gets each line, also those that cannot be written."""

    def __init__(
        self,
        run: str,
        folder: str | None,
        problem: Problem | None = None,
        *,
        keep: Callable[[bytes], object] | None = None,
    ) -> None:
        self.run = run
        self.problem = problem
        self._folder, self._keep = folder, keep
        self._logs: dict[str, int] = {}
        self._events = -1
        if folder is not None:
            try:
                self._events = os.open(os.path.join(folder, EVENTS), _APPENDING, 0o644)
            except OSError as error:
                self._fail(error)

    def write(self, document: Mapping[str, object]) -> None:
        """Appends a line. The end of a tool closes its log."""
        if self._events >= 0 or self._keep is not None:
            try:
                line = encode(document) + b"\n"
                if self._keep is not None:
                    self._keep(line)
                if self._events >= 0:
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
        """Appends what a tool printed, both streams to one log."""
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


def begin_run(root: str, floor: int = 0, keep: Callable[[bytes], object] | None = None) -> Journal:
    """The journal of a new run. Its id is higher than all that are there, and than `floor`. `keep` is as of
    `Journal`."""
    run = floor + 1
    try:
        make_folder(os.path.join(root, FOLDER))
        runs = os.path.join(root, FOLDER, RUNS)
        refuse_link(runs)
        os.makedirs(runs, exist_ok=True)
        run = max([floor, *map(int, find_runs(root))]) + 1
        while True:
            folder = os.path.join(runs, str(run))
            try:
                os.mkdir(folder)
                return Journal(str(run), folder, keep=keep)
            except FileExistsError:  # another process was first
                run += 1
    except OSError as error:
        return Journal(str(run), None, _lost(error), keep=keep)


def prune(root: str, keep: int | str, current: str = "", now: float = 0.0) -> None:
    """Removes all runs but `current` and the newest `keep`, or those that ended in this time before `now`, as `90d`.
    What cannot be removed stays."""
    runs = find_runs(root)
    if isinstance(keep, str) and keep[-1] in _SECONDS:
        begin = now - int(keep[:-1]) * _SECONDS[keep[-1]]
        old = [run for run in runs if _last_written(root, run) < begin]
    else:
        old = runs[max(int(keep), 0) :]
    for run in old:
        if run == current:
            continue
        folder = _run_folder(root, run)
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, EVENTS))  # first, since without it there is no run
        for inner in (os.path.join(folder, LOGS), folder):
            _empty(inner)
            with contextlib.suppress(OSError):
                os.rmdir(inner)


def _last_written(root: str, run: str) -> float:
    """In seconds since 1970; 0 where the run has no journal."""
    try:
        return os.stat(os.path.join(_run_folder(root, run), EVENTS)).st_mtime
    except OSError:
        return 0.0


def find_runs(root: str) -> list[str]:
    """The ids of the runs that are kept, newest first."""
    try:
        for folder in (os.path.join(root, FOLDER), runs := os.path.join(root, FOLDER, RUNS)):
            refuse_link(folder)
        with os.scandir(runs) as entries:
            found = [
                entry.name
                for entry in entries
                if entry.name.isascii()
                and entry.name.isdecimal()
                and entry.name[0] != "0"
                and len(entry.name) <= _LONGEST_ID
                and entry.is_dir(follow_symlinks=False)
            ]
    except (OSError, ValueError):
        return []
    return sorted(found, key=int, reverse=True)


def has_begun(root: str, run: str) -> bool:
    """Whether anything was written: a run may be killed right after its folder was made."""
    try:
        return os.path.getsize(os.path.join(_run_folder(root, run), EVENTS)) > 0
    except OSError:
        return False


def read_record(root: str, run: str) -> RunRecord | None:
    """The run with all its tools; None where there is none that can be read."""
    record = read_run(read_lines(root, run), is_alive)
    return None if record is None else replace(record, run=run)


def read_records(root: str) -> Iterator[RunRecord]:
    """All runs that can be read, the newest first."""
    return filter(None, (read_record(root, run) for run in find_runs(root)))


def read_open_run(root: str, runs: Sequence[str] | None = None) -> RunRecord | None:
    """The latest of the `runs`, by default of all, if it has no end: it was killed, or is in progress."""
    runs = find_runs(root) if runs is None else runs
    record = read_record(root, runs[0]) if runs and not has_ended(root, runs[0]) else None
    return record if record is not None and record.status in ("killed", "running") else None


def read_lines(root: str, run: str) -> list[bytes]:
    """The lines of the journal of a run; none where there is no such run."""
    try:
        with _open_events(root, run) as file:
            return file.readlines()
    except OSError:
        return []


def write_ends(root: str, run: str, tools: Iterable[ToolRecord]) -> None:
    """Adds to the journal of a run that was killed how these tools ended, if that can be written."""
    with contextlib.suppress(OSError):
        fd = os.open(os.path.join(_run_folder(root, run), EVENTS), _APPENDING, 0o644)
        try:  # behind a torn line, too
            write_all(fd, b"".join(b"\n%s\n" % encode_end(tool) for tool in tools))
        finally:
            os.close(fd)


def has_ended(root: str, run: str) -> bool:
    """Whether the end of the run, and of every tool that began, is recorded. Reads only the last line."""
    try:
        with _open_events(root, run) as file:
            return has_clean_end(_read_last_line(file))
    except OSError:
        return False


def read_summary(root: str, run: str) -> RunRecord | None:
    """The run without its tools, from its first and last line; with its tools where its end is not recorded."""
    try:
        with _open_events(root, run) as file:
            record = read_first_and_last(file.readline(), _read_last_line(file))
    except OSError:
        return None
    return read_record(root, run) if record is None else replace(record, run=run)


def find_log(root: str, run: str, module: str) -> str | None:
    """The path of the log of a tool; None where it printed nothing."""
    path = _log_path(_run_folder(root, run), module)
    return path if os.path.isfile(path) else None


def read_log(path: str) -> Iterator[bytes]:
    """The log, some lines at a time: UTF-8, or whatever the tool wrote."""
    with open(path, "rb", opener=open_nonblocking) as file:
        while lines := file.readlines(_PIECE):
            yield b"".join(lines)


def _run_folder(root: str, run: str) -> str:
    return os.path.join(root, FOLDER, RUNS, run)


def report_path(root: str, run: str) -> str:
    """Where the report page of a run is written."""
    return os.path.join(_run_folder(root, run), REPORT)


def _log_path(folder: str, module: str) -> str:
    return os.path.join(folder, LOGS, file_name(module) + ".log")


def _open_events(root: str, run: str) -> BufferedReader:
    return open(os.path.join(_run_folder(root, run), EVENTS), "rb", opener=open_nonblocking)


def _read_last_line(file: BufferedReader) -> bytes:
    """With its end; a line without one before it was torn off."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _PIECE, 0))
    data = file.read()
    lines = data[: data.rfind(b"\n") + 1]
    return lines[lines.rfind(b"\n", 0, -1) + 1 :]


def _encoded(text: str) -> bytes:
    """Bytes that are not UTF-8 come as surrogates and become the same bytes again."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _close(fd: int) -> None:
    with contextlib.suppress(OSError):  # some file systems only report here that they are full
        os.close(fd)


def _lost(error: Exception) -> Problem:
    reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
    remedy = f"make {FOLDER} writable, or free space on its disk"
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        remedy = "put a folder in place of the link"
    return Problem(
        code=UNRECORDED,
        message=f"cannot write the history of this run: {reason}",
        hint=f"the run continues; {remedy}",
        severity="warning",
    )


def _empty(folder: str) -> None:
    """Removes the files in a folder. A link in place of the folder is removed and not followed."""
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


def timestamp() -> str:
    """Local time with its offset, to the second: `2024-01-31T12:00:00+01:00`."""
    text = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return f"{text[:-2]}:{text[-2:]}"
