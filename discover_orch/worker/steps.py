"""Runs the steps that the parent orders, one after another, and reports each."""

from __future__ import annotations

import _thread
import contextlib
import gc
import os
import time

from msgspec.structs import replace

from discover_orch.databases.error_hints import find_hint
from discover_orch.databases.opening import find_path
from discover_orch.model.conventions import SQL_SUFFIX
from discover_orch.model.errors import Failure, Location, Problem
from discover_orch.model.secret_masking import find_url_passwords, is_secret_name, name_secrets
from discover_orch.model.tool_events import (
    DatabaseWritten,
    RunNote,
    SecretFound,
    ToolFinished,
    ToolStarted,
    TransactionEnded,
)
from discover_orch.worker.channel import Capture, Channel
from discover_orch.worker.child_processes import end_late
from discover_orch.worker.connection import ResourceProblem
from discover_orch.worker.debugger import Debugger
from discover_orch.worker.interrupts import Interrupts
from discover_orch.worker.loader import (
    Loader,
    follow_packages,
    write_bytecode,
)
from discover_orch.worker.process_state import ProcessState
from discover_orch.worker.project_threads import find_threads
from discover_orch.worker.protocol import (
    INSIDE,
    Answer,
    Ask,
    Closed,
    Finish,
    Prepare,
    RunStep,
)
from discover_orch.worker.resources import CONN, Resources
from discover_orch.worker.tool_observation import Observer
from discover_orch.worker.tool_step import Parts, ToolStep
from discover_orch.worker.tracebacks import describe_exception

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

    from discover_orch.model.observation import Observation
    from discover_orch.model.success_record import SuccessRecord
    from discover_orch.model.tool_events import TableHead
    from discover_orch.worker.loader import Loaded
    from discover_orch.worker.project_code import ProjectCode
    from discover_orch.worker.traced_files import TracedFiles

#: After so many new objects Python looks for garbage, since 3.13. With the 700 of earlier versions, importing 1,000
#: modules takes 6 % longer.
NEW_OBJECTS = 2000


