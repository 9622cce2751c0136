"""What an attempt of a tool used: what it depended on, what it left, and its data flow.

Built from the uses that the worker observed, those that the users of its modules and resources share, and what the
plan knew of the code. What changed while the tool ran is marked as unsure, so that the tool is stale again. Reads and
hashes files, writes none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.execution.attempt_reads import ReadFiles
from discover_orch.execution.attempt_writes import AttemptEnd, find_made_before, find_writes
from discover_orch.execution.code_as_run import CodeReader
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.keys import (
    WHOLE,
    Key,
    file_key,
    is_file_key,
    is_object,
    is_table_key,
    path_of,
    table_key,
    table_name,
)
from discover_orch.model.observation import (
    MADE,
    RESOURCE,
    WRITTEN,
    Kind,
    Observation,
    Use,
)
from discover_orch.model.secret_masking import is_secret_name
from discover_orch.model.tool import Tool
from discover_orch.model.tool_events import ToolFinished
from discover_orch.planning.plan import step_versions
from discover_orch.staleness.current_inputs import CurrentState, all_resources
from discover_orch.staleness.import_graph import CodeState
from discover_orch.staleness.tool_result import (
    ABSENT,
    EXISTS,
    Inputs,
    Success,
    ToolResult,
    Write,
    join_paths,
)
from discover_orch.staleness.writers import Writers


class Attempt(Struct, frozen=True, kw_only=True):
    """What an attempt depended on and wrote, and the files of its code that differ from what the plan knew.
    `code_with_earlier` is its code with what counted for what it has kept of its own work."""

    success: Success
    writes: Mapping[Key, Write]
    code_with_earlier: Mapping[str, str]
    changed: tuple[str, ...] = ()


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

    def note_start(self, module: str, before: ToolResult) -> None:
        """The tool is about to begin."""
        self._files.note_start(module, before.success)

    def add_event(self, event: ToolFinished) -> None:
        self._code.add_event(event)
        seen = event.seen or Observation()
        self._newest = []
        for owner, uses in seen.find_shared().items():
            self._newest.append(Observation(uses=tuple(uses), began=seen.began))
            self._shared.setdefault(owner, []).append(self._newest[-1])

    def read(self, end: AttemptEnd) -> Attempt:
        tool, before, database = end.tool, end.before, end.database
        seen = end.event.seen or Observation()
        known = self._code.known(tool)
        shared = self._find_shared(tool, known)
        code = self._code.read(tool, end.event, shared, before)
        packages = self._code.packages(tool, code.modules)
        if code.versions.keys() != known.keys():
            shared = self._find_shared(tool, code.versions)
        shared = [_without_own(one, seen) for one in shared]
        writes = find_writes(end, seen, self._root, self._current.registry.flows)
        made = find_made_before(seen, database, before)
        writes |= made
        own = writes.keys()
        # Of folders counts what the tool itself has seen last.
        observed = (*shared, seen)
        files = self._files.versions(tool, seen, shared, before, own)
        # In the order in which they are shown: files first. What was missed and then read was read.
        other = {
            **self._current.surroundings(tool, step_versions(end.step, self._root)),
            **(files.versions | self._find_inputs(observed, before, own) | files.versions),
            **packages,
            **self._spelled_variables(observed, code.versions, files.versions),
        }
        flow = build_flow(seen, shared, writes, made)
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
            inputs=Inputs(code=code.versions, other=other),
            tables=tuple(table_key(database, name) for name in names),
            # Who declares inputs says that orch sees all others.
            is_whole=not (flow.is_unclear or (flow.gaps and not tool.has_inputs)),
            duration=end.event.duration,
            is_unchecked=is_unchecked,
            returned=end.event.returned or (earlier.returned if is_unchecked and earlier else ""),
            marks=files.marks,
            modules=code.modules,
            flow=flow,
        )
        self._files.add_written(seen.names("file", *WRITTEN))
        return Attempt(
            success=success,
            writes=writes,
            code_with_earlier=code.with_earlier,
            changed=code.changed,
        )

    def hash_outputs(self, result: ToolResult, writers: Writers) -> ToolResult:
        """The result with the content of the files that the tool left, less logs."""
        found = {}
        for key, write in result.writes.items():
            is_unknown = write.version is None and is_file_key(key)
            if is_unknown and not writers.is_log(key):
                version = self._files.hash_left(path_of(key), write.mark)
                if version is not None:
                    found[key] = replace(write, version=version)
        return replace(result, writes={**result.writes, **found}) if found else result

    def _find_inputs(
        self,
        observed: Iterable[Observation],
        before: ToolResult,
        own: Collection[Key],
    ) -> dict[Key, str]:
        """The versions of what it did not read as a file: of what it missed, asked about and listed, and of variables
        of the environment."""
        # With the salt of the last success, so that the versions of two runs can be compared.
        known = before.success.inputs.other if before.success else {}
        found: dict[Key, str] = {}
        for one in observed:
            for use in one.find("file", "missed"):
                if use.key not in own:
                    found[use.key] = ABSENT
            for use in (*one.find("there", "asked"), *one.find("stat", "asked")):
                path = use.name.rstrip("/")
                if file_key(path) not in own:
                    found[use.key.rstrip("/")] = use.state or path
            for use in one.find("link", "asked"):
                if file_key(use.name) not in own:
                    found[use.key] = use.state
            for use in (*one.find("folder", "listed"), *one.find("glob", "listed")):
                found[use.key] = use.state
            for use in one.find("env", "read"):
                if not is_secret_name(use.name):
                    version = self._current.versions.variable(use.name, known.get(use.key, ""))
                    found[use.key] = version
        return found

    def _find_shared(self, tool: Tool, code: Iterable[str]) -> list[Observation]:
        """What the users of this code and of the tool's resources share, as far as other tools have seen it."""
        if not self._shared:
            return []
        resources = all_resources(tool, self._current.registry) if tool.resources else ()
        owners = (*code, *(f"{RESOURCE}{name}" for name in resources))
        found = [one for owner in owners if owner in self._shared for one in self._shared[owner]]
        own = {*map(id, self._newest)}
        return [one for one in found if id(one) not in own]

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


