"""`orch init`: makes a folder a project, with two tools and a test to begin with."""

from __future__ import annotations

import os

import click

from discover_orch.cli.options import Context, common_options
from discover_orch.config.file import find_lines, find_root
from discover_orch.model.errors import ExitCode, Location, Problem, ProjectError
from discover_orch.planning import project_reader
from discover_orch.render.style import one_line
from discover_orch.scaffold.files import FileChange, write_changes
from discover_orch.scaffold.first_project import build_first_project


@click.command("init", short_help="Start a project: settings, two tools and a test.")
@common_options
@click.pass_obj
def command(context: Context) -> int:
    """Start a project in this folder: settings in pyproject.toml, two tools with a stage each, their
    data and a test. Files that exist are kept as they are. If the folder has tools already, only the
    settings are added.
    """
    folder = os.path.normpath(os.path.join(context.start, context.folder or "."))
    root, config, _ = find_root(context.start, folder)
    if config is not None:
        raise ProjectError(
            Problem(
                code="is-project",
                message=f"{root} is already an orch project",
                hint="add a tool with: orch new NAME --stage STAGE",
                location=Location(path=config, line=_header_line(root, config)),
            )
        )
    outer, outer_config, _ = find_root(os.path.dirname(root))
    view = project_reader.read_project(root, root, os.environ)
    changes = build_first_project(root, view.registry)
    write_changes(root, changes)
    show_changes(context, changes)
    if outer_config is not None:
        context.console.problems(
            [
                Problem(
                    code="inside-project",
                    message=f"this project is inside another one: {outer}",
                    hint="orch commands in this folder use the inner one",
                    severity="warning",
                )
            ]
        )
    found = len(view.registry.tools)
    if found:
        context.console.out(
            f"\nkept the {found} existing tools\n" if found > 1 else "\nkept the existing tool\n"
        )
    context.console.out(
        "\nnext:\n"
        "  orch run                      run all tools\n"
        "  orch watch                    run again what each save affects\n"
        "  orch new NAME --stage STAGE   add a tool and its test\n"
    )
    return ExitCode.OK


def show_changes(context: Context, changes: tuple[FileChange, ...]) -> None:
    for change in changes:
        verb = "created" if change.is_new else "changed" if change.old != change.new else "kept"
        context.console.out(f"{verb} {one_line(change.path)}\n")


def _header_line(root: str, config: str) -> int | None:
    try:
        with open(os.path.join(root, config), encoding="utf-8-sig") as file:
            return find_lines(file.read()).get(("tool", "orch"))
    except (OSError, ValueError):
        return None
