"""`orch history`: the recorded runs, one run, or what changed between two. `orch logs`: what a tool printed in a run.
Both read the journal only, no source."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from discover_orch.cli.console import is_on_github
from discover_orch.cli.item_options import ItemsCommand, check_options, take_values
from discover_orch.cli.options import (
    MOST_RUNS,
    POSITIVE,
    RUN,
    TOOL,
    Context,
    common_options,
    json_option,
)
from discover_orch.config.file import find_root
from discover_orch.model.errors import (
    ExitCode,
    OrchError,
    Problem,
    UsageError,
    did_you_mean,
    nearest,
)
from discover_orch.model.items import has_values, quoted, tool_name, tool_of
from discover_orch.render.history import build_run, log_heading, log_text, runs_text
from discover_orch.render.style import one_line
from discover_orch.state.journal import (
    find_log,
    find_runs,
    has_begun,
    read_log,
    read_open_run,
    read_record,
    read_records,
    read_summary,
)

if TYPE_CHECKING:
    from discover_orch.state.recorded_run import RunRecord, ToolRecord


@click.command(
    "history", cls=ItemsCommand, short_help="Show past runs, one run, or the changes between two."
)
@click.argument("runs", nargs=-1, type=RUN, metavar="[RUN [RUN] | TOOL [ITEM]]")
@click.option("-n", "--limit", type=POSITIVE, metavar="N", help="Show the newest N runs.")
@click.option(
    "--all", "is_all", is_flag=True, help=f"Show all runs, not only the newest {MOST_RUNS}."
)
@click.option(
    "--metrics",
    "tool",
    metavar="TOOL",
    help="Show the runs of one tool, with its parameters and metrics.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, of all runs.")
@common_options
@click.pass_obj
def command(
    context: Context,
    /,
    runs: tuple[str, ...],
    limit: int | None,
    is_all: bool,
    tool: str | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Show past runs, the newest first.

    With the number of a run, shows everything about that run. With two numbers, shows what changed
    from the first to the second: code, parameters, what the tools read, metrics and times. With a tool,
    shows the runs of that tool, or of its items: "orch history clean --day 2026-01-13".
    """
    values = take_values(given)
    if runs and tool is None and not runs[0].isdecimal():
        tool, runs = _join(runs), ()
    if len(runs) > 2:
        raise click.UsageError(f"expected at most two runs, got {len(runs)}")
    if limit is not None and (is_all or runs):
        other = "--all" if is_all else "a run"
        raise click.UsageError(f"--limit cannot be combined with {other}")
    if tool is not None and runs:
        raise click.UsageError("--metrics cannot be combined with a run")
    if tool is None:
        check_options(values, ())
    root = find_root(context.start, context.folder)[0]
    _settle_latest(root)
    records = [find_record(root, run) for run in runs]
    console = context.console
    if len(records) == 2:
        from discover_orch.render.history import comparison_text
        from discover_orch.state.run_diff import compare_runs

        found = compare_runs(records[0], records[1])
        if as_json:
            console.json({"comparison": found})
        else:
            console.out(comparison_text(found, console.out_style))
    elif records:
        from discover_orch.render.history import run_text

        if as_json:
            console.json({"runs": [*map(build_run, records)]})
        else:
            console.out(run_text(build_run(records[0]), console.out_style))
    else:
        is_whole = is_all or (as_json and limit is None)
        most = None if is_whole else limit or MOST_RUNS
        if tool is not None:
            _show_metrics(context, root, tool, values, most, as_json=as_json)
        else:
            _show_all(context, root, most, as_json=as_json)
    return ExitCode.OK


def _settle_latest(root: str) -> None:
    """If the latest run was killed and the database may know more, asks it how its tools ended."""
    record = read_open_run(root)
    if record is not None and record.key and record.status == "killed":
        from discover_orch.execution.request import Request, ask_database
        from discover_orch.planning.project_view import read_project

        with suppress(OrchError, OSError):  # the history is readable without the project
            view = read_project(root, root, os.environ)
            with ask_database(view, Request(), lambda _: None, runs=False):
                pass


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
        close = nearest(run, kept)
        meant = f"did you mean {close}? " if close else ""
        hint = f"{meant}orch history lists the recorded runs, {kept[-1]} to {kept[0]}"
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


def _show_all(context: Context, root: str, limit: int | None, *, as_json: bool) -> None:
    kept = find_runs(root)
    shown = kept[:limit]
    read = read_record if as_json else read_summary
    found = {run: read(root, run) for run in shown}
    runs = [build_run(record) for record in found.values() if record is not None]
    console = context.console
    if as_json:
        console.json({"runs": runs})
    elif runs:
        console.out(runs_text(runs, console.out_style, older=len(kept) - len(shown)))
    damaged = [run for run, record in found.items() if record is None and has_begun(root, run)]
    if damaged:
        noun = "run" if len(damaged) == 1 else "runs"
        problem = Problem(
            code="damaged-run",
            message=f"{noun} {', '.join(damaged)} cannot be read",
            hint="you can delete damaged runs: each run is a folder in .orch/runs",
            severity="warning",
        )
        console.problems([problem])
    elif not runs:
        console.err("no run has been recorded yet\n")


