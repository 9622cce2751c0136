"""What orch writes into a project: `orch init` starts one, `orch new` adds a tool and its test, `orch adopt` converts
an orchestrator written by hand, and `orch export` writes a schedule for another program."""

from __future__ import annotations

import importlib.util
import os
import shlex

import click

from discover_orch.cli.options import (
    STAGE,
    TARGETS,
    Context,
    OrchUsage,
    common_options,
    targets_argument,
)
from discover_orch.config.file import find_root
from discover_orch.model.conventions import SQL_SUFFIX
from discover_orch.model.errors import ExitCode, Location, ProjectError, nearest
from discover_orch.planning import project_view
from discover_orch.render.style import Style, clean, count, diff_text, find_diff, one_line
from discover_orch.scaffold.adoption import Adopter
from discover_orch.scaffold.file_changes import FileChange, read_file, write_changes
from discover_orch.scaffold.new_files import build_first_project, build_new_tool, find_code
from discover_orch.scaffold.old_orchestrator import read_orchestrator
from discover_orch.scaffold.scheduler_files import EVERY, build_files

_RUN = (
    "  orch run                      run all tools\n"
    "  orch watch                    run again what each save affects\n"
    "  orch lock                     write what a run has seen to orch.lock, for git and CI\n"
)


@click.command("init", short_help="Start a project: settings, two tools and a test.")
@common_options
@click.pass_obj
def init_command(context: Context) -> int:
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
            + "a module with STAGE and run(), or a .sql file with -- STAGE: NAME, is a tool\n"
            + "orch list -v shows the files that nearly are tools\n"
        )
    context.console.out(
        "\nnext:\n"
        + (_RUN if view.registry.tools or not code else "")
        + "  orch new NAME --stage STAGE   add a tool and its test; NAME.sql is one in SQL\n"
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


@click.command("adopt", short_help="Convert a hand-written list of steps.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.argument("name", default="")
@click.option(
    "--import",
    "is_imported",
    is_flag=True,
    help="Run FILE, as an import does, and read the values from it.",
)
@click.option("--write", is_flag=True, help="Write the changes instead of showing them.")
@click.option("--check", is_flag=True, help="Only say what can be converted and what cannot.")
@common_options
@click.pass_obj
def adopt_command(
    context: Context, file: str, name: str, is_imported: bool, write: bool, check: bool
) -> int:
    """Convert an orchestrator written by hand: a FILE with a dict or list of modules, paths or
    functions at its top level. NAME says which one, if there are several.

    Shows the changes as a diff. After an error nothing is written. The exit code is 4 after an
    error or a warning.
    """
    if write and check:
        raise OrchUsage("--write cannot be combined with --check", "use one of them")
    root = find_root(context.start, context.folder)[0]
    path = os.path.relpath(os.path.join(context.start, file), root).replace(os.sep, "/")
    if path.startswith("../"):
        raise OrchUsage(
            f"{path} is outside the project {root}", "give the folder of the project with -C"
        )
    adopter = Adopter(root, read_orchestrator(root, path, name, asks=is_imported))
    changes, problems = adopter.build(), adopter.problems
    if any(problem.severity == "error" for problem in problems):
        context.console.problems(problems)
        context.console.err("nothing was written\n" if write else "nothing can be written yet\n")
        return ExitCode.DISCOVERY
    if write:
        write_changes(root, changes)
        show_changes(context, changes)
    elif not check:
        for change in changes:
            context.console.out(_diff(change, context.console.out_style))
    gap = "\n" if changes and not check else ""
    found = count(len(adopter.tools), "tool")
    if adopter.old.lists:
        found += f" and {count(len(adopter.lists), 'list')}"
    context.console.out(f"{gap}{found} of {one_line(path)}\n")
    context.console.out("".join(f"  {one_line(note)}\n" for note in adopter.notes))
    context.console.problems(problems)
    if write:
        context.console.out("\nnext: orch list, orch run --dry-run\n")
    elif changes:
        words = " ".join(shlex.quote(one_line(one)) for one in (file, name) if one)
        words += " --import" * is_imported
        context.console.out(f"\nwrite this with: orch adopt {words} --write\n")
    else:
        context.console.out("\nnothing to write\n")
    return ExitCode.DISCOVERY if problems else ExitCode.OK


def _diff(change: FileChange, style: Style) -> str:
    before = [] if change.old is None else change.old.decode("utf-8", "replace").splitlines()
    after = change.new.decode("utf-8", "replace").splitlines()
    return diff_text(find_diff(change.path, before, after, is_new=change.is_new), style)


@click.command("export", short_help="Write a schedule for cron, systemd or GitHub.")
@click.argument("kind", type=click.Choice(["cron", "systemd", "github"]))
@targets_argument
@click.option(
    "--every",
    default="1h",
    show_default=True,
    type=click.Choice([*EVERY]),
    help="How often to run.",
)
@click.option("--write", is_flag=True, help="Write the file instead of printing it.")
@common_options
@click.pass_obj
def export_command(
    context: Context, kind: str, targets: tuple[str, ...], every: str, write: bool
) -> int:
    """Print a schedule that runs what is stale: a crontab line, a systemd service and timer, or a
    GitHub workflow. "max_age" in a tool says how old its result may be.
    """
    view = context.read_project()
    place, files = build_files(kind, view, targets, every)
    changes = []
    for path, text in files.items():
        old, new = read_file(place, path), text.encode(errors="surrogateescape")
        if write and old not in (None, new):
            raise OrchUsage(f"{path} already exists", "remove it first, or print without --write")
        changes.append(FileChange(path=path, old=old, new=new))
        if not write:
            context.console.out(f"# {path}\n{clean(text)}\n" if kind == "systemd" else clean(text))
    if write:
        write_changes(place, changes)
        show_changes(context, tuple(changes))
    return ExitCode.OK


def show_changes(context: Context, changes: tuple[FileChange, ...]) -> None:
    for change in changes:
        verb = "created" if change.is_new else "changed" if change.old != change.new else "kept"
        context.console.out(f"{verb} {one_line(change.path)}\n")
