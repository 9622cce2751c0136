"""Builds the `Registry`: the tools that exist, their names, stages and edges, and all problems.

A module with a problem becomes a `BrokenTool`, and the other tools stay usable.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from discover_orch.config.project import Project
from discover_orch.discovery.each_tags import SameItemsOf, find_same_items
from discover_orch.discovery.injection import (
    conf_warnings,
    find_meant_resource,
    offered_resources,
    read_checks,
    split_arguments,
)
from discover_orch.discovery.ordering import (
    Stage,
    build_flow_edges,
    build_stage_edges,
    build_stages,
    find_cycles,
    find_later_stages,
    order_stages,
    read_after,
)
from discover_orch.discovery.tagged_modules import (
    Candidate,
    Candidates,
    build_candidates,
    find_broken_tools,
)
from discover_orch.model import graph
from discover_orch.model.dataflow import Dataflow, less, merge_flows, union
from discover_orch.model.errors import NO_TOOLS, Problem
from discover_orch.model.flow_edges import Written, edges, upstream
from discover_orch.model.items import (
    FilePattern,
    SameItems,
    as_glob,
    item_text,
    noun_of,
    tool_of,
)
from discover_orch.model.tool import OldPlace, Tool, ToolNames, build_names
from discover_orch.source.facts import BrokenTool, ConfFacts, PassedOver, Scan

NO_DATAFLOW = Dataflow()
NO_OBSERVATIONS: Mapping[str, Dataflow] = {}


class Registry(Struct, frozen=True, kw_only=True):
    """The tools that exist, by module, and their order.

    `order` has every tool once, stage by stage, each in its first stage; `rank` is the index of that stage. `before`
    are the edges of `AFTER`, and `ordering` those of data that the order follows beside them. `stages_before` are the
    edges of `AFTER` between stages that are not configured; `by_name` are neighbours among these that only their names
    order.

    `flows` is what each tool declares and was observed to read and write, and `observed` the modules that were; of the
    others it is what `lock` says, which is what `orch.lock` says of tools. `flow`
    are the edges that follow from this and the order: to all earlier tools that write what a tool reads or writes.
    `moved` has the old place of tools that were moved or renamed since they ran. `disabled` tools are in no stage.
    `names` has the broken tools too.
    `after_broken` are the broken tools that an `AFTER` names, and `below_broken` has for each tool one that was
    upstream of it when it could be read.

    `same_items` has, for a tool with items, the tool upstream that has the same ones. Once the items are found, the
    tools that have any are replaced by their steps, by key; `steps` has these by the module of their tool, and `whole`
    is the registry as it was before.
    """

    tools: Mapping[str, Tool] = field(default_factory=dict)
    disabled: tuple[Tool, ...] = ()
    stages: tuple[Stage, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    rank: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ordering: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stages_before: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_name: tuple[tuple[str, str], ...] = ()
    flow: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    flows: Mapping[str, Dataflow] = field(default_factory=dict)
    observed: frozenset[str] = frozenset()
    lock: Mapping[str, Dataflow] = field(default_factory=dict)
    moved: Mapping[str, OldPlace] = field(default_factory=dict)
    names: ToolNames = field(default_factory=lambda: ToolNames(words={}, display={}))
    broken: tuple[BrokenTool, ...] = ()
    after_broken: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    below_broken: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    conf: ConfFacts | None = None
    no_tools: Problem = NO_TOOLS  # what is said if there are none
    same_items: Mapping[str, SameItemsOf] = field(default_factory=dict)
    steps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    whole: Registry | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Each once: a cycle is a problem of every tool on it."""
        return tuple(dict.fromkeys(problem for one in self.broken for problem in one.problems))

    def stage(self, name: str) -> Stage | None:
        return next((stage for stage in self.stages if stage.name == name), None)

    def display(self, module: str) -> str:
        found = self.names.display.get(module)
        if found is None and (item := item_text(module)):
            return f"{self.display(tool_of(module))} {item}"
        return module if found is None else found

    @property
    def by_tool(self) -> Registry:
        """With one tool for all its items."""
        return self.whole or self

    def item_params(self, module: str) -> tuple[str, ...]:
        """The parameters that the items of a tool give."""
        tool = self.by_tool.tools.get(module)
        if tool is None or tool.each is None:
            return ()
        if isinstance(tool.each, SameItems):
            return tuple(self.same_items[module].names) if module in self.same_items else ()
        return tool.each.params

    def item_values(self, param: str) -> list[str]:
        """The values that items give to parameters of this name."""
        steps = (self.tools[key] for keys in self.steps.values() for key in keys)
        return [*dict.fromkeys(one.item.values[param] for one in steps if param in one.item.values)]

    def count_items(self, module: str) -> str:
        """`60 days`; "" for a tool without items."""
        keys = self.steps.get(module)
        if keys is None:
            return ""
        return f"{len(keys):,} {noun_of(self.item_params(module), len(keys))}"

    def steps_of(self, modules: Iterable[str]) -> tuple[str, ...]:
        """The keys of the steps of these tools."""
        if not self.steps:
            return tuple(modules)
        return tuple(key for module in modules for key in self.steps.get(module, (module,)))

    @property
    def locked(self) -> frozenset[str]:
        """The tools of which only `orch.lock` knows the data flow."""
        if not self.lock:
            return frozenset()
        seen = {*map(tool_of, self.observed)}
        tools = self.lock.keys() - seen
        return frozenset(key for key in self.tools if tool_of(key) in tools)

    @property
    def known(self) -> frozenset[str]:
        """The modules whose data flow was observed, here or elsewhere."""
        return self.observed | self.locked

    def without_lock(self) -> Registry:
        """In the same order, with the data flow that was observed here alone. What is not known counts as anything,
        so that no tool is fresh because of the lock."""
        own = {one: dataflow_of(self.tools[one], None) for one in self.locked}
        return replace(self, flows={**self.flows, **own}) if own else self

    def find_meant_resource(self, name: str) -> str:
        """A hint that names the resource which a parameter of this name was probably meant to be; or ""."""
        return find_meant_resource(name, self.conf)

    def upstream(self, starts: Iterable[str]) -> frozenset[str]:
        """The starts and all tools that must run before them.

        By `AFTER` and by data. A tool that is not known to read anything may depend on every tool of an earlier
        stage, and so may every tool on one that is not known to write anything.
        """
        return self._reach(starts, (self.before, self.flow), is_backwards=True)

    def find_before(self, module: str, whole: Collection[str]) -> tuple[str, ...]:
        """The tools of `AFTER` from which something may pass unseen to this one. For the `whole`, whose reads were all
        seen, `AFTER` only says when they run, unless it is not known what the tool that it names writes."""
        others = self.before.get(module, ())
        if module not in whole:
            return others
        known = self.flows
        return tuple(
            one for one in others if not (one in whole or known.get(one, NO_DATAFLOW).has_writes)
        )

    def downstream(self, starts: Iterable[str], whole: Collection[str] = ()) -> frozenset[str]:
        """The starts and all tools that depend on them, by the same rules, and by `find_before`."""
        before = {one: self.find_before(one, whole) for one in self.before}
        edges = (graph.reverse(before), graph.reverse(self.flow))
        return self._reach(starts, edges, is_backwards=False)

    def _reach(
        self,
        starts: Iterable[str],
        edges: tuple[Mapping[str, tuple[str, ...]], ...],
        *,
        is_backwards: bool,
    ) -> frozenset[str]:
        """Follows edges, and the rule for tools whose data flow is not known, which is not written as edges:
        10,000 tools would have millions. `everyone` and `unsure` are in the order of stages, so each tool is taken
        from them once."""
        line, turn = (self.order[::-1], 1) if is_backwards else (self.order, -1)
        flows = [(module, self.flows.get(module, NO_DATAFLOW)) for module in line]
        if is_backwards:
            unsure = [module for module, flow in flows if not flow.has_writes]
            asks_all = {module for module, flow in flows if not flow.has_reads}
        else:
            unsure = [module for module, flow in flows if not flow.has_reads]
            asks_all = {module for module, flow in flows if not flow.has_writes}
        everyone = list(line)
        stack = [start for start in dict.fromkeys(starts) if start in self.tools]
        seen = set(stack)
        while stack:
            module = stack.pop()
            rank = self.rank[module] * turn
            found = [other for one in edges for other in one.get(module, ())]
            waiting = everyone if module in asks_all else unsure
            while waiting and self.rank[waiting[-1]] * turn < rank:
                found.append(waiting.pop())
            for other in found:
                if other not in seen and other in self.tools:
                    seen.add(other)
                    stack.append(other)
        return frozenset(seen)


