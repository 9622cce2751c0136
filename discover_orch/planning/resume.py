"""Which run can be gone on with, and the plan that does so.

In: records of runs, the registry as it is now, and what the command line gives. Out: a `Plan` of what did not pass in
that run, with the parameters that it had; what passed there and is stale by now runs again. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import DiscoveryError, Problem, UsageError
from discover_orch.model.tool import Tool
from discover_orch.planning.params import GivenParams, same
from discover_orch.planning.plan import (
    BoundArgument,
    Plan,
    Step,
    bind,
    extra_of,
    is_extra,
    missing,
    refused,
    step_params,
    unused,
)
from discover_orch.staleness.fingerprint import Freshness
from discover_orch.state.run_record import RecordedStep, RunRecord

BROKEN_OFF = ("failed", "interrupted", "killed")
ENDED_WELL = ("passed", "fresh")


def find_resumable(records: Iterable[RunRecord]) -> RunRecord | None:
    """`records` newest first. The latest run that did not come to its end and has not been resumed to success;
    runs of a watch are not resumed."""
    done: set[str] = set()
    for record in records:
        is_complete = record.status == "passed" or _has_nothing_left(record)
        if record.resumes and (is_complete or record.run in done):
            done.add(record.resumes)
        if is_complete or record.run in done:
            continue
        if record.kind == "run" and record.status in BROKEN_OFF:
            return record
    return None


def _has_nothing_left(record: RunRecord) -> bool:
    """Whether it was killed when all its tools had passed: then nothing would ever resume it to success."""
    return bool(record.tools) and all(one.status in ENDED_WELL for one in record.tools)


class Resumption:
    """Going on with `record`. Raises UsageError where a value is wrong, or a secret has to be given again, and
    DiscoveryError where a tool of it cannot be read."""

    def __init__(
        self, record: RunRecord, registry: Registry, project: Project, values: GivenParams
    ) -> None:
        self.record, self._root = record, project.root
        _refuse_broken(record, registry)
        planned = [one for one in record.plan if one.module in registry.tools]
        self._gone = [one.name for one in record.plan if one.module not in registry.tools]
        typed = replace(project, params={}, env_params={}, tool_params={})
        problems: list[Problem] = []
        self.steps = tuple(
            _step(one, registry, project, typed, values, problems) for one in planned
        )
        self._dropped = [
            (step.tool.name, name)
            for one, step in zip(planned, self.steps, strict=True)
            for name in (*one.params, *one.extra, *one.secrets)
            if step.tool.param(name) is None and name not in step.extra
        ]
        problems += _unused(values, [step.tool for step in self.steps], registry)
        if problems:
            raise UsageError(*problems)
        self._by_module = {step.tool.module: step for step in self.steps}
        ended_well = {one.module for one in record.tools if one.status in ENDED_WELL}
        self.passed = frozenset(
            step.tool.module
            for step in self.steps
            if step.tool.module in ended_well or step.tool.module in record.passed_before
        )

    def params_of(self, tool: Tool) -> Mapping[str, tuple[str, ...]] | None:
        """What this run would pass to a tool, as a fingerprint has it; None for a tool that is not in it."""
        step = self._by_module.get(tool.module)
        return None if step is None else step_params(step, self._root)

    def plan(self, freshnesses: Mapping[str, Freshness]) -> Plan:
        """`freshnesses` of the tools that passed, with the values of `params_of`."""
        stale = {one for one in self.passed if not freshnesses[one].is_fresh}
        steps = tuple(
            replace(step, reason=self._reason(step, freshnesses))
            for step in self.steps
            if step.tool.module not in self.passed or step.tool.module in stale
        )
        warnings = [
            Problem(
                code="gone",
                message=f"{name} was in run {self.record.run} and is no tool any more: it is left out",
                hint="orch list shows all",
                severity="warning",
            )
            for name in self._gone
        ]
        warnings += [
            Problem(
                code="gone",
                message=f"{tool} got {name} in run {self.record.run} and takes it no more: it is left out",
                hint="orch run TARGETS --help lists what tools take",
                severity="warning",
            )
            for tool, name in self._dropped
        ]
        return Plan(
            steps=steps,
            words=self.record.targets,
            warnings=tuple(warnings),
            intro=self._intro(steps, freshnesses),
            resumes=self.record.run,
            whole=self.steps,
        )

    def _reason(self, step: Step, freshnesses: Mapping[str, Freshness]) -> str:
        module = step.tool.module
        if module in self.passed:
            return (
                f"passed in run {self.record.run}, and is stale: {freshnesses[module].sentences[0]}"
            )
        ends = [one.status for one in self.record.tools if one.module == module]
        word = ends[0].replace("_", " ") if ends else "not run"
        return f"{word} in run {self.record.run}"

    def _intro(self, steps: tuple[Step, ...], freshnesses: Mapping[str, Freshness]) -> str:
        passed = len(self.passed)
        text = f"resuming run {self.record.run}, which {_how(self.record)}: {passed:,} passed there"
        if not steps:
            return f"{text}, and nothing is left to run"
        again = [step.tool for step in steps if step.tool.module in self.passed]
        if again:
            told = "; ".join(
                f"{tool.name} ({freshnesses[tool.module].sentences[0]})" for tool in again
            )
            text += f", to run again since they are stale: {told}"
        return text


def _refuse_broken(record: RunRecord, registry: Registry) -> None:
    planned = {one.module for one in record.plan}
    problems = [
        problem
        for one in registry.broken
        if one.module in planned or one.concerns_all
        for problem in one.problems
    ]
    if problems:
        raise DiscoveryError(*problems)


def _how(record: RunRecord) -> str:
    return f"was {record.status}" if record.status in ("interrupted", "killed") else record.status


def _step(
    planned: RecordedStep,
    registry: Registry,
    project: Project,
    typed: Project,
    values: GivenParams,
    problems: list[Problem],
) -> Step:
    """The step as it was, with what the command line gives now; a secret may come from anywhere again."""
    tool = registry.tools[planned.module]
    wrong: list[Problem] = []
    given = bind(tool, registry, typed, values, wrong)
    problems += [one for one in wrong if one.code == "wrong-type"]  # what is missing was given then
    by_name = {bound.param.name: bound for bound in given}
    every = {bound.param.name: bound for bound in bind(tool, registry, project, values, [])}
    arguments = []
    for param in tool.params:
        name = param.name
        old = planned.params.get(name)
        if name in by_name:
            arguments.append(by_name[name])
        elif old is not None:
            arguments.append(BoundArgument(param=param, texts=old.texts, origin=old.origin))
        elif name in every and (name in planned.secrets or param.required):
            arguments.append(every[name])
        elif name in planned.secrets:
            problems.append(_needed_again(tool, name, is_param=True))
        elif param.required:  # it is new since then
            problems.append(missing(tool, param))
    extra = {**planned.extra, **extra_of(tool, values, registry)}
    extra = {name: text for name, text in extra.items() if is_extra(tool, name)}
    for name in planned.secrets:
        if is_extra(tool, name) and name not in extra:
            problems.append(_needed_again(tool, name, is_param=False))
    checked = _checked(tool, arguments, problems)
    stage = planned.stage if planned.stage in tool.stages else tool.stages[0]
    return Step(tool=tool, stage=stage, arguments=checked, extra=extra)


def _checked(
    tool: Tool, arguments: Iterable[BoundArgument], problems: list[Problem]
) -> tuple[BoundArgument, ...]:
    """Those that the types of today take; all else is a problem."""
    checked = []
    for bound in arguments:
        problem = refused(tool, bound)
        if problem is None:
            checked.append(bound)
        else:
            problems.append(problem)
    return tuple(checked)


def _needed_again(tool: Tool, name: str, *, is_param: bool) -> Problem:
    flag = f"--{name.replace('_', '-')} VALUE" if is_param else f"-p {name}=VALUE"
    return Problem(
        code="secret-again",
        message=f"{tool.name} needs its {name} again: secrets are not kept",
        hint=f"add {flag}",
    )


def _unused(values: GivenParams, tools: list[Tool], registry: Registry) -> list[Problem]:
    """What is given again must reach a tool of that run; `**kwargs` takes what `-p` gives alone."""
    taken = {param.name for tool in tools for param in tool.params}
    return unused(values, tools, registry) + [
        Problem(
            code="unknown-parameter",
            message=f'no tool of that run takes "{name}"',
            hint="leave it out",
        )
        for name in values.options
        if not any(same(name, other) for other in taken)
    ]
