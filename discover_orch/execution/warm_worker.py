"""A warm worker: one that waits with its imports done. It is used once.

Whatever is wrong with it costs the preloaded imports and never holds up a run.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.discovery.tree import build_signature
from discover_orch.execution.supervisor import Supervisor
from discover_orch.execution.worker_shutdown import WorkerDied
from discover_orch.worker.protocol import NOT_PRELOADED, Preload, Preloaded

#: Seconds to wait for the end of a worker that is no longer needed.
EXIT_TIMEOUT = 1.0


class WarmWorkerSpec(Struct, frozen=True, kw_only=True):
    """What a warm worker must match: its imports, the installation that they come from, and the environment that they
    may have read."""

    order: Preload
    installed: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


class ClaimedWorker(Struct, frozen=True, kw_only=True):
    """`worker` is None where the run has to import everything itself. `sentence` says why, or what could not be
    imported, once for each reason.

    `modules` are (module, seconds, what went wrong) of what was preloaded.
    """

    worker: Supervisor | None = None
    is_importing: bool = False
    sentence: str = ""
    modules: tuple[tuple[str, float, str], ...] = ()


class WarmWorker:
    """Started by `prepare`, handed over by `claim`, ended by `close`."""

    def __init__(self) -> None:
        self._worker: Supervisor | None = None
        self._spec: WarmWorkerSpec | None = None
        self._fatal_specs: list[WarmWorkerSpec] = []  # those whose imports end the process
        self._said: set[str] = set()

    def prepare(self, spec: WarmWorkerSpec) -> None:
        """Starts a worker for this spec unless there is one. Raises nothing."""
        if spec in self._fatal_specs:
            spec = replace(spec, order=replace(spec.order, modules=()))
        if self._worker is not None and self._spec == spec and not self._worker.is_over:
            return
        self.close()
        try:
            self._worker = Supervisor.start()
        except OSError:
            return
        self._spec = spec
        self._worker.send(spec.order)

    def claim(self, spec: WarmWorkerSpec) -> ClaimedWorker:
        """The worker, if it is alive and fits; it may still be importing."""
        worker, self._worker = self._worker, None
        if worker is None:
            return ClaimedWorker()
        if not _fits(self._spec, spec):
            discard_worker(worker)
            has_same_packages = self._spec is not None and self._spec.installed == spec.installed
            if has_same_packages:  # the tools import something else, as after an edit
                return ClaimedWorker()
            return self._cold("the installed packages have changed")
        worker.resume()  # if something has stopped it
        report: Preloaded | None = None
        for event in worker.events(0):
            if isinstance(event, Preloaded):
                report = event
            elif isinstance(event, WorkerDied):
                self.mark_fatal(spec)
                return self._cold(f"the process that preloads them {event.sentence}")
        if report is None:
            return ClaimedWorker(worker=worker, is_importing=True)
        if report.shadowed:
            discard_worker(worker)
            return ClaimedWorker(sentence=self.unless_said(report.sentence), modules=report.modules)
        sentence = self.unless_said(report.sentence)
        return ClaimedWorker(worker=worker, sentence=sentence, modules=report.modules)

    def mark_fatal(self, spec: WarmWorkerSpec) -> None:
        """These imports ended a worker: the next ones for this spec import nothing."""
        self._fatal_specs.append(spec)

    def close(self) -> None:
        """Ends the worker if there is one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            discard_worker(worker)

    def _cold(self, why: str) -> ClaimedWorker:
        return ClaimedWorker(sentence=self.unless_said(f"{NOT_PRELOADED}: {why}"))

    def unless_said(self, sentence: str) -> str:
        """The sentence the first time, then ""."""
        if sentence in self._said:
            return ""
        self._said.add(sentence)
        return sentence


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
                found.append(f"{place} {build_signature(st)}")
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
