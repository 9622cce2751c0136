"""Modules judged by themselves: what becomes a draft, what is a slip, what is passed over."""

from __future__ import annotations

import pytest

from discover_orch.discovery.candidates import Candidates, build_candidates
from discover_orch.model.errors import Location, Problem
from discover_orch.source.facts import ModuleFacts, PassedOver, RunFacts, Scan, Tag
from tests.support.values import make_facts, make_project, said


def candidates(
    *modules: ModuleFacts, strict: bool = False, stages: tuple[str, ...] = ()
) -> Candidates:
    project = make_project({"strict": strict, "stages": list(stages)})
    return build_candidates(Scan(modules=modules), project)


def only_stage(problem: str = "") -> ModuleFacts:
    words = () if problem else ("ingest",)
    tag = Tag(line=4, words=words, problem=problem)
    return ModuleFacts(module="src.settings", path="src/settings.py", stage=tag)


def own_problems(facts: ModuleFacts) -> list[str]:
    (candidate,) = candidates(facts).enabled
    return said(candidate.problems)


def test_stage_and_run_make_a_draft() -> None:
    found = candidates(make_facts("src.fetch", ("ingest", "render", "ingest")))
    (candidate,) = found.enabled
    assert candidate.stages == ("ingest", "render")
    assert (candidate.problems, found.tag_warnings, found.passed_over) == ((), (), ())


@pytest.mark.parametrize("problem", ["", "STAGE cannot be read"])
def test_stage_without_run_is_no_tool_but_a_warning(problem: str) -> None:
    found = candidates(only_stage(problem))
    assert (found.enabled, found.disabled) == ((), ())
    assert said(found.tag_warnings) == [
        "src/settings.py:4: has STAGE but no run() (define run() at the top level, or rename the constant)"
    ]
    assert found.tag_warnings[0].severity == "warning"


def test_run_without_stage_is_passed_over_with_its_reason() -> None:
    facts = ModuleFacts(
        module="src.x",
        path="src/x.py",
        run=RunFacts(line=3),
        miss="a run() but no STAGE",
        miss_line=3,
    )
    found = candidates(facts)
    assert (found.enabled, found.tag_warnings) == ((), ())
    assert found.passed_over == (
        PassedOver(path="src/x.py", reason="a run() but no STAGE", line=3),
    )


def test_a_tag_that_cannot_be_told_says_which_forms_are_accepted() -> None:
    tag = Tag(line=1, problem="STAGE is set inside an if")
    facts = ModuleFacts(module="src.x", path="src/x.py", stage=tag, run=RunFacts(line=3))
    (line,) = own_problems(facts)
    assert line.startswith(
        "src/x.py:1: STAGE is set inside an if (assign a string, a list or tuple "
    )


def test_a_tag_that_names_no_stage_is_an_error() -> None:
    (line,) = own_problems(make_facts("src.x", ()))
    assert line.startswith("src/x.py:1: STAGE is empty (assign a string, ")


@pytest.mark.parametrize("stage", ["full", "", "+x", "a*", "tool:x"])
def test_a_stage_that_could_not_be_typed_is_an_error(stage: str) -> None:
    (line,) = own_problems(make_facts("src.x", ("ingest", stage)))
    assert line.startswith(f'src/x.py:1: "{stage}" cannot be the name of a stage')


def test_a_stage_that_is_not_configured_is_a_slip_with_the_nearest() -> None:
    facts = make_facts("src.x", "ingst")
    assert candidates(facts).tag_warnings == ()
    found = candidates(facts, stages=("ingest", "render"))
    assert said(found.tag_warnings) == [
        'src/x.py:1: stage "ingst" is not a configured stage (did you mean "ingest"?)'
    ]
    assert found.tag_warnings[0].severity == "warning"
    other = candidates(facts, stages=("render",))
    assert said(other.tag_warnings)[0].endswith('(add "ingst" to stages in orch.toml)')
    assert candidates(facts, stages=("ingest",), strict=True).tag_warnings[0].severity == "error"


def test_slips_of_the_search_are_errors_under_strict_too() -> None:
    misnamed = Problem(
        code="misnamed",
        message="has a STAGE, but its name cannot be imported",
        location=Location(path="src/1.py"),
        severity="warning",
    )
    scan = Scan(problems=(misnamed,))
    assert build_candidates(scan, make_project()).tag_warnings == (misnamed,)
    (near_miss,) = build_candidates(scan, make_project({"strict": True})).tag_warnings
    assert near_miss.severity == "error"


def test_two_files_of_one_module_path_are_both_told() -> None:
    found = candidates(
        make_facts("a", path="src/a.py"),
        make_facts("a", path="src/a/__init__.py"),
        make_facts("b"),
    )
    assert [said(candidate.problems) for candidate in found.enabled] == [
        [
            'src/a.py: src/a/__init__.py is also the module "a"'
            " (rename one of them: Python imports only one module with a given name)"
        ],
        [
            'src/a/__init__.py: src/a.py is also the module "a"'
            " (rename one of them: Python imports only one module with a given name)"
        ],
        [],
    ]
