"""The child: takes orders, runs tools one after another, reports.

A new interpreter that the supervisor starts before anything is known of the project; all it needs to know
comes by orders. It plans nothing, and knows no terminal but the one that it is lent to debug. What it
imports, every run pays for: nothing here that a run which goes well does not need.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import faulthandler
import gc
import io
import os
import signal
import sys
import time
from collections.abc import Mapping

from discover_orch.databases.transactions import CannotOpen, find_hint, find_path
from discover_orch.model.errors import Failure
from discover_orch.worker.capture import Capture
from discover_orch.worker.channel import Channel
from discover_orch.worker.child_processes import become_subreaper, end_with_parent, sweep
from discover_orch.worker.debugger import Debugger, NoTerminal
from discover_orch.worker.interrupts import Interrupts
from discover_orch.worker.loader import ImportProblem, Loader, preload
from discover_orch.worker.observer import Observer
from discover_orch.worker.process_state import ProcessState
from discover_orch.worker.protocol import (
    INSIDE,
    Closed,
    Declined,
    Finish,
    Greet,
    Preload,
    Prepare,
    RunStep,
    StepFinished,
    StepStarted,
)
from discover_orch.worker.resources import ResourceProblem, Resources
from discover_orch.worker.tool_results import MissingOutput, check_outputs, read_metrics
from discover_orch.worker.tracebacks import describe_exception

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from discover_orch.model.observation import Observation
    from discover_orch.worker.loader import Loaded
    from discover_orch.worker.protocol import StepStatus

# What orch itself has to say about a tool: a sentence, and no traceback.
EXPLAINED_ERRORS = (CannotOpen, ImportProblem, MissingOutput, NoTerminal, ResourceProblem)
# What most tools import from the standard library: done while there is nothing else to do.
COMMON_IMPORTS = ("dataclasses", "logging", "pathlib", "typing")
SWEEP_TIME = 0.5  # seconds
BUFFERED_FILES = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


def main() -> None:
    """The whole life of a worker; the supervisor starts it with pipes at known descriptors."""
    interrupts = Interrupts()
    interrupts.install()
    channel = Channel()
    for name in COMMON_IMPORTS:
        if channel.is_idle():
            __import__(name)
    greeting = channel.receive()
    if not isinstance(greeting, Greet):
        return
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)  # to ask the terminal is refused, not stopped
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    become_subreaper()
    atexit.register(_end_process)  # the first to be registered is the last to be called
    _thread.start_new_thread(_end_with_parent, (channel.life, os.getpid()))
    if greeting.watches_death:
        end_with_parent(greeting.parent)
    faulthandler.enable(channel.messages_fd, all_threads=False)
    capture = Capture(greeting.mark)
    channel.guard(capture.fds)
    order = channel.receive()
    if isinstance(order, Preload):
        channel.send(preload(order, capture.restore))
        order = channel.receive()
    if isinstance(order, Prepare):
        Worker(order, channel, capture, interrupts).serve()


def _end_with_parent(life: int, me: int) -> None:
    """Wait until the parent is gone; then end all that is below us, and ourselves.

    In a thread of its own, since the main thread runs a tool; the tool is not asked: its transaction
    is rolled back by the database.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
    try:
        while os.read(life, 1):
            pass
    except OSError:  # the tool closed it
        return
    sweep(set(), time.monotonic() + SWEEP_TIME)
    if os.getpgrp() == me:
        os.killpg(me, signal.SIGKILL)
    os.kill(me, signal.SIGKILL)


def _end_process() -> None:
    """Leave no process behind, and spare the interpreter its search for garbage cycles.

    That search takes a quarter of a run of many modules. All files are flushed before it is turned
    off: one of them may be held by such a cycle, and would lose what was written to it.
    """
    sweep(set(), 0)
    for one in gc.get_objects():
        if isinstance(one, BUFFERED_FILES):
            with contextlib.suppress(Exception):
                one.flush()
    gc.freeze()


