"""Which of the lists of a hand-written orchestrator become stages and which groups, and what `AFTER` must say so that
each list runs its tools in the same order. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from discover_orch.model.conventions import ALL_STAGES

Lists = Mapping[str, tuple[str, ...]]


class StageLists(Struct, frozen=True, kw_only=True):
    """`stages`: the tools of each stage, in the order of the stages. `groups`: words for `orch run`. `added`: a stage
    that no list has, for tools that are in no other stage. `renamed`: lists that could not keep their name."""

    stages: Lists = field(default_factory=dict)
    groups: Lists = field(default_factory=dict)
    added: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)

    def stage_of(self, tool: str) -> str:
        return next(name for name, tools in self.stages.items() if tool in tools)


def divide(lists: Lists, words: Mapping[str, str]) -> StageLists:
    """`words` has all tools, and the word that names each alone. Lists without a common tool become stages, in the
    order of the list `full` if there is one. A list that is made of other lists, or shares a tool with a stage,
    becomes a group."""
    tools = list(words)
    stages: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for name, members in lists.items():
        if name == ALL_STAGES or _is_made_of_others(name, lists) or taken & set(members):
            continue
        stages[name] = members
        taken |= set(members)
    left = [tool for tool in tools if tool not in taken]
    full = lists.get(ALL_STAGES, ())
    added = ""
    if left:
        added = _free_name("pipeline" if not stages else "other", {*lists, *tools})
        by_lists = dict.fromkeys(tool for members in (full, *lists.values()) for tool in members)
        left.sort(key=lambda tool: [*by_lists].index(tool) if tool in by_lists else len(by_lists))
        stages[added] = tuple(left)
    if full:
        place = {tool: number for number, tool in enumerate(full)}
        stages = dict(
            sorted(
                stages.items(),
                key=lambda one: min(
                    (place[tool] for tool in one[1] if tool in place), default=len(place)
                ),
            )
        )
    groups: dict[str, tuple[str, ...]] = {}
    renamed: dict[str, str] = {}
    everything = tuple(tool for members in stages.values() for tool in members)
    for name, members in lists.items():
        if name in stages or (name == ALL_STAGES and members == everything):
            continue
        kept = name
        if name == ALL_STAGES:
            kept = renamed[name] = _free_name(f"{ALL_STAGES}_list", {*lists, *tools, *stages})
        groups[kept] = tuple(
            f"tool:{words[one]}" if words[one] in (*stages, *lists) else words[one]
            for one in members
        )
    return StageLists(stages=stages, groups=groups, added=added, renamed=renamed)


def find_after(members: Sequence[str], sort_key: Mapping[str, str]) -> dict[str, str]:
    """The tools of a stage that need `AFTER`, and the tool before them, so that they run in this order.

    Of the tools that may run, the one with the smallest `sort_key`, its module path, is next: so it is in a run.
    """
    after: dict[str, str] = {}
    while True:
        early = _find_early(members, sort_key, after)
        if early is None:
            return after
        after[early] = members[members.index(early) - 1]


def _find_early(
    members: Sequence[str], sort_key: Mapping[str, str], after: Mapping[str, str]
) -> str | None:
    """The first tool that would run before its turn."""
    done: set[str] = set()
    for expected in members:
        ready = [
            one for one in members if one not in done and (one not in after or after[one] in done)
        ]
        following = min(ready, key=lambda one: sort_key[one])
        if following != expected:
            return following
        done.add(following)
    return None


def _is_made_of_others(name: str, lists: Lists) -> bool:
    """Whether its tools are those of two or more other lists together."""
    own = set(lists[name])
    parts = [
        set(members)
        for other, members in lists.items()
        if other != name and set(members) < own and other != ALL_STAGES
    ]
    return len(parts) > 1 and set().union(*parts) == own


def _free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
