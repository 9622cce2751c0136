"""The one way into a run, for the command line and for Python code alike: from what was asked for to what is to run.

`look_ahead` says what a run would do, `open_run` holds the lock and says what it will do, and `read_status` says what
is fresh. Starts no tool.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.file import find_line
from discover_orch.config.project import INSIDE_VARIABLE, Project
from discover_orch.config.settings import EXECUTOR_HINT, is_executor
from discover_orch.discovery import items
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.model.conventions import VARIABLE_PREFIX
from discover_orch.model.database_url import CannotOpen, SqliteUrl, read_database_url
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.errors import (
    EmptyError,
    ExitCode,
    Location,
    OrchError,
    Problem,
    UsageError,
)
from discover_orch.planning import project_view
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.plan import Plan, Step, extend_plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.project_warnings import check_sharing, check_tokens, opens_database
from discover_orch.staleness.current_inputs import takes_connection
from discover_orch.state.lock import LockHolder, ProjectLock, find_holder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.execution.database_memory import DatabaseMemory
    from discover_orch.planning.remaining_work import RemainingWork

#: Fields of a request, the others that each cannot be combined with, and what to do instead.
_CONFLICTS = {
    "resume": (
        ("targets", "exclude", "changed", "changed_since"),
        "it runs what is left of a recorded plan: leave the other one out",
    ),
    "changed_since": (("changed",), "use one of them"),
}
#: Shows warnings to the user, or keeps them.
Note = Callable[[Iterable[Problem]], object]


class Request(Struct, frozen=True, kw_only=True):
    """What was asked for, on the command line or in Python code (`values.is_python`).

    `database` and `executor` take the place of the configured ones, and so does the number of `jobs`. `resume` is
    the number of the run to resume, "" for the latest that did not finish. `changed_since` names a commit of git.
    `is_unchecked`: the checks of tools do not run. `rebuild`: what the tools made is removed before they run.
    `if_busy` is "fail", "wait" or "skip". `max_failures` end the run. `is_raw`: tools write to the terminal.
    `post_mortem`: a failed tool is debugged there. `all_frames`: tracebacks show libraries too."""

    targets: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    values: GivenParams = GivenParams()
    database: str | None = None
    executor: str | None = None
    jobs: int | None = None
    changed: bool = False
    changed_since: str | None = None
    resume: str | None = None
    is_unchecked: bool = False
    rebuild: bool = False
    if_busy: str = "fail"
    max_failures: int | None = None
    is_raw: bool = False
    post_mortem: bool = False
    all_frames: bool = False

    @property
    def is_partial(self) -> bool:
        return self.changed or self.changed_since is not None or self.resume is not None

    @property
    def needs_terminal(self) -> bool:
        """Whether the tools use the terminal, which only one worker can have."""
        return self.is_raw or self.post_mortem


class ReadyRun(Struct, frozen=True, kw_only=True):
    """What is to run, of which project: a resumed run may have used another database. `work` is None where all of the
    plan runs, fresh or not."""

    request: Request
    view: ProjectView
    plan: Plan
    work: RemainingWork | None = None

    @property
    def jobs(self) -> int:
        request = self.request
        if request.needs_terminal:
            return 1
        return self.view.project.jobs if request.jobs is None else request.jobs

    @property
    def has_jobs(self) -> bool:
        """Whether the number is one that the user chose."""
        return self.request.jobs is not None or "jobs" in self.view.project.origins


class RunSkipped(OrchError):
    """Another run of the project is in progress, and this one was to be skipped then."""

    exit_code = ExitCode.OK


class DatabaseBusy(UsageError):
    """A run of another checkout uses the database."""

    def __init__(self, sentence: str, request: Request) -> None:
        super().__init__(*_busy(sentence, request).problems)
        self.sentence = sentence

    @property
    def waiting(self) -> Problem:
        message = f"{self.sentence}; waiting for it to end"
        return Problem(code="locked", message=message, severity="warning")


# From the request to what is to run.


def look_ahead(view: ProjectView, request: Request) -> ReadyRun:
    """What a run would do now. Raises OrchError."""
    planned = _plan(view, request)
    with ask_database(planned.view, request, lambda _: None, runs=False) as (view, database):
        if view is not planned.view:
            planned = _plan(view, request)
        remaining = _find_remaining(planned, database, is_run=False)
    ready = _with_removal(_without_checks(remaining))
    _refuse(ready)
    return ready


@contextlib.contextmanager
def open_run(view: ProjectView, request: Request, note: Note) -> Iterator[ReadyRun]:
    """What runs, while no other run can begin. Raises OrchError, also if another run is in progress."""
    planned = _plan(view, request)
    with hold_lock(view.project.root, request, note):  # before the question what is left
        if request.if_busy == "wait":  # meanwhile files may have changed
            planned = replace(
                planned, view=replace(planned.view, sources=SourceFiles(view.project))
            )
        runs = _needs_database(planned)
        with ask_database(planned.view, request, note, runs=runs) as (view, database):
            if view is not planned.view:
                planned = _plan(view, request)
            if request.is_partial:
                planned = _find_remaining(planned, database, is_run=True)
            elif _may_use_changed_tables(planned):
                from discover_orch.planning.remaining_work import RemainingWork

                work = RemainingWork(planned.view, request.values)
                database.look_at_tables(work, is_run=True)
            planned = _with_removal(_without_checks(planned))
            _refuse(planned)
            yield planned


def with_new_items(ready: ReadyRun, flows: Mapping[str, Dataflow]) -> ReadyRun | None:
    """The run with the items whose files have come since it was planned; None if none of them is selected. `flows` is
    what steps were observed to use by now. Raises OrchError."""
    request, before = ready.request, ready.view.registry
    registry = items.with_new_items(before, ready.view.project.root, flows)
    new = registry.tools.keys() - before.tools.keys()
    if not new:
        return None
    view = replace(ready.view, registry=registry)
    try:
        now = _plan_all(view, request, ready.plan.resumes)
    except EmptyError:
        return None
    if new.isdisjoint(step.tool.module for step in now.steps):
        return None
    plan = extend_plan(ready.plan, now, new)
    if ready.work is not None:
        ready.work.extend(view, plan)
    return _without_checks(replace(ready, view=view, plan=plan))


def read_status(
    view: ProjectView, request: Request, note: Note = lambda _: None
) -> tuple[RemainingWork, frozenset[str]]:
    """The state of the tools, compared with what a run would use for this request, and which of them were asked for.
    Raises OrchError."""
    view = use_choices(view, request)
    chosen = project_view.select_readable(view, request.targets, request.exclude, request.values)
    project_view.refuse_wrong(view, chosen, request.values)
    return look(view, request, note), chosen


def look(view: ProjectView, request: Request, note: Note) -> RemainingWork:
    """What is remembered of all tools, and what the database says of it."""
    from discover_orch.planning.remaining_work import RemainingWork

    with ask_database(view, request, note, runs=False) as (known, database):
        work = RemainingWork(known, request.values)
        database.look_at_tables(work)
        return work


def delete_rows(view: ProjectView, names: tuple[str, ...]) -> str:
    """Deletes these rows of the database, by names of `model/keys.py`; why that could not be done, or ""."""
    from discover_orch.execution import database_question

    return database_question.delete_rows(view.project, view.registry, names)


@contextlib.contextmanager
def open_memory(
    view: ProjectView, request: Request, note: Note
) -> Iterator[tuple[RemainingWork, Callable[[Iterable[str]], None]]]:
    """The state of the tools, while no run can begin, and what keeps that of some tools in the database after it was
    changed. Raises OrchError."""
    from discover_orch.planning.remaining_work import RemainingWork

    with (
        hold_lock(view.project.root, request, note),
        ask_database(view, request, note, runs=True) as (known, database),
    ):
        work = RemainingWork(known, request.values)
        database.look_at_tables(work, is_run=True)
        yield work, database.keep_accepted


def use_choices(view: ProjectView, request: Request) -> ProjectView:
    """The project with the database and the executor that were asked for. Raises UsageError."""
    is_python, executor = request.values.is_python, request.executor
    if request.database is not None:
        origin = "database" if is_python else "--database"
        view = project_view.with_database(view, request.database, origin)
    if executor is None:
        return view
    if not is_executor(executor):
        given = f'executor="{executor}"' if is_python else f"--executor {executor}"
        message = f"{given} is not an executor"
        raise UsageError.of("usage", message, EXECUTOR_HINT)
    return replace(view, project=replace(view.project, executor=executor))


@contextlib.contextmanager
def ask_database(
    view: ProjectView, request: Request, note: Note, *, runs: bool
) -> Iterator[tuple[ProjectView, DatabaseMemory]]:
    """The project as it is known once the database was asked what it remembers of the tools. If it `runs`, no other
    run can use that database meanwhile, where it is on a server. Raises OrchError, also if another one does."""
    from discover_orch.execution.database_memory import DatabaseMemory

    judges = not runs or request.is_partial
    with contextlib.closing(
        DatabaseMemory(view.project, view.registry, runs=runs, judges=judges)
    ) as memory:
        asked = memory.ask()
        if asked.holder and not runs:
            if find_holder(view.project.root) is None:  # else that is said
                note([running_problem(f"another run is in progress ({asked.holder})")])
        elif asked.holder:
            busy = DatabaseBusy(f"another run is in progress ({asked.holder})", request)
            if request.if_busy == "skip":
                raise _busy(busy.sentence, request)
            if request.if_busy != "wait":
                raise busy
            note([busy.waiting])
            asked = memory.ask(waits=True)
        note(asked.problems)
        yield project_view.read_again(view) if asked.has_changed else view, memory


def _plan(view: ProjectView, request: Request) -> ReadyRun:
    """What was asked for, before it is known what is left of it."""
    _refuse_conflicts(view, request)
    view = use_choices(view, request)
    plan = Plan()
    if request.resume is not None:
        view = _with_recorded_database(view, request)
    else:
        plan = _plan_all(view, request)
    return ReadyRun(request=request, view=view, plan=plan)


def _plan_all(view: ProjectView, request: Request, resumed: str = "") -> Plan:
    """All steps that were asked for, stale or not; `resumed` is the run whose targets these are. Raises OrchError."""
    if resumed:
        from discover_orch.planning.resume import plan_again
        from discover_orch.state.journal import read_record

        if record := read_record(view.project.root, resumed):
            return plan_again(record, view, request.values)
    return project_view.plan_targets(
        view,
        request.targets,
        exclude=request.exclude,
        values=request.values,
        is_partial=request.is_partial,
    )


def _with_recorded_database(view: ProjectView, request: Request) -> ProjectView:
    """With the database of the run that is resumed. Raises UsageError."""
    from discover_orch.planning.resume import find_recorded_database, find_run_to_resume

    if request.database is not None:
        return view
    record = find_run_to_resume(view.project.root, request.resume or None)
    hint = f"give it again with --database URL, or set {VARIABLE_PREFIX}DATABASE"
    if request.values.is_python:
        hint = "give it again: Project(root, database=URL)"
    url = find_recorded_database(record, view.project.database, hint)
    return view if url is None else project_view.with_database(view, url)


def _refuse_conflicts(view: ProjectView, request: Request) -> None:
    """Raises UsageError for what cannot be combined."""

    def named(field: str) -> str:
        is_typed = not request.values.is_python and field != "targets"
        return f"--{field.replace('_', '-')}" if is_typed else field

    for option, (others, hint) in _CONFLICTS.items():
        found = [one for one in others if getattr(request, one)]
        if getattr(request, option) is not None and found:
            message = f"{named(option)} cannot be combined with {named(found[0])}"
            raise UsageError.of("usage", message, hint)
    if not request.needs_terminal:
        return
    option = "--pdb" if request.post_mortem else "--output raw"
    executor = request.executor or view.project.executor
    if executor != "local":
        message = (
            f"{option} cannot be combined with the executor {executor}: the tool runs elsewhere"
        )
        raise UsageError.of("usage", message, "add --executor local")
    if request.jobs is not None and request.jobs > 1:
        message = f"--jobs cannot be combined with {option}: only one tool can have the terminal"
        raise UsageError.of("usage", message, "leave one of them out")


def _find_remaining(planned: ReadyRun, database: DatabaseMemory, *, is_run: bool) -> ReadyRun:
    """The part of the plan that has to run, or what another run left. `is_run`: a run follows."""
    from discover_orch.planning.remaining_work import RemainingWork  # not needed by a plain run

    request, view, plan, record = planned.request, planned.view, planned.plan, None
    if request.resume is not None:
        from discover_orch.planning.resume import find_run_to_resume, plan_resumed

        record = find_run_to_resume(view.project.root, request.resume or None)
    work = RemainingWork(view, request.values)
    if is_run:  # also where nothing is left to run
        work.memory.settle_moves()
    database.look_at_tables(work, is_run=is_run)
    if request.resume is not None:
        plan = plan_resumed(record, work)
    elif request.changed:
        plan = work.keep_stale(plan)
    elif request.changed_since is not None:
        from discover_orch.planning.changed_since import keep_changed

        plan = keep_changed(plan, view, request.changed_since)
    return ReadyRun(request=request, view=view, plan=plan, work=work)


def _may_use_changed_tables(ready: ReadyRun) -> bool:
    """Whether a tool of the plan may use a table that another program has changed and that no tool of the plan makes
    anew before. Items that are withdrawn may have left rows in a table, which nothing makes anew."""
    registry, plan = ready.view.registry, ready.plan
    tools = [step.tool for step in plan.steps]
    is_partial = len(tools) < len(registry.order) or registry.steps
    return bool(is_partial) and opens_database(tools, registry, ready.view.project)


def _with_removal(ready: ReadyRun) -> ReadyRun:
    """The same with what `--rebuild` removes. Raises UsageError."""
    if not ready.request.rebuild:
        return ready
    from discover_orch.planning.rebuild import plan_rebuild
    from discover_orch.planning.remaining_work import RemainingWork

    work = ready.work or RemainingWork(ready.view, ready.request.values)
    return replace(ready, plan=plan_rebuild(ready.plan, work))


def _without_checks(ready: ReadyRun) -> ReadyRun:
    """The same with tools that have no checks, if that was asked for."""
    if not ready.request.is_unchecked:
        return ready

    def stripped(steps: tuple[Step, ...]) -> tuple[Step, ...]:
        return tuple(replace(step, tool=step.tool.without_checks()) for step in steps)

    plan = ready.plan
    intro = "; ".join(filter(None, (plan.intro, "no checks run (--no-checks)")))
    steps, selected = stripped(plan.steps), stripped(plan.selected)
    intro = intro if steps else plan.intro
    plan = replace(plan, steps=steps, selected=selected, intro=intro, is_unchecked=True)
    return replace(ready, plan=plan)


def _needs_database(planned: ReadyRun) -> bool:
    """Whether a tool of the plan uses the database; that of a resumed run is not known yet."""
    registry = planned.view.registry
    tools = (step.tool for step in planned.plan.steps)
    return planned.request.resume is not None or any(
        takes_connection(tool, registry) for tool in tools
    )


def _refuse(ready: ReadyRun) -> None:
    """Raises UsageError for a database URL that orch cannot open, for tokens that do not exist, and for what several
    workers or one transaction cannot share."""
    registry, project = ready.view.registry, ready.view.project
    tools = [step.tool for step in ready.plan.steps]
    if not tools:
        return
    if opens_database(tools, registry, project):
        try:
            if not isinstance(read_database_url(project.database), SqliteUrl):
                from discover_orch.databases.opening import check_url  # SQLite needs no driver

                check_url(project.database)
        except CannotOpen as error:
            raise UsageError(_bad_url(project, error)) from None
    problems = check_tokens(tools, project) or check_sharing(tools, registry, project, ready.jobs)
    if problems:
        raise UsageError(*problems)


def _bad_url(project: Project, error: CannotOpen) -> Problem:
    """With the place of the URL: its line in the configuration, or the name of the variable."""
    origin, message, place = project.database_origin, str(error), None
    if origin == project.config:
        place = Location(path=origin, line=find_line(project, ("database",)))
    elif not origin.startswith("-"):
        message += f" (from {origin})"
    return Problem(code="database", message=message, hint=error.hint).at(place)


# The lock.


@contextlib.contextmanager
def hold_lock(root: str, request: Request, note: Note) -> Iterator[None]:
    """Holds the lock of the project. If another run holds it, waits for its end or raises OrchError."""
    lock = ProjectLock(root)
    is_inside = os.environ.get(INSIDE_VARIABLE) == root
    holder = lock.acquire()
    if holder is not None and request.if_busy == "wait" and not is_inside:
        note([waiting_problem(holder)])
        holder = lock.acquire(waits=True)
    if holder is not None:
        raise _busy(holder.sentence, request, is_inside=is_inside)
    try:
        note(lock.new_warnings())
        yield
    finally:
        lock.release()


def _busy(sentence: str, request: Request, *, is_inside: bool = False) -> OrchError:
    """Why this run does not begin."""
    if request.if_busy == "skip":
        message = f"{sentence}; this one is skipped"
        return RunSkipped(Problem(code="locked", message=message, severity="warning"))
    hint = "wait for it with --if-busy wait"
    if is_inside:
        hint = "a tool of that run started this command: name all tools in one orch run instead"
    elif request.values.is_python:
        hint = "wait for it with wait=True"
    return UsageError.of("locked", sentence, hint)


def running_problem(sentence: str) -> Problem:
    """That what is shown may change meanwhile."""
    hint = "until it ends, what its tools write may be shown as edited or changed"
    return Problem(code="run-in-progress", message=sentence, hint=hint, severity="warning")


def waiting_problem(holder: LockHolder) -> Problem:
    """That this run begins when that of the holder has ended."""
    message = f"{holder.sentence}; waiting for it to end"
    return Problem(code="locked", message=message, severity="warning")
