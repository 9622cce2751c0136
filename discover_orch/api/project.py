"""A project, as Python code uses it: look at its tools, and run them.

Each call reads the project anew, so what is on the disk counts, as on the command line. Nothing here imports the code
of the project: tools run in worker processes.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from discover_orch.api.events import Event, Note, RunFinished, RunStarted, ToolFinished
from discover_orch.api.request import (
    Resume,
    Targets,
    given_params,
    resumed_run,
    warnings_of,
    words_of,
)
from discover_orch.api.run_events import run_events
from discover_orch.api.values import Outcome, Plan, Result, Stage, Step, Tool, ToolStatus
from discover_orch.execution.request import (
    Request,
    look_ahead,
    open_run,
    read_status,
)
from discover_orch.model import tool as model
from discover_orch.model.errors import Problem, ProjectError
from discover_orch.planning import project_view
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.render.graph_svg import project_html


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
        registry = self._read().registry
        tools = [registry.tools[module] for module in registry.order]
        return tuple(
            _tool(one, [registry.display(other) for other in one.after])
            for one in (*tools, *registry.disabled)
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that have tools, in order."""
        registry = self._read().registry
        return tuple(
            Stage(name=one.name, tools=tuple(registry.display(module) for module in one.tools))
            for one in registry.stages
            if one.tools
        )

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The errors and warnings of `orch check`."""
        view = self._read()
        return (*view.errors, *project_view.check_project(view))

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
        registry, flows = work.view.registry, work.view.registry.flows
        freshness = work.freshness()
        return tuple(
            ToolStatus(
                name=registry.display(module),
                module=module,
                stage=registry.stages[registry.rank[module]].name,
                state=freshness[module].state,
                reasons=freshness[module].sentences,
                files_read=flows[module].files_read,
                files_written=flows[module].files_written,
                tables_read=flows[module].tables_read,
                tables_written=flows[module].tables_written,
            )
            for module in registry.order
            if module in chosen
        )

    def plan(
        self,
        targets: Targets = (),
        *,
        exclude: Targets = (),
        changed: bool = False,
        resume: Resume = False,
        params: Mapping[str, object] | None = None,
        **more_params: object,
    ) -> Plan:
        """What `run` would do; runs nothing."""
        given = {**(params or {}), **more_params}
        asked = self._ask(targets, exclude, given, changed=changed, resume=resume)
        ready = look_ahead(*asked)
        found, names = ready.plan, ready.plan.names
        return Plan(
            steps=tuple(
                Step(
                    name=step.tool.name,
                    module=step.tool.module,
                    stage=step.stage,
                    reason=step.reason,
                    after=tuple(names[one] for one in step.after if one in names),
                    params={one.param.name: one.shown for one in step.arguments},
                )
                for step in found.steps
            ),
            fresh=tuple(tool.name for tool in found.fresh),
            warnings=warnings_of(ready),
        )

    # Running.

    def run(
        self,
        targets: Targets = (),
        *,
        exclude: Targets = (),
        changed: bool = False,
        resume: Resume = False,
        executor: str | None = None,
        jobs: int | None = None,
        max_failures: int | None = None,
        wait: bool = False,
        params: Mapping[str, object] | None = None,
        **more_params: object,
    ) -> Result:
        """Runs the targets and returns when the run has ended, however it ended: `Result.raise_if_failed` raises.

        The arguments are the options of `orch run`. `resume` takes no targets: True continues the latest run that did
        not finish, and a number that run. `wait` waits for another run of this project, which is refused otherwise.
        """
        outcomes: dict[str, Outcome] = {}
        problems: list[Problem] = []
        run, status, seconds = "", "interrupted", 0.0
        for event in self.events(
            targets,
            exclude=exclude,
            changed=changed,
            resume=resume,
            executor=executor,
            jobs=jobs,
            max_failures=max_failures,
            wait=wait,
            params={**(params or {}), **more_params},
        ):
            match event:
                case RunStarted():
                    run = event.run
                case ToolFinished():
                    outcomes[event.name] = event.outcome
                case Note():
                    problems.append(event.problem)
                case RunFinished():
                    status, seconds = event.status, event.duration
                    outcomes = {
                        name: replace(outcomes[name], status=final)
                        for name, final in event.statuses.items()
                    }
                case _:
                    pass
        return Result(
            run=run, status=status, duration=seconds, outcomes=outcomes, problems=tuple(problems)
        )

    def events(
        self,
        targets: Targets = (),
        *,
        exclude: Targets = (),
        changed: bool = False,
        resume: Resume = False,
        executor: str | None = None,
        jobs: int | None = None,
        max_failures: int | None = None,
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
            resume=resume,
            executor=executor,
            jobs=jobs,
            if_busy="wait" if wait else "fail",
        )
        with open_run(*asked, notes.extend) as ready:
            yield from run_events(ready, (*notes, *warnings_of(ready)), max_failures)

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
        words, left_out = words_of(targets), words_of(exclude)
        beside = {"targets": words, "exclude": left_out, "changed": more.get("changed")}
        return view, Request(
            targets=words,
            exclude=left_out,
            values=given_params(view, given),
            database=self._database,
            resume=resumed_run(resume, beside),
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


def _tool(tool: model.Tool, after: Sequence[str]) -> Tool:
    return Tool(
        name=tool.name,
        module=tool.module,
        path=tool.path,
        line=tool.line,
        stages=tool.stages,
        doc=tool.doc,
        after=tuple(after),
        params={param.name: str(param.type) for param in tool.params},
        disabled=tool.disabled,
    )
