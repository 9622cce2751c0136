"""One step in the worker: the tool is loaded, its arguments are bound, it is called and checked, and its transaction
ends."""

from __future__ import annotations

import os
import sys
import time

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.databases.error_hints import is_cancelled
from discover_orch.model.conventions import SQL_SUFFIX
from discover_orch.model.database_url import CannotOpen
from discover_orch.model.items import tool_of
from discover_orch.model.success_record import AlreadyCommitted, Attempt, NotOwnTable
from discover_orch.worker.connection import ResourceProblem
from discover_orch.worker.debugger import NoTerminal
from discover_orch.worker.loader import ImportProblem
from discover_orch.worker.protocol import Committing
from discover_orch.worker.tool_call import (
    MissingOutput,
    RealSignature,
    check_outputs,
    convert_arguments,
    find_positional_only,
    note_ignored,
    read_metrics,
    refuse_generator,
)
from discover_orch.worker.tracebacks import describe_exception

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType
    from typing import Any

    from discover_orch.model.checks import CheckResult
    from discover_orch.model.errors import Failure
    from discover_orch.model.tool_events import ToolStatus
    from discover_orch.worker.channel import Channel
    from discover_orch.worker.debugger import Debugger
    from discover_orch.worker.interrupts import Interrupts
    from discover_orch.worker.loader import Loader
    from discover_orch.worker.process_state import ProcessState
    from discover_orch.worker.protocol import Prepare, RunStep
    from discover_orch.worker.resources import Resources
    from discover_orch.worker.sql_tool import SqlTool
    from discover_orch.worker.tool_observation import Observer

# Errors that orch itself raises about a tool. They are shown as a sentence, without a traceback.
EXPLAINED_ERRORS = (
    AlreadyCommitted,
    CannotOpen,
    ImportProblem,
    MissingOutput,
    NoTerminal,
    NotOwnTable,
    ResourceProblem,
)


class Parts(Struct, frozen=True):
    """What a worker has for all its steps."""

    prepare: Prepare
    channel: Channel
    interrupts: Interrupts
    baseline: ProcessState
    loader: Loader
    observer: Observer
    debugger: Debugger
    resources: Resources


