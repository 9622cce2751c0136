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
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.discovery.items import find_gone_file
from discover_orch.discovery.registry import Registry
from discover_orch.execution.event_masking import Masking
from discover_orch.execution.executors import Executor
from discover_orch.execution.executors.worker_driver import WorkerDriver, build_prepare
from discover_orch.execution.new_items import NewItems, may_find_items
from discover_orch.execution.recorder import Recorder, records_success
from discover_orch.execution.request import ReadyRun
from discover_orch.execution.run_events import Event
from discover_orch.execution.run_state import Run
from discover_orch.execution.runner import Extension, RunHooks, RunRequests, run_steps
from discover_orch.execution.signal_handlers import SignalHandlers
from discover_orch.execution.step_queue import (
    StepQueue,
    build_queue,
    nothing_to_overlap,
    one_by_one,
)
from discover_orch.execution.supervisor import Supervisor
from discover_orch.model.database_url import url_secrets
from discover_orch.model.errors import Problem
from discover_orch.model.items import tool_of
from discover_orch.model.observation import WRITTEN
from discover_orch.model.success_record import Attempt, SuccessRecord
from discover_orch.model.tool import Tool
from discover_orch.model.tool_events import RunFinished, RunNote, ToolFinished
from discover_orch.planning.plan import Plan
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.staleness.variables_and_packages import secret_variables
from discover_orch.worker.protocol import Preload, Prepare
from discover_orch.worker.spawn import Interpreter

if TYPE_CHECKING:
    from discover_orch.execution.executors.remote_worker import FarSide, RemoteWorker
    from discover_orch.execution.observers import Observers
    from discover_orch.execution.warm_worker import WorkerAhead


class WatchedRun(Struct, frozen=True, kw_only=True):
    """What a watch has ready for a run: a warm worker, which may still be importing, the environment of its tools, and
    the import graph that it keeps from one run to the next."""

    worker: Supervisor | None
    environment: Mapping[str, str]
    code: ImportGraph


class Host(Struct, frozen=True, kw_only=True):
    """The process that a run is in, and what it has ready. With a `side`, the steps are carried out there.

    With `requests`, no signal handlers are installed. If they are not those of a watch, the process belongs to another
    program, so this may be any thread, and no processes are adopted. `keep` gets each line of the journal, also where
    `.orch` cannot be written. `predicts`: the events say how much time is left, which takes time itself."""

    interpreter: Interpreter | None = None
    side: FarSide | None = None
    requests: RunRequests | None = None
    watched: WatchedRun | None = None
    keep: Callable[[bytes], object] | None = None
    predicts: bool = True

    @property
    def is_guest(self) -> bool:
        return self.requests is not None and self.watched is None


_OWN_PROCESS = Host()


def run_plan(ready: ReadyRun, host: Host = _OWN_PROCESS) -> Generator[Event, None, None]:
    """The events of a run of what is `ready`. The generator must be exhausted or closed: either leaves no process
    behind and a complete journal. A BrokenPipeError that is thrown into it closes it too, and says that the output
    cannot be written any more."""
    handlers = SignalHandlers() if host.requests is None else None
    requests = host.requests or handlers
    assert requests is not None
    try:
        with handlers or contextlib.nullcontext():
            yield from _Session(ready, host).events(requests)
    finally:
        if host.side is not None:
            host.side.close()
        if handlers is not None:
            handlers.close()