class Worker:
    """One prepared worker: `serve` until there are no more orders."""

    def __init__(
        self, prepare: Prepare, channel: Channel, capture: Capture, interrupts: Interrupts
    ) -> None:
        self._pid = os.getpid()
        self._channel = channel
        self._capture = capture
        self._interrupts = interrupts
        self._root = prepare.root
        self._post_mortem = prepare.post_mortem
        self._all_frames = prepare.all_frames
        self._orchconf = prepare.orchconf
        self._conf_error: BaseException | None = None
        self._failures = 0
        self._is_set_up = False  # all that the tool needs is loaded and opened
        if prepare.environment is not None:
            os.environ.clear()
            os.environ.update(prepare.environment)
        os.environ[INSIDE] = prepare.root
        database = "" if prepare.has_connection else find_path(prepare.database, prepare.root)
        self._observer = Observer(prepare.root, database) if prepare.observes else None
        self._loader = Loader(prepare.root, prepare.pythonpath)
        self._loader.install()
        self._debugger = Debugger(channel, capture, interrupts)
        self._debugger.install()
        self._baseline = ProcessState(prepare.root, channel.messages_fd)
        self._resources = Resources(
            root=prepare.root,
            database=prepare.database,
            transaction=prepare.transaction,
            needs=prepare.resources,
            has_connection=prepare.has_connection,
            load_conf=self._load_conf,
            call=interrupts.shield,
            observer=self._observer,
            is_interrupted=lambda: interrupts.was_raised,
        )

    def serve(self) -> None:
        """Carry out orders until `Finish`, or until the parent closes the pipe."""
        with self._baseline:
            pass  # enter the root
        gc.freeze()  # what orch has made so far is no garbage, and need not be looked at again
        gc.enable()  # it was off while the interpreter got ready
        while (order := self._channel.receive()) is not None:
            if isinstance(order, RunStep):
                self._run(order)
            elif isinstance(order, Finish):
                break
        self._finish(is_asked=isinstance(order, Finish))

    def _run(self, order: RunStep) -> None:
        if self._interrupts.is_requested or self._failures > order.failures:
            self._channel.send(Declined(step=order.step))
            return
        self._channel.send(StepStarted(step=order.step))
        started = time.perf_counter()
        self._interrupts.was_raised = False
        self._debugger.begin_step(order.step)
        self._is_set_up = False
        if self._observer is not None:
            self._observer.begin_step()
        with self._baseline:
            status, error, metrics, notes = self._run_step(order)
            loaded = self._loader.drain_loaded()
            seen = self._observe(order, loaded)
            early = self._observer.setup_observation() if self._observer is not None else None
            opened = self._resources.drain_opened()
            self._channel.exit_if_closed()
            self._debugger.end_step()
            self._capture.restore()
        self._capture.end_step(order.step)
        self._failures += status == "failed"
        self._channel.send(
            StepFinished(
                step=order.step,
                status=status,
                duration=time.perf_counter() - started,
                error=error,
                metrics=metrics,
                notes=tuple(notes),
                loaded=loaded,
                seen=seen,
                early=early,
                opened=opened if early is not None else (),
            ),
            may_wait=True,
        )

    def _observe(self, order: RunStep, loaded: tuple[Loaded, ...]) -> Observation | None:
        """What the tool was seen to do; before anything of it is put back."""
        if self._observer is None:
            return None
        if not self._is_set_up:
            self._mark_setup_done()
        return self._observer.finish_step(
            loaded={path for _, path, _ in loaded},
            third_party=self._loader.drain_third_party(),
            **self._resources.drain_tables(order.resources),
        )

    def _mark_setup_done(self) -> None:
        """What comes later is the tool's alone; the others find open and loaded what was until now."""
        self._is_set_up = True
        if self._observer is not None:
            self._observer.mark_setup_done(**self._resources.observe_setup())

    def _run_step(
        self, order: RunStep
    ) -> tuple[StepStatus, Failure | None, Mapping[str, object], list[str]]:
        """Run the tool and end its transaction, whatever happens."""
        has_returned = False
        try:
            metrics = self._call_tool(order)
            has_returned = True
            self._exit_if_forked(0)
            if self._interrupts.was_raised:  # it caught the interrupt, and went on to its end
                raise KeyboardInterrupt
            if order.outputs:
                check_outputs(self._root, order.outputs)
            notes = self._resources.end_transaction(keep=True)
        except BaseException as error:
            self._exit_if_forked(1, error)
            status: StepStatus = "interrupted" if self._interrupts.was_raised else "failed"
            described = self._describe(error, order, has_returned)
            if self._post_mortem and status == "failed":
                self._debugger.debug_failure(error, described.traceback)
            return status, described, {}, self._roll_back()
        return "passed", None, metrics, notes

    def _call_tool(self, order: RunStep) -> Mapping[str, object]:
        call = self._interrupts.call
        module = call(self._loader.load_tool, order.module, order.path)
        run = getattr(module, "run", None)
        if not callable(run):
            raise ImportProblem(
                f"{order.path} has no callable run() once it is loaded", "define run() at top level"
            )
        named: dict[str, Any] = dict(order.extra)
        if order.arguments:
            named.update(call(_convert, order))
        named.update(self._resources.open(order.resources))
        self._interrupts.raise_if_requested()
        self._mark_setup_done()
        self._resources.begin_transaction(order.resources)
        first = [named.pop(name) for name in _positional_only(run) if name in named]
        return read_metrics(call(run, *first, **named))

    def _roll_back(self) -> list[str]:
        try:
            return self._resources.end_transaction(keep=False)
        except BaseException as error:
            return [f"its transaction could not be rolled back: {error}"]

    def _describe(self, error: BaseException, order: RunStep, has_returned: bool) -> Failure:
        if issubclass(type(error), EXPLAINED_ERRORS):
            place = describe_exception(error, self._root)
            return Failure(
                kind="outputs" if isinstance(error, MissingOutput) else "exception",
                type=type(error).__name__,
                message=str(error),
                path=place.path or order.path,
                line=place.line,
                hint=error.hint if hasattr(error, "hint") else "",
            )
        hint = find_hint(error) or self._loader.find_import_hint(error)
        if has_returned:
            hint = hint or "raised after run() had returned, when orch committed"
        described = describe_exception(error, self._root, hint, all_frames=self._all_frames)
        if described.path is None:  # no line of the user's raised it: at the commit, say
            return Failure(
                kind=described.kind,
                type=described.type,
                message=described.message,
                path=order.path,
                hint=described.hint,
            )
        return described

    def _load_conf(self) -> ModuleType:
        """`orchconf.py`; one that raises is not run again for each tool."""
        if self._conf_error is not None:
            raise self._conf_error
        if self._orchconf is None:
            raise ResourceProblem("the project has no orchconf.py")
        try:
            module: ModuleType = self._interrupts.call(self._loader.load_conf, self._orchconf)
        except Exception as error:
            self._conf_error = error
            raise
        return module

    def _exit_if_forked(self, code: int, error: BaseException | None = None) -> None:
        """A tool forked, and its child came back here: it has no business in this function."""
        if os.getpid() != self._pid:
            if error is not None and not issubclass(type(error), SystemExit):
                sys.stderr.write(describe_exception(error, self._root).traceback)
                sys.stderr.flush()
            os._exit(code)

    def _finish(self, is_asked: bool) -> None:
        """Close what is open and say so; then the interpreter ends as any other."""
        with self._baseline:
            closed = self._resources.close()
            try:
                self._interrupts.close()
            except BaseException as unclosed:
                closed.append(("the event loop", unclosed))
            self._channel.exit_if_closed()
            self._capture.restore()
        errors = []
        for name, error in closed:
            one = describe_exception(error, self._root, all_frames=self._all_frames)
            errors.append(
                Failure(
                    kind=one.kind,
                    type=one.type,
                    message=f"closing {name}: {one.message or one.type}",
                    path=one.path,
                    line=one.line,
                    traceback=one.traceback,
                )
            )
        if is_asked:
            self._channel.send(Closed(errors=tuple(errors), threads=_find_threads()))


def _convert(order: RunStep) -> dict[str, object]:
    """The arguments as `run()` wants them; imports the module of an Enum for its members."""
    from discover_orch.model.tool import EnumMember, Param  # only a tool with parameters needs it

    converted: dict[str, object] = {}
    for name, argument in order.arguments.items():
        param = Param(name=name, type=argument.type)
        one = param.convert(argument.texts)
        if isinstance(one, list):
            converted[name] = [_find_member(m) if isinstance(m, EnumMember) else m for m in one]
        else:
            converted[name] = _find_member(one) if isinstance(one, EnumMember) else one
    return converted


def _find_member(member: Any) -> object:
    import importlib

    found: Any = importlib.import_module(member.module)
    for part in member.enum.split("."):
        found = getattr(found, part)
    return found[member.name]


def _positional_only(run: Any) -> tuple[str, ...]:
    code = getattr(run, "__code__", None)
    return () if code is None else code.co_varnames[: code.co_posonlyargcount]


def _find_threads() -> tuple[str, ...]:
    """Names of threads that keep the interpreter from ending."""
    threading = sys.modules.get("threading")
    if threading is None:
        return ()
    main = threading.main_thread()
    return tuple(one.name for one in threading.enumerate() if one is not main and not one.daemon)
