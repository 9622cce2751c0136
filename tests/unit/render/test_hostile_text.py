"""No text of a user breaks what it is shown in, wherever it comes from: each field of each value, in each renderer.

On a terminal it commands nothing and begins no line of its own. In pages, pictures and files it adds no element, no
attribute and no command.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from functools import partial
from html.parser import HTMLParser
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import to_builtins
from msgspec.structs import replace

import discover_orch.render
from discover_orch.cli.console import document_text
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.execution import event_documents
from discover_orch.execution.run_events import Event, Report, RunStarted, StepsAdded, ToolRetried
from discover_orch.model import documents
from discover_orch.model.errors import Failure, Problem
from discover_orch.model.tool import Tool
from discover_orch.model.tool_events import (
    RunFinished,
    RunNote,
    TableHead,
    ToolFinished,
    ToolOutput,
    ToolStarted,
    UsedData,
)
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.selection import TypedAt
from discover_orch.render import github, graph, history, left_over, report_page
from discover_orch.render import plan as plan_pages
from discover_orch.render import problems as problem_pages
from discover_orch.render import status as status_pages
from discover_orch.render.graph_languages import dot_text, mermaid_text
from discover_orch.render.graph_svg import graph_svg
from discover_orch.render.junit import junit_text
from discover_orch.render.listing import listing_text
from discover_orch.render.openlineage import Lineage
from discover_orch.render.report_page import report_html
from discover_orch.render.run import DisplayOptions, Resume, RunRenderer, run_heading
from discover_orch.render.style import Style
from discover_orch.render.trace import trace_text
from discover_orch.render.watch import watch_event_text
from discover_orch.staleness.made_files import KINDS, MadeFile
from discover_orch.staleness.tool_result import Success
from discover_orch.state.recorded_run import Attempt, RecordedStep, RunRecord, ToolRecord
from discover_orch.state.report_source import PackedLog, ReportSource
from discover_orch.state.run_diff import RunDiff
from discover_orch.watch.watch_events import RunStarting, WatchEvent, WatchNote
from tests.support.hostile import filled

#: A title, a bell, colours, a new line, marks of direction, half a character, C1, and markup.
EVIL = "a\x1b]0;t\x07\x1b[31m\n\rb\u202e\u2066\u200f\u2028\udcff\x9b2J\x85<b>&\"'`|::error::"
PLAIN, COLOURED = Style(unicode=False, width=200), Style(colour=True)
OWN_COLOURS = re.compile(r"\x1b\[(?:0|1|2|31|32|33|36|1;31|1;36)m")


def name_of(module: str) -> str:
    return module


def listing_of(text: str) -> documents.Listing:
    tool = filled(documents.Tool, text, disabled=False)
    off = filled(documents.Tool, text, name="off")
    listing: documents.Listing = filled(documents.Listing, text, tools=(tool, off))
    return listing


def view_of(text: str) -> ProjectView:
    project = filled(Project, text)
    return ProjectView(
        project=project,
        registry=Registry(),
        place=TypedAt(),
        folder=text,
        sources=SourceFiles(project),
    )


def watch_text(kind: type[Any], text: str, style: Style) -> str:
    return watch_event_text(filled(kind, text), style, time="12:00:00")


#: The functions of `render` whose text is for a terminal: what each shows of values that hold this text alone.
ON_TERMINALS: Mapping[str, Callable[[str, Style], str]] = {
    "graph_text": lambda text, style: graph.graph_text(
        (filled(documents.GraphStage, text),), style, verbose=True
    ),
    "runs_text": lambda text, style: history.runs_text([filled(documents.Run, text)], style),
    "run_text": lambda text, style: history.run_text(filled(documents.Run, text), style),
    "comparison_text": lambda text, style: history.comparison_text(filled(RunDiff, text), style),
    "metrics_text": lambda text, style: history.metrics_text(
        [filled(documents.ToolRun, text)], style
    ),
    "log_heading": lambda text, style: history.log_heading(
        filled(RunRecord, text), filled(ToolRecord, text)
    ),
    "left_over_text": lambda text, style: left_over.left_over_text(
        [filled(documents.MadeThing, text), filled(documents.MadeThing, text, table="")], style
    ),
    "clean_text": lambda text, style: left_over.clean_text(
        [filled(documents.MadeThing, text)], style
    ),
    "listing_text": lambda text, style: listing_text(listing_of(text), style, verbose=True),
    "plan_text": lambda text, style: plan_pages.plan_text(
        filled(documents.Plan, text), style, names=[text], intro=text, verbose=True
    ),
    "settings_text": lambda text, style: plan_pages.settings_text(
        Registry(), filled(Project, text, origins={"packages": text}), style
    ),
    "problem_text": lambda text, style: problem_pages.problem_text(filled(Problem, text), style),
    "problems_text": lambda text, style: problem_pages.problems_text(
        [filled(Problem, text, line=line, severity="warning") for line in (1, 2)], style
    ),
    "hint_text": problem_pages.hint_text,
    "run_heading": lambda text, style: "\n".join(run_heading(view_of(text), style, text)),
    "status_text": lambda text, style: status_pages.status_text(
        [filled(documents.ToolStatus, text)], style, verbose=True
    ),
    "tool_text": lambda text, style: status_pages.tool_text(
        filled(Tool, text),
        filled(documents.ToolStatus, text),
        filled(Success, text),
        {text: text},
        {text: text},
        [filled(documents.ToolRun, text)],
        status_pages.code_rows({text: text}, {text: 1}, verbose=True),
        style,
    ),
    **{
        f"watch_event_text {kind.__name__}": partial(watch_text, kind)
        for kind in get_args(WatchEvent)
        if kind not in (RunStarting, WatchNote)  # of which `problem_text` shows the problem
    },
}
#: Those whose text is for pages and files, which the other tests read as their formats say.
IN_FILES = frozenset(
    "dot_text failure_annotations graph_svg junit_text mermaid_text picture_svg problem_annotations project_html "
    "report_html checks_html results_html failures_html tools_html facts_html params_html step_summary strip_svg timeline_svg trace_text".split()
)
#: What only words of orch go into, or one text that the caller cleans.
OF_ORCH = frozenset(
    "all_fresh_text as_of_text bar_text help_text size_text time_left_text log_text".split()
)


def test_every_renderer_is_tried() -> None:
    found = set()
    for one in pkgutil.iter_modules(discover_orch.render.__path__, "discover_orch.render."):
        if not one.name.endswith((".style", ".markup")):
            module = importlib.import_module(one.name)
            for name, function in inspect.getmembers(module, inspect.isfunction):
                if function.__module__ == one.name and re.fullmatch(
                    r"[a-z]\w*_(text|heading|html|svg|annotations|summary)", name
                ):
                    found.add(name)
    tried = {name.partition(" ")[0] for name in ON_TERMINALS}
    assert found == {*tried, *IN_FILES, *OF_ORCH}


def assert_harmless(shown: str, *, is_one_line: bool = True) -> None:
    left = OWN_COLOURS.sub("", shown).replace("\n", "")
    assert left.isprintable(), ascii(left)
    assert not (is_one_line and "\nb" in shown), shown
    assert left.strip()


@pytest.mark.parametrize("style", [PLAIN, COLOURED], ids=["plain", "coloured"])
@pytest.mark.parametrize("name", ON_TERMINALS)
def test_no_text_commands_a_terminal(name: str, style: Style) -> None:
    shown = ON_TERMINALS[name](EVIL, style)
    assert_harmless(shown)
    assert style.colour or "\x1b" not in shown


@pytest.mark.parametrize("style", [PLAIN, COLOURED], ids=["plain", "coloured"])
@pytest.mark.parametrize("shown", [DisplayOptions(verbose=True), DisplayOptions(quiet=True)])
@pytest.mark.parametrize("workers", [1, 2])
def test_no_event_of_a_run_commands_a_terminal(
    style: Style, shown: DisplayOptions, workers: int
) -> None:
    heading = run_heading(view_of(EVIL), style, EVIL)
    plan = filled(Plan, EVIL, turns=None)
    screen = RunRenderer(
        plan, style, shown, heading=heading, resume=filled(Resume, EVIL), reason=EVIL
    )
    end = filled(ToolFinished, EVIL, status="failed", seen=None, loaded={}, loaded_as={})
    events: list[Event] = [
        filled(RunStarted, EVIL, workers=workers),
        StepsAdded(plan=plan, modules=(EVIL,)),
        ToolStarted(module=EVIL),
        ToolOutput(module=EVIL, stream="stdout", text=EVIL),
        ToolRetried(end=end, delay=1.0),
        ToolStarted(module=EVIL),
        replace(end, status="passed"),
        replace(end, status="interrupted", error=filled(Failure, EVIL, kind="crash")),
        end,
        RunFinished(status="failed", duration=1),
    ]
    report = Report()
    text = ""
    for event in events:
        report.add(event)
        text += "".join(screen.texts(event, report))
    assert_harmless(text, is_one_line=False)  # tracebacks and output have lines
    note = RunNote(problem=filled(Problem, EVIL), traceback=EVIL)
    assert_harmless(screen.notice(note, style), is_one_line=False)


@pytest.mark.parametrize(
    "kind",
    [
        one
        for module in (documents, event_documents)
        for _, one in inspect.getmembers(module, inspect.isclass)
        if hasattr(one, "__struct_fields__")
    ],
)
def test_every_document_is_printable_json_with_the_same_texts(kind: type[Any]) -> None:
    known = {"time": None} if "time" in kind.__struct_fields__ else {}
    value = filled(kind, EVIL, **known)
    text = document_text(value)
    assert text.isascii()
    assert text[:-1].isprintable()
    assert json.loads(text) == json.loads(json.dumps({"version": 1, **to_builtins(value)}))


def test_a_log_keeps_its_colours_and_lines() -> None:
    data = b"a\x1b[31mred\x1b[0m\x1b[2J\nlast\r\xff"
    assert history.log_text(data, PLAIN) == "ared\\x1b[2J\nlast\\x0d\\udcff"
    assert "\x1b[31mred" in history.log_text(data, COLOURED)
    assert "\x1b[2J" not in history.log_text(data, COLOURED)


def test_no_text_adds_to_a_file_about_a_run() -> None:
    failed = filled(ToolRecord, EVIL, status="failed")
    record = filled(RunRecord, EVIL, tools=(failed,), status="failed")
    cases = [*ElementTree.fromstring(junit_text(record)).iter("testcase")]
    checks = [one for tool in record.tools for one in tool.checks]
    assert len(cases) == len(record.tools) + len(checks) + len(record.errors)
    assert_harmless(junit_text(record), is_one_line=False)
    assert json.loads(trace_text(record))
    lines = Lineage(record=record, root="/", namespace=EVIL).text().split("\n")[:-1]
    assert all(json.loads(line) for line in lines)
    for commands in (
        github.failure_annotations(record, "."),
        github.problem_annotations(record.errors, "."),
    ):
        (line,) = commands.splitlines()
        assert re.fullmatch(r"::error (\w+=[^:,]*,?)+::.*", line)
        assert_harmless(line)
    rows = [one for one in github.step_summary(record, EVIL).splitlines() if one.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [6] * 3


# Pictures and pages.

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
PIECES = st.sampled_from(HOSTILE_NAMES) | st.text(max_size=8)
HOSTILE = st.lists(PIECES, min_size=1, max_size=3).map("".join)
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


def graph_of(names: list[str]) -> graph.Graph:
    tools = tuple(
        filled(
            documents.GraphTool,
            name,
            after=tuple(names[:place]),
            reads=documents.list_used((name, f"data/{place}{name}"), (name,)),
            writes=documents.list_used((names[0],), (names[-1],)),
        )
        for place, name in enumerate(names)
    )
    return tuple(documents.GraphStage(name=name, tools=tools) for name in names[:2])


def source_of(names: list[str]) -> ReportSource:
    tools = []
    for place, name in enumerate(names):
        module, status = f"{place}{name}", "failed" if place % 2 else "passed"
        error = filled(Failure, name) if place % 2 else None
        tools.append(
            filled(
                ToolRecord,
                name,
                module=module,
                status=status,
                metrics={name: name, "rows": place, "huge": 10**400, "part": 0.5},
                error=error,
                data=UsedData(files_read=(names[0],), tables_written=(names[-1],)),
                step=filled(RecordedStep, name, module=module),
                attempts=(
                    Attempt(start=0, end=1, status="failed", error=filled(Failure, name)),
                    Attempt(start=1, end=2, worker=2, status=status, error=error),
                ),
            )
        )
    earlier = {"rows": 7, "huge": 0.5, "part": 10**400}
    return ReportSource(
        record=filled(
            RunRecord,
            names[0],
            run="1",
            status="failed",
            targets=tuple(names),
            tools=tuple(tools),
            plan=tuple(tool.step for tool in tools),
            workers=2,
        ),
        earlier={one.module: [replace(one, metrics=earlier)] for one in tools},
        used={one.module: one.data for one in tools},
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
    shown = graph_of(names)
    svg = graph_svg(shown, title=names[0])
    svg.encode()
    root = ElementTree.fromstring(svg)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "title", "desc", "style", "rect", "text", "g", "path"}
    assert not [name for one in root.iter() for name in one.attrib if name.startswith("on")]

    for line in mermaid_text(shown).splitlines():
        assert re.fullmatch(
            r'flowchart LR|  subgraph s\d+\["[^"]*"\]|  end'
            r'|    [td]\d+(\("[^"]*"\)|\[\("[^"]*"\)\]|\[/"[^"]*"/\])'
            r"|  [td]\d+ --> [td]\d+|  classDef \w+ [a-z0-9:. -]+|  class [td\d,]+ \w+",
            line,
        ), line
        assert "%%" not in line
        assert "<" not in line

    dot = re.sub(r'"(?:[^"\\\n]|\\["\\])*"', "Q", dot_text(shown))
    for line in dot.splitlines():
        assert re.fullmatch(
            r"digraph pipeline \{|  rankdir=LR;|  node \[fontname=Q, fontsize=11\];|  }|}"
            r"|  subgraph cluster_\d+ \{|    label=Q;|  [td]\d+ -> [td]\d+;"
            r"|    [td]\d+ \[label=Q, shape=\w+, style=\w+(, color=Q, fontcolor=Q)?\];",
            line,
        ), line


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.lists(HOSTILE, min_size=2, max_size=3, unique=True))
def test_no_name_breaks_a_page(names: list[str]) -> None:
    source = source_of(names)
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
