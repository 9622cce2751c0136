"""What the modules of a project say of its tools, as the index has it: another text of one may make other tools.

In: the index, as the last look at the whole project left it, and a module that has changed. Out: whether what the
command line offers may be another now; else only code has changed, and nobody need look at the whole project. It
reads and never imports.
"""

from __future__ import annotations

import json

from discover_orch import __version__
from discover_orch.config.project import Project
from discover_orch.discovery.scanner import PythonPath, scanned_folders
from discover_orch.state.store import open_index


class ToolStructure:
    """Read from the index when it is first asked for, and again after each `forget`."""

    def __init__(self) -> None:
        self._rows: dict[str, object] | None = None
        self._referred: frozenset[str] = frozenset()

    def forget(self) -> None:
        """The project has been looked at anew."""
        self._rows = None

    def warm(self, project: Project) -> None:
        """Read the index, unless it has been read."""
        if self._rows is None:
            self._read_rows(project.root)

    def is_another(self, path: str, project: Project) -> bool:
        """Whether the module, which is there, says something else of tools than it did."""
        self.warm(project)
        assert self._rows is not None
        if path in self._referred:
            return True
        if path not in self._rows:
            folders = scanned_folders(project)
            return any(not one or path.startswith(one + "/") for one in folders)
        from discover_orch.discovery import parse_files

        name = PythonPath(project).name(path)
        ((_, row),) = parse_files.read_files(project.root, [(path, name)])
        is_same: bool = json.loads(json.dumps(row)) == self._rows[path]
        return not is_same

    def _read_rows(self, root: str) -> None:
        """What the index says of each file; empty where there is none, and then everything is structural."""
        self._rows, self._referred = {}, frozenset()
        index = open_index(root, __version__)
        text = index.part("facts") if index else None
        if text is not None:
            table = json.loads(text)
            self._rows = {path: row for path, (_, row) in table["files"].items()}
            self._referred = frozenset(table["exports"])
