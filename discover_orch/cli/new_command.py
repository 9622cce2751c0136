"""`orch new`: adds a tool and its test."""

from __future__ import annotations

import importlib.util
import os

import click

from discover_orch.cli.init_command import show_changes
from discover_orch.cli.options import STAGE, TARGETS, Context, common_options
from discover_orch.model.errors import ExitCode
from discover_orch.planning import project_reader
from discover_orch.render.style import one_line
from discover_orch.scaffold.files import write_changes
from discover_orch.scaffold.new_tool import build_new_tool


@click.command("new", short_help="Add a tool and its test.")
@click.argument("name")
@click.option("--stage", required=True, type=STAGE, metavar="STAGE", help="The stage of the tool.")
@click.option(
    "--after", type=TARGETS, metavar="TARGET", help="A tool or stage that must run before it."
)
@click.option(
    "--package",
    metavar="PACKAGE",
    help="The folder of the module, such as src/shop.  [default: where the first tool of the stage is]",
)
@common_options
@click.pass_obj
def command(context: Context, name: str, stage: str, after: str | None, package: str | None) -> int:
    """Add a tool: a module NAME.py with STAGE and run(), and a test for it. No file is overwritten.

    A stage that does not exist yet is added at the end of the configured stages.
    """
    view = project_reader.read_project(context.start, context.folder, os.environ)
    changes = build_new_tool(
        view.project, view.registry, name=name, stage=stage, after=after, package=package
    )
    write_changes(view.project.root, changes)
    show_changes(context, changes)
    for change in changes:
        if not change.is_new:
            context.console.out(f'added the stage "{one_line(stage)}"\n')
    now = project_reader.read_project(context.start, context.folder, os.environ)
    context.console.problems([one for one in now.errors if one not in view.errors])
    module, test = (one_line(change.path) for change in changes[-2:])
    install = "" if importlib.util.find_spec("pytest") else "  pip install pytest\n"
    context.console.out(
        f"\nnext: write run() in {module}, then\n  orch run {module}\n{install}  pytest {test}\n"
    )
    return ExitCode.OK
