"""`orch lock`: writes the observed data flow of the tools as a text for git."""

from __future__ import annotations

import click
from msgspec.structs import replace

from discover_orch.cli.options import Context, common_options, json_option
from discover_orch.model.documents import Lock, LockedTool
from discover_orch.model.errors import DiscoveryError, ExitCode, OrchError, Problem
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.render.style import count, diff_text, find_diff, names_text
from discover_orch.scaffold.file_changes import FileChange, write_changes
from discover_orch.state.flow_lock import LOCK_FILE, read_lock, tool_lines, write_lock

MOST_NAMES = 5


class LockError(OrchError):
    """The file cannot be read, and not be written anew."""

    exit_code = ExitCode.FAILED


@click.command("lock", short_help="Write what tools read and write to orch.lock, for git.")
@click.option(
    "--check",
    is_flag=True,
    help="Write nothing: show what would change, and exit with 1 if that is anything.",
)
@json_option
@common_options
@click.pass_obj
def command(context: Context, check: bool, as_json: bool) -> int:
    """Write what the tools were seen to read and write to orch.lock, a text file to be committed.
    Nothing is run.

    A clone in which a tool has never run, as in CI, takes from it the order of the tools, what
    orch check knows, and what --changed-since must run. No tool is fresh because of it.
    """
    view, console = context.read_project(), context.console
    if view.errors:
        raise DiscoveryError(*view.errors)
    root, registry = view.project.root, view.registry
    lock = read_lock(root)
    known = RemainingWork(view, GivenParams()).find_known_flows(lock)
    unknown = tuple(registry.display(one) for one in registry.by_tool.order if one not in known)
    if lock.problems and (unknown or lock.data is None):
        hint = "restore it, or remove it"
        if unknown:
            hint += f" and run the tools: nothing else knows {names_text(unknown, MOST_NAMES)}"
        raise LockError(*(replace(one, hint=hint) for one in lock.errors))
    data = write_lock(known) if known or lock.data is not None else None
    before, after = (
        (one or b"").decode("utf-8", "replace").splitlines() for one in (lock.data, data)
    )
    diff = find_diff(LOCK_FILE, before, after, is_new=lock.data is None)
    is_current = before == after and not lock.problems
    if not (is_current or check):
        write_changes(root, [FileChange(path=LOCK_FILE, old=lock.data, new=data or b"")])
    if as_json:
        tools = tuple(
            LockedTool(name=registry.display(one), module=one, lines=tuple(tool_lines(tool)))
            for one, tool in known.items()
        )
        found = Lock(
            path=LOCK_FILE, is_current=is_current, diff=tuple(diff), tools=tools, unknown=unknown
        )
        console.json(found)
    elif check and not is_current:
        console.out(diff_text(diff, console.out_style))
    elif data is not None:
        state = "is up to date" if is_current else "written"
        console.out(f"{LOCK_FILE} {state} ({count(len(known), 'tool')})\n")
    console.problems([*_describe(unknown, has_file=data is not None)])
    if check and not is_current:
        outdated = f"{LOCK_FILE} {'is out of date' if lock.data is not None else 'is not there'}"
        hint = "write it with: orch lock"
        console.problems([*lock.problems, Problem(code="lock", message=outdated, hint=hint)])
        return ExitCode.FAILED
    return ExitCode.OK


def _describe(unknown: tuple[str, ...], *, has_file: bool) -> list[Problem]:
    """That nothing is known of these tools."""
    if not unknown:
        return []
    said = f"{LOCK_FILE} says nothing of" if has_file else "nothing is known of"
    return [
        Problem(
            code="never-ran",
            message=f"{said} {names_text(unknown, MOST_NAMES)}: not run here yet",
            hint="run them, then: orch lock",
            severity="note",
        )
    ]
