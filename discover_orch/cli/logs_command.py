"""`orch logs`: what a tool printed in a past run."""

from __future__ import annotations

import json
import os
import sys

import click

from discover_orch.cli.console import is_on_github
from discover_orch.cli.history_command import read_run
from discover_orch.cli.options import RUN, TOOL, Context, common_options, json_option
from discover_orch.config.file import find_root
from discover_orch.model.errors import ExitCode, OrchError, Problem, UsageError
from discover_orch.render.history import log_heading, log_text
from discover_orch.render.style import Style, one_line
from discover_orch.state.journal import find_log, find_runs, read_log, read_record
from discover_orch.state.run_record import RunRecord, ToolRecord


@click.command("logs", short_help="Show what a tool printed.")
@click.argument("tool", type=TOOL)
@click.option(
    "--run", "run", type=RUN, metavar="RUN", help="Show this run instead of the latest one."
)
@json_option
@common_options
@click.pass_obj
def command(context: Context, tool: str, run: str | None, as_json: bool) -> int:
    """Show what a tool printed, in the latest run that started it or in the given run.

    If it failed, its traceback follows on stderr. A tool that is no longer in the project is found by its
    former name.
    """
    root = find_root(context.start, context.folder)[0]
    records = [read_run(root, run)] if run else None
    module, name = _meant(context, root, tool, records)
    record, started = _find_started(root, name, module, records, run)
    path = find_log(root, record.run, module)
    console = context.console
    if as_json:
        data = b"".join(read_log(path)) if path else b""
        document = {
            "version": 1,
            "run": record.run,
            "started": record.started,
            "name": started.name,
            "module": module,
            "status": started.status,
            "text": data.decode("utf-8", "replace"),
            "path": os.path.relpath(path, root).replace(os.sep, "/") if path else None,
            "traceback": started.traceback,
        }
        console.out(json.dumps(document) + "\n")
        return ExitCode.OK
    silent = "" if path else " (no output recorded)"
    console.err(f"{log_heading(record, started)}{silent}\n")
    if path:
        is_raw = not (console.terminal or console.out_style.colour or is_on_github())
        _show(context, path, None if is_raw else console.out_style)
    if started.traceback:  # not to stdout, which has what the tool printed
        console.err(
            log_text(started.traceback.encode("utf-8", "backslashreplace"), console.err_style)
        )
    return ExitCode.OK


def _show(context: Context, path: str, style: Style | None) -> None:
    """Writes the bytes unchanged if `style` is None, else cleaned, some lines at a time."""
    if style is None:
        for piece in read_log(path):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    rest = b""
    for piece in read_log(path):
        lines, newline, rest = (rest + piece).rpartition(b"\n")
        context.console.out(log_text(lines + newline, style))
    context.console.out(log_text(rest, style))


def _meant(
    context: Context, root: str, word: str, records: list[RunRecord] | None
) -> tuple[str, str]:
    """Module and name of the one tool that `word` means, in the project or else in the history. Raises OrchError."""
    try:
        found = _find_in_project(context, word)
    except OrchError:
        former = _find_former(root, word, records)
        if former is None and word.isdecimal():
            hint = f"orch history {word} shows that run; orch logs TOOL --run {word} shows a tool in it"
            raise UsageError(
                Problem(code="unknown-target", message=f'"{word}" is not a tool', hint=hint)
            ) from None
        if former is None:
            raise
        return former
    if len(found) > 1:
        shown = ", ".join(one_line(name) for _, name in found[:5])
        raise UsageError(
            Problem(
                code="several-tools",
                message=f'"{one_line(word)}" matches {len(found):,} tools, expected one',
                hint=f"use one of {shown}" + (", ..." if len(found) > 5 else ""),
            )
        )
    return found[0]


def _find_in_project(context: Context, word: str) -> list[tuple[str, str]]:
    """Here a tool's name wins over that of a stage."""
    from discover_orch.planning import project_reader, project_view

    view = project_reader.read_project(context.start, context.folder, os.environ)
    try:
        found = project_view.select_readable(view, [f"tool:{word}"])
    except OrchError:
        found = project_view.select_readable(view, [word])
    if not found:
        raise UsageError(
            Problem(code="unknown-target", message=f'"{one_line(word)}" is not a tool')
        )
    registry = view.registry
    return [(module, registry.display(module)) for module in registry.order if module in found]


def _find_former(root: str, word: str, records: list[RunRecord] | None) -> tuple[str, str] | None:
    """The tool of this module or name in the latest run that had one."""
    runs = records or filter(None, (read_record(root, run) for run in find_runs(root)))
    for record in runs:
        for tool in record.tools:
            if word in (tool.module, tool.name) or tool.module.endswith(f".{word}"):
                return tool.module, tool.name
    return None


def _find_started(
    root: str, name: str, module: str, records: list[RunRecord] | None, run: str | None
) -> tuple[RunRecord, ToolRecord]:
    """The latest run in which the tool was started. Raises UsageError."""
    for record in records or filter(None, (read_record(root, one) for one in find_runs(root))):
        for tool in record.tools:
            if tool.module == module and tool.has_started:
                return record, tool
    if run:
        message, hint = (
            f"{name} was not started in run {run}",
            f"show its latest run with: orch logs {name}",
        )
    else:
        message, hint = f"no recorded run has started {name}", f"run it with: orch run {name}"
    raise UsageError(Problem(code="never-run", message=one_line(message), hint=one_line(hint)))
