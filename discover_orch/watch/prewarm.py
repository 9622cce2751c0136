"""The warm worker of a watch: what it preloads, and when newly installed packages make it stale.

Never delays a run, and reports nothing.
"""

from __future__ import annotations

from discover_orch.execution import session
from discover_orch.execution.warm_worker import (
    ClaimedWorker,
    WarmWorker,
    WarmWorkerSpec,
    read_installation,
)
from discover_orch.watch.project_state import WatchedProject
from discover_orch.worker.protocol import Preload


class Prewarmer:
    """`preload` None: preload what the tools import; a tuple: these modules, perhaps none."""

    def __init__(self, watched: WatchedProject, preload: tuple[str, ...] | None) -> None:
        self._watched, self._preload = watched, preload
        self._installed = self._candidate = read_installation()
        self._warm_worker = WarmWorker()

    def prepare(self) -> None:
        """Start a worker with the imports wanted now, unless there is one."""
        self._warm_worker.prepare(self._spec())

    def claim(self) -> ClaimedWorker:
        """The warm worker, if there is one with the imports wanted now."""
        return self._warm_worker.claim(self._spec())

    def mark_fatal(self) -> None:
        """The imports wanted now end the process: import nothing ahead."""
        self._warm_worker.mark_fatal(self._spec())

    def is_new(self, reason: str) -> bool:
        """Whether this reason for a cold start has not been reported yet."""
        return bool(self._warm_worker.unless_said(reason))

    def has_new_packages(self) -> bool:
        """Whether packages were installed or removed. Installing takes time, so two calls must see the same."""
        now = read_installation()
        has_changed = now != self._installed and now == self._candidate
        if has_changed:
            self._installed = now
        self._candidate = now
        return has_changed

    def close(self) -> None:
        self._warm_worker.close()

    def _spec(self) -> WarmWorkerSpec:
        project = self._watched.view.project
        preload = self._preload
        modules = (
            self._watched.preload() if preload is None else tuple((name, ()) for name in preload)
        )
        order = Preload(
            root=project.root,
            pythonpath=session.absolute_pythonpath(project),
            modules=modules,
        )
        return WarmWorkerSpec(order=order, installed=self._installed)
