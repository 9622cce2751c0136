"""Which steps run, in which order, with which arguments, each with its reason.

`build_plan` raises one UsageError with everything that is wrong with the values, so that nothing starts on a command
line that is only partly valid. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.conventions import ALL_STAGES
from discover_orch.model.errors import Problem, UsageError
from discover_orch.model.items import tool_of
from discover_orch.model.keys import shown_table
from discover_orch.model.parameter import ParamType, Scalar
from discover_orch.model.secret_masking import find_url_passwords, is_secret_name
from discover_orch.model.tool import Tool
from discover_orch.planning.dataflow_checks import build_warning
from discover_orch.planning.param_values import (
    MISSING,
    SECRET_AGAIN,
    Arguments,
    BoundArgument,
    GivenParams,
    argument_versions,
    bind_arguments,
    find_commas,
)
from discover_orch.planning.project_warnings import check_retries, check_stage_order, find_unused
from discover_orch.planning.selection import Selection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.staleness.status import Turns
    from discover_orch.staleness.tool_result import Success
    from discover_orch.state.recorded_run import RecordedStep

_TEXT = ParamType(base=Scalar(kind="str"))
#: The reason of a step whose item was not there before.
NEVER_RAN = "never ran"
#: The reason of every step where no target was typed.
ALL_SELECTED = "all tools were selected"


class Removal(Struct, frozen=True, kw_only=True):
    """What a step removes first, with `--rebuild`: files, tables that it drops, and tables that it `empties`, since a
    tool creates them that does not run. What depends on these may be dropped too if it is among `may_drop`. The tools
    `after` which it comes remove what this one also writes: it does not run if one of them fails."""

    files: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()
    empties: tuple[str, ...] = ()
    may_drop: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        tables = (
            *map(shown_table, self.drops),
            *(f"rows of {shown_table(one)}" for one in self.empties),
        )
        return (*tables, *self.files)


class Step(Struct, frozen=True, kw_only=True):
    """One tool in the plan. `stage` is the one that it runs for; `after` are modules of this plan. A step starts when
    all steps of the `group` before it have ended: tools of one stage, selected by one word. `attempt` counts from 1.
    `writes_alone`: no other step writes to the database while it runs. `may_run`: a step before it may make the tool
    fresh. `previous` is what a check of the tool takes by that name, as JSON.
    """

    tool: Tool
    stage: str
    group: int = 0
    after: tuple[str, ...] = ()
    reason: str = ""
    arguments: tuple[BoundArgument, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1
    writes_alone: bool = False
    may_run: bool = False
    previous: str = ""
    removal: Removal | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """Ordered, decided work. `targets`, `exclude` and `items` are those of the selection; `fresh` are the selected
    tools that need not run, in order. `intro` is a sentence on how the plan came about.

    `missing` has, by module, the required values that are not given, if they are not refused at once. With `turns`
    the plan has only what is stale, `selected` has the steps of all selected tools, each step is judged again when
    its turn comes, and a fresh tool may have to run then. `resumes` is the id of the run whose targets and parameters
    these are. `is_unchecked`: the tools have no checks.
    """

    steps: tuple[Step, ...] = ()
    targets: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    fresh: tuple[Tool, ...] = ()
    intro: str = ""
    exclude: tuple[str, ...] = ()
    is_unchecked: bool = False
    resumes: str = ""
    missing: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    turns: Turns | None = None
    selected: tuple[Step, ...] = ()
    items: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def possible_steps(self) -> tuple[Step, ...]:
        """The steps, and where fresh tools may have to run, also those."""
        if self.turns is None:
            return self.steps
        known = {step.tool.module: step for step in self.steps}
        names = self.tools
        steps = (known.get(step.tool.module, step) for step in self.selected or self.steps)
        return tuple(step for step in steps if step.tool.module in names)

    @property
    def tools(self) -> dict[str, Tool]:
        """The selected tools by module, those that need not run included."""
        tools = (*(step.tool for step in self.steps), *self.fresh)
        return {tool.module: tool for tool in tools}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values of secret parameters and the passwords of URLs, defaults included."""
        found: list[str] = []
        for step in self.possible_steps:
            given = [(one.param.name, text) for one in step.arguments for text in one.texts]
            for name, text in (*given, *step.extra.items()):
                found += [text] if is_secret_name(name) else find_url_passwords(text)
            for param in step.tool.params:
                found += find_url_passwords(param.default_source or "")
                if param.is_secret:
                    found += [param.default] if isinstance(param.default, str) else []
                    found += param.default_texts
        return tuple(dict.fromkeys(found))


