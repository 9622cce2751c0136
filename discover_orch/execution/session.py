"""One run from its first event to its last: wires a plan to a worker, a recorder and signal handlers.

It parses no words and prints nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.execution.event_masking import Masking
from discover_orch.execution.executors import Executor, WorkerPool
from discover_orch.execution.executors.local import LocalExecutor, build_prepare
from discover_orch.execution.recorder import Recorder
from discover_orch.execution.request import RunSettings
from discover_orch.execution.run_events import Event, RunFinished
from discover_orch.execution.run_state import Run
from discover_orch.execution.runner import RunRequests, Settle, run_steps
from discover_orch.execution.signal_handlers import SignalHandlers
from discover_orch.execution.step_queue import build_queue, nothing_to_overlap
from discover_orch.execution.supervisor import Supervisor
from discover_orch.model.database_url import url_secrets
from discover_orch.model.errors import Problem
from discover_orch.model.ledger_entry import LedgerEntry
from discover_orch.model.tool_events import RunNote, ToolFinished
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.staleness.environment import secret_variables
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.worker.protocol import Prepare
from discover_orch.worker.spawn import Interpreter

if TYPE_CHECKING:
    from discover_orch.execution.executors.far_executor import FarSide
    from discover_orch.execution.observers import Observers


_USUAL = RunSettings()


class WatchedRun(Struct, frozen=True, kw_only=True):
    """What a watch has ready for a run: a warm worker, which may still be importing, the environment of its tools, and
    the import graph that it keeps from one run to the next."""

    worker: Supervisor | None
    environment: Mapping[str, str]
    code: ImportGraph


def run_plan(
    plan: Plan,
    view: ProjectView,
    settings: RunSettings = _USUAL,
    *,
    interpreter: Interpreter | None = None,
    side: FarSide | None = None,
    requests: RunRequests | None = None,
    watched: WatchedRun | None = None,
    keep: Callable[[bytes], object] | None = None,
) -> Generator[Event, None, None]:
    """The events of a run. The generator must be exhausted or closed: either leaves no process behind and a complete
    journal. A BrokenPipeError that is thrown into it closes it too, and says that the output cannot be written any
    more. With a `side`, the steps are carried out there. With `requests`, no signal handlers are installed; if they
    are not those of a watch, the process belongs to another program, so this may be any thread, and no processes are
    adopted. `keep` gets each line of the journal, also where `.orch` cannot be written. The observers of a watch are
    its own."""
    registry, project = view.registry, view.project
    code = view.sources if watched is None else watched.code
    prepare = build_prepare(
        registry,
        project,
        raw_output=settings.is_raw,
        post_mortem=settings.post_mortem,
        all_frames=settings.all_frames,
    )
    jobs = settings.jobs if side is None else side.jobs
    is_guest = requests is not None and watched is None
    start = partial(Supervisor.start, adopts_orphans=False) if is_guest else None
    environ: Mapping[str, str] = os.environ
    worker = None
    if watched is not None:
        worker, environ = watched.worker, watched.environment
        prepare = replace(prepare, environment=environ)
    elif interpreter is not None:
        worker = Supervisor.start(interpreter=interpreter)
    # What tells this run from others in the ledger. `secrets` takes 4 ms to import.
    key = os.urandom(8).hex() if project.ledger else ""
    handlers = SignalHandlers() if requests is None else None
    signals = requests or handlers
    assert signals is not None
    observers = None if watched is not None else open_observers(registry)
    try:
        with handlers or contextlib.nullcontext():
            is_warm = watched is not None
            alone = partial(LocalExecutor, worker=worker, is_warm=is_warm, start=start)
            executor: Executor | None = None
            if jobs == 1 and side is None and not project.ledger:
                executor = alone(prepare)  # the worker gets ready while the recorder reads the code
            recorder = Recorder(
                plan,
                registry,
                project,
                code=code,
                environ=environ,
                ledger=key,
                keep=keep,
                has_process=requests is None,
            )
            if project.ledger:
                entry = LedgerEntry(project=project.ledger, tool="", run=recorder.run, key=key)
                prepare = replace(prepare, ledger=entry)
            queue = None
            if jobs > 1:
                queue = build_queue(plan, registry, project, recorder.tools.has_known_use)
            if side is not None:
                from discover_orch.execution.executors.far_executor import (
                    build_far_executor,  # rare
                )

                # The other machine reads its own `env_file`.
                there = replace(prepare, is_one_of_several=jobs > 1, environment=None)
                build_far = build_far_executor(side, there, registry, recorder.tools.sources_of)
                executor = WorkerPool(build_far, build_far(), jobs)
            elif queue is not None:
                build = partial(
                    LocalExecutor,
                    replace(prepare, is_one_of_several=True),
                    start=start,
                    sources_of=recorder.tools.sources_of,
                )
                executor = WorkerPool(build, build(worker), jobs)
            executor = executor or alone(prepare)
            if is_alone := isinstance(executor, LocalExecutor):
                executor.sources_of = recorder.tools.sources_of
            run = Run(
                plan,
                registry,
                has_known_flow=recorder.tools.has_known_flow,
                queue=queue,
                workers=1 if queue is None else min(jobs, len(plan.steps)),
                max_failures=settings.max_failures,
                has_retries=not settings.post_mortem,
                is_one_transaction=is_alone and project.transaction == "run",
                random=_random,
            )
            notes = []
            # Who configured several workers knows that a few tools do not need them.
            is_narrow = jobs == project.jobs and len(plan.steps) < len(registry.order)
            if jobs > 1 and queue is None and len(plan.steps) > 1 and not is_narrow:
                notes = [nothing_to_overlap(plan, registry, project)]
            # Not where a watch may stop the run between two tools, and where the tool writes to the terminal.
            is_early = is_alone and watched is None and plan.turns is None and not settings.is_raw
            events = run_steps(
                run,
                executor,
                signals,
                run_id=recorder.run,
                clock=time.monotonic,
                expected=recorder.tools.expected_duration if settings.predicts else lambda _: None,
                settle=_settle_with(prepare),
                notes=notes,
                prepare=recorder.tools.prepare if is_early else None,
                is_needed=None if plan.turns is None else recorder.tools.is_needed,
            )
            yield from _carry_out(
                events,
                plan,
                registry,
                project,
                executor,
                signals,
                recorder,
                observers,
                has_alarm=not is_guest,
            )
            if observers is not None:
                yield from observers.close(signals)
    finally:
        if observers is not None:
            deque(observers.close(signals), maxlen=0)
        if side is not None:
            side.close()
        if handlers is not None:
            handlers.close()


def _settle_with(prepare: Prepare) -> Settle:
    def settle(event: ToolFinished, attempt: int) -> tuple[ToolFinished, tuple[Problem, ...]]:
        if event.status != "unknown" or prepare.ledger is None:
            return event, ()
        from discover_orch.execution.ledger_query import settle_event  # few runs need it

        return settle_event(event, replace(prepare.ledger, attempt=attempt), prepare)

    return settle


def open_far_side(
    plan: Plan, view: ProjectView, *, jobs: int, has_jobs: bool, is_guest: bool = False
) -> FarSide | None:
    """Where the steps are carried out; None for this machine. A guest is in the process of another program. Raises
    UsageError if that cannot be used."""
    if view.project.executor == "local":
        return None
    from discover_orch.execution.executors import far_executor  # few runs need it

    tools = [step.tool for step in plan.steps]
    return far_executor.open_far_side(
        tools, view.registry, view.project, jobs=jobs, has_jobs=has_jobs, is_guest=is_guest
    )


def open_observers(registry: Registry) -> Observers | None:
    """None if `orchconf.py` has none: nothing is imported and no process started."""
    if registry.conf is None or not registry.conf.observers:
        return None
    from discover_orch.execution.observers import Observers  # few projects have any

    return Observers()


def _random() -> float:
    import random  # takes 2 ms, and few runs need it

    return random.random()


def _carry_out(
    events: Iterator[Event],
    plan: Plan,
    registry: Registry,
    project: Project,
    executor: Executor,
    requests: RunRequests,
    recorder: Recorder,
    observers: Observers | None,
    *,
    has_alarm: bool = True,
) -> Iterator[Event]:
    """The events of the run with their secrets masked, each recorded before it is yielded. However it ends, the
    executor is over afterwards."""
    variables = secret_variables(recorder.environ, project.root)
    masking = Masking([*plan.secrets, *url_secrets(project.database), *variables])
    notes_before: set[RunNote] = set()
    names = plan.names
    try:
        if observers is not None:
            yield from observers.follow(registry, project)
        for event in events:
            if (masked := masking.mask(event)) is None:
                continue
            masked = _with_hint(masked, plan, registry, project.root)
            if isinstance(masked, RunNote):
                if masked in notes_before:  # another worker has said it
                    continue
                notes_before.add(masked)
            notes = [RunNote(problem=problem) for problem in recorder.record(masked)]
            found: tuple[Event, ...] = (masked, *notes)
            if isinstance(masked, RunFinished):
                found = (*notes, masked)
            for one in found:
                yield one
                if observers is not None:
                    yield from observers.note_event(one, names)
    except BrokenPipeError:  # thrown in by the caller, which could not write an event
        recorder.tools.is_output_closed = True
        raise
    finally:
        if has_alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)  # cleaning up may take longer
        if not executor.is_over:
            executor.control("interrupt")
            executor.finish()
            while not executor.is_over:
                for event in executor.events(0.1, requests.wake):
                    if (masked := masking.mask(event)) is not None:
                        recorder.record(masked)
        recorder.close()


def _with_hint(event: Event, plan: Plan, registry: Registry, root: str) -> Event:
    """The end of a tool that missed a file or a table, with a hint that names who makes it."""
    if not isinstance(event, ToolFinished) or event.status != "failed":
        return event
    error = event.error
    if error is None or error.kind != "exception" or registry.tools.get(event.module) is None:
        return event
    from discover_orch.execution.missing_data_hint import find_missing_hint  # few tools fail

    modules = [step.tool.module for step in plan.possible_steps]
    hint = find_missing_hint(error, event.module, modules, registry, root)
    return replace(event, error=replace(error, hint=hint)) if hint else event
