"""How a run is carried out, and the message that prepares a worker for its first step."""

from __future__ import annotations

import os

from msgspec import Struct

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.worker.protocol import Prepare


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


def build_prepare(
    registry: Registry, project: Project, settings: RunSettings | None = None
) -> Prepare:
    settings = settings or RunSettings()
    conf = registry.conf
    resources = conf.resources if conf else ()
    # Those arguments of a resource that are resources themselves; the others keep their defaults.
    offered = {"conn", *(one.name for one in resources)}
    return Prepare(
        root=project.root,
        pythonpath=absolute_pythonpath(project),
        database=project.database,
        transaction=project.transaction,
        orchconf=os.path.join(project.root, conf.path) if conf else None,
        has_connection=uses_get_connection(registry, project),
        resources={
            one.name: tuple(name for name, _ in one.needs if name in offered) for one in resources
        },
        raw_output=settings.is_raw,
        post_mortem=settings.post_mortem,
        all_frames=settings.all_frames,
        observes=True,
        table_version_rows=project.table_version_rows,
        # The worker may be older than these variables.
        environment=dict(os.environ) if project.env_file else None,
    )


def absolute_pythonpath(project: Project) -> tuple[str, ...]:
    return tuple(
        os.path.normpath(os.path.join(project.root, entry)) for entry in project.pythonpath
    )
