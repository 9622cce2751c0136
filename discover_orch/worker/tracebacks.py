"""How the user's code failed: an exception as a `Failure`, the exit of a process as a sentence.

A traceback shows the user's frames from `run()` on, with source lines, causes and groups. Frames in libraries
are folded into one line unless all frames are wanted. Values of local variables are never shown. An exception
that misbehaves (its `__str__` raises) only makes the description poorer.
"""

from __future__ import annotations

import os
import signal
import sys

from discover_orch.model.errors import Failure
from discover_orch.model.search_path import OWN_FOLDER, STANDARD_LIBRARY
from discover_orch.worker.protocol import CHANNEL_LOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from traceback import FrameSummary, StackSummary, TracebackException
    from typing import Any, TypeVar

    Frame = TypeVar("Frame")

LONGEST_MESSAGE = 4000
FROZEN = "<frozen "
NO_INPUT = "a tool has no standard input; pass the value as a parameter of run()"
LOST_STATUS = -1  # wait status of a process that another part of the program has waited for
CRASHES = frozenset(
    (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGSYS)
)


def describe_exception(
    error: BaseException, root: str, hint: str = "", *, all_frames: bool = False
) -> Failure:
    """The failure that an exception of the user's code means; paths are relative to `root`."""
    try:
        return _describe_fully(error, root, hint, all_frames)
    except BaseException:  # methods of the user's exception class can raise anything
        path, line = _find_location_plainly(error, root)
        return Failure(
            kind="exception",
            type=type(error).__name__,
            message=_read_message(error) or "(the exception could not be described)",
            path=path,
            line=line,
            hint=hint,
        )


def _describe_fully(error: BaseException, root: str, hint: str, all_frames: bool) -> Failure:
    import traceback  # takes 13 ms, only needed for a failure

    shown = traceback.TracebackException.from_exception(error, compact=True)
    if isinstance(error, SystemExit):
        kind = "exit"
        message = _exit_sentence(error)
        hint = hint or "return from run() to succeed, raise an exception to fail"
    else:
        kind, message = "exception", _read_message(error)
        if isinstance(error, EOFError) and "reading a line" in message:
            hint = hint or NO_INPUT
    path, line = _find_location(error, shown, root)
    _drop_foreign_frames(shown, root, all_frames, set())
    return Failure(
        kind=kind,
        type=type(error).__name__,
        message=message,
        path=path,
        line=line,
        traceback="".join(shown.format()),
        hint=hint,
    )


def _read_message(error: BaseException) -> str:
    """The message, of one or more lines; for a SyntaxError without the location, which is shown elsewhere."""
    try:
        if isinstance(error, SyntaxError) and isinstance(error.msg, str):
            return error.msg
        text = str(error)
    except BaseException as second:
        return f"(its __str__ raised {type(second).__name__})"
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + "..."


def _exit_sentence(error: SystemExit) -> str:
    code = error.code
    if code is None or isinstance(code, int):
        return f"called sys.exit({'' if code is None else int(code)})"
    return f"called sys.exit: {code}"


def _find_location(
    error: BaseException, shown: TracebackException, root: str
) -> tuple[str | None, int | None]:
    """(path, line) of the last frame in the project, else of the user's last frame; of a syntax error, its
    own line."""
    if isinstance(error, SyntaxError) and error.filename and _is_inside(error.filename, root):
        return _shorten(error.filename, root), error.lineno
    frames = [frame for frame in shown.stack if _is_users(frame)]
    own = [frame for frame in frames if _is_inside(frame.filename, root)] or frames
    return (_shorten(own[-1].filename, root), own[-1].lineno) if own else (None, None)


def _find_location_plainly(error: BaseException, root: str) -> tuple[str | None, int | None]:
    """The last frame in the project, without the `traceback` module, which may have raised."""
    place: tuple[str | None, int | None] = (None, None)
    trace = BaseException.__getattribute__(error, "__traceback__")
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if _is_inside(path, root):
            place = _shorten(path, root), trace.tb_lineno
        trace = trace.tb_next
    return place


def _drop_foreign_frames(
    shown: TracebackException, root: str, all_frames: bool, seen: set[int]
) -> None:
    """Drop orch's frames, fold libraries, shorten paths: in the exception, its causes and its members."""
    if id(shown) in seen:
        return
    seen.add(id(shown))
    frames = _drop_own_frames(shown.stack, root)
    libraries = [None if all_frames else find_library(one.filename, root) for one in frames]
    for frame in frames:
        _ = frame.line  # reads the source line, before the file name changes
        frame.filename = _shorten(frame.filename, root)
    shown.stack = _fold_libraries(frames, libraries)
    if isinstance(getattr(shown, "filename", None), str):
        shown.filename = _shorten(shown.filename, root)
    for other in (shown.__cause__, shown.__context__, *(shown.exceptions or ())):
        if other is not None:
            _drop_foreign_frames(other, root, all_frames, seen)


