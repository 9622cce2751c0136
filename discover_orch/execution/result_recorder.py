"""What is remembered of each tool of a run: how it ended, what its success rested on, and what it left.

That is what its worker observed. If it changed while the tool ran, it is recorded as unsure, and the tool is stale
again.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.execution.attempt_reads import read_earlier
from discover_orch.execution.attempt_uses import Attempt, AttemptReader, uses_main_database
from discover_orch.execution.attempt_writes import AttemptEnd
from discover_orch.execution.overlaps import Overlaps
from discover_orch.execution.remembered_results import ResultRecord, find_used_versions
from discover_orch.execution.removed_files import RemovedFiles
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.errors import Location, Problem
from discover_orch.model.items import tool_of
from discover_orch.model.keys import Key, is_file_key, is_table_key, path_of, table_key, table_name
from discover_orch.model.observation import WRITTEN, Observation, Use
from discover_orch.model.success_record import SuccessRecord
from discover_orch.model.tool import Tool
from discover_orch.model.tool_events import ToolFinished
from discover_orch.planning.dataflow_checks import build_note, listed
from discover_orch.planning.plan import Plan, Step, had_arguments
from discover_orch.staleness.current_inputs import CurrentState, takes_connection
from discover_orch.staleness.database_identity import DatabaseRecord
from discover_orch.staleness.import_graph import CodeState
from discover_orch.staleness.input_versions import Versions
from discover_orch.staleness.reason_sentences import reason_sentence, shown_key
from discover_orch.staleness.result_updates import (
    add_failure,
    add_success,
    cut_off,
    find_kept,
    is_same_code,
    with_rows,
    with_saw,
    without_lost_writes,
)
from discover_orch.staleness.rule import Judge, find_edited
from discover_orch.staleness.tool_result import (
    ABSENT,
    EXISTS,
    REMOVED,
    SETTLED,
    Cause,
    LastOutcome,
    Seq,
    Success,
    ToolResult,
    Write,
    sequence,
)
from discover_orch.staleness.writers import GONE, Writers
from discover_orch.state.journal import timestamp
from discover_orch.state.sealed_files import FOLDER

#: Statuses of a tool that ran. Any other leaves what is remembered of it as it was.
TRIED = ("passed", "done", "failed", "unknown", "interrupted", "cancelled")
#: Below `.orch`: copies of outputs that were edited by hand; those of one run are in a folder of its own.
EDITED = "edited"
#: Nanoseconds by which the clock that files are stamped with can be late.
TICK = 10_000_000


class ResultRecorder:
    """For the tools of one run. For each: `order`, `start`, `end`."""

    def __init__(
        self,
        plan: Plan,
        registry: Registry,
        results: ResultRecord,
        database: DatabaseRecord,
        current: CurrentState,
        code: dict[str, CodeState],
        *,
        run: str,
        is_live: bool,
    ) -> None:
        """`code` is that of the tools; `is_live`: a watch brings it up to date while the run is in progress."""
        self._plan, self._registry, self._results = plan, registry, results
        self._database, self._current, self._code = database, current, code
        self._root, self._run, self._is_live = current.project.root, run, is_live
        self._steps = {step.tool.module: step for step in plan.possible_steps}
        self._attempts = AttemptReader(current, code, is_live=is_live)
        self.overlaps = Overlaps()
        self.is_parallel = False
        #: What was remembered before, and the end, of the tools of a run that is one transaction.
        self._done: dict[str, tuple[ToolResult, Seq]] = {}
        self._recorded: dict[str, None] = {}  # have passed, and the database has a record of it
        self._count = 0  # starts and ends of tools
        self.began: dict[str, Seq] = {}
        self._removed = RemovedFiles(self._root, run)
        #: Of the tools that were ordered: what was edited by hand that they may write.
        self._edited: dict[str, list[Key]] = {}
        #: The version of each table that steps of this run wrote, and when it was found.
        self._latest: dict[Key, tuple[float, str]] = {}
        self._open: dict[str, int] = {}  # when those were ordered whose end is not known, in ns
        self._unhashed: dict[str, None] = {}  # have ended, and what they left was not read
        self._used: dict[str, tuple[Dataflow, dict[str, str]]] = {}  # of those that have passed
        #: Whether the run ends because nothing reads what orch writes any more.
        self.is_output_closed = False

    def extend(self, plan: Plan, registry: Registry) -> None:
        """There are more steps than before."""
        self._plan, self._registry = plan, registry
        self._steps = {step.tool.module: step for step in plan.possible_steps}
        self._code.update(self._current.read_code(self._steps))

    def find_success(self, module: str) -> Success | None:
        """The last success of a tool, that in this run included."""
        return self._results.find(module).success

    def is_needed(self, module: str) -> bool:
        """Whether a step has to run, now that its turn has come."""
        self.hash_outputs()
        return self._plan.turns is None or self._plan.turns.is_needed(module)

    def has_known_flow(self, tool: Tool) -> bool:
        """Whether a success of its present code was observed completely; before the first one here, whether
        `orch.lock` says so."""
        success = self._results.find(tool.module).success
        if success is None:
            registry = self._registry
            if tool_of(tool.module) not in registry.lock or tool.module in registry.observed:
                return False
            flow = registry.flows[tool.module]
            return not (flow.is_unclear or flow.gaps)
        if not success.is_whole:
            return False
        self._update_code()
        return self._current.is_of_present_code(tool, success, self._code)

    def has_known_use(self, tool: Tool) -> bool:
        """Whether such a success had the parameters of this run too."""
        success = self._results.find(tool.module).success
        return (
            success is not None
            and self.has_known_flow(tool)
            and had_arguments(success, self._steps[tool.module], self._root)
        )

    def expected_duration(self, module: str) -> float | None:
        """The seconds that the last success of the tool took; None if there is none."""
        success = self._results.find(module).success
        return success.duration if success is not None and success.ended else None

    def with_previous(self, plan: Plan) -> Plan:
        """The plan with what the checks of its tools take as `previous`."""

        def add(step: Step) -> Step:
            if not any("previous" in check.arguments for check in step.tool.checks):
                return step
            success = self._results.find(step.tool.module).success
            return replace(step, previous=success.returned if success else "")

        if not any(step.tool.checks for step in plan.possible_steps):
            return plan
        steps, selected = tuple(map(add, plan.steps)), tuple(map(add, plan.selected))
        return replace(plan, steps=steps, selected=selected)

    def prepare(self, step: Step) -> None:
        """Read what is needed to order this step, which is the next one, while a tool runs."""
        self._results.find(step.tool.module)

    def sources_of(self, tool: Tool) -> Mapping[str, str]:
        """The hashes of the files of its code, as the plan knows them."""
        return self._current.hashes_of(tool, self._code)

    def order(self, module: str) -> list[Problem]:
        """The tool is about to be ordered. What was edited by hand and it will write anew is copied first."""
        self._update_code()
        self._attempts.note_start(module, self._results.find(module))
        found = self._keep_edited(module)
        if removal := self._steps[module].removal:
            found += self._removed.move(module, removal.files)
        self._open[module] = time.time_ns()
        if self.is_parallel:  # of what several workers report, the order is not known
            self.began[module] = self.next_number()
            self.overlaps.begin(module)
        return found

    def remove_withdrawn(self) -> list[Problem]:
        """As of `ResultRecord`, for the selected tools."""
        steps = self._plan.selected or self._plan.steps
        return self._results.remove_withdrawn({step.tool.source_module for step in steps})

    def start(self, module: str) -> None:
        if not self.is_parallel:
            self.began[module] = self.next_number()

    def decline(self, module: str) -> None:
        """It was ordered and will not start."""
        self._removed.end(module, has_passed=False)
        self._open.pop(module, None)
        self.overlaps.end(module)

    def end(self, event: ToolFinished) -> list[Problem]:
        if event.status != "done":
            self._removed.end(event.module, has_passed=event.status == "passed")
        self._open.pop(event.module, None)
        self.overlaps.end(event.module)
        is_tried = event.status in TRIED and event.module in self._steps
        return self._remember(event, self._steps[event.module]) if is_tried else []

    def take_used(self, module: str) -> tuple[Dataflow, dict[str, str]] | None:
        """The data flow of a tool that has passed, and the versions of what it used. Asked once."""
        return self._used.pop(module, None)

    def _update_code(self) -> None:
        if self._is_live:
            self._code |= self._current.code.read_code(self._code)

    def _remember(self, event: ToolFinished, step: Step) -> list[Problem]:
        """How an attempt has ended, and what it used; the problems that it brings about."""
        module, results = event.module, self._results
        ended = self.next_number()
        last = LastOutcome(
            run=self._run,
            status=SETTLED if event.is_settled else event.status,
            at=timestamp(),
            duration=event.duration,
            cause=self._cause_of(event.status),
        )
        before = results.find(module)
        if event.seen is not None:
            event = replace(event, seen=self._with_exchanged(module, event.seen))
        self._attempts.add_event(event)
        found: list[Problem] = []
        if event.is_settled or (event.seen is None and event.status != "passed"):
            now = cut_off(before, ended)
        else:
            self._note_database(event, step.tool)
            end = AttemptEnd(
                step=step,
                event=event,
                began=self.began.get(module, ended),
                ended=ended,
                database=self._database.number,
                before=before,
            )
            attempt = self._attempts.read(end)
            if end.has_passed:
                now, found = self._add_success(end, attempt, last)
            else:
                failed = attempt.success
                now = add_failure(before, failed.inputs, failed.tables, attempt.writes)
        # Before the line in the journal: a tool that passed there is also remembered as passed.
        if event.status == "done":
            self._done[module] = before, ended
            now = replace(now, last=replace(last, status="passed"))
            results.hold(now)
        else:
            now = replace(now, last=last)
            results.write(now)
            self._note_removed(event)
            if event.status == "passed":
                found += self._find_out_of_order(now)
        if event.status in ("passed", "done"):
            found += results.find_left_over(before, now, self._current)
        self._tell_turns(now)
        self._unhashed[module] = None
        return found

    def _note_removed(self, event: ToolFinished) -> None:
        """What others made was dropped too. They are stale until they have run, if they do not run in this run."""
        stays = event.status == "passed" or (event.seen is not None and event.seen.has_committed)
        if not (event.removed and stays):
            return
        keys = {table_key(self._database.number, name) for name in event.removed}
        for module in self._results.places:
            other = self._results.find(module)
            if module not in (event.module, *self._results.passed) and keys & other.writes.keys():
                last = replace(other.last, run=self._run, status=REMOVED, cause="")
                self._results.write(replace(other, last=last))

    def _find_out_of_order(self, result: ToolResult) -> Iterator[Problem]:
        """The tool has used something as a later tool had left it, as where its new code reads a table that a later
        tool changes: only a run shows that."""
        results, tool = self._results, self._registry.tools[result.module]
        place = results.places[tool.module]
        for reason in Judge(result, place, results.writers, self._current).find_changed():
            if reason.how == "out of order":
                name_of = self._registry.display
                yield Problem(
                    code="out-of-order",
                    message=f"{tool.name} {reason_sentence(reason, result, name_of)}",
                    hint=f"orch run --changed runs {name_of(reason.by)} and {tool.name} again",
                    severity="warning",
                ).at(Location(path=tool.path))

    def _note_database(self, event: ToolFinished, tool: Tool) -> None:
        used = event.seen.database if event.seen else ""
        is_used = event.seen is not None and uses_main_database(event.seen)
        self._database.note_use(used, takes_connection(tool, self._registry) or is_used)

    def _add_success(
        self, end: AttemptEnd, attempt: Attempt, last: LastOutcome
    ) -> tuple[ToolResult, list[Problem]]:
        """What is remembered of the tool now, and the problems that this success brings about."""
        results, tool, before = self._results, end.tool, end.before
        earlier = before.success.record if before.success else ""
        success = replace(attempt.success, at=last.at, record=end.event.record or earlier)
        if end.event.record:
            self._recorded[tool.module] = None
        writes, found = (
            attempt.writes,
            [_changed_since_planned(tool, one) for one in attempt.changed],
        )
        removed, said = self._remove_replaced(end, success)
        writes = {**writes, **dict.fromkeys(removed, Write(end.ended, ABSENT))}
        found += said
        left = results.writers.left_over  # it has not read these now, so it is not stale for them
        results.foreign_write = self._database.foreign_write
        writers, place = results.writers.as_of(success.asof), results.places[tool.module]
        read_at = end.event.seen.tables_read_at if end.event.seen else 0.0
        writes = {key: self._with_latest(key, one, read_at) for key, one in writes.items()}
        gone = {table_key(self._database.number, one) for one in end.event.removed}
        writes = {
            key: _with_edit(key, one, writes, writers, is_removed=key in gone)
            for key, one in writes.items()
        }
        if tool.column and not tool.is_in_order:
            success = with_rows(success, tool.column, tool.value_of_column, writes, writers)
        kept = self._find_kept(end, success, writes, writers)
        if any(kept.values()):  # its earlier work counts, and so does what did that
            inputs = replace(success.inputs, code=attempt.code_with_earlier)
            success = replace(success, inputs=inputs)
        now = add_success(
            before,
            success,
            writes,
            kept=kept,
            is_there=lambda key: os.path.exists(os.path.join(self._root, path_of(key))),
            read_files=lambda keys: read_earlier(
                self._root, [key for key in keys if key not in left], before.success
            ),
        )
        self._used[tool.module] = success.flow, find_used_versions(success, writers)
        now = without_lost_writes(now, place, results.writers, writes)
        now = with_saw(
            now,
            place,
            writers,
            is_repeatable=tool.is_repeatable,
            edited=self._edited.get(tool.module, ()),
        )
        if end.event.status == "passed":
            results.passed.add(tool.module)
        self.overlaps.add_flow(tool.module, success.flow)
        has_new_code = before.success and not is_same_code(before.success.inputs, success.inputs)
        if kept and has_new_code:
            found.append(_keeps_earlier(tool, kept))
        return now, found

    def _remove_replaced(
        self, end: AttemptEnd, success: Success
    ) -> tuple[list[Key], list[Problem]]:
        """What the tool no longer makes of its set and was deleted, and what the run says of it."""
        seen, tool = end.event.seen, end.tool
        if not tool.replaces or seen is None:
            return [], []
        may_return = end.event.status == "done"  # where the run is rolled back
        unlink = partial(self._removed.move_file, tool.module) if may_return else os.unlink
        written = {use.key for use in seen.uses if use.kind in WRITTEN}
        return self._results.remove_replaced(tool, success, written, unlink)

    def _with_latest(self, key: Key, write: Write, read_at: float) -> Write:
        """The write, with the version that the step left which was committed last. The ends of steps that run at the
        same time may come in another order than that."""
        if not (is_table_key(key) and write.version):
            return write
        self._latest[key] = latest = max(self._latest.get(key, (0.0, "")), (read_at, write.version))
        return replace(write, version=latest[1])

    def _find_kept(
        self, end: AttemptEnd, success: Success, writes: Mapping[Key, Write], writers: Writers
    ) -> dict[Key, bool]:
        """What the success has kept of the tool's own work. What `--rebuild` has removed is not kept."""
        seen, place = end.event.seen or Observation(), self._results.places[end.tool.module]

        def is_own(key: Key) -> bool:
            last = writers.last(key)
            return last is not None and last.place == place

        reread = {use.key for use in seen.find("file", "reread")}
        found = find_kept(end.before, success, writes, reread, is_own)
        if end.tool.item.values:  # an item replaces its own rows
            found = {key: one for key, one in found.items() if not is_table_key(key)}
        removal = self._steps[end.tool.module].removal
        removed = {*removal.drops, *removal.empties} if removal else {*end.event.removed}
        names = (key for key in found if is_table_key(key) and table_name(key) in removed)
        return {key: one for key, one in found.items() if key not in {*names}}

    def _with_exchanged(self, module: str, seen: Observation) -> Observation:
        """The same, with the files among the uses that count only once one tool has written them and another one has
        read them: temporary ones, and those in hidden folders of the home. They are outside of the root."""
        asked = [one for one in seen.find("file", "read", "hidden") if os.path.isabs(one.name)]
        made = set()
        for use in asked:
            for row in self._results.writers.of(use.key):
                if row.place in (GONE, self._results.places[module]):
                    continue
                made.add(use)
                if row.write.is_unread:
                    self._note_output(row.module, use)
        hidden = {one: one if one not in made else replace(one, kind="read") for one in asked}
        return replace(seen, uses=tuple(hidden.get(one, one) for one in seen.uses))

    def _note_output(self, module: str, use: Use) -> None:
        """Another tool has used what this one wrote there."""
        maker = self._results.find(module)
        write, success = replace(maker.writes[use.key], is_checked=True), maker.success
        if success is not None:
            flow = replace(success.flow, writes=(*success.flow.writes, use.name))
            success = replace(success, flow=flow)
        maker = replace(maker, writes={**maker.writes, use.key: write}, success=success)
        (self._results.hold if module in self._done else self._results.write)(maker)

    def _keep_edited(self, module: str) -> list[Problem]:
        """Copies the files that the tool may write and that were edited since a tool left them, accepted or not; a
        warning for each.
        What changed after a tool was ordered whose end is not known yet may be the work of that one."""
        self._edited[module] = []
        versions = Versions(self._root)
        writes = self._results.find(module).writes.items()
        marks = {key: versions.mark(key) for key, _ in writes if is_file_key(key)}
        changed = {
            key: marks[key]
            for key, one in writes
            if key in marks
            and (one.is_by_hand or marks[key] != one.mark)
            and marks[key] not in (ABSENT, EXISTS)
        }
        if not changed or self._results.find(module).success is None:
            return []
        until = min(self._open.values(), default=None)
        found: list[Problem] = []
        for key, mark in changed.items():
            is_later = until is not None and int(mark.split()[-1]) >= until - TICK
            last = self._results.writers.last(key)
            if last is None or not last.write.is_by_hand:
                last = find_edited(key, self._results.writers, mark, versions.version)
            if last is not None and not is_later:
                names = self._registry.display(last.module), self._registry.display(module)
                self._edited[module] += [] if last.write.is_by_hand else [key]
                found.append(self._keep(path_of(key), *names))
        return found

    def _keep(self, path: str, maker: str, writer: str) -> Problem:
        # A path outside of the root has its whole path below the folder.
        inside = os.path.normpath(path).lstrip(os.sep).replace(f"..{os.sep}", f"_{os.sep}")
        copy = f"{FOLDER}/{EDITED}/{self._run}/{inside}"
        hint = f"the edited file was copied to {copy}"
        try:
            os.makedirs(os.path.dirname(os.path.join(self._root, copy)), exist_ok=True)
            shutil.copy2(os.path.join(self._root, path), os.path.join(self._root, copy))
        except OSError as error:
            hint = f"the edited file could not be copied to {copy}: {error.strerror or error}"
        message = f"{path} was edited after {maker} made it, and {writer} runs again"
        return Problem(code="edited", message=message, hint=hint, severity="warning")

    def end_transaction(self, status: str) -> None:
        """Remembers the tools that are done as passed, or that they were rolled back."""
        for module, (before, ended) in self._done.items():
            self._removed.end(module, has_passed=status == "passed")
            now = self._results.find(module)
            if status == "passed":
                self._results.passed.add(module)
            else:
                last = replace(now.last, status=status, cause=self._cause_of(status))
                now = replace(cut_off(before, ended), last=last)
            self._results.write(now)
        self._done.clear()

    def _cause_of(self, status: str) -> Cause:
        if status == "interrupted" and self.is_output_closed:
            return "output closed"
        return "worker lost" if status == "unknown" else ""

    def next_number(self) -> Seq:
        """Of the next start or end."""
        self._count += 1
        return sequence(self._database.run, self._count, self._database.key)

    def take_records(self) -> tuple[SuccessRecord, ...]:
        """What the database is to remember of the tools that have passed in this run. Asked once, at its end."""
        self.hash_outputs()
        found = [self._results.find(module) for module in self._recorded]
        self._recorded.clear()
        return self._results.records_of(found)

    def hash_outputs(self) -> None:
        """Remembers the content of what the tools have left that ended since the last call."""
        ended, self._unhashed = self._unhashed, {}
        for module in ended:
            before = self._results.find(module)
            now = self._attempts.hash_outputs(before, self._results.writers)
            if now is not before:
                self._results.write(now)
                self._tell_turns(now)

    def _tell_turns(self, result: ToolResult) -> None:
        if self._plan.turns is not None:
            self._plan.turns.note(result)


def _keeps_earlier(tool: Tool, kept: Iterable[Key]) -> Problem:
    message = f"{tool.name} adds to what its earlier code made: {listed([*map(shown_key, kept)])}"
    return build_note("keeps-earlier", message, f"orch run {tool.name} --rebuild makes it anew")


def _with_edit(
    key: Key, write: Write, writes: Collection[Key], writers: Writers, *, is_removed: bool
) -> Write:
    """The write of a table, with when it was found as another program had changed or dropped it. `is_removed`: orch
    itself removed it before."""
    by_rows = write.is_in_rows and writers.knows_rows(key, writes)
    is_edited = not by_rows and writers.find_edit(key) is not None
    if write.anew == write.seq and not is_removed:
        last = writers.last(key)
        is_edited |= last is not None and last.write.mark != ABSENT
    return replace(write, edited=write.seq) if is_edited else write


def _changed_since_planned(tool: Tool, path: str) -> Problem:
    return Problem(
        code="changed-meanwhile",
        message=f"{path} changed after {tool.name} was planned or while it ran",
        hint=f"{tool.name} is stale again",
        path=path,
        severity="warning",
    )
