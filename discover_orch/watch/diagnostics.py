"""How watching will work on this machine: what `orch check --watch` tells.

In: a `WatchedProject`. Out: an `WatchDiagnostics`. It subscribes for a moment as a watch would, and has a spare
import what the tools import from elsewhere, to see how long that takes; none of the project's modules are imported,
and no tool runs.
"""

from __future__ import annotations

import os
import time

from msgspec import Struct

from discover_orch.execution import session
from discover_orch.execution.supervisor import Supervisor
from discover_orch.execution.warm_worker import close_worker
from discover_orch.execution.worker_exit import WorkerDied
from discover_orch.model.errors import Problem
from discover_orch.watch.files.filesystems import (
    Limits,
    count_folders,
    filesystem_of,
    read_limits,
    sends_events,
)
from discover_orch.watch.files.watcher import Watcher
from discover_orch.watch.project_state import WatchedProject
from discover_orch.worker.protocol import Preload, Preloaded

#: Seconds that imports may take altogether before they are given up.
PATIENCE = 60.0


class WatchedFolder(Struct, frozen=True, kw_only=True):
    """`inside` is how many folders are listened to for it, itself and all below where it `is_deep`."""

    path: str
    is_deep: bool
    filesystem: str
    sends_events: bool
    inside: int


class WatchDiagnostics(Struct, frozen=True, kw_only=True):
    """`look` is how many seconds one look at all files takes, `interval` how many lie between two of them. `observed`
    are how many data files count because tools were seen to read or to miss them, `listed` how many folders.

    `imports` are (module, seconds, what went wrong) of what a spare imports ahead, the slowest first.
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


def find_outlook(
    watched: WatchedProject, *, must_poll: bool = False, preload: tuple[str, ...] | None = None
) -> WatchDiagnostics:
    """`preload` None: what the watched tools import; else these modules."""
    project = watched.view.project
    deep, flat = watched.watch_set.folders
    watcher = Watcher(project.root, lambda: None, must_poll=must_poll)
    try:
        watcher.watch(deep, flat)
        warnings = list(watcher.check())
        mode, interval = watcher.mode, watcher.interval(len(watched.snapshot))
    finally:
        watcher.close()
    started = time.perf_counter()
    watched.snapshot.look()
    look = time.perf_counter() - started
    wanted = watched.preload() if preload is None else tuple((name, ()) for name in preload)
    order = Preload(
        root=project.root, pythonpath=session.absolute_pythonpath(project), modules=wanted
    )
    imports, more = _try_imports(order)
    return WatchDiagnostics(
        folders=tuple(_folder(project.root, path, is_deep=path in deep) for path in (*deep, *flat)),
        files=len(watched.snapshot),
        tools=len(watched.targets),
        mode=mode,
        look=look,
        interval=interval,
        limits=read_limits(),
        imports=tuple(sorted(imports, key=_slowest)),
        warnings=(*warnings, *more),
        observed=watched.watch_set.observed[0],
        listed=watched.watch_set.observed[1],
    )


def _folder(root: str, path: str, *, is_deep: bool) -> WatchedFolder:
    full = os.path.normpath(os.path.join(root, path))
    filesystem = filesystem_of(full)
    return WatchedFolder(
        path=path or ".",
        is_deep=is_deep,
        filesystem=filesystem,
        sends_events=sends_events(filesystem),
        inside=count_folders(full) if is_deep else 1,
    )


def _try_imports(order: Preload) -> tuple[tuple[tuple[str, float, str], ...], list[Problem]]:
    """In a worker that then ends; what they print is lost, and what stands in the way is a doubt."""
    worker = Supervisor.start()
    worker.send(order)
    deadline = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            for event in worker.events(0.5):
                if isinstance(event, Preloaded):
                    return event.modules, _shadowed(event.shadowed)
                if isinstance(event, WorkerDied):
                    return (), [_doubt(f"the imports ahead end the process: it {event.sentence}")]
        return (), [_doubt(f"the imports ahead take longer than {PATIENCE:g} s")]
    finally:
        close_worker(worker)


def _shadowed(names: tuple[str, ...]) -> list[Problem]:
    if not names:
        return []
    return [_doubt(f"the project has modules named as installed ones: {', '.join(names)}")]


def _doubt(message: str) -> Problem:
    return Problem(
        code="cold-start",
        message=message,
        hint="every run starts from nothing then; [tool.orch.watch] preload names what to import "
        "ahead, or is false",
        severity="warning",
    )


def _slowest(row: tuple[str, float, str]) -> float:
    return -row[1]