def build_registry(
    scan: Scan, project: Project, observed: Mapping[str, Dataflow] = NO_OBSERVATIONS
) -> Registry:
    """Checks the candidates, gives them names, stages and edges, and sorts out the broken ones.

    `observed` is the data flow of tools by module, as observed when they ran; other modules in it are ignored.
    """
    candidates = build_candidates(scan, project)
    enabled = {candidate.module: candidate for candidate in candidates.enabled}
    names = build_names((candidate.module, candidate.name) for candidate in enabled.values())
    off_names = build_names((candidate.module, candidate.name) for candidate in candidates.disabled)
    after = read_after(candidates.enabled, names, off_names, project.stages, scan.broken)
    problems: dict[str, list[Problem]] = {module: [] for module in enabled}
    built = {}
    for module, candidate in enabled.items():
        built[module], found = _build_tool(candidate, names, after.edges, scan.conf)
        problems[module].extend(found)
    same_items, wrong = find_same_items(built, names)
    stages_of = {module: candidate.stages for module, candidate in enabled.items()}
    before = _find_before(built, after.edges, same_items)
    stages_before = build_stage_edges(stages_of, before, project.stages)
    unlisted = {one for stages in stages_of.values() for one in stages}.difference(project.stages)
    stage_names = (*project.stages, *graph.order(unlisted, stages_before))
    rank = _rank_tools(stages_of, stage_names)
    later = find_later_stages(after.edges, rank, stage_names, enabled, names)
    for module, problem in (*wrong, *after.problems, *later):
        problems[module].append(problem)
    healthy = [module for module, one in enabled.items() if not (one.problems or problems[module])]
    for module, problem in find_cycles(after.edges, healthy, enabled, names):
        problems[module].append(problem)
    broken = find_broken_tools(scan, candidates, problems)
    broken_modules = {one.module for one in broken}
    tools = {module: tool for module, tool in built.items() if module not in broken_modules}
    same_items = {one: of for one, of in same_items.items() if {one, of.module} <= tools.keys()}
    after_broken = {
        module: (*after.to_broken.get(module, ()), *sorted(broken_modules.intersection(others)))
        for module, others in after.edges.items()
    }
    disabled = (_build_tool(one, off_names, {}, scan.conf)[0] for one in candidates.disabled)
    stages = (Stage(name=one, tools=(), is_configured=one in project.stages) for one in stage_names)
    plain = Registry(
        tools=tools,
        disabled=tuple(disabled),
        stages=tuple(stages),
        groups=project.groups,
        stages_before=stages_before,
        before=_find_before(tools, after.edges, same_items),
        names=names,
        broken=broken,
        after_broken={module: after_broken[module] for module in tools if module in after_broken},
        warnings=(
            *(one for one in candidates.tag_warnings if one.severity == "warning"),
            *after.warnings,
            *conf_warnings(scan.conf),
        ),
        passed_over=(*candidates.passed_over, *_find_near_checks(candidates, scan.conf)),
        conf=scan.conf,
        same_items=same_items,
    )
    return with_observed(plain, observed)


