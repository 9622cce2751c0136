"""Compiles modules of the project before a worker loads them: several processes can do that, a worker is one.

Runs none of the code. Only time is saved: a worker uses bytecode where it carries the hash of the bytes that it loads.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from types import CodeType

from discover_orch.worker.project_imports import (
    build_header,
    find_bytecode,
    read_bytecode,
    write_bytecode_file,
)


def find_uncompiled(paths: Iterable[str]) -> list[str]:
    """Those of these source files that have no bytecode file."""
    found = []
    #: By folder: the ending of the names of its bytecode files, and their names.
    present: dict[str, tuple[str, frozenset[str]]] = {}
    for path in paths:
        folder, _, name = path.rpartition(os.sep)
        if folder not in present:
            present[folder] = _list_bytecode(folder)
        ending, names = present[folder]
        if ending and name.removesuffix(".py") + ending not in names:
            found.append(path)
    return found


def _list_bytecode(folder: str) -> tuple[str, frozenset[str]]:
    cached = find_bytecode(os.path.join(folder, "x.py"))
    if cached is None:
        return "", frozenset()
    place, _, name = cached.rpartition(os.sep)
    try:
        return name[1:], frozenset(os.listdir(place))
    except OSError:
        return name[1:], frozenset()


def compile_ahead(path: str) -> None:
    """Keep the bytecode of a source file.

    Nothing is kept of a file that Python cannot compile or warns of: the worker that loads it shows that.
    """
    cached = find_bytecode(path)
    if cached is None or not _can_write(cached):
        return
    try:
        with open(path, "rb", buffering=0) as file:
            source = file.read()
    except OSError:
        return
    if read_bytecode(cached, path, build_header(source)) is not None:
        return
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        try:
            code = compile(source, path, "exec", dont_inherit=True)
        except Exception:  # of many kinds, as `source.parse` lists them
            return
    if not shown:
        write_bytecode_file(cached, build_header(source), code)


def keep_bytecode(source: bytes, code: CodeType) -> None:
    """Keep what a source file was compiled to, as Python keeps it when it loads the module."""
    cached = find_bytecode(code.co_filename)
    if cached is not None and _can_write(cached):
        write_bytecode_file(cached, build_header(source), code)


def _can_write(cached: str) -> bool:
    if sys.dont_write_bytecode:
        return False
    folder = os.path.dirname(cached)
    with suppress(OSError):
        os.makedirs(folder, exist_ok=True)
    return os.access(folder, os.W_OK)
