"""The values that other modules of the project give to names, for a hand-written orchestrator that imports them."""

from __future__ import annotations

import ast
import os
import tokenize
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from discover_orch.scaffold.static_values import read_values
from discover_orch.scaffold.value_kinds import Ref, Text, Unknown

#: Gives the file and the text of a module of the project, by its dotted name; None where there is none.
FindSource = Callable[[str], tuple[str, str] | None]


class ImportedValues:
    """Reads each module once; one that is no Python defines nothing."""

    def __init__(self, find_source: FindSource) -> None:
        self._find_source = find_source
        self._read: dict[str, Mapping[str, Any]] = {}

    def value(self, name: str) -> Any:
        """Also of an attribute of a class: `package.module.Class.NAME`."""
        parts = name.split(".")
        for end in range(len(parts) - 1, 0, -1):
            found = self._names(".".join(parts[:end])).get(".".join(parts[end:]))
            if isinstance(found, Text | list | dict):
                return _copied(found)
        return None

    def names(self, module: str) -> Mapping[str, Any]:
        found = self._names(module)
        return {name: _copied(one) for name, one in found.items() if not name.startswith("_")}

    def _names(self, module: str) -> Mapping[str, Any]:
        if module not in self._read:
            self._read[module] = {}  # also while it is read: modules may import each other
            found = self._find_source(module)
            if found is not None:
                self._read[module] = self._read_module(module, *found)
        return self._read[module]

    def _read_module(self, module: str, path: str, text: str) -> Mapping[str, Any]:
        package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
        try:
            values = read_values(ast.parse(text), package, self)
            return {name: _placed(one, path) for name, one in values.items()}
        except (SyntaxError, ValueError, RecursionError):  # also of a list that contains itself
            return {}


def _placed(value: Any, path: str) -> Any:
    """The value, of which each part knows that it is written in this file, unless it knows another one."""
    match value:
        case Text() if not value.path:
            return Text(value, value.line, path)
        case Unknown() | Ref() if not value.path:
            return replace(value, path=path)
        case list():
            return [_placed(one, path) for one in value]
        case dict():
            return {_placed(key, path): _placed(one, path) for key, one in value.items()}
    return value


def _copied(value: Any) -> Any:
    """Lists and dicts anew, so that a change by one module is none for another."""
    match value:
        case list():
            return [_copied(one) for one in value]
        case dict():
            return {key: _copied(one) for key, one in value.items()}
    return value


# Modules of the project.


def read_sources(root: str, path: str) -> FindSource:
    """The modules of the project that the file at `path` imports, as text."""

    def find(module: str) -> tuple[str, str] | None:
        found = find_module(root, find_folders(path), module)
        if found is None:
            return None
        try:
            with tokenize.open(os.path.join(root, found[1])) as opened:
                return found[1], opened.read()
        except (OSError, SyntaxError, UnicodeDecodeError):
            return None

    return find


def find_folders(path: str) -> list[str]:
    """The folders in which the file at `path` finds modules, relative to the root."""
    return list(dict.fromkeys([os.path.dirname(path) or ".", ".", "src"]))


def find_module(root: str, bases: Sequence[str], module: str) -> tuple[str, str] | None:
    """(the folder on `sys.path`, the file), both relative to the root."""
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for base in bases:
        for ending in (".py", "/__init__.py"):
            path = os.path.normpath(os.path.join(base, *parts)) + ending
            if os.path.isfile(os.path.join(root, path)):
                return base, path.replace(os.sep, "/")
    return None
