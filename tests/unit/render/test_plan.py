"""The plan as text and JSON: order, reasons, and where each value comes from."""

from __future__ import annotations

import json

from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.planning.param_values import GivenParams, KeyValue
from discover_orch.planning.plan import Plan
from discover_orch.render.plan import plan_document, plan_text
from discover_orch.render.style import Style
from discover_orch.staleness.reasons import Freshness
from tests.support.values import make_argument, make_facts, make_plan, make_registry


def sample() -> tuple[Plan, Registry]:
    registry = make_registry(
        make_facts("src.fetch", "ingest", takes_extra=True),
        make_facts(
            "src.parse",
            "ingest",
            after="fetch",
            arguments=[
                make_argument("since", "date"),
                make_argument("api_key"),
                make_argument("size", "int", default=3, default_source="3"),
                make_argument("tags", many=True),
                make_argument("password", default="hunter2", default_source="'hunter2'"),
            ],
        ),
    )
    given = (
        KeyValue(tool=None, name="more", text="x"),
        KeyValue(tool="fetch", name="token", text="hunter2"),
    )
    options = {"since": ("2024-01-31",), "api_key": ("hunter2",), "tags": ("a", "b")}
    values = GivenParams(options=options, pairs=given)
    return make_plan(registry, "ingest", values=values), registry


def test_each_step_stands_on_a_line_with_its_reason() -> None:
    assert plan_text(*sample(), Style()) == (
        "would run 2 tools, in this order:\n"
        "  1  fetch  ingest  in stage ingest\n"
        "  2  parse  ingest  in stage ingest, after fetch\n"
    )


def test_verbose_shows_where_each_value_comes_from() -> None:
    text = plan_text(*sample(), Style(), verbose=True)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "since = 2024-01-31 --since" in lines
    assert "tags = a, b --tags" in lines
    assert "size = 3 default" in lines
    assert "api_key = *** --api-key" in lines
    assert any(line.startswith("more = x -p") for line in lines)
    assert "hunter2" not in text


def test_the_document_has_the_documented_keys() -> None:
    document = plan_document(*sample())
    assert set(document) == {"version", "tools", "warnings", "fresh"}
    fetch, parse = document["tools"]
    assert set(parse) == {"name", "module", "stage", "after", "reason", "params"}
    assert (parse["name"], parse["module"], parse["stage"]) == ("parse", "src.parse", "ingest")
    assert (fetch["after"], parse["after"]) == ([], ["fetch"])
    assert parse["params"]["since"] == {"value": "2024-01-31", "origin": "--since"}
    assert parse["params"]["tags"] == {"value": ["a", "b"], "origin": "--tags"}
    assert parse["params"]["size"] == {"value": 3, "origin": "default"}
    assert "hunter2" not in json.dumps(document)


def test_after_in_the_document_is_the_tag_alone_selected_or_not() -> None:
    registry = make_registry(
        make_facts("a", orch={"outputs": "x"}),
        make_facts("b", after="c", orch={"inputs": "x"}),
        make_facts("c"),
    )
    document = plan_document(make_plan(registry, "a", "b"), registry)
    assert [tool["after"] for tool in document["tools"]] == [[], ["c"]]


# Where tools stand.

STANDINGS = {
    "src.fetch": Freshness(module="src.fetch"),
    "src.parse": Freshness(module="src.parse", reasons=("src/a.py changed\x07", "x", "y")),
}


def test_each_step_shows_its_freshness() -> None:
    assert plan_text(*sample(), Style(), STANDINGS).splitlines()[1:] == [
        "  1  fetch  ingest  in stage ingest  fresh",
        "  2  parse  ingest  in stage ingest, after fetch  stale: src/a.py changed\\x07,",
        "            and 2 more reasons",
    ]


def test_a_reason_that_is_the_freshness_is_shown_once() -> None:
    plan, registry = sample()
    step = replace(plan.steps[1], reason="x", after=())
    text = plan_text(replace(plan, steps=(step,)), registry, Style(), STANDINGS)
    assert text.splitlines()[1:] == ["  1  parse  ingest  x"]


def test_what_is_fresh_and_how_the_plan_came_about_is_told() -> None:
    plan, registry = sample()
    fetch, parse = plan.steps
    plan = replace(plan, steps=(parse,), fresh=(fetch.tool,) * 21, intro="1 of 22 are stale")
    lines = plan_text(plan, registry, Style()).splitlines()
    assert lines[0] == "1 of 22 are stale"
    assert lines[1] == "would run 1 tool, in this order:"
    assert " ".join(" ".join(lines[2:]).split()).endswith(
        "fresh: " + ", ".join(["fetch"] * 20) + " and 1 more"
    )
    assert all(len(line) <= 80 for line in lines)


def test_the_document_has_where_tools_stand_and_which_are_fresh() -> None:
    plan, registry = sample()
    document = plan_document(replace(plan, fresh=(plan.steps[0].tool,)), registry, STANDINGS)
    fetch, parse = document["tools"]
    assert (fetch["state"], fetch["reasons"]) == ("fresh", [])
    assert (parse["state"], parse["reasons"]) == ("stale", ["src/a.py changed\x07", "x", "y"])
    assert document["fresh"] == ["fetch"]
