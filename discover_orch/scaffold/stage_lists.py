"""Which of the lists of a hand-written orchestrator become stages and which groups, and what `AFTER` must say so that
each list runs its tools in the same order. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from discover_orch.model.conventions import ALL_STAGES

Lists = Mapping[str, tuple[str, ...]]


class StageLists(Struct, frozen=True, kw_only=True):
    """`stages`: the tools of each stage, in the order of the stages. `groups`: words for `orch run`. `added`: a stage
    that no list has, for tools that are in no other stage. `renamed`: lists that could not keep their name."""

    stages: Lists
    groups: Lists
    added: str
    renamed: Mapping[str, str]

    def stage_of(self, tool: str) -> str:
        return next(name for name, tools in self.stages.items() if tool in tools)


def divide(lists: Lists, words: Mapping[str, str]) -> StageLists:
    """`words` has all tools, and the word that names each alone. Lists without a common tool become stages, in the
    order of the list `full` if there is one. A list that is made of other lists, or shares a tool with a stage,
    becomes a group."""
    stages: dict[str, tuple[str, ...]] = {}
    for name, members in lists.items():
        is_free = set(members).isdisjoint(_all(stages))
        if name != ALL_STAGES and is_free and not _is_made_of_others(name, lists):
            stages[name] = members
    full, added = lists.get(ALL_STAGES, ()), ""
    order = [*dict.fromkeys((*full, *_all(lists), *words))]
    left = sorted(words.keys() - _all(stages), key=order.index)
    if left:
        added = _free_name("other" if stages else "pipeline", {*lists, *words})
        stages[added] = tuple(left)
    if full:
        firsts = {name: min(map(order.index, members)) for name, members in stages.items()}
        stages = {name: stages[name] for name in sorted(stages, key=firsts.__getitem__)}
    groups, renamed = {}, {}
    for name, members in lists.items():
        if name in stages or (name == ALL_STAGES and [*members] == _all(stages)):
            continue
        kept = name
        if name == ALL_STAGES:
            kept = renamed[name] = _free_name(f"{ALL_STAGES}_list", {*lists, *words, *stages})
        groups[kept] = tuple(
            f"tool:{words[one]}" if words[one] in (*stages, *lists) else words[one]
            for one in members
        )
    return StageLists(stages=stages, groups=groups, added=added, renamed=renamed)


def find_after(members: Sequence[str], sort_key: Mapping[str, str]) -> dict[str, str]:
    """The tools of a stage that need `AFTER`, and the tool before them, so that they run in this order.

    Of the tools that may run, the one with the smallest `sort_key`, its module path, is next: so it is in a run. A
    tool without `AFTER` would run before an earlier one with a larger key.
    """
    return {
        tool: members[place - 1]
        for place, tool in enumerate(members)
        if any(sort_key[tool] < sort_key[one] for one in members[:place])
    }


def _all(lists: Lists) -> list[str]:
    return [tool for members in lists.values() for tool in members]


def _is_made_of_others(name: str, lists: Lists) -> bool:
    """Whether its tools are those of two or more other lists together."""
    own = set(lists[name])
    parts = [
        set(members)
        for other, members in lists.items()
        if other != name and set(members) < own and other != ALL_STAGES
    ]
    return len(parts) > 1 and set().union(*parts) == own


def _free_name(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name
