"""The tools of the report page: what failed, and one entry for each tool with everything about it. Pure."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from msgspec import Struct

from discover_orch.model.documents import Used
from discover_orch.model.items import item_text, tool_of
from discover_orch.model.parameter import ParamValue
from discover_orch.model.tool_events import ToolEnd
from discover_orch.render.critical_path import Wait
from discover_orch.render.graph import MOST_FILES, used_texts
from discover_orch.render.graph_svg import MARKS
from discover_orch.render.item_strip import Square, strip_svg
from discover_orch.render.markup import NOTHING, Child, Html, clean_word, h, join, lines, number
from discover_orch.render.problems import failure_line
from discover_orch.render.style import count, duration, status_word
from discover_orch.state.recorded_run import Attempt, ToolRecord
from discover_orch.state.report_source import PackedLog

#: A change of the duration is pointed out from this share on, and from so many seconds on.
NOTABLE_SHARE, NOTABLE_SECONDS, LEAST_EARLIER = 0.2, 0.05, 3
#: Of values and notes of one tool, so many are shown.
MOST_SHOWN = 50
#: Characters of why a tool failed.
LONGEST_ERROR = 1000
BREAK = h("br")
SPARK_WIDTH, SPARK_HEIGHT = 66, 18
SPARK_STEPS = SPARK_HEIGHT - 6


class ReportTool(Struct, frozen=True, kw_only=True):
    """One tool of a run; `number` is its place in the page. `earlier` are its latest successes before, oldest
    first."""

    number: int
    record: ToolRecord
    earlier: Sequence[ToolEnd] = ()
    reads: tuple[Used, ...] = ()
    writes: tuple[Used, ...] = ()
    wait: Wait | None = None
    waited_for: str = ""
    is_critical: bool = False
    log: PackedLog | None = None

    @property
    def link(self) -> Html:
        """To its entry."""
        return h("a", self.record.name, href=f"#t{self.number}", data_t=self.number)


def section(key: str, title: str, *children: Child) -> Html:
    """A part of the page."""
    heading = h("h2", title, id=f"h-{key}")
    return h("section", heading, *children, aria_labelledby=f"h-{key}")


def by_stage(tools: Sequence[ReportTool]) -> Mapping[str, list[ReportTool]]:
    """The tools by their stages, in order."""
    stages: dict[str, list[ReportTool]] = {}
    for tool in tools:
        stages.setdefault(tool.record.stage, []).append(tool)
    return stages


def failures_html(tools: Sequence[ReportTool]) -> Html:
    """What failed, with the traceback and the end of the log."""
    failed = [tool for tool in tools if tool.record.status in ("failed", "unknown")]
    return section("fail", "Failures", *map(_failure, failed)) if failed else NOTHING


def _failure(tool: ReportTool) -> Html:
    record, error = tool.record, tool.record.error
    said = "Its end is not recorded. It may have written to the database."
    parts = [h("h3", tool.link), h("p", failure_line(error, LONGEST_ERROR) if error else said)]
    if record.traceback and not (error and error.kind == "check"):  # it is shown as tables
        parts.append(h("pre", lines(record.traceback), tabindex=0, aria_label="Traceback"))
    if tool.log is not None and tool.log.tail:
        title = "End of the log"
        parts += [h("h4", title), h("pre", lines(tool.log.tail), tabindex=0, aria_label=title)]
    return h("article", *parts, class_="failure")


def tools_html(tools: Sequence[ReportTool], *, is_open: bool) -> Html:
    """The list of all tools by stage; of many tools each stage is closed at first."""
    words = dict.fromkeys(tool.record.status for tool in tools)
    buttons = [
        h("button", status_word(one), type="button", data_s=clean_word(one), aria_pressed="true")
        for one in words
    ]
    search = h("input", id="filter", type="search", placeholder="name, stage or metric")
    bar = h(
        "div",
        h("label", "Filter ", search),
        h("span", *buttons, role="group", aria_label="Statuses"),
        h("span", id="found", role="status"),
        class_="filter js",
    )
    stages = []
    for place, (stage, group) in enumerate(by_stage(tools).items()):
        name, about = stage or "without a stage", h("small", _stage_line(group))
        entries = join([h("summary", name, " ", about), *_entries(group)], "\n")
        stages.append(h("details", entries, class_="stage", id=f"s{place}", open=is_open))
    return section("tools", "Tools", bar, *stages)


def _entries(group: Sequence[ReportTool]) -> Iterator[Html]:
    """One for each tool; the items of a tool are inside one."""
    for module, of_tool in groupby(group, key=lambda one: tool_of(one.record.module)):
        first, *more = of_tool
        if more:
            yield _items(module, [first, *more])
        else:
            yield _entry(first)


def _items(module: str, tools: Sequence[ReportTool]) -> Html:
    """All items of a tool: how they ended as a strip of squares, and behind it an entry for each."""
    texts = [item_text(tool.record.module) for tool in tools]
    squares = [
        Square(text, tool.record.status, tool.number)
        for text, tool in zip(texts, tools, strict=True)
    ]
    name = tools[0].record.name.removesuffix(f" {texts[0]}")
    summary = h(
        "summary", h("b", name), " ", h("small", _stage_line(tools, "item")), strip_svg(squares)
    )
    return h("details", join([summary, *map(_entry, tools)], "\n"), class_="items")


def _stage_line(group: Sequence[ReportTool], noun: str = "") -> str:
    words = [tool.record.status for tool in group]
    others = [
        f"{words.count(one):,} {status_word(one)}"
        for one in dict.fromkeys(words)
        if one not in ("passed", "fresh")
    ]
    seconds = sum(tool.record.duration or 0.0 for tool in group)
    tools = len({tool_of(tool.record.module) for tool in group})
    counted = count(len(group), noun) if noun else count(tools, "tool")
    return " · ".join([counted, *others, duration(seconds)])


def _entry(tool: ReportTool) -> Html:
    record = tool.record
    usual = _median(tool.earlier)
    status, shown = _status(record.status)
    critical = join([" ", h("i", "◆", title="on the critical path")]) if tool.is_critical else None
    summary = h(
        "summary",
        h("b", record.name, critical),
        shown,
        h("span", duration(record.duration), _change(tool, usual), class_="took"),
        _spark(tool),
        h("span", _metrics(tool), class_="metrics"),
    )
    number = tool.number
    return h(
        "details",
        summary,
        _more(tool, usual),
        class_=f"tool s-{status}",
        id=f"t{number}",
        data_t=number,
        data_s=status,
    )


@functools.lru_cache(64)
def _status(status: str) -> tuple[str, Html]:
    """The word of the status in the page, and the status as it is shown."""
    word = status_word(status)
    return clean_word(status), h("span", f"{MARKS.get(word, '')} {word}", class_="status")


def _change(tool: ReportTool, usual: float) -> Html:
    """The change against the median of earlier runs, where it is notable. One or two runs are no measure."""
    if len(tool.earlier) < LEAST_EARLIER or tool.record.duration is None:
        return NOTHING
    change = tool.record.duration - usual
    if abs(change) < max(NOTABLE_SECONDS, NOTABLE_SHARE * usual) or not usual:
        return NOTHING
    title = f"median of earlier runs: {duration(usual)}"
    return join([" ", h("small", f"{change / usual:+.0%}", title=title)])


def _median(ends: Sequence[ToolEnd]) -> float:
    """Of the durations; the module `statistics` takes 20 ms to import."""
    if not ends:
        return 0.0
    times = sorted([one.duration or 0.0 for one in ends])
    half = len(times) // 2
    return times[half] if len(times) % 2 else (times[half - 1] + times[half]) / 2


def _spark(tool: ReportTool) -> Html:
    """The durations of earlier runs as a line, and this one as a dot."""
    times = [one.duration or 0.0 for one in tool.earlier]
    if tool.record.duration is not None:
        times.append(tool.record.duration)
    if len(times) < 2:
        return h("span")
    scale, step = SPARK_STEPS / (max(times) or 1.0), (SPARK_WIDTH - 6) / (len(times) - 1)
    points = [
        f"{3 + place * step:.0f},{SPARK_HEIGHT - 3 - int(one * scale + 0.5)}"
        for place, one in enumerate(times)
    ]
    x, y = points[-1].split(",")
    return h(
        "svg",
        h("polyline", points=" ".join(points)),
        h("circle", cx=x, cy=y, r=2.5),
        class_="spark",
        width=SPARK_WIDTH,
        height=SPARK_HEIGHT,
        aria_hidden="true",
    )


def _metrics(tool: ReportTool) -> Html:
    before = tool.earlier[-1].metrics if tool.earlier else {}
    shown = (
        join([f"{name} {one}", _difference(one, before.get(name))])
        for name, one in [*tool.record.metrics.items()][:MOST_SHOWN]
    )
    return join(shown, ", ")


def _difference(now: object, before: object) -> Html:
    if isinstance(now, bool) or isinstance(before, bool) or now == before:
        return NOTHING
    shown = ""
    if isinstance(now, int) and isinstance(before, int):
        shown = f"({now - before:+,})"
    elif isinstance(now, int | float) and isinstance(before, int | float):
        with contextlib.suppress(OverflowError):  # an integer that no float can hold
            shown = f"({now - before:+,g})"
    return join([" ", h("small", shown)]) if shown else NOTHING


def _more(tool: ReportTool, usual: float) -> Html:
    """What is known of the tool, as a list of names and texts."""
    record = tool.record
    attempts = record.attempts if len(record.attempts) > 1 else ()
    earlier = count(len(tool.earlier), "earlier run")
    rows = {
        "About": record.step.doc,
        "Error": failure_line(record.error, LONGEST_ERROR) if record.error else "",
        "Blocked by": record.blocked_by,
        "Why": record.step.reason if record.status != "fresh" else "",
        "Waited for": tool.waited_for,
        "Checks": join(
            [f"{check.name} {status_word(check.status)}" for check in record.checks[:MOST_SHOWN]],
            BREAK,
        ),
        "Attempts": join(map(_attempt, attempts), BREAK),
        "Parameters": params_html(record.step.arguments),
        "Reads": _used(tool.reads),
        "Writes": _used(tool.writes),
        "Earlier": f"median {duration(usual)} of {earlier}" if tool.earlier else "",
        "Notes": join(record.notes[:MOST_SHOWN], BREAK),
        "Module": join([record.module, " ", h("small", record.step.path)]),
    }
    return h("div", facts_html(rows), _log(tool), class_="more")


def facts_html(rows: Mapping[str, str], kind: str | None = None) -> Html:
    """A list of names and what is known, without what is empty."""
    shown = (h("div", h("dt", name), h("dd", text)) for name, text in rows.items() if text)
    return h("dl", *shown, class_=kind)


def params_html(params: Mapping[str, ParamValue]) -> Html:
    shown: list[Child] = [
        join([f"{name} = {one.shown} ", h("small", one.origin)])
        for name, one in [*params.items()][:MOST_SHOWN]
    ]
    return join([*shown, "…"] if len(params) > MOST_SHOWN else shown, BREAK)


def _attempt(one: Attempt) -> str:
    said = f": {failure_line(one.error, LONGEST_ERROR)}" if one.error else ""
    return f"{status_word(one.status or 'no_end')} after {duration(one.end - one.start)}{said}"


def _used(used: Sequence[Used]) -> str:
    return ", ".join(used_texts(used, MOST_FILES))


def size_text(size: int) -> str:
    if size < 1000:
        return count(size, "byte")
    return f"{number(size / 1000)} kB" if size < 999_950 else f"{number(size / 1e6)} MB"


def _log(tool: ReportTool) -> Html:
    """A button and the log behind it, packed."""
    log = tool.log
    if log is None:
        return NOTHING
    said = f"Show the log ({size_text(log.size)})"
    button = h("button", said, type="button", class_="log js", data_cut=log.cut)
    return join([h("p", button), h("template", Html(log.packed), class_="log")])
