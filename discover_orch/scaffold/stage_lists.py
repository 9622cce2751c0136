"""Which of the lists of a hand-written orchestrator become stages and which groups, and what `AFTER` must say so that
each list runs its tools in the same order. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from discover_orch.model.conventions import ALL_STAGES

Lists = Mapping[str, tuple[str, ...]]


class StageLists(Struct, frozen=True, kw_only=True):
    """`stages`: the tools of each stage, in the order of the stages; one that no list has is for tools that are in
    no other. `groups`: words for `orch run`. `targets`: the word for each list."""

    stages: Lists
    groups: Lists
    targets: Mapping[str, str]


def divide(lists: Lists, words: Mapping[str, str]) -> StageLists:
    """`words` has all tools, and the word that names each alone. Lists without a common tool become stages, in the
    order of the list `full` if there is one. A list that is made of other lists, or shares a tool with a stage,
    becomes a group."""
    stages: dict[str, tuple[str, ...]] = {}
    for name, members in lists.items():
        is_free = set(members).isdisjoint(_all(stages))
        if name != ALL_STAGES and is_free and not _is_made_of_others(name, lists):
            stages[name] = members
    full = lists.get(ALL_STAGES, ())
    order = [*dict.fromkeys((*full, *_all(stages), *_all(lists), *words))]
    left = sorted(words.keys() - _all(stages), key=order.index)
    if left:
        added = _free_name("other" if stages else "pipeline", {*lists, *words})
        stages[added] = tuple(left)
    by_order = sorted(stages, key=lambda one: min(map(order.index, stages[one])))
    stages = {name: stages[name] for name in by_order}
    groups, targets = {}, {name: name for name in lists}
    for name, members in lists.items():
        if name in stages or (name == ALL_STAGES and [*members] == _all(stages)):
            continue
        if name == ALL_STAGES:
            targets[name] = _free_name(f"{ALL_STAGES}_list", {*lists, *words, *stages})
        groups[targets[name]] = tuple(
            f"tool:{words[one]}" if words[one] in (*stages, *lists) else words[one]
            for one in members
        )
    return StageLists(stages=stages, groups=groups, targets=targets)


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
    """Whether its tools are those of shorter lists together."""
    own = set(lists[name])
    parts = [set(members) for members in lists.values() if set(members) < own]
    return set().union(*parts) == own


def _free_name(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name
