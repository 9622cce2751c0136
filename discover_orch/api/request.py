"""What a call asks for, as the command line has it: targets, parameters, and the plan that follows from them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.executor import executor_hint, is_executor
from discover_orch.model.errors import Problem, UsageError
from discover_orch.planning import plan as planning
from discover_orch.planning import project_reader, project_view
from discover_orch.planning.incremental import (
    RemainingWork,
    find_recorded_database,
    find_run_to_resume,
)
from discover_orch.planning.param_values import GivenParams, KeyValue
from discover_orch.planning.project_view import ProjectView

Target = str | os.PathLike[str]
Targets = Target | Iterable[Target]
#: False; True for the latest run that did not finish; or the number of a run.
Resume = bool | int | str


class Request(Struct, frozen=True, kw_only=True):
    """`left_out` are the targets of `exclude`."""

    targets: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    values: GivenParams = GivenParams()
    changed: bool = False
    resume: Resume = False


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


def with_executor(view: ProjectView, executor: str | None) -> ProjectView:
    """With the executor of a call, if it names one. Raises UsageError."""
    if executor is None:
        return view
    if not is_executor(executor):
        raise _refuse(f'executor="{executor}" is not an executor', executor_hint(executor))
    return replace(view, project=replace(view.project, executor=executor))


def plan_request(
    view: ProjectView, request: Request, *, has_database: bool
) -> tuple[ProjectView, planning.Plan]:
    """The plan, and the project, of which a resumed run may have used another database; with `has_database` the call
    names one. Raises OrchError."""
    if request.resume is not False:
        return _plan_resumed(view, request, has_database=has_database)
    found = project_view.plan_targets(
        view,
        request.targets,
        exclude=request.left_out,
        values=request.values,
        is_partial=request.changed,
    )
    if request.changed:
        work = RemainingWork(view.project, view.registry, request.values, view.scanned)
        found = work.keep_stale(found)
    return view, found


def _plan_resumed(
    view: ProjectView, request: Request, *, has_database: bool
) -> tuple[ProjectView, planning.Plan]:
    given = {"targets": request.targets, "exclude": request.left_out, "changed": request.changed}
    for name, value in given.items():
        if value:
            hint = f"it runs what is left of a recorded plan; leave {name} out"
            raise _refuse(f"resume cannot be combined with {name}", hint)
    record = find_run_to_resume(
        view.project.root, None if request.resume is True else str(request.resume)
    )
    if not has_database:
        url = find_recorded_database(
            record, view.project.database, "give it again: Project(root, database=URL)"
        )
        view = view if url is None else project_reader.with_database(view, url)
    work = RemainingWork(view.project, view.registry, request.values, view.scanned)
    plan = work.build_resumed_plan(record)
    if not plan.steps:
        said = Problem(code="nothing-to-resume", message=plan.intro, severity="warning")
        plan = replace(plan, warnings=(*plan.warnings, said))
    return view, plan


def _refuse(message: str, hint: str) -> UsageError:
    return UsageError(Problem(code="usage", message=message, hint=hint))


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
