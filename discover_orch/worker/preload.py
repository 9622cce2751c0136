"""Imports ahead, in a spare: what the tools will import from installed packages, before anything is asked.

In: names of modules, none of the project's. Out: how long each took, and what went wrong, which is no error
here: the tool will say so when it imports the module itself. What the imports print is lost.
"""

from __future__ import annotations

import os
import sys
import time

from discover_orch.worker.protocol import Preload, Preloaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.worker.capture import Capture


def preload(order: Preload, capture: Capture) -> Preloaded:
    """Imports in the root, as a tool would; the working directory is the tools' from then on."""
    try:
        os.chdir(order.root)
    except OSError:  # it is gone for the moment: the first tool will tell
        return Preloaded(modules=())
    before = {name.partition(".")[0] for name in sys.modules}
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    rows = []
    try:
        for name, names in order.modules:
            started = time.perf_counter()
            problem = _import(name, names)
            rows.append((name, round(time.perf_counter() - started, 6), problem))
    finally:
        capture.put_back()
    return Preloaded(modules=tuple(rows), shadowed=_find_shadowed(order.pythonpath, before))


def _import(name: str, names: tuple[str, ...]) -> str:
    """What went wrong, or nothing. A name of a `from` import may be a module as well."""
    try:
        __import__(name, {}, {}, list(names))
    except BaseException as error:  # SystemExit too: some scripts look like modules
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def _find_shadowed(pythonpath: tuple[str, ...], before: set[str]) -> tuple[str, ...]:
    """Modules that the project would have given, had its folders been on `sys.path` by then."""
    here: set[str] = set()
    for entry in pythonpath:
        try:
            here.update(name.removesuffix(".py") for name in os.listdir(entry))
        except OSError:
            continue
    new = {name.partition(".")[0] for name in sys.modules} - before
    return tuple(sorted(new & here))
