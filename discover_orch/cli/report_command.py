"""`orch report`: a run as one HTML page. Reads `.orch` and the files that tools made, no source."""

from __future__ import annotations

import json

import click

from discover_orch.cli.file_output import (
    STANDARD_OUTPUT,
    check_file_option,
    shown_path,
    write_and_open,
)
from discover_orch.cli.history_command import read_run
from discover_orch.cli.options import RUN, Context, common_options, json_option
from discover_orch.config.file import find_root
from discover_orch.model.errors import ExitCode, UsageError
from discover_orch.render.report_page import recorded_page
from discover_orch.state.journal import find_runs, report_path


@click.command("report", short_help="Write a page about a run.")
@click.argument("run", required=False, type=RUN, metavar="[RUN]")
@click.option(
    "-o",
    "--output-file",
    "file",
    metavar="FILE",
    help="Write the page to this file; - is the standard output.  [default: .orch/runs/RUN/report.html]",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@json_option
@common_options
@click.pass_obj
def command(
    context: Context,
    run: str | None,
    file: str | None,
    opens: bool,
    as_json: bool,
) -> int:
    """Write one HTML page about a run and print its path. Without RUN, it is the latest run.

    The page needs no network and no other file, so you can send it to others. It shows what failed, what
    the tools made, the graph, the timeline, and every tool with its history and its log.
    """
    check_file_option(file, opens=opens, as_json=as_json)
    root = find_root(context.start, context.folder)[0]
    record = read_run(root, run or _latest(root))
    page = recorded_page(root, record)
    if file == STANDARD_OUTPUT:
        context.console.out(page)
        return ExitCode.OK
    path = file or shown_path(report_path(root, record.run), context.start)
    document = {"version": 1, "run": record.run, "path": path}
    said = json.dumps(document) + "\n" if as_json else None
    write_and_open(context, page, path, is_own=file is None, opens=opens, said=said)
    return ExitCode.OK


def _latest(root: str) -> str:
    runs = find_runs(root)
    if not runs:
        raise UsageError.of(
            "unknown-run", "no run has been recorded yet", "start one with: orch run"
        )
    return runs[0]
