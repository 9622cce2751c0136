"""Which executor a run uses, and the pool of the steps that run elsewhere.

Nothing here is imported for a run on this machine alone. What cannot be used is refused before the run begins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

from msgspec import Struct

from discover_orch.config.executor import dask_address
from discover_orch.config.file import name_table
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.execution.events import Event
from discover_orch.execution.executors.local import LocalExecutor
from discover_orch.execution.executors.pool import WorkerPool
from discover_orch.execution.executors.remote import FarSide, RemoteWorker, RunContext
from discover_orch.model.errors import Problem, UsageError
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Plan
from discover_orch.staleness.current import takes_connection
from discover_orch.worker.protocol import Prepare


class OpenFarSide(Struct, frozen=True, kw_only=True):
    """A far side that can be used, and how many steps may run there at once. `shown` is for the header of the run."""

    far: FarSide
    is_remote: bool
    jobs: int
    shown: str


def open_far_side(
    plan: Plan,
    registry: Registry,
    project: Project,
    *,
    jobs: int,
    has_jobs: bool,
    is_guest: bool = False,
) -> OpenFarSide:
    """The far side of `project.executor`, which is not local. Without `has_jobs` the user has not said how many tools
    may run at once. A guest leaves the process of its program as it is. Raises UsageError."""
    address = dask_address(project.executor)
    is_remote = bool(address) or project.command.is_remote
    _refuse(registry, project, [step.tool for step in plan.steps], is_remote=is_remote)
    if not address:
        from discover_orch.execution.executors.command import open_command

        side = open_command(project)
        return OpenFarSide(far=side, is_remote=is_remote, jobs=jobs, shown=side.shown)
    try:
        from discover_orch.execution.executors.dask import open_dask
    except ModuleNotFoundError as error:
        _stop(
            f"--executor {project.executor} needs the package distributed ({error})",
            "pip install 'discover-orch[dask]'",
        )

    dask = open_dask(address, is_guest=is_guest)
    jobs = min(jobs, dask.threads) if has_jobs else dask.threads
    return OpenFarSide(far=dask, is_remote=True, jobs=jobs, shown=f"dask: {address}")


def _refuse(registry: Registry, project: Project, tools: list[Tool], *, is_remote: bool) -> None:
    if project.transaction == "run":
        _stop(
            f'transaction = "run" cannot be combined with the executor {project.executor}',
            "one transaction belongs to one connection: use --executor local with one worker",
        )
    takes = next((one for one in tools if takes_connection(one, registry)), None)
    if takes is None or uses_get_connection(registry, project):
        return
    if is_remote and project.database.startswith(("sqlite:", "duckdb:")):
        _stop(
            f"{takes.name} uses {project.database}, a local file, and workers on other machines cannot share it",
            _local_file_hint(project),
        )


def _local_file_hint(project: Project) -> str:
    hint = "use a database server such as PostgreSQL, or --executor local"
    if dask_address(project.executor):
        return hint
    program = os.path.basename(project.command.prefix[0])
    table = name_table(project, "command")
    return f"{hint}; if {program} runs the tools on this machine, write local = true in {table}"


def _stop(message: str, hint: str) -> NoReturn:
    raise UsageError(Problem(code="executor", message=message, hint=hint))


class RemotePool(WorkerPool):
    """The steps of a run that are carried out on the far side, at most `size` at a time."""

    def __init__(self, side: OpenFarSide, prepare: Prepare, context: RunContext) -> None:
        def start() -> LocalExecutor:
            return LocalExecutor(prepare, start=lambda: RemoteWorker(side.far, context))

        super().__init__(start(), start, side.jobs)
        self._far = side.far
        self._is_finishing = self._is_closed = False

    @property
    def is_over(self) -> bool:
        return self._is_closed

    def finish(self) -> None:
        self._is_finishing = True
        super().finish()

    def events(self, timeout: float, wake: int) -> Iterator[Event]:
        if not super().is_over:
            yield from super().events(timeout, wake)
        if self._is_finishing and super().is_over and not self._is_closed:
            self._is_closed = True
            self._far.close()


def build_pool(
    side: OpenFarSide,
    prepare: Prepare,
    plan: Plan,
    registry: Registry,
    sources_of: Callable[[Tool], Mapping[str, str]],
) -> RemotePool:
    tools = [step.tool for step in plan.steps]
    context = RunContext(
        run=os.urandom(12).hex(),
        is_remote=side.is_remote,
        sources={tool.module: sources_of(tool) for tool in tools},
        with_connection=frozenset(t.module for t in tools if takes_connection(t, registry)),
    )
    return RemotePool(side, prepare, context)
