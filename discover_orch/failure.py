"""An exception of the user's code as a `StepError`: what a user needs of it, and no more.

The traceback has the user's frames alone, from `run()` on, with their source lines and with causes and
groups; never the values of locals. Whatever the exception does when it is looked at (its `__str__`
raises, memory is short) makes a poorer description, never a second failure.
"""

from __future__ import annotations

import os
import sys

from discover_orch.protocol import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from traceback import FrameSummary, TracebackException

    from discover_orch.protocol import ErrorKind

OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
LONGEST_MESSAGE = 4000


def describe(error: BaseException, root: str, hint: str = "") -> StepError:
    """What there is to tell of an exception that the user's code raised."""
    try:
        return _describe(error, root, hint)
    except BaseException:  # an exception class of the user can do anything when it is asked
        return StepError(
            kind="exception",
            type=type(error).__name__,
            message="(the exception could not be described)",
            hint=hint,
        )


def _describe(error: BaseException, root: str, hint: str) -> StepError:
    import traceback  # 13 ms, and a run that goes well never needs it

    shown = traceback.TracebackException.from_exception(error, compact=True)
    if isinstance(error, SystemExit):
        kind: ErrorKind = "exit"
        message = _exit_sentence(error)
        hint = hint or "a tool ends by returning from run(), and fails by raising an exception"
    else:
        kind, message = "exception", _text(error)
    path, line = _place(error, shown, root)
    _clean(shown, root, set())
    return StepError(
        kind=kind,
        type=type(error).__name__,
        message=message,
        path=path,
        line=line,
        traceback="".join(shown.format()),
        hint=hint,
    )


def _text(error: BaseException) -> str:
    """One or more lines; of a SyntaxError the message without its place, which stands elsewhere."""
    if isinstance(error, SyntaxError) and isinstance(error.msg, str):
        return error.msg
    try:
        text = str(error)
    except BaseException as second:
        return f"(its __str__ raised {type(second).__name__})"
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + "..."


def _exit_sentence(error: SystemExit) -> str:
    code = error.code
    if code is None or isinstance(code, int):
        return f"ended by sys.exit({'' if code is None else int(code)})"
    return f"ended by sys.exit: {code}"


def _place(
    error: BaseException, shown: TracebackException, root: str
) -> tuple[str | None, int | None]:
    """The last frame in the project, or of all of the user's frames; where it is no Python, its line."""
    if isinstance(error, SyntaxError) and error.filename and _is_inside(error.filename, root):
        return _shorten(error.filename, root), error.lineno
    frames = [frame for frame in shown.stack if _is_users(frame)]
    own = [frame for frame in frames if _is_inside(frame.filename, root)] or frames
    return (_shorten(own[-1].filename, root), own[-1].lineno) if own else (None, None)


def _clean(shown: TracebackException, root: str, seen: set[int]) -> None:
    """Drop foreign frames and shorten paths, in the exception, its causes and its members."""
    if id(shown) in seen:
        return
    seen.add(id(shown))
    shown.stack[:] = [frame for frame in shown.stack if _is_users(frame)]
    for frame in shown.stack:
        _ = frame.line  # read before the name changes: it is looked up by that
        frame.filename = _shorten(frame.filename, root)
    if isinstance(getattr(shown, "filename", None), str):
        shown.filename = _shorten(shown.filename, root)
    for other in (shown.__cause__, shown.__context__, *(shown.exceptions or ())):
        if other is not None:
            _clean(other, root, seen)


def _is_users(frame: FrameSummary) -> bool:
    return not is_own_file(frame.filename)


def is_own_file(path: str) -> bool:
    """Whether a frame of this file is orch's or the import system's, which no user wants to see."""
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
    """What `faulthandler` wrote of the main thread: (traceback, path, line), innermost frame last."""
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
    shown = "".join(
        f'  File "{_shorten(path, root)}", line {number}, in {name}\n'
        for path, number, name in frames
    )
    own = [frame for frame in frames if _is_inside(frame[0], root)] or frames
    if not own:
        return "", None, None
    return shown, _shorten(own[-1][0], root), own[-1][1]
