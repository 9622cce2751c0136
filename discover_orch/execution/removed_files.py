"""The files that `--rebuild` removes before a tool runs, and those that a tool no longer makes in a run that is one
transaction: moved aside until the tool has passed, and back if it does not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from discover_orch.model.errors import Problem
from discover_orch.state.sealed_files import FOLDER

#: Below `.orch`; the files of one run are in a folder of its own. A run that is killed leaves them there.
REMOVED = "removed"


class RemovedFiles:
    """Those of one run, by the module of the tool."""

    def __init__(self, root: str, run: str) -> None:
        self._root, self._folder = root, os.path.join(root, FOLDER, REMOVED, run)
        self._moved: dict[str, dict[str, str]] = {}

    def move(self, module: str, paths: Iterable[str]) -> list[Problem]:
        """Moves the files aside; a warning for each that stays."""
        found = []
        for path in paths:
            try:
                self.move_file(module, os.path.join(self._root, path))
            except FileNotFoundError:
                pass
            except OSError as error:
                message = f"{path} cannot be removed: {error.strerror or error}"
                found.append(Problem(code="not-removed", message=message, severity="warning"))
        return found

    def move_file(self, module: str, full: str) -> None:
        """Moves one file aside. Raises OSError."""
        aside = os.path.join(self._folder, os.path.relpath(full, self._root))
        os.makedirs(os.path.dirname(aside), exist_ok=True)
        os.replace(full, aside)
        self._moved.setdefault(module, {})[full] = aside

    def end(self, module: str, *, has_passed: bool) -> None:
        """The tool has ended: deletes its files, or brings back those that it has not made anew."""
        for full, aside in self._moved.pop(module, {}).items():
            with suppress(OSError):
                if has_passed or os.path.lexists(full):
                    os.unlink(aside)
                else:
                    os.replace(aside, full)
        folder = self._folder
        with suppress(OSError):
            for parent, _, _ in os.walk(folder, topdown=False):
                os.rmdir(parent)
