"""Stages: which exist, in which order, and what a word of `AFTER` means."""

from __future__ import annotations

import pytest

from discover_orch.discovery.stages import after_targets, build_stages, is_stage_word
from discover_orch.discovery.tool_names import build_names
from discover_orch.model.errors import Problem

NAMES = build_names([("src.fetch", None), ("src.parse", None), ("src.render", None)])
MEMBERS = {"ingest": ["src.fetch", "src.parse"], "render": ["src.render"], "empty": []}


@pytest.mark.parametrize("name", ["ingest", "full-text", "2024", "two words", "été", "a+b"])
def test_a_word_that_can_be_typed_can_be_a_stage(name: str) -> None:
    assert is_stage_word(name)


@pytest.mark.parametrize(
    "name", ["", "-x", "+x", "x+", "a*", "a?", "[a]", "stage:a", "tool:a", "a\nb", "\x1b[1m"]
)
def test_a_word_that_would_mean_something_else_cannot_be_a_stage(name: str) -> None:
    assert not is_stage_word(name)


def test_configured_stages_come_first_and_stay_though_they_are_empty() -> None:
    found = build_stages({"a": ["zeta"], "b": ["alpha"]}, {}, ("render", "zeta"))
    assert found == ("render", "zeta", "alpha")


def test_unlisted_stages_follow_as_after_asks_then_by_name() -> None:
    stages_of = {"f": ["zeta"], "g": ["alpha"], "h": ["beta"]}
    assert build_stages(stages_of, {}, ()) == ("alpha", "beta", "zeta")
    assert build_stages(stages_of, {"g": ("f",)}, ()) == ("beta", "zeta", "alpha")


def test_a_tool_of_both_stages_puts_them_in_no_order() -> None:
    stages_of = {"f": ["a", "b"], "g": ["b"]}
    assert build_stages(stages_of, {"g": ("f",), "f": ("g",)}, ()) == ("a", "b")


def test_two_stages_that_ask_for_each_other_go_by_name() -> None:
    stages_of = {"f": ["a"], "g": ["b"], "h": ["a"], "i": ["b"]}
    assert build_stages(stages_of, {"f": ("g",), "i": ("h",)}, ()) == ("a", "b")


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
        ("stage:fetch", "orch list shows the names of all"),
        ("tool:ingest", "orch list shows the names of all"),
        ("", "orch list shows the names of all"),
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


def test_after_that_is_ambiguous_lists_the_candidates() -> None:
    names = build_names([("src.a.parse", None), ("src.b.parse", None)])
    problem = after_targets("parse", "src.x", names, {})
    assert isinstance(problem, Problem)
    assert problem.hint == "write one of a.parse, b.parse"
