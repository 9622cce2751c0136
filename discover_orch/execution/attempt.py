"""What an attempt of a tool depended on and what it left: its code as it ran, files, packages, tables, and what it
wrote.

Built from what the worker observed and what the plan knew of the code. What changed while the tool ran is marked as
unsure, so that the tool is stale again. Reads and hashes files, writes none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.discovery.source_files import PythonPath, path_module
from discover_orch.discovery.tree import stat_file
from discover_orch.execution.observed_flow import (
    build_flow,
    find_missed,
    find_tables_missed,
    uses_main_database,
)
from discover_orch.execution.read_files import ReadFiles
from discover_orch.execution.unseen_reads import (
    ChildCodeFinder,
    find_output_files,
    natively_seen,
    without_states,
    without_used,
)
from discover_orch.model.observation import RESOURCE, Observation, SharedUse
from discover_orch.model.parameter import is_secret_name
from discover_orch.model.run_events import ToolFinished
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Step, step_versions
from discover_orch.staleness.current import CurrentState, all_resources
from discover_orch.staleness.fingerprint import (
    ABSENT,
    EXISTS,
    UNSURE,
    Evidence,
    Inputs,
    Key,
    Seq,
    Success,
    ToolResult,
    Write,
    join_paths,
    paths_in,
    without_paths,
)
from discover_orch.staleness.import_graph import CodeState
from discover_orch.staleness.table_keys import ANY, table_key, table_name
from discover_orch.staleness.versions import Versions, meets_input, read_mark


class Attempt(Struct, frozen=True, kw_only=True):
    """What an attempt depended on and wrote, and the files of its code that differ from what the plan knew."""

    success: Success
    writes: Mapping[Key, Write]
    changed: tuple[str, ...] = ()

    @property
    def surely_written(self) -> set[str]:
        """The files."""
        found = (key for key, one in self.writes.items() if one.is_sure and one.mark != ABSENT)
        return {key.removeprefix("file:") for key in found if key.startswith("file:")}


class AttemptReader:
    """For the tools of one run. In the order in which they end, call `add_event` for each, then `read`."""

    def __init__(
        self, present: CurrentState, code: Mapping[str, CodeState], *, is_live: bool = False
    ) -> None:
        """`is_live`: a watch learns of changes during the run, so a tool that has loaded what is there now depends on
        that."""
        self._is_live = is_live
        self._current, self._code, self._root = present, code, present.project.root
        self._loaded: dict[str, str] = {}  # project files that the workers loaded → hash
        self._loaded_as: dict[str, list[str]] = {}  # first part of a module's name → these files
        self._files = ReadFiles(self._root)
        #: By the file of a module or the resource: what its users share.
        self._shared: dict[str, list[SharedUse]] = {}
        self._newest: list[SharedUse] = []  # those of the last event
        self._child_code = ChildCodeFinder(present.project)
        self._output_files = find_output_files()

    def note_start(self, module: str, before: ToolResult) -> None:
        """The tool is about to begin."""
        self._files.note_start(module, before.success)

    def add_event(self, event: ToolFinished) -> None:
        self._newest.clear()
        self._loaded.update(event.loaded)
        for path, name in event.loaded_as.items():
            self._loaded_as.setdefault(name.partition(".")[0], []).append(path)
        if event.seen is not None:
            for use in event.seen.shared:
                known = without_states(use, event.seen.native_written)
                self._shared.setdefault(use.path, []).append(known)
                self._newest.append(known)

    def read(
        self,
        event: ToolFinished,
        step: Step,
        began: Seq,
        ended: Seq,
        database: int,
        before: ToolResult,
        *,
        is_alone: bool = True,
    ) -> Attempt:
        """`database` is the number of the database; `before` is what was remembered of the tool; `is_alone` is as of
        `Success`."""
        tool = step.tool
        seen = self._with_inputs(event.seen or Observation())
        code, modules, changed = self._code_as_run(tool, event.loaded, seen)
        shared = [
            self._with_inputs(without_used(one, seen), is_shared=True)
            for one in self._find_shared(tool, code)
        ]
        has_passed = event.status in ("passed", "done")
        writes = self._writes(
            tool, seen, ended, database, before, has_passed=has_passed, is_alone=is_alone
        )
        made = _made_before(seen, database, before)
        writes |= made
        folders_made = self._find_folders_made(seen, before)
        writes |= {
            f"file:{path}": Write(ended, EXISTS, is_checked=False, only_adds=True)
            for path in folders_made
        }
        own = {key for key, one in writes.items() if one.is_sure}
        # What other tools did for this one; of folders counts what the tool itself has seen last.
        others = [*shared, *map(natively_seen, (*shared, seen))]
        observed = (*others, seen)
        came = self._find_came(observed, before, own)
        files, marks = self._files.versions(tool, seen, others, before, own, came)
        # With the salt of the last success, so that the versions of two runs can be compared.
        known = before.success.inputs.other if before.success else {}
        other = {
            **self._current.surroundings(tool, step_versions(step, self._root)),
            **{f"file:{path}": ABSENT for path in find_missed(seen, others, own)},
            **{
                f"there:{path.rstrip('/')}": path.rstrip("/")
                for one in observed
                for path in one.asked
                if f"file:{path}" not in own
            },
            **{
                f"stat:{path}": version
                for one in observed
                for path, version in one.measured
                if f"file:{path}" not in own
            },
            **files,
            **{
                f"folder:{folder}": without_paths(paths, came)
                for one in observed
                for folder, paths in one.listed
            },
            **self._globs((glob for one in observed for glob in one.native_globs), came),
            **self._packages(tool, modules),
            **{
                f"env:{name}": self._current.versions.variable(name, known.get(f"env:{name}", ""))
                for one in observed
                for name in one.environment
                if not is_secret_name(name)
            },
            **self._spelled_variables(observed, code),
        }
        sure = _find_sure(seen, writes)
        beside = () if is_alone else tuple(one for one in seen.native_written if one not in sure)
        flow = build_flow(
            seen,
            shared,
            own,
            {table_name(key): one for key, one in made.items()},
            folders_made=folders_made,
            native_sure=sure,
            native_beside=beside,
        )
        names = [*flow.tables_read, *find_tables_missed(seen, shared)]
        if flow.is_unclear:
            names.append(ANY)
        tables = tuple(table_key(database, name) for name in names)
        if (
            "database" in other
            or any(one.tables_read for one in shared)
            or uses_main_database(seen)
        ):
            other["database"] = f"{database} {self._current.database.name}"
        success = Success(
            asof=began,
            ended=ended,
            inputs=Inputs(code=code, other=other),
            tables=tables,
            is_whole=not (flow.is_unclear or flow.gaps),
            duration=event.duration,
            is_alone=is_alone,
            marks=marks,
            modules=modules,
            flow=flow,
        )
        self._files.add_written((*seen.written, *seen.native_written))
        return Attempt(success=success, writes=writes, changed=tuple(changed))

    def read_files(
        self, keys: Iterable[Key], event: ToolFinished, before: ToolResult
    ) -> tuple[dict[Key, str], dict[Key, str]]:
        """The versions and marks of files that it read at an earlier success and not now, as they are now."""
        return self._files.find_earlier(keys, event.seen or Observation(), before)

    def _writes(
        self,
        tool: Tool,
        seen: Observation,
        ended: Seq,
        database: int,
        before: ToolResult,
        *,
        has_passed: bool,
        is_alone: bool,
    ) -> dict[Key, Write]:
        """What stays of what the tool wrote."""
        found: dict[Key, Write] = {}
        appended = frozenset(seen.appended)
        read = {path for path, *_ in seen.read}
        left = {path: " ".join(map(str, state)) for path, *state in seen.left}
        new = _find_new(seen, before)
        for path in seen.native_written:
            mark = left.get(path, ABSENT)
            evidence = _find_evidence(
                path, tool, seen, before, is_read=path in read, is_alone=is_alone
            )
            # Where no other tool ran, it can only make this one stale, and for one run: see `kept` in `end_of_run`.
            is_checked = is_alone or evidence == "sure"
            may_add = path not in seen.native_before
            found[f"file:{path}"] = Write(ended, mark, is_checked, may_add, evidence=evidence)
        flows = self._current.registry.flows
        for path in seen.written:
            mark = left.get(path) or read_mark(os.path.join(self._root, path))
            is_checked = path not in appended and (
                path not in seen.aside_written
                or any(path in flow.reads for one, flow in flows.items() if one != tool.module)
            )
            found[f"file:{path}"] = Write(
                ended, mark, is_checked, path in appended, is_new=path in new
            )
        for path in seen.removed:
            found[f"file:{path}"] = Write(ended, ABSENT)
        if has_passed or seen.has_committed:
            names = [*seen.tables_written, *([ANY] if seen.is_unclear else ())]
            if seen.tables_created or seen.tables_dropped:
                names.append("")  # the list of tables
            contents = dict(seen.table_versions)
            for name in names:
                mark = ABSENT if name in seen.tables_dropped else EXISTS
                found[table_key(database, name)] = Write(
                    ended,
                    mark,
                    only_adds=name in seen.tables_inserted,
                    only_creates=name in seen.tables_kept,
                    version=contents.get(name),
                )
        if has_passed and tool.outputs:
            versions = Versions(self._root)
            for key in versions.declared(tool.outputs):
                mark = left.get(key[5:]) or versions.mark(key)
                found[key] = Write(ended, mark, is_new=key[5:] in new)
        return found

    def hash_outputs(self, result: ToolResult) -> ToolResult:
        """The result with the content of the files that the tool left. No tool may run: the kernel would show it that
        orch reads them."""
        found = {}
        for key, write in result.writes.items():
            is_plain = write.version is None and write.is_sure
            is_plain &= not (write.only_adds and not write.evidence)
            if is_plain and key.startswith("file:"):
                version = self._files.hash_left(key[5:], write.mark)
                if version is not None:
                    found[key] = replace(write, version=version)
        return replace(result, writes={**result.writes, **found}) if found else result

    def _find_folders_made(self, seen: Observation, before: ToolResult) -> tuple[str, ...]:
        """The folders that it made, and those that it made at an earlier success and has used to write into now."""
        used: set[str] = set()
        for path in (*seen.written, *seen.native_written, *seen.folders_made):
            while (path := path.rpartition("/")[0]) and path not in used:
                used.add(path)
        known = (key.removeprefix("file:") for key, one in before.writes.items() if one.only_adds)
        again = (one for one in known if one in used)
        return tuple(dict.fromkeys((*seen.folders_made, *again)))

    def _find_came(
        self, observed: Iterable[Observation], before: ToolResult, own: Collection[Key]
    ) -> frozenset[str]:
        """The names that came into the folders that it listed while it ran, and not by itself. It may have listed them
        before."""
        known = before.success.inputs.other if before.success else {}
        found = set()
        for one in observed:
            for path, _, _, inode, changed in one.came:
                folder = known.get(f"folder:{path.rpartition('/')[0] or '.'}")
                if (
                    f"file:{path}" not in own
                    and path not in paths_in(folder)
                    and inode not in self._output_files
                    and self._files.is_changed_meanwhile(path, changed, one)
                ):
                    found.add(path)
        return frozenset(found)

    def _find_shared(self, tool: Tool, code: Iterable[str]) -> Iterator[SharedUse]:
        """What the users of this code and of the tool's resources share, as far as other tools have seen it."""
        if self._shared:
            own = {*map(id, self._newest)}
            resources = all_resources(tool, self._current.registry) if tool.resources else ()
            for owner in (*code, *(f"{RESOURCE}{name}" for name in resources)):
                yield from (one for one in self._shared.get(owner, ()) if id(one) not in own)

    def _with_inputs(self, seen: Observation, *, is_shared: bool = False) -> Observation:
        """The same, where of the files that only the kernel saw being read those are left out that orch writes its
        output to, and that a tool of another worker wrote meanwhile where it is shared."""
        kept = (
            row
            for row in seen.native_read
            if row[3] not in self._output_files
            and not (is_shared and row[4] > seen.began[1] and self._files.is_written(row[0]))
        )
        return replace(seen, native_read=tuple(kept))

    def _code_as_run(
        self, tool: Tool, loaded: Mapping[str, str], seen: Observation
    ) -> tuple[dict[str, str], tuple[str, ...], list[str]]:
        """The hashes of its code, modules that it loaded without an import statement, and files that were loaded with
        another text than the plan knew."""
        code = {**self._current.code_of(tool, self._code)}
        hashes = self._current.hashes_of(tool, self._code)
        modules: tuple[str, ...] = ()
        extra = [path for path in (*loaded, *self._find_elsewhere(tool)) if path not in code]
        found = self._child_code.find(seen.child_code)
        child_code = [path for path in found if path not in seen.written]
        kept = [name for use in self._find_shared(tool, (*code,)) for name in use.used_modules]
        if extra or seen.used_modules or kept or child_code:
            space = PythonPath(self._current.project)
            named = (space.name(path) or path_module(path) for path in extra)
            by_path = (path_module(path) for path in child_code)
            modules = tuple(dict.fromkeys((*named, *seen.used_modules, *kept, *by_path)))
            for one in self._current.code.read_code(modules).values():
                code |= one.meanings
                hashes |= one.hashes
        changed = [
            path
            for path, content in hashes.items()
            if self._loaded.get(path, content) != content and not self._means_the_same(path, code)
        ]
        if changed and self._is_live:
            now = self._current.code.read_code((tool.module, *modules))
            known = {path: one for state in now.values() for path, one in state.hashes.items()}
            same = [path for path in changed if known.get(path) == self._loaded[path]]
            meanings = self._current.code_of(tool, now, modules)
            code |= {path: meanings[path] for path in same if path in meanings}
            changed = [path for path in changed if path not in same]
        for path in child_code:
            state = stat_file(os.path.join(self._root, path))
            if state is None or self._files.is_changed_meanwhile(path, state.st_ctime_ns, seen):
                changed.append(path)
        for path in changed:
            code[path] = UNSURE
        return code, modules, changed

    def _find_elsewhere(self, tool: Tool) -> Iterable[str]:
        """The files of modules that its code imports and that are not in `pythonpath`, but where code that changes
        `sys.path` has Python find them: this tool or one before it has loaded them."""
        found: dict[str, None] = {}
        names = self._current.third_party_of(tool, self._code)
        while new := [
            path for name in names for path in self._loaded_as.get(name, ()) if path not in found
        ]:
            found.update(dict.fromkeys(new))
            states = self._current.code.read_code(map(path_module, new)).values()
            names = {name for one in states for name in one.third_party}
        return found

    def _means_the_same(self, path: str, code: Mapping[str, str]) -> bool:
        """Whether the text that was loaded is what is there now, and means what the plan knew: as where an editor has
        called a formatter after it saved the file."""
        now = self._current.code.files.look_at(path)
        if now is None or now.problem is not None:
            return False
        return (now.hash, now.meaning) == (self._loaded[path], code[path])

    def _spelled_variables(
        self, observed: Iterable[Observation], code: Mapping[str, str]
    ) -> dict[Key, str]:
        """The variables that this code means where it copies the environment or calls a library."""
        asked: dict[str, None] = {}
        has_copied = False
        for one in observed:
            asked.update(dict.fromkeys(one.environment_asked))
            has_copied |= one.has_copied_environment
        if not asked and not has_copied:
            return {}
        present = self._current
        found = {"environ:": join_paths(present.environ)} if has_copied else {}
        names = (*asked, *(present.environ if has_copied else ()))
        for name in present.spelled.find(names, code):
            found[f"env:{name}"] = present.versions.variable(name)
        return found

    def _globs(self, patterns: Iterable[str], came: Collection[str]) -> dict[Key, str]:
        versions = Versions(self._root)
        keys = [f"glob:{one}" for one in patterns]
        return {key: without_paths(versions.version(key), came) for key in keys}

    def _packages(self, tool: Tool, modules: Iterable[str]) -> dict[Key, str]:
        """The versions of the distributions that its code imports, and of what these require; "" for a module that no
        distribution brings: one of that name may be installed later."""
        states = self._current.code.read_code(modules).values()
        names = self._current.third_party_of(tool, self._code).union(
            *(one.third_party for one in states)
        )
        if not names:
            return {}
        from discover_orch.staleness.installed_packages import (  # few tools import any
            normalise,
            read_installed,
        )

        packages = read_installed(sys.path)
        found = {*packages.find_needed(names), *map(normalise, names - packages.owners.keys())}
        installed = self._current.installed(found)
        return {f"package:{name}": installed.get(name, ABSENT) for name in sorted(found)}


