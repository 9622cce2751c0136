"""The `ORCH` tag: what is accepted, and what is told with the line of its key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.discovery.orch_tag import RULES, read_settings
from discover_orch.model.errors import Problem
from discover_orch.model.tool import ToolSettings
from discover_orch.source.facts import OrchTag
from tests.support.values import said

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def read(**values: object) -> tuple[ToolSettings, tuple[Problem, ...]]:
    lines = {key: number for number, key in enumerate(values, start=10)}
    _, settings, problems = read_settings(OrchTag(line=9, values=values, lines=lines), "src/x.py")
    return settings, problems


def errors(**values: object) -> list[str]:
    return said([one for one in read(**values)[1] if one.severity == "error"])


@pytest.mark.parametrize(
    ("key", "good"),
    [
        ("name", "été"),
        ("name", "a.b-c_2"),
        ("inputs", []),
        ("retries", 0),
        ("retry_delay", 0),
        ("timeout", 0.5),
        ("tokens", {}),
    ],
)
def test_a_value_at_the_edge_of_its_sense_is_accepted(key: str, good: object) -> None:
    assert errors(**{key: good}) == []


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1d", 86400),
        ("6h", 21600),
        ("30m", 1800),
        ("45s", 45),
        ("1.5h", 5400),
        (90, 90),
        (0.5, 0.5),
    ],
)
def test_an_age_is_a_number_of_seconds_or_has_a_unit(written: object, seconds: float) -> None:
    assert read(max_age=written)[0].max_age == seconds


def test_a_number_that_no_float_can_hold_is_no_number_of_seconds() -> None:
    assert len(errors(timeout=10**400, retries=10**400, max_age=10**400)) == 3


@given(st.dictionaries(st.sampled_from(sorted(RULES)), json_values))
def test_whatever_a_dict_holds_it_is_read_or_told(values: dict[str, object]) -> None:
    settings, problems = read(**values)
    wrong = {one.message.split('"')[1] for one in problems if one.severity == "error"}
    assert wrong <= set(values)
    if "always" in values and "always" not in wrong:
        assert settings.is_always_stale is values["always"]
