"""Facts in, tools out: names, stages, declared edges, and every problem on the way.

In: a `Scan` and a `Project`. Out: a `Registry`. A module with a problem is set apart as `Unhealthy` and the
healthy rest stays usable. Pure; raises for nothing that it can list as a `Problem`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from discover_orch import dataflow, graph
from discover_orch.dataflow import Dataflow
from discover_orch.errors import Location, Problem, nearest
from discover_orch.facts import Broken, ConfFacts, ModuleFacts
from discover_orch.naming import Names, build_names
from discover_orch.project import Project
from discover_orch.scan import PassedOver, Scan
from discover_orch.settings import Settings, read_settings
from discover_orch.stages import Stage, after_targets, build_stages, is_stage_word
from discover_orch.tool import Tool
from discover_orch.value import field, replace, value
from discover_orch.wants import conf_problems, split_arguments

EVERYTHING = "full"


@value
class Unhealthy:
    """A module that would be a tool but for its problems; no `stages` means that it could be of any."""

    path: str
    module: str
    problems: tuple[Problem, ...]
    stages: tuple[str, ...] = ()

    def could_be_in(self, stage: str) -> bool:
        return not self.stages or stage in self.stages


@value
class Registry:
    """The tools that exist, by identity, and what is known of their order.

    `order` is the order of everything: stage by stage, each tool once, with its first stage. `rank` is the
    place of that stage. `before` are the edges of `AFTER`, `flow` those of data. `disabled` tools are in
    no stage.
    """

    tools: Mapping[str, Tool] = field(default_factory=dict)
    disabled: tuple[Tool, ...] = ()
    stages: tuple[Stage, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    rank: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    flow: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Names = field(default_factory=lambda: Names(words={}, display={}))
    unhealthy: tuple[Unhealthy, ...] = ()
    warnings: tuple[Problem, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    conf: ConfFacts | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for one in self.unhealthy for problem in one.problems)

    def stage(self, name: str) -> Stage | None:
        return next((stage for stage in self.stages if stage.name == name), None)

    def display(self, module: str) -> str:
        return self.tools[module].name if module in self.tools else module

    def upstream(self, starts: Iterable[str]) -> frozenset[str]:
        """The starts and all that must come before them: by `AFTER`, by data, and where no read of data is
        known of a tool, all tools of earlier stages (likewise where no write is known of one of these)."""
        return self._reach(
            starts, [self.before, self.flow], lambda tool: not tool.inputs, backwards=True
        )

    def downstream(self, starts: Iterable[str]) -> frozenset[str]:
        """The starts and all that depends on them: the same edges seen from the other end."""
        edges = [graph.reverse(self.before), graph.reverse(self.flow)]
        return self._reach(starts, edges, lambda tool: not tool.outputs, backwards=False)

    def _reach(
        self,
        starts: Iterable[str],
        edges: list[Mapping[str, tuple[str, ...]]] | list[dict[str, tuple[str, ...]]],
        is_unknown: object,
        *,
        backwards: bool,
    ) -> frozenset[str]:
        seen: set[str] = set()
        stack = [start for start in starts if start in self.tools]
        while stack:
            module = stack.pop()
            if module in seen:
                continue
            seen.add(module)
            for one in edges:
                stack.extend(other for other in one.get(module, ()) if other in self.tools)
            stack.extend(self._across_stages(module, seen, backwards=backwards))
        return frozenset(seen)

    def _across_stages(self, module: str, seen: set[str], *, backwards: bool) -> list[str]:
        """Tools of earlier (later) stages that `module` must be taken to depend on (to feed)."""
        tool, rank = self.tools[module], self.rank[module]
        found = []
        for other in self.order:
            if other in seen or (
                self.rank[other] >= rank if backwards else self.rank[other] <= rank
            ):
                continue
            reader, writer = (tool, self.tools[other]) if backwards else (self.tools[other], tool)
            if not reader.inputs or not writer.outputs:
                found.append(other)
        return found


def build_registry(scan: Scan, project: Project) -> Registry:
    """The recipe: drafts of tools, their names, their stages, their edges, and what is left healthy."""
    drafts, warnings, passed_over = _drafts(scan, project)
    enabled = [draft for draft in drafts if not draft.is_off]
    names = build_names((draft.facts.module, draft.settings.name) for draft in enabled)
    off_names = build_names(
        (draft.facts.module, draft.settings.name) for draft in drafts if draft.is_off
    )
    after, stage_problems = _read_after(enabled, names, off_names, project, scan.broken, warnings)
    order_of_stages = build_stages(
        {draft.facts.module: draft.stages for draft in enabled}, after, project.stages
    )
    warnings.extend(_stage_slips(enabled, project))
    problems = {draft.facts.module: list(draft.problems) for draft in enabled}
    for module, found in stage_problems.items():
        problems[module].extend(found)
    rank = {
        draft.facts.module: min(order_of_stages.index(stage) for stage in draft.stages)
        for draft in enabled
        if draft.stages
    }
    lines = {draft.facts.module: draft for draft in enabled}
    for module, problem in _later_stages(after, rank, order_of_stages, lines, names):
        problems[module].append(problem)
    for module, problem in _cycles(after, problems, lines, names):
        problems[module].append(problem)

    healthy = {
        draft.facts.module: _tool(draft, names, after, scan.conf, problems[draft.facts.module])
        for draft in enabled
    }
    unhealthy = [
        Unhealthy(path=one.path, module=one.module, problems=(one.problem,), stages=one.stages)
        for one in scan.broken
    ]
    unhealthy += [
        Unhealthy(
            path=draft.facts.path,
            module=draft.facts.module,
            problems=tuple(problems[draft.facts.module]),
            stages=draft.stages,
        )
        for draft in enabled
        if problems[draft.facts.module]
    ]
    if scan.conf is not None:
        found_in_conf = conf_problems(scan.conf)
        if found_in_conf:
            unhealthy.append(
                Unhealthy(path=scan.conf.path, module="orchconf", problems=found_in_conf)
            )
    tools = {module: tool for module, tool in healthy.items() if not problems[module]}
    before = {
        module: tuple(other for other in others if other in tools)
        for module, others in after.items()
        if module in tools
    }
    flows = {
        module: Dataflow(reads=tool.inputs, writes=tool.outputs) for module, tool in tools.items()
    }
    return _ordered(
        Registry(
            tools=tools,
            disabled=tuple(
                _tool(draft, off_names, {}, scan.conf, []) for draft in drafts if draft.is_off
            ),
            groups=project.groups,
            rank={module: rank[module] for module in tools},
            before=before,
            flow=dataflow.edges(flows),
            names=names,
            unhealthy=tuple(sorted(unhealthy, key=lambda one: one.path)),
            warnings=(*scan.problems, *warnings),
            passed_over=tuple(sorted((*scan.passed_over, *passed_over), key=lambda o: o.path)),
            conf=scan.conf,
        ),
        order_of_stages,
        project.stages,
    )


@value
class _Draft:
    facts: ModuleFacts
    settings: Settings
    stages: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def is_off(self) -> bool:
        return self.facts.stage is not None and self.facts.stage.is_off


def _drafts(scan: Scan, project: Project) -> tuple[list[_Draft], list[Problem], list[PassedOver]]:
    drafts: list[_Draft] = []
    warnings: list[Problem] = []
    passed_over: list[PassedOver] = []
    for facts in scan.modules:
        if facts.stage is None or facts.run is None:
            if facts.stage is not None:
                warnings.append(_without_run(facts))
            if facts.miss:
                passed_over.append(
                    PassedOver(path=facts.path, reason=facts.miss, line=facts.miss_line)
                )
            continue
        settings, found = read_settings(facts.orch, facts.path)
        warnings.extend(problem for problem in found if problem.severity == "warning")
        problems = [problem for problem in found if problem.severity == "error"]
        stages = tuple(dict.fromkeys(w for w in facts.stage.words if isinstance(w, str)))
        place = Location(path=facts.path, line=facts.stage.line)
        if facts.stage.problem:
            problems.append(
                Problem(
                    code="stage-tag",
                    message=facts.stage.problem,
                    hint=TAG_FORMS,
                    location=place,
                )
            )
        problems.extend(
            Problem(
                code="stage-name",
                message=f'"{stage}" cannot be the name of a stage',
                hint='"full" means all stages; + * ? [ and a leading - mean something to orch run',
                location=place,
            )
            for stage in stages
            if stage == EVERYTHING or not is_stage_word(stage)
        )
        drafts.append(
            _Draft(facts=facts, settings=settings, stages=stages, problems=tuple(problems))
        )
    if project.strict:
        warnings = [replace(warning, severity="error") for warning in warnings]
    return drafts, warnings, passed_over


TAG_FORMS = (
    'write STAGE = "name" or STAGE = ("one", "two") at top level; a constant or Enum member of the '
    "project works too, and STAGE = None switches the tool off"
)


def _without_run(facts: ModuleFacts) -> Problem:
    line = facts.stage.line if facts.stage else 1
    return Problem(
        code="no-run",
        message="STAGE without a run() is no tool",
        hint=facts.miss or "add a top-level run(), or rename the constant",
        location=Location(path=facts.path, line=line),
        severity="warning",
    )


def _read_after(
    drafts: list[_Draft],
    names: Names,
    off_names: Names,
    project: Project,
    broken: tuple[Broken, ...],
    warnings: list[Problem],
) -> tuple[dict[str, tuple[str, ...]], dict[str, list[Problem]]]:
    members: dict[str, list[str]] = {}
    for draft in drafts:
        for stage in draft.stages:
            members.setdefault(stage, []).append(draft.facts.module)
    for stage in project.stages:
        members.setdefault(stage, [])
    broken_names = build_names((one.module, None) for one in broken)
    after: dict[str, tuple[str, ...]] = {}
    problems: dict[str, list[Problem]] = {}
    for draft in drafts:
        tag = draft.facts.after
        if tag is None:
            continue
        module, place = draft.facts.module, Location(path=draft.facts.path, line=tag.line)
        found: list[str] = []
        if tag.problem:
            hint = 'write AFTER = "fetch" or AFTER = ("fetch", "parse") at top level'
            problems.setdefault(module, []).append(
                Problem(code="after-tag", message=tag.problem, hint=hint, location=place)
            )
        for word in tag.words:
            if not isinstance(word, str):
                continue
            targets = after_targets(word, module, names, members)
            if isinstance(targets, Problem):
                plain = word.removeprefix("tool:")
                if off_names.find(plain):
                    warnings.append(
                        Problem(
                            code="after-disabled",
                            message=f'AFTER names "{word}", which is disabled (STAGE = None)',
                            location=place,
                            severity="warning",
                        )
                    )
                elif not broken_names.find(plain):
                    problems.setdefault(module, []).append(replace(targets, location=place))
                continue
            found.extend(targets)
        after[module] = tuple(dict.fromkeys(found))
    return after, problems


def _stage_slips(drafts: list[_Draft], project: Project) -> list[Problem]:
    """With `stages` configured, a mistyped tag must not quietly found a new stage."""
    if not project.stages:
        return []
    slips = []
    for draft in drafts:
        for stage in draft.stages:
            if stage in project.stages or stage == EVERYTHING:
                continue
            close = nearest(stage, project.stages)
            slips.append(
                Problem(
                    code="unlisted-stage",
                    message=f'stage "{stage}" is not in the configured stages',
                    hint=f'did you mean "{close}"?' if close else "add it to stages = [...]",
                    location=Location(
                        path=draft.facts.path,
                        line=draft.facts.stage.line if draft.facts.stage else None,
                    ),
                    severity="error" if project.strict else "warning",
                )
            )
    return slips


def _later_stages(
    after: Mapping[str, tuple[str, ...]],
    rank: Mapping[str, int],
    stages: tuple[str, ...],
    drafts: Mapping[str, _Draft],
    names: Names,
) -> list[tuple[str, Problem]]:
    found = []
    for module, others in after.items():
        for other in others:
            if module not in rank or other not in rank or rank[other] <= rank[module]:
                continue
            draft = drafts[module]
            found.append(
                (
                    module,
                    Problem(
                        code="after-later-stage",
                        message=f'AFTER names "{names.display[other]}" of the later stage '
                        f'"{stages[rank[other]]}"',
                        hint=f'a tool of "{stages[rank[module]]}" runs before that stage begins',
                        location=_after_place(draft),
                    ),
                )
            )
            break
    return found


def _cycles(
    after: Mapping[str, tuple[str, ...]],
    problems: Mapping[str, list[Problem]],
    drafts: Mapping[str, _Draft],
    names: Names,
) -> list[tuple[str, Problem]]:
    """One problem for each cycle, given to every tool on it; later-stage edges are told already."""
    left = [module for module in drafts if not problems[module]]
    found: list[tuple[str, Problem]] = []
    while True:
        try:
            graph.order(left, after)
        except graph.CycleError as error:
            places = [
                f"{names.display[module]} ({_after_place(drafts[module])})"
                for module in error.cycle
            ]
            problem = Problem(
                code="cycle",
                message="AFTER goes round in a circle: " + " -> ".join(places),
                hint="each of these waits for the one before it; take one AFTER away",
                location=_after_place(drafts[min(error.cycle)]),
            )
            on_cycle = set(error.cycle)
            found.extend((module, problem) for module in sorted(on_cycle))
            left = [module for module in left if module not in on_cycle]
        else:
            return found


def _after_place(draft: _Draft) -> Location:
    tag = draft.facts.after or draft.facts.stage
    return Location(path=draft.facts.path, line=tag.line if tag else None)


def _tool(
    draft: _Draft,
    names: Names,
    after: Mapping[str, tuple[str, ...]],
    conf: ConfFacts | None,
    problems: list[Problem],
) -> Tool:
    """The tool of a draft; what its signature asks for in vain is added to `problems`."""
    facts, run = draft.facts, draft.facts.run
    assert run is not None, "only modules with a run() become drafts"
    resources, params, found = split_arguments(run, conf, facts.path)
    problems.extend(found)
    return Tool(
        module=facts.module,
        path=facts.path,
        line=run.line,
        name=names.display[facts.module],
        stages=draft.stages,
        doc=facts.doc,
        after=after.get(facts.module, ()),
        has_after=facts.after is not None,
        disabled=draft.is_off,
        params=params,
        resources=resources,
        takes_extra=run.takes_extra or not run.is_readable,
        is_readable=run.is_readable,
        inputs=draft.settings.inputs,
        outputs=draft.settings.outputs,
        is_cancellable=draft.settings.is_cancellable,
        is_always_stale=draft.settings.is_always_stale,
    )


def _ordered(
    registry: Registry, stage_names: tuple[str, ...], configured: tuple[str, ...]
) -> Registry:
    """The registry with its stages filled in the order of the plan.

    Edges of data never contradict `AFTER` and never make an error: those on a cycle are dropped.
    """
    flow = {
        module: tuple(other for other in others if registry.rank[other] <= registry.rank[module])
        for module, others in registry.flow.items()
    }
    while True:
        both = {
            module: (*registry.before.get(module, ()), *flow.get(module, ()))
            for module in registry.tools
        }
        try:
            graph.order(registry.tools, both)
            break
        except graph.CycleError as error:
            cycle = set(error.cycle)
            for module in cycle:
                flow[module] = tuple(other for other in flow.get(module, ()) if other not in cycle)
    members: dict[str, list[str]] = {name: [] for name in stage_names}
    for module, tool in registry.tools.items():
        for name in tool.stages:
            members[name].append(module)
    stages = tuple(
        Stage(
            name=name,
            tools=graph.order(members[name], both),
            is_configured=name in configured,
        )
        for name in stage_names
    )
    seen: dict[str, None] = {}
    for rank, stage in enumerate(stages):
        for module in stage.tools:
            if registry.rank[module] == rank:
                seen[module] = None
    return replace(registry, stages=stages, order=tuple(seen), flow=flow)
