"""`orch report`: a run as one HTML page, and as the files that `orch run` can write. Reads `.orch` and the files that
tools made, no source."""

from __future__ import annotations

from typing import Any

import click

from discover_orch.cli.console import document_text
from discover_orch.cli.file_output import (
    STANDARD_OUTPUT,
    check_file_option,
    replace_output,
    shown_path,
    write_and_open,
)
from discover_orch.cli.history_words import find_record
from discover_orch.cli.options import (
    RUN,
    Context,
    common_options,
    file_options,
    json_option,
    take_files,
)
from discover_orch.config.file import find_root
from discover_orch.model.errors import ExitCode
from discover_orch.render.style import one_line
from discover_orch.state.journal import report_path


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
@file_options
@json_option
@common_options
@click.pass_obj
def command(
    context: Context,
    /,
    run: str | None,
    file: str | None,
    opens: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Write one HTML page about a run and print its path. Without RUN, it is the latest run.

    The page needs no network and no other file, so you can send it to others.

    With --junit, --trace or --openlineage, the page is written only with -o or --open. Here, - is the
    standard output for them too.
    """
    files = take_files(given)
    has_page = not files or file is not None or opens
    flags = [*(["--open"] if opens else ()), *(["--json"] if as_json else ())]
    paths = {**({"-o": file} if file else {}), **files}
    for option, path in paths.items():
        check_file_option(path, *flags, *(one for one in paths if one != option), option=option)
    root = find_root(context.start, context.folder)[0]
    record = find_record(root, run)
    document: dict[str, Any] = {"run": record.run, "path": None}
    for option, path in files.items():
        from discover_orch.cli.report_run import format_text  # the page needs none of it

        text = format_text(option, record, root)
        if path == STANDARD_OUTPUT:
            context.console.out(text)
            return ExitCode.OK
        replace_output(path, text, option)
        if not as_json:
            context.console.out(f"{one_line(path)}\n")
    if files:
        document["files"] = {option[2:]: path for option, path in files.items()}
    if has_page:
        from discover_orch.render.report_page import recorded_page

        page = recorded_page(root, record)
        if file == STANDARD_OUTPUT:
            context.console.out(page)
            return ExitCode.OK
        path = file or shown_path(report_path(root, record.run), context.start)
        document["path"] = path
        said = document_text(document) if as_json else None
        write_and_open(context, page, path, is_own=file is None, opens=opens, said=said)
    elif as_json:
        context.console.json(document)
    return ExitCode.OK
