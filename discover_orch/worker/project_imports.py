"""How the import system loads modules of the project: from the source bytes at that moment, and with a record.

Bytecode in `__pycache__` is used only if it carries the hash of these bytes (PEP 552); a time stamp would miss a
second save within a second.
"""

from __future__ import annotations

import contextlib
import importlib.util
import marshal
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from types import CodeType, ModuleType
from typing import Any

from discover_orch.model.search_path import EDITABLE, INSTALLED, STANDARD_LIBRARY
from discover_orch.worker.process_state import PACKAGES, ProcessState
from discover_orch.worker.project_code import ProjectCode

HASH_CHECKED = 0b11  # flags of PEP 552: hash-based and always checked
HEADER = importlib.util.MAGIC_NUMBER + HASH_CHECKED.to_bytes(4, "little")
EMPTY_FILE_WAIT = 0.05  # seconds; many editors empty a file before they write it
COARSEST_TIME_STAMP = 2.1  # seconds: time stamps of FAT
Record = Callable[[str, str, bytes, CodeType], None]  # called with a module, its path, source, code
Loading = Callable[[str], AbstractContextManager[None]]  # is entered while this file is executed
_LoaderBasics: Any = SourceFileLoader.__mro__[-2]  # of all loaders of Python code
exec_plainly = _LoaderBasics.exec_module
_unwritten: dict[str, tuple[bytes, CodeType]] = {}  # bytecode files, each with its header


def make_path_hook(
    project: ProjectCode, record: Record, loading: Loading
) -> Callable[[str], ProjectFinder]:
    """The path hook: a finder for a folder of the project; ImportError for any other path."""

    def make_loader(name: str, path: str) -> ProjectLoader:
        return ProjectLoader(name, path, record, loading)

    def make_finder(path: str) -> ProjectFinder:
        if not project.includes(os.path.abspath(path)) or not os.path.isdir(path):
            raise ImportError("not a folder of the project", path=path)
        return ProjectFinder(
            path,
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (make_loader, SOURCE_SUFFIXES),  # type: ignore[arg-type]
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )

    return make_finder


class ProjectFinder(FileFinder):
    """Searches again in a folder that has just changed: its time stamp may be too coarse to show that."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = super().find_spec(fullname, target)
        if spec is None:
            with contextlib.suppress(OSError):
                if time.time() - os.stat(self.path).st_mtime < COARSEST_TIME_STAMP:
                    self.invalidate_caches()
                    spec = super().find_spec(fullname, target)
        return spec


class EditableFinder:
    """Finds what setuptools' finders of editable packages find, and has it loaded as a module of the project."""

    def __init__(self, project: ProjectCode, record: Record, loading: Loading) -> None:
        self._finders: list[Any] = [
            one for one in sys.meta_path if getattr(one, "__module__", "").startswith(EDITABLE)
        ]
        self._project = project
        self._record, self._loading = record, loading

    def install(self) -> None:
        if self._finders:
            sys.meta_path.insert(sys.meta_path.index(self._finders[0]), self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        for finder in self._finders:
            spec: ModuleSpec | None = finder.find_spec(fullname, path, target)
            if spec is not None:
                file = spec.origin or ""
                if type(spec.loader) is SourceFileLoader and self._project.includes(file):
                    spec.loader = ProjectLoader(fullname, file, self._record, self._loading)
                return spec
        return None


class ProjectLoader(SourceFileLoader):
    """Loads a module from its current source bytes."""

    def __init__(self, fullname: str, path: str, record: Record, loading: Loading) -> None:
        super().__init__(fullname, path)
        self._record, self._loading = record, loading

    def exec_module(self, module: ModuleType) -> None:
        with self._loading(self.path):
            exec_plainly(self, module)

    def get_code(self, fullname: str) -> CodeType:
        path = self.path
        source = self.get_data(path)
        if not source:
            source = _read_again(path) or source
        header = build_header(source)
        cached = find_bytecode(path)
        code = None if cached is None else read_bytecode(cached, path, header)
        if code is None:
            code = self.source_to_code(source, path)
            if cached is not None and not sys.dont_write_bytecode:
                _unwritten[cached] = header, code
        self._record(fullname, path, source, code)
        return code


def follow_packages(project: ProjectCode, state: ProcessState) -> None:
    """From now on, what installed packages change in the process while they are loaded holds for all tools."""

    def exec_module(loader: Any, module: ModuleType) -> None:
        path = loader.path
        if (
            state.is_loading_package
            or isinstance(loader, ProjectLoader)
            or (path.startswith(STANDARD_LIBRARY) and not any(one in path for one in INSTALLED))
            or project.includes(path)
        ):
            exec_plainly(loader, module)
            return
        with state.changed_by(PACKAGES):
            exec_plainly(loader, module)

    _hide_from_tracebacks(exec_module)
    _LoaderBasics.exec_module = exec_module


def _hide_from_tracebacks(function: Any) -> None:
    """Python leaves frames of the import system out of tracebacks, by the names of their files."""
    function.__code__ = function.__code__.replace(
        co_filename="<frozen importlib._bootstrap_external>"
    )


_hide_from_tracebacks(ProjectLoader.exec_module)


def _read_again(path: str) -> bytes:
    """Wait a moment for the content of an empty file that was just saved: many editors empty it first."""
    until = time.monotonic() + EMPTY_FILE_WAIT
    source = b""
    with contextlib.suppress(OSError):
        if abs(time.time() - os.stat(path).st_mtime) > COARSEST_TIME_STAMP:
            return source
        while not source and time.monotonic() < until:
            time.sleep(EMPTY_FILE_WAIT / 10)
            with open(path, "rb", buffering=0) as file:
                source = file.read()
    return source


def find_bytecode(path: str) -> str | None:
    """The bytecode file of a source file, there or not; None where the interpreter keeps no bytecode."""
    try:
        return importlib.util.cache_from_source(path)
    except NotImplementedError:
        return None


def build_header(source: bytes) -> bytes:
    """The first bytes of the bytecode of this source."""
    return HEADER + importlib.util.source_hash(source)


def read_bytecode(cached: str, path: str, header: bytes) -> CodeType | None:
    """The code of a bytecode file with this header; None for any other file."""
    try:
        with open(cached, "rb", buffering=0) as file:
            data = file.read()
    except OSError:
        return None
    if data[:16] != header:
        return None
    try:
        code = marshal.loads(memoryview(data)[16:])
    except (ValueError, EOFError, TypeError):
        return None
    # After the project was moved, the code has the old path: compile again.
    return code if isinstance(code, CodeType) and code.co_filename == path else None


def write_bytecode() -> None:
    """Keep what was compiled since the last call. It is called when a step has ended, so that no tool waits for it."""
    while _unwritten:
        cached, (header, code) = _unwritten.popitem()
        write_bytecode_file(cached, header, code)


def write_bytecode_file(cached: str, header: bytes, code: CodeType) -> None:
    """Replace the file atomically. Where that fails, the next load compiles again."""
    made = f"{cached}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(cached), exist_ok=True)
        with open(made, "wb") as file:
            file.write(header + marshal.dumps(code))
        os.replace(made, cached)
    except BaseException as error:  # Ctrl-C too
        with contextlib.suppress(OSError):
            os.unlink(made)
        if not isinstance(error, OSError):
            raise
