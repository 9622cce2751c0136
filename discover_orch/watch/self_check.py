"""How watching works on this machine: what `orch check --watch` shows.

Subscribes for a moment as a watch would, and has a worker preload what the tools import, to measure how long that
takes. Imports no module of the project, and runs no tool.
"""

from __future__ import annotations

import os
import time

from msgspec import Struct

from discover_orch.config.file import name_table
from discover_orch.config.project import Project
from discover_orch.execution.supervisor import Supervisor
from discover_orch.execution.warm_worker import discard_worker
from discover_orch.execution.worker_shutdown import WorkerDied
from discover_orch.model.errors import Problem
from discover_orch.watch.file_events import Watcher
from discover_orch.watch.project import WatchedProject
from discover_orch.watch.subscriptions import filesystem_of, sends_events
from discover_orch.worker.protocol import Preload, Preloaded

#: Seconds after which the imports are given up.
IMPORT_TIMEOUT = 60.0
_LIMITS = "/proc/sys/fs/inotify"


class Limits(Struct, frozen=True, kw_only=True):
    """Limits of inotify for one user: watches, instances, and events in the queue of one instance. None is unknown,
    as on other systems than Linux."""

    watches: int | None = None
    instances: int | None = None
    queue: int | None = None


class WatchedFolder(Struct, frozen=True, kw_only=True):
    """`inside` is the number of folders subscribed to: the folder itself, and all below where it `is_deep`."""

    path: str
    is_deep: bool
    filesystem: str
    sends_events: bool
    inside: int


class WatchDiagnostics(Struct, frozen=True, kw_only=True):
    """`look`: seconds that comparing all files takes; `interval`: seconds between two comparisons.

    `observed`: the number of data files watched because tools were seen to read or to miss them; `listed`: the
    number of folders watched because tools listed them. `imports`: (module, seconds, error) of what is imported
    ahead, the slowest first.
    """

    folders: tuple[WatchedFolder, ...]
    files: int
    tools: int
    mode: str
    look: float
    interval: float
    limits: Limits
    imports: tuple[tuple[str, float, str], ...]
    warnings: tuple[Problem, ...]
    observed: int = 0
    listed: int = 0


def diagnose(
    watched: WatchedProject, *, must_poll: bool = False, preload: tuple[str, ...] | None = None
) -> WatchDiagnostics:
    """`preload` None: what the watched tools import; else these modules."""
    project = watched.view.project
    deep, flat = watched.files.folders()
    watcher = Watcher(project.root, lambda: None, must_poll=must_poll)
    try:
        watcher.watch(deep, flat)
        warnings = watcher.drain_problems()
        mode, started = watcher.mode, time.perf_counter()
        watched.files.find_changed()
        look = time.perf_counter() - started
        interval = watcher.interval(look)
    finally:
        watcher.close()
    imports, more = _try_imports(watched.preload(preload), project)
    return WatchDiagnostics(
        folders=tuple(_folder(project.root, path, is_deep=path in deep) for path in (*deep, *flat)),
        files=len(watched.files),
        tools=len(watched.targets),
        mode=mode,
        look=look,
        interval=interval,
        limits=read_limits(),
        imports=tuple(sorted(imports, key=lambda row: -row[1])),
        warnings=(*warnings, *more),
        observed=len(watched.files.paths.data),
        listed=len(watched.files.paths.listed),
    )


def read_limits() -> Limits:
    """The limits of the whole machine; a container may have lower ones."""
    return Limits(
        watches=_read_number("max_user_watches"),
        instances=_read_number("max_user_instances"),
        queue=_read_number("max_queued_events"),
    )


def _read_number(name: str) -> int | None:
    try:
        with open(f"{_LIMITS}/{name}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _folder(root: str, path: str, *, is_deep: bool) -> WatchedFolder:
    full = os.path.normpath(os.path.join(root, path))
    filesystem = filesystem_of(full)
    return WatchedFolder(
        path=path or ".",
        is_deep=is_deep,
        filesystem=filesystem,
        sends_events=sends_events(filesystem),
        inside=sum(1 for _ in os.walk(full)) if is_deep else 1,
    )


def _try_imports(
    order: Preload, project: Project
) -> tuple[tuple[tuple[str, float, str], ...], list[Problem]]:
    """In a worker that then ends; its output is dropped, and failures become warnings."""
    worker = Supervisor.start()
    worker.send(order)
    deadline = time.monotonic() + IMPORT_TIMEOUT
    try:
        while time.monotonic() < deadline:
            for event in worker.events(0.5):
                if isinstance(event, Preloaded):
                    return event.modules, _shadowed(event.shadowed, project)
                if isinstance(event, WorkerDied):
                    message = f"preloading ends the process: it {event.sentence}"
                    return (), [_warning(message, project)]
        return (), [_warning(f"preloading takes longer than {IMPORT_TIMEOUT:g} s", project)]
    finally:
        discard_worker(worker)


def _shadowed(names: tuple[str, ...], project: Project) -> list[Problem]:
    if not names:
        return []
    shown = ", ".join(names)
    return [
        _warning(f"modules of the project have the names of installed modules: {shown}", project)
    ]


def _warning(message: str, project: Project) -> Problem:
    return Problem(
        code="cold-start",
        message=message,
        hint=f"every run then starts without preloaded imports; set preload in {name_table(project, 'watch')} to the "
        "modules to preload, or to false",
        severity="warning",
    )
