"""`orch history`: the recorded runs, one run, or what changed between two. Reads the journal only, no source."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from discover_orch.cli.options import (
    MOST_RUNS,
    RUN,
    Context,
    WholeNumber,
    common_options,
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
from discover_orch.render.history import build_run, runs_text
from discover_orch.render.style import one_line
from discover_orch.state.run_folders import (
    find_runs,
    has_begun,
    read_open_run,
    read_record,
    read_records,
    read_summary,
)

if TYPE_CHECKING:
    from discover_orch.model.documents import ToolRun
    from discover_orch.state.recorded_run import RunRecord


@click.command("history", short_help="Show past runs, one run, or the changes between two.")
@click.argument("runs", nargs=-1, type=RUN, metavar="[RUN [RUN]]")
@click.option("-n", "--limit", type=WholeNumber(), metavar="N", help="Show the newest N runs.")
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
    runs: tuple[str, ...],
    limit: int | None,
    is_all: bool,
    tool: str | None,
    as_json: bool,
) -> int:
    """Show past runs, the newest first.

    With the number of a run, shows everything about that run. With two numbers, shows what changed
    from the first to the second: code, parameters, what the tools read, metrics and times.
    """
    if len(runs) > 2:
        raise click.UsageError(f"expected at most two runs, got {len(runs)}")
    if limit is not None and (is_all or runs):
        other = "--all" if is_all else "a run"
        raise click.UsageError(f"--limit cannot be combined with {other}")
    if tool is not None and runs:
        raise click.UsageError("--metrics cannot be combined with a run")
    root = find_root(context.start, context.folder)[0]
    _settle_latest(root)
    records = [read_run(root, run) for run in runs]
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
            _show_metrics(context, root, tool, most, as_json=as_json)
        else:
            _show_all(context, root, most, as_json=as_json)
    return ExitCode.OK


def _settle_latest(root: str) -> None:
    """If the latest run was killed and kept a ledger, asks it how its tools ended."""
    record = read_open_run(root)
    if record is not None and record.ledger and record.status == "killed":
        from discover_orch.execution.request import settle_killed_run
        from discover_orch.planning.project_view import read_project

        with suppress(OrchError, OSError):  # the history is readable without the project
            settle_killed_run(read_project(root, root, os.environ), settles=False)


def read_run(root: str, run: str) -> RunRecord:
    """Raises UsageError if there is no such run, or it cannot be read."""
    kept = find_runs(root)
    if run in kept:
        record = read_record(root, run)
        if record is not None:
            return record
        hint = "its journal is damaged, or the run has only just started; orch history lists the others"
        raise UsageError.of("damaged-run", f"run {run} cannot be read", hint)
    if not kept:
        hint = "no run has been recorded yet; start one with: orch run"
    elif len(kept) == 1:
        hint = f"the only recorded run is {kept[0]}"
    else:
        close = nearest(run, kept)
        meant = f"did you mean {close}? " if close else ""
        hint = f"{meant}orch history lists the recorded runs, {kept[-1]} to {kept[0]}"
    message = f'"{run}" is not the number of a run'
    if run.isdecimal():
        message = f"run {run} does not exist"
    raise UsageError.of("unknown-run", message, hint)


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
    context: Context, root: str, word: str, limit: int | None, *, as_json: bool
) -> None:
    """The newest runs in which the tool ran. It need not exist any more."""
    from discover_orch.render.history import build_tool_run, metrics_text

    rows: list[ToolRun] = []
    found: dict[str, str] = {}  # module → name
    names: dict[str, None] = {}
    for record in read_records(root):
        if len(rows) == limit:
            break
        names.update(dict.fromkeys(tool.name for tool in record.tools))
        for tool in record.tools:
            if word == tool.name or f".{tool.module}".endswith(f".{word}"):
                found.setdefault(tool.module, tool.name)
                if tool.has_started:
                    rows.append(build_tool_run(record, tool))
    if len(found) != 1:
        hint = did_you_mean(word, names, "orch history RUN lists the tools of a run")
        message = f'no recorded run has a tool "{word}"'
        if found:
            message = f'"{word}" may be {" or ".join(sorted(found))}'
            hint = "use the longer name"
        raise UsageError.of("unknown-tool", message, hint)
    ((module, name),) = found.items()
    console = context.console
    if as_json:
        console.json({"name": name, "module": module, "runs": rows})
    elif rows:
        console.out(metrics_text(rows, console.out_style))
    else:
        console.err(f"{one_line(name)} has not run in any recorded run\n")
