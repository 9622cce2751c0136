"""What must hold before a plan can run: its database can be opened, and its workers can share it. Starts nothing."""

from __future__ import annotations

from discover_orch.config.file import find_line
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.model.database_url import (
    CannotOpen,
    SqliteUrl,
    is_in_memory,
    read_database_url,
)
from discover_orch.model.errors import Location, Problem, UsageError
from discover_orch.planning.parallel import check_tokens
from discover_orch.planning.plan import Plan
from discover_orch.staleness.current import takes_connection


def refuse_database(plan: Plan, registry: Registry, project: Project) -> None:
    """Raises UsageError for a URL that orch cannot open, if one of the tools takes `conn`."""
    if _opens_database(plan, registry, project):
        try:
            if not isinstance(read_database_url(project.database), SqliteUrl):
                from discover_orch.databases.opening import check_url  # SQLite needs no driver

                check_url(project.database)
        except CannotOpen as error:
            raise UsageError(_bad_url(project, error)) from None


def _bad_url(project: Project, error: CannotOpen) -> Problem:
    """With the place of the URL: its line in the configuration, or the name of the variable."""
    origin, message, place = project.database_origin, str(error), None
    if origin == project.config:
        place = Location(path=origin, line=find_line(project, ("database",)))
    elif not origin.startswith("-"):
        message += f" (from {origin})"
    return Problem(code="database", message=message, hint=error.hint, location=place)


def refuse_jobs(plan: Plan, registry: Registry, project: Project, jobs: int) -> None:
    """Raises UsageError for tokens that do not exist, and for several workers that cannot share the database."""
    problems = check_tokens([step.tool for step in plan.steps], project.tokens)
    if problems:
        raise UsageError(*problems)
    if project.transaction == "run":
        _refuse_in_one_transaction(plan, jobs)
    if jobs == 1 or not _opens_database(plan, registry, project):
        return
    if is_in_memory(project.database):
        message = "several workers cannot share a database in memory"
        hint = "run with --jobs 1, or give the database a file: sqlite:///data.db"
        raise UsageError(Problem(code="database", message=message, hint=hint))
    if project.database.startswith("duckdb:"):
        message = (
            "several workers cannot share a DuckDB database: only one process can have it open"
        )
        raise UsageError(Problem(code="database", message=message, hint="run with --jobs 1"))


def _refuse_in_one_transaction(plan: Plan, jobs: int) -> None:
    """What cannot be part of a run that is one transaction."""
    if jobs > 1:
        message = 'several workers cannot share one transaction, and transaction = "run" is set'
        hint = 'run with --jobs 1, or set transaction = "tool"'
        raise UsageError(Problem(code="transaction", message=message, hint=hint))
    for step in plan.steps:
        if step.tool.commits_by_itself:
            message = (
                f'{step.tool.name} has the transaction "none", and transaction = "run" is set: what it commits could '
                "not be rolled back with the run"
            )
            hint = f'leave it out with --exclude {step.tool.name}, or set transaction = "tool"'
            raise UsageError(Problem(code="transaction", message=message, hint=hint))


def _opens_database(plan: Plan, registry: Registry, project: Project) -> bool:
    """Whether a tool takes a connection that orch opens."""
    takes_conn = any(takes_connection(step.tool, registry) for step in plan.steps)
    return takes_conn and not uses_get_connection(registry, project)
