"""The warm spare: one worker that waits with its imports done, used once.

In: what it should import, and what it must be thrown away for. Out: a `Supervisor` for the next run, or None
with the sentence that says why the run starts cold. It never holds up a run: whatever is wrong with a spare
costs a start from nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.execution.supervisor import Supervisor
from discover_orch.execution.worker_shutdown import WorkerDied
from discover_orch.worker.protocol import Preload, Preloaded

#: Seconds that a spare which is no longer wanted gets to be gone.
EXIT_TIMEOUT = 1.0


class WarmWorkerSpec(Struct, frozen=True, kw_only=True):
    """What makes a spare fit: its imports, and the installation that they came from."""

    order: Preload
    installed: str = ""


class ClaimedWorker(Struct, frozen=True, kw_only=True):
    """`worker` is None where the run must start from nothing. `sentence` says why, or what could not be imported
    ahead, once for each reason.

    `modules` are (module, seconds, what went wrong) of what was preloaded.
    """

    worker: Supervisor | None = None
    is_importing: bool = False
    sentence: str = ""
    modules: tuple[tuple[str, float, str], ...] = ()


class WarmWorker:
    """Made ready by `prepare`, taken by `claim`, gone after `close`."""

    def __init__(self) -> None:
        self._worker: Supervisor | None = None
        self._spec: WarmWorkerSpec | None = None
        self._fatal_specs: list[WarmWorkerSpec] = []  # their imports end the process
        self._said: set[str] = set()

    def prepare(self, spec: WarmWorkerSpec) -> None:
        """Have a spare for this wish, unless there is one; raises nothing."""
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
        """The spare, if it is alive and fits; it may still be importing."""
        worker, self._worker = self._worker, None
        if worker is None:
            return ClaimedWorker()
        if not _fits(self._spec, spec):
            discard_worker(worker)
            is_other = self._spec is None or self._spec.installed != spec.installed
            return self._cold(
                "the installed packages have changed"
                if is_other
                else "the imports of the tools have changed"
            )
        worker.resume()  # should anybody have stopped it
        report: Preloaded | None = None
        for event in worker.events(0):
            if isinstance(event, Preloaded):
                report = event
            elif isinstance(event, WorkerDied):
                self.mark_fatal(spec)
                return self._cold(f"the warm worker {event.sentence}")
        if report is None:
            return ClaimedWorker(worker=worker, is_importing=True)
        if report.shadowed:
            discard_worker(worker)
            return ClaimedWorker(sentence=self.unless_said(report.sentence), modules=report.modules)
        sentence = self.unless_said(report.sentence)
        return ClaimedWorker(worker=worker, sentence=sentence, modules=report.modules)

    def mark_fatal(self, spec: WarmWorkerSpec) -> None:
        """These imports ended a spare: the next ones for this wish import nothing."""
        self._fatal_specs.append(spec)

    def close(self) -> None:
        """End the spare, where there is one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            discard_worker(worker)

    def _cold(self, why: str) -> ClaimedWorker:
        return ClaimedWorker(sentence=self.unless_said(f"cold start: {why}"))

    def unless_said(self, sentence: str) -> str:
        """The sentence, the first time."""
        if sentence in self._said:
            return ""
        self._said.add(sentence)
        return sentence


def read_installation() -> str:
    """Changes whenever a package is installed, upgraded or removed, or the interpreter replaced."""
    found = []
    for place in (sys.executable, *sys.path):
        if place.endswith(("site-packages", "dist-packages")) or place == sys.executable:
            with contextlib.suppress(OSError):
                st = os.stat(place)
                found.append(f"{place} {st.st_ino} {st.st_mtime_ns}")
    return "\n".join(found)


def _fits(had: WarmWorkerSpec | None, wanted: WarmWorkerSpec) -> bool:
    """A spare that has imported less will do; one that has imported more could hide a missing import."""
    if had is None or not set(had.order.modules) <= set(wanted.order.modules):
        return False
    return had == replace(wanted, order=replace(wanted.order, modules=had.order.modules))


def discard_worker(worker: Supervisor) -> None:
    """End a worker that has nothing to close."""
    worker.kill("is not wanted any more")
    deadline = time.monotonic() + EXIT_TIMEOUT
    while not worker.is_over and time.monotonic() < deadline:
        worker.events(0.05)
