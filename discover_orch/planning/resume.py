"""Which run can be resumed, and the plan that resumes it.

The plan has what did not pass in that run, with the parameters that it had there. What passed there and is stale now
runs again. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec.structs import replace

from discover_orch.config.project import PARAM_PREFIX, ParamDefault, Project
from discover_orch.discovery.registry import Registry
from discover_orch.model import graph
from discover_orch.model.errors import DiscoveryError, OrchError, Problem, UsageError
from discover_orch.model.tool import Tool
from discover_orch.planning.dataflow_checks import build_warning
from discover_orch.planning.param_values import (
    BoundArgument,
    GivenParams,
    extra_arguments,
    find_configured,
    find_on_command_line,
    find_unused,
    is_extra,
    is_same_name,
    keep_valid,
    missing_value,
)
from discover_orch.planning.plan import (
    Arguments,
    Plan,
    Step,
    build_steps,
    keep_steps,
    step_versions,
)
from discover_orch.planning.selection import Selection, select
from discover_orch.staleness.reasons import Freshness
from discover_orch.state.run_record import RecordedStep, RunRecord

BROKEN_OFF = ("failed", "interrupted", "killed")
ENDED_WELL = ("passed", "fresh")
#: Of committed tools that are named.
MOST_NAMES = 10


def find_resumable(
    records: Iterable[RunRecord], is_overtaken: Callable[[str], bool] = lambda _: False
) -> RunRecord | None:
    """The latest run that did not finish, has not been resumed with success, and was not overtaken by later runs of
    the same tools; `records` are newest first. Runs of a watch cannot be resumed."""
    done: set[str] = set()
    for record in records:
        is_complete = record.status == "passed" or has_nothing_left(record)
        if record.resumes and (is_complete or record.run in done):
            done.add(record.resumes)
        if is_complete or record.run in done:
            continue
        is_broken_off = record.kind == "run" and record.status in BROKEN_OFF
        if is_broken_off and not is_overtaken(record.run):
            return record
    return None


def has_nothing_left(record: RunRecord) -> bool:
    """Whether it was killed when all its tools had passed: then there is nothing to resume."""
    return bool(record.tools) and all(one.status in ENDED_WELL for one in record.tools)


class Resumption:
    """How the run of `record` is resumed. Raises UsageError if a value does not fit, a secret has to be given again or
    none of its tools exists now, and DiscoveryError if one of its tools cannot be read."""

    def __init__(
        self, record: RunRecord, registry: Registry, project: Project, values: GivenParams
    ) -> None:
        record = _with_present_modules(record, registry)
        self.record, self._root = record, project.root
        _refuse_broken(record, registry)
        self._planned = {one.module: one for one in record.plan if one.module in registry.tools}
        if record.plan and not self._planned:
            message = f"run {record.run} cannot be resumed: none of its tools exists now"
            raise UsageError.of("all-gone", message, "run the stale tools with: orch run --changed")
        selection = _select_again(record, registry)
        problems: list[Problem] = []

        def bind(given: GivenParams, found: list[Problem]) -> Callable[[Tool], Arguments]:
            return lambda tool: _bind_again(
                self._planned[tool.module], tool, registry, project, given, found
            )

        self.steps = build_steps(selection, registry, bind(values, problems))
        self._warnings = [
            build_warning(
                "gone",
                f"{one.name} is left out: it was in run {record.run}, but is no longer a tool",
                "orch list shows all tools",
            )
            for one in record.plan
            if one.module not in registry.tools
        ]
        self._warnings += [
            build_warning(
                "gone",
                f"{name} is left out: {step.tool.name} had it in run {record.run}, but no longer has this parameter",
                "orch run TARGETS --help lists all parameters",
            )
            for step in self.steps
            for one in [self._planned[step.tool.module]]
            for name in (*one.params, *one.extra, *one.secrets)
            if step.tool.param(name) is None and name not in step.extra
        ]
        problems += _find_unused(values, [step.tool for step in self.steps], registry)
        if problems:
            raise UsageError(*problems)
        ended_well = {one.module for one in record.tools if one.status in ENDED_WELL}
        as_then = build_steps(selection, registry, bind(GivenParams(), []))
        self._changed_params = {
            now.tool.module
            for then, now in zip(as_then, self.steps, strict=True)
            if step_versions(then, self._root) != step_versions(now, self._root)
        }
        self._ended_well = ended_well
        self.passed = frozenset(
            step.tool.module
            for step in self.steps
            if step.tool.module in ended_well or step.tool.module in record.passed_before
        )

    def find_settled(self, committed: Iterable[str], code: Mapping[str, str]) -> frozenset[str]:
        """Those of the `committed` tools whose code and parameters are those of then, though what they used is not
        known. `code` are the hashes of now."""
        return frozenset(
            one
            for one in committed
            if one in self.passed
            and self._planned[one].code == code.get(one)
            and one not in self._changed_params
        )

    def plan(
        self, freshness: Mapping[str, Freshness], settled: Collection[str] = frozenset()
    ) -> Plan:
        """`freshness` is that of the tools that passed, with the values of `steps`. Those in `settled` do not run
        again."""
        stale = {one for one in self.passed if one not in settled and not freshness[one].is_fresh}
        left = [
            step
            for step in self.steps
            if step.tool.module not in self.passed or step.tool.module in stale
        ]
        reasons = {step.tool.module: self._reason(step, freshness) for step in left}
        steps = keep_steps(self.steps, reasons)
        return Plan(
            steps=steps,
            targets=self.record.targets,
            warnings=tuple(self._warnings),
            intro=self._intro(steps, freshness, settled),
            resumes=self.record.run,
            all_steps=self.steps,
        )

    def _reason(self, step: Step, freshness: Mapping[str, Freshness]) -> str:
        module = step.tool.module
        if module in self.passed:
            word = "in" if module in self._ended_well else "before"
            reason = freshness[module].sentences[0]
            return f"passed {word} run {self.record.run} but is stale: {reason}"
        ends = [one.status for one in self.record.tools if one.module == module]
        word = ends[0].replace("_", " ") if ends else "not run"
        word = "outcome unknown" if word == "unknown" else word
        return f"{word} in run {self.record.run}"

    def _intro(
        self,
        steps: tuple[Step, ...],
        freshness: Mapping[str, Freshness],
        settled: Collection[str],
    ) -> str:
        passed = f"{len(self.passed):,} {'tool' if len(self.passed) == 1 else 'tools'} passed"
        names = [one.tool.name for one in self.steps if one.tool.module in settled]
        said = f"; the ledger says that {_joined(names)} committed" if names else ""
        if not steps:
            return f"nothing left to run: {passed} in run {self.record.run}{said}"
        text = f"resuming run {self.record.run} ({self.record.status}): {passed}"
        again = [step.tool for step in steps if step.tool.module in self.passed]
        if again:
            reasons = "; ".join(
                f"{tool.name} ({freshness[tool.module].sentences[0]})" for tool in again
            )
            text += f", stale again: {reasons}"
        return text + said


def _with_present_modules(record: RunRecord, registry: Registry) -> RunRecord:
    """The record with the present module paths: a change of `pythonpath` gives each file another one. Results are kept
    by module path, so what passed under the former one is stale."""
    former = {one.module for one in record.plan}.difference(registry.tools)
    dotted = {
        module: tool.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for module, tool in registry.tools.items()
    }
    moved = {}
    for old in former:
        found = [new for new, path in dotted.items() if f".{path}".endswith(f".{old}")]
        if len(found) == 1 and all(found[0] != one.module for one in record.plan):
            moved[old] = found[0]
    if not moved:
        return record
    return replace(
        record,
        plan=tuple(replace(one, module=moved.get(one.module, one.module)) for one in record.plan),
        tools=tuple(replace(one, module=moved.get(one.module, one.module)) for one in record.tools),
        passed_before=tuple(moved.get(one, one) for one in record.passed_before),
    )


def _joined(names: list[str]) -> str:
    """With the verb; of many names only the first ones."""
    if len(names) == 1:
        return f"{names[0]} is"
    if len(names) > MOST_NAMES:
        return f"{', '.join(names[:MOST_NAMES])} and {len(names) - MOST_NAMES:,} more are"
    return f"{', '.join(names[:-1])} and {names[-1]} are"


def _select_again(record: RunRecord, registry: Registry) -> Selection:
    """The tools of that run, in the order that its words give today. Where these mean only some of them, the order is
    that of then, except where an `AFTER` of now contradicts it, and one tool waits for the other."""
    planned = [one.module for one in record.plan if one.module in registry.tools]
    try:
        today = select(record.targets, replace(registry, broken=()))
    except OrchError:  # a word that means nothing any more
        today = Selection(targets=record.targets)
    known, chosen_by = {*planned}, today.chosen_by
    if known <= chosen_by.keys():
        return replace(today, tools=tuple(one for one in today.tools if one in known))
    key = {module: f"{number:09}" for number, module in enumerate(planned)}
    before = {
        key[module]: [
            key[other]
            for other in registry.before.get(module, ())
            if other in key and chosen_by.get(module) == chosen_by.get(other)
        ]
        for module in planned
    }
    tools = tuple(planned[int(one)] for one in graph.order(before, before))
    return replace(today, tools=tools, chosen_by={one: one for one in tools}, directions={})


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


def _bind_again(
    planned: RecordedStep,
    tool: Tool,
    registry: Registry,
    project: Project,
    values: GivenParams,
    problems: list[Problem],
) -> Arguments:
    """The arguments as they were, with the values that the command line gives now. A secret is looked up everywhere
    again, and so is a parameter that is new and required."""
    found = []
    for param in tool.params:
        name, names = param.name, registry.names
        value = find_on_command_line(param, tool, values, project, names)
        if value is None and name in planned.params:
            old = planned.params[name]
            value = ParamDefault(texts=old.texts, origin=old.origin)
        if value is None and (param.required or name in planned.secrets):
            value = find_configured(param, tool, project, names)
        if value is not None:
            found.append(BoundArgument(param=param, texts=value.texts, origin=value.origin))
        elif name in planned.secrets:
            hint = f"set {PARAM_PREFIX}{name.upper()}, or add --{name.replace('_', '-')} VALUE"
            problems.append(_secret_needed(tool, name, hint))
        elif param.required:
            problems.append(missing_value(tool, param, registry, project))
    extra = {**planned.extra, **extra_arguments(tool, values, registry)}
    extra = {name: text for name, text in extra.items() if is_extra(tool, name)}
    problems += [
        _secret_needed(tool, name, f"add -p {name}=VALUE")
        for name in planned.secrets
        if is_extra(tool, name) and name not in extra
    ]
    return keep_valid(tool, found, problems), extra


def _secret_needed(tool: Tool, name: str, hint: str) -> Problem:
    message = f"{tool.name} needs {name} again: secrets are not stored"
    return Problem(code="secret-again", message=message, hint=hint)


def _find_unused(values: GivenParams, tools: list[Tool], registry: Registry) -> list[Problem]:
    """What is given again must reach a tool of that run. `**kwargs` takes only values of `-p`."""
    taken = {param.name for tool in tools for param in tool.params}
    return find_unused(values, tools, registry) + [
        Problem(
            code="unknown-parameter",
            message=f'no tool of that run has a parameter "{name}"',
            hint=f"remove --{name.replace('_', '-')}",
        )
        for name in values.options
        if not any(is_same_name(name, other) for other in taken)
    ]
