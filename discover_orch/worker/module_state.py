"""Which modules of the project were changed by a tool: a memo written by hand, an attribute of an object, a class or a
function.

What such state holds may come from a file that the next tool of the worker will not read again. Each top-level name
of a module is described before the first read of a step and after its last one: by the identity of the objects that
it leads to, and the number and values of what they contain. Nothing of the user's is called.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
from collections import deque
from collections.abc import MutableMapping
from types import (
    CellType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)

from discover_orch.worker.project_code import IS_INITIALIZING, ProjectCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

MOST_OBJECTS = 2_000  # that one name leads to
DESCRIPTORS = (property, classmethod, staticmethod)
#: Types by their identity: a metaclass can hash and compare as it likes.
SCALARS = frozenset(map(id, (type(None), bool, int, float, complex, str, bytes)))
CONTAINERS = (dict, list, tuple, set, frozenset, deque)
_CONTAINERS = frozenset(map(id, CONTAINERS))
_TUPLES = frozenset(map(id, (tuple, frozenset, *DESCRIPTORS)))
#: Types whose objects are looked into like containers.
HOLDERS = (
    *(CellType, MappingProxyType, MethodType, SimpleNamespace, functools.partial, MutableMapping),
    *DESCRIPTORS,
)
#: Modules of the standard library whose objects keep what they have read.
HOLDING_MODULES = frozenset(["configparser", "collections"])

_dict_of: Any = type.__dict__["__dict__"].__get__
_module_of: Any = type.__dict__["__module__"].__get__
_qualname_of: Any = type.__dict__["__qualname__"].__get__
_bases_of: Any = type.__dict__["__mro__"].__get__

#: A number for the objects of each library, and of all others under "".
_Parts = dict[str, int]
#: The identities of what the names in a module stand for, and what those lead to that may change.
_State = tuple[dict[str, int], dict[str, _Parts]]


class ChangedName:
    """A top-level name of a module of the project that leads to something else than before. `file` is that of the
    module as it is reported."""

    def __init__(
        self,
        module: ModuleType,
        name: str,
        packages: set[str],
        classes: dict[int, type],
        project: ProjectCode,
    ) -> None:
        self.file = project.show(module.__file__ or "")
        self.name, self._module, self._packages = name, module, packages
        self._module_of, self._value = project.module_of, vars(module).get(name)
        self._methods = [
            (getattr(sys.modules.get(_module_of(one)), "__file__", None), f"{_qualname_of(one)}.")
            for one in classes.values()
        ]

    def is_used_by(self, codes: Iterable[CodeType], *, counts_libraries: bool = True) -> bool:
        """Whether code of this stack names it, is a method of one of its objects, or belongs to a library whose object
        has changed."""
        folders = tuple(_folder_of(one) for one in self._packages if one and counts_libraries)
        return any(
            code.co_filename.startswith(folders)
            or ("" in self._packages and self._is_used_by(code))
            for code in codes
        )

    def _is_used_by(self, code: CodeType) -> bool:
        if type(self._value) is FunctionType and self._value.__code__ is code:
            return True
        return self._is_named_by(code) or any(
            code.co_filename == file and code.co_qualname.startswith(start)
            for file, start in self._methods
        )

    def _is_named_by(self, code: CodeType) -> bool:
        """Whether that code names it: in its own module, as an attribute of that, or by any name that it was given by
        an import."""
        names, module = code.co_names, self._module
        is_named = self.name in names
        last = module.__name__.rpartition(".")[2]
        if is_named and (code.co_filename == module.__file__ or last in names):
            return True
        held = vars(sys.modules.get(self._module_of.get(code.co_filename, ""), ModuleType("")))
        # A number or a text may be the same by chance.
        is_certain = is_named or id(type(self._value)) not in SCALARS
        return any(
            (held[one] is self._value and is_certain) or (held[one] is module and is_named)
            for one in names
            if one in held
        )


class ModuleState:
    """The state of the project's modules before and after the reads of one step."""

    def __init__(self, project: ProjectCode) -> None:
        self._project = project
        self._before: dict[str, _State] = {}
        #: Of each module the names that are looked into while it holds the same objects, and those of functions.
        self._deep: dict[str, tuple[dict[str, int], list[str], list[str]]] = {}
        #: Of each class, as it was, the places of the attributes that are looked into.
        self._places: dict[tuple[int, int], tuple[type, list[int]]] = {}
        self._kinds: dict[int, tuple[type, str | None]] = {}  # by the identity of the type

    def clear(self) -> None:
        """Forget the tools of earlier steps. What the last step left in other modules is what the next one finds."""
        for name in self._before.keys() - self._project.helpers.keys():
            del self._before[name]

    def note(self, codes: Iterable[CodeType]) -> None:
        """This code is about to read something. Of the modules of tools only that of the present one counts, and those
        whose code is running.
        """
        project = self._project
        running = {project.module_of.get(code.co_filename, "") for code in codes}
        for name in project.helpers.keys() | running | {project.tool}:
            module = sys.modules.get(name) if name not in self._before else None
            if isinstance(module, ModuleType) and not getattr(
                module.__spec__, IS_INITIALIZING, False
            ):
                with contextlib.suppress(Exception):  # another thread changes it, or an odd class
                    self._before[name] = self._describe(module)

    def find_changed(self) -> list[ChangedName]:
        found: list[ChangedName] = []
        for name, before in [*self._before.items()]:
            module = sys.modules.get(name)
            if not isinstance(module, ModuleType) or not module.__file__:
                continue
            with contextlib.suppress(Exception):
                now = self._before[name] = self._describe(module)
                if now != before:
                    found += self._find_names(module, before, now)
        return found

    def _find_names(self, module: ModuleType, before: _State, now: _State) -> Iterator[ChangedName]:
        for name, value in vars(module).copy().items():
            old, new = before[1].get(name, {}), now[1].get(name, {})
            packages = {one for one in old.keys() | new.keys() if old.get(one) != new.get(one)}
            if before[0].get(name) != now[0].get(name):
                packages.add("")
            kind = type(value)
            is_late = name not in before[0] and issubclass(kind, (FunctionType, type))
            if not packages or _is_special(name) or is_late or issubclass(kind, ModuleType):
                continue  # imported or defined late
            classes: dict[int, type] = {}
            self._describe_value(value, module.__name__, classes)
            yield ChangedName(module, name, packages, classes, self._project)

    def _describe(self, module: ModuleType) -> _State:
        """Most of what a module holds is compared by its identity, and is not looked into."""
        held, home = vars(module).copy(), module.__name__
        ids = {name: id(value) for name, value in held.items()}
        if home not in self._deep or self._deep[home][0] != ids:
            named = [one for one in held.items() if not _is_special(one[0])]
            deep = [name for name, value in named if self._may_keep(value, home)]
            functions = [name for name, value in named if type(value) is FunctionType]
            self._deep[home] = ids, deep, functions
        _, deep, functions = self._deep[home]
        late = (name for name in functions if held[name].__dict__)  # what they keep may come late
        return ids, {name: self._describe_value(held[name], home) for name in (*deep, *late)}

    def _describe_value(
        self, value: object, home: str, classes: dict[int, type] | None = None
    ) -> _Parts:
        """A number for what a value of the module `home` leads to, by package; "" for the project. Adds to `classes`
        those of the project.
        """
        parts: dict[str, list[int]] = {"": []}
        waiting: list[tuple[object, str]] = [(value, "")]
        seen: set[int] = set()
        while waiting and len(seen) < MOST_OBJECTS:
            one, package = waiting.pop()
            numbers = parts[package]
            if id(type(one)) in SCALARS:
                numbers.append(hash(one))
                continue
            numbers.append(id(one))
            if id(one) in seen:
                continue
            seen.add(id(one))
            owner, inside = self._look_inside(one, home, classes)
            if owner:
                package = package or owner
                parts.setdefault(package, [])
            if inside:
                parts[package].append(len(inside))
                waiting += [(held, package) for held in inside[:MOST_OBJECTS]]
        return {package: hash(tuple(numbers)) for package, numbers in parts.items()}

    def _look_inside(
        self, one: Any, home: str, classes: dict[int, type] | None
    ) -> tuple[str, list[object]]:
        """The library that an object belongs to, "" for none, and what it contains."""
        kind = type(one)
        if kind is FunctionType:
            return "", _find_kept(one)
        if kind is dict:
            return "", [*one.values()]
        if id(kind) in _CONTAINERS:
            return "", [*one]
        if issubclass(kind, type):
            if _module_of(one) != home:  # the module of the class itself is looked at too
                return "", []
            if classes is not None:
                classes[id(one)] = one
            held = [*_dict_of(one).values()]
            state = id(one), hash(tuple(map(id, held)))
            if state not in self._places:
                places = [place for place, value in enumerate(held) if self._may_keep(value)]
                self._places[state] = one, places
            return "", [state[1], *(held[place] for place in self._places[state][1])]
        owner = self._kind(kind)
        if owner is None:
            return "", []
        if owner == "" and classes is not None:
            bases: Any = _bases_of(kind)
            classes.update({id(base): base for base in bases if self._kind(base) == ""})
        return (owner if owner != _HELD else ""), gc.get_referents(one)

    def _may_keep(self, value: Any, home: str = "") -> bool:
        """Whether what a module or class holds may lead to something that changes. Most are plain functions. Of
        classes those count that the module `home` defines.
        """
        kind = type(value)
        if id(kind) in SCALARS:
            return False
        if issubclass(kind, type):
            return home != "" and _module_of(value) == home
        if kind is FunctionType:
            return any(map(self._may_keep, _find_kept(value)))
        if id(kind) in _TUPLES:
            return any(map(self._may_keep, gc.get_referents(value)))
        if kind is CellType:  # that of `super()` has a class
            return not all(issubclass(type(one), type) for one in gc.get_referents(value))
        return id(kind) in _CONTAINERS or self._kind(kind) is not None

    def _kind(self, kind: type) -> str | None:
        """To whom objects of the type belong: "" for the project, _HELD for what is looked into like a container, the
        package of a library, or None where they are not looked into."""
        known = self._kinds.get(id(kind))
        if known is None:
            known = self._kinds[id(kind)] = kind, self._find_kind(kind)
        return known[1]

    def _find_kind(self, kind: type) -> str | None:
        name = _module_of(kind)
        if not isinstance(name, str) or issubclass(kind, ModuleType):
            return None
        top = name.partition(".")[0]
        file = getattr(sys.modules.get(name), "__file__", None)
        if isinstance(file, str) and self._project.includes(file):
            return ""
        if issubclass(kind, (*CONTAINERS, *HOLDERS)) or top in HOLDING_MODULES:
            return _HELD
        is_library = isinstance(file, str) and top not in sys.stdlib_module_names
        return top if is_library else None


_HELD = "*"


def _find_kept(function: FunctionType) -> list[object]:
    """What a function keeps: in variables around it, in mutable defaults, in its attributes."""
    kept: list[object] = []
    if function.__closure__:
        kept += function.__closure__
    if function.__defaults__:
        kept += [one for one in function.__defaults__ if id(type(one)) not in SCALARS]
    for others in (function.__kwdefaults__, function.__dict__):
        if others:
            kept += others.values()
    return kept


def _is_special(name: object) -> bool:
    return isinstance(name, str) and name[:2] == "__" and name[-2:] == "__"


@functools.cache
def _folder_of(package: str) -> str:
    """What the paths of the package's files begin with."""
    file = getattr(sys.modules.get(package), "__file__", None)
    if not isinstance(file, str):
        return "\0"
    return os.path.dirname(file) + os.sep if os.path.basename(file) == "__init__.py" else file
