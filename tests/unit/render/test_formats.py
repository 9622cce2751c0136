"""What other tools read of a run stays valid, whatever tools, files, tables and errors are called."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.discovery.ordering import Stage
from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import Failure, Problem, Severity
from discover_orch.model.tool import Tool
from discover_orch.render.github import failure_annotations, problem_annotations, step_summary
from discover_orch.render.graph_svg import project_html
from discover_orch.render.junit import junit_text
from discover_orch.render.openlineage import Lineage
from discover_orch.render.style import clean, one_line
from discover_orch.render.trace import trace_text
from discover_orch.staleness.reason_sentences import Freshness
from discover_orch.state.recorded_run import (
    Attempt,
    RecordedNote,
    RecordedStep,
    RunRecord,
    ToolRecord,
)
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


def failure(text: str) -> Failure:
    return Failure(
        kind="exception", type=text, message=text, path=text, line=3, traceback=text, hint=text
    )


def tool(module: str, *attempts: Attempt, stage: str = "s", **more: Any) -> ToolRecord:
    status = attempts[-1].status if attempts else "not_run"
    return ToolRecord(
        **{"module": module, "name": module, "status": status, **more},
        stage=stage,
        attempts=attempts,
        has_started=bool(attempts),
    )


def record_of(text: str) -> RunRecord:
    """A run in which everything that a user can name is called `text`."""
    seen = observation(read=((text, 1, 1, 1, 1),), written=(text,), tables_read=(text,))
    error = failure(text)
    problem = Problem(code="closing", message=text, hint=text, path=text, line=2)
    doc = RecordedStep(module="a", name=text, doc=text, path=text)
    after = RecordedStep(module="b", name=text, after=("a",))
    passed = Attempt(start=1.0, end=2.0, status="passed", seen=seen)
    failed = Attempt(start=3.0, end=4.0, status="failed", error=error)
    tools = (
        tool("a", passed, stage=text, name=text + "a", metrics={text: text}, duration=1, step=doc),
        tool("b", failed, name=text + "b", error=error, duration=1, step=after, printed=text),
        tool("c", name=text + "c", status="blocked", blocked_by=text + "b"),
    )
    return RunRecord(
        run="1",
        targets=(text,),
        started="2026-11-24T14:03:22+01:00",
        status="failed",
        began=BEGUN,
        ended=6.0,
        tools=tools,
        notes=(RecordedNote(problem=problem, at=5.0),),
        orch="1",
        duration=6.0,
        exit_code=1,
        counts={"passed": 1, "failed": 1, "blocked": 1},
    )


def lineage(record: RunRecord, root: str = "/p") -> str:
    return Lineage(record=record, root=root, namespace="n").text()


Test = Callable[[str], None]


def with_examples(test: Test) -> Test:
    for text in HOSTILE:
        test = example(text)(test)
    return test


hostile = given(st.text(st.characters(), max_size=60))


@with_examples
@hostile
def test_no_text_breaks_a_file(text: str) -> None:
    record = record_of(text)
    root = read_junit(junit_text(record))
    assert {one.attrib["name"] for one in root.iter("testcase")} == {
        *(clean(text + name) for name in "abc"),
        "closing",
    }
    read_trace(trace_text(record))
    assert len(read_lineage(lineage(record, f"/{text}"))) == 6


@with_examples
@hostile
def test_no_text_breaks_what_github_reads(text: str) -> None:
    record = record_of(text)
    (found,) = read_annotations(failure_annotations(record, "sub").rstrip("\n"))
    assert found[0] == "error"
    assert found[2] == clean(text)[-4000:] or not text or len(text) > 4000
    problem = Problem(code="syntax", message=text, hint=text, path=text, line=3)
    (found,) = read_annotations(problem_annotations([problem], "").rstrip("\n"))
    assert found[1]["line"] == "3"
    assert found[2] == clean(text + (f"\nhint: {text}" if text else ""))
    heading, cells = read_summary(step_summary(record, text))
    assert heading == (f"orch: {in_summary(text)}" if text else "orch:")
    assert [row[0] for row in cells] == ["tool", *(in_summary(text + name) for name in "bac")]
    assert [row[2] for row in cells] == ["result", "❌ failed", "✅ passed", "⛔ blocked"]
    assert cells[2][1] == in_summary(text)
    assert cells[2][4] == in_summary(f"{text}={text}")


def in_summary(text: str) -> str:
    short = text if len(text) <= 300 else text[:300] + "…"
    return one_line(short)


@with_examples
@hostile
def test_no_text_breaks_what_a_notebook_shows(text: str) -> None:
    found = Tool(module="a", path="a.py", line=1, name=text, stages=("s",), doc=text)
    registry = Registry(tools={"a": found}, stages=(Stage(name=text, tools=("a",)),))
    shown = project_html(text, registry, {"a": Freshness(module="a", reasons=(text,))})
    page = ElementTree.fromstring(f"<page>{shown}</page>")
    assert [one.tag.rpartition("}")[2] for one in page] == ["div", "svg"]
    assert page[0].text == f"{one_line(text)}: 1 tool"
    assert not {one.tag.rpartition("}")[2] for one in page.iter()} & {
        "script",
        "a",
        "image",
        "foreignObject",
    }


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
    record = replace(record_of(""), database=database)
    found = Lineage(record=record, root="/p", namespace="n").name_table(table)
    assert f"{found['namespace']} {found['name']}" == expected


def test_the_summary_of_a_step_is_never_too_large_for_github() -> None:
    failed = Attempt(start=1.0, end=2.0, status="failed")
    error = failure("\N{GRINNING FACE}" * 999)
    names = [f"t{number}" + "\N{GRINNING FACE}" * 400 for number in range(500)]
    record = replace(record_of(""), tools=tuple(tool(name, failed, error=error) for name in names))
    summary = step_summary(record, "p")
    assert 500_000 < len(summary.encode("utf-8")) < 1 << 20
    assert re.search(r"^\d+ more$", summary, re.MULTILINE)
