"""Which code may keep what it reads, so that the next tool of the worker finds it and reads nothing.

This is decided once for each code object, by its instructions and what it names, without looking at what is kept. Code
may keep what it reads if a decorator may (caches of `functools` are emptied before each tool), if it stores a global
or an attribute or into a container in one, if it has a closure with a container or an object, or if it stores into a
container at the top of a module. A constructor may store attributes: whoever keeps the new object is on the stack too.
What is read while code of an object's class runs may be kept by the object, so that it counts for the module that has
the object at its top: also an object of a library, such as the environment of a template language.
"""

from __future__ import annotations

import functools
import os
import sys
from collections import deque
from collections.abc import MutableMapping
from types import FunctionType, ModuleType

from discover_orch.model.search_path import is_of_python

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from dis import Instruction
    from types import CodeType, FrameType
    from typing import Any

    from discover_orch.worker.project_code import ProjectCode

MODULE, LAZY = (
    "<module>",
    "__getattr__",
)  # code that runs once for a module, or once for each of its names
CONSTRUCTORS = frozenset(["__init__", "__new__", "__post_init__"])
#: Calls and attributes that store as STORE_GLOBAL and STORE_ATTR do.
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
PLAIN = (
    str,
    bytes,
    int,
    float,
    complex,
    tuple,
    frozenset,
    type,
    type(None),
    FunctionType,
    ModuleType,
)
CACHED: type = functools._lru_cache_wrapper
GIVEN = "a container that code stores into which it was given"  # in place of a class
_ALWAYS: frozenset[str] = frozenset()
_dict_of: Any = type.__dict__["__dict__"].__get__
_module_of: Any = type.__dict__["__module__"].__get__
_qualname_of: Any = type.__dict__["__qualname__"].__get__
_bases_of: Any = type.__dict__["__mro__"].__get__

#: The file of a module that keeps something, as it is reported, and the classes of whose methods one must be running,
#: or GIVEN; none where any code keeps it.
Keeper = tuple[str, frozenset[str]]


class KeepingCode:
    """Ask `find` for the frames of a stack."""

    def __init__(self, project: ProjectCode) -> None:
        self._project = project
        self._known: dict[int, tuple[CodeType, tuple[Keeper, ...], bool]] = {}
        self._count = -1  # of the modules that were loaded when these were decided
        #: Where an object is at the top of a module, by its identity, with the object.
        self._homes: dict[int, tuple[object, tuple[str, ...]]] = {}

    def find(self, frames: Iterable[FrameType]) -> dict[str, None]:
        """The files of the modules that may keep what this stack reads."""
        if self._count != len(self._project.modules):
            self._count = len(self._project.modules)
            self._known.clear()
        running: set[str] = set()
        keepers: list[Keeper] = []
        for frame in frames:
            code = frame.f_code
            running.add(f"{code.co_filename}:{code.co_qualname.rpartition('.')[0]}")
            if file := self._project.find_code_file(code):
                known = self._known.get(id(code)) or self._note(frame, file)
                keepers += known[1]
                if known[2]:
                    running.add(GIVEN)
        return {file: None for file, one in keepers if not one or not one.isdisjoint(running)}

    def _note(self, frame: FrameType, file: str) -> tuple[CodeType, tuple[Keeper, ...], bool]:
        from dis import get_instructions  # many tools open no file

        code = frame.f_code
        given = {*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]}
        try:
            steps = [*get_instructions(code)]
            stores_into = [*_find_containers_stored_into(steps)]
            found = (*dict.fromkeys(self._decide(frame, file, steps, stores_into)),)
            is_given = any(not given.isdisjoint(_names_of(one)) for one in stores_into)
        except Exception:  # another thread changes a module, or an odd class
            found, is_given = ((file, _ALWAYS),), True
        known = self._known[id(code)] = code, found, is_given
        return known

    def _decide(
        self, frame: FrameType, file: str, steps: list[Instruction], stores_into: list[Instruction]
    ) -> Iterator[Keeper]:
        code, names = frame.f_code, frame.f_globals
        path = code.co_qualname.split(".")
        operations = {one.opname for one in steps}
        stores_attribute = "STORE_ATTR" in operations or any(map(_is_attribute, stores_into))
        cells = {name: frame.f_locals.get(name) for name in code.co_freevars}
        if (
            "STORE_GLOBAL" in operations
            or (stores_attribute and path[-1] not in CONSTRUCTORS)
            or not STORING_NAMES.isdisjoint(code.co_names)
            or any(one.opname == "STORE_DEREF" and one.argval in cells for one in steps)
            or any(map(self._may_keep, cells.values()))
            or code.co_qualname in (MODULE, LAZY)
            or self._is_decorated(code, names, path)
        ):
            yield file, _ALWAYS
        holder = _find_by_path(names, path[:-1])
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
        if value is os.environ:  # it is put back
            return
        kind = type(value)
        running: frozenset[str] | None = _find_classes(kind)
        if issubclass(kind, type):
            home = self._project.modules.get(_module_of(value), file)
            yield from self._find_in_class(value, steps, home)
            return
        if issubclass(kind, CONTAINERS):
            running = _find_use(name, steps)
        elif issubclass(kind, PLAIN) or not running:
            return
        if running is not None:
            yield from ((home, running) for home in (file, *self._find_homes(value)))

    def _find_in_class(self, kind: type, steps: list[Instruction], file: str) -> Iterator[Keeper]:
        """What code keeps in a container that is an attribute of a class."""
        for name, value in [*_dict_of(kind).items()]:
            is_container = issubclass(type(value), CONTAINERS)
            if is_container and (running := _find_use(name, steps)) is not None:
                yield file, running

    def _may_keep(self, value: object) -> bool:
        """Whether something can be kept in a variable around a function."""
        kind = type(value)
        return issubclass(kind, CONTAINERS) or (
            not issubclass(kind, PLAIN) and bool(_find_classes(kind))
        )

    def _is_decorated(self, code: CodeType, names: dict[str, Any], path: Sequence[str]) -> bool:
        """Whether a decorator of this function, a default value or an attribute of it may keep something."""
        if "<locals>" in path:  # what a function makes can be decorated and get a name
            return any(_wraps(one, code) for one in [*names.values()])
        found = _find_by_path(names, path)
        if isinstance(found, (staticmethod, classmethod)):
            found = found.__func__
        if found is None or isinstance(found, property):
            return False
        while type(found) is CACHED and found in self._project.caches.usual:
            found = found.__wrapped__  # type: ignore[attr-defined]  # what these keep is gone before the next tool
        if not isinstance(found, FunctionType):
            return True
        held = (
            *(one.cell_contents for one in found.__closure__ or ()),
            *(found.__defaults__ or ()),
            *(found.__kwdefaults__ or {}).values(),
            *found.__dict__.values(),
        )
        return any(map(self._may_keep, held))

    def _find_homes(self, value: object) -> tuple[str, ...]:
        """The files of the project's modules that have this object at their top."""
        known = self._homes.get(id(value))
        if known is None:
            found = [
                path
                for name, path in [*self._project.modules.items()]
                if any(
                    one is value
                    for one in [*getattr(sys.modules.get(name), "__dict__", {}).values()]
                )
            ]
            known = self._homes[id(value)] = value, tuple(found)
        return known[1]