class ToolStep:
    """One tool, and how it ended. `asked_for` are the resources that it and its checks take; `removed` are the tables
    that were dropped before it ran; `returned` is what it returned, as JSON, where a check takes that."""

    def __init__(self, order: RunStep, parts: Parts) -> None:
        self._order, self._parts, self._prepare = order, parts, parts.prepare
        self._interrupts, self._resources = parts.interrupts, parts.resources
        self._pid = os.getpid()
        self._commit_began = 0.0
        self.asked_for = order.resources if order.is_readable else ()
        self.status: ToolStatus = "passed"
        self.error: Failure | None = None
        self.metrics: Mapping[str, object] = {}
        self.notes: list[str] = []
        self.checks: tuple[CheckResult, ...] = ()
        self.removed: tuple[str, ...] = ()
        self.returned = ""
        self.commit_seconds = 0.0

    def run(self) -> None:
        """Run the tool and end its transaction, whatever happens."""
        outputs, has_returned = self._order.outputs, False
        try:
            try:
                self._interrupts.raise_if_requested()
                module = self._load()
                given = self._call(module.run)
            finally:
                self._parts.baseline.restore_modules()
            self._exit_if_forked(0)
            if self._interrupts.was_raised:  # the tool caught the interrupt and returned
                raise KeyboardInterrupt
            if outputs:
                check_outputs(self._prepare.root, outputs)
                self._parts.observer.note_outputs(outputs)
            if self._order.checks:
                self._check(module, given)
            has_returned = True
            self.notes += self._resources.end_transaction(
                keep=True, before_commit=self._begin_commit
            )
        except BaseException as error:
            self._exit_if_forked(1, error)
            self._fail(error, has_returned)
        if self._commit_began:
            self.commit_seconds = time.perf_counter() - self._commit_began

    def _load(self) -> Any:
        """The module, or the statements of a file of SQL, with the function `run`."""
        path = self._order.path
        module = self._interrupts.call(self._load_module, tool_of(self._order.module), path)
        if not callable(getattr(module, "run", None)):
            raise ImportProblem(
                f"{path} defines no function run() when it is loaded",
                "define run() at the top level of the module",
            )
        return module

    def _load_module(self, module: str, path: str) -> ModuleType | SqlTool:
        if not path.endswith(SQL_SUFFIX):
            return self._parts.loader.load_tool(module, path)
        from discover_orch.worker.sql_tool import load_sql

        tool = load_sql(self._prepare.root, path, self._order.outputs)
        self._parts.loader.note_sql(path, tool.source)
        return tool

    def _bind(self, run: Callable[..., Any]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
        """The arguments of `run` by position and by name, and what the checks can take beside its result."""
        order, call = self._order, self._interrupts.call
        named: dict[str, Any] = dict(order.extra)
        own = order.resources
        if order.is_readable:
            positional_only = find_positional_only(run)
        else:
            signature = call(RealSignature, run)
            own = self.asked_for = signature.select_resources(order.resources)
            named = call(signature.convert, order.extra, own)
            positional_only = signature.positional_only
        if order.arguments:
            named.update(call(convert_arguments, order.arguments))
        if order.checks:
            own = tuple(name for name in own if name not in order.check_resources)
            asked = (name for check in order.checks for name in check.arguments)
            others = (name for name in asked if name in order.resources)
            self.asked_for = tuple(dict.fromkeys((*own, *others)))
        opened = self._resources.open(self.asked_for) if self.asked_for else {}
        named.update((name, opened[name]) for name in own)
        given = {**named, **opened}
        first = [named.pop(name) for name in positional_only if name in named]
        return first, named, given

    def _call(self, run: Callable[..., Any]) -> dict[str, object]:
        """Call the tool in its transaction; what its checks can take. Nothing else of the user's is held when the
        transaction ends."""
        first, named, given = self._bind(run)
        order = self._order
        self._interrupts.raise_if_requested()
        self._resources.begin_transaction(
            self.asked_for,
            commits_by_itself=order.commits_by_itself,
            writes_alone=order.writes_alone,
            attempt=self._build_attempt(),
            of_item=(order.column, order.value),
        )
        self.removed = self._resources.remove_tables(order)
        self._parts.baseline.begin_run(tool_of(order.module))
        returned = self._interrupts.call(run, *first, **named)
        refuse_generator(returned)
        self.metrics = read_metrics(returned)
        self.notes = note_ignored(returned, self.metrics)
        if order.checks:
            from discover_orch.worker.checks import write_previous  # few tools need it

            self.returned, more = write_previous(order.checks, returned)
            self.notes += more
            return {"result": returned, **given}
        return {}

    def _check(self, module: Any, given: dict[str, object]) -> None:
        """Raises ChecksFailed."""
        from discover_orch.worker.checks import CheckRunner, complete_arguments

        order = self._order
        runner = CheckRunner(
            order.path,
            self._prepare.root,
            self._call_check,
            self._is_interrupted,
            self._resources.savepoint(self.asked_for),
            self.asked_for,
        )
        arguments = complete_arguments(order.checks, module.run, given, order.previous)
        self.checks, failed = runner.run(order.checks, module, arguments)
        if failed is not None:
            raise failed

    def _call_check(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        """A child process that a check has forked ends where it returns."""
        try:
            returned = self._interrupts.call(function, *args, **named)
        except BaseException as error:
            self._exit_if_forked(1, error)
            raise
        self._exit_if_forked(0)
        return returned

    def _begin_commit(self) -> None:
        self._parts.channel.send(Committing(module=self._order.module))
        self._commit_began = time.perf_counter()

    def _build_attempt(self) -> Attempt | None:
        """What is recorded in the database if it succeeds."""
        order, project = self._order, self._prepare.project
        if not project or not order.key:
            return None
        return Attempt(
            project=project,
            tool=order.module,
            run=order.run,
            key=order.key,
            number=order.attempt,
        )

    def _fail(self, error: BaseException, has_returned: bool) -> None:
        self._interrupts.was_raised = self._is_interrupted(error)
        self.status = "interrupted" if self._interrupts.was_raised else "failed"
        self.error = self._describe(error, has_returned)
        if self._prepare.post_mortem and self.status == "failed":
            raised = error.__cause__ if self.error.kind == "check" else error
            if raised is not None:
                self._parts.debugger.debug_failure(raised, self.error.traceback)
        self.metrics = {}
        try:
            self.notes = self._resources.end_transaction(keep=False)
        except BaseException as unended:
            self.notes = [f"its transaction was not rolled back: {unended}"]

    def _is_interrupted(self, error: BaseException) -> bool:
        """The error of the driver may come before KeyboardInterrupt."""
        interrupts = self._interrupts
        return interrupts.was_raised or (interrupts.is_requested and is_cancelled(error))

    def _describe(self, error: BaseException, has_returned: bool) -> Failure:
        order = self._order
        if issubclass(type(error), EXPLAINED_ERRORS):
            failure = describe_exception(error, self._prepare.root)
            return replace(
                failure,
                kind="outputs" if isinstance(error, MissingOutput) else "exception",
                path=failure.path or order.path,
                traceback="",
                hint=error.hint if hasattr(error, "hint") else "",
            )
        if order.checks:
            from discover_orch.worker.checks import ChecksFailed

            if isinstance(error, ChecksFailed):
                return error.describe()
        hint = self._resources.find_hint(error) or self._parts.loader.find_import_hint(error)
        if order.path.endswith(SQL_SUFFIX):
            hint = hint.replace("ORCH = {", "-- ORCH: {")
        if has_returned:
            hint = hint or "raised when orch committed, after run() had returned"
        failure = describe_exception(
            error, self._prepare.root, hint, all_frames=self._prepare.all_frames
        )
        if failure.path is None:  # not raised in the user's code: by the commit, for example
            return replace(failure, path=order.path, line=None, traceback="")
        return failure

    def _exit_if_forked(self, code: int, error: BaseException | None = None) -> None:
        """End a child process that a tool has forked and that returned from the tool."""
        if os.getpid() != self._pid:
            if error is not None and not issubclass(type(error), SystemExit):
                sys.stderr.write(describe_exception(error, self._prepare.root).traceback)
                sys.stderr.flush()
            os._exit(code)
