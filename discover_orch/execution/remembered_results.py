"""What a run leaves in the memory of the project: the results of its tools and their data flow; and the versions of
what a tool used, for `orch history RUN RUN`.

What is remembered is read where it is asked for. Nothing here decides what a result rests on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property

from discover_orch.discovery.registry import Registry, with_observed
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.encoding import short_hash
from discover_orch.model.errors import Problem
from discover_orch.model.items import Item, item_text, tool_of, values_in
from discover_orch.model.keys import (
    Key,
    is_file_key,
    is_rows,
    is_table_key,
    is_table_list,
    path_of,
    table_name,
)
from discover_orch.model.success_record import SuccessRecord
from discover_orch.model.tool import Tool
from discover_orch.planning.cleaning import Deleter
from discover_orch.planning.dataflow_checks import (
    build_left_over_warning,
    build_note,
    build_warning,
    listed,
)
from discover_orch.staleness.current_inputs import CurrentState
from discover_orch.staleness.input_versions import meets_input, read_mark
from discover_orch.staleness.known_flow import find_known_flows
from discover_orch.staleness.left_over import build_test, find_left_over, with_readers
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.reason_sentences import reason_sentence
from discover_orch.staleness.rule import Reason
from discover_orch.staleness.tool_result import (
    ABSENT,
    EXISTS,
    UNSURE,
    Seq,
    Success,
    ToolResult,
    run_of,
)
from discover_orch.staleness.writers import GONE, Writer, Writers
from discover_orch.state.flow_lock import LOCK_FILE, read_lock, tool_lines
from discover_orch.state.sealed_files import read_flows

MOST_NAMES = 12
#: Of what a tool used, the journal keeps the versions of so many things by themselves, and one hash of all others.
MOST_VERSIONS = 1000
_KINDS = frozenset({"file", "folder", "glob", "env", "package", "python"})
#: What says that a tool has looked at one file.
_ASKED = ("file:", "there:", "stat:", "link:")
#: Longer versions are hashed: those of folders have all names.
_LONGEST = 40


class ResultRecord:
    """What is remembered of the tools, read where it is asked for. `passed` are those that have passed in this run."""

    def __init__(
        self, root: str, registry: Registry, memory: Memory, current: CurrentState
    ) -> None:
        self._root, self._registry, self._memory = root, registry, memory
        self._gone, self._content_of = current.gone, current.database.content
        self.passed: set[str] = set()
        self.foreign_write: Seq = 0  # when another program wrote to the database last
        self._found: dict[str, ToolResult] = {}
        self._named: set[Key] = set()  # what is left over and this run has named
        self._warned: set[tuple[str, Key]] = set()  # tools, and what is left over and they read

    def extend(self, registry: Registry) -> None:
        """There are more steps than before."""
        self._registry = registry
        for name in ("places", "writers"):
            self.__dict__.pop(name, None)

    def find(self, module: str) -> ToolResult:
        if module not in self._found:
            known = self._memory.results([module])
            self._found[module] = known.get(module) or ToolResult(module=module)
        return self._found[module]

    def write(self, result: ToolResult) -> None:
        self.hold(result)
        self._memory.write(result)

    def records_of(self, results: Iterable[ToolResult]) -> tuple[SuccessRecord, ...]:
        """The documents for the records of these successes."""
        return tuple(
            SuccessRecord(
                tool=one.module,
                success=one.success.record,
                run=run_of(one.success.ended),
                document=self._memory.seal(one),
            )
            for one in results
            if one.success is not None
        )

    def hold(self, result: ToolResult) -> None:
        """As `write`, for this run alone until it is written."""
        before = self.find(result.module)
        self._found[result.module] = result
        if "writers" in self.__dict__:
            self.writers.replace(self.places[result.module], before, result)

    @cached_property
    def places(self) -> dict[str, int]:
        """Of each tool, its place in the order of all."""
        return {module: place for place, module in enumerate(self._registry.order)}

    @cached_property
    def writers(self) -> Writers:
        """Who wrote what, as is known now."""
        unread = [one for one in self._registry.order if one not in self._found]
        self._found = {**self._memory.results(unread), **self._found}
        rows = [(place, self.find(one)) for one, place in self.places.items()]
        rows += [(GONE, one) for one in self._gone]
        return Writers(rows, foreign_write=lambda: self.foreign_write, content_of=self._content_of)

    def restore_flows(self, flows: Mapping[str, Dataflow]) -> None:
        """Saves what a killed run could not save."""
        if flows:
            self._memory.write_flows({**read_flows(self._root), **flows})

    def find_left_over(
        self, before: ToolResult, now: ToolResult, present: CurrentState
    ) -> Iterator[Problem]:
        """After a success that is remembered: warnings of what is left over from the tool since, and of what is left
        over and the tool reads, but for what this run has named."""
        registry = self._registry
        is_left = build_test(registry, lambda: present.database)
        new = [
            (key, now.module)
            for key, write in now.writes.items()
            if write.is_left_over
            and not (key in before.writes and before.writes[key].is_left_over)
            and (last := self.writers.left_over.get(key)) is not None
            and last.module == now.module
            and is_left(last)
            and (is_table_key(key) or os.path.lexists(os.path.join(self._root, path_of(key))))
        ]
        if new:
            yield build_left_over_warning(
                registry, with_readers(registry, self._found.values(), new)
            )
        self._named.update(key for key, _ in new)
        yield from self._find_still_read(now, present, is_left)

    def _find_still_read(
        self, now: ToolResult, present: CurrentState, is_left: Callable[[Writer], bool]
    ) -> Iterator[Problem]:
        """A warning for each tool of which the tool reads something that is left over; the items of one are one."""

        def is_new(last: Writer) -> bool:
            return last.key not in self._named and is_left(last)

        module, name_of = tool_of(now.module), self._registry.display
        by_tool: dict[str, list[Reason]] = {}
        for reason in find_left_over(now, self.writers, present.mark, is_new):
            if (module, reason.key) not in self._warned:  # for another item of the tool
                self._warned.add((module, reason.key))
                by_tool.setdefault(tool_of(reason.by) or reason.key, []).append(reason)
        for first, *more in by_tool.values():
            name, gone = name_of(module), "it is gone (see orch clean) or accepted"
            if more:
                gone = "they are gone (see orch clean) or accepted"
            is_table = is_table_key(first.key) and not is_rows(first.key)
            if item_text(first.by) and is_table:
                gone = f"orch run {name_of(tool_of(first.by))} --rebuild has made it anew, or it is accepted"
            others = f", and {len(more):,} more like it" if more else ""
            yield build_warning(
                "left-over",
                f"{name} {reason_sentence(first, now, name_of)}{others}",
                f"{name} stays stale until {gone} (orch accept {name})",
            )

    def remove_replaced(
        self,
        tool: Tool,
        success: Success,
        written: Collection[Key],
        unlink: Callable[[str], None],
    ) -> tuple[list[Key], list[Problem]]:
        """Deletes with `unlink` what the tool made and has not made now, of the set that it makes anew. What was
        deleted, and what the run says of it. `written` is what its success has written."""
        used = {path_of(key) for key in success.inputs.other if key.startswith(_ASKED)}
        old = [
            key
            for key, write in self.find(tool.module).writes.items()
            if is_file_key(key)
            and key not in written
            and path_of(key) not in used
            and meets_input(path_of(key), tool.replaces)
            and (mark := read_mark(os.path.join(self._root, path_of(key)))) not in (ABSENT, EXISTS)
            # Where its writes may go unseen, it may have written the same again.
            and (mark == write.mark or not success.flow.gaps)
            and all(row.module == tool.module or row.is_left_over for row in self.writers.of(key))
        ]
        return self._delete(old, tool.name, unlink)

    def remove_withdrawn(self, tools: Collection[str]) -> list[Problem]:
        """Deletes what items that are no more made, of the sets that these tools make anew; what the run says of it.
        Of a tool that has no item at all nothing is deleted: its files may be on a disk that is not mounted."""
        said: list[Problem] = []
        for result in self._gone:
            tool = self._registry.by_tool.tools.get(tool_of(result.module))
            is_asked = tool is not None and tool.replaces and tool.module in tools
            if tool is None or not is_asked or not self._registry.steps.get(tool.module):
                continue
            names = self._registry.item_params(tool.module)
            values = values_in(item_text(result.module))
            item = Item(values=dict(zip(names, values, strict=False)))
            patterns = tuple(map(item.fill, tool.replaces))
            old = [
                key
                for key, write in result.writes.items()
                if is_file_key(key)
                and meets_input(path_of(key), patterns)
                and read_mark(os.path.join(self._root, path_of(key))) == write.mark != ABSENT
                and all(row.is_left_over for row in self.writers.of(key))
            ]
            said += self._delete(old, self._registry.display(result.module))[1]
        return said

    def _delete(
        self, keys: Iterable[Key], name: str, unlink: Callable[[str], None] = os.unlink
    ) -> tuple[list[Key], list[Problem]]:
        """Deletes these files of this tool, as far as `orch clean` would. What was deleted, and what the run says."""
        deleter = Deleter(self._root, self.writers, self._registry.display, unlink)
        stays: dict[str, list[Key]] = {}
        for key in sorted(keys):
            stays.setdefault(deleter.delete(key), []).append(key)
        removed, said = stays.pop("", []), []
        if removed:
            names = listed([path_of(key) for key in removed])
            message = f'deleted {names}, which {name} no longer makes ("replaces")'
            said.append(build_note("replaced", message, ""))
        for reason, keys in stays.items():
            names = listed([path_of(key) for key in keys])
            message = f'{name} no longer makes {names} ("replaces"), not deleted: {reason}'
            said.append(build_warning("replaced", message, ""))
        return removed, said

    def save_flows(self) -> list[Problem]:
        """Saves the data flow of the tools that have `passed`. A warning for each stage whose order changes, and for
        the order of the stages."""
        before = read_flows(self._root)
        # Also those of tools that no longer exist: another branch of the repository may bring them back.
        now = {**before}
        for module in self.passed:
            if (success := self.find(module).success) is not None:
                now[module] = success.flow
        if now == before:
            return []
        self._memory.write_flows(now)
        old, new = self._registry.by_tool, with_observed(self._registry, now)
        was = {stage.name: stage.tools for stage in old.stages}
        found = [
            _reordered(
                f"stage {stage.name} now runs", [*map(new.display, stage.tools)], "its", "AFTER"
            )
            for stage in new.stages
            if stage.tools != was[stage.name]
        ]
        stages = [stage.name for stage in new.stages]
        if stages != [*was]:
            found.append(_reordered("the stages now run", stages, "their", "stages = [...]"))
        return found

    def note_outdated_lock(self, present: CurrentState) -> list[Problem]:
        """That `orch.lock`, where there is one, says something else of the tools that have `passed`."""
        lock = read_lock(self._root)
        if lock.data is None or not self.passed:
            return []
        flows, registry = read_flows(self._root), self._registry
        modules = {tool_of(key) for key in self.passed}
        results = {key: self.find(key) for key in registry.steps_of(modules)}
        known = find_known_flows(modules, registry, flows, results, present, lock)
        new = [registry.display(module) for module in known if module not in lock.tools]
        other = [
            registry.display(module)
            for module, tool in known.items()
            if module in lock.tools and tool_lines(tool) != tool_lines(lock.tools[module])
        ]
        both = (("nothing", new), ("something else", other))
        said = [f"{what} of {listed(names)}" for what, names in both if names]
        if not said:
            return []
        message = f"{LOCK_FILE} is out of date: it says {' and '.join(said)}"
        return [build_note("lock", message, "write it anew with: orch lock")]


def _reordered(what: str, names: list[str], whose: str, declared_with: str) -> Problem:
    shown = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
    return Problem(
        code="reordered",
        message=f"{what} in the order {shown}, because of the data that {whose} tools read and write",
        hint=f"to keep this order, declare it with {declared_with}",
        severity="warning",
    )


def find_used_versions(success: Success, writers: Writers) -> dict[str, str]:
    """By kind and name: `file:data/in.csv`, `table:raw`, `env:REGION`; "" where it was missing, and nothing where the
    version is unknown. That of a table is the run and the module that wrote it last; `writers` are as they were when
    the tool began. The key `others` stands for all that are too many."""
    found: dict[str, str] = {}
    for key, version in success.inputs.other.items():
        if key.partition(":")[0] in _KINDS and version != UNSURE:
            found[key] = version if len(version) <= _LONGEST else _hash(version)
    for key in success.tables:
        writer = None if is_table_list(key) else writers.last(key)
        if writer is not None:
            found[f"table:{table_name(key)}"] = f"{run_of(writer.write.seq)} {writer.module}"
    if len(found) <= MOST_VERSIONS:
        return found
    names = sorted(found)
    rest = "\n".join(f"{name} {found[name]}" for name in names[MOST_VERSIONS:])
    kept = {name: found[name] for name in names[:MOST_VERSIONS]}
    return {**kept, "others": _hash(rest)}


def _hash(text: str) -> str:
    return short_hash(text.encode("utf-8", "surrogateescape"))
