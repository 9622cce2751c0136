"""The events of a run as the lines that a person reads.

In: events, one after another. Out: the text to write for each; nothing is written here. Text of the
user's tools is cleaned on the way. What a terminal shows beyond lines (elapsed time) is `cli`'s matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from discover_orch.execution.events import (
    Event,
    Report,
    RunFinished,
    RunNote,
    RunStarted,
    Ticked,
    ToolFinished,
    ToolOutput,
    ToolStarted,
)
from discover_orch.model.errors import Failure
from discover_orch.planning.plan import Plan
from discover_orch.render.problems import problem_text
from discover_orch.render.style import Style, clean, count, duration, one_line

Output = Literal["live", "fail", "none", "raw"]
#: Characters of an exception's message in the short summary, which is one line a tool.
LONGEST_SUMMARY = 200


class RunHeader(Struct, frozen=True, kw_only=True):
    """What stands above a run: where it happens and with which database."""

    version: str
    root: str
    config: str | None
    tools: int
    stages: int
    database: str
    database_origin: str


class RunRenderer:
    """Turns events into text; remembers only what it needs for the next line."""

    def __init__(
        self,
        plan: Plan,
        style: Style,
        *,
        heading: RunHeader | None,
        output: Output = "live",
        quiet: bool = False,
        verbose: bool = False,
        again: str = "",
        reason: str = "",
        expected: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Without a `heading` there is none; `reason` is why this runs, told at its end. `again` is the
        command that goes on where a tool did not pass. `expected` gives the seconds that tools took before; it is
        asked once, when somebody has waited for a moment."""
        self._expected = expected
        self._seconds: Mapping[str, float] | None = None
        self._intro = plan.intro
        self._reason = reason
        self._steps = {step.tool.module: step for step in plan.steps}
        self._number = {step.tool.module: n for n, step in enumerate(plan.steps, start=1)}
        self._style, self._heading, self._output = style, heading, output
        self._quiet, self._verbose, self._again = quiet, verbose, again
        self._kept: list[str] = []

    def text(self, event: Event, report: Report) -> str:
        match event:
            case RunStarted():
                heading = None if self._quiet else self._heading
                return "" if heading is None else self._header(event, heading)
            case ToolStarted(module=module):
                self._kept = []
                return "" if self._quiet else self._begin(module)
            case ToolOutput():
                return self._printed(event)
            case ToolFinished():
                return self._end(event)
            case RunFinished():
                return self._summary(report)
            case _:
                return ""

    def notice(self, event: RunNote, style: Style) -> str:
        """What is no tool's end: for stderr, which may look different."""
        text = problem_text(event.problem, style) + "\n"
        if event.traceback:
            lines = clean(event.traceback, style).rstrip("\n").split("\n")
            text += "".join(f"  {line}\n" if line else "\n" for line in lines)
        return text

    def status(self, event: Ticked, report: Report) -> str:
        """The line of the moment on a terminal."""
        if event.module is None:
            text = f"closing {duration(event.seconds)}"
        else:
            text = f"{self._steps[event.module].tool.name} {duration(event.seconds)}"
        if event.is_ending:
            return f"    {text}, interrupted: waiting for its end (Ctrl-C again kills it)"
        ended = {one.module for one in report.finished}
        waiting = [one for one in self._steps if one not in ended and one != event.module]
        if event.module is not None and waiting:
            text += f", {len(waiting):,} to go"
        return f"    {text}{self._time_left(event, waiting)}"

    def _time_left(self, event: Ticked, waiting: Sequence[str]) -> str:
        """As past runs predict it; nothing where one of the tools never passed."""
        if self._seconds is None:
            self._seconds = self._expected()
        running = () if event.module is None else (event.module,)
        if not running or any(one not in self._seconds for one in (*running, *waiting)):
            return ""
        left = sum(self._seconds[one] for one in waiting)
        left += max(0.0, self._seconds[running[0]] - event.seconds)
        whole = round(left)
        shown = f"{whole} s" if whole < 60 else duration(whole)
        return f", about {shown} left" if whole else ""

    def _header(self, event: RunStarted, heading: RunHeader) -> str:
        style = self._style
        config = heading.config or "no configuration"
        dot = style.mark("·", "-")
        lines = [
            style.paint(f"orch {heading.version}", "bold")
            + f" {dot} {one_line(heading.root)} {dot} {config} {dot} "
            + f"{count(heading.tools, 'tool')} in {count(heading.stages, 'stage')}",
            f"database {one_line(heading.database)} {style.paint(f'({heading.database_origin})', 'dim')}",
        ]
        if self._intro:
            lines.append(one_line(self._intro))
        names = [one_line(step.tool.name) for step in self._steps.values()]
        shown = names if len(names) <= 20 else [*names[:20], f"and {len(names) - 20:,} more"]
        lines.append(f"running {count(len(names), 'tool')}: {', '.join(shown)}")
        return "\n".join(lines) + "\n"

    def _begin(self, module: str) -> str:
        step, style = self._steps[module], self._style
        number = style.paint(f"[{self._number[module]}/{len(self._steps)}]", "dim")
        name = style.paint(one_line(step.tool.name), "bold")
        line = f"{number} {style.paint(one_line(step.stage), 'cyan')} {style.mark('›', '>')} {name}"
        if self._verbose:
            values = [f"{one_line(b.param.name)}={one_line(b.shown)}" for b in step.arguments]
            line += style.paint(f"  {one_line(step.reason)}  {' '.join(values)}".rstrip(), "dim")
        return line + "\n"

    def _printed(self, event: ToolOutput) -> str:
        """Lines under their tool; a line drawn over and over shows what it came to."""
        lines = event.text.split("\n")
        tail = lines.pop()
        if tail:
            lines.append(tail)
        shown = [clean(_last_drawn(line), self._style) for line in lines]
        text = "".join(f"    {line}\n" if line else "\n" for line in shown)
        if self._output == "live" and not self._quiet:
            return text
        if self._output == "fail" or self._quiet:
            self._kept.append(text)
        return ""

    def _end(self, event: ToolFinished) -> str:
        if event.status in ("blocked", "not_run", "fresh"):
            return ""
        style, name = self._style, one_line(self._steps[event.module].tool.name)
        mark, kind, word = {
            "passed": (style.mark("✓", "ok"), "green", ""),
            "failed": (style.mark("✗", "FAILED"), "error", ""),
        }.get(event.status, (style.mark("■", "-"), "yellow", event.status))
        facts = [f"{one_line(key)}={one_line(str(value))}" for key, value in event.metrics.items()]
        line = f"    {style.paint(mark, kind)} {duration(event.duration)}  {'  '.join(facts)}{word}"
        text = line.rstrip() + "\n"
        notes = list(event.notes) if self._verbose or event.status == "failed" else []
        if event.status == "interrupted" and event.error and event.error.kind == "crash":
            notes.append(event.error.message)
        text += "".join(f"      {one_line(note)}\n" for note in notes)
        if event.status != "failed":
            return "" if self._quiet else text
        printed = "".join(self._kept) if self._output != "none" else ""
        if self._quiet:
            text = f"{style.paint('failed', 'error')} {name}\n"
        return text + printed + (self._failure(name, event.error) if event.error else "")

    def _failure(self, name: str, error: Failure) -> str:
        style = self._style
        rule = style.mark("─", "-") * max(4, style.width - len(name) - 6)
        body = clean(error.traceback or error.message).rstrip("\n")
        hint = f"\n{style.paint('hint:', 'cyan')} {one_line(error.hint)}" if error.hint else ""
        title = style.paint(f"{style.mark('──', '--')} {name} ", "error")
        return f"{title}{style.paint(rule, 'dim')}\n{body}{hint}\n"

    def _summary(self, report: Report) -> str:
        style = self._style
        lines = [self._failed_line(one) for one in report.failures]
        has_left = any(one.status not in ("passed", "fresh") for one in report.finished)
        if self._again and has_left:
            lines.append(f"  to go on: {one_line(self._again)}")
        parts = []
        kinds = {
            "passed": "green",
            "failed": "error",
            "interrupted": "yellow",
            "cancelled": "yellow",
        }
        for word in ("failed", "interrupted", "cancelled", "passed", "fresh", "blocked", "not_run"):
            number = report.counts.get(word, 0)
            if number:
                text = f"{number:,} {word.replace('_', ' ')}"
                parts.append(style.paint(text, kinds[word]) if word in kinds else text)
        status = report.status
        if status in ("interrupted", "cancelled") and status not in report.counts:
            word = "stopped" if status == "cancelled" else status  # no tool was
            parts.insert(0, style.paint(word, "yellow"))
        if report.errors:
            parts.insert(0, style.paint(count(report.errors, "error"), "error"))
        reason = style.paint(f"  ({one_line(self._reason)})", "dim") if self._reason else ""
        lines.append(f"{', '.join(parts)} in {duration(report.duration)}{reason}")
        return "\n".join(lines) + "\n"

    def _failed_line(self, one: ToolFinished) -> str:
        error = one.error
        tool = self._steps[one.module].tool
        place = f"{tool.path}:{tool.line}"
        if error and error.path:
            place = f"{error.path}:{error.line}" if error.line else error.path
        label = self._style.paint("FAILED", "error")
        if error is None:
            return f"{label} {one_line(tool.name)} {one_line(place)}"
        return f"{label} {one_line(tool.name)} {one_line(place)}  {_in_short(error)}"


def _in_short(error: Failure) -> str:
    """One line. The type is told of the user's exceptions; what orch found is a sentence by itself."""
    said = error.message.strip().split("\n")[0].rstrip("\r")
    if len(said) > LONGEST_SUMMARY:
        said = said[:LONGEST_SUMMARY] + "..."
    is_users = error.kind == "exception" and error.traceback
    if not said or (is_users and error.type):
        said = f"{error.type}: {said}" if said else error.type
    return one_line(said)


def _last_drawn(line: str) -> str:
    """What a line with carriage returns came to; one at its end belongs to the newline."""
    parts = [part for part in line.split("\r") if part]
    return parts[-1] if parts else ""
