"""The Python files of a project that were asked for: what they mean, and which names their imports look up.

This is kept from one command to the next. A file is read again only where its signature has changed, and parsed only
where its bytes have. No parser is loaded where nothing has changed. Reads and parses; never imports.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

from msgspec.structs import replace

from discover_orch import __version__
from discover_orch.config.project import Project, module_folders
from discover_orch.discovery.scanner import PythonPath
from discover_orch.discovery.tree import ABSENT, NOT_SCANNED, Signatures, is_racy, signature_of
from discover_orch.model.conventions import CONF_FILE, CONF_MODULE
from discover_orch.model.digest import content_hash, short_hash
from discover_orch.model.errors import Problem
from discover_orch.source.facts import ImportFact
from discover_orch.source.source_file import (
    SourceFile,
    names_of,
    read_import_facts,
    read_source_file,
)
from discover_orch.state.store import FOLDER, read_sealed, write_sealed

#: Before a signature, so that it matches none: the file may change again with the same one, or could not be read.
_UNSURE = "?"


class SourceFiles:
    """Paths are relative to the root. `problems` are those of the files that cannot be read now."""

    def __init__(self, project: Project, scanned: Signatures = NOT_SCANNED) -> None:
        """`scanned` is of a scan that was just made."""
        self._root, self._scanned = project.root, scanned
        self._space = PythonPath(project)
        depends_on = (__version__, sys.version_info[:2], module_folders(project))
        self._kind = f"code 5 {short_hash(repr(depends_on).encode())}"
        self._path = os.path.join(project.root, FOLDER, "code")
        #: The files without a problem that were kept, by path. They may be out of date.
        self._kept = read_sealed(self._path, self._kind, dict[str, SourceFile]) or {}
        self._files: dict[str, SourceFile | None] = {}
        self._looked_at: dict[str, SourceFile | None] = {}
        self.problems: dict[str, Problem] = {}
        #: By path and name of the module, with the hash of the bytes.
        self._imports: dict[tuple[str, str], tuple[str, tuple[ImportFact, ...]]] = {}

    def read(self, path: str) -> SourceFile | None:
        """The file as it was when it was first asked for, or at the last `refresh`; None where it is no regular
        file."""
        if path not in self._files:
            self._note(path, self._read_first(path))
        return self._files[path]

    def read_all(self, paths: Iterable[str]) -> None:
        """As `read` for each of them, in several processes where many are new."""
        unknown: list[str] = []
        for path in paths:
            known = self._kept.get(path)
            if path in self._files:
                continue
            if known is not None and known.signature == self._signature(path):
                self._files[path] = known
            else:
                unknown.append(path)
        if unknown:
            from discover_orch.discovery.parallel_map import parallel_map

            files = parallel_map(self._read_first, unknown, SourceFile | None)
            for path, file in zip(unknown, files, strict=True):
                self._note(path, file)

    def _read_first(self, path: str) -> SourceFile | None:
        return self._read(path, self._kept.get(path), self._signature(path))

    def _signature(self, path: str) -> str:
        """The one that the scan met; _UNSURE where the file may have changed since without another."""
        found = self._scanned.get(path, _UNSURE)
        return _UNSURE if found[:1] == _UNSURE else found

    def look_at(self, path: str) -> SourceFile | None:
        """The file as it is now. `read` gives it as it was until `refresh`."""
        known = self._looked_at.get(path) or self._files.get(path)
        found = self._looked_at[path] = self._read(path, known)
        return found

    def refresh(self, path: str) -> SourceFile | None:
        """The file as it is now; from now on `read` gives this."""
        old, new = self._files.get(path), self.look_at(path)
        if old is not None and new is not None and new.problem is not None:
            new = replace(old, signature=new.signature, hash=new.hash, problem=new.problem)
        self._note(path, new)
        return new

    def known(self, path: str) -> SourceFile | None:
        """As `read`, without reading a file that was not asked for yet."""
        return self._files.get(path)

    def find_returned(self, folder: str) -> list[str]:
        """The files in or below `folder/` that were missing when they were last read, and exist now."""
        return [
            path
            for path, file in self._files.items()
            if file is None
            and path.startswith(folder)
            and os.path.isfile(os.path.join(self._root, path))
        ]

    def names(self, path: str, module: str = "") -> tuple[str, ...]:
        """The names that the file looks up when it is imported as `module`, by default under its own name. Relative
        imports depend on that name, and a file can have two: `src.a` and `a`, where both the root and `src` are in
        `pythonpath`."""
        file = self.read(path)
        if file is None:
            return ()
        if not file.depends_on_name or module in ("", self._name(path)):
            return file.names
        return names_of(self.imports(path, module))

    def imports(self, path: str, module: str) -> tuple[ImportFact, ...]:
        """The imports of the file as `module`. Parses it where that was not done yet."""
        file, known = self.read(path), self._imports.get((path, module))
        if file is None:
            return ()
        if known is None or (known[0] != file.hash and file.problem is None):
            known = (file.hash, self._parse_imports(path, module))
            self._imports[path, module] = known
        return known[1]

    def write(self) -> bool:
        """Keeps what is new for the next command; False where it cannot be written."""
        now = {path: file for path, file in self._files.items() if file and not file.problem}
        if all(self._kept.get(path) == file for path, file in now.items()):
            return True
        now |= {
            path: file
            for path, file in self._kept.items()
            if path not in self._files and os.path.exists(os.path.join(self._root, path))
        }
        if not write_sealed(self._path, self._kind, now):
            return False
        self._kept = now
        return True

    def _note(self, path: str, file: SourceFile | None) -> None:
        self._files[path] = file
        if file is not None and file.problem is not None:
            self.problems[path] = file.problem
        else:
            self.problems.pop(path, None)

    def _read(
        self, path: str, known: SourceFile | None, signature: str = _UNSURE
    ) -> SourceFile | None:
        """The file as it is now, or `known` where that is the same; `signature` may be known too."""
        full = os.path.join(self._root, path)
        if signature == _UNSURE:
            signature = signature_of(full)
        if signature == ABSENT or not path.endswith(".py"):
            return None
        if known is not None and known.signature == signature:
            return known
        started = time.time_ns()
        data = self._read_bytes(path)
        if data is None:
            return None  # it was removed just now
        if isinstance(data, Problem) or is_racy(signature, started):
            signature = _UNSURE + signature  # another user may be able to read it
        if isinstance(data, Problem):
            return SourceFile(signature=signature, hash="", problem=data)
        if known is not None and known.hash == content_hash(data):
            return replace(known, signature=signature)
        return self._parse(path, signature, data)

    def _read_bytes(self, path: str) -> bytes | Problem | None:
        from discover_orch.discovery.parse_files import read_source

        return read_source(self._root, path)

    def _parse(self, path: str, signature: str, data: bytes) -> SourceFile:
        from discover_orch.source.parse import PARSE_ERRORS, build_problem, ignore_warnings, parse

        module = self._name(path)
        with ignore_warnings():
            try:
                file, facts = read_source_file(parse(data), data, path, module)
            except PARSE_ERRORS as error:
                problem = build_problem(error, data, path)
                if b"STAGE" not in data:
                    problem = replace(problem, hint="fix the syntax error")  # it is not a tool
                return SourceFile(signature=signature, hash=content_hash(data), problem=problem)
        self._imports[path, module] = file.hash, facts
        return replace(file, signature=signature)

    def _parse_imports(self, path: str, module: str) -> tuple[ImportFact, ...]:
        from discover_orch.source.parse import PARSE_ERRORS, ignore_warnings, parse

        data = self._read_bytes(path)
        if not isinstance(data, bytes):
            return ()
        with ignore_warnings():
            try:
                return read_import_facts(parse(data), data, path, module)
            except PARSE_ERRORS:
                return ()

    def _name(self, path: str) -> str:
        return self._space.name(path) or (CONF_MODULE if path == CONF_FILE else "")


def path_module(path: str) -> str:
    """A name for a file that need not be in a folder where Python looks for modules: `/tools/make` for
    `tools/make.py`."""
    return f"/{path.removesuffix('.py')}"
