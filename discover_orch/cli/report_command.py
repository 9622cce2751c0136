"""`orch report`: a run as one HTML page. Reads `.orch` only, no source."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import click
from msgspec.structs import replace

from discover_orch.cli.file_output import (
    STANDARD_OUTPUT,
    check_file_option,
    open_file,
    write_file,
    write_own_file,
)
from discover_orch.cli.history_command import read_run
from discover_orch.cli.options import RUN, Context, common_options, json_option
from discover_orch.config.file import find_root
from discover_orch.model.errors import ExitCode, Problem, UsageError
from discover_orch.render.markup import escape
from discover_orch.render.report_page import read_page_files, report_html
from discover_orch.render.style import one_line
from discover_orch.state.journal import find_runs, read_record, report_path
from discover_orch.state.report_source import read_earlier, read_report_source


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

    The page needs no network and no other file, so you can send it to others. It shows the graph, the
    timeline, every tool with its history and its log, and what failed.
    """
    check_file_option(file, opens=opens, as_json=as_json)
    root = find_root(context.start, context.folder)[0]
    record = read_run(root, run or _latest(root))
    own = report_path(root, record.run)
    path = file or shown_path(own, context.start)
    page = report_html(read_report_source(root, record), _project(root), read_page_files())
    console = context.console
    if path == STANDARD_OUTPUT:
        console.out(page)
        return ExitCode.OK
    if file is None:
        write_own_file(own, page)
    else:
        write_file(path, page)
    if as_json:
        console.out(json.dumps({"version": 1, "run": record.run, "path": path}) + "\n")
    else:
        console.out(f"{one_line(path)}\n")
    problem = open_file(path) if opens else None
    console.problems([problem] if problem else [])
    return ExitCode.OK


class RunReport:
    """The page of a run that is in progress. What is known at its start is read while the first tool runs."""

    def __init__(self, context: Context, root: str, run: str, modules: Sequence[str]) -> None:
        self._context, self._root, self._run = context, root, run
        self._files = read_page_files()
        self._earlier = read_earlier(root, run, modules)
        for module in modules:  # fills its cache
            escape(module)

    def write(self, *, as_json: bool) -> None:
        """Writes the page and prints its path, after the end of the run. Failing to write it is a warning."""
        record = read_record(self._root, self._run)
        if record is None:  # the run could not be recorded, and has said so
            return
        path = report_path(self._root, self._run)
        source = read_report_source(self._root, record, self._earlier)
        console = self._context.console
        try:
            write_own_file(path, report_html(source, _project(self._root), self._files))
        except UsageError as error:
            console.problems([replace(one, severity="warning") for one in error.problems])
            return
        show = console.err if as_json else console.out
        show(f"report: {one_line(shown_path(path, self._context.start))}\n")


def shown_path(path: str, start: str) -> str:
    """Relative to where the user stands, if that is not outside of it."""
    relative = os.path.relpath(path, start)
    return path if relative.startswith("..") else relative


def _project(root: str) -> str:
    return os.path.basename(os.path.abspath(root)) or root


def _latest(root: str) -> str:
    runs = find_runs(root)
    if not runs:
        raise UsageError(
            Problem(
                code="unknown-run",
                message="no run has been recorded yet",
                hint="start one with: orch run",
            )
        )
    return runs[0]
