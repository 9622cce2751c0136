"""What the words after `orch history`, `logs` and `report` mean: a run, or a tool or item of a recorded run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from discover_orch.cli.item_options import check_options
from discover_orch.model.errors import (
    UsageError,
    did_you_mean,
)
from discover_orch.model.items import has_values, quoted, tool_name, tool_of
from discover_orch.state.journal import (
    find_runs,
    read_record,
)

if TYPE_CHECKING:
    from discover_orch.state.recorded_run import RunRecord, ToolRecord


def find_record(root: str, run: str | None) -> RunRecord:
    """The run of this number, or the latest one. Raises UsageError if there is no such run, or it cannot be read."""
    kept = find_runs(root)
    if not kept:
        message = "no run has been recorded yet"
        raise UsageError.of("unknown-run", message, "start one with: orch run")
    run = run or kept[0]
    if run in kept:
        record = read_record(root, run)
        if record is not None:
            return record
        hint = "its journal is damaged, or the run has only just started; orch history lists the others"
        raise UsageError.of("damaged-run", f"run {run} cannot be read", hint)
    if len(kept) == 1:
        hint = f"the only recorded run is {kept[0]}"
    else:
        hint = f"orch history lists the recorded runs, {kept[-1]} to {kept[0]}"
    message = f'"{run}" is not the number of a run'
    if run.isdecimal():
        message = f"run {run} does not exist"
        if int(run) < int(kept[0]) or _is_remembered(root, int(run)):
            message = f"run {run} is not recorded here"
            hint = "another checkout did it, or its record was removed"
    raise UsageError.of("unknown-run", message, hint)


def _is_remembered(root: str, run: int) -> bool:
    """Whether the latest result of some tool is of this run."""
    from discover_orch.staleness.memory import Memory
    from discover_orch.staleness.tool_result import latest_run
    from discover_orch.state.sealed_files import read_flows

    results = Memory(root).results(read_flows(root)).values()
    return any(latest_run(one) == run for one in results)


def join_words(words: Sequence[str]) -> str:
    """The tool and its item as they are shown: the shell has removed the quotes of a value with a space."""
    tool, *item = words
    return " ".join((tool, *(one if one.startswith('"') else quoted(one) for one in item)))


def find_tool(records: Iterable[RunRecord], word: str) -> tuple[str, str]:
    """Module and name of the tool that `word` means in the newest run that has one, or key and name of a step where it
    names an item too. It need not exist any more. Raises UsageError."""
    names: dict[str, None] = {}
    for record in records:
        found = {one.module: one.name for one in record.tools if word == one.name}
        found = found or {
            tool_of(one.module): name
            for one in record.tools
            if word == (name := tool_name(one.name, one.module))
            or word == one.step.path
            or f".{tool_of(one.module)}".endswith(f".{word}")
        }
        if len(found) == 1:
            return next(iter(found.items()))
        if found:
            message = f'"{word}" may be {" or ".join(sorted(found.values()))}'
            raise UsageError.of("unknown-tool", message, "use the longer name")
        names.update(dict.fromkeys(tool_name(one.name, one.module) for one in record.tools))
        names.update(dict.fromkeys(one.name for one in record.tools if " " in word))
    lists = "orch history RUN lists the tools of a run; " if names else ""
    hint = did_you_mean(word, names, f"{lists}run it with: orch run {word}")
    if word.isdecimal():
        hint = f"orch history {word} shows that run; orch logs TOOL --run {word} shows a tool in it"
    raise UsageError.of("unknown-tool", f'no recorded run has a tool "{word}"', hint)


def find_started(
    records: Iterable[RunRecord], module: str
) -> Iterator[tuple[RunRecord, ToolRecord]]:
    """The runs of a step, or of all items of a tool."""
    for record in records:
        for tool in record.tools:
            if module in (tool.module, tool_of(tool.module)) and tool.has_started:
                yield record, tool


def with_values(
    started: Iterable[tuple[RunRecord, ToolRecord]],
    name: str,
    values: Mapping[str, Sequence[str]],
) -> list[tuple[RunRecord, ToolRecord]]:
    """Those of the items of a tool for which these values ask. Raises UsageError where there are none."""
    everything = [*started]
    check_options(values, {param for _, tool in everything for param in tool.step.item})
    found = [one for one in everything if has_values(one[1].step.item, values)]
    if everything and not found:
        flags = " ".join(f"--{param} {text}" for param, texts in values.items() for text in texts)
        message = f"no recorded run has started an item {flags} of {name}"
        raise UsageError.of("no-item", message, f"orch history {name} shows its items")
    return found
