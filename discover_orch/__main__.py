"""The entry point of `orch` and of `python -m discover_orch`.

A worker is a new interpreter, and starting one takes a while. For `orch run` it is started here, before the
command line is read, so that it is ready when the plan is. It runs nothing until then.
"""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from discover_orch.worker.spawn import Interpreter

#: Options before the command that take a value.
_WITH_VALUE = frozenset({"-C", "--project", "--color"})
#: With one of these, `orch run` runs nothing, or may have nothing to run.
_MAY_RUN_NOTHING = frozenset({"-n", "--dry-run", "-h", "--help", "--changed"})


def main() -> None:
    # The process is short and makes few cycles; collecting takes a tenth of a short command.
    gc.disable()
    try:
        code = _run(sys.argv[1:])
    except KeyboardInterrupt:  # while modules were imported: there is nothing to clean up
        os._exit(130)
    if code <= 128:  # else a signal has ended it, and what is not written yet may have no reader
        _flush(sys.stdout)
        _flush(sys.stderr)
    # All is written and every process has ended. Taking the interpreter down would take a tenth of a short command,
    # and a second Ctrl-C may come.
    os._exit(code)


def _flush(stream: TextIO | None) -> None:
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):  # closed: `run_command_line` has reported it
        return


def _run(words: list[str]) -> int:
    interpreter = _start_worker() if is_run(words) else None
    from discover_orch.cli.app import run_command_line

    return run_command_line(words, interpreter)


def _start_worker() -> Interpreter | None:
    """None where none can be started: the command says why, if it needs one."""
    try:
        from discover_orch.worker.spawn import start_interpreter

        return start_interpreter()
    except OSError:
        return None


def is_run(words: list[str]) -> bool:
    """Whether this looks like an `orch run` that captures what its tools print. A wrong guess is harmless: the command
    starts a worker if it needs one, and a worker that is not needed is ended."""
    rest = iter(words)
    for word in rest:
        if word in _WITH_VALUE:
            next(rest, None)
        elif not word.startswith("-"):
            return word == "run" and not _MAY_RUN_NOTHING.intersection(words) and "raw" not in words
    return False


if __name__ == "__main__":
    # `python -m` puts the current folder first on the path, and a file there may be called json.py.
    if not sys.flags.safe_path:
        del sys.path[0]
    main()
