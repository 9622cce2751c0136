"""What an attempt of a tool used: what it depended on, what it left, and its data flow.

Built from the uses that the worker observed, those that the users of its modules and resources share, and what the
plan knew of the code. What changed while the tool ran is marked as unsure, so that the tool is stale again. Reads and
hashes files, writes none.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.execution.attempt_reads import ReadFiles
from discover_orch.execution.attempt_writes import AttemptEnd, find_made_before, find_writes
from discover_orch.execution.code_as_run import CodeReader
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.observation import (
    MADE,
    RESOURCE,
    WRITTEN,
    Kind,
    Observation,
    Use,
)
from discover_orch.model.parameter import is_secret_name
from discover_orch.model.table_keys import WHOLE, table_key, table_name
from discover_orch.model.tool import Tool
from discover_orch.model.tool_events import ToolFinished
from discover_orch.planning.plan import step_versions
from discover_orch.staleness.current_inputs import CurrentState, all_resources, takes_orchconf
from discover_orch.staleness.import_graph import CodeState
from discover_orch.staleness.input_versions import Versions
from discover_orch.staleness.tool_result import (
    ABSENT,
    EXISTS,
    Inputs,
    Key,
    Success,
    ToolResult,
    Write,
    join_paths,
    paths_in,
    without_paths,
)
from discover_orch.staleness.writers import Writers


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
        """`is_live` is as of `CodeReader`."""
        self._current, self._root = present, present.project.root
        self._files = ReadFiles(self._root)
        self._code = CodeReader(present, code, self._files, is_live=is_live)
        #: By the file of a module or the resource: what its users share.
        self._shared: dict[str, list[Observation]] = {}
        self._newest: list[Observation] = []  # those of the last event
        self._output_files = _find_output_files()

    def note_start(self, module: str, before: ToolResult) -> None:
        """The tool is about to begin."""
        self._files.note_start(module, before.success)

    def add_event(self, event: ToolFinished) -> None:
        self._code.add_event(event)
        seen = event.seen or Observation()
        self._newest = [Observation(uses=one.uses, began=seen.began) for one in seen.shared]
        for one, use in zip(seen.shared, self._newest, strict=True):
            self._shared.setdefault(one.owner, []).append(use)

    def read(self, end: AttemptEnd) -> Attempt:
        tool, before, database = end.tool, end.before, end.database
        seen = self._without_others(end.event.seen or Observation())
        known = [*self._find_shared(tool, self._code.known(tool))]
        names = [name for one in (seen, *known) for name in one.names("module", "read")]
        code = self._code.read(tool, end.event, names)
        packages = self._code.packages(tool, code.modules)
        if not (packages or seen.may_be_native or self._takes_native(tool, seen)):
            seen = replace(seen, uses=tuple(one for one in seen.uses if one.via != "kernel"))
        shared = [self._without_others(one, seen) for one in self._find_shared(tool, code.meanings)]
        writes = find_writes(end, seen, self._root, self._current.registry.flows)
        made = find_made_before(seen, database, before)
        writes |= made
        own = {key for key, one in writes.items() if one.is_sure}
        # Of folders counts what the tool itself has seen last.
        observed = (*shared, seen)
        came = self._find_came(observed, before, own)
        files = self._files.versions(tool, seen, shared, before, own, came)
        # In the order in which they are shown: files first. What was missed and then read was read.
        other = {
            **self._current.surroundings(tool, step_versions(end.step, self._root)),
            **(files.versions | self._find_inputs(observed, before, own, came) | files.versions),
            **packages,
            **self._spelled_variables(observed, code.meanings, files.versions),
        }
        flow = build_flow(seen, shared, writes, made, is_alone=end.is_alone)
        names = [*flow.tables_read, *flow.tables_missed, *([""] if flow.lists_tables else [])]
        if flow.is_unclear:
            names.append(WHOLE)
        if (
            "database" in other
            or any(one.find("table", "read") for one in shared)
            or uses_main_database(seen)
        ):
            other["database"] = f"{database} {self._current.database.name}"
        checks, earlier = self._current.registry.tools[tool.module].checks, before.success
        is_unchecked = len(end.event.checks) < len(checks)
        success = Success(
            asof=end.began,
            ended=end.ended,
            inputs=Inputs(code=code.meanings, other=other),
            tables=tuple(table_key(database, name) for name in names),
            # Who declares inputs says that orch sees all others.
            is_whole=not (flow.is_unclear or (flow.gaps and not tool.has_inputs)),
            duration=end.event.duration,
            is_alone=end.is_alone,
            is_unchecked=is_unchecked,
            returned=end.event.returned or (earlier.returned if is_unchecked and earlier else ""),
            marks=files.marks,
            modules=code.modules,
            flow=flow,
        )
        self._files.add_written(seen.names("file", *WRITTEN))
        return Attempt(success=success, writes=writes, changed=code.changed)

    def _takes_native(self, tool: Tool, seen: Observation) -> bool:
        """Whether a resource, or DuckDB behind `conn`, may open files for the tool, whose code imports no package."""
        present = self._current
        has_conf = takes_orchconf(tool, present.registry, present.project)
        return has_conf or bool(seen.database and seen.dialect == "duckdb")

    def _without_others(self, one: Observation, seen: Observation | None = None) -> Observation:
        """The same without what orch did, which writes its output to files; of a part that is shared also without
        what the tool of `seen` used itself, and what a tool of another worker did meanwhile."""
        used = seen.names("file", "read", "opened", *WRITTEN) if seen else ()
        filled = seen.names("table", *MADE) if seen else ()

        def is_kept(use: Use) -> bool:
            match use.kind, use.via:
                case ("read", "kernel") if use.state:
                    _, _, inode, changed = map(int, use.state.split())
                    is_later = seen is not None and changed > one.began[1]
                    is_of_orch = inode in self._output_files
                    return not (is_of_orch or (is_later and self._files.is_written(use.name)))
                case ("opened", _):  # who uses such a connection sees the database as it is
                    return use.name not in used
                case ("read", _) if use.key.startswith("table:"):
                    return use.name not in filled
            return True

        kept = tuple(filter(is_kept, one.uses))
        return one if len(kept) == len(one.uses) else replace(one, uses=kept)

    def hash_outputs(self, result: ToolResult, writers: Writers) -> ToolResult:
        """The result with the content of the files that the tool left, less logs. No tool may run: the kernel would
        show it that orch reads them."""
        found = {}
        for key, write in result.writes.items():
            is_plain = write.version is None and write.is_sure and key.startswith("file:")
            if is_plain and not writers.is_log(key):
                version = self._files.hash_left(key[5:], write.mark)
                if version is not None:
                    found[key] = replace(write, version=version)
        return replace(result, writes={**result.writes, **found}) if found else result

    def _find_inputs(
        self,
        observed: Iterable[Observation],
        before: ToolResult,
        own: Collection[Key],
        came: Collection[str],
    ) -> dict[Key, str]:
        """The versions of what it did not read as a file: of what it missed, asked about and listed, and of variables
        of the environment."""
        # With the salt of the last success, so that the versions of two runs can be compared.
        known = before.success.inputs.other if before.success else {}
        found: dict[Key, str] = {}
        now = Versions(self._root)
        for one in observed:
            for use in one.find("file", "missed"):
                if use.key not in own:
                    found[use.key] = ABSENT
            for use in (*one.find("there", "asked"), *one.find("stat", "asked")):
                path = use.name.rstrip("/")
                if f"file:{path}" not in own:
                    found[use.key.rstrip("/")] = use.state or path
            for use in one.find("link", "asked"):
                if f"file:{use.name}" not in own:
                    found[use.key] = use.state
            for use in one.find("folder", "listed"):
                found[use.key] = without_paths(use.state, came)
            for use in one.find("glob", "listed"):
                found[use.key] = without_paths(now.version(use.key), came)
            for use in one.find("env", "read"):
                if not is_secret_name(use.name):
                    version = self._current.versions.variable(use.name, known.get(use.key, ""))
                    found[use.key] = version
        return found

    def _find_came(
        self, observed: Iterable[Observation], before: ToolResult, own: Collection[Key]
    ) -> frozenset[str]:
        """The names that came into the folders that it listed while it ran, and not by itself. It may have listed them
        before."""
        known = before.success.inputs.other if before.success else {}
        found = set()
        for one in observed:
            for use in one.find("file", "came"):
                folder = known.get(f"folder:{use.name.rpartition('/')[0] or '.'}")
                _, _, inode, changed = map(int, use.state.split())
                if (
                    use.key not in own
                    and use.name not in paths_in(folder)
                    and inode not in self._output_files
                    and self._files.is_changed_meanwhile(use.name, changed, one.began)
                ):
                    found.add(use.name)
        return frozenset(found)

    def _find_shared(self, tool: Tool, code: Iterable[str]) -> Iterator[Observation]:
        """What the users of this code and of the tool's resources share, as far as other tools have seen it."""
        if self._shared:
            own = {*map(id, self._newest)}
            resources = all_resources(tool, self._current.registry) if tool.resources else ()
            for owner in (*code, *(f"{RESOURCE}{name}" for name in resources)):
                yield from (one for one in self._shared.get(owner, ()) if id(one) not in own)

    def _spelled_variables(
        self, observed: Iterable[Observation], code: Mapping[str, str], files: Mapping[Key, str]
    ) -> dict[Key, str]:
        """The variables that this code, and scripts among these files, mean where the environment is copied, by the
        code or to a child process, or a library is called."""
        present = self._current
        asked = [name for one in observed for name in one.names("env", "asked")]
        has_copied = any(one.find("environ", "read") for one in observed)
        if not asked and not has_copied:
            return {}
        found = {"environ:": join_paths(present.environ)} if has_copied else {}
        names = dict.fromkeys((*asked, *(present.environ if has_copied else ())))
        for name in present.spelled.find(names, code, files):
            found[f"env:{name}"] = present.versions.variable(name)
        return found


