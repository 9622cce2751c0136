"""Writes a page or a picture to a file and opens it in the browser."""

from __future__ import annotations

import os

from discover_orch.cli.options import Context, OrchUsage
from discover_orch.model.errors import Problem, UsageError
from discover_orch.render.style import one_line
from discover_orch.state import sealed_files
from discover_orch.state.sealed_files import UNFINISHED

#: Stands for the standard output, as in other tools.
STANDARD_OUTPUT = "-"


def check_file_option(file: str | None, *others: str, option: str = "-o") -> None:
    """`-o -` is the standard output, which can neither be opened nor hold something else besides: it goes with none of
    the `others` that were given."""
    if file == STANDARD_OUTPUT and others:
        message = f"{others[0]} cannot be combined with {option} -"
        raise OrchUsage(message, f"give a file with {option} FILE")


def write_and_open(
    context: Context, text: str, path: str, *, is_own: bool, opens: bool, said: str | None = None
) -> None:
    """Writes the text to the file, which `is_own` if it is in `.orch`; prints the path, or what is `said` instead; and
    opens the file in the browser. Raises UsageError."""
    place = os.path.join(context.start, path) if is_own else path
    if not is_own:
        replace_output(place, text)
    elif not sealed_files.replace_file(place, text.encode("utf-8", "backslashreplace")):
        raise _cannot_write(path)
    context.console.out(f"{one_line(path)}\n" if said is None else said)
    problem = _open_file(place) if opens else None
    context.console.problems([problem] if problem else [])


def write_file(path: str, text: str) -> None:
    """Writes the text in place of what the file holds. Makes its folder where it is missing. A pipe must have a
    reader. Raises OSError."""
    if not os.path.exists(folder := os.path.dirname(path) or "."):
        os.makedirs(folder, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOCTTY
    with open(os.open(path, flags | os.O_NONBLOCK, 0o666), "wb") as file:  # a pipe would wait
        os.set_blocking(file.fileno(), True)
        file.write(text.encode("utf-8", "backslashreplace"))


def replace_output(path: str, text: str, option: str = "-o") -> None:
    """As `write_file`, and at once, so that no half of it is ever seen. A link stays, and the file that it names is
    written. Raises UsageError; `option` is the one that names the file."""
    # A link may be /dev/stdout, which is a regular file where the output goes to one.
    is_direct = os.path.islink(path) or (os.path.exists(path) and not os.path.isfile(path))
    place = path if is_direct else f"{path}.{os.getpid()}{UNFINISHED}"
    try:
        write_file(place, text)
        if not is_direct:
            os.replace(place, path)
    except OSError as error:
        raise _cannot_write(path, error, option) from None
    finally:
        if not is_direct and os.path.exists(place):
            os.unlink(place)


def _cannot_write(path: str, error: OSError | None = None, option: str = "-o") -> UsageError:
    message = f"cannot write {one_line(path)}" + (f": {error.strerror}" if error else "")
    return UsageError.of("output-file", message, f"give another file with {option} FILE")


def _open_file(path: str) -> Problem | None:
    """Opens the file in the user's browser; a problem if there is none."""
    import webbrowser  # takes milliseconds
    from pathlib import Path

    if webbrowser.open(Path(path).absolute().as_uri()):
        return None
    return Problem(
        code="no-browser",
        message="no browser was found to open the page",
        hint=f"open {one_line(path)} yourself, or name a browser in the environment variable BROWSER",
        severity="warning",
    )


def shown_path(path: str, start: str) -> str:
    """Relative to where the user stands, if that is not outside of it."""
    relative = os.path.relpath(path, start)
    return path if relative.startswith("..") else relative
