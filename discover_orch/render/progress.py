"""How far a run is, for the bottom of a terminal: a status line, or with several workers a board. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.execution.run_events import Report, Running, Ticked
from discover_orch.model.items import noun_of, tool_of
from discover_orch.planning.plan import Plan, Step
from discover_orch.render.style import Style, cut_name, duration, one_line

#: The columns of a bar.
BAR = 20


class ItemsOfTool(Struct, frozen=True):
    """How many items of a tool a plan has, and what they are called: `60 days`."""

    name: str
    count: int
    noun: str

    @property
    def counted(self) -> str:
        return f"{self.count:,} {self.noun}"


def find_items(plan: Plan) -> dict[str, ItemsOfTool]:
    """The tools of the plan with more than one item, by module."""
    found: dict[str, list[Step]] = {}
    for step in plan.steps:
        if step.tool.item.values:
            found.setdefault(step.tool.source_module, []).append(step)
    return {module: _count_items(steps) for module, steps in found.items() if len(steps) > 1}


def _count_items(steps: Sequence[Step]) -> ItemsOfTool:
    tool = steps[0].tool
    name = tool.name.removesuffix(f" {tool.item.text}")
    return ItemsOfTool(name, len(steps), noun_of(tuple(tool.item.values), len(steps)))


def step_names(steps: Iterable[Step]) -> list[str]:
    """The names of the tools, with several items of one tool as `clean (60 days)`, or as `clean (about 60 days)` where
    files of some are not there yet."""
    found = []
    for _, group in groupby(steps, key=lambda one: one.tool.source_module):
        first, *more = group
        found.append(first.tool.name)
        if more:
            items = _count_items([first, *more])
            about = "about " if any(one.tool.item.is_expected for one in (first, *more)) else ""
            found[-1] = f"{items.name} ({about}{items.counted})"
    return found


class RunProgress:
    """What the tools of one run are doing. With `has_board` there is a line for each running tool."""

    def __init__(self, plan: Plan, style: Style) -> None:
        self.has_board = False
        self._style = style
        self.read_plan(plan)
        self._ticked: Ticked | None = None
        self._redrawn: dict[str, str] = {}  # the lines that tools redraw, by module
        self._last: dict[str, str] = {}  # the last line that tools printed

    def read_plan(self, plan: Plan) -> None:
        """This is the plan from now on."""
        self._names = {step.tool.module: one_line(step.tool.name) for step in plan.possible_steps}
        self._planned = frozenset(step.tool.module for step in plan.steps)
        self._rank = {module: rank for rank, module in enumerate(self._names)}
        self._items = find_items(plan)

    def note_redrawn(self, module: str, text: str) -> None:
        self._redrawn[module] = text

    def note_lines(self, module: str, lines: Sequence[str]) -> None:
        said = [line for line in lines if line.strip()]
        if said:
            self._last[module] = one_line(said[-1]).strip()

    def end_tool(self, module: str) -> None:
        self._redrawn.pop(module, None)
        self._last.pop(module, None)

    def end(self) -> None:
        """The run has ended: nothing is shown any more."""
        self._ticked = None

    def text(self, event: Ticked, report: Report) -> str:
        """The status line: the line that the tool redraws, the running tool, its time, and what is left. With several
        workers it is a board with a line for each running tool."""
        self._ticked = event
        if not event.running:
            return f"    closing resources {duration(event.closing)}"
        if self.has_board:
            return self._board(event, report)
        one = event.running[0]
        text = f"{self._names[one.module]} {duration(one.seconds)}{_expected_text(one)}"
        if event.is_ending:
            return f"    {text}, interrupted, waiting for it to end (Ctrl-C again kills it)"
        ended = self._ended(report)
        items = self._items.get(tool_of(one.module))
        if items is not None:
            text = f"{text}  {self._bar(tool_of(one.module), report)}"
        else:
            waiting = len(self._planned) - len(ended) - 1
            text += f", {waiting:,} left to run" if waiting > 0 else ""
        text += time_left_text(event.left)
        line = one_line(self._redrawn.get(one.module, ""))
        if not line:
            return f"    {text}"
        both = f"    {line}  ({text})"
        return both if len(both) < self._style.width else f"    {self._cut(line, 4)}"

    def text_again(self, report: Report) -> str:
        """What stays below what was just printed; empty if there is nothing."""
        event = self._ticked
        if event is None:
            return ""
        ended = self._ended(report)
        running = tuple(one for one in event.running if one.module not in ended)
        has_line = self.has_board or any(self._redrawn.values())
        return self.text(replace(event, running=running), report) if running and has_line else ""

    def _ended(self, report: Report) -> set[str]:
        return {one.module for one in report.finished if one.module in self._planned}

    def _board(self, event: Ticked, report: Report) -> str:
        """A bar for each tool whose items run, and a line for each running step, in the order of the plan: its name,
        its time, and its progress bar or what it printed last. Below them, how far the run is."""
        running = sorted(event.running, key=lambda one: self._rank[one.module])
        names = [self._names[one.module] for one in running]
        times = [f"{brief_duration(one.seconds)}{_expected_text(one)}" for one in running]
        width = min(max(map(len, names)), self._style.width // 3)
        time_width = max(map(len, times))
        lines = [
            f"    {items.name}  {self._bar(module, report)}"
            for module, items in self._items.items()
            if any(tool_of(one.module) == module for one in running)
        ]
        for one, name, time in zip(running, names, times, strict=True):
            begin = f"    {cut_name(name, width, self._style):<{width}}  {time:<{time_width}}  "
            line = one_line(self._redrawn.get(one.module, ""))
            said = self._cut(line, len(begin)) if line else self._last.get(one.module, "")
            lines.append((begin + said).rstrip())
        ended, failed = len(self._ended(report)), len(report.failures)
        blocked = report.counts.get("blocked", 0)
        text = f"{ended - blocked:,} of {len(self._planned):,} done"
        if failed:
            text += f", {failed:,} failed"
        if blocked:
            text += f", {blocked:,} blocked"
        if event.is_ending:
            text += ", interrupted, waiting for the running tools to end (Ctrl-C again kills them)"
        else:
            text += time_left_text(event.left)
        return "\n".join((*lines, f"    {text}"))

    def _bar(self, module: str, report: Report) -> str:
        """Of a tool with items: how many of them are done."""
        items = self._items[module]
        ended = sum(tool_of(one) == module for one in self._ended(report))
        failed = sum(tool_of(one.module) == module for one in report.failures)
        text = f"{bar_text(ended, items.count, self._style)} {ended:,} of {items.counted}"
        return f"{text}, {failed:,} failed" if failed else text

    def _cut(self, line: str, before: int) -> str:
        """A line behind `before` columns. One that does not fit is cut in its middle, where it has a bar."""
        return cut_name(line, max(self._style.width - before - 1, 1), self._style)


def _expected_text(one: Running) -> str:
    """` of about 30 s`; empty if it is not known, or too short to be of interest."""
    if one.expected is None or one.expected < 1:
        return ""
    return f" of about {brief_duration(one.expected)}"


def bar_text(done: int, total: int, style: Style) -> str:
    full = done * BAR // max(total, 1)
    return style.mark("█", "#") * full + style.mark("░", ".") * (BAR - full)


def time_left_text(seconds: float | None) -> str:
    """`, about 2 min left`; empty if that is not known or nothing."""
    if seconds is None or seconds < 0.5:
        return ""
    return f", about {brief_duration(seconds)} left"


def brief_duration(seconds: float) -> str:
    """`12 s`, `3 min`, `2 h 03 min`: as exact as an estimate is."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{round(seconds / 60)} min" if whole < 7200 else duration(seconds)