def _find_new(seen: Observation, before: ToolResult) -> set[str]:
    """The files that would not be there without this tool: it has made them now or in an earlier attempt. If it also
    removed files of others, it may have moved, packed or renamed them, and then none of those made now counts."""
    made = {key[5:] for key, one in before.writes.items() if one.is_new and one.mark != ABSENT}
    made_folders = {key[5:] for key, one in before.writes.items() if one.mark == EXISTS}
    has_moved = any(path not in made and path not in made_folders for path in seen.removed)
    return made if has_moved else made.union(seen.created)


def _find_evidence(
    path: str, tool: Tool, seen: Observation, before: ToolResult, *, is_read: bool, is_alone: bool
) -> Evidence:
    """How sure it is that the tool wrote this file, where only the kernel reported the write. A file that it declares
    to read, was seen to read, or had read before the write, may be an input that another program saved, even if a
    command line names it. What was reported while another tool ran may be that tool's work each time, so it does
    not count as a repetition."""
    success, earlier = before.success, before.writes.get(f"file:{path}")
    # The last success itself, not one before it: what is known to be written is the union over all.
    was_shown = success is not None and earlier is not None and earlier.seq == success.ended
    if meets_input(path, tool.outputs):
        return "sure"
    if not (is_read or meets_input(path, tool.inputs)):
        if path in seen.native_named and path not in seen.native_before:
            return "sure"
        repeats = ("sure", "first") if is_alone else ("sure",)
        if was_shown and earlier is not None and earlier.evidence in repeats:
            return "sure"
    if not is_alone:
        return "once"
    return "first" if success is None or not success.is_alone else "again" if was_shown else "once"


def _find_sure(seen: Observation, writes: Mapping[Key, Write]) -> tuple[str, ...]:
    """What only the kernel saw being written, and what the tool surely wrote or two successes in a row showed."""
    return tuple(
        path
        for path in seen.native_written
        if writes[f"file:{path}"].evidence not in ("first", "once")
    )


def _made_before(seen: Observation, database: int, before: ToolResult) -> dict[Key, Write]:
    """The tables that the tool made in an earlier run and would have made now: writes without a new number."""
    kept = {*seen.tables_kept}.difference(seen.tables_written, seen.tables_missed)
    keys = (table_key(database, name) for name in kept)
    return {
        key: replace(write, is_checked=True, is_left_over=False) if write.is_left_over else write
        for key in keys
        if (write := before.writes.get(key)) is not None and write.mark != ABSENT
    }
