"""Versions of parameters: equal where `run()` gets equal values, whatever was typed, and different elsewhere."""

from __future__ import annotations

from hypothesis import given as for_all
from hypothesis import strategies as st

from discover_orch.model.parameter import EnumChoice, Param, ParamType
from discover_orch.planning.param_values import (
    GivenParams,
    param_versions,
)
from tests.support.values import make_param, make_project, make_registry, make_tool


def one_version(param: Param, *texts: str) -> str:
    tool = make_tool("src.parse", params=[param])
    registry = make_registry()
    values = GivenParams(options={param.name: texts})
    return param_versions(tool, registry, make_project(), values)[param.name]


@for_all(st.text(), st.text())
def test_two_texts_have_two_versions_and_none_is_empty(one: str, other: str) -> None:
    param = make_param("x")
    found = one_version(param, one)
    assert (found == one_version(param, other)) == (one == other)
    assert found not in ("", "?", "None", "default")


@for_all(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_two_lists_of_texts_have_two_versions(one: list[str], other: list[str]) -> None:
    param = make_param("x", many=True)
    assert (one_version(param, *one) == one_version(param, *other)) == (one == other)


@for_all(st.dictionaries(st.sampled_from("ABC"), st.sampled_from("ABCx"), min_size=1))
def test_a_member_is_shown_by_what_is_converted_to_it(members: dict[str, str]) -> None:
    choice = EnumChoice(module="src.m", name="E", members=tuple(members.items()))
    for member in members:
        text = choice.text_of(member)
        assert text is None or choice.find_member(text) == member
    param = Param(name="x", type=ParamType(base=choice))
    found = {one_version(param, text): choice.find_member(text) for text in members}
    assert len(found) == len(set(found.values()))
