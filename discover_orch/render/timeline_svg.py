"""When each tool ran, as SVG: a lane for each worker, and a row for each tool or, of many tools, each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from discover_orch.render.markup import clean_word, escape, fit, number
from discover_orch.render.run_schedule import Wait
from discover_orch.render.style import count, duration
from discover_orch.state.run_details import Attempt

LABEL, ROW, LANE, HEAD = 190.0, 20.0, 22.0, 22.0
#: Pixels of the whole run, and beside it for the time of the last tool.
WIDTH, SIDE = 980.0, 120.0
_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
_LONG_TICKS = (600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400)


class Bar(Struct, frozen=True, kw_only=True):
    """A tool in the timeline: `number` is its place in the list of the page, and `link` leads to that of its stage."""

    number: int
    name: str
    stage: str
    link: str = ""
    status: str
    attempts: tuple[Attempt, ...]
    wait: Wait | None = None
    waited_for: str = ""
    is_critical: bool = False


def timeline_svg(bars: Sequence[Bar], total: float, *, most_rows: int) -> str:
    """`total` are the seconds of the whole run. Above `most_rows` tools there is a row for each stage."""
    ran = sorted((bar for bar in bars if bar.attempts), key=lambda bar: bar.attempts[0].start)
    if not ran:
        return ""
    total = max(total, *(bar.attempts[-1].end for bar in ran), 0.001)
    scale = WIDTH / total
    workers = sorted({one.worker for bar in ran for one in bar.attempts})
    out = []
    y = HEAD
    for worker in workers:
        out.append(_label(f"worker {worker}", y, LANE))
        out += [
            _block(bar, one, y, scale)
            for bar in ran
            for one in bar.attempts
            if one.worker == worker
        ]
        y += LANE
    y += 10
    if len(ran) > most_rows:
        for stage, group in _by_stage(ran).items():
            row = _label(stage, y, ROW) + _stage_bar(stage, group, y, scale)
            out.append(f'<a href="{group[0].link}">{row}</a>' if group[0].link else row)
            y += ROW
    else:
        for bar in ran:
            out.append(_row(bar, y, scale, has_workers=len(workers) > 1))
            y += ROW
    height, width = y + 8, LABEL + WIDTH + SIDE
    has_links = len(ran) > most_rows and any(bar.link for bar in ran)
    role = 'group" aria-label="Timeline' if has_links else "img"
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


def _row(bar: Bar, y: float, scale: float, *, has_workers: bool) -> str:
    first = bar.attempts[0]
    parts = [f'<g data-t="{bar.number}">', _label(bar.name, y, ROW)]
    if bar.wait and first.start - bar.wait.ready > 0.001:
        left, right = LABEL + bar.wait.ready * scale, LABEL + first.start * scale
        parts.append(
            f'<path class="wait" d="M{number(left)} {number(y + ROW / 2)}H{number(right)}"/>'
        )
    parts += [_block(bar, one, y, scale, is_alone=False) for one in bar.attempts]
    seconds = sum(one.end - one.start for one in bar.attempts)
    text = duration(seconds) + (f" · worker {bar.attempts[-1].worker}" if has_workers else "")
    x = LABEL + bar.attempts[-1].end * scale + 5
    parts.append(f'<text class="time" x="{number(x)}" y="{number(y + ROW / 2 + 4)}">{text}</text>')
    return "".join([*parts, "</g>"])


def _block(bar: Bar, one: Attempt, y: float, scale: float, *, is_alone: bool = True) -> str:
    width = max((one.end - one.start) * scale, 1.5)
    status = clean_word(one.status or "unknown")
    critical = " critical" if bar.is_critical else ""
    tool = f' data-t="{bar.number}"' if is_alone else ""
    waited = f", waited for {escape(bar.waited_for)}" if bar.waited_for else ""
    tip = (
        f"{escape(bar.name[:200])}: {duration(one.end - one.start)}, {escape(one.status or 'no end')}"
        f"\nfrom {one.start:.2f} s on worker {one.worker}{waited}"
    )
    return (
        f'<rect class="bar s-{status}{critical}"{tool} x="{number(LABEL + one.start * scale)}" '
        f'y="{number(y + 3)}" width="{number(width)}" height="{number(ROW - 6)}" rx="2"><title>{tip}</title></rect>'
    )


def _by_stage(bars: Sequence[Bar]) -> Mapping[str, list[Bar]]:
    found: dict[str, list[Bar]] = {}
    for bar in bars:
        found.setdefault(bar.stage, []).append(bar)
    return found


def _stage_bar(stage: str, bars: Sequence[Bar], y: float, scale: float) -> str:
    start = min(bar.attempts[0].start for bar in bars)
    end = max(bar.attempts[-1].end for bar in bars)
    failed = sum(1 for bar in bars if bar.status not in ("passed", "fresh"))
    status = "failed" if failed else "passed"
    tip = f"{escape(stage)}: {count(len(bars), 'tool')} in {duration(end - start)}"
    return (
        f'<rect class="bar s-{status}" x="{number(LABEL + start * scale)}" y="{number(y + 3)}" '
        f'width="{number(max((end - start) * scale, 1.5))}" height="{number(ROW - 6)}" rx="2">'
        f"<title>{tip}</title></rect>"
    )