def _find_before(
    tools: Mapping[str, Tool],
    after: Mapping[str, tuple[str, ...]],
    same_items: Mapping[str, SameItemsOf],
) -> dict[str, tuple[str, ...]]:
    """By `AFTER`, and by an `each` that names another tool."""
    found = {
        module: tuple(filter(tools.__contains__, after[module]))
        for module in tools
        if module in after
    }
    for module, same in same_items.items():
        if isinstance(tools[module].each, SameItems):
            found[module] = tuple(dict.fromkeys((*found.get(module, ()), same.module)))
    return found


def with_lock(
    registry: Registry, observed: Mapping[str, Dataflow], lock: Mapping[str, Dataflow]
) -> Registry:
    """The same tools in the order that follows from what is `observed` and from what the lock says of the others."""
    return with_observed(replace(registry, lock=lock), observed) if lock else registry


def with_observed(registry: Registry, observed: Mapping[str, Dataflow]) -> Registry:
    """The same tools, without their items, in the order that follows from the observed data flow of their steps."""
    registry, observed = registry.by_tool, merge_flows(observed, tool_of)
    known = {**registry.lock, **observed} if registry.lock else observed
    flows = {
        module: dataflow_of(tool, known.get(module)) for module, tool in registry.tools.items()
    }
    written = Written(flows.values())
    readers = edges(flows, written)
    configured = tuple(stage.name for stage in registry.stages if stage.is_configured)
    stages_of = {module: tool.stages for module, tool in registry.tools.items()}
    unlisted = [stage.name for stage in registry.stages if not stage.is_configured]
    found = build_stages(unlisted, configured, registry.stages_before, stages_of, flows, readers)
    rank = _rank_tools(stages_of, found.names)
    ordering = build_flow_edges(flows, readers, registry.before, rank)
    stages = order_stages(found.names, configured, stages_of, registry.before, ordering)
    order = tuple(
        module
        for number, stage in enumerate(stages)
        for module in stage.tools
        if rank[module] == number
    )
    ordered = replace(registry, stages=stages, rank=rank, flows=flows)
    return replace(
        ordered,
        order=order,
        ordering=ordering,
        by_name=found.by_name,
        flow=find_upstream(order, flows, readers, written),
        observed=frozenset(observed),
        below_broken=_find_below_broken(ordered, known) if registry.broken else {},
    )


