"""The Python and SQL files of a project: what each says and means, as one record, kept from one command to the next.

A file is read again only where its mark has changed, and parsed only where its bytes have. No parser is loaded
where nothing has changed. Reads and parses; never imports.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Mapping

from msgspec.structs import replace

from discover_orch import __version__
from discover_orch.config.project import Project
from discover_orch.discovery.tree import ABSENT, is_racy, read_file_mark
from discover_orch.model.conventions import CONF_FILE, CONF_MODULE, SQL_SUFFIX, TOOL_SUFFIXES
from discover_orch.model.encoding import content_hash, short_hash
from discover_orch.model.errors import Problem
from discover_orch.source.facts import BrokenTool, ModuleFacts
from discover_orch.source.source_file import (
    SIZE_LIMIT,
    SourceFile,
    names_of,
    read_source_file,
)
from discover_orch.state.sealed_files import FOLDER, open_nonblocking, read_sealed, write_sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.source.scope import ModuleScope

#: Before a mark, so that it matches none: the file may change again with the same one, or could not be read.
_UNSURE = "?"
_NO_TEXTS: Mapping[str, bytes | None] = {}


class PythonPath:
    """The configured `pythonpath`: which module a file is, and which files a module could be."""

    def __init__(self, project: Project) -> None:
        entries = [os.path.normpath(entry) for entry in project.pythonpath]
        #: In the order in which Python searches them.
        self._starts = list(dict.fromkeys("" if one == "." else one + "/" for one in entries))
        self._entries = sorted(self._starts, key=len, reverse=True)

    def name(self, path: str) -> str:
        """The module of a path, by the deepest entry that contains it; "" where none does."""
        for entry in self._entries:
            is_inside = entry != "" or not path.startswith("../")
            if path.startswith(entry) and is_inside:
                # A dot in a name divides no modules: Python would look for another file.
                parts = os.path.splitext(path[len(entry) :])[0].replace(".", " ").split("/")
                if parts[-1] == "__init__" and path.endswith(".py"):
                    parts.pop()
                return ".".join(parts)
        return ""

    def candidates(self, module: str) -> list[str]:
        """The paths where Python would look for the module, in order."""
        inside = module.replace(".", "/")
        return [
            entry + inside + ending for entry in self._starts for ending in ("/__init__.py", ".py")
        ]


class SourceFiles:
    """Paths are relative to the root. `marks` are those that the last scan met; `problems` are those of the files
    that cannot be parsed now."""

    def __init__(
        self,
        project: Project,
        *,
        reads_code: bool = False,
        texts: Mapping[str, bytes | None] = _NO_TEXTS,
        kept: dict[str, SourceFile] | None = None,
    ) -> None:
        """`reads_code`: the code of tools will be asked for, so that each of them is parsed once. `texts` stand for
        the files of these paths as they were at another time, None for no file. `kept` are the records of before,
        where they have been read already."""
        self._root, self._space = project.root, PythonPath(project)
        self._reads_code, self._texts = reads_code, texts
        self._pythonpath = project.pythonpath
        depends_on = (__version__, sys.version_info[:2], project.pythonpath, project.secrets)
        self._kind = f"files 13 {short_hash(repr(depends_on).encode())}"
        self._path = os.path.join(project.root, FOLDER, "files")
        #: The records that were kept, by path. They may be out of date.
        if kept is None:
            kept = read_sealed(self._path, self._kind, dict[str, SourceFile]) or {}
        self._kept = kept
        self._files: dict[str, SourceFile | None] = {}
        self._looked_at: dict[str, SourceFile | None] = {}
        self.marks: dict[str, str] = {}
        self.problems: dict[str, Problem] = {}
        #: What names in other modules mean, by module, with the hash of the bytes.
        self._scopes: dict[str, tuple[str, ModuleScope | None]] = {}
        #: Hashes of the files that were looked at for the one that is being read, and of files that are not read yet.
        self._looked_up: dict[str, str] = {}
        self._hashes: dict[str, str] = {}

    def at(self, project: Project, texts: Mapping[str, bytes | None]) -> SourceFiles:
        """The files of the project as they were at another time, with these texts in place of those of today."""
        is_alike = project.pythonpath == self._pythonpath
        found = SourceFiles(project, texts=texts, kept=self._kept if is_alike else None)
        found.marks = self.marks
        return found

    def read(self, path: str, *, with_code: bool = True) -> SourceFile | None:
        """The file as it was when it was first asked for, or at the last `refresh`; None where it is no regular
        file."""
        known = self._kept.get(path)
        if path in self._files:
            known = self._files[path]
            if known is None or known.has_code or not with_code:
                return known
        file = self._read(path, known, self._mark(path), with_code=with_code)
        self._note(path, file)
        return file

    def _mark(self, path: str) -> str:
        """The one that the scan met; _UNSURE where the file may have changed since without another."""
        found = _UNSURE if path in self._texts else self.marks.get(path, _UNSURE)
        return _UNSURE if found[:1] == _UNSURE else found

    def look_at(self, path: str) -> SourceFile | None:
        """The file as it is now. `read` gives it as it was until `refresh`."""
        known = self._looked_at.get(path) or self._files.get(path)
        found = self._looked_at[path] = self._read(path, known)
        return found

    def refresh(self, path: str) -> SourceFile | None:
        """The file as it is now; from now on `read` gives this."""
        self._hashes.pop(path, None)
        old, new = self._files.get(path), self.look_at(path)
        if old is not None and new is not None and new.problem is not None:
            new = replace(
                new,
                meaning=old.meaning,
                imports=old.imports,
                folders=old.folders,
                pieces=old.pieces,
            )
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

    def sign(self, path: str) -> str:
        """The mark of a file that the scan depends on."""
        if path in self._texts:
            return ABSENT if self._texts[path] is None else _UNSURE
        if path not in self.marks:
            self.marks[path] = read_file_mark(os.path.join(self._root, path))
        return self.marks[path]

    def is_looked_up(self, path: str) -> bool:
        """Whether the facts of another file rest on this one."""
        return any(path in file.rests_on for file in self._files.values() if file is not None)

    def _is_current(self, file: SourceFile, mark: str, with_code: bool) -> bool:
        is_enough = file.has_code or not with_code
        return is_enough and file.mark == mark and self._is_valid(file)

    def _is_valid(self, file: SourceFile) -> bool:
        """Whether what its facts rest on in other files is the same."""
        return all(self._hash(path) == found for path, found in file.rests_on.items())

    def _hash(self, path: str) -> str:
        """That of the bytes; "" where there is no such file, or it cannot be read. Reads no facts: those of two files
        may rest on each other."""
        if self.sign(path) == ABSENT:
            return ""
        if path not in self._files:
            known = self._kept.get(path)
            if known is not None and known.mark == self._mark(path):
                if known.rests_on:
                    return known.hash
            elif path in self._hashes:
                return self._hashes[path]
            else:
                data = self._read_text(path)
                if isinstance(data, bytes) and b"STAGE" in data:
                    self._hashes[path] = content_hash(data)
                    return self._hashes[path]
        file = self.read(path, with_code=False)
        return file.hash if file else ""

    def _look_up(self, module: str) -> ModuleScope | None:
        """What names in a module of the project mean; None where there is none, or it cannot be parsed."""
        for path in self._space.candidates(module):
            found = self._looked_up[path] = self._hash(path)
            if found:
                if self._scopes.get(module, ("",))[0] != found:
                    self._scopes[module] = found, self._read_scope(path, module)
                return self._scopes[module][1]
        return None

    def _read_scope(self, path: str, module: str) -> ModuleScope | None:
        from discover_orch.source.parse import PARSE_ERRORS, ignore_warnings, parse
        from discover_orch.source.scope import ModuleScope

        data = self._read_text(path)
        with ignore_warnings():
            try:
                tree = parse(data if isinstance(data, bytes) else b"")
                return ModuleScope(tree, module, path.endswith("__init__.py"), self._look_up)
            except PARSE_ERRORS:
                return None

    def _read_text(self, path: str) -> bytes | Problem | None:
        return self._texts[path] if path in self._texts else read_source(self._root, path)

    def names(self, path: str, module: str = "") -> tuple[str, ...]:
        """The names that the file looks up when it is imported as `module`, by default under its own name. A file can
        have two: `src.a` and `a`, where both the root and `src` are in `pythonpath`."""
        file = self.read(path)
        return names_of(file.imports, self.package(path, module)) if file else ()

    def package(self, path: str, module: str = "") -> str:
        """The package that relative imports in the file count from."""
        name = module if module and module[:1] != "/" else self.name(path)
        return name if path.endswith("__init__.py") else name.rpartition(".")[0]

    def write(self) -> bool:
        """Keeps what is new for the next command; False where it cannot be written."""
        new: dict[str, SourceFile] = {}
        for path, file in self._files.items():
            if file is not None and file is not self._kept.get(path) and not file.has_secret:
                # What it meant when it could be parsed is for those who have seen that.
                is_broken = file.problem is not None and file.meaning
                new[path] = (
                    replace(file, meaning="", imports=(), folders=(), pieces=None)
                    if is_broken
                    else file
                )
        is_kept = bool(self._kept) or not os.path.exists(self._path)  # else by other settings
        if is_kept and all(self._kept.get(path) == file for path, file in new.items()):
            return True
        known = {path: file for path, file in self._kept.items() if self._is_there(path)} | new
        if not write_sealed(self._path, self._kind, known):
            return False
        self._kept = known
        return True

    def _is_there(self, path: str) -> bool:
        if path in self._files:
            return self._files[path] is not None
        return os.path.exists(os.path.join(self._root, path))

    def name(self, path: str) -> str:
        """The module that the file is, as far as `pythonpath` says."""
        return self._space.name(path) or (CONF_MODULE if path == CONF_FILE else "")

    def _note(self, path: str, file: SourceFile | None) -> None:
        self._files[path] = file
        if file is not None and file.problem is not None:
            self.problems[path] = file.problem
        else:
            self.problems.pop(path, None)

    def _read(
        self,
        path: str,
        known: SourceFile | None,
        mark: str = _UNSURE,
        *,
        with_code: bool = True,
    ) -> SourceFile | None:
        """The file as it is now, or `known` where that is the same; `mark` may be known too."""
        if path in self._texts:
            mark = self.sign(path)
        elif mark == _UNSURE:
            mark = read_file_mark(os.path.join(self._root, path))
        if mark == ABSENT or not path.endswith(TOOL_SUFFIXES):
            return None
        if known is not None and self._is_current(known, mark, with_code):
            return known
        if known is not None and not self._is_valid(known):
            known = replace(known, hash="")  # all of it is read again
        started = time.time_ns()
        data = self._read_text(path)
        if data is None:
            return None  # it was removed just now
        module = self.name(path)
        if isinstance(data, Problem) or (mark != _UNSURE and is_racy(mark, started)):
            mark = _UNSURE + mark  # another user may be able to read it
        if isinstance(data, Problem):
            broken = BrokenTool(path=path, module=module, problems=(data,))
            return _with_last_stage(SourceFile(mark, facts=broken, problem=data), known)
        with_code = with_code or (self._reads_code and b"STAGE" in data)
        outer, self._looked_up = self._looked_up, {}
        file = read_source_file(
            data, path, module, mark, known, with_code=with_code, lookup=self._look_up
        )
        looked_up, self._looked_up = self._looked_up, outer
        if looked_up:
            file = replace(file, rests_on=looked_up)
        return _with_last_stage(file, known)


def _with_last_stage(file: SourceFile, known: SourceFile | None) -> SourceFile:
    """A file that cannot be read and states no stage belongs to the stages of the last text that had some."""
    if known is None or isinstance(file.facts, ModuleFacts):
        return file
    last = known.facts.stage if isinstance(known.facts, ModuleFacts) else known.last_stage
    return replace(file, last_stage=last)


def read_source(root: str, path: str) -> bytes | Problem | None:
    """The bytes of a regular file; None where there is none, a Problem where it cannot be read."""
    try:
        with open(os.path.join(root, path), "rb", buffering=0, opener=open_nonblocking) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            # A dump of a database can be larger than the memory, and what is too large is no tool.
            return file.read(SIZE_LIMIT + 1) if path.endswith(SQL_SUFFIX) else file.readall()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return None
    except OSError as error:
        return Problem(
            code="unreadable",
            message=f"cannot be read: {error.strerror}",
            hint="change its permissions, or add it to exclude",
            path=path,
        )


def path_module(path: str) -> str:
    """A name for a file that need not be in a folder where Python looks for modules: `/tools/make` for
    `tools/make.py`, `/tools/make.sql` for the SQL file."""
    return f"/{path.removesuffix('.py')}"
