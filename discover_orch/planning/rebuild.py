"""What `orch run --rebuild` removes of what the selected tools made, before they run.

Only what tools alone made: tables that a tool was seen to create, and the files that `orch clean --all` could delete,
edited ones too. What a tool that does not run writes as well is refused, since its part would be lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from discover_orch.model.errors import Problem, UsageError
from discover_orch.model.items import tool_of
from discover_orch.model.keys import (
    Key,
    is_all_tables,
    is_file_key,
    is_rows,
    is_table_key,
    is_table_list,
    path_of,
    table_key,
    table_name,
)
from discover_orch.planning.cleaning import Deleter
from discover_orch.planning.dataflow_checks import build_warning, listed
from discover_orch.planning.plan import Plan, Removal, Step
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.staleness.current_inputs import takes_connection
from discover_orch.staleness.reason_sentences import shown_key
from discover_orch.staleness.tool_result import ABSENT, EXISTS, ToolResult, Write
from discover_orch.staleness.writers import Writer


def plan_rebuild(plan: Plan, work: RemainingWork) -> Plan:
    """The plan with what its steps remove. Raises UsageError."""
    finder = _Finder(plan, work)
    steps = tuple(map(finder.add_removal, plan.steps))
    if finder.refused:
        raise UsageError(*finder.refused)
    found = [step.removal for step in steps if step.removal]
    tables = sum(len(one.drops) + len(one.empties) for one in found)
    files = sum(len(one.files) for one in found)
    intro = f"--rebuild removes {_count(tables, 'table')} and {_count(files, 'file')} first"
    warnings = (*plan.warnings, *finder.warnings)
    known = {step.tool.module: step for step in steps}
    selected = tuple(known.get(step.tool.module, step) for step in plan.selected)
    if plan.turns is not None:
        plan.turns.force(known)
    intro = "; ".join(filter(None, (plan.intro, intro))) if steps else plan.intro
    return replace(plan, steps=steps, selected=selected, intro=intro, warnings=warnings)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class _Finder:
    """What each step removes, asked in the order of the plan: the first of several that write a thing removes it."""

    def __init__(self, plan: Plan, work: RemainingWork) -> None:
        self._work, self._registry = work, work.view.registry
        self._chosen = {step.tool.module for step in plan.steps}
        self._writers = work.build_writers()
        self._name_of = self._registry.display
        self._deleter = Deleter(work.view.project.root, self._writers, self._name_of)
        self._removed_by: dict[Key, str] = {}
        #: All tables that steps of the plan make, so that they may be dropped with others.
        self._tables = dict.fromkeys(
            table_name(key)
            for module in self._chosen
            for key, _ in self._find_things(work.results.get(module))
            if is_table_key(key) and self._is_made(key)
        )
        self.refused: list[Problem] = []
        self.warnings: list[Problem] = []

    def add_removal(self, step: Step) -> Step:
        """The step with what it removes, unless a step before it does that."""
        module, name = step.tool.module, step.tool.name
        files: list[str] = []
        drops: list[str] = []
        empties: list[str] = []
        after: dict[str, None] = {}
        kept: dict[str, list[str]] = {}
        if (result := self._work.results.get(module)) is None or result.success is None:
            message = f"{name} has never passed here, so it is not known what it made: nothing of it is removed"
            self.warnings.append(build_warning("not-removed", message, ""))
        for key, _ in self._find_things(result):
            first = self._removed_by.setdefault(key, module)
            if first != module:
                after[first] = None
                continue
            others = [row for row in self._find_others(key) if not row.write.only_creates]
            if others:
                self.refused.append(self._refuse(name, key, others))
            elif reason := self._find_reason(step, key):
                kept.setdefault(reason, []).append(shown_key(key))
            elif is_file_key(key):
                files.append(path_of(key))
            else:
                (empties if any(self._find_others(key)) else drops).append(table_name(key))
        for reason, things in kept.items():
            message = (
                f"{listed(things)} of {name} {'stays' if len(things) == 1 else 'stay'}: {reason}"
            )
            self.warnings.append(build_warning("not-removed", message, ""))
        if not (files or drops or empties or after):
            return step
        removal = Removal(
            files=tuple(files),
            drops=tuple(drops),
            empties=tuple(empties),
            may_drop=tuple(self._tables),
            after=tuple(after),
        )
        return replace(step, removal=removal)

    def _find_things(self, result: ToolResult | None) -> Iterator[tuple[Key, Write]]:
        """The files and tables that the tool wrote and that are there."""
        start = table_key(self._work.current.database.number, "")
        for key, write in result.writes.items() if result else ():
            is_other = is_all_tables(key) or is_table_list(key) or write.mark == ABSENT
            is_other |= is_rows(key)  # they go with their table
            is_folder = is_file_key(key) and write.mark == EXISTS
            is_table = key.startswith(start)
            is_thing = is_table or (is_file_key(key) and self._is_there(key))
            if is_thing and not (is_other or is_folder):
                yield key, write

    def _is_there(self, key: Key) -> bool:
        return os.path.lexists(os.path.join(self._work.view.project.root, path_of(key)))

    def _find_others(self, key: Key) -> Iterator[Writer]:
        """The tools that write it too and do not run: those that exist, disabled ones included."""
        disabled = {one.module for one in self._registry.disabled}
        for row in self._writers.of(key):
            is_known = row.place >= 0 or tool_of(row.module) in disabled
            makes_it = row.key == key and row.write.is_made and row.write.mark != ABSENT
            if is_known and makes_it and row.module not in self._chosen:
                yield row

    def _is_made(self, key: Key) -> bool:
        """Whether a tool was seen to create it."""
        return any(row.write.is_new for row in self._writers.of(key))

    def _find_reason(self, step: Step, key: Key) -> str:
        """Why it is not removed; "" where it is."""
        if is_file_key(key):
            return self._deleter.find_reason(key, keeps_edits=False)
        if not takes_connection(step.tool, self._registry):
            return (
                "it is written without conn, so orch cannot drop it together with what is made anew"
            )
        return "" if self._is_made(key) else "orch did not see a tool create it"

    def _refuse(self, name: str, key: Key, others: Iterable[Writer]) -> Problem:
        names = [self._name_of(row.module) for row in others]
        verb = "writes" if len(names) == 1 else "write"
        return Problem(
            code="rebuild",
            message=f"--rebuild of {name} would remove {shown_key(key)}, which {listed(names)} {verb} too",
            hint=f"add {listed(names)} to the targets, or leave --rebuild out",
        )
