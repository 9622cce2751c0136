"""What a call asks for, as the command line has it: targets, parameters, and the plan that follows from them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from enum import Enum

from discover_orch.execution.request import ReadyRun
from discover_orch.model.errors import Problem, UsageError
from discover_orch.planning.param_values import GivenParams, KeyValue
from discover_orch.planning.project_view import ProjectView

Target = str | os.PathLike[str]
Targets = Target | Iterable[Target]
#: False; True for the latest run that did not finish; or the number of a run.
Resume = bool | int | str


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


def resumed_run(resume: Resume, given: Mapping[str, object]) -> str | None:
    """As `Request` has it. Raises UsageError for what is `given` beside it."""
    if resume is False:
        return None
    for name, value in given.items():
        if value:
            hint = f"it runs what is left of a recorded plan; leave {name} out"
            raise UsageError.of("usage", f"resume cannot be combined with {name}", hint)
    return "" if resume is True else str(resume)


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