def _find_containers_stored_into(steps: list[Instruction]) -> Iterator[Instruction]:
    """The instructions that load them: `rows[key] = row`, `rows.append(row)`."""
    from dis import stack_effect

    for place, one in enumerate(steps):
        start, depth = place, 0
        if one.opname == "STORE_SUBSCR":
            while depth < 1 and start > 0:  # before that stands the container
                start -= 1
                depth += stack_effect(steps[start].opcode, steps[start].arg, jump=False)
        elif one.argval not in STORING_METHODS:
            continue
        has_both = depth > 1  # since Python 3.13 one instruction loads the container and the key
        before = steps[start if has_both else start - 1]
        # `os.environ` is put back.
        if before.argval != "environ" or steps[start - 2].argval != "os":
            yield before


def _names_of(one: Instruction) -> tuple[object, ...]:
    """The local variables that an instruction loads."""
    if not one.opname.startswith("LOAD_FAST"):
        return ()
    return one.argval if isinstance(one.argval, tuple) else (one.argval,)


def _is_attribute(one: Instruction) -> bool:
    return one.opname == "LOAD_ATTR"


def _find_use(name: str, steps: list[Instruction]) -> frozenset[str] | None:
    """What must be running that something is kept in the container of this name; None if the code only looks
    something up in it. It may pass the container to code that stores into it."""
    found: frozenset[str] | None = None
    for place, one in enumerate(steps):
        if one.argval != name or one.opname not in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR"):
            continue
        before, after, later = steps[place - 1], *(*steps[place + 1 :], one, one)[:2]
        if (
            _is_reading(after)
            or after.argval in READING_METHODS
            or (after.opname.startswith("LOAD_") and _is_reading(later))
            or before.argval in READING_CALLS
        ):
            continue
        if one in _find_containers_stored_into(steps) or after.opname.startswith(
            ("STORE", "RETURN")
        ):
            return _ALWAYS
        found = frozenset([GIVEN])
    return found


def _is_reading(one: Instruction) -> bool:
    return one.opname in READING or (one.opname == "BINARY_OP" and one.argrepr == "[]")


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


def _find_classes(kind: type) -> frozenset[str]:
    """A class of the project or a library, and those that it inherits from, each with its file; none of the standard
    library."""
    found = []
    for base in _bases_of(kind):
        name = _module_of(base)
        file = getattr(sys.modules.get(name), "__file__", None) if isinstance(name, str) else None
        if isinstance(file, str) and not is_of_python(file):
            found.append(f"{os.path.abspath(file)}:{_qualname_of(base)}")
    return frozenset(found)
