"""`orch logs`: what a tool printed in a run. Reads the journal only, no source."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from discover_orch.cli.console import is_on_github
from discover_orch.cli.history_words import (
    find_record,
    find_started,
    find_tool,
    join_words,
    with_values,
)
from discover_orch.cli.item_options import ItemsCommand, take_values
from discover_orch.cli.options import (
    RUN,
    TOOL,
    Context,
    common_options,
    json_option,
)
from discover_orch.config.file import find_root
from discover_orch.model.errors import (
    ExitCode,
    UsageError,
)
from discover_orch.render.history import log_heading, log_text
from discover_orch.state.journal import (
    find_log,
    read_log,
    read_records,
)

if TYPE_CHECKING:
    from discover_orch.state.recorded_run import RunRecord, ToolRecord


@click.command("logs", cls=ItemsCommand, short_help="Show what a tool printed.")
@click.argument("words", type=TOOL, nargs=-1, required=True, metavar="TOOL [ITEM]")
@click.option(
    "--run", "run", type=RUN, metavar="RUN", help="Show this run instead of the latest one."
)
@json_option
@common_options
@click.pass_obj
def command(
    context: Context, /, words: tuple[str, ...], run: str | None, as_json: bool, **given: Any
) -> int:
    """Show what a tool printed, in the latest run that started it or in the given run.

    If it failed, its traceback follows on stderr. Of a tool with items, say which: "orch logs clean
    --day 2026-01-13".
    """
    root = find_root(context.start, context.folder)[0]
    records = [find_record(root, run)] if run else [*read_records(root)]
    record, started = _find_printed(records, join_words(words), take_values(given), run)
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


def _find_printed(
    records: Iterable[RunRecord], word: str, values: Mapping[str, Sequence[str]], run: str | None
) -> tuple[RunRecord, ToolRecord]:
    """The newest run that started the tool, or its item. Raises UsageError."""
    module, name = find_tool(records, word)
    started = find_started(records, module)
    if values:
        of_items = with_values(started, name, values)
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