class _Session:
    """The parts of one run."""

    def __init__(self, ready: ReadyRun, host: Host) -> None:
        plan, view, request = ready.plan, ready.view, ready.request
        self._plan, self._request, self._host = plan, request, host
        self._registry, self._project = registry, project = view.registry, view.project
        self._jobs = ready.jobs if host.side is None else host.side.jobs
        self._start_here: Callable[[], Supervisor] = partial(
            Supervisor.start, raw_output=request.is_raw, adopts_orphans=not host.is_guest
        )
        self._start: Callable[[], Supervisor | RemoteWorker] = self._start_here
        if host.side is not None:
            from discover_orch.execution.executors.remote_worker import RemoteWorker  # rare

            self._start = partial(RemoteWorker, host.side, registry, self._sources_of)
        self._prepare = build_prepare(
            registry,
            project,
            raw_output=request.is_raw,
            post_mortem=request.post_mortem,
            all_frames=request.all_frames,
            is_traced=project.transaction != "run"
            or all(step.tool.is_traced for step in plan.possible_steps),
        )
        environ: Mapping[str, str] = os.environ
        self._worker = None
        watched = host.watched
        self._code = view.sources if watched is None else watched.code
        if watched is not None:
            self._worker, environ = watched.worker, watched.environment
            self._prepare = replace(self._prepare, environment=environ)
        elif host.interpreter is not None:
            self._worker = Supervisor.start(interpreter=host.interpreter)
        self._first: WorkerDriver | None = None
        if self._jobs == 1 and host.side is None:
            # It gets ready while the recorder reads the code.
            self._first = self._build_driver(self._prepare, self._worker)
        self._is_parallel = False
        # A watch sees new files by itself.
        self._gone: dict[str, str] = {}  # items that are withdrawn since the plan was made
        self._new_items: NewItems | None = None
        if watched is None and may_find_items(ready):
            self._new_items = NewItems(ready, lambda module: self._tools.find_success(module))
        # What tells this run from others of the same number. `secrets` takes 4 ms to import.
        key = os.urandom(8).hex()
        self._recorder = Recorder(
            plan,
            registry,
            project,
            code=self._code,
            environ=environ,
            key=key,
            keep=host.keep,
            has_process=host.requests is None,
        )
        self._tools = self._recorder.tools
        self._run = int(self._recorder.run), key

    def events(self, requests: RunRequests) -> Iterator[Event]:
        request, tools = self._request, self._tools
        plan = tools.with_previous(self._plan)
        queue = self._build_queue(plan) if self._jobs > 1 else None
        executor = self._build_executor(1 if queue is None else self._jobs)
        is_alone = queue is None and self._host.side is None
        run = Run(
            plan,
            self._registry,
            request,
            has_known_flow=tools.has_known_flow,
            queue=queue,
            workers=1 if queue is None else self._count_workers(plan),
            is_one_transaction=is_alone and self._project.transaction == "run",
            random=_random,
        )
        # Not where a watch may stop the run between two tools, and where the tool writes to the terminal.
        may_submit_early = plan.turns is None and self._host.watched is None and not request.is_raw
        hooks = RunHooks(
            expected=tools.expected_duration if self._host.predicts else None,
            settle=self._settle if self._prepare.project else None,
            take_records=tools.take_records if self._prepare.project else None,
            store=self._store,
            prepare=tools.prepare if is_alone and may_submit_early else None,
            find_items=self._find_items if self._new_items is not None else None,
            find_gone=self._find_gone,
            is_needed=None if plan.turns is None else tools.is_needed,
        )
        events = run_steps(
            run,
            executor,
            requests,
            hooks,
            run_id=self._recorder.run,
            clock=time.monotonic,
            notes=self._find_idle_workers(queue),
        )
        yield from self._carry_out(events, executor, requests)

    def _count_workers(self, plan: Plan) -> int:
        return self._jobs if self._new_items is not None else min(self._jobs, len(plan.steps))

    def _find_items(self, following: str | None) -> tuple[Extension | None, tuple[Problem, ...]]:
        """The plan with the items whose files tools of this run have made."""
        assert self._new_items is not None
        ready, problems = self._new_items.find(following)
        if ready is None:
            return None, problems
        registry = self._registry = ready.view.registry
        self._recorder.extend(ready.plan, registry)
        plan = self._plan = self._tools.with_previous(ready.plan)
        queue = self._build_queue(plan, stays=True) if self._is_parallel else None
        self._masking.add(plan.secrets)
        return (plan, registry, queue), ()

    def _find_gone(self, module: str) -> str:
        """The file that the item of the step came from, or the same item of the tool upstream, if it is gone."""
        registry = self._registry
        gone = find_gone_file(registry.tools[module], self._project.root)
        same = registry.same_items.get(tool_of(module))
        if same is not None:
            above = (one for one in registry.before.get(module, ()) if tool_of(one) == same.module)
            gone = next((self._gone[one] for one in above if one in self._gone), "")
        if gone:
            self._gone[module] = gone
        return gone

    def _build_queue(self, plan: Plan, *, stays: bool = False) -> StepQueue | None:
        """None where no two steps may run at the same time, unless it `stays` that several workers run them, or there
        are tools whose items are still to come."""
        registry = self._registry
        queue = build_queue(plan, registry, self._project, self._tools.has_known_use)
        if queue is None and (stays or (self._new_items and not all(registry.steps.values()))):
            queue = one_by_one([step.tool.module for step in plan.steps])
        self._is_parallel = queue is not None
        return queue

    def _sources_of(self, tool: Tool) -> Mapping[str, str]:
        return self._tools.sources_of(tool)

    def _build_driver(self, prepare: Prepare, worker: Supervisor | None = None) -> WorkerDriver:
        return WorkerDriver(
            prepare,
            worker,
            is_warm=self._host.watched is not None,
            start=self._start,
            sources_of=self._sources_of,
            run_of=lambda: self._run,
            ahead=self._build_ahead(),
        )

    def _build_ahead(self) -> WorkerAhead | None:
        """What starts the next worker while a tool runs; None if none has one of its own."""
        steps = self._plan.possible_steps
        if self._host.side is not None or not any(one.tool.has_own_worker for one in steps):
            return None
        from discover_orch.execution.warm_worker import WorkerAhead  # few projects need it

        modules = [one.tool.module for one in steps]
        return WorkerAhead(self._start_here, self._preload_of, dict(pairwise(modules)))

    def _preload_of(self, module: str) -> Preload:
        project, graph = self._project, self._code
        if not isinstance(graph, ImportGraph):
            graph = self._code = ImportGraph(project, graph)
        modules, pythonpath = graph.third_party([tool_of(module)]), project.absolute_pythonpath
        return Preload(root=project.root, pythonpath=pythonpath, modules=modules)

    def _build_executor(self, size: int) -> Executor:
        prepare = replace(self._prepare, is_one_of_several=size > 1)
        if self._host.side is not None:
            prepare = replace(prepare, environment=None)  # that machine reads its own `env_file`
        build = partial(self._build_driver, prepare)
        return Executor(build, self._first or build(self._worker), size)

    def _find_idle_workers(self, queue: StepQueue | None) -> list[Problem]:
        """Why several workers are of no use, where someone has asked for them."""
        steps, jobs = len(self._plan.steps), self._jobs
        # Who configured several workers knows that a few tools do not need them.
        is_narrow = jobs == self._project.jobs and steps < len(self._registry.order)
        if jobs == 1 or queue is not None or steps <= 1 or is_narrow:
            return []
        return [nothing_to_overlap(self._plan, self._registry, self._project)]

    def _settle(
        self, event: ToolFinished, attempt: int
    ) -> tuple[ToolFinished, tuple[Problem, ...]]:
        tool = self._registry.tools.get(event.module)
        if event.status != "unknown" or tool is None or not records_success(tool, self._registry):
            return event, ()
        from discover_orch.execution.database_question import settle_event  # few runs need it

        run, key = self._run
        project = self._project.project
        mine = Attempt(project=project, tool=event.module, run=run, key=key, number=attempt)
        return settle_event(event, mine, self._prepare)

    def _store(self, records: tuple[SuccessRecord, ...]) -> None:
        from discover_orch.execution.database_question import store  # few runs need it

        store(self._project, self._registry, records)

    def _open_observers(self) -> Observers | None:
        """Those of `orchconf.py`; None if it has none: then nothing is imported, and no process started."""
        conf = self._registry.conf
        found = [one for one in conf.observers if not one.problem] if conf else []
        if not found:
            return None
        from discover_orch.execution.observers import Observers  # few projects have any

        return Observers(found, self._project, self._plan.tools)

    def _carry_out(
        self, events: Iterator[Event], executor: Executor, requests: RunRequests
    ) -> Iterator[Event]:
        """The events of the run with their secrets masked, each recorded before it is yielded. However it ends, the
        executor is over afterwards."""
        recorder, project = self._recorder, self._project
        variables = secret_variables(recorder.environ, project.root)
        masking = Masking([*self._plan.secrets, *url_secrets(project.database), *variables])
        self._masking = masking
        notes_before: set[RunNote] = set()
        observers = self._open_observers()
        try:
            for event in events:
                if (masked := masking.mask(event)) is None:
                    continue
                masked = _with_hint(masked, self._plan, self._registry, project.root)
                if isinstance(masked, RunNote):
                    if masked in notes_before:  # another worker has said it
                        continue
                    notes_before.add(masked)
                is_end = isinstance(masked, RunFinished)
                if isinstance(masked, RunFinished):
                    masked = recorder.with_counts(masked)
                notes = [RunNote(problem=problem) for problem in recorder.record(masked)]
                if self._new_items is not None and isinstance(masked, ToolFinished):
                    self._new_items.note_end(masked)
                for one in (*notes, masked) if is_end else (masked, *notes):
                    yield one
                    if observers is not None:
                        yield from masking.mask_notes(observers.note(one))
            if observers is not None:
                yield from masking.mask_notes(observers.end(requests))
        except BrokenPipeError:  # thrown in by the caller, which could not write an event
            recorder.tools.is_output_closed = True
            raise
        finally:
            if not self._host.is_guest:
                signal.setitimer(signal.ITIMER_REAL, 0)  # cleaning up may take longer
            if not executor.is_over:
                executor.control("interrupt")
                executor.finish()
                while not executor.is_over:
                    for event in executor.events(0.1, requests.wake):
                        if (masked := masking.mask(event)) is not None:
                            recorder.record(masked)
            recorder.close()
            if observers is not None:
                deque(observers.end(requests), maxlen=0)


