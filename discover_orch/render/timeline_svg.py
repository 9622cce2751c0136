"""When each tool ran, as SVG: a lane for each worker, and a row for each tool or, of many tools, each stage."""

from __future__ import annotations

from collections.abc import Sequence

from discover_orch.render.markup import NOTHING, Html, clean_word, fit, h, join, lines, number
from discover_orch.render.report_tools import ReportTool, by_stage
from discover_orch.render.style import count, duration, one_line, status_word
from discover_orch.state.recorded_run import Attempt

LABEL, ROW, LANE, HEAD = 190.0, 20.0, 22.0, 22.0
#: Pixels of the whole run, and beside it for the time of the last tool.
WIDTH, SIDE = 980.0, 120.0
_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
_LONG_TICKS = (600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400)


def timeline_svg(tools: Sequence[ReportTool], total: float, *, most_rows: int) -> Html:
    """`total` are the seconds of the whole run. Above `most_rows` tools there is a row for each stage, which leads to
    that in the list of tools."""
    started = (tool for tool in tools if tool.record.attempts)
    ran = sorted(started, key=lambda tool: tool.record.attempts[0].start)
    if not ran:
        return NOTHING
    total = max(total, *(tool.record.attempts[-1].end for tool in ran), 0.001)
    scale = WIDTH / total
    workers = sorted({one.worker for tool in ran for one in tool.record.attempts})
    out = []
    y = HEAD
    for worker in workers:
        out.append(_label(f"worker {worker}", y, LANE))
        out += [
            _block(tool, one, y, scale)
            for tool in ran
            for one in tool.record.attempts
            if one.worker == worker
        ]
        y += LANE
    y += 10
    has_stages = len(ran) > most_rows
    if has_stages:
        stages = [*dict.fromkeys(tool.record.stage for tool in tools)]
        for stage, group in by_stage(ran).items():
            row = join([_label(stage, y, ROW), _stage_bar(stage, group, y, scale)])
            out.append(h("a", row, href=f"#s{stages.index(stage)}"))
            y += ROW
    else:
        for tool in ran:
            out.append(_row(tool, y, scale, has_workers=len(workers) > 1))
            y += ROW
    height, width = y + 8, LABEL + WIDTH + SIDE
    said = f"{count(len(ran), 'tool')} on {count(len(workers), 'worker')} in {duration(total)}."
    return h(
        "svg",
        h("title", "Timeline"),
        h("desc", said),
        *_grid(total, scale, height),
        *out,
        xmlns="http://www.w3.org/2000/svg",
        class_="timeline",
        role="group" if has_stages else "img",
        aria_label="Timeline" if has_stages else None,
        width=width,
        height=height,
        viewBox=f"0 0 {number(width)} {number(height)}",
    )


def _grid(total: float, scale: float, height: float) -> list[Html]:
    """A line and a time at round distances."""
    ticks = (*_TICKS, *_LONG_TICKS)
    most = max(total * scale / 100, 2)  # one each 100 pixels
    step = next((one for one in ticks if total / one <= most), total / most)
    out = []
    for place in range(int(total / step) + 1):
        x, time = LABEL + place * step * scale, place * step
        shown = f"{time:g} s" if time < 60 else duration(time)
        path = f"M{number(x)} {number(HEAD - 4)}V{number(height)}"
        out += [h("path", class_="tick", d=path), h("text", shown, class_="time", x=x + 2, y=12)]
    return out


def _label(text: str, y: float, height: float) -> Html:
    return h("text", fit(text, LABEL - 16), x=8, y=y + height / 2 + 4)


def _row(tool: ReportTool, y: float, scale: float, *, has_workers: bool) -> Html:
    attempts = tool.record.attempts
    parts = [_label(tool.record.name, y, ROW)]
    if tool.wait and attempts[0].start - tool.wait.ready > 0.001:
        left, right = LABEL + tool.wait.ready * scale, LABEL + attempts[0].start * scale
        path = f"M{number(left)} {number(y + ROW / 2)}H{number(right)}"
        parts.append(h("path", class_="wait", d=path))
    parts += [_block(tool, one, y, scale, is_alone=False) for one in attempts]
    text = duration(sum(one.end - one.start for one in attempts))
    text += f" · worker {attempts[-1].worker}" if has_workers else ""
    x = LABEL + attempts[-1].end * scale + 5
    parts.append(h("text", text, class_="time", x=x, y=y + ROW / 2 + 4))
    return h("g", *parts, data_t=tool.number)


def _block(
    tool: ReportTool, one: Attempt, y: float, scale: float, *, is_alone: bool = True
) -> Html:
    width = (one.end - one.start) * scale
    state = f"s-{clean_word(one.status or 'unknown')}" + (" critical" if tool.is_critical else "")
    waited = f", waited for {one_line(tool.waited_for)}" if tool.waited_for else ""
    said = (
        f"{one_line(tool.record.name[:200])}: {duration(one.end - one.start)}, {status_word(one.status or 'no_end')}"
        f"\nfrom {one.start:.2f} s on worker {one.worker}{waited}"
    )
    place = tool.number if is_alone else None
    return _bar(state, LABEL + one.start * scale, y, width, said, place)


def _stage_bar(stage: str, tools: Sequence[ReportTool], y: float, scale: float) -> Html:
    start = min(tool.record.attempts[0].start for tool in tools)
    end = max(tool.record.attempts[-1].end for tool in tools)
    has_failed = any(tool.record.status not in ("passed", "fresh") for tool in tools)
    said = f"{one_line(stage)}: {count(len(tools), 'tool')} in {duration(end - start)}"
    state = "s-failed" if has_failed else "s-passed"
    return _bar(state, LABEL + start * scale, y, (end - start) * scale, said)


def _bar(state: str, x: float, y: float, width: float, said: str, place: int | None = None) -> Html:
    return h(
        "rect",
        h("title", lines(said)),
        class_=f"bar {state}",
        data_t=place,
        x=x,
        y=y + 3,
        width=max(width, 1.5),
        height=ROW - 6,
        rx=2,
    )
