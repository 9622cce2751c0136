"""`orch export`: a static file that runs the project on a schedule, elsewhere than in orch."""

from __future__ import annotations

import os
import sys
from typing import cast

import click

from discover_orch.cli.init_command import show_changes
from discover_orch.cli.options import Context, OrchUsage, common_options, targets_argument
from discover_orch.discovery.registry import uses_get_connection
from discover_orch.model.database_url import find_file
from discover_orch.model.errors import ExitCode
from discover_orch.planning import project_reader, project_view
from discover_orch.render.style import clean, one_line
from discover_orch.scaffold.files import FileChange, read_file, write_changes
from discover_orch.scaffold.schedule import (
    Kind,
    Schedule,
    build_files,
    check_ages,
    read_minutes,
)

#: Where each file goes by default, relative to the root.
_FOLDERS = {"github": ".github/workflows"}


@click.command("export", short_help="Write a schedule for cron, systemd or GitHub.")
@click.argument("kind", type=click.Choice(["cron", "systemd", "github"]))
@targets_argument
@click.option(
    "--every",
    default="1h",
    show_default=True,
    metavar="TIME",
    help="How often to run: 15m, 6h, 1d.",
)
@click.option("--write", is_flag=True, help="Write the file instead of printing it.")
@common_options
@click.pass_obj
def command(context: Context, kind: str, targets: tuple[str, ...], every: str, write: bool) -> int:
    """Print a schedule that runs what is stale: a crontab line, a systemd service and timer, or a
    GitHub workflow. It needs no orch daemon: "max_age" in a tool says how old its result may be.

    --write creates the file in the project: crontab, orch-NAME.service and orch-NAME.timer, or
    .github/workflows/orch.yml.
    """
    view = project_reader.read_project(context.start, context.folder, os.environ)
    # A mistake is found now, not at night.
    chosen = project_view.select_targets(view, targets).tools if targets else view.registry.order
    minutes = read_minutes(every)
    context.console.problems(check_ages((view.registry.tools[one] for one in chosen), minutes))
    root, has_own = view.project.root, uses_get_connection(view.registry, view.project)
    database = "" if has_own else find_file(view.project.database)
    schedule = Schedule(
        root=root,
        name=os.path.basename(root) or "project",
        command=_find_command(),
        folders=(os.path.dirname(sys.executable),),
        targets=targets,
        minutes=minutes,
        database="" if os.path.isabs(database) else database,
        has_own_connection=has_own,
        requirements=_find_install(root),
    )
    files = build_files(cast(Kind, kind), schedule)
    folder = _FOLDERS.get(kind, "")
    if not write:
        for name, text in files.items():
            heading = f"# {name}\n" if len(files) > 1 else ""
            context.console.out(heading + clean(text) + ("\n" if heading else ""))
        return ExitCode.OK
    changes = []
    for name, text in files.items():
        path = f"{folder}/{name}" if folder else name
        old = read_file(root, path)
        if old is not None and old != text.encode():
            raise OrchUsage(f"{path} already exists", "remove it first, or print without --write")
        changes += [FileChange(path=path, old=old, new=text.encode(errors="surrogateescape"))]
    write_changes(root, changes)
    show_changes(context, tuple(changes))
    context.console.out(f"\nnext: {_next_step(kind, list(files))}\n")
    return ExitCode.OK


def _find_command() -> tuple[str, ...]:
    """The words that start this orch from anywhere."""
    script = os.path.join(os.path.dirname(sys.executable), "orch")
    return (script,) if os.access(script, os.X_OK) else (sys.executable, "-m", "discover_orch")


def _find_install(root: str) -> str:
    """The command that installs what the project needs."""
    for name, words in (
        ("requirements.txt", "pip install discover-orch -r requirements.txt"),
        ("pyproject.toml", "pip install discover-orch ."),
    ):
        data = read_file(root, name)
        if data is not None and (name != "pyproject.toml" or b"\n[project]" in b"\n" + data):
            return words
    return ""


def _next_step(kind: str, names: list[str]) -> str:
    if kind == "cron":
        return "crontab -l | cat - crontab | crontab -"
    if kind == "systemd":
        timer = one_line(names[-1])
        files = " ".join(map(one_line, names))
        return f"cp {files} ~/.config/systemd/user/ && systemctl --user enable --now {timer}"
    return "commit .github/workflows/orch.yml"