def build_flow(
    seen: Observation,
    shared: Collection[Observation],
    writes: Mapping[Key, Write],
    made: Mapping[Key, Write],
    *,
    is_alone: bool,
) -> Dataflow:
    """What the tool read and wrote, with what it shares with other users of its modules and resources. `writes` is
    what stays of it; `made` are tables that it made before. What only the kernel saw being written counts as written
    where that is sure."""
    both = (seen, *shared)
    written = dict.fromkeys(_names((seen,), "file", *WRITTEN))
    reads = dict.fromkeys(_names((seen,), "file", "read", "opened", "updated"))
    shared_reads = _names(shared, "file", "read", "opened")
    reads.update(dict.fromkeys(one for one in shared_reads if one not in written))
    native = {
        use: writes[use.key].is_sure for use in seen.find("file", *WRITTEN) if use.via != "seen"
    }
    sure = [use for use, is_sure in native.items() if is_sure]
    unsure = tuple(use.name for use, is_sure in native.items() if not is_sure)
    kept = {key[5:] for key, one in writes.items() if one.is_sure}
    # Not what it had written by then.
    own = {*written, *(use.name for use in native if use.kind != "updated")}
    read = (use.name for one in both for use in one.find("file", "read") if use.via == "kernel")
    # That a folder is there says nothing of the tools that write into it.
    asked = [one for one in _names(both, "there", "asked") if one[-1] != "/" and one not in kept]
    missed = [one for one in _names(both, "file", "missed") if one not in kept]
    files = Dataflow(
        reads=tuple(reads),
        writes=(*written, *(use.name for use in sure)),
        folders=tuple(_names(both, "folder", "listed")),
        missed=(*missed, *asked),
        appended=(
            *_names((seen,), "file", "appended"),
            *(use.name for use in sure if use.kind != "updated"),
        ),
        removed=seen.names("file", "removed"),
        native_reads=tuple(dict.fromkeys(one for one in read if one not in own)),
        native_writes=unsure,
        is_overlapped=bool(unsure) and not is_alone,
        folders_made=tuple(
            key[5:] for key, one in writes.items() if one.only_adds and one.mark == EXISTS
        ),
        gaps=tuple(dict.fromkeys(name for one in both for name in one.names("gap", "unclear"))),
        is_unclear=any(one.is_unclear for one in both),
    )
    return _with_tables(files, seen, shared, made)


