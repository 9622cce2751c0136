"""The files that `--rebuild` removes before a tool runs: moved aside until it has passed, and back if it does not."""

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
        moved, found = self._moved.setdefault(module, {}), []
        for path in paths:
            full, aside = os.path.join(self._root, path), os.path.join(self._folder, path)
            try:
                os.makedirs(os.path.dirname(aside), exist_ok=True)
                os.replace(full, aside)
                moved[full] = aside
            except FileNotFoundError:
                pass
            except OSError as error:
                message = f"{path} cannot be removed: {error.strerror or error}"
                found.append(Problem(code="not-removed", message=message, severity="warning"))
        return found

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