def _without_own(one: Observation, seen: Observation) -> Observation:
    """What is shared, without what the tool of `seen` used itself: who uses a connection that a module keeps sees the
    database as it is."""
    used = seen.names("file", "read", "opened", *WRITTEN)
    filled = seen.names("table", *MADE)

    def is_kept(use: Use) -> bool:
        if use.kind == "opened":
            return use.name not in used
        is_table_read = use.kind == "read" and is_table_key(use.key)
        return not (is_table_read and use.name in filled)

    kept = tuple(filter(is_kept, one.uses))
    return one if len(kept) == len(one.uses) else replace(one, uses=kept)


def build_flow(
    seen: Observation,
    shared: Collection[Observation],
    writes: Mapping[Key, Write],
    made: Mapping[Key, Write],
) -> Dataflow:
    """What the tool read and wrote, with what it shares with other users of its modules and resources. `writes` is
    what stays of it; `made` are tables that it made before."""
    both = (seen, *shared)
    unread = {path_of(key) for key, one in writes.items() if one.is_unread and one.mark != EXISTS}
    written = {one: None for one in _names((seen,), "file", *WRITTEN) if one not in unread}
    reads = dict.fromkeys(_names((seen,), "file", "read", "opened", "updated"))
    shared_reads = _names(shared, "file", "read", "opened")
    reads.update(dict.fromkeys(one for one in shared_reads if one not in written))
    kept = {path_of(key) for key in writes}
    # That a folder is there says nothing of the tools that write into it.
    asked = [one for one in _names(both, "there", "asked") if one[-1] != "/" and one not in kept]
    missed = [one for one in _names(both, "file", "missed") if one not in kept]
    files = Dataflow(
        reads=tuple(reads),
        writes=tuple(written),
        folders=tuple(_names(both, "folder", "listed")),
        missed=(*missed, *asked),
        appended=tuple(_names((seen,), "file", "appended")),
        removed=seen.names("file", "removed"),
        folders_made=tuple(
            path_of(key)
            for key, one in writes.items()
            if is_file_key(key) and one.only_adds and one.mark == EXISTS
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
        tables_dropped=tuple(one for one in _names(own, "table", "dropped") if not is_object(one)),
        tables_kept=tuple(kept),
        lists_tables=bool(_names(both, "table", "listed")),
    )


def _names(of: Collection[Observation], thing: str, *kinds: Kind) -> list[str]:
    """What was used so, each once."""
    return [*dict.fromkeys(use.name for one in of for use in one.find(thing, *kinds))]


def uses_main_database(seen: Observation) -> bool:
    """Whether it used the project's database, with or without `conn`."""
    return seen.is_unclear or bool(seen.find("table", "read", *MADE))
