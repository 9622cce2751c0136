"""A project, as Python code uses it: look at its tools, and run them.

Each call reads the project anew, so what is on the disk counts, as on the command line. Nothing here imports the code
of the project: tools run in worker processes.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from discover_orch.api.runs import Result, build_result, run_events
from discover_orch.execution.event_documents import Event
from discover_orch.execution.request import (
    ReadyRun,
    Request,
    look_ahead,
    open_run,
    read_status,
)
from discover_orch.model.documents import Plan, Stage, Tool, ToolStatus
from discover_orch.model.errors import Problem, ProjectError
from discover_orch.planning import project_view
from discover_orch.planning.param_values import GivenParams, KeyValue
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.render.graph_svg import project_html
from discover_orch.render.plan import build_plan_document
from discover_orch.render.status import build_statuses

Target = str | os.PathLike[str]
Targets = Target | Iterable[Target]
#: False; True for the latest run that did not finish; or the number of a run.
Resume = bool | int | str


class Project:
    """The project at `root`, which is absolute.

    Targets are those of the command line, one or several; none means everything. Parameters are keywords, and
    `params` holds those whose name is one of the other arguments, and those for one tool (`{"parse.since":
    "2024-01-01"}`). A value can be a text as on the command line or a Python value; None means that it is not given.

    All methods raise OrchError for what `orch` would refuse, and ValueError for an argument that is not valid.
    """

    def __init__(self, root: str | os.PathLike[str], *, database: str | None = None) -> None:
        """`database` is a URL that takes the place of the configured one."""
        self.root = Path(os.path.abspath(root))
        self._database = database

    @classmethod
    def find(cls, path: str | os.PathLike[str] = ".", *, database: str | None = None) -> Project:
        """The project that `path`, a folder or a file, is in: the nearest folder upwards with a configuration, else
        this folder."""
        folder = os.path.abspath(path)
        if os.path.isfile(folder):  # as of `__file__`
            folder = os.path.dirname(folder)
        _refuse_missing(folder)
        view = project_view.read_project(folder, None, os.environ)
        return cls(view.project.root, database=database)

    def __repr__(self) -> str:
        return f"Project({str(self.root)!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        view = self._read()
        work = RemainingWork(view, GivenParams())
        return project_html(str(self.root), view.registry, work.freshness())

    # Looking.

    @property
    def tools(self) -> tuple[Tool, ...]:
        """All tools in order, then those that are disabled."""
        return project_view.build_listing(self._read()).tools

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that have tools, in order."""
        return tuple(one for one in project_view.build_listing(self._read()).stages if one.tools)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The errors and warnings of `orch check`."""
        view = self._read()
        work = RemainingWork(view, GivenParams())
        return (*view.errors, *project_view.check_project(view), *work.warn_left_over())

    def status(
        self,
        targets: Targets = (),
        *,
        exclude: Targets = (),
        params: Mapping[str, object] | None = None,
        **more_params: object,
    ) -> tuple[ToolStatus, ...]:
        """Which tools are fresh, in order, compared with what `run` would use for the same arguments."""
        given = {**(params or {}), **more_params}
        work, chosen = read_status(*self._ask(targets, exclude, given))
        return build_statuses(work, chosen)

    def plan(
        self,
        targets: Targets = (),
        *,
        exclude: Targets = (),
        changed: bool = False,
        changed_since: str | None = None,
        resume: Resume = False,
        rebuild: bool = False,
        params: Mapping[str, object] | None = None,
        **more_params: object,
    ) -> Plan:
        """What `run` would do; runs nothing."""
        given = {**(params or {}), **more_params}
        asked = self._ask(
            targets,
            exclude,
            given,
            changed=changed,
            changed_since=changed_since,
            resume=resume,
            rebuild=rebuild,
        )
        ready = look_ahead(*asked)
        shown = build_plan_document(ready.plan, ready.view.registry)
        return replace(shown, warnings=warnings_of(ready))

    # Running.

    def run(
        self,
        targets: Targets = (),
        *,
        exclude: Targets = (),
        changed: bool = False,
        changed_since: str | None = None,
        resume: Resume = False,
        executor: str | None = None,
        jobs: int | None = None,
        max_failures: int | None = None,
        no_checks: bool = False,
        rebuild: bool = False,
        wait: bool = False,
        params: Mapping[str, object] | None = None,
        **more_params: object,
    ) -> Result:
        """Runs the targets and returns when the run has ended, however it ended: `Result.raise_if_failed` raises.

        The arguments are the options of `orch run`. `resume` takes no targets: True continues the latest run that did
        not finish, and a number that run. `wait` waits for another run of this project, which is refused otherwise.
        """
        events = self.events(
            targets,
            exclude=exclude,
            changed=changed,
            changed_since=changed_since,
            resume=resume,
            executor=executor,
            jobs=jobs,
            max_failures=max_failures,
            no_checks=no_checks,
            rebuild=rebuild,
            wait=wait,
            params={**(params or {}), **more_params},
        )
        return build_result(events)

    def events(
        self,
        targets: Targets = (),
        *,
        exclude: Targets = (),
        changed: bool = False,
        changed_since: str | None = None,
        resume: Resume = False,
        executor: str | None = None,
        jobs: int | None = None,
        max_failures: int | None = None,
        no_checks: bool = False,
        rebuild: bool = False,
        wait: bool = False,
        params: Mapping[str, object] | None = None,
        **more_params: object,
    ) -> Generator[Event, None, None]:
        """Runs the targets, as `run` does, and iterates over what happens. Leaving the loop interrupts the run."""
        _check_number("jobs", jobs)
        _check_number("max_failures", max_failures)
        notes: list[Problem] = []
        asked = self._ask(
            targets,
            exclude,
            {**(params or {}), **more_params},
            changed=changed,
            changed_since=changed_since,
            resume=resume,
            executor=executor,
            jobs=jobs,
            max_failures=max_failures,
            is_unchecked=no_checks,
            rebuild=rebuild,
            if_busy="wait" if wait else "fail",
        )
        with open_run(*asked, notes.extend) as ready:
            yield from run_events(ready, (*notes, *warnings_of(ready)))

    def _ask(
        self,
        targets: Targets,
        exclude: Targets,
        given: Mapping[str, object],
        *,
        resume: Resume = False,
        **more: Any,
    ) -> tuple[ProjectView, Request]:
        """The project, and the request with these parameters and `more` fields."""
        view = self._read()
        latest = "" if resume is True else str(resume)
        return view, Request(
            targets=words_of(targets),
            exclude=words_of(exclude),
            values=given_params(view, given),
            database=self._database,
            resume=None if resume is False else latest,
            **more,
        )

    def _read(self) -> ProjectView:
        _refuse_missing(str(self.root))
        try:
            folder = os.getcwd()
        except FileNotFoundError:
            folder = str(self.root)
        view = project_view.read_project(folder, str(self.root), os.environ, reads_code=True)
        database = self._database
        return view if database is None else project_view.with_database(view, database, "database")


def _check_number(name: str, given: object) -> None:
    is_whole = isinstance(given, int) and not isinstance(given, bool)
    if given is not None and not (is_whole and given >= 1):  # type: ignore[operator]
        raise ValueError(f"{name} must be a whole number, 1 or more, not {given!r}")


def _refuse_missing(folder: str) -> None:
    if not os.path.isdir(folder):
        message = f'folder "{folder}" does not exist'
        hint = "give the folder of the project, or one below it"
        raise ProjectError.of("no-project", message, hint)


def words_of(given: Targets) -> tuple[str, ...]:
    """Raises ValueError for what is neither a text nor the path of a file."""
    words: list[str] = []
    some = given if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    for one in some:
        word = os.fspath(one) if isinstance(one, os.PathLike) else one
        if not isinstance(word, str):
            raise ValueError(f"a target must be a text or the path of a file, not {one!r}")
        words.append(word)
    return tuple(words)


def warnings_of(ready: ReadyRun) -> tuple[Problem, ...]:
    """Those of the project and of the plan, and that nothing is left to resume."""
    plan = ready.plan
    found = (*ready.view.warnings, *plan.warnings)
    if ready.request.resume is None or plan.steps:
        return found
    return (*found, Problem(code="nothing-to-resume", message=plan.intro, severity="warning"))


def given_params(view: ProjectView, given: Mapping[str, object]) -> GivenParams:
    """As values of `-p`, which check that a tool has the parameter."""
    pairs = []
    for key, value in given.items():
        tool, _, name = key.rpartition(".")
        if isinstance(value, Mapping | bytes):
            raise ValueError(f"{key}: a {type(value).__name__} cannot be the value of a parameter")
        pairs += [KeyValue(tool=tool or None, name=name, text=text) for text in _texts(value)]
    return GivenParams(pairs=tuple(pairs), folder=view.folder, is_python=True)


def _texts(value: object) -> list[str]:
    """The value as it would be typed, once for each item of a list; nothing for None."""
    if value is None:
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, Enum):
        return [value.name]
    if hasattr(value, "isoformat"):  # date and datetime
        return [value.isoformat()]
    if isinstance(value, list | tuple | set | frozenset):
        return [text for one in value for text in _texts(one)]
    return [str(value)]
