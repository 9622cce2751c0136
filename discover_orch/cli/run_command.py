"""`orch run`: runs a plan, or shows it with `--dry-run`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from discover_orch.cli.commands_with_tools import ToolsCommand, read_values, view_of
from discover_orch.cli.console import is_on_github
from discover_orch.cli.options import (
    RUN,
    Context,
    OrchUsage,
    OutputOptions,
    ToolArguments,
    WholeNumber,
    acquire_lock,
    common_options,
    display_options,
    output_options,
    settle_killed_run,
    tools_arguments,
    wait_option,
)
from discover_orch.cli.show_plan import error_documents, show_nothing_left, show_plan
from discover_orch.config.executor import WORDS
from discover_orch.config.project import PARAM_PREFIX
from discover_orch.execution.request import (
    ProjectBusy,
    Request,
    find_remaining,
    plan_request,
    refuse_plan,
    with_executor,
    with_new_sources,
)
from discover_orch.execution.run_events import skipped_run_documents
from discover_orch.model.conventions import VARIABLE_PREFIX
from discover_orch.model.database_url import masked_url
from discover_orch.model.errors import ExitCode, OrchError
from discover_orch.model.parameter import MASK, is_secret_value
from discover_orch.planning.dataflow_checks import listed
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView

if TYPE_CHECKING:
    from discover_orch.cli.run_outputs import RunOutputs
    from discover_orch.render.run import DisplayOptions, Resume
    from discover_orch.staleness.reason_sentences import Freshness
    from discover_orch.state.lock import ProjectLock


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
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    type=RUN,
    metavar="[RUN]",
    help="Resume the latest run that failed or was stopped, or the run with this number.",
)
@click.option("-x", "--exitfirst", is_flag=True, help="Stop at the first tool that fails.")
@click.option(
    "--maxfail",
    type=WholeNumber(),
    metavar="N",
    help="Stop when N tools have failed.",
)
@click.option(
    "--jobs",
    type=WholeNumber(),
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
@wait_option
@click.option(
    "--if-busy",
    type=click.Choice(["fail", "wait", "skip"]),
    help="If another run is in progress: exit with 2, wait for its end, or exit with 0.  [default: fail]",
)
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
    arguments: ToolArguments,
    *,
    dry_run: bool,
    changed: bool,
    resume: str | None,
    exitfirst: bool,
    maxfail: int | None,
    jobs: int | None,
    executor: str | None,
    pdb: bool,
    wait: bool,
    if_busy: str | None,
    outputs: OutputOptions,
    shown: DisplayOptions,
) -> int:
    """Run tools, in order.

    A target is a stage, a tool, a file, a group, or a glob such as `pipeline.*`. `+x` adds all tools
    upstream of x, and `x+` all tools downstream.
    """
    lock: ProjectLock | None = None
    reports = None if dry_run else _find_outputs(context, arguments.view, outputs)
    try:
        if shown.as_json and shown.output == "raw":
            raise OrchUsage(
                "--json cannot be combined with --output raw: the output of tools would mix with the JSON lines",
                "leave one of them out",
            )
        when_busy = _read_busy(wait, if_busy)
        if resume is not None:
            _refuse_targets(arguments, changed=changed)
        request = Request(
            targets=arguments.targets,
            exclude=arguments.exclude,
            values=read_values(arguments),
            changed=changed,
            resume=resume,
            has_database=arguments.database is not None,
        )
        view = with_executor(view_of(arguments), executor, f"--executor {executor}")
        plan = plan_request(view, request)
        if not dry_run:  # before the question what is left, so that no other run changes the answer
            lock = _acquire_lock_or_skip(context, view, request, when_busy, as_json=shown.as_json)
            if lock is None:
                return ExitCode.OK
            view = with_new_sources(view) if when_busy == "wait" else view
        if reports is not None:
            reports.check()
        settle_killed_run(context, view, settles=not dry_run)
        freshness: Mapping[str, Freshness] = {}
        if resume is not None or changed or dry_run:
            view, plan, work = find_remaining(view, request, plan, asks_database=not dry_run)
            freshness = work.freshness(plan.steps) if dry_run and plan.steps else {}
        if not plan.steps:
            return show_nothing_left(context, plan, reports, as_json=shown.as_json, dry_run=dry_run)
        count = _count_jobs(view, jobs, shown, has_debugger=pdb)
        refuse_plan(plan, view, count)
        if dry_run:
            return show_plan(context, view, plan, freshness, shown, count)
        from discover_orch.cli.show_run import run_and_show

        return run_and_show(
            context,
            view,
            plan,
            shown=shown,
            post_mortem=pdb,
            max_failures=1 if exitfirst else maxfail,
            jobs=count,
            has_jobs=jobs is not None or "jobs" in view.project.origins,
            resume=_find_resume(context, plan, arguments.database),
            outputs=reports,
        )
    except OrchError as error:
        code, problems = int(error.exit_code), error.problems
        if shown.as_json:  # complete JSON, although nothing ran
            for document in error_documents(problems, code, arguments.targets, dry_run=dry_run):
                context.console.out(json.dumps(document) + "\n")
        if reports is not None:
            reports.refuse(arguments.targets, problems, code)
        raise
    finally:
        if lock is not None:
            lock.release()
        if reports is not None:  # without the lock: the command may run something
            reports.end()


def _find_outputs(context: Context, view: ProjectView, options: OutputOptions) -> RunOutputs | None:
    """None if the run is reported on the terminal alone."""
    if not (options.is_needed or is_on_github()):
        return None
    from discover_orch.cli.run_outputs import RunOutputs

    return RunOutputs(context.console, options, view.project.root)


def _read_busy(wait: bool, if_busy: str | None) -> str:
    if wait and if_busy not in (None, "wait"):
        raise OrchUsage(
            f"--wait cannot be combined with --if-busy {if_busy}", "--wait means --if-busy wait"
        )
    return "wait" if wait else if_busy or "fail"


def _acquire_lock_or_skip(
    context: Context, view: ProjectView, request: Request, when_busy: str, *, as_json: bool
) -> ProjectLock | None:
    """The lock; None if another run holds it and this one is skipped. Raises ProjectBusy."""
    try:
        return acquire_lock(context, view, waits=when_busy == "wait", option="--if-busy wait")
    except ProjectBusy as busy:
        if when_busy != "skip":
            raise
        said = busy.problems[0].message
        for document in skipped_run_documents(request.targets, said) if as_json else ():
            context.console.out(json.dumps(document) + "\n")
        context.console.err(f"{said}; this one is skipped\n")
        return None


def _count_jobs(
    view: ProjectView, jobs: int | None, shown: DisplayOptions, *, has_debugger: bool
) -> int:
    """The number of workers. A debugger and raw output need the terminal for one of them."""
    if has_debugger or shown.output == "raw":
        option = "--pdb" if has_debugger else "--output raw"
        if view.project.executor != "local":
            raise OrchUsage(
                f"{option} cannot be combined with the executor {view.project.executor}: the tool runs elsewhere",
                "add --executor local",
            )
        if jobs is not None and jobs > 1:
            message = (
                f"--jobs cannot be combined with {option}: only one tool can have the terminal"
            )
            raise OrchUsage(message, "leave one of them out")
        return 1
    return view.project.jobs if jobs is None else jobs


def _refuse_targets(arguments: ToolArguments, *, changed: bool) -> None:
    if arguments.targets or arguments.exclude:
        words = (*arguments.targets, *(f"--exclude {word}" for word in arguments.exclude))
        raise OrchUsage(
            f"--resume cannot be combined with targets: {words[0]}",
            "it runs what is left of a recorded plan; use orch run --resume, or orch run --resume RUN",
        )
    if changed:
        raise OrchUsage("--resume cannot be combined with --changed", "use one of them")


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
