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


class Stack:
    """The code on one stack, the innermost first, and what it used: files that it opened, other paths, environment
    variables (`asked` are those of a library, `has_copied` says that it went through all), modules by name, tables
    read through `conn`. Paths are as the tool wrote them.
    """

    __slots__ = ("asked", "codes", "has_copied", "modules", "names", "opened", "paths", "tables")

    def __init__(self, codes: tuple[CodeType, ...]) -> None:
        self.codes = codes
        self.opened: dict[str, None] = {}
        self.paths: dict[str, None] = {}
        self.names: dict[str, None] = {}
        self.asked: dict[str, None] = {}
        self.has_copied = False
        self.modules: dict[str, None] = {}
        self.tables: set[str] = set()


class CallStacks:
    """The stacks of one step."""

    def __init__(self, project: ProjectCode) -> None:
        self._project = project
        self._stacks: dict[int, Stack] = {}
        #: What was opened and read while there was no code to share, whatever the stack was.
        self.rest = Stack(())

    def clear(self) -> None:
        self._stacks.clear()
        self.rest.opened.clear()
        self.rest.tables.clear()
        if "_state" in self.__dict__:
            self._state.clear()

    @cached_property
    def _state(self) -> ModuleState:
        from discover_orch.worker.module_state import ModuleState  # many tools open no file

        return ModuleState(self._project)

    def begin_rest(self) -> None:
        """Call it before the first file or table is noted in `rest`."""
        self._state.note(())

    def tables_of_caller(self) -> set[str]:
        """What the user's code that called the caller of this has read, to add to; see `TableLog`."""
        if self._project.cached or self._project.helpers:
            return self.find(sys._getframe(2)).tables
        if not self.rest.opened and not self.rest.tables:
            self.begin_rest()
        return self.rest.tables

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
        return not self.rest.opened and not any(
            stack.opened for stack in self._stacks.copy().values()
        )

    def find_opened(self) -> dict[str, None]:
        """The absolute paths of files that were opened."""
        found: dict[str, None] = {}
        for stack in (self.rest, *self._stacks.copy().values()):
            found.update(resolve_paths(stack.opened.copy()))
        return found

    def resolve_paths(self) -> None:
        """Make the paths absolute that are relative to the current working directory."""
        for stack in (self.rest, *self._stacks.copy().values()):
            for noted in (stack.opened, stack.paths):
                paths = noted.copy()
                noted.clear()
                noted.update(resolve_paths(paths))

    def find_shared(self) -> dict[str, Stack]:
        """What was read once for all tools, by the file of the project that keeps it."""
        found: dict[str, Stack] = {}
        stacks = [*self._stacks.values()]
        if self.rest.opened or self.rest.tables:
            stacks.append(self.rest)
        changed = self._state.find_changed() if stacks else ()
        for stack in stacks:
            files = dict.fromkeys(self._find_sharers(stack))
            # A query changes what libraries keep for themselves, such as compiled statements: no rows.
            with_tables = {*files}.union(
                one.file
                for one in changed
                if stack is self.rest or one.is_used_by(stack.codes, counts_libraries=False)
            )
            files.update(
                {
                    one.file: None
                    for one in changed
                    if stack is self.rest or one.is_used_by(stack.codes)
                }
            )
            for file in files:
                all_of_file = found.setdefault(file, Stack(()))
                all_of_file.paths.update(resolve_paths({**stack.opened, **stack.paths}))
                all_of_file.names.update(stack.names)
                all_of_file.asked.update(stack.asked)
                all_of_file.has_copied |= stack.has_copied
                all_of_file.modules.update(stack.modules)
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