def _show_metrics(
    context: Context,
    root: str,
    word: str,
    values: Mapping[str, Sequence[str]],
    limit: int | None,
    *,
    as_json: bool,
) -> None:
    """The newest runs in which the tool ran, or of several items the newest run of each."""
    from discover_orch.render.history import build_tool_run, metrics_text

    module, name = _find_tool(read_records(root), word)
    started = _find_started(read_records(root), module)
    found = [*islice(started, limit)]
    if values or any(tool.module != module for _, tool in found):
        everything = (*found, *started)
        found = _with_values(everything, name, values)
        newest = {tool.module: (record, tool) for record, tool in reversed(found)}
        if len(newest) > 1:
            found = [newest[key] for key in sorted(newest, key=lambda key: newest[key][1].name)]
        else:
            found = found[:limit]
    rows = [build_tool_run(record, tool) for record, tool in found]
    console = context.console
    if as_json:
        console.json({"name": name, "module": module, "runs": rows})
    elif rows:
        console.out(metrics_text(rows, console.out_style))
    else:
        console.err(f"{one_line(name)} has not run in any recorded run\n")


def _join(words: Sequence[str]) -> str:
    """The tool and its item as they are shown: the shell has removed the quotes of a value with a space."""
    tool, *item = words
    return " ".join((tool, *(one if one.startswith('"') else quoted(one) for one in item)))


def _find_tool(records: Iterable[RunRecord], word: str) -> tuple[str, str]:
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


def _find_started(
    records: Iterable[RunRecord], module: str
) -> Iterator[tuple[RunRecord, ToolRecord]]:
    """The runs of a step, or of all items of a tool."""
    for record in records:
        for tool in record.tools:
            if module in (tool.module, tool_of(tool.module)) and tool.has_started:
                yield record, tool


def _with_values(
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


def _find_printed(
    records: Iterable[RunRecord], word: str, values: Mapping[str, Sequence[str]], run: str | None
) -> tuple[RunRecord, ToolRecord]:
    """The newest run that started the tool, or its item. Raises UsageError."""
    module, name = _find_tool(records, word)
    started = _find_started(records, module)
    if values:
        of_items = _with_values(started, name, values)
        keys = dict.fromkeys(tool.module for _, tool in of_items)
        module = next(iter(keys)) if len(keys) == 1 else module
        started = iter(of_items)
    found = next(started, None)
    if found is None:
        message, hint = f"no recorded run has started {name}", f"run it with: orch run {name}"
        if run:
            message = f"{name} was not started in run {run}"
            hint = f"show its latest run with: orch logs {name}"
        raise UsageError.of("never-run", message, hint)
    if found[1].module != module:
        message = f"{name} has items, and each has a log of its own"
        raise UsageError.of("unknown-tool", message, f"for example: orch logs {found[1].name}")
    return found


@click.command("logs", cls=ItemsCommand, short_help="Show what a tool printed.")
@click.argument("words", type=TOOL, nargs=-1, required=True, metavar="TOOL [ITEM]")
@click.option(
    "--run", "run", type=RUN, metavar="RUN", help="Show this run instead of the latest one."
)
@json_option
@common_options
@click.pass_obj
def logs_command(
    context: Context, /, words: tuple[str, ...], run: str | None, as_json: bool, **given: Any
) -> int:
    """Show what a tool printed, in the latest run that started it or in the given run.

    If it failed, its traceback follows on stderr. Of a tool with items, say which: "orch logs clean
    --day 2026-01-13".
    """
    root = find_root(context.start, context.folder)[0]
    records = [find_record(root, run)] if run else [*read_records(root)]
    record, started = _find_printed(records, _join(words), take_values(given), run)
    path = find_log(root, record.run, started.module)
    console = context.console
    if as_json:
        data = b"".join(read_log(path)) if path else b""
        document = {
            "run": record.run,
            "started": record.started,
            "name": started.name,
            "module": started.module,
            "status": started.status,
            "text": data.decode("utf-8", "replace"),
            "path": os.path.relpath(path, root).replace(os.sep, "/") if path else None,
            "traceback": started.traceback,
        }
        console.json(document)
        return ExitCode.OK
    silent = "" if path else " (no output recorded)"
    console.err(f"{log_heading(record, started)}{silent}\n")
    is_shown = console.terminal or console.out_style.colour or is_on_github()
    for lines in read_log(path) if path else ():
        if is_shown:
            console.out(log_text(lines, console.out_style))
        else:
            sys.stdout.buffer.write(lines)
    sys.stdout.flush()
    if started.traceback:  # not to stdout, which has what the tool printed
        data = started.traceback.encode("utf-8", "backslashreplace")
        console.err(log_text(data, console.err_style))
    return ExitCode.OK