def find_upstream(
    order: Sequence[str],
    flows: Mapping[str, Dataflow],
    readers: Mapping[str, tuple[str, ...]],
    written: Written,
) -> dict[str, tuple[str, ...]]:
    """Who only creates a table where it is not there comes before its readers, and what they read does not depend on
    it."""
    if any(flow.tables_kept and flow.tables_written for flow in flows.values()):
        flows = {
            module: replace(flow, tables_written=flow.tables_filled)
            for module, flow in flows.items()
        }
        written = Written(flows.values(), flows)
        readers = edges(flows, written)
    return upstream(order, flows, readers, written)


def _find_below_broken(registry: Registry, observed: Mapping[str, Dataflow]) -> dict[str, str]:
    """By `AFTER`, by the data that a broken tool was seen to write when it could be read, and in later stages where
    data flow is not known."""
    found = {module: others[0] for module, others in registry.after_broken.items() if others}
    ranks = {stage.name: rank for rank, stage in enumerate(registry.stages)}
    for one in registry.broken:
        first = min((ranks[stage] for stage in one.stages if stage in ranks), default=0)
        own = observed.get(one.module, NO_DATAFLOW)
        written = Written([own])
        for module, flow in registry.flows.items():
            is_reader = registry.rank[module] >= first and written.writers_for(flow)
            is_unknown = not ((own.has_writes and flow.has_reads) or one.concerns_all)
            is_later = is_unknown or written.other_writers(flow)
            if is_reader or (registry.rank[module] > first and is_later):
                found.setdefault(module, one.module)
    return found


