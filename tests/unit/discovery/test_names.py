"""Which tools a word names: suffixes of the module path, the name from `ORCH`, and words of `AFTER`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.discovery.names import after_targets, build_names, is_stage_word
from discover_orch.model.errors import Problem

NAMES = build_names([("src.fetch", None), ("src.parse", None), ("src.render", None)])
MEMBERS = {"ingest": ["src.fetch", "src.parse"], "render": ["src.render"], "empty": []}
parts = st.sampled_from(["a", "b", "c"])
modules = st.lists(st.lists(parts, min_size=1, max_size=4).map(".".join), unique=True, max_size=8)
own_names = st.one_of(st.none(), parts, st.sampled_from(["x", "a.b", "y-z"]))


def test_every_suffix_names_a_tool() -> None:
    names = build_names([("src.pipeline.parse", None)])
    for word in ("parse", "pipeline.parse", "src.pipeline.parse"):
        assert names.find(word) == ("src.pipeline.parse",)
    assert names.find("pipeline") == names.find("arse") == names.find("src.parse") == ()


def test_an_ambiguous_word_finds_all_candidates() -> None:
    names = build_names([("src.a.parse", None), ("src.b.parse", None)])
    assert names.find("parse") == ("src.a.parse", "src.b.parse")
    assert names.display == {"src.a.parse": "a.parse", "src.b.parse": "b.parse"}


def test_a_whole_module_path_is_never_ambiguous() -> None:
    names = build_names([("parse", None), ("src.parse", None)])
    assert names.find("parse") == ("parse",)
    assert names.display == {"parse": "parse", "src.parse": "src.parse"}


def test_the_name_from_orch_is_shown_and_the_path_still_names_the_tool() -> None:
    names = build_names([("src.fetch", "fetch-raw")])
    assert names.display == {"src.fetch": "fetch-raw"}
    assert names.find("fetch-raw") == names.find("fetch") == ("src.fetch",)


def test_a_given_name_that_another_tool_has_is_ambiguous() -> None:
    names = build_names([("src.a", "parse"), ("src.parse", None)])
    assert names.find("parse") == ("src.a", "src.parse")
    assert names.display == {"src.a": "a", "src.parse": "src.parse"}


@given(modules, st.data())
def test_the_name_that_is_shown_always_leads_back(found: list[str], data: st.DataObject) -> None:
    tools = [(module, data.draw(own_names)) for module in found]
    names = build_names(tools)
    assert [names.find(names.display[module]) for module in found] == [(one,) for one in found]
    assert len(set(names.display.values())) == len(found)


@given(modules)
def test_no_shorter_suffix_would_do(found: list[str]) -> None:
    names = build_names([(module, None) for module in found])
    for module in found:
        shown = names.display[module]
        shorter = shown.partition(".")[2]
        while shorter:
            assert names.find(shorter) != (module,)
            shorter = shorter.partition(".")[2]


@pytest.mark.parametrize("name", ["ingest", "full-text", "2024", "two words", "été", "a+b"])
def test_a_word_that_can_be_typed_can_be_a_stage(name: str) -> None:
    assert is_stage_word(name)


@pytest.mark.parametrize(
    "name", ["", "-x", "+x", "x+", "a*", "a?", "[a]", "stage:a", "tool:a", "a\nb", "\x1b[1m"]
)
def test_a_word_that_would_mean_something_else_cannot_be_a_stage(name: str) -> None:
    assert not is_stage_word(name)


def meaning(word: str, module: str = "src.parse") -> tuple[str, ...] | Problem:
    return after_targets(word, module, NAMES, MEMBERS)


def test_after_names_a_tool_or_all_of_a_stage() -> None:
    assert meaning("fetch") == ("src.fetch",)
    assert meaning("src.fetch") == ("src.fetch",)
    assert meaning("ingest", "src.render") == ("src.fetch", "src.parse")
    assert meaning("empty") == ()


def test_in_after_a_tool_wins_over_a_stage_of_its_name() -> None:
    assert after_targets("ingest", "x", build_names([("src.ingest", None)]), MEMBERS) == (
        "src.ingest",
    )
    names = build_names([("src.ingest", None), ("src.fetch", None)])
    assert after_targets("stage:ingest", "x", names, MEMBERS) == ("src.fetch", "src.parse")
    assert after_targets("tool:ingest", "x", names, MEMBERS) == ("src.ingest",)


def test_the_own_stage_means_its_other_tools() -> None:
    assert meaning("ingest") == ("src.fetch",)
    assert meaning("stage:ingest") == ("src.fetch",)
    assert meaning("render", "src.render") == ()  # both its own name and that of its stage


def test_a_tool_that_names_itself_waits_for_itself() -> None:
    assert meaning("parse") == ("src.parse",)  # which is a cycle, and told as one
    assert meaning("tool:render", "src.render") == ("src.render",)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("fetsch", 'did you mean "fetch"?'),
        ("ingets", 'did you mean "ingest"?'),
        ("stage:ingets", 'did you mean "stage:ingest"?'),
        ("stage:fetch", "orch list shows all stages and tools"),
        ("tool:ingest", "orch list shows all stages and tools"),
        ("", "orch list shows all stages and tools"),
        ("stage:", ""),
        ("tool:", ""),
    ],
)
def test_after_that_names_nothing_tells_the_nearest(word: str, hint: str) -> None:
    problem = meaning(word)
    assert isinstance(problem, Problem)
    assert problem.message == f'AFTER names "{word}", which is neither a tool nor a stage'
    if hint.startswith("did"):
        assert problem.hint == hint


def test_no_tool_is_suggested_to_name_itself() -> None:
    itself, other = meaning("prase"), meaning("prase", "src.fetch")
    assert isinstance(itself, Problem)
    assert isinstance(other, Problem)
    assert itself.hint == "orch list shows all stages and tools"
    assert other.hint == 'did you mean "parse"?'


def test_after_that_is_ambiguous_lists_the_candidates() -> None:
    names = build_names([("src.a.parse", None), ("src.b.parse", None)])
    problem = after_targets("parse", "src.x", names, {})
    assert isinstance(problem, Problem)
    assert problem.hint == "use one of a.parse, b.parse"
