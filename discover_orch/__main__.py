"""`orch` and `python -m discover_orch`: where the process begins.

A worker is a new interpreter and takes a while to get up. For `orch run` it is started here, before the
command line is even read, so that it is ready when the plan is; it knows nothing yet and runs nothing.
"""

from __future__ import annotations

import gc
import os
import sys

#: Options of `orch` itself that take the next word.
_WITH_VALUE = frozenset({"-C", "--project", "--color"})
#: With one of these among its words, `orch run` only looks, or perhaps has nothing to run.
_LOOKING = frozenset({"-n", "--dry-run", "-h", "--help", "--changed"})


def main() -> None:
    # Short-lived and without cycles to speak of: collecting costs a tenth of a warm `orch list`.
    gc.disable()
    try:
        code = _run(sys.argv[1:])
    except KeyboardInterrupt:  # while modules were imported: there is nothing to tidy up
        os._exit(130)
    if code > 128:  # interrupted, all is told and flushed: another Ctrl-C may be on its way
        os._exit(code)
    sys.exit(code)


def _run(words: list[str]) -> int:
    interpreter = None
    if is_run(words):
        from discover_orch.worker.spawn import start_interpreter

        interpreter = start_interpreter()
    from discover_orch.cli.app import run_command_line

    return run_command_line(words, interpreter)


def is_run(words: list[str]) -> bool:
    """Whether this is surely an `orch run` that captures what its tools print. A guess: the command line
    itself decides, starts a worker where none is, and ends one that it has no use for."""
    rest = iter(words)
    for word in rest:
        if word in _WITH_VALUE:
            next(rest, None)
        elif not word.startswith("-"):
            return word == "run" and not _LOOKING.intersection(words) and "raw" not in words
    return False


if __name__ == "__main__":
    # `python -m` puts the current folder in front, and there a tool may be called `json` or `click`.
    if not sys.flags.safe_path:
        del sys.path[0]
    main()
