"""What a module's text says, as values: what is said where nothing is given, and that nothing is shared."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from discover_orch.model.errors import Problem
from discover_orch.source.facts import (
    ArgumentFacts,
    BrokenModule,
    ConfFacts,
    EnumRef,
    Exports,
    ImportFact,
    ModuleFacts,
    NameRef,
    OrchTag,
    ResourceFacts,
    RunFacts,
    Tag,
    UnknownType,
)


def test_a_module_without_tags_says_nothing_of_a_tool() -> None:
    facts = ModuleFacts(module="src.a", path="src/a.py")
    assert (facts.stage, facts.after, facts.orch, facts.run, facts.miss) == (None,) * 4 + ("",)


def test_a_tag_of_no_words_is_not_one_that_is_switched_off() -> None:
    assert Tag(line=1) != Tag(line=1, is_off=True)
    assert Tag(line=1).problem == ""


def test_an_argument_without_a_default_is_not_one_whose_default_is_none() -> None:
    required = ArgumentFacts(name="x", line=1, type=UnknownType(text="X"))
    assert required.default_source is None
    assert required != replace(required, default_source="None")


def test_a_run_can_be_read_unless_it_says_otherwise() -> None:
    assert RunFacts(line=1).is_readable
    assert RunFacts(line=1).arguments == ()


@pytest.mark.parametrize(
    ("one", "names"),
    [
        (Exports(module="a"), ("constants", "enums", "aliases", "functions", "types")),
        (OrchTag(line=1), ("values", "lines")),
    ],
)
def test_two_values_share_no_mapping(one: Exports | OrchTag, names: tuple[str, ...]) -> None:
    other = Exports(module="a") if isinstance(one, Exports) else OrchTag(line=1)
    assert other == one
    for name in names:
        assert getattr(one, name) == {}
        assert getattr(one, name) is not getattr(other, name)


def test_facts_without_mappings_can_be_members_of_a_set() -> None:
    ref = NameRef(name="src.stages.Stage")
    problem = Problem(code="x", message="x")
    found = [
        ref,
        Tag(line=1, words=("a", ref)),
        EnumRef(ref=ref),
        RunFacts(line=1, ref=ref),
        ModuleFacts(module="a", path="a.py", stage=Tag(line=1)),
        ImportFact(kind="from", module="a", names=("b",)),
        ConfFacts(path="orchconf.py", resources=(ResourceFacts(name="http", line=1),)),
        BrokenModule(path="a.py", module="a", problem=problem),
    ]
    assert len({*found, *found}) == len(found)
