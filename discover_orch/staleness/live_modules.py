"""The modules of a project while they change: what they mean now, or meant when they last could be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from discover_orch.config.project import Project
from discover_orch.model.errors import Problem
from discover_orch.staleness.code_hashes import CodeIndex, CodeState
from discover_orch.staleness.import_graph import ImportGraph


class LiveModules:
    """`broken` are the modules that cannot be read now, with their problems. Until they can be, they mean what
    `last_good` says."""

    def __init__(
        self, project: Project, sources: ImportGraph, before: LiveModules | None = None
    ) -> None:
        """`before` is what was known when modules were looked up in other places."""
        self.sources = sources
        self.index = CodeIndex(project, sources=sources)
        self.broken: dict[str, Problem] = {} if before is None else before.broken
        self.last_good: dict[str, str] = {} if before is None else before.last_good
        self._unused: dict[str, str] = {}  # what modules mean that no tool reaches
        self._is_new = True  # what the index has kept may be out of date

    def read(self, names: Iterable[str]) -> dict[str, CodeState]:
        """The code of these modules, each read once."""
        names = {*names}
        self.index.read(sorted(names if self._is_new else filter(self.index.is_new, names)))
        self._is_new = False
        states = self.index.states(names)
        for one in states.values():
            for path, meaning in one.meanings.items():
                if not meaning and path not in self.broken:
                    source = self.sources.read(path)
                    if source is not None and source.problem is not None:
                        self.broken[path] = source.problem
        return states

    def refresh(self, before: Mapping[str, str | None]) -> set[str]:
        """Read these paths again, each given with what it meant. Returns the modules that have another code now, or
        may have."""
        modules = self.index.refresh(before)
        for path, meaning in before.items():
            source = self.sources.read(path) if path.endswith(".py") else None
            if source is not None and source.problem is not None:
                self.broken[path] = source.problem
                if meaning:
                    self.last_good[path] = meaning
                continue
            self.broken.pop(path, None)
            self.last_good.pop(path, None)
            if source is not None and self.index.meaning(path) is None:
                self._unused[path] = source.effect
            else:
                self._unused.pop(path, None)
        return modules

    def meaning(self, path: str) -> str | None:
        """What a module means, or meant when it last could be read; None where there is none."""
        meaning = self.index.meaning(path)
        return self.last_good.get(path, self._unused.get(path) if meaning is None else meaning)
