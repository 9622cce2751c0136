"""Finds the modules that can be tools: those with `STAGE` and `run`, each checked by itself; and those that would be
tools without their problems. Pure.

A `Scan` and a `Project` → `Candidates`, with warnings about modules that look like tools but are not.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.config.file import name_setting
from discover_orch.config.project import Project
from discover_orch.discovery.injection import conf_problems
from discover_orch.discovery.orch_tag import read_settings
from discover_orch.model.conventions import (
    ALL_STAGES,
    CONF_MODULE,
    GLOB_CHARACTERS,
    SQL_SUFFIX,
    module_of,
)
from discover_orch.model.errors import Location, Problem, did_you_mean
from discover_orch.model.tool import ToolSettings
from discover_orch.source.facts import BrokenTool, ModuleFacts, PassedOver, Scan

UNLISTED_STAGE = "unlisted-stage"
#: The hint where a tag cannot be read.
TAG_FORMS = (
    "assign a string, a list or tuple of strings, or a constant or Enum member of the project, "
    "at the top level"
)
NO_RUN = "define run() at the top level, or rename the constant"
SQL_NO_RUN = "add a statement, or remove the line"
SQL_TAG_FORMS = "write -- STAGE: NAME before the first statement"


class Candidate(Struct, frozen=True, kw_only=True):
    """A module that becomes a tool unless it has problems; `problems` are those of its own text. `name` is the one in
    `ORCH`, or None."""

    facts: ModuleFacts
    name: str | None
    settings: ToolSettings
    stages: tuple[str, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def module(self) -> str:
        return self.facts.module

    @property
    def is_off(self) -> bool:
        return self.facts.stage is not None and self.facts.stage.is_off

    @property
    def stage_place(self) -> Location:
        tag = self.facts.stage
        return Location(path=self.facts.path, line=tag.line if tag else None)

    @property
    def after_place(self) -> Location:
        tag = self.facts.after
        return Location(path=self.facts.path, line=tag.line) if tag else self.stage_place


class Candidates(Struct, frozen=True, kw_only=True):
    """The candidates of one scan, in the order of their paths. With `strict` the warnings are errors."""

    enabled: tuple[Candidate, ...] = ()
    disabled: tuple[Candidate, ...] = ()
    tag_warnings: tuple[Problem, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()


def build_candidates(scan: Scan, project: Project) -> Candidates:
    candidates: list[Candidate] = []
    tag_warnings: list[Problem] = list(scan.problems)
    passed_over: list[PassedOver] = list(scan.passed_over)
    for facts in scan.modules:
        if facts.stage is not None and facts.run is not None:
            candidates.append(_candidate(facts, project))
            continue
        if facts.stage is not None:
            tag_warnings.append(_no_run_problem(facts))
        if facts.miss:
            passed_over.append(PassedOver(path=facts.path, reason=facts.miss, line=facts.miss_line))
    enabled = _find_same_modules([candidate for candidate in candidates if not candidate.is_off])
    tag_warnings += _unlisted_stages(enabled, project)
    tag_warnings += [one for candidate in enabled for one in _find_repeats(candidate.facts)]
    return Candidates(
        enabled=tuple(enabled),
        disabled=tuple(candidate for candidate in candidates if candidate.is_off),
        tag_warnings=tuple(
            replace(one, severity="error") if project.strict else one for one in tag_warnings
        ),
        passed_over=tuple(sorted(passed_over, key=lambda one: one.path)),
    )


def _candidate(facts: ModuleFacts, project: Project) -> Candidate:
    assert facts.stage is not None, "only modules with a STAGE become candidates"
    name, settings, found = read_settings(facts.orch, facts.path)
    is_sql = facts.path.endswith(SQL_SUFFIX)
    settings = replace(
        settings,
        inputs=_with_absolute(settings.inputs, project.root),
        outputs=_with_absolute(settings.outputs, project.root),
        has_own_worker=settings.has_own_worker or project.worker == "own",
    )
    problems = [*found]
    stages = tuple(dict.fromkeys(word for word in facts.stage.words if isinstance(word, str)))
    candidate = Candidate(facts=facts, name=name, settings=settings, stages=stages)
    if facts.stage.problem or not (stages or facts.stage.is_off):
        problems.append(
            Problem(
                code="stage-tag",
                message=facts.stage.problem or "STAGE is empty",
                hint=f"{SQL_TAG_FORMS if is_sql else TAG_FORMS}; None disables the tool",
            ).at(candidate.stage_place)
        )
    problems.extend(
        Problem(
            code="stage-name",
            message=f'"{stage}" cannot be the name of a stage',
            hint='"full" is the group of all stages: choose another name'
            if stage == ALL_STAGES
            else 'a name cannot begin with -, +, "stage:" or "tool:", end with +, or contain * ? [ '
            "or what is not printable",
        ).at(candidate.stage_place)
        for stage in stages
        if stage == ALL_STAGES or not _is_stage_word(stage)
    )
    return replace(candidate, problems=tuple(problems)) if problems else candidate


def _is_stage_word(name: str) -> bool:
    """Whether `orch run NAME` can mean this stage."""
    return (
        name[:1] not in ("-", "+", "")
        and not name.endswith("+")
        and not GLOB_CHARACTERS & set(name)
        and not name.startswith(("stage:", "tool:"))
        and name.isprintable()
    )


def _with_absolute(paths: tuple[str, ...], root: str) -> tuple[str, ...]:
    """Paths that lead out of the root as absolute ones: so they are observed."""
    if not any(path.startswith("..") for path in paths):
        return paths
    return tuple(
        posixpath.normpath(f"{root}/{path}") if path.startswith("..") else path for path in paths
    )


def _find_same_modules(candidates: list[Candidate]) -> list[Candidate]:
    """Adds a problem to candidates of one module name: of `a.py` and `a/__init__.py` Python imports only one."""
    by_module: dict[str, list[str]] = {}
    for candidate in candidates:
        by_module.setdefault(candidate.module, []).append(candidate.facts.path)
    if len(by_module) == len(candidates):
        return candidates
    checked = []
    for candidate in candidates:
        others = [path for path in by_module[candidate.module] if path != candidate.facts.path]
        if others:
            problem = build_same_module(candidate.facts.path, others[0], candidate.module)
            candidate = replace(candidate, problems=(*candidate.problems, problem))
        checked.append(candidate)
    return checked


def build_same_module(path: str, other: str, module: str) -> Problem:
    return Problem(
        code="same-module",
        message=f'{other} is also the module "{module}"',
        hint="rename one of them: Python imports only one module with a given name",
        path=path,
    )


def _no_run_problem(facts: ModuleFacts) -> Problem:
    line = facts.stage.line if facts.stage else 1
    is_sql = facts.path.endswith(SQL_SUFFIX)
    return Problem(
        code="no-run",
        message="has STAGE but no statement" if is_sql else "has STAGE but no run()",
        hint=facts.miss or (SQL_NO_RUN if is_sql else NO_RUN),
        path=facts.path,
        line=line,
        severity="warning",
    )


def _unlisted_stages(candidates: list[Candidate], project: Project) -> list[Problem]:
    """With `stages` configured, a misspelled `STAGE` must not make a new stage unnoticed."""
    if not project.stages:
        return []
    tag_warnings = []
    for candidate in candidates:
        for stage in candidate.stages:
            if stage in project.stages or stage == ALL_STAGES:
                continue
            otherwise = f'add "{stage}" to {name_setting(project, "stages")}'
            tag_warnings.append(
                Problem(
                    code=UNLISTED_STAGE,
                    message=f'stage "{stage}" is not a configured stage',
                    hint=did_you_mean(stage, project.stages, otherwise),
                    severity="warning",
                ).at(candidate.stage_place)
            )
    return tag_warnings


def _find_repeats(facts: ModuleFacts) -> Iterator[Problem]:
    """Of two checks of one name Python keeps the last."""
    for one in facts.checks:
        if one.repeats:
            yield Problem(
                code="same-check",
                message=f"{one.name} is defined again in line {one.line}: only the last one is a check",
                hint="give each check a name of its own",
                path=facts.path,
                line=one.repeats,
                severity="warning",
            )


# Tools with problems.


def find_broken_tools(
    scan: Scan, candidates: Candidates, problems: Mapping[str, list[Problem]]
) -> tuple[BrokenTool, ...]:
    """By path: files that cannot be read, candidates with problems, and `orchconf.py` where it has any. With `strict`
    a warning is an error of its file."""
    found = [*scan.broken]
    for candidate in candidates.enabled:
        own = tuple(dict.fromkeys((*candidate.problems, *problems[candidate.module])))
        if own:
            found.append(
                BrokenTool(
                    path=candidate.facts.path,
                    module=candidate.module,
                    problems=own,
                    stages=candidate.stages,
                )
            )
    read = {one.path: one for one in scan.modules}
    for problem in candidates.tag_warnings:
        if problem.severity == "error" and problem.path is not None:
            path = problem.path
            facts = read.get(path)
            module = facts.module if facts else module_of(path)
            # A stage that is not configured may be a typo of any configured one.
            is_known = facts and facts.stage and problem.code != UNLISTED_STAGE
            stages = facts.stage.words if facts and facts.stage and is_known else ()
            found.append(BrokenTool(path=path, module=module, problems=(problem,), stages=stages))
    conf = scan.conf
    if conf is not None and (found_problems := conf_problems(conf)):
        found.append(BrokenTool(path=conf.path, module=CONF_MODULE, problems=found_problems))
    return tuple(sorted(found, key=lambda one: one.path))