def step_versions(step: Step, root: str) -> dict[str, str]:
    """The values of a step as `argument_versions` has them."""
    return argument_versions(step.tool, step.arguments, step.extra, root)


def had_arguments(success: Success, step: Step, root: str) -> bool:
    """Whether the parameters of the step are those of this success."""
    then = {key: text for key, text in success.inputs.other.items() if key.startswith("param:")}
    return then == {f"param:{name}": text for name, text in step_versions(step, root).items()}


def build_plan(
    selection: Selection,
    registry: Registry,
    project: Project,
    values: GivenParams,
    *,
    is_partial: bool = False,
    then: Mapping[str, RecordedStep] | None = None,
) -> Plan:
    """Raises UsageError for a value that does not fit, is missing, or is taken by no tool. If only a part of the plan
    may run (`is_partial`), missing values are kept in `Plan.missing` instead. `then` has, by place, the steps of a run
    whose values are used again."""
    tools = [registry.tools[module] for module in selection.tools]
    problems = find_unused(values, tools, registry)
    missing: dict[str, tuple[Problem, ...]] = {}

    def bind(tool: Tool) -> Arguments:
        found: list[Problem] = []
        old = then.get(tool.place) if then else None
        arguments = bind_arguments(tool, registry, project, values, found, old)
        if is_partial:
            absent = (MISSING, SECRET_AGAIN)
            missing[tool.module] = tuple(one for one in found if one.code in absent)
            found = [one for one in found if one.code not in absent]
        problems.extend(found)
        return arguments

    steps = _build_steps(selection, registry, bind)
    if problems:
        raise UsageError(*problems)
    warnings = (
        *selection.warnings,
        *check_stage_order(registry, project, _stages_by_name(selection, registry)),
        *_order_warnings(selection.tools, registry),
        *_comma_warnings(steps),
        *_truth_warnings(steps),
        *check_retries(tools, project),
    )
    return Plan(
        steps=steps,
        targets=selection.targets,
        exclude=selection.exclude,
        items=selection.items,
        warnings=warnings,
        missing=missing,
        intro=_tell_names_decide(steps, registry),
    )


def _build_steps(
    selection: Selection, registry: Registry, bind: Callable[[Tool], Arguments]
) -> tuple[Step, ...]:
    """The steps of a selection, with the arguments that `bind` gives."""
    position = {module: index for index, module in enumerate(selection.tools)}
    groups = _groups_of(selection, registry)
    steps = []
    for module in selection.tools:
        tool = registry.tools[module]
        before = dict.fromkeys((*registry.before.get(module, ()), *registry.flow.get(module, ())))
        arguments, extra = bind(tool)
        steps.append(
            Step(
                tool=tool,
                stage=_stage_of(tool, selection, registry),
                group=groups[module],
                after=tuple(
                    other for other in before if position.get(other, len(groups)) < position[module]
                ),
                reason=_reason(tool, selection, registry),
                arguments=arguments,
                extra=extra,
            )
        )
    return tuple(steps)


def keep_steps(steps: Iterable[Step], reasons: Mapping[str, str]) -> tuple[Step, ...]:
    """Those of these steps that have a reason to run."""
    return tuple(
        replace(
            step,
            reason=reasons[step.tool.module],
            after=tuple(one for one in step.after if one in reasons),
        )
        for step in steps
        if step.tool.module in reasons
    )


def extend_plan(old: Plan, now: Plan, new: Collection[str]) -> Plan:
    """The plan `now`, of which the steps of the `old` one run and those that are `new`. Raises UsageError for a value
    that a new one needs."""
    known = {step.tool.module: step for step in old.steps}
    is_part = old.turns is not None or bool(old.fresh)
    steps: list[Step] = []
    for step in now.steps:
        module = step.tool.module
        if module in known:
            steps.append(replace(known[module], after=step.after))
        elif module in new:
            steps.append(replace(step, reason=NEVER_RAN) if is_part else step)
    if absent := [one for step in steps for one in now.missing.get(step.tool.module, ())]:
        raise UsageError(*absent)
    running = {step.tool.module for step in steps}
    others = [step for step in now.steps if step.tool.module not in running]
    selected = (one for one in now.steps if not now.missing.get(one.tool.module))
    return replace(
        old,
        steps=tuple(steps),
        fresh=tuple(step.tool for step in others),
        selected=tuple(selected) if old.turns is not None else (),
    )


