"""Stages: which exist, in which order, and which tools an `AFTER` word means.

In: the stages of each tool, the edges of `AFTER`, and the configured order. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from discover_orch.discovery.tool_names import ToolNames
from discover_orch.model import graph
from discover_orch.model.errors import Problem, nearest

#: The group of all stages in order; no stage and no group of the user's may be called so.
EVERYTHING = "full"


class Stage(Struct, frozen=True, kw_only=True):
    """A named group of tools, these by identity in the order of the plan."""

    name: str
    tools: tuple[str, ...] = ()
    is_configured: bool = False


def is_stage_word(name: str) -> bool:
    """Whether `orch run NAME` could be typed and mean this stage."""
    return (
        name[:1] not in ("-", "+", "")
        and not name.endswith("+")
        and not any(mark in name for mark in "*?[")
        and not name.startswith(("stage:", "tool:"))
        and name.isprintable()
    )


def build_stages(
    stages_of: Mapping[str, Sequence[str]],
    after: Mapping[str, tuple[str, ...]],
    configured: tuple[str, ...],
) -> tuple[str, ...]:
    """The configured ones first; the others as the `AFTER` of their tools asks, then by name.

    A stage that is configured and has no tool stays in the order: it may get one.
    """
    unlisted = {stage for stages in stages_of.values() for stage in stages}.difference(configured)
    before: dict[str, set[str]] = {}
    for module, others in after.items():
        for other in others:
            for stage in stages_of.get(module, ()):
                before.setdefault(stage, set()).update(
                    earlier
                    for earlier in stages_of.get(other, ())
                    if earlier not in stages_of[module]
                )
    left = sorted(unlisted)
    while True:
        try:
            return (*configured, *graph.order(left, before))
        except graph.CycleError as error:
            # Two stages that ask for each other: no order suits both, so the name decides and the
            # `AFTER` that then points to a later stage is told as such.
            for stage in error.cycle:
                before[stage] = before.get(stage, set()).difference(error.cycle)


def after_targets(
    word: str, module: str, names: ToolNames, members: Mapping[str, Sequence[str]]
) -> tuple[str, ...] | Problem:
    """The tools that `word` in an `AFTER` of `module` means.

    A tool wins over a stage of its name; the tool's own stage, or own name, means the others of the stage.
    """
    kind, _, rest = word.partition(":")
    if kind == "stage" and rest:
        if rest in members:
            return tuple(other for other in members[rest] if other != module)
        return _nothing(word, [f"stage:{name}" for name in members])
    plain = rest if kind == "tool" and rest else word
    found = names.find(plain)
    if found == (module,) and plain is word and word in members:
        found = ()
    if len(found) == 1:
        return found
    if len(found) > 1:
        return Problem(
            code="after-ambiguous",
            message=f'AFTER names "{word}", which could be several tools',
            hint="write one of " + ", ".join(names.display[other] for other in found),
        )
    if plain is word and word in members:
        return tuple(other for other in members[word] if other != module)
    return _nothing(word, [*names.words, *members])


def _nothing(word: str, candidates: Sequence[str]) -> Problem:
    close = nearest(word, candidates)
    return Problem(
        code="after-unknown",
        message=f'AFTER names "{word}", which is neither a tool nor a stage',
        hint=f'did you mean "{close}"?' if close else "orch list shows the names of all",
    )
