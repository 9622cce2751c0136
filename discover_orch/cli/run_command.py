"""`orch run`: runs a plan, or shows it with `--dry-run`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from discover_orch.cli.commands_with_tools import ToolsCommand, tools_arguments
from discover_orch.cli.console import Console, is_on_github
from discover_orch.cli.options import (
    POSITIVE,
    RUN,
    Context,
    OrchUsage,
    changed_since_option,
    common_options,
    display_options,
    if_busy_option,
    output_options,
    take_files,
)
from discover_orch.config.settings import WORDS
from discover_orch.execution.event_documents import not_started, nothing_to_do
from discover_orch.execution.request import (
    ReadyRun,
    Request,
    RunSkipped,
    look_ahead,
    open_run,
)
from discover_orch.model import documents
from discover_orch.model.conventions import PARAM_PREFIX, VARIABLE_PREFIX
from discover_orch.model.database_url import masked_url
from discover_orch.model.errors import ExitCode, OrchError, Problem
from discover_orch.model.secret_masking import MASK, is_secret_value
from discover_orch.planning.dataflow_checks import listed
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.render.plan import build_plan_document, plan_text, settings_text
from discover_orch.render.problems import first_few
from discover_orch.state.journal import find_runs, has_ended, read_record

if TYPE_CHECKING:
    from discover_orch.cli.report_run import RunOutputs
    from discover_orch.render.run import DisplayOptions, Resume


@click.command("run", cls=ToolsCommand, short_help="Run tools, in order.")
@click.option(
    "-n",
    "--dry-run",
    is_flag=True,
    help="Show what would run, in which order and why. Run nothing.",
)
@tools_arguments
@click.option(
    "--changed",
    is_flag=True,
    help="Run only stale targets, and the targets downstream of them.",
)
@changed_since_option
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    type=RUN,
    metavar="[RUN]",
    help="Resume the latest run that failed or was stopped, or the run with this number.",
)
@click.option(
    "--rebuild",
    is_flag=True,
    help="Remove the tables and files that the tools made before they run.",
)
@click.option(
    "--no-checks",
    is_flag=True,
    help="Run without the checks of the tools, which are stale then (not checked).",
)
@click.option("-x", "--exitfirst", is_flag=True, help="Stop at the first tool that fails.")
@click.option(
    "--maxfail",
    type=POSITIVE,
    metavar="N",
    help="Stop when N tools have failed.",
)
@click.option(
    "--jobs",
    type=POSITIVE,
    metavar="N",
    help="Run up to N tools at the same time, each in a worker process.",
)
@click.option(
    "--executor",
    metavar="NAME",
    shell_complete=lambda _, __, start: [name for name in WORDS if name.startswith(start)],
    help="Where tools run: local, dask=ADDRESS (of a scheduler) or command.",
)
@click.option(
    "--pdb",
    is_flag=True,
    help="Open the debugger where a tool fails. breakpoint() works without it.",
)
@if_busy_option
@output_options
@display_options(
    "live",
    "fail",
    "none",
    "raw",
    quiet="Show only failures and the summary.",
    verbose="Also show reasons, parameter values and notes.",
)
@common_options
def command(
    context: Context,
    view: ProjectView,
    request: Request,
    *,
    dry_run: bool,
    on_failure: str | None,
    shown: DisplayOptions,
    **given: Any,
) -> int:
    """Run tools, in order.

    A target is a stage, a tool, a file, a group, or a glob such as `pipeline.*`. `+x` adds all tools
    upstream of x, and `x+` all tools downstream.
    """
    files = take_files(given)
    reports: RunOutputs | None = None
    if not dry_run and (files or on_failure is not None or is_on_github()):
        from discover_orch.cli.report_run import RunOutputs

        reports = RunOutputs(context.console, view.project.root, files, on_failure)
    try:
        request = _with_options(request, shown, **given)
        if dry_run:
            return show_plan(context, look_ahead(view, request), shown)
        with open_run(view, request, context.console.problems) as ready:
            return _run(context, ready, shown, reports)
    except OrchError as error:
        code, is_skipped = int(error.exit_code), isinstance(error, RunSkipped)
        if shown.as_json:  # complete JSON, although nothing ran
            targets = request.targets
            show_refused(context.console, error.problems, code, targets, dry_run=dry_run)
        if reports is not None and not is_skipped:
            reports.refuse(request.targets, error.problems, code)
        raise
    finally:
        if reports is not None:  # without the lock: the command may run something
            reports.end()


def _run(
    context: Context,
    ready: ReadyRun,
    shown: DisplayOptions,
    reports: RunOutputs | None,
) -> int:
    if reports is not None:
        reports.check()
    context.console.problems(_find_killed(ready))
    if not ready.plan.steps:
        return show_nothing_left(context, ready.plan, reports, as_json=shown.as_json)
    from discover_orch.cli.show_run import run_and_show

    resume = _find_resume(context, ready.plan, ready.request.database)
    return run_and_show(context, ready, shown, resume, reports)


def _find_killed(ready: ReadyRun) -> tuple[Problem, ...]:
    """That the run before this one was killed, which could not say so itself. A resumed run says it otherwise."""
    root = ready.view.project.root
    latest = next(iter(find_runs(root)), "")
    if not latest or ready.request.resume is not None or has_ended(root, latest):
        return ()
    record = read_record(root, latest)
    if record is None or record.status != "killed":
        return ()
    # The database may have said meanwhile how they ended.
    names = [
        one.name
        for one in record.tools
        if one.status == "unknown" or (one.error and one.error.kind == "crash")
    ]
    running = f" while {listed(names)} ran" if names else ""
    message = f"run {latest} was killed{running}"
    hint = f"orch history {latest} shows it"
    return (Problem(code="killed-run", message=message, hint=hint, severity="warning"),)


def _with_options(
    request: Request,
    shown: DisplayOptions,
    *,
    exitfirst: bool,
    maxfail: int | None,
    pdb: bool,
    no_checks: bool,
    **asked: Any,
) -> Request:
    """`asked` are fields of the request. Raises UsageError for options that cannot be combined."""
    is_raw = shown.output == "raw"
    if shown.as_json and is_raw:
        raise OrchUsage(
            "--json cannot be combined with --output raw: the output of tools would mix with the JSON lines",
            "leave one of them out",
        )
    return replace(
        request,
        max_failures=1 if exitfirst else maxfail,
        is_raw=is_raw,
        post_mortem=pdb,
        all_frames=shown.verbose,
        is_unchecked=no_checks,
        **asked,
    )


def _find_resume(context: Context, plan: Plan, database: str | None) -> Resume:
    """The command has no placeholders: pasted as it is, it would give them to the tools."""
    from discover_orch.render.run import Resume

    words = ["orch", *(["-C", context.folder] if context.folder else []), "run", "--resume"]
    variables: dict[str, str] = {}  # by the option that was typed; "" if no variable does the same
    for step in plan.steps:
        for bound in step.arguments:
            if bound.is_secret and bound.origin.startswith("-"):
                variables[bound.param.flag] = PARAM_PREFIX + bound.param.name.upper()
        secret = [name for name, text in step.extra.items() if is_secret_value(name, text)]
        variables.update((f"-p {name}", "") for name in secret)
    if database is not None and MASK in masked_url(database):
        variables["--database"] = f"{VARIABLE_PREFIX}DATABASE"
    again = ""
    if variables:
        again = f"give {listed([*variables], len(variables))} again"
        if all(variables.values()):
            again += f", or set {listed([*variables.values()], len(variables))}"
        again += ": secrets are not stored"
    return Resume(command=shlex.join(words), again=again)


if TYPE_CHECKING:
    from discover_orch.cli.report_run import RunOutputs
    from discover_orch.planning.parallel import Waits
    from discover_orch.render.run import DisplayOptions


def show_nothing_left(
    context: Context, plan: Plan, outputs: RunOutputs | None = None, *, as_json: bool
) -> int:
    """Nothing is stale, or nothing is left to resume, which is a success."""
    console = context.console
    if outputs is not None:
        outputs.note_nothing_to_do(plan)
    if as_json:
        console.json_lines(nothing_to_do(plan))
    else:
        console.out(_nothing_left_text(plan))
    console.problems(plan.warnings)
    return ExitCode.OK


def _nothing_left_text(plan: Plan) -> str:
    from discover_orch.render.status import all_fresh_text

    return f"{plan.intro}\n" if plan.intro else all_fresh_text(plan.fresh)


def show_plan(context: Context, ready: ReadyRun, shown: DisplayOptions) -> int:
    """What `ready` would run, and why; it was looked ahead at."""
    console, view, plan = context.console, ready.view, ready.plan
    registry, freshness = view.registry, {}
    if plan.steps and ready.work is not None:
        freshness = ready.work.freshness(plan.steps)
    waits: tuple[Waits, ...] = ()
    if ready.jobs > 1 and plan.steps:
        from discover_orch.planning.parallel import find_planned_waits

        waits = find_planned_waits(plan, view)
    document = build_plan_document(plan, registry, freshness, waits)
    if shown.as_json:
        console.json(document)
    elif not plan.steps:
        console.out(_nothing_left_text(plan))
    else:
        from discover_orch.render.progress import step_names

        text = plan_text(
            document,
            console.out_style,
            names=step_names(plan.steps),
            intro=plan.intro,
            verbose=shown.verbose,
            jobs=ready.jobs,
        )
        settings = settings_text(registry, view.project, console.out_style)
        console.out(text + settings if shown.verbose else text)
    warnings = view.warnings if plan.steps else ()
    console.problems(first_few((*warnings, *plan.warnings)))
    return ExitCode.OK


def show_refused(
    console: Console,
    problems: Sequence[Problem],
    code: int,
    targets: Sequence[str],
    *,
    dry_run: bool,
) -> None:
    """Complete JSON, although nothing ran."""
    errors = tuple(one for one in problems if one.severity == "error")
    warnings = tuple(one for one in problems if one.severity == "warning")
    if dry_run:
        console.json(documents.Plan(warnings=warnings, errors=errors))
    elif code == ExitCode.OK:
        console.json_lines(not_started(targets, "skipped", reason=warnings[0].message))
    else:
        console.json_lines(not_started(targets, "failed", code, errors=errors))
