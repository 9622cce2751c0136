"""Which code may keep what it reads, so that the next tool of the worker finds it and reads nothing.

This is decided once for each code object, by its instructions and what it names, without looking at what is kept. Code
may keep what it reads if a cache decorates it, if it stores a global or an attribute or into a container in one, if it
has a closure, or if it uses a mutable container at the top of a module in another way than to look something up. What
is read while code of an object's class runs may be kept by the object, so that it counts for the module that has the
object at its top: also an object of a library, such as the environment of a template language.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import MutableMapping
from types import FunctionType, ModuleType

from discover_orch.model.search_path import INSTALLED, STANDARD_LIBRARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from dis import Instruction
    from types import CodeType, FrameType
    from typing import Any

    from discover_orch.worker.project_code import ProjectCode

MODULE, LAZY = (
    "<module>",
    "__getattr__",
)  # code that runs once for a module, or once for each of its names
STORES = frozenset(["STORE_GLOBAL", "STORE_ATTR"])
#: Calls and attributes that store as these do.
STORING_NAMES = frozenset(["globals", "setattr", "vars", "__dict__", "__setattr__"])
STORING_METHODS = frozenset(
    ["add", "append", "appendleft", "extend", "insert", "setdefault", "update", "__setitem__"]
)
#: What only looks something up in a container.
READING = frozenset(["GET_ITER", "CONTAINS_OP", "BINARY_SUBSCR"])
READING_METHODS = frozenset(["copy", "count", "get", "index", "items", "keys", "values"])
READING_CALLS = frozenset(
    ["dict", "enumerate", "frozenset", "iter", "len", "list", "set", "sorted", "tuple"]
)
CONTAINERS = (dict, list, set, bytearray, deque, MutableMapping)
_dict_of: Any = type.__dict__["__dict__"].__get__
_module_of: Any = type.__dict__["__module__"].__get__
_bases_of: Any = type.__dict__["__mro__"].__get__

#: The file of a module that keeps something, as it is reported, and the files of whose code one must be running; none
#: where any code keeps it.
Keeper = tuple[str, frozenset[str]]
_ALWAYS: frozenset[str] = frozenset()


class KeepingCode:
    """Ask `find` for the code of a frame."""

    def __init__(self, project: ProjectCode) -> None:
        self._project = project
        self._known: dict[int, tuple[CodeType, tuple[Keeper, ...]]] = {}
        self._count = -1  # of the modules that were loaded when these were decided
        #: Where an object is at the top of a module, by its identity, with the object.
        self._homes: dict[int, tuple[object, tuple[str, ...]]] = {}

    def find(self, frame: FrameType) -> tuple[Keeper, ...]:
        """The modules that may keep what this code reads."""
        code = frame.f_code
        file = self._project.find_file(code)
        if not file:
            return ()
        if self._count != len(self._project.modules):
            self._count = len(self._project.modules)
            self._known.clear()
        known = self._known.get(id(code))
        if known is None:
            try:
                found = (*dict.fromkeys(self._decide(code, file, frame.f_globals)),)
            except Exception:  # another thread changes a module, or an odd class
                found = ((file, _ALWAYS),)
            known = self._known[id(code)] = code, found
        return known[1]

    def _decide(self, code: CodeType, file: str, names: dict[str, Any]) -> Iterator[Keeper]:
        from dis import get_instructions  # many tools open no file

        steps = [*get_instructions(code)]
        if (
            code.co_freevars
            or code.co_qualname in (MODULE, LAZY)
            or not STORING_NAMES.isdisjoint(code.co_names)
            or any(one.opname in STORES for one in steps)
            or _stores_into_attribute(steps, names)
            or _is_decorated(code, names)
        ):
            yield file, _ALWAYS
        holder = _find_by_path(names, code.co_qualname.split(".")[:-1])
        if isinstance(holder, type):
            yield from self._find_in_class(holder, steps, file)
        for name in code.co_names:
            value = names.get(name, sys.modules.get(name))
            if isinstance(value, ModuleType):
                yield from self._find_in_module(value, code.co_names, steps)
            elif name in names:
                yield from self._find_kept(name, value, steps, file)

    def _find_in_module(
        self,
        module: ModuleType,
        names: Sequence[str],
        steps: list[Instruction],
        *,
        is_inner: bool = False,
    ) -> Iterator[Keeper]:
        """What code keeps in a module of the project, which it names together with attributes of it."""
        path = getattr(module, "__file__", None)
        if not isinstance(path, str) or not self._project.includes(path):
            return
        for name in names:
            value = vars(module).get(name)
            if not isinstance(value, ModuleType):
                yield from self._find_kept(name, value, steps, self._project.show(path))
            elif not is_inner:
                yield from self._find_in_module(value, names, steps, is_inner=True)

    def _find_kept(
        self, name: str, value: Any, steps: list[Instruction], file: str
    ) -> Iterator[Keeper]:
        """What code keeps in a value that it names, which is at the top of the module of this file."""
        kind = type(value)
        if issubclass(kind, (str, bytes, int, float, FunctionType, tuple)) or value is None:
            return
        if issubclass(kind, type):
            yield from self._find_in_class(value, steps, self._show(value) or file)
            return
        running = _ALWAYS
        if issubclass(kind, CONTAINERS):
            if _only_reads(name, steps):
                return
        elif not (running := frozenset(filter(None, map(_file_of_class, _bases_of(kind))))):
            return
        yield file, running
        yield from ((home, running) for home in self._find_homes(value))

    def _find_in_class(self, kind: type, steps: list[Instruction], file: str) -> Iterator[Keeper]:
        """What code keeps in a container that is an attribute of a class."""
        for name, value in [*_dict_of(kind).items()]:
            if issubclass(type(value), CONTAINERS) and not _only_reads(name, steps):
                yield file, _ALWAYS

    def _show(self, kind: type) -> str:
        file = _file_of_class(kind)
        return self._project.show(file) if file and self._project.includes(file) else ""

    def _find_homes(self, value: object) -> tuple[str, ...]:
        """The files of the project's modules that have this object at their top."""
        known = self._homes.get(id(value))
        if known is None:
            found = []
            for name in [*self._project.modules]:
                module = sys.modules.get(name)
                path = getattr(module, "__file__", None)
                if isinstance(path, str) and any(one is value for one in [*vars(module).values()]):
                    found.append(self._project.show(path))
            known = self._homes[id(value)] = value, tuple(found)
        return known[1]