def open_far_side(ready: ReadyRun, *, is_guest: bool = False) -> FarSide | None:
    """Where the steps are carried out; None for this machine. A guest is in the process of another program. Raises
    UsageError if that cannot be used."""
    if ready.view.project.executor == "local":
        return None
    from discover_orch.execution.executors.remote_worker import open_remote_side  # few runs need it

    jobs, has_jobs = ready.jobs, ready.has_jobs
    return open_remote_side(ready.plan, ready.view, jobs=jobs, has_jobs=has_jobs, is_guest=is_guest)


def _random() -> float:
    import random  # takes 2 ms, and few runs need it

    return random.random()


def _with_hint(event: Event, plan: Plan, registry: Registry, root: str) -> Event:
    """The end of a tool that missed a file or a table, with a hint that names who makes it; of one whose checks failed
    with what they found, as a text in which the secrets are masked already."""
    if not isinstance(event, ToolFinished) or event.status != "failed":
        return event
    error = event.error
    if error is not None and error.kind == "check":
        from discover_orch.model.checks import checks_text
        from discover_orch.planning.dataflow_checks import listed

        written = event.seen.find("file", *WRITTEN) if event.seen else ()
        files = dict.fromkeys(use.name for use in written)
        hint = error.hint
        if files and not hint:
            stay = "stays" if len(files) == 1 else "stay"
            hint = f"{listed([*files])} {stay} as written: only the database was rolled back"
        return replace(event, error=replace(error, traceback=checks_text(event.checks), hint=hint))
    if error is None or error.kind != "exception" or registry.tools.get(event.module) is None:
        return event
    from discover_orch.execution.missing_data_hint import find_missing_hint  # few tools fail

    modules = [step.tool.module for step in plan.possible_steps]
    hint = find_missing_hint(error, event.module, modules, registry, root)
    return replace(event, error=replace(error, hint=hint)) if hint else event
