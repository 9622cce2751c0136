"""The status of the tools of a project, kept up to date while files change and tools run.

A `Status` answers once; this one receives the paths that have changed. It computes anew what the tools that use them
depend on, compares that with what each tool last acted on, and keeps it. So it says which tools a change from outside
the pipeline concerns: those for which something differs, and that are stale now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import Problem
from discover_orch.model.tool import Tool
from discover_orch.staleness.change import FILES, Change, Paths
from discover_orch.staleness.compare import Reason, compare_code, differences
from discover_orch.staleness.current import CurrentState, Params
from discover_orch.staleness.current_database import CurrentDatabase
from discover_orch.staleness.fingerprint import (
    ABSENT,
    EXISTS,
    UNSURE,
    Inputs,
    Key,
    ToolResult,
    find_sure_writer,
)
from discover_orch.staleness.import_graph import CodeState, ImportGraph
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.reasons import Freshness
from discover_orch.staleness.status import Status
from discover_orch.staleness.versions import meets_input


class LiveStatus(Status):
    """`code` has the modules of the project, as they were last read."""

    def __init__(
        self,
        project: Project,
        registry: Registry,
        params_of: Callable[[Tool], Params],
        code: ImportGraph,
        environ: Mapping[str, str],
        defaults_of: Callable[[Tool], Params],
    ) -> None:
        self._memory, self._environ = Memory(project.root, registry), environ
        self._defaults_of = defaults_of
        self.code = code
        self._remembered = self._memory.results(registry.order)
        self._own: dict[str, Freshness] = {}  # without the tools that must be judged again
        self._has_new_results = False
        self.is_running = False  # set by who runs the tools
        self._set_up(project, registry, params_of)
        #: Of each tool: what it last acted on.
        self._acted_on = {module: self._find_inputs(module) for module in registry.order}

    def _set_up(
        self, project: Project, registry: Registry, params_of: Callable[[Tool], Params]
    ) -> None:
        present = CurrentState(
            project,
            registry,
            self._memory,
            self._remembered,
            code=self.code,
            environ=self._environ,
        )
        super().__init__(present, params_of, self._defaults_of)
        self._own.clear()
        self._answer: dict[str, Freshness] | None = None
        self._names = {module: self._names_of(module) for module in registry.order}
        names = {name for some in self._names.values() for name in some}
        self._codes = self._read_code(names)

    def freshness(self) -> dict[str, Freshness]:
        if self._answer is None:
            self._judge_all()
            are_stale = all(one.reasons for one in self._own.values())
            self._answer = {**self._own} if are_stale else self._with_others(self._own)
        return self._answer

    def spread(self, seeds: Iterable[str]) -> dict[str, str]:
        self._settle_results()
        return super().spread(seeds)

    def _settle_results(self) -> None:
        """Find who wrote what last, after tools have ended."""
        if self._has_new_results:
            self._note_results()
            self._has_new_results = False

    def _judge_all(self) -> None:
        """Judge the tools again that something may have changed for."""
        self._settle_results()
        if len(self._own) == len(self._registry.order):
            return
        if not self._own:
            self._codes = self._read_code(self._codes)
        known = self._own
        self._own = {
            module: known.get(module) or self._judge(module, self._codes)
            for module in self._registry.order
        }

    @property
    def broken(self) -> Mapping[str, Problem]:
        """The modules that cannot be read now. Until they can be, they mean what they last did."""
        return self.code.files.problems

    def is_held(self, module: str) -> bool:
        """Whether its code has a file that cannot be read now."""
        if not self.broken:
            return False
        parts = [self._codes[name] for name in self._names.get(module, ())]
        return any(not one.meanings.keys().isdisjoint(self.broken) for one in parts)

    # What is watched for it.

    def paths(self) -> Paths:
        """What the answer depends on."""
        keys = {key for module in self._registry.order for key in self._uses(module)}
        code = self.code.missing.union(*(one.meanings for one in self._codes.values()))
        data, listed, globs = (
            frozenset(key[len(kind) :] for key in keys if key.startswith(kind)) for kind in FILES
        )
        return Paths(code=code, data=data, listed=listed, globs=tuple(sorted(globs)))

    def find_differing(self, paths: Collection[str]) -> list[str]:
        """Those of these files, and of these folders with a `/`, that differ from what a tool last acted on."""
        self._present.versions.forget(paths)
        wanted = {f"folder:{path[:-1]}" if path[-1:] == "/" else f"file:{path}" for path in paths}
        found: dict[str, None] = {}
        for module in self._registry.order:
            then, now = self._acted_on[module].other, self._find_inputs(module).other
            found |= dict.fromkeys(key for key in wanted & then.keys() if now[key] != then[key])
        return [key.partition(":")[2] for key in found]

    def is_written(self, path: str) -> bool:
        """Whether a tool wrote or removed the file at last."""
        return f"file:{path}" in self._writers

    # What has changed.

    def refresh(self, paths: Collection[str]) -> Change:
        """These may have changed: judge the tools again that use them."""
        if not paths:
            return Change()
        self._settle_results()
        self._look_at_database()
        before = {path: self._meaning(path) for path in paths if _is_code(path)}
        modules = self.code.refresh(before)
        self._present.versions.forget(paths)
        meant = {path: self._meaning(path) for path in before}
        changed = [path for path, meaning in meant.items() if before[path] != meaning]
        keys = {f"file:{path}" for path in paths}
        outside = {key for key in keys if not self._is_by_pipeline(key)}
        for path in paths:
            plain = path.rstrip("/")
            keys |= {f"folder:{plain}", f"folder:{plain.rpartition('/')[0] or '.'}"}
        code = {f"code:{path}" for path in changed}
        users = self._find_all_users() if before else set()
        concerned = [
            module
            for module in self._registry.order
            if module in users
            or not modules.isdisjoint(self._names[module])
            or any(
                self._acted_on[module].code.get(path, meaning) != meaning
                for path, meaning in meant.items()
            )
            or not keys.isdisjoint(self._uses(module))
            or any(meets_input(path, self._registry.tools[module].inputs) for path in paths)
        ]
        # The age of a success passes without an event.
        aged = [one for one, tool in self._registry.tools.items() if tool.max_age is not None]
        for module in (*concerned, *aged):
            self._own.pop(module, None)
        self._codes |= self._read_code({name for one in concerned for name in self._names[one]})
        self._answer = None
        touched, causes, differ = {}, {}, list[str]()
        for module in concerned:
            now = self._find_inputs(module)
            reasons = [*self._outside_reasons(module, now, outside)]
            if module in users:
                reasons += [Reason(key, then="", now=EXISTS) for key in sorted(code)]
            self._acted_on[module] = now
            if reasons and self._is_stale(module):
                touched[module] = self._sentence(module, reasons[0])
                causes[module] = tuple(reason.key for reason in reasons)
                differ += [
                    reason.key.partition(":")[2] for reason in reasons if _is_change(reason, paths)
                ]
        found = dict.fromkeys((*changed, *differ))
        quiet = found.keys() | self.broken.keys()
        return Change(
            touched=touched,
            causes=causes,
            paths=tuple(path for path in found if not path.endswith("/")),
            saved=tuple(
                path
                for path in paths
                if path not in quiet
                and (path in before or f"file:{path}" in outside)
                and self._is_used(path)
            ),
        )

    def renew(
        self,
        project: Project,
        registry: Registry,
        params_of: Callable[[Tool], Params],
        code: ImportGraph,
    ) -> Change:
        """There are other tools, or another order or configuration. Touches stale tools that are new or back, those
        that are stale now and were fresh, those that are stale for themselves and were not, and those for which the
        configuration differs."""
        were = self.freshness()
        stale_themselves = {module for module, one in self._own.items() if one.reasons}
        self.code = code
        self._memory = Memory(project.root, registry)
        self._remembered |= self._memory.results(
            [module for module in registry.order if module not in self._remembered]
        )
        self._set_up(project, registry, params_of)
        touched, causes = {}, {}
        for module, one in self.freshness().items():
            now, is_new = self._find_inputs(module), module not in self._acted_on
            has_come = module not in were  # is new, or was gone for a while
            if has_come:
                self._acted_on[module] = now
            keys = tuple(_other_settings(self._acted_on[module], now))
            is_newly_stale = (
                has_come
                or were[module].is_fresh
                # A tool may have been stale only because the tool that is gone had to run.
                or (self._own[module].reasons and module not in stale_themselves)
            )
            # What it needs may be made just now, by a run that does not know of it.
            if (one.reasons and (keys or is_newly_stale)) or (has_come and not one.is_fresh):
                path = registry.tools[module].path
                reasons = one.reasons or one.sentences
                touched[module] = f"{path} is new" if is_new else reasons[-1 if keys else 0]
                causes[module] = keys or (f"code:{path}",)
                self._acted_on[module] = now
        return Change(touched=touched, causes=causes, is_structural=True)

    def set_order(self, registry: Registry) -> None:
        """The same tools, in the order that follows from what they were seen to do."""
        self._set_up(self._present.project, registry, self._params_of)

    def note(self, module: str) -> list[str]:
        """A tool has just ended. Returns the files that it wrote or removed and that are as it left them."""
        result = self._memory.results([module]).get(module)
        if result is None or module not in self._place:
            return []
        return self._note(result)

    def reload(self) -> list[str]:
        """Other commands have run tools. Returns the files that are as these tools left them."""
        now = self._memory.results(self._registry.order)
        return [
            path
            for module, result in now.items()
            if result != self._remembered.get(module)
            for path in self._note(result)
        ]

    def _note(self, result: ToolResult) -> list[str]:
        module, success = result.module, result.success
        before = self._remembered.get(module)
        self._remembered[module] = result
        self._results[self._place[module]] = result
        self._read_databases()
        _ = self._present.database.state  # now, before the next tool begins
        if success is not None and result.last.status == "passed":
            self._acted_on[module] = success.inputs
        elif result.last.status == "failed" and (before is None or before.tried != result.tried):
            # An attempt that was cut off, as by a crash, leaves the inputs of an earlier one here.
            self._acted_on[module] = result.tried
        used = [*result.writes, *(success.inputs.other if success else ()), *result.tried.other]
        self._present.versions.forget(_paths_of(used))
        names = self._names[module] = self._names_of(module)
        if unknown := [one for one in names if one not in self._codes]:
            self._codes |= self._read_code(unknown)
        self._own.clear()
        self._answer, self._has_new_results = None, True
        return [
            key[5:]
            for key, write in result.writes.items()
            if key.startswith("file:") and write.is_sure and self._present.mark(key) == write.mark
        ]

    def _read_code(self, names: Iterable[str]) -> dict[str, CodeState]:
        return self.code.read_code(names, is_tolerant=True)

    def _meaning(self, path: str) -> str | None:
        """What a module means, or meant when it last could be read; None where that is not known."""
        file = self.code.files.known(path)
        return None if file is None else file.meaning or None

    def _look_at_database(self) -> None:
        """Another program may have written to it, removed or replaced it. Not during a run: the kernel would show the
        tool that runs that its database was opened."""
        if self.is_running:
            return
        before = self._present.database.state
        self._read_databases()
        if self._present.database.state != before:
            self._own.clear()

    def _read_databases(self) -> None:
        now = self._present
        now.database = CurrentDatabase(now.project, self._registry, self._memory, now.environ)

    def _outside_reasons(self, module: str, now: Inputs, outside: set[Key]) -> Iterator[Reason]:
        """What differs from what the tool last acted on, and was not changed by a tool."""
        then = self._acted_on[module]
        yield from compare_code(then.code, now.code)
        for key, old, new in differences(then.other, now.other):
            if key in outside or (key[:5] == "file:" and not self._is_by_pipeline(key)):
                yield Reason(key, then=old, now=new)
        for key, write in self._result(module).writes.items():
            must_exist = write.is_checked and write.mark not in (ABSENT, UNSURE)
            if key in outside and must_exist and self._present.mark(key) == ABSENT:
                yield Reason(key, then=EXISTS, now=ABSENT)

    def _is_by_pipeline(self, key: Key) -> bool:
        """Whether the file is as a tool surely left it, or a tool that was cut off may have left it."""
        writer = find_sure_writer(key, self._writers)
        return writer is not None and writer.write.mark in (UNSURE, self._present.mark(key))

    def _is_stale(self, module: str) -> bool:
        self._judge_all()
        return bool(self._own[module].reasons)

    def _find_inputs(self, module: str) -> Inputs:
        """The present versions of all that the tool depends on, or did at a failed attempt."""
        tool, result = self._registry.tools[module], self._result(module)
        now = self._present.inputs(tool, self._codes, self._params_of(tool), result)
        other = {**now.other}
        for key, then in result.tried.other.items():
            if key not in other and key.startswith(FILES):
                other[key] = self._present.versions.version(key, then)
        return Inputs(code=now.code, other=other)

    def _uses(self, module: str) -> frozenset[Key]:
        """The keys of the files that the tool depends on, and that must exist while it is fresh."""
        result = self._result(module)
        keys = [*self._present.declared_inputs(self._registry.tools[module], result.writes)]
        keys += result.success.inputs.other if result.success else ()
        keys += result.tried.other
        keys += (key for key, write in result.writes.items() if write.is_checked)
        return frozenset(key for key in keys if key.startswith(FILES))

    def _find_all_users(self) -> set[str]:
        """The tools that may import any module, and were not seen yet which ones they do."""
        unread = {name for name, one in self._codes.items() if one.has_unread}
        return {
            module
            for module, names in (self._names.items() if unread else ())
            if not unread.isdisjoint(names) and self._result(module).success is None
        }

    def _result(self, module: str) -> ToolResult:
        return self._results[self._place[module]]

    def _names_of(self, module: str) -> tuple[str, ...]:
        """The modules that the code of the tool starts from."""
        success = self._result(module).success
        more = success.modules if success else ()
        return tuple(self._present.modules_of(self._registry.tools[module], more))

    def _is_used(self, path: str) -> bool:
        if path.endswith(".py") and self._meaning(path) is not None:
            return True
        return any(f"file:{path}" in self._uses(module) for module in self._registry.order)


def _is_change(reason: Reason, paths: Collection[str]) -> bool:
    """Whether the file has changed, and not only its use: a tool imports a module no longer or only now, or it failed
    before it could read a file."""
    kind, _, path = reason.key.partition(":")
    if kind == "code":
        return None not in (reason.then, reason.now)
    return kind != "file" or reason.then is not None or path in paths


def _is_code(path: str) -> bool:
    return path.endswith((".py", "/"))


def _other_settings(then: Inputs, now: Inputs) -> Iterator[Key]:
    """The keys of what is configured or installed, and differs. Which database it is may be due to a run."""
    for key, old, new in differences(then.other, now.other):
        if not key.startswith(FILES) and (
            key != "database" or (old or "").split(" ")[1:] != (new or "").split(" ")[1:]
        ):
            yield key


def _paths_of(keys: Iterable[Key]) -> Iterator[str]:
    return (key.partition(":")[2] for key in keys if key.startswith(FILES))
