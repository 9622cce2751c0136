"""The `ORCH` tag: what is accepted, and what is told with the line of its key."""

from __future__ import annotations

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


@given(st.dictionaries(st.sampled_from(sorted(RULES)), json_values))
def test_whatever_a_dict_holds_it_is_read_or_told(values: dict[str, object]) -> None:
    settings, problems = read(**values)
    wrong = {one.message.split('"')[1] for one in problems if one.severity == "error"}
    assert wrong <= set(values)
    if "always" in values and "always" not in wrong:
        assert settings.is_always_stale is values["always"]
