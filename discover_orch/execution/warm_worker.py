"""A warm worker: one that waits with its imports done. It is used once, by the next run of a watch, or by the next
tool where a tool has a worker of its own.

Whatever is wrong with it costs the preloaded imports and never holds up a run.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.execution.supervisor import Supervisor
from discover_orch.model.observation import file_mark
from discover_orch.worker.protocol import Preload

#: Seconds to wait for the end of a worker that is no longer needed.
EXIT_TIMEOUT = 1.0


class WarmWorkerSpec(Struct, frozen=True, kw_only=True):
    """What a warm worker must match: its imports, the installation that they come from, and the environment that they
    may have read."""

    order: Preload
    installed: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


class WarmWorker:
    """Started by `prepare`, handed over by `claim`, ended by `close`."""

    def __init__(self, start: Callable[[], Supervisor] | None = None) -> None:
        self._start = start or (lambda: Supervisor.start())
        self._worker: Supervisor | None = None
        self._spec: WarmWorkerSpec | None = None

    def prepare(self, spec: WarmWorkerSpec) -> None:
        """Starts a worker for this spec unless there is one. Raises nothing."""
        if self._worker is not None and self._spec == spec and not self._worker.is_over:
            return
        self.close()
        try:
            self._worker = self._start()
        except OSError:
            return
        self._spec = spec
        self._worker.send(spec.order)

    def claim(self, spec: WarmWorkerSpec) -> Supervisor | None:
        """The worker, if it is there and fits; it may still be importing, and may end by that."""
        worker, self._worker = self._worker, None
        if worker is not None and not _fits(self._spec, spec):
            discard_worker(worker)
            return None
        if worker is not None:
            worker.control("resume")  # if something has stopped it
        return worker

    def close(self) -> None:
        """Ends the worker if there is one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            discard_worker(worker)


class WorkerAhead:
    """The worker of the next step, which is started while a tool has one of its own. `preload_of` says what the worker
    of a step imports ahead, and `next_of` which step is next in the plan."""

    def __init__(
        self,
        start: Callable[[], Supervisor],
        preload_of: Callable[[str], Preload],
        next_of: Mapping[str, str],
    ) -> None:
        self._worker = WarmWorker(start)
        self._preload_of, self._next_of = preload_of, next_of

    def prepare(self, running: str) -> None:
        """Starts it while this tool runs. Raises nothing."""
        if following := self._next_of.get(running):
            self._worker.prepare(WarmWorkerSpec(order=self._preload_of(following)))

    def claim(self, module: str) -> Supervisor | None:
        return self._worker.claim(WarmWorkerSpec(order=self._preload_of(module)))

    def close(self) -> None:
        self._worker.close()


class PackageDetector:
    """Notices that packages were installed or removed. `installed` is what they were when that was noticed last."""

    def __init__(self) -> None:
        self.installed = self._candidate = read_installation()

    def has_changed(self) -> bool:
        """Whether they are others. Installing takes time, so two calls must see the same."""
        now = read_installation()
        has_changed = now != self.installed and now == self._candidate
        if has_changed:
            self.installed = now
        self._candidate = now
        return has_changed


def read_installation() -> str:
    """A text that changes whenever a package is installed, upgraded or removed, or the interpreter is replaced."""
    found = []
    for place in (sys.executable, *sys.path):
        if place.endswith(("site-packages", "dist-packages")) or place == sys.executable:
            with contextlib.suppress(OSError):
                st = os.stat(place)
                found.append(f"{place} {file_mark(st)}")
    return "\n".join(found)


def _fits(had: WarmWorkerSpec | None, wanted: WarmWorkerSpec) -> bool:
    """A worker that has imported less will do; one that has imported more could hide a missing import."""
    if had is None or not set(had.order.modules) <= set(wanted.order.modules):
        return False
    return had == replace(wanted, order=replace(wanted.order, modules=had.order.modules))


def discard_worker(worker: Supervisor) -> None:
    """Ends a worker that has nothing to close."""
    worker.kill("is no longer needed")
    deadline = time.monotonic() + EXIT_TIMEOUT
    while not worker.is_over and time.monotonic() < deadline:
        worker.events(0.05)
