"""Readers of what a run writes for other tools, as strict as those tools are."""

from __future__ import annotations

import importlib
import json
import re
import uuid
import xml.etree.ElementTree as ET
from collections import defaultdict
from datetime import datetime
from typing import Any

#: Elements and attributes of Jenkins' schema, junit-10.xsd of its xunit plugin.
JUNIT: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": ({"testsuite"}, {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"testcase"},
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    ),
    "testcase": (
        {"failure", "error", "skipped", "system-out"},
        {"classname", "name", "time"},
    ),
    "failure": (set(), {"type", "message"}),
    "error": (set(), {"type", "message"}),
    "skipped": (set(), {"message"}),
    "system-out": (set(), set()),
}
#: A command of a workflow, as GitHub's runner reads it.
COMMAND = re.compile(r"::(\w+) (.*?)::(.*)")


def read_junit(text: str) -> ET.Element:
    """The root of a valid document: known elements and attributes, and counts that are right."""
    root = ET.fromstring(text.encode("utf-8"))
    assert root.tag == "testsuites"
    _check_element(root)
    for suite in root:
        cases = list(suite)
        assert int(suite.attrib["tests"]) == len(cases)
        for key, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            found = sum(case.find(kind) is not None for case in cases)
            assert int(suite.attrib[key]) == found
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    for key in ("tests", "failures", "errors"):
        assert int(root.attrib[key]) == sum(int(suite.attrib[key]) for suite in root)
    return root


def _check_element(element: ET.Element) -> None:
    children, attributes = JUNIT[element.tag]
    assert {*element.attrib} <= attributes
    assert re.fullmatch(r"\d+\.\d{1,3}", element.attrib.get("time", "0.0"))
    assert {one.tag for one in element} <= children
    assert element.tag != "testcase" or {"classname", "name", "time"} <= {*element.attrib}
    for one in element:
        _check_element(one)


def read_trace(text: str) -> list[dict[str, Any]]:
    """The events of a valid trace: the fields of each phase, rows with names, slices that nest, and arrows in pairs, from
    an open slice to an open slice: at its end a slice is closed."""
    events: list[dict[str, Any]] = json.loads(text, parse_constant=refuse_constant)
    slices: dict[int, list[tuple[int, int]]] = defaultdict(list)
    arrows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    named = {one["tid"] for one in events if one["name"] == "thread_name"}
    for one in events:
        assert {"ph", "name", "pid", "tid"} <= {*one}
        assert one["tid"] in named
        if one["ph"] == "M":
            assert one["name"] in ("process_name", "thread_name", "thread_sort_index")
            continue
        assert isinstance(one["ts"], int)
        assert one["ts"] >= 0
        assert one["cat"]
        if one["ph"] == "X":
            assert one["dur"] >= 0
            slices[one["tid"]].append((one["ts"], one["ts"] + one["dur"]))
        elif one["ph"] == "i":
            assert one["s"] in ("g", "p", "t")
        else:
            assert one["ph"] in ("s", "f")
            arrows[one["id"]].append(one)
    for row in slices.values():
        _check_nesting(row)
    for start, end in arrows.values():
        assert (start["ph"], end["ph"], end["bp"]) == ("s", "f", "e")
        assert start["ts"] <= end["ts"]
        for one in (start, end):
            assert any(first <= one["ts"] < last for first, last in slices[one["tid"]])
    return events


def _check_nesting(row: list[tuple[int, int]]) -> None:
    open_ends: list[int] = []
    for start, end in sorted(row, key=lambda one: (one[0], -one[1])):
        while open_ends and open_ends[-1] <= start:
            open_ends.pop()
        assert not open_ends or end <= open_ends[-1], "two slices overlap on one row"
        open_ends.append(end)