def _rank_tools(
    stages_of: Mapping[str, tuple[str, ...]], stage_names: Sequence[str]
) -> dict[str, int]:
    """The index of the first stage of each tool."""
    place = {name: number for number, name in enumerate(stage_names)}
    return {
        module: min(place[stage] for stage in stages)
        for module, stages in stages_of.items()
        if stages
    }


def _build_tool(
    candidate: Candidate,
    names: ToolNames,
    after: Mapping[str, tuple[str, ...]],
    conf: ConfFacts | None,
) -> tuple[Tool, tuple[Problem, ...]]:
    """The tool of a candidate, and the problems of its signature."""
    facts, run = candidate.facts, candidate.facts.run
    assert run is not None, "only modules with a run() become candidates"
    resources, params, problems = split_arguments(run, conf, facts.path)
    checks, _, check_problems = read_checks(facts, conf)
    own = dict.fromkeys(name for check in checks for name in check.arguments)
    added = tuple(name for name in offered_resources(conf) if name in own and name not in resources)
    given = {*resources, *[param.name for param in params]}
    tool = Tool(
        module=facts.module,
        path=facts.path,
        line=run.line,
        name=names.display[facts.module],
        stages=candidate.stages,
        doc=facts.doc,
        after=after.get(facts.module, ()),
        has_after=facts.after is not None,
        disabled=candidate.is_off,
        params=params,
        resources=(*resources, *added),
        checks=checks,
        check_resources=added,
        never_passed=tuple([one.name for one in run.arguments if one.name not in given]),
        takes_extra=run.takes_extra or not run.is_readable,
        is_readable=run.is_readable,
        **asdict(candidate.settings),
    )
    return tool, (*problems, *check_problems)


def _find_near_checks(candidates: Candidates, conf: ConfFacts | None) -> Iterator[PassedOver]:
    """The functions that look like checks and are none."""
    for candidate in candidates.enabled:
        yield from read_checks(candidate.facts, conf)[1]


def dataflow_of(tool: Tool, seen: Dataflow | None) -> Dataflow:
    """What the tool declares and was seen to use. Of a tool with items the patterns of all of them count."""
    flow = NO_DATAFLOW if seen is None else seen
    if tool.each is not None and not tool.item.values:
        made_for = (as_glob(tool.each.pattern),) if isinstance(tool.each, FilePattern) else ()
        flow = _as_globs(flow)
        flow = replace(flow, inputs=union(made_for, flow.inputs))
        tool = replace(
            tool,
            inputs=tuple(map(as_glob, tool.inputs)),
            outputs=tuple(map(as_glob, tool.outputs)),
        )
    if not (tool.has_inputs or tool.has_outputs):
        return flow
    return replace(
        flow,
        inputs=union(tool.inputs, flow.inputs),
        outputs=union(tool.outputs, flow.outputs),
        has_inputs=tool.has_inputs,
        has_outputs=tool.has_outputs,
    )


def _as_globs(flow: Dataflow) -> Dataflow:
    """With a pattern for each path that has the names of the values of items, as in `orch.lock`."""

    def both(paths: tuple[str, ...], globs: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        named = tuple(one for one in paths if as_glob(one) != one)
        return less(paths, named), union(globs, tuple(map(as_glob, named)))

    reads, inputs = both(flow.reads, flow.inputs)
    writes, outputs = both(flow.writes, flow.outputs)
    return replace(flow, reads=reads, inputs=inputs, writes=writes, outputs=outputs)


def uses_get_connection(registry: Registry, project: Project) -> bool:
    """Whether `get_connection()` makes `conn`: where it is defined and there is no `--database`."""
    conf = registry.conf
    return (
        conf is not None
        and conf.connection_line is not None
        and project.database_origin != "--database"
    )
