"""The status of the tools of a project, kept up to date while files change and tools run.

A `Status` answers once; this one receives the paths that have changed. It computes anew what all tools depend on,
compares that with what each tool last acted on, and keeps it. So it says which tools a change from outside the
pipeline concerns: those for which something differs, and that are stale now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import Problem
from discover_orch.model.tool import Tool
from discover_orch.staleness.change import FILES, Change, Paths
from discover_orch.staleness.current import CurrentState, Params
from discover_orch.staleness.current_database import CurrentDatabase
from discover_orch.staleness.fingerprint import (
    ABSENT,
    EXISTS,
    UNSURE,
    Inputs,
    Key,
    ToolResult,
)
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.reasons import Freshness
from discover_orch.staleness.rule import Reason, compare_code, differences, is_edited
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
        self._params_of, self._defaults_of, self._environ = params_of, defaults_of, environ
        self._remembered: dict[str, ToolResult] = {}
        self._changed: dict[str, None] = {}  # modules that mean something else, not compared yet
        #: How each tool was before the project was read again, until that is compared.
        self._were: Mapping[str, tuple[Freshness, bool]] | None = None
        self.is_running = False  # set by who runs the tools
        self.set_up(project, registry, code)
        #: Of each tool: what it last acted on.
        self._acted_on = {module: self._find_inputs(module) for module in registry.order}

    def set_up(self, project: Project, registry: Registry, code: ImportGraph) -> None:
        """These are the tools and their order, and this is the configuration."""
        self.code, self._memory = code, Memory(project.root, registry)
        unknown = [module for module in registry.order if module not in self._remembered]
        self._remembered |= self._memory.results(unknown)
        present = CurrentState(
            project, registry, self._memory, self._remembered, code=code, environ=self._environ
        )
        super().__init__(present, self._params_of, self._defaults_of)
        self._has_new_results = False
        self._own: dict[str, Freshness] | None = None
        self._answer: dict[str, Freshness] | None = None
        self._find_own()

    def freshness(self) -> dict[str, Freshness]:
        own = self._find_own()
        if self._answer is None:
            self._answer = self._with_others(own)
        return self._answer

    def _find_own(self) -> dict[str, Freshness]:
        """The tools without what follows from others. All is computed anew when anything may have changed."""
        if self._own is None:
            if self._has_new_results:
                self._note_results()
                self._has_new_results = False
            order = self._registry.order
            self._codes = self._present.read_code(order, is_tolerant=True)
            self._own = {module: self._judge(module, self._codes) for module in order}
            self._answer = None
        return self._own

    @property
    def broken(self) -> Mapping[str, Problem]:
        """The modules that cannot be read now. Until they can be, they mean what they last did."""
        return self.code.files.problems

    def is_held(self, module: str) -> bool:
        """Whether its code has a file that cannot be read now."""
        is_there = bool(self.broken) and module in self._place
        return is_there and not self._find_inputs(module).code.keys().isdisjoint(self.broken)

    # What is watched for it.

    def paths(self) -> Paths:
        """What the answer depends on."""
        self._find_own()
        keys = {key for module in self._registry.order for key in self._uses(module)}
        code = self.code.missing.union(*(one.meanings for one in self._codes.values()))
        data, listed, globs, asked, measured = (
            frozenset(key[len(kind) :] for key in keys if key.startswith(kind)) for kind in FILES
        )
        return Paths(
            code=code, data=data | asked | measured, listed=listed, globs=tuple(sorted(globs))
        )

    def find_differing(self, paths: Collection[str]) -> list[str]:
        """Those of these files, and of these folders with a `/`, that differ from what a tool last acted on."""
        self._present.versions.forget(paths)
        kinds = {True: ("folder",), False: ("file", "there", "stat")}
        wanted = {
            f"{kind}:{path.rstrip('/')}" for path in paths for kind in kinds[path.endswith("/")]
        }
        found: dict[str, None] = {}
        for module in self._registry.order:
            now = self._find_inputs(module).other
            then = self._acted_on[module].other if module in self._acted_on else now
            both = wanted & then.keys() & now.keys()
            found |= dict.fromkeys(key for key in both if now[key] != then[key])
        return [key.partition(":")[2] for key in found]

    def is_written(self, path: str) -> bool:
        """Whether a tool wrote or removed the file at last."""
        return f"file:{path}" in self._writers

    def find_edited(self, paths: Collection[str]) -> dict[str, str]:
        """Those of these files that were edited after a tool made them, each with that tool."""
        found, versions = {}, self._present.versions
        for path in paths:
            key = f"file:{path}"
            last = self._writers.last(key)
            if last and is_edited(key, last.write, versions.mark(key), versions.version):
                found[path] = last.module
        return found

    # What has changed.

    def look_at(self, paths: Collection[str]) -> Collection[str]:
        """These may have changed. Returns the modules that mean something else."""
        code = [path for path in paths if _is_code(path)]
        before = {path: self._meaning(path) for path in code}
        self.code.refresh(code)
        self._present.versions.forget(paths)
        # While a tool runs, the kernel would show it that its database was opened.
        if not self.is_running:
            self._read_databases()
        self._own = None
        changed = [path for path in code if self._meaning(path) != before[path]]
        self._changed |= dict.fromkeys(changed)
        return changed

    def renew(self, project: Project, registry: Registry, code: ImportGraph) -> None:
        """There are other tools, or another order or configuration."""
        own = self._find_own()
        self._were = {
            module: (one, bool(own[module].reasons)) for module, one in self.freshness().items()
        }
        self.set_up(project, registry, code)

    def compare(self, paths: Collection[str] = ()) -> Change:
        """What has changed since the last time, of which these paths were looked at.

        A tool is touched if it is stale and something differs from what it last acted on, and was not changed by a
        tool. After `renew` these are touched too: stale tools that are new or back, those that are stale now and were
        fresh, those that are stale for themselves and were not, and those for which the configuration differs."""
        own = self._find_own()
        changed, self._changed = self._changed, {}
        were, self._were = self._were, None
        outside = {key for path in paths if not self._is_by_pipeline(key := f"file:{path}")}
        users = self._find_all_users() if changed else set()
        touched, causes, differ = dict[str, str](), dict[str, tuple[Key, ...]](), list[str]()
        plain = {path.rstrip("/") for path in paths}
        used = {f"{kind}:{path}" for path in plain for kind in ("file", "folder", "there", "stat")}
        used |= {f"folder:{path.rpartition('/')[0] or '.'}" for path in plain}
        for module, one in self.freshness().items():
            if were is None and module not in users and not self._is_concerned(module, paths, used):
                continue
            now = self._find_inputs(module)
            has_come = were is not None and module not in were  # is new, or was gone for a while
            is_new = module not in self._acted_on
            then = now if has_come else self._acted_on[module]
            self._acted_on[module] = now
            is_stale = bool(own[module].reasons)
            reasons = [*self._outside_reasons(module, then, now, outside)] if is_stale else []
            if is_stale and module in users:
                reasons += [Reason(f"code:{path}", then="", now=EXISTS) for path in sorted(changed)]
            if reasons:
                touched[module] = self._sentence(module, reasons[0])
                causes[module] = tuple(reason.key for reason in reasons)
                differ += [
                    reason.key.partition(":")[2] for reason in reasons if _is_change(reason, paths)
                ]
            if were is None:
                continue
            keys = tuple(_other_settings(then, now))
            is_newly_stale = (
                has_come
                or were[module][0].is_fresh
                # A tool may have been stale only because the tool that is gone had to run.
                or (is_stale and not were[module][1])
            )
            # What it needs may be made just now, by a run that does not know of it.
            if (one.reasons and (keys or is_newly_stale)) or (has_come and not one.is_fresh):
                path = self._registry.tools[module].path
                sentences = one.reasons or one.sentences
                why = f"{path} is new" if is_new else sentences[-1 if keys else 0]
                touched.setdefault(module, why)
                causes[module] = (*causes.get(module, ()), *(keys or (f"code:{path}",)))
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
                and (_is_code(path) or f"file:{path}" in outside)
                and self._is_used(path)
            ),
            is_structural=were is not None,
        )

    def note_content(self, result: ToolResult) -> None:
        """What the files have in them that the tool has left, which has been noted."""
        known = self._remembered.get(result.module)
        if known is not None and known.last == result.last:
            self._remembered[result.module] = self._results[self._place[result.module]] = result
            self._has_new_results, self._own = True, None

    def note(self, modules: Collection[str]) -> list[str]:
        """These tools may have ended. Returns the files that they wrote or removed and that are as they left them."""
        return [
            path
            for module, result in self._memory.results(modules).items()
            if module in self._place and result != self._remembered.get(module)
            for path in self._note(result)
        ]

    def _note(self, result: ToolResult) -> list[str]:
        module, success = result.module, result.success
        before = self._remembered.get(module)
        self._remembered[module] = result
        self._results[self._place[module]] = result
        self._has_new_results = True
        self._read_databases()
        _ = self._present.database.state  # now, before the next tool begins
        if success is not None and result.last.status == "passed":
            self._acted_on[module] = success.inputs
        elif result.last.status == "failed" and (before is None or before.tried != result.tried):
            # An attempt that was cut off, as by a crash, leaves the inputs of an earlier one here. What it did not
            # come to use is as it was.
            known, tried = self._acted_on[module], result.tried
            self._acted_on[module] = Inputs(
                code={**known.code, **tried.code}, other={**known.other, **tried.other}
            )
        used = [*result.writes, *(success.inputs.other if success else ()), *result.tried.other]
        self._present.versions.forget(
            key.partition(":")[2] for key in used if key.startswith(FILES)
        )
        self._own = None
        return [
            key[5:]
            for key, write in result.writes.items()
            if key.startswith("file:") and write.is_sure and self._present.mark(key) == write.mark
        ]

    def _meaning(self, path: str) -> str | None:
        """What a module means, or meant when it last could be read; None where that is not known."""
        file = self.code.files.known(path)
        return None if file is None else file.meaning or None

    def _read_databases(self) -> None:
        """Another program may have written to one, removed or replaced it."""
        now = self._present
        now.database = CurrentDatabase(now.project, self._registry, self._memory, now.environ)

    def _is_concerned(self, module: str, paths: Collection[str], used: set[Key]) -> bool:
        """Whether its code differs from what it last acted on, or it uses one of these paths, `used` as keys."""
        tool, then = self._registry.tools[module], self._acted_on[module].code
        success = self._result(module).success
        code = self._present.code_of(tool, self._codes, success.modules if success else ())
        return (
            code != then
            or not used.isdisjoint(self._uses(module))
            or any(meets_input(path, tool.inputs) for path in paths)
        )

    def _outside_reasons(
        self, module: str, then: Inputs, now: Inputs, outside: set[Key]
    ) -> Iterator[Reason]:
        """What differs from what the tool last acted on, and was not changed by a tool."""
        yield from compare_code(then.code, now.code)
        for key, old, new in differences(then.other, now.other):
            file = f"file:{key[5:]}" if key.startswith("stat:") else key
            if file[:5] != "file:" or self._is_by_pipeline(file):
                continue
            if not self.find_edited([file[5:]]):  # a hand edit of an output starts nothing
                yield Reason(key, then=old, now=new)
        for key, write in self._result(module).writes.items():
            must_exist = write.is_checked and write.mark not in (ABSENT, UNSURE)
            if key in outside and must_exist and self._present.mark(key) == ABSENT:
                yield Reason(key, then=EXISTS, now=ABSENT)

    def _is_by_pipeline(self, key: Key) -> bool:
        """Whether the file is as a tool surely left it, or a tool that was cut off may have left it."""
        writer = self._writers.last(key, is_sure=True)
        return writer is not None and writer.write.mark in (UNSURE, self._present.mark(key))

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
            for module, tool in (self._registry.tools.items() if unread else ())
            if self._result(module).success is None
            and not unread.isdisjoint(self._present.modules_of(tool))
        }

    def _result(self, module: str) -> ToolResult:
        return self._results[self._place[module]]

    def _is_used(self, path: str) -> bool:
        if path.endswith(".py") and self._meaning(path) is not None:
            return True
        return any(f"file:{path}" in self._uses(module) for module in self._registry.order)


class LiveTurns:
    """The turns of a run of a watch, which itself notes the ends of tools."""

    def __init__(self, status: LiveStatus, forced: Collection[str]) -> None:
        """`forced` tools run though they may be fresh."""
        self._status, self._forced = status, forced

    def note(self, result: ToolResult) -> None:
        self._status.note_content(result)

    def is_needed(self, module: str) -> bool:
        now = self._status.freshness().get(module)
        return module in self._forced or now is None or not now.is_fresh


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
