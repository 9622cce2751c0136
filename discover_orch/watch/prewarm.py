"""The spare worker of a watch: which imports it is to have by now, and when the installation makes it stale.

In: what the watched tools import, or the modules that the user names. Out: a spare that is made ready while there is
time, and taken by the next run. It never holds up a run, and tells nothing.
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
    """`preload` None: what the tools import; a tuple: these modules, perhaps none."""

    def __init__(self, watched: WatchedProject, preload: tuple[str, ...] | None) -> None:
        self._watched, self._preload = watched, preload
        self._installed = self._candidate = read_installation()
        self._warm_worker = WarmWorker()

    def prepare(self) -> None:
        """Have a spare with all that is wanted by now, unless there is one."""
        self._warm_worker.prepare(self._wish())

    def take(self) -> ClaimedWorker:
        """The spare, if there is one that fits."""
        return self._warm_worker.take(self._wish())

    def avoid(self) -> None:
        """What is wanted by now ends the process that imports it."""
        self._warm_worker.avoid(self._wish())

    def is_new(self, sentence: str) -> bool:
        """Whether the reason for a cold start has not been told yet."""
        return bool(self._warm_worker.once(sentence))

    def sees_installation(self) -> bool:
        """Whether packages were installed or removed; installing takes its time, so that two looks must agree."""
        now = read_installation()
        is_other = now != self._installed and now == self._candidate
        if is_other:
            self._installed = now
        self._candidate = now
        return is_other

    def close(self) -> None:
        self._warm_worker.close()

    def _wish(self) -> WarmWorkerSpec:
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
