"""The plan: steps with their reasons and arguments, or all that is wrong with the values."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import UsageError
from discover_orch.model.parameter import MASK
from discover_orch.planning.param_values import GivenParams, KeyValue
from discover_orch.planning.plan import Plan, Step
from tests.support.values import (
    make_argument,
    make_facts,
    make_plan,
    make_project,
    make_registry,
    said,
)


def sample() -> Registry:
    return make_registry(
        make_facts("src.fetch", "ingest", arguments=[make_argument("limit", "int")]),
        make_facts(
            "src.parse",
            "ingest",
            after="fetch",
            arguments=[make_argument("since", "date"), make_argument("tags", many=True)],
        ),
        make_facts(
            "src.draw", ("render", "publish"), takes_extra=True, arguments=[make_argument("conn")]
        ),
        stages=("ingest", "render", "publish"),
        groups={"nightly": ["parse", "draw"], "wide": ["+parse"]},
    )


def pairs(*texts: str) -> GivenParams:
    """As `-p` gives them."""
    found = []
    for text in texts:
        key, _, value = text.partition("=")
        tool, _, name = key.rpartition(".")
        found.append(KeyValue(tool=tool or None, name=name, text=value))
    return GivenParams(pairs=tuple(found))


def wrong(
    *targets: str,
    values: GivenParams | None = None,
    registry: Registry | None = None,
    project: Project | None = None,
) -> list[str]:
    with pytest.raises(UsageError) as caught:
        make_plan(registry or sample(), *targets, values=values, project=project)
    return said(caught.value.problems)


def reasons(*targets: str) -> list[str]:
    return [f"{step.tool.name}: {step.reason}" for step in make_plan(sample(), *targets).steps]


def step(plan: Plan, name: str) -> Step:
    return next(one for one in plan.steps if one.tool.name == name)


def bound(plan: Plan, name: str) -> dict[str, tuple[str, ...]]:
    return {one.param.name: one.texts for one in step(plan, name).arguments}


# Steps.


def test_a_step_knows_its_stage_and_what_it_waits_for() -> None:
    plan = make_plan(sample())
    assert [(one.tool.name, one.stage, one.after) for one in plan.steps] == [
        ("fetch", "ingest", ()),
        ("parse", "ingest", ("src.fetch",)),
        ("draw", "render", ()),
    ]
    assert make_plan(sample(), "parse").steps[0].after == ()


@pytest.mark.parametrize("word", ["publish", "stage:publish", "stage:publish+"])
def test_a_tool_of_several_stages_runs_for_the_one_that_was_named(word: str) -> None:
    assert step(make_plan(sample(), word), "draw").stage == "publish"
    assert step(make_plan(sample(), "tool:draw"), "draw").stage == "render"


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (
            (),
            [
                "fetch: all tools were selected",
                "parse: all tools were selected",
                "draw: all tools were selected",
            ],
        ),
        (("render",), ["draw: in stage render"]),
        (("stage:render",), ["draw: in stage render"]),
        (("draw",), ["draw: selected by name"]),
        (("src/draw.py",), ["draw: selected by name"]),
        (("nightly",), ["parse: in group nightly", "draw: in group nightly"]),
        (("wide",), ["fetch: in group wide", "parse: in group wide"]),
        (("+parse",), ["fetch: upstream of parse", "parse: selected by +parse"]),
        (("parse+",), ["parse: selected by parse+", "draw: downstream of parse"]),
        (
            ("+stage:render",),
            ["fetch: upstream of render", "parse: upstream of render", "draw: in stage render"],
        ),
        (
            ("+src/parse.py+",),
            [
                "fetch: upstream of src/parse.py",
                "parse: selected by +src/parse.py+",
                "draw: downstream of src/parse.py",
            ],
        ),
        (
            ("+nightly",),
            ["fetch: upstream of nightly", "parse: in group nightly", "draw: in group nightly"],
        ),
    ],
)
def test_each_step_has_its_reason(targets: Sequence[str], expected: list[str]) -> None:
    assert reasons(*targets) == expected


def test_a_typed_order_wins_over_after_with_a_warning() -> None:
    plan = make_plan(sample(), "parse", "fetch")
    assert [one.tool.name for one in plan.steps] == ["parse", "fetch"]
    assert step(plan, "parse").after == ()
    assert said(plan.warnings) == [
        "src/parse.py:3: parse runs before fetch, although its AFTER names fetch"
        " (targets run in the order in which you typed them)"
    ]
    assert [one.severity for one in plan.warnings] == ["warning"]
    assert make_plan(sample(), "draw", "fetch", "parse").warnings == ()


def test_declared_files_are_waited_for_and_the_typed_order_wins_over_them_silently() -> None:
    registry = make_registry(
        make_facts("a", orch={"outputs": "x"}), make_facts("b", orch={"inputs": "x"})
    )
    assert step(make_plan(registry), "b").after == ("a",)
    plan = make_plan(registry, "b", "a")
    assert (step(plan, "b").after, plan.warnings) == ((), ())


# Arguments.


def test_what_is_not_given_is_not_passed() -> None:
    assert bound(make_plan(sample()), "parse") == {}


def test_options_reach_exactly_the_tools_that_take_them() -> None:
    values = GivenParams(options={"since": ("2024-01-31",), "limit": ("3",)})
    plan = make_plan(sample(), values=values)
    assert bound(plan, "fetch") == {"limit": ("3",)}
    assert bound(plan, "parse") == {"since": ("2024-01-31",)}
    assert bound(plan, "draw") == {}


def test_a_value_for_one_tool_is_for_that_alone() -> None:
    registry = make_registry(
        make_facts("a", arguments=[make_argument("since")]),
        make_facts("b", arguments=[make_argument("since")]),
    )
    plan = make_plan(registry, values=pairs("since=1", "b.since=2"))
    assert (bound(plan, "a"), bound(plan, "b")) == ({"since": ("1",)}, {"since": ("2",)})


def test_each_tool_converts_a_shared_parameter_by_its_own_annotation() -> None:
    registry = make_registry(
        make_facts("a", arguments=[make_argument("size", "int")]),
        make_facts("b", arguments=[make_argument("size", "float")]),
    )
    values = GivenParams(options={"size": ("1.5",)})
    assert wrong(registry=registry, values=values) == [
        "a.py:3: invalid --size for a: '1.5' is not a whole number"
        " (its type in run() is int; the value comes from --size)"
    ]


def test_every_wrong_value_is_told_before_anything_starts() -> None:
    project = make_project({"params": {"since": "soon"}}, ORCH_PARAM_LIMIT="x")
    lines = wrong(project=project, values=pairs("zzz=1", "fetch.zzz=1"))
    assert [line.partition(" (")[0] for line in lines] == [
        '-: -p fetch.zzz: fetch has no parameter "zzz"',
        "src/fetch.py:3: invalid --limit for fetch: 'x' is not a whole number",
        "src/parse.py:3: invalid --since for parse: 'soon' is not a date like 2024-01-31",
    ]


@pytest.mark.parametrize("texts", [[], ["2024-01-31", "2024-02-01"]])
def test_a_list_in_the_configuration_is_no_value_for_a_single_parameter(texts: list[str]) -> None:
    (line,) = wrong("parse", project=make_project({"params": {"since": texts}}))
    assert line.startswith(
        "src/parse.py:3: invalid --since for parse: expected one value, got a list"
    )


def test_a_list_in_the_configuration_may_be_empty() -> None:
    assert bound(make_plan(sample(), project=make_project({"params": {"tags": []}})), "parse") == {
        "tags": ()
    }


def test_of_an_option_that_is_repeated_the_last_one_holds() -> None:
    values = GivenParams(options={"limit": ("x", "3")})
    assert make_plan(sample(), values=values).steps


# -p.


def test_kwargs_receive_what_the_tool_does_not_name() -> None:
    plan = make_plan(sample(), values=pairs("dark-mode=yes", "draw.size=3", "since=2024-01-31"))
    extra = {"dark_mode": "yes", "size": "3", "since": "2024-01-31"}
    assert step(plan, "draw").extra == extra
    assert step(plan, "parse").extra == {}


def test_kwargs_never_receive_a_resource() -> None:
    (line,) = wrong("draw", values=pairs("conn=x"))
    assert line.startswith('-: no selected tool has a parameter "conn" (from -p)')


@pytest.mark.parametrize(
    ("targets", "pair", "line"),
    [
        (
            "parse",
            "sicne=1",
            '-: no selected tool has a parameter "sicne" (from -p) (did you mean "since"?)',
        ),
        (
            "parse",
            "parse.sicne=1",
            '-: -p parse.sicne: parse has no parameter "sicne" (did you mean "since"?)',
        ),
        ("parse", "parse.x=1", '-: -p parse.x: parse has no parameter "x" (parse has since, tags)'),
        (
            "parse",
            "limit=1",
            '-: no selected tool has a parameter "limit" (from -p)'
            " (fetch has it: add fetch to the targets)",
        ),
        ("parse", "fetch.limit=1", '-: -p fetch.limit: "fetch" is not a selected tool'),
        (
            "parse",
            "prase.since=1",
            '-: -p prase.since: "prase" is not a tool (did you mean "parse"?)',
        ),
    ],
)
def test_a_pair_that_no_selected_tool_takes_is_an_error(targets: str, pair: str, line: str) -> None:
    (found,) = wrong(targets, values=pairs(pair))
    assert found.startswith(line)


def test_a_pair_for_an_ambiguous_tool_lists_the_candidates() -> None:
    facts = [make_facts(f"src.{one}.parse", arguments=[make_argument("x")]) for one in "ab"]
    assert wrong(registry=make_registry(*facts), values=pairs("parse.x=1")) == [
        '-: -p parse.x: "parse" matches several tools (use one of a.parse, b.parse)'
    ]


# Secrets.


def test_secrets_are_masked_and_gathered_in_the_plan() -> None:
    arguments = [
        make_argument("api_token"),
        make_argument("password", default="from-source", default_source="'from-source'"),
        make_argument("name"),
    ]
    registry = make_registry(make_facts("a", arguments=arguments, takes_extra=True))
    values = pairs(
        "api_token=long enough", "name=not a secret", "my-secret=also long", "a_token=short"
    )
    plan = make_plan(registry, values=values)
    shown = {one.param.name: one.shown for one in plan.steps[0].arguments}
    assert shown == {"api_token": MASK, "name": "not a secret"}
    assert set(plan.secrets) == {"long enough", "also long", "short", "from-source"}


def test_a_secret_that_does_not_convert_is_not_shown() -> None:
    registry = make_registry(make_facts("a", arguments=[make_argument("token", "int")]))
    (line,) = wrong(registry=registry, values=pairs("token=hunter2"))
    assert "hunter2" not in line
