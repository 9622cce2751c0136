"""What a recorded run waited for: for each tool the one whose end let it start, and the critical path. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from discover_orch.state.run_details import RunDetails

#: Seconds by which a tool may start before the recorded end of the one that it waited for.
SLACK = 0.005
#: Of several workers, one that was idle for longer than so many seconds did not start because of that end.
MOST_IDLE = 0.2


class Wait(Struct, frozen=True, kw_only=True):
    """The tool `by` ended last of those that this one waited for. `ready` is the time, in seconds since the start of
    the run, from which on nothing that it depends on was missing. `why`: `depends`, `worker`, or `order`, where it
    waited for its turn."""

    by: str
    why: str
    ready: float


def find_waits(details: RunDetails) -> dict[str, Wait]:
    """By module, of the tools that started."""
    starts = {module: found[0].start for module, found in details.attempts.items()}
    ends = {module: found[-1].end for module, found in details.attempts.items()}
    workers = {module: found[0].worker for module, found in details.attempts.items()}
    by_end = sorted(ends, key=ends.__getitem__)
    last_on: dict[int, str] = {}
    last, place = "", 0
    waits = {}
    ended: list[str] = []
    begun: set[str] = set()
    for module in sorted(starts, key=starts.__getitem__):
        start = starts[module]
        while place < len(by_end) and ends[by_end[place]] <= start + SLACK:
            ended.append(by_end[place])
            place += 1
        for one in [one for one in ended if one in begun]:  # others began in the same moment
            ended.remove(one)
            last = one if not last or ends[one] >= ends[last] else last
            last_on[workers[one]] = one
        begun.add(module)
        step = details.steps.get(module)
        needed = [one for one in (step.after if step else ()) if one in ends]
        before = max(needed, key=ends.__getitem__, default="")
        ready = ends[before] if before else 0.0
        on_worker = last_on.get(workers[module], "")
        why, by = "order", last
        if before and before == last:
            why, by = "depends", before
        elif on_worker and on_worker == last:
            why, by = "worker", on_worker
        is_late = details.workers > 1 and by and start - ends[by] > MOST_IDLE
        if by and not (is_late and why != "depends"):
            waits[module] = Wait(by=by, why=why, ready=min(ready, start))
    return waits


def find_critical_path(details: RunDetails, waits: Mapping[str, Wait]) -> tuple[str, ...]:
    """The chain of tools that ends with the run, each waiting for the one before it. Of one worker, for which that
    would be all tools, the longest chain of tools that depend on each other."""
    if details.workers == 1:
        return _find_longest_chain(details)
    ends = {module: found[-1].end for module, found in details.attempts.items()}
    if not ends:
        return ()
    path = [max(ends, key=ends.__getitem__)]
    while path[-1] in waits:
        path.append(waits[path[-1]].by)
    return tuple(reversed(path))


def _find_longest_chain(details: RunDetails) -> tuple[str, ...]:
    total: dict[str, float] = {}
    before: dict[str, str] = {}
    attempts = details.attempts
    for module in sorted(attempts, key=lambda one: attempts[one][0].start):
        step = details.steps.get(module)
        needed = [one for one in (step.after if step else ()) if one in total]
        longest = max(needed, key=total.__getitem__, default="")
        if longest:
            before[module] = longest
        total[module] = total.get(longest, 0.0) + busy_seconds(details, [module])
    if not total:
        return ()
    path = [max(total, key=total.__getitem__)]
    while path[-1] in before:
        path.append(before[path[-1]])
    return tuple(reversed(path))


def busy_seconds(details: RunDetails, path: Sequence[str]) -> float:
    """How long the tools of the path ran."""
    return sum(one.end - one.start for module in path for one in details.attempts[module])
