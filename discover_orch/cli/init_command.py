"""`orch init` makes a folder a project, with two tools and a test to begin with; `orch new` adds a tool and a test."""

from __future__ import annotations

import importlib.util
import os

import click

from discover_orch.cli.options import STAGE, TARGETS, Context, common_options
from discover_orch.config.file import find_root
from discover_orch.model.conventions import SQL_SUFFIX
from discover_orch.model.errors import ExitCode, Location, ProjectError, nearest
from discover_orch.planning import project_view
from discover_orch.render.style import one_line
from discover_orch.scaffold.file_changes import FileChange, write_changes
from discover_orch.scaffold.new_files import build_first_project, build_new_tool, find_code

_RUN = (
    "  orch run                      run all tools\n"
    "  orch watch                    run again what each save affects\n"
)


@click.command("init", short_help="Start a project: settings, two tools and a test.")
@common_options
@click.pass_obj
def command(context: Context) -> int:
    """Start a project in this folder: settings in pyproject.toml, two tools with a stage each, their
    data and a test. Files that exist are kept as they are. If the folder has Python code already, only
    the settings are added.
    """
    folder = os.path.normpath(os.path.join(context.start, context.folder or "."))
    root, config, _ = find_root(context.start, folder)
    if config is not None:
        message = f"{root} is already an orch project"
        hint = "add a tool with: orch new NAME --stage STAGE"
        raise ProjectError.of("is-project", message, hint, Location(path=config))
    code = find_code(root)
    scanned = code if code and "src" not in code else ["src"]
    environ = {**os.environ, "ORCH_PACKAGES": ",".join(scanned)} if code else os.environ
    view = project_view.read_project(root, root, environ)
    changes = build_first_project(root, view.registry, code, scanned)
    write_changes(root, changes)
    show_changes(context, changes)
    if code:
        others = ", ".join(one for one in code if one not in scanned)
        context.console.out(
            f"\nscanned for tools: {one_line(', '.join(scanned))} (packages in pyproject.toml)\n"
            + (f"other folders with Python code: {one_line(others)}\n" if others else "")
            + "a module with STAGE and run() is a tool; orch list -v shows those that nearly are\n"
        )
    context.console.out(
        "\nnext:\n"
        + (_RUN if view.registry.tools or not code else "")
        + "  orch new NAME --stage STAGE   add a tool and its test\n"
    )
    return ExitCode.OK


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
def new_command(
    context: Context, name: str, stage: str, after: str | None, package: str | None
) -> int:
    """Add a tool, a module NAME.py with STAGE and run(), and a test for it. No file is overwritten.

    NAME.sql makes it a file of SQL.
    A stage that does not exist yet is added at the end of the configured stages.
    """
    view = context.read_project()
    changes = build_new_tool(
        view.project, view.registry, name=name, stage=stage, after=after, package=package
    )
    write_changes(view.project.root, changes)
    show_changes(context, changes)
    for change in changes:
        if not change.is_new:
            close = nearest(stage, [one.name for one in view.registry.stages])
            meant = f": did you mean {one_line(close)}?" if close else ""
            context.console.out(f'added the stage "{one_line(stage)}"{meant}\n')
    now = context.read_project()
    new = [one for one in now.errors if one not in view.errors]
    context.console.problems(new)
    if new:
        return ExitCode.DISCOVERY
    module, test = (one_line(change.path) for change in changes[-2:])
    what = "the statements" if module.endswith(SQL_SUFFIX) else "run()"
    install = "" if importlib.util.find_spec("pytest") else "  pip install pytest\n"
    context.console.out(
        f"\nnext: write {what} in {module}, then\n  orch run {module}\n{install}  pytest {test}\n"
    )
    return ExitCode.OK


def show_changes(context: Context, changes: tuple[FileChange, ...]) -> None:
    for change in changes:
        verb = "created" if change.is_new else "changed" if change.old != change.new else "kept"
        context.console.out(f"{verb} {one_line(change.path)}\n")