def read_lineage(text: str) -> list[dict[str, Any]]:
    """The events as the client of OpenLineage takes them, and complete: each run has a START and one end."""
    events = [json.loads(line, parse_constant=refuse_constant) for line in text.split("\n") if line]
    kinds: dict[str, list[str]] = defaultdict(list)
    for one in events:
        _check_lineage(one)
        kinds[str(uuid.UUID(one["run"]["runId"]))].append(one["eventType"])
        assert datetime.fromisoformat(one["eventTime"]).tzinfo is not None
    for first, *rest in kinds.values():
        assert first == "START"
        assert len(rest) == 1
        assert rest[0] in ("COMPLETE", "FAIL", "ABORT")
    return events


def _check_lineage(event: dict[str, Any]) -> None:
    """Builds the event with the classes that the client generates from the schema. They refuse an unknown key, a
    missing one, and an id or a time that is none."""
    from openlineage.client import event_v2, facet_v2

    facets: dict[str, Any] = {
        "parent": facet_v2.parent_run.ParentRunFacet,
        "errorMessage": facet_v2.error_message_run.ErrorMessageRunFacet,
        "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet,
        "jobType": facet_v2.job_type_job.JobTypeJobFacet,
        "documentation": facet_v2.documentation_job.DocumentationJobFacet,
    }

    def build(name: str, fields: dict[str, Any]) -> Any:
        own = {**fields}
        assert _without_version(own.pop("_schemaURL")) == _without_version(
            facets[name]._get_schema()
        )
        own["producer"] = own.pop("_producer")
        if name == "parent":
            parts = facet_v2.parent_run
            root = own["root"]
            own["run"], own["job"] = parts.Run(**own["run"]), parts.Job(**own["job"])
            own["root"] = parts.Root(
                run=parts.RootRun(**root["run"]), job=parts.RootJob(**root["job"])
            )
        return facets[name](**own)

    def with_facets(fields: dict[str, Any]) -> dict[str, Any]:
        built = {name: build(name, facet) for name, facet in fields["facets"].items()}
        return {**fields, "facets": built}

    own = {**event}
    found = event_v2.RunEvent(
        eventType=event_v2.RunState[own.pop("eventType")],
        run=event_v2.Run(**with_facets(own.pop("run"))),
        job=event_v2.Job(**with_facets(own.pop("job"))),
        inputs=[event_v2.InputDataset(**one) for one in own.pop("inputs")],
        outputs=[event_v2.OutputDataset(**one) for one in own.pop("outputs")],
        eventTime=own.pop("eventTime"),
        producer=own.pop("producer"),
    )
    assert [*own] == ["schemaURL"]
    assert _without_version(own["schemaURL"]) == _without_version(found.schemaURL)


def _without_version(url: str) -> str:
    """The client that is installed may know a later version."""
    return re.sub(r"\d+-\d+-\d+", "VERSION", url, count=1)


def read_summary(text: str) -> tuple[str, list[list[str]]]:
    """The heading and the cells of the table, as GitHub's own parser of Markdown reads the summary of a step. Nothing in
    it may be a link, an image or HTML."""
    cmarkgfm: Any = importlib.import_module("cmarkgfm")  # it has no types
    page = ET.fromstring(f"<page>{cmarkgfm.github_flavored_markdown_to_html(text)}</page>")
    tags = {one.tag for one in page.iter()}
    assert tags <= {"page", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code"}
    heading = "".join(page[0].itertext())
    rows = [["".join(cell.itertext()) for cell in row] for row in page.iter("tr")]
    assert {len(row) for row in rows} == {5}
    return heading, rows


def read_annotations(text: str) -> list[tuple[str, dict[str, str], str]]:
    """Each line as (kind, properties, message), decoded."""
    found = []
    for line in text.split("\n"):
        match = COMMAND.fullmatch(line)
        assert match, line
        kind, shown, message = match.groups()
        properties = dict(one.split("=", 1) for one in shown.split(","))
        assert {*properties} <= {"title", "file", "line"}
        decoded = {key: _decode(value, for_property=True) for key, value in properties.items()}
        found.append((kind, decoded, _decode(message)))
    return found


def _decode(text: str, *, for_property: bool = False) -> str:
    if for_property:
        text = text.replace("%3A", ":").replace("%2C", ",")
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def refuse_constant(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")