def _with_tables(
    files: Dataflow,
    seen: Observation,
    shared: Collection[Observation],
    made: Mapping[Key, Write],
) -> Dataflow:
    own, both = (seen,), (seen, *shared)
    filled = {table_name(key) for key, one in made.items() if not one.only_creates}
    kept = (one for one in _names(own, "table", "kept", "made") if one not in filled)
    return replace(
        files,
        # What was written while a resource was opened: its users depend on it.
        tables_read=tuple(
            sorted({*_names(both, "table", "read"), *_names(shared, "table", *MADE)})
        ),
        tables_written=tuple(dict.fromkeys((*_names(own, "table", *MADE), *map(table_name, made)))),
        tables_missed=tuple(_names(both, "table", "missed")),
        tables_found=tuple(_names(both, "table", "found")),
        tables_inserted=tuple(_names(own, "table", "inserted")),
        tables_created=tuple(_names(own, "table", "created")),
        tables_dropped=tuple(_names(own, "table", "dropped")),
        tables_kept=tuple(kept),
        lists_tables=bool(_names(both, "table", "listed")),
    )


def _names(of: Collection[Observation], thing: str, *kinds: Kind) -> list[str]:
    """What Python saw being used so, each once."""
    is_table = thing == "table"
    found = (use for one in of for use in one.find(thing, *kinds))
    return [*dict.fromkeys(use.name for use in found if is_table or use.via == "seen")]


def uses_main_database(seen: Observation) -> bool:
    """Whether it used the project's database, with or without `conn`."""
    return seen.is_unclear or bool(seen.find("table", "read", *MADE))


def _find_output_files(fds: Iterable[int] = (1, 2)) -> frozenset[int]:
    """The inodes of the files that orch writes its own output to, as with `orch run > run.log`. Who reads such a file
    while a tool runs, as `tail -f` does, is not the tool."""
    found = set()
    for fd in fds:
        with contextlib.suppress(OSError):
            state = os.fstat(fd)
            if stat.S_ISREG(state.st_mode):
                found.add(state.st_ino)
    return frozenset(found)
