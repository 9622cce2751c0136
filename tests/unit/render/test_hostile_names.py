"""No name breaks a format: tools, stages, tables, files, parameters, logs and errors are data in every picture and page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.model.documents import GraphStage, GraphTool, list_used
from discover_orch.model.errors import Failure
from discover_orch.model.tool_events import TableHead, UsedData
from discover_orch.render import report_page
from discover_orch.render.graph import Graph, graph_text
from discover_orch.render.graph_languages import dot_text, mermaid_text
from discover_orch.render.graph_svg import graph_svg
from discover_orch.render.report_page import report_html
from discover_orch.render.style import Style
from discover_orch.staleness.report_files import KINDS, MadeFile
from discover_orch.state.report_source import PackedLog, ReportSource
from discover_orch.state.run_record import (
    Attempt,
    RecordedParam,
    RecordedStep,
    RunRecord,
    ToolRecord,
)

HOSTILE_NAMES = (
    "<script>alert(1)</script>",
    "</title></svg></template><img src=x onerror=alert(1)>",
    "\"'`",
    "\" onload='x' ",
    "]]><!--",
    "-->",
    "&lt;&#60;&amp",
    "\n\r\t\x00\x1b[31m\x07",
    "\u202e\u2066\u200f\u2028",
    "\ud800\ufffe\uffff",
    '"]\nclick t0 call x()\n%%{init: {}}%%',
    "end",
    '\\"; } digraph { \\N',
    "name" * 2500,
    "表",
    "{{x}}${x}",
    "a/b/*.csv?[",
    "__proto__",
)
PIECES = st.sampled_from(HOSTILE_NAMES)
HOSTILE = st.lists(PIECES | st.text(max_size=8), min_size=1, max_size=3).map("".join)
#: What a page of this project has, and nothing that a name can add.
PAGE_TAGS = frozenset(
    "html head meta title style body main h1 h2 h3 h4 p b i dl div dt dd small section article a pre svg desc rect text g "
    "path polyline circle details summary span label input button template script br table thead tbody tr th td code nav".split()
)
#: And what a page with results has.
RESULT_TAGS = frozenset({"figure", "figcaption", "img", "iframe"})


class Page(HTMLParser):
    """The tags of a page, the names of all attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.sources: list[str] = []
        self.frames: list[dict[str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)
        self.sources += [text or "" for name, text in attrs if name == "src"]
        self.frames += [dict(attrs)] if tag == "iframe" else []
        if tag not in ("meta", "br", "input", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def graph_of(names: list[str]) -> Graph:
    tools = tuple(
        GraphTool(
            name=name,
            module=f"src.{name}",
            after=tuple(names[:place]),
            reads=list_used((name, f"data/{place}{name}"), (name,)),
            writes=list_used((names[0],), (names[-1],)),
            state="stale",
            reasons=(name,),
        )
        for place, name in enumerate(names)
    )
    return tuple(GraphStage(name=name, tools=tools) for name in names[:2])


def source_of(names: list[str], run: str) -> ReportSource:
    error = Failure(
        kind="exception",
        type=names[0],
        message=names[-1],
        path=names[0],
        line=1,
        traceback=names[-1],
    )
    param = RecordedParam(texts=(names[0],), origin=names[-1])
    tools = tuple(
        ToolRecord(
            name=name,
            module=f"{place}{name}",
            status=(status := "failed" if place % 2 else "passed"),
            duration=1.0 + int(run),
            metrics={name: name, "rows": place, "huge": 10**400, "part": 0.5},
            error=error if place % 2 else None,
            notes=(name,),
            data=UsedData(files_read=(names[0],), tables_written=(names[-1],)),
            blocked_by=name,
            stage=name,
            step=RecordedStep(
                module=f"{place}{name}",
                name=name,
                path=name,
                doc=name,
                reason=name,
                params={name: param},
            ),
            attempts=(
                Attempt(start=0, end=1, status="failed", error=error),
                Attempt(start=1, end=2, worker=2, status=status, error=error),
            ),
            has_started=True,
        )
        for place, name in enumerate(names)
    )
    return ReportSource(
        record=RunRecord(
            run=run,
            status="failed",
            started=names[0],
            targets=tuple(names),
            tools=tools,
            plan=tuple(tool.step for tool in tools),
            database=names[0],
            database_origin=names[-1],
            orch=names[0],
            python=names[0],
            commit=names[-1],
            workers=2,
            sources=dict.fromkeys(names, run),
            counts={names[0]: 3},
            duration=2.0,
        ),
        earlier={
            tool.module: [
                ToolRecord(
                    name=tool.name,
                    module=tool.module,
                    status="passed",
                    duration=1,
                    metrics={"rows": 7, "huge": 0.5, "part": 10**400},
                )
            ]
            for tool in tools
        },
        used={tool.module: tool.data for tool in tools},
        logs={tools[-1].module: PackedLog(packed="H4sI", size=9, tail=names[0])},
    )


def results_of(source: ReportSource) -> tuple[ReportSource, dict[str, tuple[MadeFile, ...]]]:
    """The same with a table of each tool, and files of each kind that it made."""
    tables, made = {}, {}
    for tool in source.record.tools:
        name = tool.name
        table = TableHead(name=name, columns=(name, "a"), rows=((name, None),))
        tables[tool.module] = (table,)
        data = name.encode("utf-8", "surrogatepass")
        files = [
            MadeFile(path=f"{name}.{end}", size=len(data) + (kind == "rows"), kind=kind, data=data)
            for end, kind in KINDS.items()
        ]
        made[tool.module] = (*files, MadeFile(path=name, change=name))
    return replace(source, tables=tables), made


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.lists(HOSTILE, min_size=2, max_size=4, unique=True))
def test_no_name_breaks_a_picture(names: list[str]) -> None:
    graph = graph_of(names)
    svg = graph_svg(graph, title=names[0])
    svg.encode()
    root = ElementTree.fromstring(svg)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "title", "desc", "style", "rect", "text", "g", "path"}
    assert not [name for one in root.iter() for name in one.attrib if name.startswith("on")]

    for line in mermaid_text(graph).splitlines():
        assert re.fullmatch(
            r'flowchart LR|  subgraph s\d+\["[^"]*"\]|  end'
            r'|    [td]\d+(\("[^"]*"\)|\[\("[^"]*"\)\]|\[/"[^"]*"/\])'
            r"|  [td]\d+ --> [td]\d+|  classDef \w+ [a-z0-9:. -]+|  class [td\d,]+ \w+",
            line,
        ), line
        assert "%%" not in line
        assert "<" not in line

    dot = re.sub(r'"(?:[^"\\\n]|\\["\\])*"', "Q", dot_text(graph))
    for line in dot.splitlines():
        assert re.fullmatch(
            r"digraph pipeline \{|  rankdir=LR;|  node \[fontname=Q, fontsize=11\];|  }|}"
            r"|  subgraph cluster_\d+ \{|    label=Q;|  [td]\d+ -> [td]\d+;"
            r"|    [td]\d+ \[label=Q, shape=\w+, style=\w+(, color=Q, fontcolor=Q)?\];",
            line,
        ), line

    tree = graph_text(graph, Style())
    assert "\x1b" not in tree
    assert "\u202e" not in tree


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.lists(HOSTILE, min_size=2, max_size=3, unique=True))
def test_no_name_breaks_a_page(names: list[str]) -> None:
    source = source_of(names, "1")
    texts = [report_html(source, names[0])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_page, "MANY_TOOLS", 1)
        texts.append(report_html(source, names[0]))
    assert len(re.findall(r'<a href="#s\d+"><g', texts[-1])) == len(names)
    texts.append(report_html(results_of(source)[0], names[0], results_of(source)[1]))
    for text in texts:
        text.encode()
        page = Page(text)
        assert page.open == []
        has_results = text is texts[-1]
        assert set(page.tags) <= (PAGE_TAGS | RESULT_TAGS if has_results else PAGE_TAGS)
        assert page.tags.count("script") == 1
        assert page.tags.count("main") == 1
        assert not [name for name in page.attributes if name.startswith("on")]
        assert all(one.startswith("data:image/") for one in page.sources)
        assert bool(page.sources) is has_results
        # A file with a null character is no page.
        assert bool(page.frames) is (has_results and any("\0" not in name for name in names))
        for frame in page.frames:
            assert frame["sandbox"] == ""
            assert (frame["srcdoc"] or "").startswith("<!DOCTYPE html><meta http-equiv=")
        assert "\u202e" not in text
        assert "\x1b" not in text
