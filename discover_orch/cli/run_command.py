"""`orch run`: shows a plan, or the events of a run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from discover_orch.cli.app import Context, OrchUsage, common_options
from discover_orch.cli.dynamic_command import VIEW, ToolsCommand, read_values, tools_arguments
from discover_orch.cli.targets import all_fresh_text
from discover_orch.config.project import DATABASE_VARIABLE, VARIABLE_PREFIX, masked_url
from discover_orch.discovery.registry import uses_get_connection
from discover_orch.execution.events import nothing_to_do_documents
from discover_orch.model.errors import ExitCode, OrchError, problem_json
from discover_orch.model.tool import MASK
from discover_orch.planning import project_reader, project_view
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.render.plan import plan_document, plan_text, settings_text
from discover_orch.render.problems import few
from discover_orch.staleness.current import GET_CONNECTION

if TYPE_CHECKING:
    from discover_orch.planning.arguments import GivenParams
    from discover_orch.staleness.fingerprint import Freshness
    from discover_orch.state.lock import ProjectLock
    from discover_orch.state.run_record import RunRecord


@click.command("run", cls=ToolsCommand)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would run, in which order, and why.")
@tools_arguments
@click.option("--changed", is_flag=True, help="Only what is stale, and what is downstream of it.")
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    metavar="[RUN]",
    help="Go on with the latest run that was broken off, or with RUN.",
)
@click.option("--pdb", is_flag=True, help="Open the debugger where a tool fails.")
@click.option(
    "--output",
    type=click.Choice(["live", "fail", "none", "raw"]),
    default="live",
    show_default=True,
    help="What tools print: as it comes, only of tools that fail, nothing, or uncaptured.",
)
@click.option("--wait", is_flag=True, help="Wait for the end of another run of this project.")
@click.option("-q", "--quiet", is_flag=True, help="Only failures and the summary.")
@click.option("-v", "--verbose", is_flag=True, help="Also reasons, values and notes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@common_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    targets: tuple[str, ...],
    dry_run: bool,
    exclude: tuple[str, ...],
    pairs: tuple[str, ...],
    database: str | None,
    changed: bool,
    resume: str | None,
    pdb: bool,
    output: str,
    wait: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    **params: Any,
) -> int:
    """Run stages, tools or groups: the targets, in order.

    No target is everything. A target is a stage, a tool, a file, a group, `full`, a glob such as
    `pipeline.*`, `+x` (with all upstream of x) or `x+` (with all downstream).
    """
    context: Context = ctx.obj
    view: ProjectView = ctx.meta[VIEW]
    lock: ProjectLock | None = None
    try:
        if resume is not None:
            _refuse_words(targets, exclude, changed=changed)
        values = read_values(view, targets, exclude, pairs, params)
        plan = Plan()
        if resume is None:
            view = _on(view, database)
            plan = project_view.plan_targets(
                view, targets, exclude=exclude, values=values, is_partial=changed
            )
        if not dry_run:
            from discover_orch.cli.show_run import hold_project

            # Before it is asked what is left: nobody else runs anything meanwhile.
            lock = hold_project(view, waits=wait, console=context.console)
        freshness: Mapping[str, Freshness] = {}
        if resume is not None or changed or dry_run:
            view, plan, freshness = _what_is_left(
                view, plan, values, database, changed=changed, resume=resume, dry_run=dry_run
            )
        if not plan.steps:
            return _say_nothing_to_do_documents(context, plan, as_json=as_json, dry_run=dry_run)
        if dry_run:
            return _show_plan(context, view, plan, freshness, as_json=as_json, verbose=verbose)
        from discover_orch.cli.show_run import run_and_show

        return run_and_show(
            context,
            view,
            plan,
            output=output,
            quiet=quiet,
            verbose=verbose,
            as_json=as_json,
            post_mortem=pdb,
            again=_again(context, plan, database),
        )
    except OrchError as error:
        if as_json:
            context.console.out(_refusal(error, dry_run=dry_run) + "\n")
        raise
    finally:
        if lock is not None:
            lock.release()


def _what_is_left(
    view: ProjectView,
    plan: Plan,
    values: GivenParams,
    database: str | None,
    *,
    changed: bool,
    resume: str | None,
    dry_run: bool,
) -> tuple[ProjectView, Plan, Mapping[str, Freshness]]:
    """The view with the database that is meant, the plan less what need not run, and where tools stand."""
    from discover_orch.planning.incremental import (  # a plain run need not know
        RemainingWork,
        find_run_to_resume,
    )

    record = None
    if resume is not None:
        record = find_run_to_resume(view.project.root, resume or None)
        view = _on(view, database or _database_of(record))
    left = RemainingWork(view.project, view.registry, values, view.signatures)
    if resume is not None:
        plan = left.build_resumed_plan(record)
    elif changed:
        plan = left.keep_stale(plan)
        said = (*values.options, *values.given, *view.warnings, *plan.warnings)
        is_all = len(plan.fresh) == len(view.registry.order)
        if is_all and database is None and not said:
            left.write_all_fresh(view.key)
    return view, plan, left.freshness(plan) if dry_run and plan.steps else {}


def _on(view: ProjectView, database: str | None) -> ProjectView:
    return view if database is None else project_reader.with_database(view, database)


def _refuse_words(targets: Sequence[str], exclude: Sequence[str], *, changed: bool) -> None:
    if targets or exclude:
        word = targets[0] if targets else f"--exclude {exclude[0]}"
        raise OrchUsage(
            f"--resume takes no targets, and {word} was given",
            "it runs what is left of the recorded plan: orch run --resume, or --resume RUN alone",
        )
    if changed:
        raise OrchUsage("--resume and --changed exclude each other", "give one of them")


def _database_of(record: RunRecord | None) -> str | None:
    """The one that was named on the command line of that run, or in its environment, if any was."""
    if record is None or record.database_origin not in (
        "--database",
        DATABASE_VARIABLE,
        f"{VARIABLE_PREFIX}DATABASE",
    ):
        return None
    if record.database == GET_CONNECTION:
        return None
    if MASK in record.database:
        raise OrchUsage(
            f"run {record.run} had the database {record.database}, whose password is not kept",
            "give it again: --database URL",
        )
    return record.database


def _again(context: Context, plan: Plan, database: str | None) -> str:
    """The line to type to go on: secrets have to be given again."""
    words = ["orch", *(["-C", context.folder] if context.folder else []), "run", "--resume"]
    bounds = [bound for step in plan.steps for bound in step.arguments if bound.param.is_secret]
    for flag in dict.fromkeys(bound.param.flag for bound in bounds if bound.origin.startswith("-")):
        words += [flag, "VALUE"]
    if database is not None and MASK in masked_url(database):
        words += ["--database", masked_url(database)]
    return shlex.join(words)


def _say_nothing_to_do_documents(
    context: Context, plan: Plan, *, as_json: bool, dry_run: bool
) -> int:
    """Nothing is stale, or nothing is left: said, and well."""
    console = context.console
    if as_json and dry_run:
        console.out(
            json.dumps({"version": 1, "tools": [], "fresh": _names(plan), "warnings": []}) + "\n"
        )
    elif as_json:
        for document in nothing_to_do_documents(plan):
            console.out(json.dumps(document) + "\n")
    else:
        console.out(all_fresh_text(len(plan.fresh)) if plan.fresh else f"{plan.intro}\n")
    console.problems(plan.warnings)
    return ExitCode.OK


def _names(plan: Plan) -> list[str]:
    return [tool.name for tool in plan.fresh]


def _show_plan(
    context: Context,
    view: ProjectView,
    plan: Plan,
    freshness: Mapping[str, Freshness],
    *,
    as_json: bool,
    verbose: bool,
) -> int:
    console = context.console
    if as_json:
        console.out(json.dumps(plan_document(plan, view.registry, freshness)) + "\n")
    else:
        console.out(plan_text(plan, view.registry, console.out_style, freshness, verbose=verbose))
        if verbose:
            given = uses_get_connection(view.registry, view.project)
            console.out(settings_text(view.project, console.out_style, has_connection=given))
    console.problems(few((*view.warnings, *plan.warnings)))
    return ExitCode.OK


def _refusal(error: OrchError, *, dry_run: bool) -> str:
    """stdout holds complete JSON even where nothing ran."""
    problems = [problem_json(problem) for problem in error.problems]
    if dry_run:
        return json.dumps({"version": 1, "tools": [], "warnings": [], "errors": problems})
    return json.dumps(
        {
            "event": "run_finished",
            "run": None,
            "status": "failed",
            "exit_code": int(error.exit_code),
            "counts": {},
            "errors": problems,
        }
    )
