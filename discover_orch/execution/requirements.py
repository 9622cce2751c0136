"""What must hold before a plan can run: its database can be opened, and its workers can share it. Starts nothing."""

from __future__ import annotations

from discover_orch.config.file import find_line
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.database_url import (
    CannotOpen,
    SqliteUrl,
    read_database_url,
)
from discover_orch.model.errors import Location, Problem, UsageError
from discover_orch.planning.parallel import check_sharing, check_tokens, opens_database
from discover_orch.planning.plan import Plan


def refuse_database(plan: Plan, registry: Registry, project: Project) -> None:
    """Raises UsageError for a URL that orch cannot open, if one of the tools takes `conn`."""
    if opens_database([step.tool for step in plan.steps], registry, project):
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
    """Raises UsageError for tokens that do not exist, and for what several workers or one transaction cannot share."""
    tools = [step.tool for step in plan.steps]
    problems = check_tokens(tools, project) or check_sharing(tools, registry, project, jobs)
    if problems:
        raise UsageError(*problems)
