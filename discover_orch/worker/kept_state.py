"""Which modules of the project a step has left in another state: then a later tool of the worker may find there what
an earlier one has computed, and not compute it.

The state of a module are its names, and all that is reached from them through containers, objects, classes of the
project and closures; of what has a buffer, as an array of numbers, the bytes. Caches of `functools` are emptied before
each tool, and loggers are everybody's, so they do not count. What cannot be looked into, as an open file, is taken to
be as it was.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections import deque
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MethodType,
    ModuleType,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

    from discover_orch.worker.project_code import ProjectCode

#: More objects than that are not looked at: then the module counts as changed.
MOST_OBJECTS = 20_000
MOST_BYTES = 10_000_000  # of a buffer
_VALUES = frozenset((int, float, complex, str, bytes, bool, type(None)))
_CLOSED = frozenset((
    ModuleType, CodeType, BuiltinFunctionType, GetSetDescriptorType, functools._lru_cache_wrapper, range, slice,
))  # fmt: skip
_DESCRIPTORS = (staticmethod, classmethod, property)
#: Modules of the standard library whose objects hold others; of objects of the others only open attributes count, as
#: they remember for themselves what they have computed of themselves (paths).
_HOLDING = frozenset(
    ("collections", "functools", "types", "weakref", "_weakref", "queue", "threading", "_thread")
)


class KeptState:
    """`note_loaded` for each module once it was loaded, `find_changed` after each step."""

    def __init__(self, project: ProjectCode) -> None:
        self._project = project
        self._known: dict[str, int] = {}  # name of a module → its state
        self._names: dict[str, list[str]] = {}  # path → names of modules
        self._count = 0
        self._unknown = 1

    def note_loaded(self, path: str) -> None:
        for name in self._find_names((path,)):
            self._known[name] = self._find_state(name)

    def find_changed(self, paths: Collection[str]) -> tuple[str, ...]:
        """Those of these modules that are in another state than when they were loaded, or at the last call."""
        changed: dict[str, None] = {}
        for name in self._find_names(paths):
            state = self._find_state(name)
            if state != self._known.get(name, state):
                changed[self._project.modules[name]] = None
            self._known[name] = state
        return tuple(changed)

    def _find_names(self, paths: Iterable[str]) -> list[str]:
        modules = self._project.modules
        if self._count != len(modules):
            for name in [*modules][self._count :]:
                self._names.setdefault(modules[name], []).append(name)
            self._count = len(modules)
        return [name for path in paths for name in self._names.get(path, ())]

    def _find_state(self, name: str) -> int:
        """Equal to no other where it cannot be found out, as where another thread changes it."""
        module = sys.modules.get(name)
        try:
            return self._read(vars(module)) if isinstance(module, ModuleType) else 0
        except Exception:
            self._unknown += 1
            return -self._unknown

    def _read(self, names: dict[str, Any]) -> int:
        own = {name: one for name, one in names.items() if not name[:2] == name[-2:] == "__"}
        state = hash(tuple(own))
        seen: set[int] = set()
        waiting: list[Any] = [*own.values()]
        while waiting:
            one = waiting.pop()
            kind = type(one)
            if kind in _VALUES:
                state = hash((state, one))
                continue
            state = hash((state, id(one)))
            if kind in _CLOSED or id(one) in seen:
                continue
            seen.add(id(one))
            if len(seen) > MOST_OBJECTS:
                raise OverflowError
            if hasattr(kind, "__buffer__"):
                state = hash((state, _read_bytes(one)))
            if issubclass(kind, (dict, list, tuple, set, frozenset, deque)):
                state = hash((state, len(one)))
            waiting += self._find_inner(one, kind)
        return state

    def _find_inner(self, one: Any, kind: type) -> Iterable[Any]:
        if kind is FunctionType:
            cells = [cell.cell_contents for cell in one.__closure__ or () if _is_filled(cell)]
            defaults = (*(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values())
            return (*cells, *defaults, *one.__dict__.values())
        if kind is MethodType:
            return (one.__self__, one.__func__)
        if issubclass(kind, _DESCRIPTORS):
            return gc.get_referents(one)
        if issubclass(kind, type):
            is_own = (
                type.__dict__["__dict__"].__get__(one).get("__module__") in self._project.modules
            )
            return [*type.__dict__["__dict__"].__get__(one).values()] if is_own else ()
        if issubclass(kind, dict):
            return (*dict.keys(one), *dict.values(one), *self._find_attributes(one))
        top = kind.__module__.partition(".")[0] if isinstance(kind.__module__, str) else ""
        if top in sys.stdlib_module_names and top not in _HOLDING and top != "builtins":
            return () if top == "logging" else self._find_attributes(one)
        return gc.get_referents(one)

    def _find_attributes(self, one: Any) -> Iterable[Any]:
        return () if type(one) is dict else getattr(one, "__dict__", {}).values()


def _read_bytes(one: Any) -> bytes:
    view = one if hasattr(one, "nbytes") else memoryview(one)
    if view.nbytes > MOST_BYTES:
        raise OverflowError
    return bytes(view.tobytes())


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
