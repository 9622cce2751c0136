"""`orch history`: the recorded runs, one run, or what changed between two. Reads the journal only, no source."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from discover_orch.cli.history_words import (
    find_record,
    find_started,
    find_tool,
    join_words,
    with_values,
)
from discover_orch.cli.item_options import ItemsCommand, check_options, take_values
from discover_orch.cli.options import (
    MOST_RUNS,
    POSITIVE,
    RUN,
    Context,
    common_options,
)
from discover_orch.config.file import find_root
from discover_orch.model.errors import (
    ExitCode,
    OrchError,
    Problem,
)
from discover_orch.render.history import build_run, runs_text
from discover_orch.render.style import one_line
from discover_orch.state.journal import (
    find_runs,
    has_begun,
    read_open_run,
    read_record,
    read_records,
    read_summary,
)

if TYPE_CHECKING:
    pass


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
        tool, runs = join_words(runs), ()
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

    module, name = find_tool(read_records(root), word)
    started = find_started(read_records(root), module)
    found = [*islice(started, limit)]
    if values or any(tool.module != module for _, tool in found):
        everything = (*found, *started)
        found = with_values(everything, name, values)
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
