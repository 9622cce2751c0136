"""Where tools stand, as people and programs read it."""

from __future__ import annotations

import json
from typing import Any

from discover_orch.model.dataflow import Dataflow
from discover_orch.render.status import Row, status_document, status_text, tool_text
from discover_orch.render.style import Style
from discover_orch.staleness.fingerprint import (
    Inputs,
    LastOutcome,
    Success,
    ToolResult,
    sequence,
)
from discover_orch.staleness.reasons import Freshness
from tests.support.values import make_tool


def make(
    name: str,
    *reasons: str,
    stage: str = "ingest",
    word: str = "",
    result: ToolResult | None = None,
    flow: Dataflow | None = None,
    **more: Any,
) -> Row:
    module = f"src.{name}"
    return Row(
        tool=make_tool(module),
        stage=stage,
        freshness=Freshness(module=module, reasons=reasons, last_ending=word, **more),
        result=result,
        flow=flow or Dataflow(),
    )


def ran(**more: Any) -> ToolResult:
    success = Success(
        asof=sequence(3, 1),
        ended=sequence(3, 2),
        at="2026-11-24T14:03:22+01:00",
        duration=1.5,
        **more,
    )
    return ToolResult(
        module="src.a", last=LastOutcome(run="4", status="failed", duration=9.0), success=success
    )


FLOW = Dataflow(
    reads=("in.csv",),
    writes=("out.csv",),
    tables_read=("raw",),
    tables_written=("records",),
    folders=("data",),
    missed=("absent",),
)


def test_a_tool_is_a_line_with_its_first_reason_below_its_stage() -> None:
    rows = [
        make("fetch"),
        make("parse", "src/a.py changed", "x"),
        make("render", upstream=("upstream parse is stale",), stage="render"),
    ]
    assert status_text(rows, Style()) == (
        "ingest\n"
        "  fetch   fresh\n"
        "  parse   stale  src/a.py changed, and 1 more reason\n"
        "render\n"
        "  render  stale  upstream parse is stale\n"
        "1 fresh, 2 stale  (orch run --changed runs the stale tools)\n"
    )


def test_verbose_tells_every_reason_and_the_data_flow_below_the_first_one() -> None:
    lines = status_text([make("parse", "one", "two", flow=FLOW)], Style(), verbose=True).split("\n")
    column = lines[1].index("one")
    assert [line[:column].strip() for line in lines[2:9]] == [""] * 7
    assert [" ".join(line.split()) for line in lines[2:9]] == [
        "two",
        "reads table raw",
        "in.csv",
        "lists data/",
        "looks for absent",
        "writes table records",
        "out.csv",
    ]
    assert lines[9] == "1 stale  (orch run --changed runs the stale tools)"


def test_all_about_one_tool() -> None:
    then = Inputs(
        code={"src/b.py": "1", "src/a.py": "1"},
        other={
            "param:since": "2024",
            "param:old": "x",
            "param:same": "s",
            "package:numpy": "2.0",
            "file:in.csv": "1",
        },
    )
    row = make("a", "one", "two", result=ran(inputs=then), flow=FLOW)
    runs = [("4", "2026-11-25T01:02:03+01:00", "not_run", None), ("3", "", "passed", 1.5)]
    text = tool_text(
        row, {"since": "2025", "old": "7", "new_one": "3", "same": "s"}, {"old": "7"}, runs, Style()
    )
    assert [" ".join(line.split()) for line in text.splitlines()] == [
        "a stale",
        "one",
        "two",
        "",
        "module src.a",
        "file src/a.py:1",
        "stage ingest",
        "passed run 3, 2026-11-24 14:03, 1.50 s",
        "--since 2024 → 2025",
        "--old x → default",
        "--same s",
        "--new-one not given → 3",
        "reads table raw",
        "in.csv",
        "lists data/",
        "looks for absent",
        "writes table records",
        "out.csv",
        "code src/a.py",
        "src/b.py",
        "packages numpy 2.0",
        "last runs 4 2026-11-25 01:02 not run",
        "3 ? passed 1.50 s",
    ]


def test_a_tool_that_never_ran_has_no_success_to_tell_of() -> None:
    text = tool_text(make("a", "never ran", word="never"), {"since": "x"}, {}, [], Style())
    assert "never ran" in text
    assert "passed" not in text
    assert "--since" not in text


def test_what_was_accepted_says_so_and_took_no_time() -> None:
    text = tool_text(make("a", result=ran(is_accepted=True)), {}, {}, [], Style())
    assert "accepted    2026-11-24 14:03\n" in text
    assert "passed" not in text


def test_of_many_things_the_first_few_are_told() -> None:
    flow = Dataflow(reads=tuple(f"f{number}/x" for number in range(1_010)), is_unclear=True)
    lines = tool_text(make("a", flow=flow), {}, {}, [], Style()).splitlines()
    assert sum(line.endswith("/x") for line in lines) == 8
    assert "and 1,002 more files" in lines[-2]
    assert lines[-1] == "database    also used in a way that cannot be observed"


def test_text_of_users_cannot_control_the_terminal() -> None:
    evil = "x\x1b]0;t\x07\ny"
    success = Success(
        asof=0,
        ended=0,
        at=evil,
        inputs=Inputs(code={evil: ""}, other={f"param:{evil}": evil, f"package:{evil}": evil}),
    )
    result = ToolResult(
        module=evil, last=LastOutcome(run=evil, status=evil, at=evil), success=success
    )
    flow = Dataflow(reads=(evil,), tables_written=(evil,), folders=(evil,), missed=(evil,))
    row = make("a", evil, evil, result=result, flow=flow, stage=evil)
    style = Style()
    text = tool_text(row, {evil: evil}, {}, [(evil, evil, evil, 1.0)], style)
    text += status_text([row], style, verbose=True)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert not any(line.startswith("y") for line in text.splitlines())


def test_the_document_has_all_keys_of_the_contract_for_any_tool() -> None:
    rows = [
        make("fetch", result=ran(), flow=FLOW),
        make("parse", "never ran", word="never"),
        make("b", "failed (run 4)", word="failed", upstream=("u",), result=ran()),
        make("c", "nobody knows", word="unknown"),
    ]
    document = status_document(rows)
    assert json.loads(json.dumps(document)) == document
    assert document["version"] == 1
    tools: Any = document["tools"]
    fetch, parse, b, c = tools
    assert {
        "name", "state", "never", "failed", "unknown", "reasons", "reads", "writes", "last_run", "duration",
    } <= set(fetch)  # fmt: skip
    assert (fetch["state"], fetch["reads"], fetch["writes"]) == (
        "fresh",
        [{"table": "raw"}, {"file": "in.csv"}],
        [{"table": "records"}, {"file": "out.csv"}],
    )
    assert (fetch["last_run"], fetch["duration"]) == ("4", 1.5)
    assert (parse["state"], parse["never"], parse["last_run"]) == ("never", True, None)
    assert (b["failed"], b["reasons"]) == (True, ["failed (run 4)", "u"])
    words = [(one["never"], one["failed"], one["unknown"]) for one in (fetch, b, c)]
    assert words == [(False, False, False), (False, True, False), (False, False, True)]
