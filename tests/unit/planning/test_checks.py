"""Doubts that need more than one tool: warnings, of which a clean project has none."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from discover_orch.discovery.registry import Registry
from discover_orch.model.conventions import OWN_OPTIONS
from discover_orch.planning.checks import check_registry, find_group_circles, find_unused_params
from tests.support.values import make_argument, make_broken, make_facts, make_project, make_registry


def find_warnings(registry: Registry, table: Mapping[str, object] | None = None) -> list[str]:
    found = check_registry(registry, make_project(table))
    assert {problem.severity for problem in found} <= {"warning"}
    return [f"{problem.location or '-'}: {problem.message}" for problem in found]


def test_a_clean_project_has_no_warnings() -> None:
    registry = make_registry(
        make_facts("src.fetch", orch={"outputs": "raw"}, arguments=[make_argument("since")]),
        make_facts(
            "src.parse", "later", orch={"inputs": "raw"}, arguments=[make_argument("since")]
        ),
        groups={"nightly": ["ingest", "+parse", "src/fetch.py", "src.*", "full", "tool:fetch"]},
        stages=("ingest", "later"),
    )
    table = {"stages": ["ingest", "later"], "params": {"since": "x", "parse": {"since": "y"}}}
    assert find_warnings(registry, table) == []


def test_a_parameter_with_the_name_of_an_own_option_is_reported() -> None:
    assert "output" in OWN_OPTIONS
    registry = make_registry(make_facts("a", arguments=[make_argument("output")]))
    assert find_warnings(registry) == [
        "a.py:3: parameter output of a has the same name as an option of orch run"
    ]


def test_a_module_that_hides_the_standard_library_is_reported() -> None:
    assert find_warnings(make_registry(make_facts("platform"), make_facts("src.json"))) == [
        'platform.py:3: "platform" hides the standard library module platform'
    ]


def unused(registry: Registry, params: dict[str, object]) -> list[str]:
    found = find_unused_params(registry, make_project({"params": params}))
    return [f"{'.'.join(keys)}: {problem.message}" for keys, problem in found]


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"sinc": 1}, 'sinc: no tool has a parameter "sinc"'),
        ({"prase": {"since": 1}}, "prase: [params.prase] does not name a tool"),
        ({"parse": {"sinc": 1}}, 'parse.sinc: parse has no parameter "sinc"'),
    ],
)
def test_a_configured_parameter_that_no_tool_has_is_found(
    params: dict[str, object], what: str
) -> None:
    registry = make_registry(make_facts("src.parse", arguments=[make_argument("since")]))
    assert unused(registry, params) == [what]


def test_parameters_of_an_ambiguous_word_are_reported() -> None:
    facts = [make_facts(f"src.{one}.parse", arguments=[make_argument("x")]) for one in "ab"]
    assert unused(make_registry(*facts), {"parse": {"x": 1}}) == [
        "parse: [params.parse] matches several tools"
    ]


def test_kwargs_take_what_p_gives_and_nothing_of_the_configuration() -> None:
    registry = make_registry(make_facts("a", takes_extra=True))
    assert unused(registry, {"anything": 1, "a": {"more": 2}}) == [
        'anything: no tool has a parameter "anything"',
        'a.more: a has no parameter "more"',
    ]


def test_parameters_that_a_tool_with_a_problem_or_a_disabled_one_may_have_are_no_warning() -> None:
    broken = make_registry(make_facts("a", orch={"retrys": 1}))
    assert unused(broken, {"since": 1, "a": {"x": 1}}) == []
    disabled = make_registry(make_facts("a", None, arguments=[make_argument("since")]))
    assert unused(disabled, {"since": 1}) == []


def test_a_group_that_names_nothing_is_reported() -> None:
    registry = make_registry(make_facts("a"), groups={"nightly": ["ingst", "a"]})
    assert find_warnings(registry) == [
        '-: group "nightly" contains "ingst", which is neither a stage nor a tool'
    ]


def test_groups_that_contain_each_other_are_an_error() -> None:
    groups = {"g": ["h"], "h": ["+g", "a"], "own": ["own"], "good": ["a", "g"]}
    found = dict(find_group_circles(groups))
    assert sorted(problem.message for problem in found.values()) == [
        'group "g" contains itself: g -> h -> g',
        'group "own" contains itself',
    ]
    assert {problem.severity for problem in found.values()} == {"error"}
    assert find_group_circles({"good": ["a", "other"], "other": ["b", "full"]}) == []


def test_a_configured_stage_without_tools_is_told_with_the_likely_slip() -> None:
    registry = make_registry(make_facts("a", "ingst"), stages=("ingest",))
    (problem,) = check_registry(registry, make_project({"stages": ["ingest"]}))
    assert problem.message == 'stage "ingest" is configured but has no tools'
    assert problem.hint == 'did you mean "ingst"?'


def test_a_stage_without_tools_is_not_told_while_a_broken_file_may_belong_to_it() -> None:
    broken = [make_broken("b", "ingest")]
    registry = make_registry(make_facts("a", "other"), *broken, stages=("ingest", "late", "other"))
    found = check_registry(registry, make_project({"stages": ["ingest", "late", "other"]}))
    assert [problem.message for problem in found] == ['stage "late" is configured but has no tools']


def test_the_options_of_orchs_own_are_those_of_run() -> None:
    from discover_orch.cli.run_command import command

    spelled = {
        spelling.removeprefix("--").replace("-", "_")
        for option in command.params
        for spelling in option.opts
        if spelling.startswith("--")
    }
    assert spelled | {"help"} == OWN_OPTIONS
