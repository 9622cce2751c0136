"""What each step of a plan waits for when several workers run it. Pure.

The result must be as if the steps ran one after another. So a step waits for every earlier step that it may depend on,
and for every earlier step that may not see what it changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from discover_orch.config.file import name_table
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.model import dataflow
from discover_orch.model.database_url import is_in_memory
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.errors import Location, Problem
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Step, step_versions
from discover_orch.staleness.current import takes_connection
from discover_orch.staleness.fingerprint import Success

NO_DATAFLOW = Dataflow()


class Waits(Struct, frozen=True):
    """A step waits for the first `all_before` steps of the plan, and for those with these numbers.

    One that runs alone also waits for all steps before it, and all steps after it wait for it. If it never runs, they
    do not.
    """

    all_before: int
    steps: tuple[int, ...] = ()
    is_alone: bool = False


def find_waits(
    steps: Sequence[Step], registry: Registry, has_known_use: Callable[[Tool], bool]
) -> tuple[Waits, ...]:
    """For each step what it waits for; `all_before` never decreases. A tool `has_known_use` if a success of its
    present code with these parameters was observed completely."""
    number = {step.tool.module: place for place, step in enumerate(steps)}
    conflicts = find_conflicts(number, registry)
    found = []
    all_before, group = 0, None
    for place, step in enumerate(steps):
        if step.group != group:
            all_before, group = place, step.group
        module = step.tool.module
        earlier = {number.get(other, place) for other in registry.before.get(module, ())}
        earlier |= conflicts[place]
        found.append(
            Waits(
                all_before,
                tuple(sorted(one for one in earlier if all_before <= one < place)),
                is_alone=runs_alone(step.tool, registry, has_known_use),
            )
        )
    return tuple(found)


def runs_alone(tool: Tool, registry: Registry, has_known_use: Callable[[Tool], bool]) -> bool:
    """Whether the tool neither declares enough to run beside another one nor has a known use, or whether it is not
    known which of its files a tool beside it wrote. What it does through `conn` or a resource is no matter of its
    inputs and outputs."""
    is_declared = tool.has_after or (tool.has_inputs and tool.has_outputs and not tool.resources)
    is_unsure = bool(registry.flows.get(tool.module, NO_DATAFLOW).native_beside)
    return is_unsure or not (is_declared or has_known_use(tool))


def had_arguments(success: Success, step: Step, root: str) -> bool:
    """Whether the parameters of the step are those of this success."""
    then = {key: text for key, text in success.inputs.other.items() if key.startswith("param:")}
    return then == {f"param:{name}": text for name, text in step_versions(step, root).items()}


def find_beside(waits: Sequence[Waits], most: int) -> list[tuple[int, ...]]:
    """For each step up to `most` of those that may run at the same time, tokens aside."""
    found: list[list[int]] = [[] for _ in waits]
    ended: list[int] = []  # as bits: the steps that have ended when this one starts
    barrier, wanting = 0, 0
    for place, one in enumerate(waits):
        barrier = max(barrier, one.all_before, place if one.is_alone else 0)
        before = (1 << barrier) - 1
        for earlier in one.steps:
            before |= ended[earlier] | 1 << earlier
        ended.append(before)
        if one.is_alone:
            barrier = place + 1
        free = ((1 << place) - 1) & ~before
        found[place] += itertools.islice(_bits(free), most)
        for earlier in _bits(free & wanting):
            found[earlier].append(place)
            if len(found[earlier]) >= most:
                wanting &= ~(1 << earlier)
        if len(found[place]) < most:
            wanting |= 1 << place
    return [tuple(one) for one in found]


def _bits(number: int) -> Iterator[int]:
    while number:
        yield (number & -number).bit_length() - 1
        number &= number - 1


def find_conflicts(number: Mapping[str, int], registry: Registry) -> list[set[int]]:
    """For each step the earlier ones with which it shares a file or table that either writes."""
    flows = {module: registry.flows.get(module, NO_DATAFLOW) for module in number}
    written = dataflow.Written(flows.values())
    readers = dataflow.edges(flows, written)
    found: list[set[int]] = [set() for _ in number]
    for module, others in dataflow.upstream([*number], flows, readers, written).items():
        found[number[module]].update(number[other] for other in others)
    for reader, writers in readers.items():
        for writer in writers:
            if number[writer] > number[reader]:
                found[number[writer]].add(number[reader])
    return found


def check_tokens(tools: Sequence[Tool], project: Project) -> list[Problem]:
    """The tools that hold more tokens than there are."""
    problems = []
    table = name_table(project, "tokens")
    for tool in tools:
        for name, needed in tool.tokens.items():
            there = project.tokens.get(name)
            if there is not None and there >= needed:
                continue
            message = f'{tool.name} needs the token "{name}", which is not defined'
            hint = f"add {name} = {needed} to {table}"
            if there is not None:
                message = f'{tool.name} needs {needed} of the token "{name}", and there are {there}'
                hint = f"set {name} = {needed} in {table}, or lower it in ORCH"
            problems.append(
                Problem(
                    code="tokens",
                    message=message,
                    hint=hint,
                    location=Location(path=tool.path, line=tool.line),
                )
            )
    return problems


def check_sharing(
    tools: Sequence[Tool], registry: Registry, project: Project, jobs: int
) -> list[Problem]:
    """Why these tools cannot run with so many workers, or in one transaction if that is configured."""
    if project.transaction == "run":
        if jobs > 1:
            message = 'several workers cannot share one transaction, and transaction = "run" is set'
            hint = 'run with --jobs 1, or set transaction = "tool"'
            return [Problem(code="transaction", message=message, hint=hint)]
        return [
            Problem(
                code="transaction",
                message=f'{tool.name} has the transaction "none", and transaction = "run" is set: what it '
                "commits could not be rolled back with the run",
                hint=f'leave it out with --exclude {tool.name}, or set transaction = "tool"',
            )
            for tool in tools
            if tool.commits_by_itself
        ]
    if jobs == 1 or not opens_database(tools, registry, project):
        return []
    if is_in_memory(project.database):
        message = "several workers cannot share a database in memory"
        hint = "run with --jobs 1, or give the database a file: sqlite:///data.db"
        return [Problem(code="database", message=message, hint=hint)]
    return []


def opens_database(tools: Iterable[Tool], registry: Registry, project: Project) -> bool:
    """Whether one of them takes a connection that orch opens."""
    takes_conn = any(takes_connection(tool, registry) for tool in tools)
    return takes_conn and not uses_get_connection(registry, project)