def _stores_into_attribute(steps: list[Instruction], names: dict[str, Any]) -> bool:
    """As `self.rows[key] = row` and `self.rows.append(row)` do."""
    from dis import stack_effect

    for place, one in enumerate(steps):
        start = place
        if one.opname == "STORE_SUBSCR":
            depth = 0
            while depth < 1 and start > 0:  # before that stands the container
                start -= 1
                depth += stack_effect(steps[start].opcode, steps[start].arg, jump=False)
        elif one.argval not in STORING_METHODS:
            continue
        if steps[start - 1].opname == "LOAD_ATTR":
            owner = names.get(str(steps[start - 2].argval))
            if owner is not os:  # `os.environ` is put back
                return True
    return False


def _only_reads(name: str, steps: list[Instruction]) -> bool:
    """Whether the code only looks something up in the container of this name."""
    places = [
        place
        for place, one in enumerate(steps)
        if one.argval == name and one.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR")
    ]
    for place in places:
        before, after, later = steps[place - 1], *(*steps[place + 1 :], steps[-1], steps[-1])[:2]
        if not (
            _is_reading(after)
            or after.argval in READING_METHODS
            or (after.opname.startswith("LOAD_") and _is_reading(later))
            or before.argval in READING_CALLS
        ):
            return False
    return True


def _is_reading(one: Instruction) -> bool:
    return one.opname in READING or (one.opname == "BINARY_OP" and one.argrepr == "[]")


def _is_decorated(code: CodeType, names: dict[str, Any]) -> bool:
    """Whether what has the name of this function is something else than the function, or has a mutable default."""
    path = code.co_qualname.split(".")
    if "<locals>" in path:  # what a function makes can be decorated and get a name
        return any(_wraps(one, code) for one in [*names.values()])
    found = _find_by_path(names, path)
    if isinstance(found, (staticmethod, classmethod)):
        found = found.__func__
    if isinstance(found, property):
        accessors = (found.fget, found.fset, found.fdel)
        return not any(getattr(one, "__code__", None) is code for one in accessors)
    if isinstance(found, FunctionType):
        held = (
            *(found.__defaults__ or ()),
            *(found.__kwdefaults__ or {}).values(),
            *found.__dict__.values(),
        )
        return found.__code__ is not code or any(isinstance(one, CONTAINERS) for one in held)
    return found is not None


def _find_by_path(names: dict[str, Any], path: Sequence[str]) -> Any:
    """What a name with dots stands for at the top of a module."""
    found = names.get(path[0]) if path else None
    for name in path[1:]:
        found = _dict_of(found).get(name) if isinstance(found, type) else None
    return found


def _wraps(function: Any, code: CodeType) -> bool:
    for _ in range(100):  # `__wrapped__` can be anything
        try:
            function = object.__getattribute__(function, "__dict__").get("__wrapped__")
        except (AttributeError, TypeError):
            return False
        if getattr(function, "__code__", None) is code:
            return True
    return False


def _file_of_class(kind: type) -> str:
    """The file of a class of the project or a library; "" for one of the standard library."""
    name = _module_of(kind)
    file = getattr(sys.modules.get(name), "__file__", None) if isinstance(name, str) else None
    if not isinstance(file, str):
        return ""
    is_standard = file.startswith(STANDARD_LIBRARY) and not any(one in file for one in INSTALLED)
    return "" if is_standard else os.path.abspath(file)