def _tell_names_decide(steps: Sequence[Step], registry: Registry) -> str:
    """On a first run: the stages in which nothing but the names of tools decides on their order."""
    if not registry.known.isdisjoint(step.tool.module for step in steps):
        return ""
    stages = [
        later.stage
        for step, later in itertools.pairwise(steps)
        if step.group == later.group
        and step.tool.source_module != later.tool.source_module
        and not later.tool.has_after
        and not (step.tool.has_outputs and later.tool.has_inputs)
    ]
    if not stages:
        return ""
    names, *more = dict.fromkeys(stages)
    others_have_after = any(step.tool.has_after and step.stage in stages for step in steps)
    if more:
        names = (
            f"{names} and {len(more)} other stages" if len(more) > 1 else f"{names} and {more[0]}"
        )
    which = " that have no AFTER" if others_have_after else ""
    return (
        f"the tools of {names}{which} run in alphabetical order: orch sees in their first run what they use; "
        "AFTER declares an order"
    )


def _stages_by_name(selection: Selection, registry: Registry) -> list[tuple[str, str]]:
    """Stages that their names order, both with tools that one word has chosen: the user has typed no order of them."""
    words: dict[str, set[str]] = {}
    if registry.by_name:
        for module, word in selection.chosen_by.items():
            for stage in registry.tools[module].stages:
                words.setdefault(stage, set()).add(word)
    return [
        (one, following)
        for one, following in registry.by_name
        if words.get(one, set()) & words.get(following, set())
    ]


def _comma_warnings(steps: Iterable[Step]) -> list[Problem]:
    """A warning for each parameter that takes a list and gets one value with commas."""
    found = {
        bound.param.name: build_warning(
            "commas", f"{bound.param.flag} gets one value with commas: {bound.shown}", hint
        )
        for step in steps
        for bound in step.arguments
        if (hint := find_commas(bound))
    }
    return [*found.values()]


def _truth_warnings(steps: Iterable[Step]) -> list[Problem]:
    """A warning for each parameter that is a text, as without a type, and gets "false", which is true in Python."""
    return [
        build_warning(
            "untyped",
            f'{bound.param.name} of {step.tool.name} is the text "{bound.texts[-1]}", which is true in Python',
            f"write {bound.param.name}: bool in run() to get True or False",
            step.tool,
        )
        for step in steps
        for bound in step.arguments
        if bound.param.type == _TEXT and bound.texts[-1].lower() == "false"
    ]


def _order_warnings(modules: tuple[str, ...], registry: Registry) -> list[Problem]:
    """The order of the targets wins; a warning for two tools says where it contradicts an `AFTER`, or an `"each"`."""
    position = {module: index for index, module in enumerate(modules)}
    found: dict[tuple[str, str], Problem] = {}
    for module in modules:
        for other in registry.before.get(module, ()):
            pair = tool_of(module), tool_of(other)
            if position.get(other, -1) <= position[module] or pair in found or pair[0] == pair[1]:
                continue
            tool, name = registry.tools[module], registry.by_tool.display(pair[1])
            tag = "AFTER" if pair[1] in tool.after else '"each"'
            found[pair] = build_warning(
                "typed-order",
                f"{registry.by_tool.display(pair[0])} runs before {name}, although its {tag} names {name}",
                "targets run in the order in which you typed them",
                tool,
            )
    return [*found.values()]


def _groups_of(selection: Selection, registry: Registry) -> dict[str, int]:
    groups: dict[str, int] = {}
    group, before = 0, None
    for module in selection.tools:
        part = selection.chosen_by[module], registry.rank[module]
        group += part != before
        groups[module], before = group, part
    return groups


def _stage_of(tool: Tool, selection: Selection, registry: Registry) -> str:
    word = selection.chosen_by[tool.module].strip("+").removeprefix("stage:")
    return word if word in tool.stages else registry.stages[registry.rank[tool.module]].name


def _reason(tool: Tool, selection: Selection, registry: Registry) -> str:
    word = selection.chosen_by[tool.module]
    core = word.strip("+")
    plain = core.removeprefix("stage:")
    if tool.module in selection.directions:
        return f"{selection.directions[tool.module]} of {plain.removeprefix('tool:')}"
    if core == ALL_STAGES:
        return ALL_SELECTED
    if plain in tool.stages:
        return f"in stage {plain}"
    if core in registry.groups:
        return f"in group {core}"
    return "selected by name" if core == word else f"selected by {word}"
