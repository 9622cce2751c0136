"""The status of the tools of a project, kept up to date while files change and tools run.

A `Status` answers once; this one computes, keeps and compares. It receives the paths that have changed, judges the
tools again that use them, and compares what these depend on with what they last acted on. So it says which tools a
change from outside the pipeline concerns: those for which something differs, and that are stale now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from msgspec import Struct, field

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.conventions import TOOL_SUFFIXES
from discover_orch.model.errors import Problem
from discover_orch.model.items import FilePattern
from discover_orch.model.keys import FILES, Key, file_key, is_file_key, path_of
from discover_orch.model.tool import Tool
from discover_orch.staleness.code_versions import version_now
from discover_orch.staleness.current_inputs import CurrentState, Params
from discover_orch.staleness.database_identity import CurrentDatabase
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.staleness.input_versions import meets_input
from discover_orch.staleness.memory import Memory, with_unended
from discover_orch.staleness.reason_sentences import Freshness
from discover_orch.staleness.rule import Reason, compare_code, find_edited
from discover_orch.staleness.status import Status
from discover_orch.staleness.tool_result import (
    ABSENT,
    EXISTS,
    UNSURE,
    Inputs,
    ToolResult,
    differences,
    keys_of,
)


class Paths(Struct, frozen=True, kw_only=True):
    """What a status depends on. Modules, there or not (a folder ends in `/`); files, there or not; folders whose names
    count; globs."""

    code: frozenset[str] = frozenset()
    data: frozenset[str] = frozenset()
    listed: frozenset[str] = frozenset()
    globs: tuple[str, ...] = ()


class Change(Struct, frozen=True, kw_only=True):
    """What a change means.

    `touched` are the stale tools that a change from outside the pipeline concerns, each with a sentence; `causes` are
    the keys of what changed for each of them. `paths` changed in meaning, came or went; `saved` did not. `gone` are
    the names of tools that no longer exist. `is_structural`: there may be other tools, in another order or with
    other arguments.
    """

    touched: Mapping[str, str] = field(default_factory=dict)
    causes: Mapping[str, tuple[Key, ...]] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    is_structural: bool = False


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
        self._results: dict[str, ToolResult] = {}
        #: Set by who runs the tools: then the kernel would show it to them that their database was opened.
        self.is_running = False
        self.set_up(project, registry, code)
        self.own()
        #: Of each tool: the inputs of its last attempt, or those that were compared since.
        self._acted_on = {module: self._find_inputs(module) for module in registry.order}
        self._before: Mapping[str, Freshness] = {}
        self._changed: dict[str, None] = {}
        self._unended: set[str] = set()
        self._concerned: set[str] = set()

    def set_up(self, project: Project, registry: Registry, code: ImportGraph) -> None:
        """These are the tools and their order, and this is the configuration."""
        self.code, memory = code, Memory(project.root, registry)
        unknown = [module for module in registry.order if module not in self._results]
        results = self._results | memory.results(unknown)
        if not self.is_running:
            results = with_unended(project.root, results)
        present = CurrentState(project, registry, memory, results, code=code, environ=self._environ)
        self._memory = memory
        super().__init__(present, self._params_of, self._defaults_of, is_live=True)

    def _forget_answers(self) -> None:
        super()._forget_answers()
        self._paths: Paths | None = None

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
        self.own()
        if self._paths is None:
            self._paths = self._find_paths()
        return self._paths

    def _find_paths(self) -> Paths:
        keys = {key for module in self._registry.order for key in self._uses(module)}
        code = self.code.missing.union(*(one.meanings for one in self._code.values()))
        data, listed, globs, asked, measured, links = (
            frozenset(key[len(kind) :] for key in keys if key.startswith(kind)) for kind in FILES
        )
        data = data.union(asked, measured, links)
        return Paths(code=code, data=data, listed=listed, globs=tuple(sorted(globs)))

    def is_written(self, path: str) -> bool:
        """Whether a tool wrote or removed the file at last."""
        return file_key(path) in self._writers

    def find_edited(self, paths: Collection[str]) -> dict[str, str]:
        """Those of these files that were edited after a tool made them, each with that tool."""
        found, versions = {}, self._present.versions
        for path in paths:
            key = file_key(path)
            last = find_edited(key, self._writers, versions.mark(key), versions.version)
            if last is not None:
                found[path] = last.module
        return found

    # What has changed.

    def look_at(self, paths: Collection[str], *, is_new: bool = False) -> Collection[str]:
        """These may have changed, or the status depends on them only now (`is_new`). Returns the modules that mean
        something else. `compare` says what it means."""
        self._before = self._before or {**self.own()}
        code = [path for path in paths if _is_code(path)]
        meant = {path: self._meaning(path) for path in code}
        self.code.refresh(code)
        self._present.versions.forget(paths)
        has_other_database = not self.is_running and self._read_database()
        then, missing = self._code, self.code.missing
        if code:
            self._read_code()
        other = {name for name, one in self._code.items() if one != then.get(name)}
        if self.code.missing != missing or any(
            name not in then or self._code[name].meanings.keys() != then[name].meanings.keys()
            for name in other
        ):
            self._paths = None
        used = keys_of(paths)
        self._judge_again(
            {
                module
                for module, tool in self._registry.tools.items()
                if has_other_database
                or tool.max_age is not None
                or (other and not other.isdisjoint(self._modules_of(tool)))
                or self._is_used(module, paths, used)
                or (tool.inputs and any(meets_input(path, tool.inputs) for path in paths))
            }
        )
        changed = [path for path in code if self._meaning(path) != meant[path]]
        self._changed |= dict.fromkeys(() if is_new else changed)
        return changed

    def _judge_again(self, modules: Collection[str]) -> None:
        self._concerned.update(modules)
        self._answer = None
        if self._own is not None:
            self._own.update((module, self._judge(module)) for module in modules)

    def compare(self, paths: Collection[str] = (), *, is_structural: bool = False) -> Change:
        """What has changed since the last time, of which these paths were looked at.

        A tool is touched if it is stale and something differs from what it last acted on, and was not changed by a
        tool. If there may be other tools or another configuration, those are touched too that are new or back, or that
        are stale for a reason that they did not have."""
        own, before = self.own(), self._before
        found = {**self._changed}
        outside = {key for path in paths if not self._is_by_pipeline(key := file_key(path))}
        touched, causes = dict[str, str](), dict[str, tuple[Key, ...]]()
        for module in self._registry.order:
            if not is_structural and module not in self._concerned:
                continue
            now, path = self._find_inputs(module), _new_file(self._registry.tools[module])
            is_back = is_structural and module not in before
            then = now if is_back else self._acted_on.get(module, now)
            is_new = module not in self._acted_on
            self._acted_on[module] = now
            reasons = list[Reason]()
            if own[module].reasons or module in self._unended:
                reasons += self._outside_reasons(module, then, now, outside)
            why = [self._sentence(module, one) for one in reasons]
            keys = [one.key for one in reasons]
            found |= {
                path_of(one.key): None
                for one in reasons
                if one.key.startswith(("code:", *FILES)) and _is_change(one, paths)
            }
            if is_back:
                why += self.freshness()[module].sentences
                why = [f"{path} is new"] if why and is_new else why
            elif is_structural:
                known = before[module].starting
                why += [one for one in own[module].starting if one not in known]
            if why:
                touched[module] = why[0]
                causes[module] = (*keys, *([] if keys else [f"code:{path}"]))
        self._before, self._changed, self._concerned = {}, {}, set()
        quiet = found.keys() | self.broken.keys()
        return Change(
            touched=touched,
            causes=causes,
            paths=tuple(path for path in found if not path.endswith("/")),
            saved=tuple(
                path
                for path in paths
                if path not in quiet
                and (_is_code(path) or file_key(path) in outside)
                and self._counts(path)
            ),
            is_structural=is_structural,
        )

    def note_start(self, modules: Iterable[str]) -> None:
        """These tools are about to run: they act on what is there, and are not fresh before they have ended."""
        self._unended = {*modules}
        self._acted_on.update((module, self._find_inputs(module)) for module in self._unended)

    def note_results(self, results: Iterable[ToolResult]) -> Collection[Key]:
        new = [
            one for one in results if one.module in self._place and one != self._results[one.module]
        ]
        if not new:
            return ()
        if not self.is_running:
            self._read_database()
        for result in new:
            self._note_attempt(result, self._results[result.module])
            self._unended.discard(result.module)
            success = result.success
            self._forget([*(success.inputs.other if success else ()), *result.tried.other])
        return super().note_results(new)

    def note_ended(self, modules: Collection[str]) -> list[str]:
        """These tools may have ended. Returns the files that they wrote or removed and that are as they left them."""
        self.note_results(self._memory.results(modules).values())
        self._unended.clear()
        return [
            path_of(key)
            for module in modules
            if module in self._place
            for key, write in self._results[module].writes.items()
            if is_file_key(key) and self._present.mark(key) == write.mark
        ]

    def _note_attempt(self, result: ToolResult, before: ToolResult) -> None:
        """The tool acted on what it used, once for each attempt."""
        module, success = result.module, result.success
        if before.last == result.last:
            return
        if success is not None and result.last.status == "passed":
            self._acted_on[module] = success.inputs
        elif result.last.status == "failed" and before.tried != result.tried:
            # An attempt that was cut off, as by a crash, leaves the inputs of an earlier one here. What it did not
            # come to use is as it was.
            known, tried = self._acted_on[module], result.tried
            self._acted_on[module] = Inputs(
                code={**known.code, **tried.code}, other={**known.other, **tried.other}
            )

    def _read_database(self) -> bool:
        """Another program may have written to it, removed or replaced it: whether this is so."""
        now = self._present
        before = now.database.state
        now.database = CurrentDatabase(now.project, self._registry, self._memory, now.environ)
        return now.database.state != before

    def _outside_reasons(
        self, module: str, then: Inputs, now: Inputs, outside: set[Key]
    ) -> Iterator[Reason]:
        """What differs from what the tool last acted on, and was not changed by a tool."""
        yield from compare_code(then.code, self._with_versions(then.code, now.code))
        for key, old, new in differences(then.other, now.other):
            file = file_key(path_of(key)) if key.startswith(("stat:", "link:")) else key
            if key == "database":  # which one it is may be due to a run
                is_outside = (old or "").split(" ")[1:] != (new or "").split(" ")[1:]
            elif key.startswith(
                "package:"
            ):  # the code counts that imports it only now, or no longer
                is_outside = None not in (old, new)
            elif is_file_key(file):  # a hand edit of an output starts nothing
                is_outside = not (self._is_by_pipeline(file) or self.find_edited([path_of(file)]))
            else:
                is_outside = not file.startswith(FILES)
            if is_outside:
                yield Reason(key, then=old, now=new)
        for key, write in self._results[module].writes.items():
            must_exist = write.is_checked and write.mark not in (ABSENT, UNSURE)
            if key in outside and must_exist and self._present.mark(key) == ABSENT:
                yield Reason(key, then=EXISTS, now=ABSENT)

    def _is_by_pipeline(self, key: Key) -> bool:
        """Whether the file is as a tool surely left it, or a tool that was cut off may have left it."""
        writer = self._writers.last(key)
        return writer is not None and writer.write.mark in (UNSURE, self._present.mark(key))

    def _meaning(self, path: str) -> str | None:
        """What a module means, or meant when it last could be read; None where that is not known."""
        file = self.code.files.known(path)
        return None if file is None else file.meaning or None

    # What a tool uses.

    def _modules_of(self, tool: Tool) -> list[str]:
        success = self._results[tool.module].success
        return self._present.modules_of(tool, success.modules if success else ())

    def _find_inputs(self, module: str) -> Inputs:
        """The present versions of all that the tool depends on, or did at a failed attempt."""
        tool, result = self._registry.tools[module], self._results[module]
        now = self._present.inputs(tool, self._code, self._params_of(tool), result)
        tried = self._present.find_versions(result.tried)
        loaded = self._with_versions(result.tried.code, dict.fromkeys(result.tried.code, ABSENT))
        # The later attempt counts, as in `_note_attempt`: it may have had other variables.
        return Inputs(code={**loaded, **now.code}, other={**now.other, **tried})

    def _with_versions(self, then: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
        """The files of the code as they are `now`, each by what of it counted `then`."""
        found = {**now}
        for path in found.keys() & then.keys():
            file = self.code.files.read(path)
            if file is not None:
                found[path] = version_now(then[path], file.meaning, file.pieces)
        return found

    def _uses(self, module: str) -> Iterator[Key]:
        """The keys of the files that the tool depends on, and that must exist while it is fresh."""
        result = self._results[module]
        yield from self._present.declared_inputs(self._registry.tools[module], result.writes)
        yield from result.success.inputs.other if result.success else ()
        yield from result.tried.other
        yield from (key for key, write in result.writes.items() if write.is_checked)

    def _is_used(self, module: str, paths: Collection[str], keys: set[Key]) -> bool:
        """Whether the tool reads, looks for, lists or writes one of these, or loaded it at a failed attempt."""
        result = self._results[module]
        if not result.tried.code.keys().isdisjoint(paths):
            return True
        inputs = result.success.inputs.other if result.success else {}
        return not all(
            of.keys().isdisjoint(keys) for of in (inputs, result.tried.other, result.writes)
        )

    def _counts(self, path: str) -> bool:
        """Whether it is a known module, or a file that a tool uses."""
        if path.endswith(TOOL_SUFFIXES) and self._meaning(path) is not None:
            return True
        return any(file_key(path) in self._uses(module) for module in self._registry.order)


def _is_change(reason: Reason, paths: Collection[str]) -> bool:
    """Whether the file has changed, and not only its use: a tool imports a module no longer or only now, or it failed
    before it could read a file."""
    kind, _, path = reason.key.partition(":")
    if kind == "code":
        return None not in (reason.then, reason.now)
    return kind != "file" or reason.then is not None or path in paths


def _new_file(tool: Tool) -> str:
    """The file that makes a new step: that of its item, or the tool's own."""
    file = tool.each.file_of(tool.item) if isinstance(tool.each, FilePattern) else ""
    return file or tool.path


def _is_code(path: str) -> bool:
    return path.endswith((*TOOL_SUFFIXES, "/"))
