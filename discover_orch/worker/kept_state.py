"""Which modules of the project a step has left in another state: then a later tool of the worker may find there what
an earlier one has computed, and not compute it.

The state of a module are its names, and all that is reached from them through containers, objects, classes of the
project and closures; of what has a buffer, as an array of numbers, the bytes. Caches of `functools` are emptied before
each tool, and loggers are everybody's, so they do not count. What cannot be looked into, as an open file, is taken to
be as it was.

Of a module that has nothing but values, containers and functions, all that refers to something else is kept with what
it referred to: if that is still the same, nothing has changed, and it is found out four times as fast. Of others
nothing is kept, since then a connection or file that a tool lets go would stay open.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections import deque
from operator import is_
from types import (
    BuiltinFunctionType,
    CellType,
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
_VALUES: frozenset[type] = frozenset((int, float, complex, str, bytes, bool, type(None)))
#: Compared as text: 0 and "" have the same hash, and so have -1 and -2.
_NUMBERS: frozenset[type] = frozenset((int, float, complex))
_CLOSED: frozenset[type] = frozenset((
    ModuleType, CodeType, BuiltinFunctionType, GetSetDescriptorType, functools._lru_cache_wrapper, range, slice,
))  # fmt: skip
_CLASS_NAMES = type.__dict__["__dict__"]  # whatever a metaclass makes of it
_DESCRIPTORS = (staticmethod, classmethod, property)
#: Modules of the standard library whose objects hold others; of objects of the others only open attributes count, as
#: they remember for themselves what they have computed of themselves (paths).
_HOLDING = frozenset(
    ("collections", "functools", "types", "weakref", "_weakref", "queue", "threading", "_thread")
)
#: Nothing is lost if one of these lives until the end of a step that lets it go; likewise objects of these modules.
_PLAIN: frozenset[type] = frozenset((
    *(*_VALUES, *_CLOSED, *_DESCRIPTORS, dict, list, tuple, set, frozenset, deque),
    *(FunctionType, MethodType, CellType),
))  # fmt: skip
_PLAIN_MODULES = frozenset((
    *("re", "datetime", "decimal", "fractions", "pathlib", "pathlib._abc", "pathlib._local"),
    *("abc", "builtins", "enum", "logging", "collections", "dataclasses", "functools", "types", "typing"),
))  # fmt: skip


class Known:
    """The state of a module. `holders` have referred to `held`; they are empty where nothing is kept."""

    __slots__ = ("held", "holders", "state")

    def __init__(self, state: int, holders: list[Any]) -> None:
        self.state, self.holders = state, holders
        self.held = gc.get_referents(*holders)

    def is_same(self) -> bool:
        now = gc.get_referents(*self.holders)
        return bool(now) and len(now) == len(self.held) and all(map(is_, now, self.held))


class KeptState:
    """`note_loaded` for each module once it was loaded, `find_changed` after each step, `forget` at the end."""

    def __init__(self, project: ProjectCode) -> None:
        self._project = project
        self._known: dict[str, Known] = {}  # by the name of a module
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
            known = self._known.get(name)
            if known is not None and known.is_same():
                continue
            now = self._known[name] = self._find_state(name)
            if known is not None and known.state != now.state:
                changed[self._project.modules[name]] = None
        return tuple(changed)

    def forget(self) -> None:
        """So that what modules hold can end with them."""
        self._known.clear()

    def _find_names(self, paths: Iterable[str]) -> list[str]:
        modules = self._project.modules
        if self._count != len(modules):
            for name in [*modules][self._count :]:
                self._names.setdefault(modules[name], []).append(name)
            self._count = len(modules)
        return [name for path in paths for name in self._names.get(path, ())]

    def _find_state(self, name: str) -> Known:
        """Equal to no other where it cannot be found out, as where another thread changes it."""
        module = sys.modules.get(name)
        try:
            return self._read(vars(module)) if isinstance(module, ModuleType) else Known(0, [])
        except Exception:
            self._unknown += 1
            return Known(-self._unknown, [])

    def _read(self, names: dict[str, Any]) -> Known:
        own = {name: one for name, one in names.items() if not name[:2] == name[-2:] == "__"}
        state = hash(tuple(own))
        seen: set[int] = set()
        holders: list[Any] = [names]
        is_plain = True
        waiting: list[Any] = [*own.values()]
        while waiting:
            one = waiting.pop()
            kind = type(one)
            if kind in _VALUES:
                state = hash((state, kind, repr(one) if kind in _NUMBERS else one))
                continue
            state = hash((state, id(one)))
            if kind in _CLOSED or id(one) in seen:
                continue
            seen.add(id(one))
            if len(seen) > MOST_OBJECTS:
                raise OverflowError
            if hasattr(kind, "__buffer__"):
                state = hash((state, _read_bytes(one)))
                is_plain = False
            if issubclass(kind, (dict, list, tuple, set, frozenset, deque)):
                state = hash((state, len(one)))
            inner = self._find_inner(one, kind)
            is_plain = is_plain and (kind in _PLAIN or self._is_plain(kind))
            if is_plain:
                holders.append(one)
                if issubclass(kind, type):  # what refers to its attributes
                    holders += gc.get_referents(_CLASS_NAMES.__get__(one))
            waiting += inner
        return Known(state, holders if is_plain else [])

    def _is_plain(self, kind: type) -> bool:
        if issubclass(kind, type):
            return True
        homes = {base.__module__ for base in kind.__mro__}
        is_known = all(home in _PLAIN_MODULES or home in self._project.modules for home in homes)
        return is_known and not hasattr(kind, "__del__")

    def _find_inner(self, one: Any, kind: type) -> Collection[Any]:
        if kind is FunctionType:
            return (*(one.__closure__ or ()), one.__defaults__, one.__kwdefaults__, one.__dict__)
        if kind is MethodType:
            return (one.__self__, one.__func__)
        if issubclass(kind, _DESCRIPTORS):
            return gc.get_referents(one)
        if issubclass(kind, type):
            names = _CLASS_NAMES.__get__(one)
            is_own = names.get("__module__") in self._project.modules
            return [*names.values()] if is_own else ()
        if issubclass(kind, dict):
            return (*dict.keys(one), *dict.values(one), *self._find_attributes(one))
        top = kind.__module__.partition(".")[0] if isinstance(kind.__module__, str) else ""
        if top in sys.stdlib_module_names and top not in _HOLDING and top != "builtins":
            return () if top == "logging" else self._find_attributes(one)
        return gc.get_referents(one)

    def _find_attributes(self, one: Any) -> Collection[Any]:
        return () if type(one) is dict or not hasattr(one, "__dict__") else (one.__dict__,)


def _read_bytes(one: Any) -> bytes:
    view = one if hasattr(one, "nbytes") else memoryview(one)
    if view.nbytes > MOST_BYTES:
        raise OverflowError
    return bytes(view.tobytes())