def _drop_own_frames(frames: list[FrameSummary], root: str) -> list[FrameSummary]:
    """The frames without orch's own, and without those between them, such as an event loop."""
    start = 0
    for place, frame in enumerate(frames, start=1):
        if not _is_users(frame):
            start = place
        elif find_library(frame.filename, root) is None:
            break
    return [frame for frame in frames[start:] if _is_users(frame)]


def _fold_libraries(frames: list[FrameSummary], libraries: list[str | None]) -> StackSummary:
    """The frames, with one line for each run of frames in libraries."""
    import traceback

    class Folded(traceback.StackSummary):
        def format_frame_summary(self, frame_summary: FrameSummary, **options: Any) -> str:
            if frame_summary.lineno == 0:
                return f"  ... {frame_summary.name}\n"
            return super().format_frame_summary(frame_summary, **options)

    return Folded(
        traceback.FrameSummary("", 0, one, lookup_line=False) if isinstance(one, str) else one
        for one in _group_libraries(frames, libraries)
    )


def _group_libraries(
    frames: Iterable[Frame], libraries: Iterable[str | None]
) -> Iterator[Frame | str]:
    """The frames; a text such as `3 frames in json, pathlib` for each run of frames in libraries."""
    row: list[str] = []
    for frame, library in zip(frames, libraries, strict=True):
        if library is not None:
            row.append(library)
            continue
        if row:
            yield _summarize_libraries(row)
            row = []
        yield frame
    if row:
        yield _summarize_libraries(row)


def _summarize_libraries(row: list[str]) -> str:
    number = len(row)
    return f"{number} frame{'s' * (number > 1)} in {', '.join(dict.fromkeys(row))}"


def find_library(path: str, root: str) -> str | None:
    """The top-level name of a file's library; None for the user's own files."""
    if path.startswith(FROZEN):
        return path[len(FROZEN) :].rstrip(">")
    if path.startswith(root + os.sep):
        path = path[len(root) :]
    for folder in ("site-packages", "dist-packages"):
        _, found, below = path.rpartition(f"{os.sep}{folder}{os.sep}")
        if found:
            return below.partition(os.sep)[0].removesuffix(".py")
    if path.startswith(STANDARD_LIBRARY):
        below = path[len(STANDARD_LIBRARY) :]
        return below.partition(os.sep)[0].removesuffix(".py")
    return None


def _is_users(frame: FrameSummary) -> bool:
    return not is_own_file(frame.filename)


def is_own_file(path: str) -> bool:
    """Whether this file belongs to orch or to the import system."""
    return path.startswith((OWN_FOLDER, "<frozen importlib"))


def _is_inside(path: str, root: str) -> bool:
    if not path.startswith(root + os.sep):
        return False
    below = path[len(root) :]
    is_installed = sys.prefix.startswith(root + os.sep) and path.startswith(sys.prefix + os.sep)
    return not is_installed and f"{os.sep}site-packages{os.sep}" not in below


def _shorten(path: str, root: str) -> str:
    if path.startswith(root + os.sep):
        return path[len(root) + 1 :].replace(os.sep, "/")
    return path


def read_crash(text: str, root: str) -> tuple[str, str | None, int | None]:
    """(traceback, path, line) from what `faulthandler` wrote of the main thread; innermost frame last."""
    frames: list[tuple[str, int, str]] = []
    for line in text.splitlines():
        if line.startswith("  File ") and '", line ' in line:
            path, _, rest = line[len('  File "') :].partition('", line ')
            number, _, name = rest.partition(" in ")
            if number.isdigit() and not is_own_file(path):
                frames.append((path, int(number), name))
        elif frames and not line.strip():
            break  # the list of extension modules, or another thread
    frames.reverse()
    if frames and frames[0][0] == "<string>":  # what the supervisor had the interpreter run
        del frames[0]
    libraries = [find_library(path, root) for path, _, _ in frames]
    shown = "".join(
        f"  ... {one}\n"
        if isinstance(one, str)
        else f'  File "{_shorten(one[0], root)}", line {one[1]}, in {one[2]}\n'
        for one in _group_libraries(frames, libraries)
    )
    own = [frame for frame in frames if _is_inside(frame[0], root)] or frames
    if not own:
        return "", None, None
    return shown, _shorten(own[-1][0], root), own[-1][1]


def describe_exit(status: int | None) -> tuple[str, int | None, str | None]:
    """A wait status as (end of a sentence, exit code, name of the signal)."""
    if status is None or status == LOST_STATUS:
        return "ended with an unknown exit status", None, None
    code = os.waitstatus_to_exitcode(status)
    if code == CHANNEL_LOST:
        return "closed the file descriptors that orch uses to talk to it", code, None
    if code >= 0:
        return f"exited with code {code}", code, None
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if -code in CRASHES:
        return f"crashed with {name}", None, name
    guess = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{guess}", None, name
