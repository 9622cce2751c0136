"""When each tool ran, as SVG: a lane for each worker, and a row for each tool or, of many tools, each stage."""

from __future__ import annotations

from collections.abc import Sequence

from discover_orch.render.markup import clean_word, escape, fit, number
from discover_orch.render.report_tools import ReportTool, by_stage
from discover_orch.render.style import count, duration
from discover_orch.state.run_record import Attempt

LABEL, ROW, LANE, HEAD = 190.0, 20.0, 22.0, 22.0
#: Pixels of the whole run, and beside it for the time of the last tool.
WIDTH, SIDE = 980.0, 120.0
_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
_LONG_TICKS = (600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400)


def timeline_svg(tools: Sequence[ReportTool], total: float, *, most_rows: int) -> str:
    """`total` are the seconds of the whole run. Above `most_rows` tools there is a row for each stage, which leads to
    that in the list of tools."""
    started = (tool for tool in tools if tool.record.attempts)
    ran = sorted(started, key=lambda tool: tool.record.attempts[0].start)
    if not ran:
        return ""
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
            row = _label(stage, y, ROW) + _stage_bar(stage, group, y, scale)
            out.append(f'<a href="#s{stages.index(stage)}">{row}</a>')
            y += ROW
    else:
        for tool in ran:
            out.append(_row(tool, y, scale, has_workers=len(workers) > 1))
            y += ROW
    height, width = y + 8, LABEL + WIDTH + SIDE
    role = 'group" aria-label="Timeline' if has_stages else "img"
    noun = count(len(ran), "tool")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="timeline" role="{role}" width="{number(width)}" '
        f'height="{number(height)}" viewBox="0 0 {number(width)} {number(height)}">'
        f"<title>Timeline</title><desc>{noun} on {count(len(workers), 'worker')} in {duration(total)}.</desc>"
        + "".join(_grid(total, scale, height))
        + "\n".join(out)
        + "</svg>\n"
    )


def _grid(total: float, scale: float, height: float) -> list[str]:
    """A line and a time at round distances."""
    ticks = (*_TICKS, *_LONG_TICKS)
    most = max(total * scale / 100, 2)  # one each 100 pixels
    step = next((one for one in ticks if total / one <= most), total / most)
    out = []
    for place in range(int(total / step) + 1):
        x, time = LABEL + place * step * scale, place * step
        shown = f"{time:g} s" if time < 60 else duration(time)
        out.append(
            f'<path class="tick" d="M{number(x)} {number(HEAD - 4)}V{number(height)}"/>'
            f'<text class="time" x="{number(x + 2)}" y="12">{shown}</text>'
        )
    return out


def _label(text: str, y: float, height: float) -> str:
    shown = escape(fit(text, LABEL - 16))
    return f'<text x="8" y="{number(y + height / 2 + 4)}">{shown}</text>'


def _row(tool: ReportTool, y: float, scale: float, *, has_workers: bool) -> str:
    first = tool.record.attempts[0]
    parts = [f'<g data-t="{tool.number}">', _label(tool.record.name, y, ROW)]
    if tool.wait and first.start - tool.wait.ready > 0.001:
        left, right = LABEL + tool.wait.ready * scale, LABEL + first.start * scale
        parts.append(
            f'<path class="wait" d="M{number(left)} {number(y + ROW / 2)}H{number(right)}"/>'
        )
    parts += [_block(tool, one, y, scale, is_alone=False) for one in tool.record.attempts]
    seconds = sum(one.end - one.start for one in tool.record.attempts)
    text = duration(seconds) + (
        f" · worker {tool.record.attempts[-1].worker}" if has_workers else ""
    )
    x = LABEL + tool.record.attempts[-1].end * scale + 5
    parts.append(f'<text class="time" x="{number(x)}" y="{number(y + ROW / 2 + 4)}">{text}</text>')
    return "".join([*parts, "</g>"])


def _block(tool: ReportTool, one: Attempt, y: float, scale: float, *, is_alone: bool = True) -> str:
    width = (one.end - one.start) * scale
    status = clean_word(one.status or "unknown")
    critical = " critical" if tool.is_critical else ""
    place = f' data-t="{tool.number}"' if is_alone else ""
    waited = f", waited for {escape(tool.waited_for)}" if tool.waited_for else ""
    tip = (
        f"{escape(tool.record.name[:200])}: {duration(one.end - one.start)}, {escape(one.status or 'no end')}"
        f"\nfrom {one.start:.2f} s on worker {one.worker}{waited}"
    )
    return _bar(f"s-{status}{critical}", place, LABEL + one.start * scale, y, width, tip)


def _stage_bar(stage: str, tools: Sequence[ReportTool], y: float, scale: float) -> str:
    start = min(tool.record.attempts[0].start for tool in tools)
    end = max(tool.record.attempts[-1].end for tool in tools)
    failed = sum(1 for tool in tools if tool.record.status not in ("passed", "fresh"))
    status = "failed" if failed else "passed"
    tip = f"{escape(stage)}: {count(len(tools), 'tool')} in {duration(end - start)}"
    return _bar(f"s-{status}", "", LABEL + start * scale, y, (end - start) * scale, tip)


def _bar(state: str, place: str, x: float, y: float, width: float, tip: str) -> str:
    return (
        f'<rect class="bar {state}"{place} x="{number(x)}" y="{number(y + 3)}" '
        f'width="{number(max(width, 1.5))}" height="{number(ROW - 6)}" rx="2"><title>{tip}</title></rect>'
    )