class Worker:
    """Runs the steps that the parent orders, after `Prepare`."""

    def __init__(
        self,
        prepare: Prepare,
        project: ProjectCode,
        channel: Channel,
        capture: Capture,
        interrupts: Interrupts,
        traced: TracedFiles,
    ) -> None:
        self._pid = os.getpid()
        self._channel = channel
        self._capture = capture
        self._interrupts = interrupts
        self._prepare = prepare
        self._conf_error: BaseException | None = None
        self._sent_secrets: set[str] = set()  # secrets that the parent knows from this worker
        if prepare.environment is not None and prepare.environment != os.environ:
            os.environ.clear()
            os.environ.update(prepare.environment)
        os.environ[INSIDE] = prepare.root
        name_secrets(prepare.secrets)
        database = "" if prepare.has_connection else find_path(prepare.database, prepare.root)
        self._baseline = ProcessState(project, channel.messages_fd)
        self._project = project
        self._loader = Loader(project, lambda path: self._loading(project.show(path)))
        self._loader.install()
        follow_packages(project, self._baseline)
        project.note_included = self._include
        self._observer = Observer(project, database, traced)
        self._observer.audit.note_variable = self._tell_secrets
        self._observer.environment.note_question = self._baseline.note_question
        project.follow_import_module()
        project.caches.follow()
        self._debugger = Debugger(channel, capture, interrupts)
        self._debugger.install()
        self._debugger.note_stop = self._observer.ran.pause
        self._resources = Resources(
            prepare,
            load_conf=self._load_conf,
            call=interrupts.shield,
            loading=self._loading,
            observer=self._observer,
            is_interrupted=lambda: interrupts.was_raised,
            cancel_with=interrupts.cancel_with,
            warn=lambda problem: channel.send(RunNote(problem=problem)),
        )
        self._parts = Parts(
            prepare, channel, interrupts, self._baseline, self._loader, self._observer, self._debugger, self._resources
        )  # fmt: skip

    def serve(self) -> None:
        """Carry out orders until `Finish`, or until the parent closes the pipe."""
        with self._baseline:
            self._baseline.note_base()  # and enter the root
        gc.freeze()  # orch's own objects are no garbage
        first, *others = gc.get_threshold()
        if 0 < first < NEW_OBJECTS:
            gc.set_threshold(NEW_OBJECTS, *others)
        gc.enable()  # `spawn` turned it off for the start
        while (order := self._channel.receive()) is not None:
            if isinstance(order, RunStep):
                self._run(order)
            elif isinstance(order, Ask):
                self._answer(order)
            elif isinstance(order, Finish):
                if order.commits:
                    self._commit_run()
                self._store(order.records)
                break
        self._finish(is_asked=isinstance(order, Finish))

    def _commit_run(self) -> None:
        note = None
        with self._baseline:
            try:
                self._interrupts.raise_if_requested()
                self._resources.commit_run()
            except BaseException as error:
                failure = describe_exception(error, self._prepare.root, find_hint(error))
                note = _note_unclosed("the run was not committed", failure, failure.hint)
            self._capture.restore()
        if note is not None:
            self._channel.send(note)
        self._channel.send(TransactionEnded(status="rolled_back" if note else "passed"))

    def _store(self, records: tuple[SuccessRecord, ...]) -> None:
        """The next run does it where the database does not let this one."""
        with self._baseline:
            with contextlib.suppress(Exception):
                self._resources.store_records(self._prepare.project, records)
            self._capture.restore()

    def _answer(self, order: Ask) -> None:
        with self._baseline:
            try:
                answer = self._resources.ask_memory(order) if order.project else Answer()
                if order.deletes:
                    self._resources.delete_rows(order.deletes)
                if order.has_tables:
                    tables, contents = self._resources.look_at_tables(order.tables)
                    answer = replace(answer, tables=tables, contents=contents)
            except Exception as error:
                answer = Answer(problem=str(error) or type(error).__name__)
            self._capture.restore()
        self._channel.send(answer)

    def _run(self, order: RunStep) -> None:
        self._report_foreign_write(order.resources)
        self._channel.send(ToolStarted(module=order.module))
        started = time.perf_counter()
        self._interrupts.was_raised = False
        self._debugger.begin_step(order.module)
        step = ToolStep(order, self._parts)
        code = {order.path, *order.code, *self._resources.find_owners(order.resources)}
        self._observer.begin_step(code)
        with self._baseline:
            self._baseline.begin(code)
            step.run()
            loaded, error = self._loader.drain_loaded(), step.error
            seen, tables = self._observe(loaded, step.asked_for)
            if error is not None and self._observer.setuid and not error.hint:
                error = replace(error, hint=_no_rights_hint(self._observer.setuid, order.path))
            with contextlib.suppress(Exception):  # then the next step cannot open it either
                self._resources.record_owed()
            self._resources.close_for_others()
            self._channel.exit_if_closed()
            self._debugger.end_step()
            self._capture.restore()
            self._report_foreign_write(())  # as it was asked when the step had ended
            self._channel.send(
                ToolFinished(
                    module=order.module,
                    status=step.status,
                    duration=time.perf_counter() - started,
                    error=error,
                    metrics=step.metrics,
                    notes=tuple(step.notes),
                    checks=step.checks,
                    returned=step.returned,
                    loaded={path: content for _, path, content in loaded},
                    loaded_as={path: name for name, path, _ in loaded},
                    seen=seen,
                    commit_seconds=step.commit_seconds,
                    record=self._resources.take_record() if step.status == "passed" else "",
                    tables=tables,
                    removed=step.removed,
                )
            )  # the parent works while the process becomes as it was
        write_bytecode()

    def _report_foreign_write(self, names: tuple[str, ...]) -> None:
        if self._resources.has_foreign_write(names):
            self._channel.send(DatabaseWritten())

    def _observe(
        self, loaded: tuple[Loaded, ...], resources: tuple[str, ...]
    ) -> tuple[Observation, tuple[TableHead, ...]]:
        """What the tool did, before its process state is restored; the first rows of the tables that it wrote."""
        self._observer.end_transactions()
        tables, others, heads = self._resources.drain_tables(resources)
        seen = self._observer.finish_step(tables, {path for _, path, _ in loaded}, **others)
        return seen, heads

    @contextlib.contextmanager
    def _loading(self, owner: str) -> Iterator[None]:
        """While this module is loaded or this resource opened, whose users share what it reads and changes."""
        with self._baseline.changed_by(owner), self._observer.loading(owner):
            yield

    def _include(self, code: Iterable[str]) -> None:
        """The code of the present step includes these files too."""
        found = {*code}
        self._baseline.include(found)
        self._observer.include(found)

    def _load_conf(self) -> ModuleType:
        """`orchconf.py`. If it raises, it does not run again for the next tool."""
        if self._conf_error is not None:
            raise self._conf_error
        if self._prepare.orchconf is None:
            raise ResourceProblem("the project has no orchconf.py")
        try:
            module: ModuleType = self._interrupts.call(
                self._loader.load_conf, self._prepare.orchconf
            )
        except Exception as error:
            self._conf_error = error
            raise
        return module

    def _tell_secrets(self, name: str, text: str) -> None:
        """Code of the user sets this variable. The path of a file is no secret (`execution/session.py`)."""
        found = find_url_passwords(text)
        if is_secret_name(name) and not os.path.exists(os.path.join(self._prepare.root, text)):
            found.append(text)
        for one in found:
            if one not in self._sent_secrets and os.getpid() == self._pid:
                self._sent_secrets.add(one)
                self._channel.send(SecretFound(text=one))

    def _finish(self, is_asked: bool) -> None:
        """Close what is open and report it; then the interpreter ends as usual."""
        self._report_foreign_write((CONN,))
        with self._baseline:
            self._baseline.begin_closing()
            closed = self._resources.close()
            try:
                self._interrupts.close()
            except BaseException as unclosed:
                closed.append(("the event loop", unclosed))
            self._channel.exit_if_closed()
            self._capture.restore()
        self._observer.forget_modules()
        for name, error in closed:
            failure = describe_exception(
                error, self._prepare.root, all_frames=self._prepare.all_frames
            )
            self._channel.send(_note_unclosed(f"closing {name}", failure))
        if is_asked:
            threads, has_others = find_threads(self._project)
            self._channel.send(Closed(threads=tuple(threads)))
            if has_others and not threads:
                _thread.start_new_thread(end_late, ())


def _no_rights_hint(program: str, path: str) -> str:
    tag = '{"trace": False}'
    tag = f"-- ORCH: {tag}" if path.endswith(SQL_SUFFIX) else f"ORCH = {tag}"
    return (
        f"{program} gains no rights in a tool that the kernel traces; if it needs them, write {tag}"
    )


def _note_unclosed(what: str, failure: Failure, hint: str = "") -> RunNote:
    """A failure without a line in the user's code has a message of orch."""
    message, place = f"{what}: {failure.message or failure.type}", None
    if failure.path is not None:
        message += f" ({failure.type})"
        place = Location(path=failure.path, line=failure.line)
    problem = Problem(code="closing", message=message, hint=hint).at(place)
    return RunNote(problem=problem, traceback=failure.traceback if place else "")
