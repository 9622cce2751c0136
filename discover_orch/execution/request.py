"""From what was asked of a run to its plan, for the command line and for Python code alike, and what must hold before
the plan can run: the lock, a database that can be opened, workers that can share it. Starts no tool.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.executor import executor_hint, is_executor
from discover_orch.config.file import find_line
from discover_orch.config.project import INSIDE_VARIABLE, Project
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.model.conventions import VARIABLE_PREFIX
from discover_orch.model.database_url import CannotOpen, SqliteUrl, read_database_url
from discover_orch.model.errors import Location, Problem, UsageError
from discover_orch.planning import project_view
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.project_warnings import check_sharing, check_tokens, opens_database
from discover_orch.state.lock import ProjectLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.planning.remaining_work import RemainingWork


class Request(Struct, frozen=True, kw_only=True):
    """`resume` is the number of the run to resume, "" for the latest that did not finish. `has_database`: the database
    of the project is one that was given for this run."""

    targets: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    values: GivenParams = GivenParams()
    changed: bool = False
    resume: str | None = None
    has_database: bool = False


class RunSettings(Struct, frozen=True, kw_only=True):
    """At most `jobs` tools at a time; `max_failures` end the run. `is_raw`: tools write to the terminal themselves.
    `post_mortem`: a failed tool is debugged there. `all_frames`: tracebacks show libraries too. `predicts`: the events
    say how much time is left, which takes time itself."""

    jobs: int = 1
    max_failures: int | None = None
    is_raw: bool = False
    post_mortem: bool = False
    all_frames: bool = False
    predicts: bool = True


class ProjectBusy(UsageError):
    """Another run of the project is in progress."""


def with_executor(view: ProjectView, executor: str | None, given: str) -> ProjectView:
    """With the executor that was asked for, if one was: `given` is how. Raises UsageError."""
    if executor is None:
        return view
    if not is_executor(executor):
        message = f"{given} is not an executor"
        raise UsageError.of("usage", message, executor_hint(executor))
    return replace(view, project=replace(view.project, executor=executor))


def acquire_lock(root: str, *, waits: Callable[[str], None] | None, hint: str) -> ProjectLock:
    """The lock of the project, for one run. If another run holds it, calls `waits` with a sentence and waits for its
    end, or raises ProjectBusy with `hint`."""
    lock = ProjectLock(root)
    is_inside = os.environ.get(INSIDE_VARIABLE) == root
    holder = lock.acquire()
    if holder is not None and waits is not None and not is_inside:
        waits(holder.sentence)
        holder = lock.acquire(waits=True)
    if holder is None:
        return lock
    if is_inside:
        hint = "a tool of that run started this command: name all tools in one orch run instead"
    raise ProjectBusy.of("locked", holder.sentence, hint)


def plan_request(view: ProjectView, request: Request) -> Plan:
    """What was asked for, before it is known what is left of it. Raises OrchError."""
    if request.resume is not None:
        return Plan()
    return project_view.plan_targets(
        view,
        request.targets,
        exclude=request.exclude,
        values=request.values,
        is_partial=request.changed,
    )


def find_remaining(
    view: ProjectView, request: Request, plan: Plan, *, asks_database: bool = False
) -> tuple[ProjectView, Plan, RemainingWork]:
    """The part of the plan that has to run, or what another run left, and the project: a resumed run may have used
    another database. `asks_database`: a run follows, so tables on a server are looked for. Raises OrchError."""
    from discover_orch.planning.remaining_work import RemainingWork  # not needed by a plain run

    record = None
    if request.resume is not None:
        from discover_orch.planning.resume import (
            find_recorded_database,
            find_run_to_resume,
            plan_resumed,
        )

        record = find_run_to_resume(view.project.root, request.resume or None)
        if not request.has_database:
            hint = f"give it again with --database URL, or set {VARIABLE_PREFIX}DATABASE"
            if request.values.is_python:
                hint = "give it again: Project(root, database=URL)"
            url = find_recorded_database(record, view.project.database, hint)
            view = view if url is None else project_view.with_database(view, url)
    work = RemainingWork(view, request.values)
    if asks_database:  # also where nothing is left to run
        work.memory.settle_moves()
    if asks_database and (tables := work.find_tables_left()):
        from discover_orch.execution.ledger_query import list_tables

        if (found := list_tables(view.project, view.registry)) is not None:
            work.note_tables(tables, found)
    if request.resume is not None:
        plan = plan_resumed(record, work)
    elif request.changed:
        plan = work.keep_stale(plan)
    return view, plan, work


def with_new_sources(view: ProjectView) -> ProjectView:
    """The project after a wait, in which files may have changed."""
    return replace(view, sources=SourceFiles(view.project))


def refuse_plan(plan: Plan, view: ProjectView, jobs: int) -> None:
    """Raises UsageError for a database URL that orch cannot open, for tokens that do not exist, and for what several
    workers or one transaction cannot share."""
    tools, registry, project = [step.tool for step in plan.steps], view.registry, view.project
    if opens_database(tools, registry, project):
        try:
            if not isinstance(read_database_url(project.database), SqliteUrl):
                from discover_orch.databases.opening import check_url  # SQLite needs no driver

                check_url(project.database)
        except CannotOpen as error:
            raise UsageError(_bad_url(project, error)) from None
    problems = check_tokens(tools, project) or check_sharing(tools, registry, project, jobs)
    if problems:
        raise UsageError(*problems)


def _bad_url(project: Project, error: CannotOpen) -> Problem:
    """With the place of the URL: its line in the configuration, or the name of the variable."""
    origin, message, place = project.database_origin, str(error), None
    if origin == project.config:
        place = Location(path=origin, line=find_line(project, ("database",)))
    elif not origin.startswith("-"):
        message += f" (from {origin})"
    return Problem(code="database", message=message, hint=error.hint, location=place)
