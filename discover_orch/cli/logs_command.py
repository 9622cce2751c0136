"""`orch logs`: what a tool printed in a past run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import click

from discover_orch.cli.console import is_on_github
from discover_orch.cli.history_command import read_run
from discover_orch.cli.options import RUN, TOOL, Context, common_options, json_option
from discover_orch.config.file import find_root
from discover_orch.model.errors import ExitCode, OrchError, UsageError
from discover_orch.render.history import log_heading, log_text
from discover_orch.render.style import one_line
from discover_orch.state.recorded_run import RunRecord, ToolRecord
from discover_orch.state.run_folders import find_log, read_log, read_records


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

    If it failed, its traceback follows on stderr.
    """
    root = find_root(context.start, context.folder)[0]
    module, name = _meant(context, root, tool, run)
    record, started = _find_started(root, name, module, run)
    path = find_log(root, record.run, module)
    console = context.console
    if as_json:
        data = b"".join(read_log(path)) if path else b""
        document = {
            "run": record.run,
            "started": record.started,
            "name": started.name,
            "module": module,
            "status": started.status,
            "text": data.decode("utf-8", "replace"),
            "path": os.path.relpath(path, root).replace(os.sep, "/") if path else None,
            "traceback": started.traceback,
        }
        console.json(document)
        return ExitCode.OK
    silent = "" if path else " (no output recorded)"
    console.err(f"{log_heading(record, started)}{silent}\n")
    if path and (console.terminal or console.out_style.colour or is_on_github()):
        for lines in read_log(path):
            console.out(log_text(lines, console.out_style))
    elif path:
        for lines in read_log(path):
            sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()
    if started.traceback:  # not to stdout, which has what the tool printed
        console.err(
            log_text(started.traceback.encode("utf-8", "backslashreplace"), console.err_style)
        )
    return ExitCode.OK


def _read_runs(root: str, run: str | None) -> Iterable[RunRecord]:
    """The one run, or all, the newest first."""
    return [read_run(root, run)] if run else read_records(root)


def _meant(context: Context, root: str, word: str, run: str | None) -> tuple[str, str]:
    """Module and name of the one tool that `word` means, in the project or else in the history. Raises OrchError."""
    try:
        found = _find_in_project(context, word)
    except OrchError:
        former = _find_former(root, word, run)
        if former is None and word.isdecimal():
            hint = f"orch history {word} shows that run; orch logs TOOL --run {word} shows a tool in it"
            raise UsageError.of("unknown-target", f'"{word}" is not a tool', hint) from None
        if former is None:
            raise
        return former
    if len(found) > 1:
        shown = ", ".join(one_line(name) for _, name in found[:5])
        message = f'"{one_line(word)}" matches {len(found):,} tools, expected one'
        hint = f"use one of {shown}" + (", ..." if len(found) > 5 else "")
        raise UsageError.of("several-tools", message, hint)
    return found[0]


def _find_in_project(context: Context, word: str) -> list[tuple[str, str]]:
    """Here a tool's name wins over that of a stage."""
    from discover_orch.planning import project_view

    view = context.read_project()
    try:
        found = project_view.select_readable(view, [f"tool:{word}"])
    except OrchError:
        found = project_view.select_readable(view, [word])
    if not found:
        raise UsageError.of("unknown-target", f'"{one_line(word)}" is not a tool')
    registry = view.registry
    return [(module, registry.display(module)) for module in registry.order if module in found]


def _find_former(root: str, word: str, run: str | None) -> tuple[str, str] | None:
    """The tool of this module or name in the latest run that had one."""
    for record in _read_runs(root, run):
        for tool in record.tools:
            if word in (tool.module, tool.name) or tool.module.endswith(f".{word}"):
                return tool.module, tool.name
    return None


def _find_started(
    root: str, name: str, module: str, run: str | None
) -> tuple[RunRecord, ToolRecord]:
    """The latest run in which the tool was started. Raises UsageError."""
    for record in _read_runs(root, run):
        for tool in record.tools:
            if tool.module == module and tool.has_started:
                return record, tool
    message, hint = f"no recorded run has started {name}", f"run it with: orch run {name}"
    if run:
        message = f"{name} was not started in run {run}"
        hint = f"show its latest run with: orch logs {name}"
    raise UsageError.of("never-run", one_line(message), one_line(hint))
