"""`orch export`: a static file that runs the project on a schedule, elsewhere than in orch."""

from __future__ import annotations

import click

from discover_orch.cli.init_command import show_changes
from discover_orch.cli.options import Context, OrchUsage, common_options, targets_argument
from discover_orch.model.errors import ExitCode
from discover_orch.render.style import clean
from discover_orch.scaffold.file_changes import FileChange, read_file, write_changes
from discover_orch.scaffold.scheduler_files import EVERY, build_files


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
def command(context: Context, kind: str, targets: tuple[str, ...], every: str, write: bool) -> int:
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
