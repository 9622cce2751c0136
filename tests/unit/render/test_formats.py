"""What other tools read of a run stays valid, whatever tools, files, tables and errors are called."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from functools import partial
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.cli.run_outputs import RunOutput
from discover_orch.discovery.ordering import Stage
from discover_orch.discovery.registry import Registry
from discover_orch.execution.events import (
    Event,
    Report,
    RunFinished,
    RunStarted,
    ToolRetried,
    utc_text,
)
from discover_orch.model.errors import Failure, Location, Problem, Severity
from discover_orch.model.run_events import (
    RunNote,
    ToolFinished,
    ToolOrdered,
    ToolOutput,
    ToolStarted,
)
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Plan, Step
from discover_orch.render.github import failure_annotations, problem_annotations, step_summary
from discover_orch.render.graph_svg import project_html
from discover_orch.render.junit import LONGEST_OUTPUT, JunitOutput, refused_document
from discover_orch.render.openlineage import LineageSource, OpenLineageOutput, name_table
from discover_orch.render.style import clean, one_line
from discover_orch.render.trace import TraceOutput
from discover_orch.staleness.reasons import Freshness
from tests.support.formats import (
    read_annotations,
    read_junit,
    read_lineage,
    read_summary,
    read_trace,
)
from tests.support.seen import observation

KINDS: tuple[Severity, ...] = ("error", "warning")
BEGUN = 1_700_000_000.0
HOSTILE = (
    "<script>alert(1)</script>",
    "a\"b'c&d|e`f*g_h",
    "line\nline\r\n::error::x%0A%25",
    "\u202egnirts\x00\x1b[31m\x07\ud800\ufffe",
    "]]>--><![CDATA[",
    "x" * 10_000,
    "www.example.com a@example.com @ada #12 :+1: https://example.com",
    "``|`\\|\\",
)


def step(module: str, *, after: Sequence[str] = (), stage: str = "s", doc: str = "") -> Step:
    tool = Tool(module=module, path=f"{module}.py", line=1, name=module, stages=(stage,), doc=doc)
    return Step(tool=tool, stage=stage, after=tuple(after))


def failure(text: str) -> Failure:
    return Failure(
        kind="exception", type=text, message=text, path=text, line=3, traceback=text, hint=text
    )


def events_of(text: str) -> list[Event]:
    """A run in which everything that a user can name is called `text`."""
    seen = observation(read=((text, 1, 1, 1, 1),), written=(text,), tables_read=(text,))
    problem = Problem(code="closing", message=text, hint=text, location=Location(path=text, line=2))
    return [
        RunStarted(run="1", targets=(text,), tools=("a", "b", "c")),
        ToolOrdered(module="a"),
        ToolStarted(module="a"),
        ToolOutput(module="a", stream="stdout", text=text),
        ToolFinished(module="a", status="passed", metrics={text: text}, seen=seen, duration=1),
        ToolOrdered(module="b"),
        ToolStarted(module="b"),
        ToolOutput(module="b", stream="stdout", text=text),
        ToolFinished(module="b", status="failed", error=failure(text), duration=1),
        ToolFinished(module="c", status="blocked", blocked_by="b"),
        RunNote(problem=problem),
        RunFinished(status="failed", duration=3.0),
    ]


def plan_of(text: str) -> Plan:
    steps = [step("a", stage=text, doc=text), step("b", after=["a"]), step("c", after=["b"])]
    named = [replace(one, tool=replace(one.tool, name=text + one.tool.name)) for one in steps]
    return Plan(steps=tuple(named), targets=(text,))


def write(new: Callable[[Plan, Report], RunOutput], plan: Plan, events: Sequence[Event]) -> str:
    """The text of the file; a second passes between two events."""
    report = Report()
    output, text = new(plan, report), ""
    for at, one in enumerate(events, start=1):
        report.add(one)
        text += output.add(one, BEGUN + at)
    return text.encode("utf-8").decode("utf-8")


def junit(plan: Plan, report: Report) -> RunOutput:
    return JunitOutput(plan, report, utc_text(BEGUN))


def trace(plan: Plan, _: Report) -> RunOutput:
    return TraceOutput(plan, BEGUN)


def lineage(
    plan: Plan, report: Report, *, root: str = "/p", database: str = ""
) -> OpenLineageOutput:
    source = LineageSource(root=root, namespace="n", version="1", database=database)
    return OpenLineageOutput(plan, report, source)


Test = Callable[[str], None]


def with_examples(test: Test) -> Test:
    for text in HOSTILE:
        test = example(text)(test)
    return test


hostile = given(st.text(st.characters(), max_size=60))


@with_examples
@hostile
def test_no_text_breaks_a_file(text: str) -> None:
    events, plan = events_of(text), plan_of(text)
    root = read_junit(write(junit, plan, events))
    assert {one.attrib["name"] for one in root.iter("testcase")} == {
        *(
            clean(text + name).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
            for name in "abc"
        ),
        "closing",
    }
    read_trace(write(trace, plan, events))
    assert len(read_lineage(write(partial(lineage, root=f"/{text}"), plan, events))) == 6
    problem = Problem(code="syntax", message=text, hint=text, location=Location(path=text, line=3))
    read_junit(refused_document([problem], utc_text(BEGUN)))


@with_examples
@hostile
def test_no_text_breaks_what_github_reads(text: str) -> None:
    plan, report = plan_of(text), Report()
    for event in events_of(text):
        report.add(event)
    (found,) = read_annotations(failure_annotations(report, plan, "sub").rstrip("\n"))
    assert found[0] == "error"
    assert found[2] == clean(text)[-4000:] or not text or len(text) > 4000
    problem = Problem(code="syntax", message=text, hint=text, location=Location(path=text, line=3))
    (found,) = read_annotations(problem_annotations([problem], "").rstrip("\n"))
    assert found[1]["line"] == "3"
    assert found[2] == clean(text + (f"\nhint: {text}" if text else ""))
    heading, cells = read_summary(step_summary(report, plan, text))
    assert heading == (f"orch: {in_summary(text)}" if text else "orch:")
    assert [row[0] for row in cells] == ["tool", *(in_summary(text + name) for name in "bac")]
    assert [row[2] for row in cells] == ["result", "❌ failed", "✅ passed", "⛔ blocked"]
    assert cells[2][1] == in_summary(text)
    assert cells[2][4] == in_summary(f"{text}={text}")


def in_summary(text: str) -> str:
    short = text if len(text) <= 300 else text[:300] + "…"
    return one_line(short).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


@with_examples
@hostile
def test_no_text_breaks_what_a_notebook_shows(text: str) -> None:
    tool = replace(step("a", doc=text).tool, name=text)
    registry = Registry(tools={"a": tool}, stages=(Stage(name=text, tools=("a",)),))
    shown = project_html(text, registry, {"a": Freshness(module="a", reasons=(text,))})
    page = ElementTree.fromstring(f"<page>{shown}</page>")
    assert [one.tag.rpartition("}")[2] for one in page] == ["div", "svg"]
    assert page[0].text == f"{one_line(text)}: 1 tool".translate({0xFFFE: "?", 0xFFFF: "?"})
    assert not {one.tag.rpartition("}")[2] for one in page.iter()} & {
        "script",
        "a",
        "image",
        "foreignObject",
    }


def test_junit_holds_the_end_of_what_a_failed_tool_printed_and_nothing_of_the_others() -> None:
    events = events_of("x")
    events[7] = ToolOutput(module="b", stream="stdout", text="start" + "y" * LONGEST_OUTPUT)
    root = read_junit(write(junit, plan_of("x"), events))
    assert [one.text for one in root.iter("system-out")] == ["y" * LONGEST_OUTPUT]


@pytest.mark.parametrize("length", range(1, 12))
def test_each_file_of_a_run_that_was_broken_off_is_valid(length: int) -> None:
    """Only the trace may be empty, before anything has happened."""
    end = RunFinished(status="interrupted", duration=0.0)
    events, plan = [*events_of("x")[:length], end], plan_of("")
    read_junit(write(junit, plan, events))
    read_trace(write(trace, plan, events))
    read_lineage(write(lineage, plan, events))


def test_the_trace_of_a_killed_run_is_an_array_that_only_lacks_its_end() -> None:
    text = write(trace, plan_of(""), events_of("x")[:6])
    assert {one["name"] for one in read_trace(text + "]")} >= {"a", "thread_name"}


def test_a_trace_shows_workers_attempts_commits_and_the_time_without_tools() -> None:
    plan = Plan(steps=(step("a"), step("b"), step("c", after=["a"])))
    end = ToolFinished(module="a", status="failed", duration=2, error=failure("x"))
    events: list[Event] = [
        RunStarted(run="7", targets=(), tools=("a", "b", "c"), workers=2),
        ToolOrdered(module="a"),
        ToolOrdered(module="b"),
        ToolStarted(module="a"),
        ToolStarted(module="b", worker=2),
        ToolRetried(end=end, delay=3.0),
        ToolOrdered(module="a"),
        ToolStarted(module="a"),
        ToolFinished(module="a", status="passed", duration=1, attempt=2, commit_seconds=0.5),
        ToolFinished(module="b", status="passed", duration=4),
        ToolOrdered(module="c"),
        ToolStarted(module="c"),
        ToolFinished(module="c", status="passed", duration=1),
        RunFinished(status="passed", duration=14.0),
    ]
    found = read_trace(write(trace, plan, events))
    names = {one["tid"]: one["args"]["name"] for one in found if one["name"] == "thread_name"}
    assert names == {0: "orch", 1: "worker 1", 2: "worker 2"}
    slices = [
        (names[one["tid"]], one["name"], one["ts"] / 1e6, one["dur"] / 1e6)
        for one in found
        if one["ph"] == "X"
    ]
    assert slices == [
        ("worker 1", "a", 4.0, 2.0),
        ("worker 1", "a", 8.0, 1.0),
        ("worker 1", "commit", 8.5, 0.5),
        ("worker 2", "b", 5.0, 5.0),
        ("worker 1", "c", 12.0, 1.0),
        ("orch", "start", 0.0, 4.0),
        ("orch", "between tools", 10.0, 2.0),
        ("orch", "end", 13.0, 1.0),
    ]
    attempts = [one["args"]["attempt"] for one in found if one["name"] == "a"]
    assert attempts == [1, 2]
    assert [one["name"] for one in found if one["ph"] == "i"] == ["a is tried again", "run passed"]
    arrows = [(one["ph"], one["tid"], one["ts"]) for one in found if one["ph"] in "sf"]
    assert arrows == [("s", 1, 8_999_999), ("f", 1, 12_000_000)]


@pytest.mark.parametrize(
    ("database", "table", "expected"),
    [
        (
            "postgresql://ada:***@db.example:5433/shop?x=y",
            "raw",
            "postgres://db.example:5433 shop.public.raw",
        ),
        ("postgresql://db.example/shop", "sales.raw", "postgres://db.example:5432 shop.sales.raw"),
        ("postgresql:///shop", "raw", "postgres://localhost:5432 shop.public.raw"),
        ("duckdb:///data/shop.duckdb", "raw", "duckdb:///p/data/shop.duckdb raw"),
        ("duckdb:////srv/shop.duckdb", "raw", "duckdb:///srv/shop.duckdb raw"),
        ("duckdb://", "raw", "orch://n/p raw"),
        ("", "raw", "orch://n/p raw"),
    ],
)
def test_tables_are_named_by_the_rules_of_openlineage(
    database: str, table: str, expected: str
) -> None:
    source = LineageSource(root="/p", namespace="n", version="1", database=database)
    found = name_table(source, table)
    assert f"{found['namespace']} {found['name']}" == expected


def test_github_gets_ten_annotations_of_a_kind_and_failures_first() -> None:
    problems = [
        Problem(code="x", message=f"p{number}", severity=kind)
        for number, kind in itertools.product(range(15), KINDS)
    ]
    lines = read_annotations(problem_annotations(problems, "").rstrip("\n"))
    assert [kind for kind, _, _ in lines].count("error") == 10
    assert [kind for kind, _, _ in lines].count("warning") == 10
    report = Report()
    for event in events_of("x"):
        report.add(event)
    rows = [line for line in step_summary(report, plan_of(""), "p").split("\n") if "| " in line]
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| `b`", "| `a`", "| `c`"]


def test_the_summary_of_a_step_is_never_too_large_for_github() -> None:
    plan = Plan(
        steps=tuple(step(f"t{number}" + "\N{GRINNING FACE}" * 400) for number in range(500))
    )
    report = Report()
    for one in plan.steps:
        report.add(
            ToolFinished(
                module=one.tool.module, status="failed", error=failure("\N{GRINNING FACE}" * 999)
            )
        )
    summary = step_summary(report, plan, "p")
    assert 500_000 < len(summary.encode("utf-8")) < 1 << 20
    assert re.search(r"^\d+ more$", summary, re.MULTILINE)
