"""Words typed, and the tools that they choose: every form, and every way to get one wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import EmptyError
from discover_orch.planning.selection import select
from tests.support.values import make_facts, make_registry

STAGES = ("ingest", "analyze", "render")


def sample(*more: object, **options: object) -> Registry:
    """The project of the idea page."""
    return make_registry(
        make_facts("src.analysis.summarize", "analyze", after="enrich"),
        make_facts("src.pipeline.enrich", "analyze"),
        make_facts("src.pipeline.fetch", "ingest"),
        make_facts("src.pipeline.parse", "ingest", after="fetch"),
        make_facts("src.pipeline.render", "render"),
        *more,  # type: ignore[arg-type]
        stages=STAGES,
        **options,  # type: ignore[arg-type]
    )


TARGETS = [
    "fetch",
    "parse",
    "enrich",
    "ingest",
    "analyze",
    "render",
    "full",
    "+enrich",
    "parse+",
    "pa*",
]


@given(st.lists(st.sampled_from(TARGETS), min_size=1, max_size=5))
def test_the_typed_order_is_kept_and_duplicates_are_dropped_at_their_second_place(
    words: list[str],
) -> None:
    registry = sample()
    each = [module for word in words for module in select([word], registry).tools]
    assert select(words, registry).tools == tuple(dict.fromkeys(each))


@given(
    st.lists(st.sampled_from(TARGETS), min_size=1, max_size=3),
    st.lists(st.sampled_from(TARGETS), max_size=3),
)
def test_what_is_excluded_is_never_chosen_and_nothing_else_is_lost(
    words: list[str], exclude: list[str]
) -> None:
    registry = sample()
    whole = select(words, registry).tools
    out = {module for word in exclude for module in select([word], registry).tools}
    left = tuple(module for module in whole if module not in out)
    if left:
        assert select(words, registry, exclude=exclude).tools == left
    else:
        with pytest.raises(EmptyError):
            select(words, registry, exclude=exclude)
