"""One run from its first event to its last: wires a plan to a worker, a recorder and signal handlers.

It parses no words and prints nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.discovery.tree import NOT_SCANNED, Signatures
from discover_orch.execution.events import Event, RunFinished, RunNote, SecretFound, ToolFinished
from discover_orch.execution.executors import Executor
from discover_orch.execution.executors.local import LocalExecutor
from discover_orch.execution.executors.pool import WorkerPool, claim_worker
from discover_orch.execution.masking import mask_event, secret_texts
from discover_orch.execution.recorder import Recorder
from discover_orch.execution.run_state import Run
from discover_orch.execution.runner import RunRequests, Settle, run_steps
from discover_orch.execution.signal_handlers import SignalHandlers
from discover_orch.execution.step_queue import SideBySide, build_queue, nothing_to_overlap
from discover_orch.execution.supervisor import Supervisor
from discover_orch.model.database_url import url_secrets
from discover_orch.model.errors import Problem
from discover_orch.model.ledger import LedgerEntry
from discover_orch.model.parameter import find_url_passwords, is_secret_name
from discover_orch.planning.plan import Plan
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.worker.forks import Forks
from discover_orch.worker.protocol import Prepare
from discover_orch.worker.spawn import Interpreter

if TYPE_CHECKING:
    from discover_orch.execution.executors.remote import OpenFarSide


def run_plan(
    plan: Plan,
    registry: Registry,
    project: Project,
    *,
    is_raw: bool = False,
    post_mortem: bool = False,
    all_frames: bool = False,
    max_failures: int | None = None,
    jobs: int = 1,
    interpreter: Interpreter | Forks | None = None,
    side: OpenFarSide | None = None,
    requests: RunRequests | None = None,
    scanned: Signatures = NOT_SCANNED,
    predicts: bool = True,
) -> Generator[Event, None, None]:
    """The events of a run. The generator must be exhausted or closed: either leaves no process behind and a complete
    journal. A BrokenPipeError that is thrown into it closes it too, and says that the output cannot be written any
    more. `scanned` is of the scan that the plan was made from. With a `side`, the steps are carried out
    there. With `requests` the process belongs to another program: no signal handlers are installed, so this may be any
    thread, and no processes are adopted. `predicts`: the events say how much time is left, which takes time itself."""
    prepare = _prepare(
        registry, project, is_raw=is_raw, post_mortem=post_mortem, all_frames=all_frames
    )
    is_here = side is None and requests is None
    worker, forks = _start_workers(interpreter, min(jobs, len(plan.steps)) if is_here else 0)
    key = _make_key(project)
    is_guest = requests is not None
    start = partial(Supervisor.start, adopts_orphans=False) if is_guest else None
    handlers = None if is_guest else SignalHandlers()
    signals = requests or handlers
    assert signals is not None
    try:
        with handlers or contextlib.nullcontext():
            executor: Executor | None = None
            jobs = jobs if side is None else side.jobs
            if jobs == 1 and side is None and not project.ledger:
                # The worker gets ready while the recorder reads the code.
                executor = LocalExecutor(prepare, worker, start=start)
            recorder = Recorder(plan, registry, project, ledger=key, scanned=scanned)
            if project.ledger:
                prepare = _with_ledger(prepare, project, recorder.run, key)
            queue = None
            if jobs > 1:
                queue = build_queue(plan, registry, project, recorder.has_known_use)
            if side is not None:
                # The other machine reads its own `env_file`.
                there = replace(prepare, is_one_of_several=jobs > 1, environment=None)
                executor = _build_remote_pool(side, there, registry, recorder)
            elif queue is not None:
                shared = replace(prepare, is_one_of_several=True)
                executor = WorkerPool(shared, worker, forks, jobs, start=start)
            elif executor is None:
                forks.wanted = 1
                executor = LocalExecutor(prepare, worker or claim_worker(forks), start=start)
                forks.close()
            events = run_steps(
                plan,
                registry,
                executor,
                signals,
                run_id=recorder.run,
                clock=time.monotonic,
                has_known_flow=recorder.has_known_flow,
                at_once=_count_at_once(plan, jobs, queue, side),
                queue=queue,
                max_failures=max_failures,
                has_retries=not post_mortem,
                random=_random,
                expected=recorder.expected_duration if predicts else _expect_nothing,
                settle=_settle_with(prepare),
                commit=_find_commit(project, executor),
            )
            # Who configured several workers knows that a few tools do not need them.
            is_narrow = jobs == project.jobs and len(plan.steps) < len(registry.order)
            if jobs > 1 and queue is None and len(plan.steps) > 1 and not is_narrow:
                idle = nothing_to_overlap(plan, registry, project, recorder.has_known_use)
                events = _insert(RunNote(problem=idle), events)
            yield from _carry_out(
                events, plan, registry, project, executor, signals, recorder, has_alarm=not is_guest
            )
    finally:
        if handlers is not None:
            handlers.close()


def _start_workers(
    interpreter: Interpreter | Forks | None, count: int
) -> tuple[Supervisor | None, Forks]:
    """The first of `count` workers, if it was started before, and the others. They are forks, which become children of
    this process as orphans do, so `count` is 0 for a process that adopts none."""
    match interpreter:
        case Forks():
            first, forks = None, interpreter
            forks.wanted = count
        case None:
            first, forks = None, Forks(count if count > 1 else 0)
        case _:
            first, forks = Supervisor.start(interpreter=interpreter), Forks(count - 1)
    if forks.wanted > 0:  # they get ready while the recorder reads the code
        forks.begin()
    return first, forks


def _make_key(project: Project) -> str:
    """What tells this run from others in the ledger. `secrets` takes 4 ms to import."""
    return os.urandom(8).hex() if project.ledger else ""


def _with_ledger(prepare: Prepare, project: Project, run: str, key: str) -> Prepare:
    entry = LedgerEntry(project=project.ledger, tool="", run=run, key=key)
    return replace(prepare, ledger=entry)


def _find_commit(project: Project, executor: Executor) -> Callable[[], None] | None:
    """What commits a run that is one transaction."""
    is_one = project.transaction == "run" and isinstance(executor, LocalExecutor)
    return executor.commit_run if is_one and isinstance(executor, LocalExecutor) else None


def _settle_with(prepare: Prepare) -> Settle:
    def settle(event: ToolFinished, attempt: int) -> tuple[ToolFinished, tuple[Problem, ...]]:
        if event.status != "unknown" or prepare.ledger is None:
            return event, ()
        from discover_orch.execution.ledger import settle_event  # few runs need it

        return settle_event(event, attempt, prepare)

    return settle


def settle_killed_run(
    project: Project, registry: Registry, *, settles: bool
) -> tuple[Problem, ...]:
    """Asks the ledger how the tools ended that the latest run left without an end, if it was killed. `settles`: a run
    follows. Otherwise nothing is changed in the database. Problems are warnings."""
    if not project.ledger:
        return ()
    from discover_orch.execution import ledger

    prepare = _prepare(registry, project, is_raw=False, post_mortem=False, all_frames=False)
    return ledger.settle_killed_run(prepare, project, registry, settles=settles)


def list_tables(project: Project, registry: Registry) -> Collection[str] | None:
    """The tables and views of a PostgreSQL database, as a worker of its own tells; None where it cannot."""
    from discover_orch.execution import ledger
    from discover_orch.worker.protocol import Ask

    prepare = _prepare(registry, project, is_raw=False, post_mortem=False, all_frames=False)
    return ledger.ask_once(prepare, Ask(), ledger.LONGEST_LOOK).tables


def open_far_side(
    plan: Plan,
    registry: Registry,
    project: Project,
    *,
    jobs: int,
    has_jobs: bool,
    is_guest: bool = False,
) -> OpenFarSide | None:
    """Where the steps are carried out; None for this machine. A guest is in the process of another program. Raises
    UsageError if that cannot be used."""
    if project.executor == "local":
        return None
    from discover_orch.execution.executors import remote  # few runs need it

    return remote.open_far_side(
        plan,
        registry,
        project,
        jobs=jobs,
        has_jobs=has_jobs,
        is_guest=is_guest,
    )


def _build_remote_pool(
    side: OpenFarSide, prepare: Prepare, registry: Registry, recorder: Recorder
) -> Executor:
    from discover_orch.execution.executors.remote import RemotePool  # few runs need it

    return RemotePool(side, prepare, registry, recorder.sources_of)


def _count_at_once(
    plan: Plan, jobs: int, queue: SideBySide | None, side: OpenFarSide | None
) -> int:
    if queue is not None:
        return min(jobs, len(plan.steps))
    return Run.AHEAD if side is None else 1  # nothing is sent ahead to another machine


def _insert(note: RunNote, events: Iterator[Event]) -> Iterator[Event]:
    """`note` behind the first event."""
    yield next(events)
    yield note
    yield from events


def run_watched(
    plan: Plan,
    registry: Registry,
    project: Project,
    *,
    worker: Supervisor | None,
    is_importing: bool,
    requests: RunRequests,
    environment: Mapping[str, str],
    all_frames: bool = False,
    code: ImportGraph | None = None,
) -> Generator[Event, None, None]:
    """The events of a run of a watch, which handles signals itself. `worker` is a warm worker that may still be
    importing (`is_importing`). `code` is kept from one run to the next."""
    prepare = replace(
        _prepare(registry, project, is_raw=False, post_mortem=False, all_frames=all_frames),
        environment=environment,
    )
    key = _make_key(project)
    executor = None
    if not project.ledger:
        # The worker gets ready while the recorder reads the code.
        executor = LocalExecutor(prepare, worker, is_importing=is_importing)
    recorder = Recorder(
        plan, registry, project, kind="watch", code=code, environ=environment, ledger=key
    )
    if executor is None:
        prepare = _with_ledger(prepare, project, recorder.run, key)
        executor = LocalExecutor(prepare, worker, is_importing=is_importing)
    events = run_steps(
        plan,
        registry,
        executor,
        requests,
        run_id=recorder.run,
        clock=time.monotonic,
        has_known_flow=recorder.has_known_flow,
        at_once=1,
        random=_random,
        expected=recorder.expected_duration,
        settle=_settle_with(prepare),
        commit=_find_commit(project, executor),
    )
    yield from _carry_out(events, plan, registry, project, executor, requests, recorder)


def _expect_nothing(module: str) -> None:
    """How long the tool takes is not asked."""


def _random() -> float:
    import random  # takes 2 ms, and few runs need it

    return random.random()


def absolute_pythonpath(project: Project) -> tuple[str, ...]:
    return tuple(
        os.path.normpath(os.path.join(project.root, entry)) for entry in project.pythonpath
    )


def _secret_variables(environ: Mapping[str, str], root: str) -> list[str]:
    """The values of secret environment variables, and the passwords of URLs in others. The path of a file, as in
    GOOGLE_APPLICATION_CREDENTIALS, is no secret: hidden, it would be missing among the files that a tool reads."""
    found = [text for name, text in environ.items() if is_secret_name(name)]
    found = [text for text in found if not os.path.exists(os.path.join(root, text))]
    return [*found, *(one for text in environ.values() for one in find_url_passwords(text))]


def _carry_out(
    events: Iterator[Event],
    plan: Plan,
    registry: Registry,
    project: Project,
    executor: Executor,
    requests: RunRequests,
    recorder: Recorder,
    *,
    has_alarm: bool = True,
) -> Iterator[Event]:
    """The events of the run with their secrets masked, each recorded before it is yielded. However it ends, the
    executor is over afterwards."""
    variables = _secret_variables(recorder.environ, project.root)
    secrets = [*plan.secrets, *url_secrets(project.database), *variables]
    hidden = secret_texts(secrets)
    notes_before: set[Problem] = set()
    try:
        for event in events:
            if isinstance(event, SecretFound):
                secrets.append(event.text)
                hidden = secret_texts(secrets)
                continue
            masked = _with_hint(mask_event(event, hidden), plan, registry, project.root)
            if isinstance(masked, RunNote) and masked.problem.code == "conn":
                if masked.problem in notes_before:  # another worker has said it
                    continue
                notes_before.add(masked.problem)
            notes = [RunNote(problem=problem) for problem in recorder.record(masked)]
            if isinstance(masked, RunFinished):
                yield from notes
                yield masked
            else:
                yield masked
                yield from notes
    except BrokenPipeError:  # thrown in by the caller, which could not write an event
        recorder.is_output_closed = True
        raise
    finally:
        if has_alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)  # cleaning up may take longer
        if not executor.is_over:
            executor.interrupt()
            executor.finish()
            while not executor.is_over:
                for event in executor.events(0.1, requests.wake):
                    if isinstance(event, SecretFound):
                        secrets.append(event.text)
                        hidden = secret_texts(secrets)
                    recorder.record(mask_event(event, hidden))
        recorder.close()


def _with_hint(event: Event, plan: Plan, registry: Registry, root: str) -> Event:
    """The end of a tool that missed a file or a table, with a hint that names who makes it."""
    if not isinstance(event, ToolFinished) or event.status != "failed":
        return event
    error = event.error
    if error is None or error.kind != "exception" or registry.tools.get(event.module) is None:
        return event
    from discover_orch.execution.missing_data import find_missing_hint  # few tools fail

    modules = [step.tool.module for step in plan.steps]
    hint = find_missing_hint(error, event.module, modules, registry, root)
    return replace(event, error=replace(error, hint=hint)) if hint else event


def _prepare(
    registry: Registry, project: Project, *, is_raw: bool, post_mortem: bool, all_frames: bool
) -> Prepare:
    conf = registry.conf
    return Prepare(
        root=project.root,
        pythonpath=absolute_pythonpath(project),
        database=project.database,
        transaction=project.transaction,
        orchconf=os.path.join(project.root, conf.path) if conf else None,
        has_connection=uses_get_connection(registry, project),
        resources={
            one.name: _needs(one.needs, registry) for one in (conf.resources if conf else ())
        },
        raw_output=is_raw,
        post_mortem=post_mortem,
        all_frames=all_frames,
        observes=True,
        # The worker may be older than these variables.
        environment=dict(os.environ) if project.env_file else None,
    )


def _needs(needs: tuple[tuple[str, bool], ...], registry: Registry) -> tuple[str, ...]:
    """The arguments of a resource that are resources themselves; the others keep their defaults."""
    conf = registry.conf
    offered = {"conn", *(one.name for one in conf.resources)} if conf else {"conn"}
    return tuple(name for name, _ in needs if name in offered)
