"""Which code was running when something was read: the files, variables and modules of a step by its call stacks.

What a cached function or the import of a module reads is read once for all tools of a worker, and so is what code
keeps in the state of a module (`module_state`). The hook that finds a stack runs for each file that is opened, so
two stacks differ where the identity of their code does.
"""

from __future__ import annotations

import sys
from functools import cached_property

from discover_orch.worker.interrupts import Interrupts
from discover_orch.worker.observed_paths import resolve_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

    from discover_orch.worker.module_state import ModuleState
    from discover_orch.worker.project_code import ProjectCode

MODULE = "<module>"  # the name of the code that runs while a module is imported
LAZY = "__getattr__"  # of a module, since the name of a method starts with that of its class
MOST_STACKS = 10_000  # of one step; all others count as one
CALL = Interrupts.call.__code__  # it calls the user's code


#: What a stack used: "path" (of a folder, a database, a module past the loader), "env" (a variable), "asked" (one that
#: a library has looked up), "copied" (all variables), "module" (one got by name), and the path or name.
Use = tuple[str, str]


class Stack:
    """The code on one stack, the innermost first, and what it used: files that it opened, tables read through `conn`,
    and the rest. Paths are as the tool wrote them.
    """

    __slots__ = ("codes", "opened", "tables", "used")

    def __init__(self, codes: tuple[CodeType, ...]) -> None:
        self.codes = codes
        self.opened: dict[str, None] = {}
        self.tables: set[str] = set()
        self.used: dict[Use, None] = {}


class CallStacks:
    """The stacks of one step."""

    def __init__(self, project: ProjectCode) -> None:
        self._project = project
        self._stacks: dict[int, Stack] = {}

    def clear(self) -> None:
        self._stacks.clear()
        if "_state" in self.__dict__:
            self._state.clear()

    @cached_property
    def _state(self) -> ModuleState:
        from discover_orch.worker.module_state import ModuleState  # many tools open no file

        return ModuleState(self._project)

    def tables_of_caller(self) -> set[str]:
        """What the user's code that called the caller of this has read, to add to; see `TableLog`."""
        return self.find(sys._getframe(2)).tables

    def note(self, frame: FrameType | None, kind: str, name: str) -> None:
        self.find(frame).used[kind, name] = None

    def find_used(self, kind: str) -> dict[str, None]:
        """The names of this kind that the step has used."""
        stacks = self._stacks.copy().values()
        return {name: None for one in stacks for its, name in one.used.copy() if its == kind}

    def find(self, frame: FrameType | None) -> Stack:
        """The stack from this frame up to where the user's code begins."""
        start = frame
        key = 0
        while frame is not None and (code := frame.f_code) is not CALL:
            key = key * 3 + id(code)
            frame = frame.f_back
        return self._stacks.get(key) or self._add(start, key)

    def _add(self, frame: FrameType | None, key: int) -> Stack:
        codes = []
        while frame is not None and frame.f_code is not CALL:
            codes.append(frame.f_code)  # which keeps it: no other code gets its identity
            frame = frame.f_back
        if len(self._stacks) >= MOST_STACKS:
            rest = self._stacks.setdefault(0, Stack(()))
            rest.codes = tuple({id(one): one for one in (*rest.codes, *codes)}.values())
            return rest
        self._state.note(codes)
        return self._stacks.setdefault(key, Stack(tuple(codes)))

    def is_empty(self) -> bool:
        return not any(stack.opened for stack in self._stacks.copy().values())

    def find_opened(self) -> dict[str, None]:
        """The absolute paths of files that were opened."""
        found: dict[str, None] = {}
        for stack in self._stacks.copy().values():
            found.update(resolve_paths(stack.opened.copy()))
        return found

    def resolve_paths(self) -> None:
        """Make the paths absolute that are relative to the current working directory."""
        for stack in self._stacks.copy().values():
            opened = stack.opened.copy()
            stack.opened.clear()
            stack.opened.update(resolve_paths(opened))
            for kind, name in [one for one in stack.used.copy() if one[0] == "path"]:
                del stack.used[kind, name]
                stack.used.update(((kind, path), None) for path in resolve_paths([name]))

    def find_shared(self) -> dict[str, Stack]:
        """What was read once for all tools, by the file of the project that keeps it; all paths as files."""
        found: dict[str, Stack] = {}
        stacks = [*self._stacks.values()]
        changed = self._state.find_changed() if stacks else ()
        for stack in stacks:
            files = dict.fromkeys(self._find_sharers(stack))
            # A query changes what libraries keep for themselves, such as compiled statements: no rows.
            with_tables = {*files}.union(
                one.file for one in changed if one.is_used_by(stack.codes, counts_libraries=False)
            )
            files.update({one.file: None for one in changed if one.is_used_by(stack.codes)})
            for file in files:
                all_of_file = found.setdefault(file, Stack(()))
                paths = [name for kind, name in stack.used if kind == "path"]
                all_of_file.opened.update(resolve_paths((*stack.opened, *paths)))
                all_of_file.used.update(stack.used)
                if stack.tables and file in with_tables:
                    all_of_file.tables.update(stack.tables)
        return found

    def _find_sharers(self, stack: Stack) -> Iterator[str]:
        """The files of cached functions, of modules being imported, of those that import parts of a package when they
        are asked for (PEP 562), and of code that may keep a module in `sys.modules`: this is done once."""
        for code in stack.codes:
            is_once = (
                id(code) in self._project.cached
                or code.co_qualname in (MODULE, LAZY)
                or ("sys" in code.co_names and "modules" in code.co_names)
            )
            if is_once and (file := self._project.find_file(code)):
                yield file
