"""Which steps, in which order, waiting for what, with which arguments, each with its reason.

In: a `Selection`, the `Registry`, the values of parameters. Out: a `Plan`, or a UsageError with everything
that is wrong with the values, so that nothing starts on a half-checked command line. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from discover_orch.config.project import ALL_STAGES, Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import Location, Problem, UsageError, nearest
from discover_orch.model.tool import ConvertError, Param, Scalar, Tool, is_secret_name
from discover_orch.planning.params import GivenParams, KeyValue, same, value_for
from discover_orch.planning.selection import Selection

MASK = "***"
MISSING = "missing-parameter"


class BoundArgument(Struct, frozen=True, kw_only=True):
    """The value of one parameter: its texts and where they came from."""

    param: Param
    texts: tuple[str, ...]
    origin: str

    @property
    def held(self) -> tuple[str, ...]:
        """Of an option that was repeated and takes one value the last one holds."""
        return self.texts if self.param.type.many else self.texts[-1:]

    @property
    def shown(self) -> str:
        return MASK if self.param.is_secret else ", ".join(self.held)


class Step(Struct, frozen=True, kw_only=True):
    """One tool in the plan. `stage` is the one that it runs for; `after` are identities in this plan."""

    tool: Tool
    stage: str
    after: tuple[str, ...] = ()
    reason: str = ""
    arguments: tuple[BoundArgument, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)


class Plan(Struct, frozen=True, kw_only=True):
    """Ordered, decided work. `words` are the targets as typed; `fresh` are the tools among them that need not run,
    in order. `intro` is a sentence on how it came about.

    `missing` has of each tool the values that it needs and that nobody gives, where that is not refused at once.
    Of a plan that goes on with another run `resumes` is that run's id, and `whole` has its steps, those which
    passed there too.
    """

    steps: tuple[Step, ...] = ()
    words: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    fresh: tuple[Tool, ...] = ()
    intro: str = ""
    resumes: str = ""
    whole: tuple[Step, ...] = ()
    missing: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must not be shown, the longest first, since one may be a part of another; those
        under 8 characters would hit innocent words."""
        values = [
            text
            for step in self.steps
            for bound in step.arguments
            if bound.param.is_secret
            for text in bound.texts
        ]
        values += [
            text for step in self.steps for name, text in step.extra.items() if is_secret_name(name)
        ]
        values += [
            param.default
            for step in self.steps
            for param in step.tool.params
            if param.is_secret and isinstance(param.default, str)
        ]
        return tuple(sorted({text for text in values if len(text) >= 8}, key=_longest_first))


def given_params(
    tool: Tool, registry: Registry, project: Project, values: GivenParams
) -> dict[str, tuple[str, ...]]:
    """What a tool would get for its parameters, right or wrong, as `step_params` has it."""
    bound = []
    for param in tool.params:
        setting = value_for(param, tool, values, project, registry.names)
        if setting is not None:
            bound.append(BoundArgument(param=param, texts=setting.texts, origin=setting.origin))
    return _texts(bound, extra_of(tool, values, registry), project.root)


def step_params(step: Step, root: str) -> dict[str, tuple[str, ...]]:
    """The texts of each parameter that is given, by name; secrets are left out. Paths under the root are relative to
    it, so that a project can be moved."""
    return _texts(step.arguments, step.extra, root)


def _texts(
    arguments: Iterable[BoundArgument], extra: Mapping[str, str], root: str
) -> dict[str, tuple[str, ...]]:
    start = root.rstrip("/") + "/"
    found = {
        bound.param.name: _plain(bound, start) for bound in arguments if not bound.param.is_secret
    }
    found.update({name: (text,) for name, text in extra.items() if not is_secret_name(name)})
    return found


def _plain(bound: BoundArgument, start: str) -> tuple[str, ...]:
    """Equal for texts that `run()` cannot tell apart: `1.0` and `1e0`, `true` and `yes`."""
    kind = bound.param.type.base
    if isinstance(kind, Scalar) and kind.kind not in ("str", "path"):
        try:
            found = bound.param.convert(bound.held)
        except ConvertError:
            return bound.held
        return tuple(str(one) for one in (found if isinstance(found, list) else [found]))
    return tuple(text.removeprefix(start) for text in bound.held)


