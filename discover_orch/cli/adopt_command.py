"""`orch adopt`: turns a hand-written orchestrator with `TOOL_MAP` and `STAGES` into tags and settings."""

from __future__ import annotations

import difflib
import os
import shlex

import click

from discover_orch.cli.init_command import show_changes
from discover_orch.cli.options import Context, OrchUsage, common_options
from discover_orch.config.file import find_root
from discover_orch.model.errors import ExitCode
from discover_orch.render.style import Style, clean, count, one_line
from discover_orch.scaffold.adoption import Adopter
from discover_orch.scaffold.file_changes import FileChange, write_changes
from discover_orch.scaffold.old_orchestrator import read_orchestrator


@click.command("adopt", short_help="Convert a hand-written TOOL_MAP and STAGES.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--import",
    "is_imported",
    is_flag=True,
    help="Run FILE, as an import does, and read TOOL_MAP and STAGES from it.",
)
@click.option("--write", is_flag=True, help="Write the changes instead of showing them.")
@click.option("--check", is_flag=True, help="Only say what can be converted and what cannot.")
@common_options
@click.pass_obj
def command(context: Context, file: str, is_imported: bool, write: bool, check: bool) -> int:
    """Convert an orchestrator written by hand: a FILE with TOOL_MAP, STAGES and get_connection().

    Shows the changes as a diff. The exit code is 4 if something cannot be converted.
    """
    if write and check:
        raise OrchUsage("--write cannot be combined with --check", "use one of them")
    root = find_root(context.start, context.folder)[0]
    path = os.path.relpath(os.path.join(context.start, file), root).replace(os.sep, "/")
    if path.startswith("../"):
        raise OrchUsage(
            f"{path} is outside the project {root}", "give the folder of the project with -C"
        )
    adopter = Adopter(root, read_orchestrator(root, path, asks=is_imported))
    changes, problems = adopter.build(), adopter.problems
    if write and any(problem.severity == "error" for problem in problems):
        context.console.problems(problems)
        context.console.err("nothing was written\n")
        return ExitCode.DISCOVERY
    if write:
        write_changes(root, changes)
        show_changes(context, changes)
    elif not check:
        for change in changes:
            context.console.out(_diff_text(change, context.console.out_style))
    gap = "\n" if changes and not check else ""
    found = f"{count(len(adopter.tools), 'tool')} and {count(len(adopter.lists), 'list')}"
    context.console.out(f"{gap}{found} of {one_line(path)}\n")
    context.console.out("".join(f"  {one_line(note)}\n" for note in adopter.notes))
    context.console.problems(problems)
    if write:
        context.console.out("\nnext: orch list, orch run --dry-run\n")
    elif changes:
        words = shlex.quote(one_line(file)) + " --import" * is_imported
        context.console.out(f"\nwrite this with: orch adopt {words} --write\n")
    else:
        context.console.out("\nnothing to write\n")
    return ExitCode.DISCOVERY if problems else ExitCode.OK


def _diff_text(change: FileChange, style: Style) -> str:
    before = [] if change.old is None else change.old.decode("utf-8", "replace").splitlines()
    after = change.new.decode("utf-8", "replace").splitlines()
    name = one_line(change.path)
    old_name = "/dev/null" if change.is_new else name
    colours = {"+": "green", "-": "red", "@": "cyan"}
    shown = []
    for line in difflib.unified_diff(before, after, old_name, name, lineterm=""):
        colour = "bold" if line.startswith(("+++ ", "--- ")) else colours.get(line[:1])
        shown.append(style.paint(clean(line), colour) if colour else clean(line))
    return "\n".join(shown) + "\n"
