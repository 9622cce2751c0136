"""The lock of a project with a ledger in PostgreSQL: one run at a time, also from several machines."""

from __future__ import annotations

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.model.database_url import CannotOpen, PostgresUrl, read_database_url
from discover_orch.model.errors import Problem, UsageError
from discover_orch.planning.plan import Plan
from discover_orch.staleness.current import takes_connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.databases.advisory_lock import AdvisoryLock


def acquire_shared_lock(
    plan: Plan, registry: Registry, project: Project, *, waits: bool, hint: str
) -> SharedLock | None:
    """None for other databases, and where no tool takes conn. If another run holds it, waits, or raises UsageError
    with `hint`."""
    if not project.ledger or uses_get_connection(registry, project):
        return None
    if not isinstance(read_database_url(project.database), PostgresUrl):
        return None
    if not any(takes_connection(step.tool, registry) for step in plan.steps):
        return None
    from discover_orch.databases.advisory_lock import AdvisoryLock  # few projects need it

    lock = AdvisoryLock(project.database, project.ledger)
    try:
        holder = lock.acquire(waits=waits)
    except CannotOpen as error:
        raise UsageError(Problem(code="database", message=str(error), hint=error.hint)) from None
    if holder:
        lock.release()
        message = f'another run of the project "{project.ledger}" is in progress: {holder}'
        raise UsageError(Problem(code="locked", message=message, hint=hint))
    return SharedLock(lock)


class SharedLock:
    """A lock that is held."""

    def __init__(self, lock: AdvisoryLock) -> None:
        self._lock = lock

    def find_loss(self, resume: str) -> Problem | None:
        """None while it is held. If it was lost and could be taken again, a warning; if another run has it now, an
        error, and the run must end. `resume` says how to continue then."""
        if not self._lock.has_lost():
            return None
        ended = "the database ended the connection that held the lock of this project"
        if self._lock.acquire_again():
            return Problem(
                code="lock-lost",
                message=f"{ended}; orch has taken it again",
                hint="another run may have been in progress for a moment",
                severity="warning",
            )
        message = f"{ended}, and it cannot be taken again: the run was stopped"
        return Problem(code="lock-lost", message=message, hint=f"resume with: {resume}")

    def release(self) -> None:
        self._lock.release()