def _longest_first(text: str) -> tuple[int, str]:
    return -len(text), text


def build_plan(
    selection: Selection,
    registry: Registry,
    project: Project,
    values: GivenParams,
    *,
    is_partial: bool = False,
) -> Plan:
    """Raises UsageError: a value that does not convert, one that is missing, one that nobody takes. Of a plan of which
    perhaps only a part is run (`is_partial`) the missing ones are kept, by module."""
    tools = [registry.tools[module] for module in selection.tools]
    problems = unused(values, tools, registry)
    warnings = list(selection.warnings)
    warnings += _against_after(selection.tools, registry)
    position = {tool.module: index for index, tool in enumerate(tools)}
    steps = []
    absent: dict[str, tuple[Problem, ...]] = {}
    for tool in tools:
        found: list[Problem] = []
        arguments = bind(tool, registry, project, values, found)
        if is_partial:
            absent[tool.module] = tuple(one for one in found if one.code == MISSING)
            found = [one for one in found if one.code != MISSING]
        problems += found
        steps.append(
            Step(
                tool=tool,
                stage=_stage_of(tool, selection, registry),
                after=tuple(
                    other
                    for other in dict.fromkeys((*tool.after, *registry.flow.get(tool.module, ())))
                    if position.get(other, len(tools)) < position[tool.module]
                ),
                reason=_reason(tool, selection, registry),
                arguments=arguments,
                extra=extra_of(tool, values, registry),
            )
        )
    if problems:
        raise UsageError(*problems)
    return Plan(steps=tuple(steps), words=selection.words, warnings=tuple(warnings), missing=absent)


def bind(
    tool: Tool, registry: Registry, project: Project, values: GivenParams, problems: list[Problem]
) -> tuple[BoundArgument, ...]:
    """The values of its parameters, from wherever they come; what is wrong with them goes to `problems`."""
    bound = []
    for param in tool.params:
        setting = value_for(param, tool, values, project, registry.names)
        if setting is None:
            if param.required:
                problems.append(missing(tool, param))
            continue
        one = BoundArgument(param=param, texts=setting.texts, origin=setting.origin)
        problem = refused(tool, one)
        if problem:
            problems.append(problem)
        else:
            bound.append(one)
    return tuple(bound)


def missing(tool: Tool, param: Param) -> Problem:
    """That a parameter without a default is not given."""
    return Problem(
        code=MISSING,
        message=f"{tool.name} needs {param.flag} ({param.type})",
        hint=f"give {param.flag} VALUE or -p {param.name}=VALUE, or set {param.name} under "
        "[tool.orch.params]",
        location=Location(path=tool.path, line=tool.line),
    )


def refused(tool: Tool, bound: BoundArgument) -> Problem | None:
    """What is wrong with a value, if anything."""
    param = bound.param
    is_typed = bound.origin.startswith("-")  # of an option that is repeated the last one holds
    try:
        if not param.type.many and len(bound.texts) != 1 and not is_typed:
            raise ConvertError("a list was given, and one value is wanted")
        param.convert(bound.texts)
    except ConvertError as error:
        text = f"a value that is not shown is no {param.type}" if param.is_secret else str(error)
        return Problem(
            code="wrong-type",
            message=f"{param.flag} of {tool.name}: {text}",
            hint=f"its type in run() is {param.type}; the value came from {bound.origin}",
            location=Location(path=tool.path, line=tool.line),
        )
    return None


def extra_of(tool: Tool, values: GivenParams, registry: Registry) -> dict[str, str]:
    """What `-p` gives, `**kwargs` can take, and the tool does not name."""
    if not tool.takes_extra:
        return {}
    return {
        one.name.replace("-", "_"): one.text
        for one in values.given
        if _is_for(one, tool, registry) and is_extra(tool, one.name)
    }


def is_extra(tool: Tool, name: str) -> bool:
    """Whether its `**kwargs` takes it."""
    named = (*tool.resources, *tool.never_passed, *(param.name for param in tool.params))
    return tool.takes_extra and not any(same(name, other) for other in named)


def _withholds(tool: Tool, name: str) -> bool:
    return any(same(name, other) for other in tool.never_passed)


