"""Whether the files are there that a tool declares to write.

In: a root and paths or globs relative to it. Out: those that mean nothing. Looks at names alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

MAGIC = frozenset("*?[")


class MissingOutput(Exception):
    """A declared output is not there though the tool has run to its end."""

    hint = 'let it write the file, or take it out of "outputs" in ORCH'


def find_missing(root: str, outputs: Iterable[str]) -> list[str]:
    """Those that are no file or folder; of a glob at least one must be there."""
    return [one for one in outputs if not _is_there(root, one)]


def check_outputs(root: str, outputs: Iterable[str]) -> None:
    """Raises MissingOutput."""
    missing = find_missing(root, outputs)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingOutput(f"{', '.join(missing)} {verb} declared as output, and not there")


def _is_there(root: str, path: str) -> bool:
    if not MAGIC & set(path):
        return os.path.exists(os.path.join(root, path))
    import glob  # few tools declare a glob

    return next(glob.iglob(path, root_dir=root, recursive=True), None) is not None
