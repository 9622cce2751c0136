"""`orch clean`: lists files that tools made and no longer make, and deletes them with `--yes`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import click
from msgspec.structs import replace

from discover_orch.cli.item_options import ItemsCommand, check_options, take_values
from discover_orch.cli.options import Context, choosing_options, if_busy_option
from discover_orch.execution.request import Request, delete_rows, hold_lock, look
from discover_orch.model.errors import EmptyError, ExitCode, Problem
from discover_orch.model.items import has_values, item_text, tool_of, values_in
from discover_orch.model.keys import is_rows
from discover_orch.planning import project_view
from discover_orch.planning.cleaning import Cleaning, Found
from discover_orch.planning.project_view import ProjectView
from discover_orch.render.left_over import build_made, clean_text
from discover_orch.render.problems import first_few
from discover_orch.render.style import count


@click.command(
    "clean", cls=ItemsCommand, short_help="List left-over files of tools, or delete them."
)
@choosing_options(
    click.option("--all", "is_all", is_flag=True, help="All files that the tools made."),
    click.option("--yes", is_flag=True, help="Delete the files, after the list."),
    if_busy_option,
)
def command(
    context: Context,
    targets: tuple[str, ...],
    exclude: tuple[str, ...],
    is_all: bool,
    yes: bool,
    if_busy: str,
    as_json: bool,
    **given: Any,
) -> int:
    """List the files that the tools made once, and that their last success did not make.

    Nothing is deleted without --yes. A file stays unless a tool created it, it is unchanged since, it
    is under the root, and git does not track it. Links, folders, databases and tables stay, but for
    the rows of an item that is no more. The list says why something stays.

    Of a tool with items, the files of some: "orch clean clean --day 2026-01-13".
    """
    values = take_values(given)
    view = context.read_project()
    is_chosen = _choose(view, targets, exclude, values) if targets or exclude or values else None
    console, request = context.console, Request(if_busy=if_busy)
    lock = hold_lock(view.project.root, request, console.problems)
    with lock if yes else contextlib.nullcontext():
        work = look(view, request, console.problems)
        cleaning = Cleaning(work, partial(delete_rows, view))
        found = cleaning.find(is_chosen, is_all=is_all)
        if not as_json:
            shown = clean_text(build_made(found, cleaning.name_of), console.out_style)
            console.out(shown or f"{_nothing(is_all=is_all)}\n")
        done = cleaning.delete(found) if yes else []
    return _show_end(context, view, cleaning, found, done, yes=yes, as_json=as_json)


def _choose(
    view: ProjectView,
    targets: tuple[str, ...],
    exclude: tuple[str, ...],
    values: Mapping[str, Sequence[str]],
) -> Callable[[str], bool]:
    """Whether a step was asked for. A tool is asked for with its items that are no more, and may have no others."""
    by_tool = replace(view, registry=view.registry.by_tool)
    words, left_out = ([one for one in some if " " not in one] for some in (targets, exclude))
    tools = (
        project_view.select_readable(by_tool, words, left_out)
        if words or not targets
        else frozenset()
    )
    steps: frozenset[str] = frozenset()
    with contextlib.suppress(*([EmptyError] if tools else [])):
        steps = project_view.select_readable(view, targets, exclude)
    names = {module: view.registry.item_params(module) for module in {*tools, *map(tool_of, steps)}}
    check_options(values, {name for of_tool in names.values() for name in of_tool})

    def is_chosen(key: str) -> bool:
        module = tool_of(key)
        if key not in steps and (key in view.registry.tools or module not in tools):
            return False
        item = dict(zip(names[module], values_in(item_text(key)), strict=False))
        return has_values(item, values)

    return is_chosen


def _nothing(*, is_all: bool) -> str:
    return "the tools made no files that still exist" if is_all else "nothing is left over"


def _count_things(keys: Collection[str]) -> str:
    """Files, and parts of tables."""
    rows = sum(map(is_rows, keys))
    files = len(keys) - rows
    parts = [count(files, "file")] if files or not rows else []
    return " and ".join([*parts, *([f"the rows of {count(rows, 'item')}"] if rows else [])])


def _show_end(
    context: Context,
    view: ProjectView,
    cleaning: Cleaning,
    found: Sequence[Found],
    done: Sequence[Found],
    *,
    yes: bool,
    as_json: bool,
) -> int:
    console = context.console
    reasons = {one.thing.key: one.reason for one in done}
    deleted = {key for key, reason in reasons.items() if not reason}
    if as_json:
        console.json({"found": build_made(found, cleaning.name_of, reasons)})
    elif yes and found:
        console.out(f"deleted {_count_things(deleted)}\n")
    elif can_go := [one.thing.key for one in found if not one.reason]:
        console.out(f"{_count_things(can_go)} can be deleted: add --yes\n")
    code = console.report((*view.errors, *view.warnings), view.no_tools)
    stayed = [
        Problem(code="clean", message=f"{one.thing.name} stays: {one.reason}", hint="")
        for one in done
        if one.reason
    ]
    console.problems(first_few(stayed))
    return ExitCode.FAILED if stayed and code == ExitCode.OK else code