def _takes(tool: Tool, name: str) -> bool:
    return is_extra(tool, name) or any(same(name, param.name) for param in tool.params)


def _is_for(one: KeyValue, tool: Tool, registry: Registry) -> bool:
    return one.tool is None or tool.module in registry.names.find(one.tool)


def unused(values: GivenParams, tools: list[Tool], registry: Registry) -> list[Problem]:
    """Every `-p` must reach a selected tool: a slip is never swallowed."""
    problems = []
    chosen = [tool.module for tool in tools]
    for one in values.given:
        if one.tool is not None:
            found = registry.names.find(one.tool)
            if len(found) > 1:
                names = ", ".join(registry.display(module) for module in found)
                problems.append(
                    Problem(
                        code="ambiguous",
                        message=f'-p {one.tool}.{one.name}: "{one.tool}" could be several tools',
                        hint=f"write one of {names}",
                    )
                )
                continue
            if not any(module in found for module in chosen):
                problems.append(_not_chosen(one, registry, exists=bool(found)))
                continue
        takers = [tool for tool in tools if _is_for(one, tool, registry)]
        if any(_takes(tool, one.name) for tool in takers):
            continue
        keeper = next((tool for tool in takers if _withholds(tool, one.name)), None)
        if keeper is not None:
            problems.append(
                Problem(
                    code="withheld",
                    message=f"-p {one.name}: orch does not know the type of {one.name} in {keeper.name}",
                    hint="its default always holds; annotate it with a type that can be typed",
                    location=Location(path=keeper.path, line=keeper.line),
                )
            )
            continue
        close = nearest(one.name, {param.name for tool in takers for param in tool.params})
        others = [
            tool.name
            for tool in map(registry.tools.__getitem__, registry.order)
            if _is_for(one, tool, registry) and any(same(one.name, it.name) for it in tool.params)
        ]
        if others:
            hint = f"{', '.join(others)} would take it: add it to the targets"
        else:
            hint = f'did you mean "{close}"?' if close else "orch run TARGETS --help lists them"
        problems.append(
            Problem(
                code="unknown-parameter",
                message=f'no selected tool takes "{one.name}" (given with -p)',
                hint=hint,
            )
        )
    return problems


def _not_chosen(one: KeyValue, registry: Registry, *, exists: bool) -> Problem:
    """`-p parse.since=...` where no selected tool is `parse`."""
    close = nearest(one.tool or "", registry.names.words)
    if exists:
        what, hint = "is not among the selected tools", "add it to the targets"
    else:
        what = "is no tool"
        hint = f'did you mean "{close}"?' if close else "orch list shows all"
    return Problem(
        code="unknown-parameter",
        message=f'-p {one.tool}.{one.name}: "{one.tool}" {what}',
        hint=hint,
    )


def _against_after(modules: tuple[str, ...], registry: Registry) -> list[Problem]:
    """The typed order stands; where it contradicts an `AFTER`, it is told."""
    position = {module: index for index, module in enumerate(modules)}
    found = []
    for module in modules:
        for other in registry.before.get(module, ()):
            if position.get(other, -1) > position[module]:
                tool = registry.tools[module]
                found.append(
                    Problem(
                        code="typed-order",
                        message=f"{tool.name} runs before {registry.display(other)}, though its "
                        "AFTER says otherwise",
                        hint="the order that you typed stands",
                        location=Location(path=tool.path, line=tool.line),
                        severity="warning",
                    )
                )
    return found


def _stage_of(tool: Tool, selection: Selection, registry: Registry) -> str:
    word = selection.because[tool.module].strip("+").removeprefix("stage:")
    return word if word in tool.stages else registry.stages[registry.rank[tool.module]].name


def _reason(tool: Tool, selection: Selection, registry: Registry) -> str:
    word = selection.because[tool.module]
    core = word.strip("+")
    plain = core.removeprefix("stage:")
    if tool.module in selection.ways:
        return f"{selection.ways[tool.module]} of {plain.removeprefix('tool:')}"
    if core == ALL_STAGES:
        return "everything was asked for"
    if plain in tool.stages:
        return f"of stage {plain}"
    if core in registry.groups:
        return f"of group {core}"
    return "named" if core == word else f"named by {word}"
