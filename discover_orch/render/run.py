"""The events of a run as text. `RunRenderer` yields the text for each event; `cli` writes it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from discover_orch import __version__
from discover_orch.execution.run_events import (
    FAILED,
    Event,
    Report,
    RunStarted,
    StepsAdded,
    ToolRetried,
)
from discover_orch.model.checks import checks_text
from discover_orch.model.errors import Failure
from discover_orch.model.items import item_text, tool_of
from discover_orch.model.tool_events import (
    RunFinished,
    RunNote,
    ToolFinished,
    ToolOutput,
    ToolProgress,
    ToolStarted,
)
from discover_orch.planning.plan import Plan, Step
from discover_orch.planning.project_view import ProjectView
from discover_orch.render.plan import find_shown_database
from discover_orch.render.problems import (
    LONGEST_REASON,
    failure_line,
    failure_reason,
    hint_text,
    problem_text,
)
from discover_orch.render.progress import RunProgress, find_items, step_names
from discover_orch.render.style import (
    Style,
    clean,
    count,
    counts_text,
    cut,
    duration,
    names_text,
    pairs_text,
    shown,
    wrap,
    wrap_prose,
)
from discover_orch.state.journal import UNRECORDED

Output = Literal["live", "fail", "none", "raw"]
#: Tools that are named in the header.
MOST_NAMED = 20
#: Blocked tools that are named in the summary, for each failed tool.
MOST_BLOCKED = 8
#: Columns behind name and place of a failed tool; where there are fewer, the exception has a line of its own.
LEAST_ROOM = 20
#: Characters of what a tool prints that are kept until it ends. Of longer output the log has all.
LONGEST_KEPT = 1 << 20


class DisplayOptions(Struct, frozen=True, kw_only=True):
    """How a run or a watch is shown, as the command line says. `clears` is for a watch on a terminal."""

    output: Output = "live"
    quiet: bool = False
    verbose: bool = False
    as_json: bool = False
    clears: bool = False


class Resume(Struct, frozen=True, kw_only=True):
    """How a run can be resumed: a command to paste, and what must be given again, as secrets are not stored."""

    command: str
    again: str = ""


def run_heading(view: ProjectView, style: Style, executor: str = "") -> list[str]:
    """What is shown above a run: the project and the database. `executor` is empty for this machine."""
    registry, project = view.registry, view.project
    stages = sum(bool(stage.tools) for stage in registry.stages)
    title = (
        style.paint(f"orch {__version__}", "bold"),
        *shown((project.root, project.config or "no configuration")),
        f"{count(len(registry.by_tool.tools), 'tool')} in {count(stages, 'stage')}",
    )
    database, origin, executor = shown((*find_shown_database(registry, project), executor))
    lines = [
        style.mark(" · ", " - ").join(title),
        f"database {database} {style.paint(f'({origin})', 'dim')}",
    ]
    return [*lines, f"executor {executor}"] if executor else lines


class KeptOutput:
    """The last of what one attempt of a tool has printed."""

    def __init__(self) -> None:
        self.texts: deque[str] = deque()
        self.is_cut = False
        self._size = 0

    def add(self, text: str) -> None:
        self._size += len(text)
        self.texts.append(text)
        while self._size > LONGEST_KEPT and len(self.texts) > 1:
            self._size -= len(self.texts.popleft())
            self.is_cut = True


class RunRenderer:
    """Turns the events of one run into text."""

    def __init__(
        self,
        plan: Plan,
        style: Style,
        options: DisplayOptions,
        *,
        heading: Sequence[str] | None,
        resume: Resume | None = None,
        reason: str = "",
    ) -> None:
        """`resume` is shown if a tool does not pass, and `reason`, why this runs, in the summary. `progress` makes the
        status line."""
        self._is_parallel = False  # then what a tool prints is shown as one block when it ends
        self._intro = shown(plan.intro)
        self._style, self._shown, self._heading = style, options, heading
        self._resume, self._reason = shown(resume), reason
        self._ended = 0  # the tools whose end was shown
        self._kept: dict[str, KeptOutput] = {}  # what tools printed, to be shown when they end
        self._read_plan(plan)
        self._ends: dict[str, list[ToolFinished]] = {}  # of the items of each tool
        self._failed_as: dict[tuple[str, str], str] = {}  # by tool and error, the first item
        self.progress = RunProgress(plan, style)

    def _read_plan(self, plan: Plan) -> None:
        self._steps = {step.tool.module: step for step in plan.possible_steps}
        self._names = {module: shown(step.tool.name) for module, step in self._steps.items()}
        self._planned = frozenset(step.tool.module for step in plan.steps)
        self._number = {step.tool.module: n for n, step in enumerate(plan.steps, start=1)}
        # On a terminal the items of a tool are one line, but for those that fail or print something.
        is_folding = self._style.is_terminal and not self._shown.verbose
        self._items = find_items(plan) if is_folding else {}

    def texts(self, event: Event, report: Report) -> Iterator[str]:
        """The text for an event, in pieces: what a tool has printed may be long."""
        match event:
            case RunStarted(workers=workers):
                self._is_parallel = self.progress.has_board = workers > 1
                if self._heading is not None and not self._shown.quiet:
                    yield self._header(event, self._heading)
            case StepsAdded(plan=plan):
                self._read_plan(plan)
                self.progress.read_plan(plan)
                yield "" if self._shown.quiet else self._added(event)
            case ToolStarted(module=module):
                self._kept[module] = KeptOutput()
                is_later = self._is_parallel or tool_of(module) in self._items
                yield "" if self._shown.quiet or is_later else self._begin(module)
            case ToolOutput():
                yield self._printed(event)
            case ToolFinished():
                yield from self._finished(event)
            case ToolRetried(end=end):
                yield from self._block(end.module)
                yield self._retry(event)
            case RunFinished():
                self.progress.end()
                yield self._summary(report)
            case _:
                pass

    def notice(self, event: RunNote, style: Style) -> str:
        """A problem of the run itself, for stderr, whose `style` may differ."""
        if event.problem.code == UNRECORDED:
            self._resume = None  # there is no recorded plan
        text = problem_text(event.problem, style) + "\n"
        if event.traceback:
            lines = clean(event.traceback, style).rstrip("\n").split("\n")
            text += "".join(f"  {line}\n" if line else "\n" for line in lines)
        return text

    def note_progress(self, event: ToolProgress) -> None:
        """`event` is shown in the status line from now on."""
        if self._is_live:
            self.progress.note_redrawn(event.module, event.text)

    def _header(self, event: RunStarted, heading: Sequence[str]) -> str:
        style = self._style
        lines = [*heading, self._intro] if self._intro else heading
        names = step_names([one for key, one in self._steps.items() if key in self._planned])
        workers = f" with {event.workers} workers" if event.workers > 1 else ""
        named = names_text(names, MOST_NAMED)
        running = f"running {count(len(names), 'tool')}{workers}: {named}"
        above = [wrap_prose(line, style, "  ") for line in lines]
        return "\n".join((*above, wrap(running, style, "  "))) + "\n"

    def _added(self, event: StepsAdded) -> str:
        title = "new item" if len(event.steps) == 1 else "new items"
        names = names_text(step_names(event.steps), MOST_NAMED)
        return wrap(f"{title}: {names}", self._style, "  ") + "\n"

    def _begin(self, module: str) -> str:
        step, style = self._steps[module], self._style
        # Tools that run side by side are shown when they end, so they are counted in that order.
        own = self._number.setdefault(module, len(self._number) + 1)
        place = self._ended + 1 if self._is_parallel else own
        number = style.paint(f"[{place}/{len(self._number)}]", "dim")
        name, stage = style.paint(step.tool.name, "bold"), style.paint(step.stage, "cyan")
        line = f"{number} {stage} {style.mark('›', '>')} {name}"
        if self._shown.verbose:
            values = [f"{one.param.name}={one.shown}" for one in step.arguments]
            line += style.paint(f"  {step.reason}  {' '.join(values)}".rstrip(), "dim")
        return wrap_prose(line, style, "      ") + "\n"

    def _printed(self, event: ToolOutput) -> str:
        """The lines of a tool, indented; of a line that was overwritten by `\\r`, its last state."""
        module, text = event.module, event.text
        is_folded = tool_of(module) in self._items
        if self._is_live and not (self._is_parallel or is_folded):
            return self._indented(text)
        if self._is_live:
            self.progress.note_lines(module, text.split("\n"))
        if self._shown.output == "fail" or (
            self._shown.output == "live" and (self._is_parallel or is_folded or self._shown.quiet)
        ):
            self._kept.setdefault(module, KeptOutput()).add(text)
        return ""

    def _indented(self, text: str) -> str:
        lines = text.removesuffix("\n").split("\n") if text else []
        cleaned = [clean(line, self._style) for line in lines]
        return "".join(f"    {line}\n" if line else "\n" for line in cleaned)

    def _output(self, module: str) -> Iterator[str]:
        """What the tool printed in this attempt. Nothing where it was shown already."""
        kept = self._kept.get(module)
        if kept is None:
            return
        self._kept[module] = KeptOutput()
        if kept.is_cut:
            name = self._names[module]
            yield f"    {self._style.mark('…', '...')} (orch logs {name} shows all of it)\n"
        yield from map(self._indented, kept.texts)

    @property
    def _is_live(self) -> bool:
        return self._shown.output == "live" and not self._shown.quiet

    def _block(self, module: str) -> Iterator[str]:
        """The first line of a tool that ran beside others, and what it printed."""
        is_folded = tool_of(module) in self._items
        if not (self._is_parallel or is_folded) or self._shown.quiet or module not in self._kept:
            return
        yield self._begin(module)
        if self._shown.output == "live":
            yield from self._output(module)

    def _finished(self, event: ToolFinished) -> Iterator[str]:
        if event.status in FAILED and not self._shown.quiet and event.module not in self._kept:
            yield self._begin(event.module)  # it failed before it started
        self.progress.end_tool(event.module)
        if tool_of(event.module) in self._items and not self._shown.quiet:
            yield from self._folded(event)
            return
        yield from self._block(event.module)
        if event.status == "fresh" and event.module in self._planned:
            yield self._fresh(event.module)
            self._ended += 1
        if event.status not in ("blocked", "not_run", "fresh"):
            yield from self._end(event)
            self._ended += 1
        self._kept.pop(event.module, None)

    def _folded(self, event: ToolFinished) -> Iterator[str]:
        """Of an item what it printed, or that it failed; behind the last item of the tool a line for all."""
        module, tool = event.module, tool_of(event.module)
        kept = self._kept.get(module)
        if event.status not in ("blocked", "not_run", "fresh"):
            self._ended += 1
            if event.status in FAILED or (kept is not None and kept.texts):
                yield from self._block(module)
                yield from self._end(event)
        self._kept.pop(module, None)
        if module in self._planned:
            ends = self._ends.setdefault(tool, [])
            ends.append(event)
            if len(ends) == self._items[tool].count:
                yield self._all_items(tool, ends)

    def _all_items(self, tool: str, ends: Sequence[ToolFinished]) -> str:
        style, items = self._style, self._items[tool]
        counts = Counter[str](one.status for one in ends)
        if not counts["passed"] + counts["done"]:
            return ""  # each that has failed was shown
        step = self._steps[ends[0].module]
        number = style.paint(f"[{self._ended}/{len(self._number)}]", "dim")
        stage, name = style.paint(step.stage, "cyan"), style.paint(items.name, "bold")
        mark, kind = (style.mark("✓", "ok"), "green")
        if any(counts[status] for status in FAILED):
            mark, kind = (style.mark("✗", "FAILED"), "error")
        elif counts["interrupted"] + counts["cancelled"] + counts["not_run"]:
            mark, kind = (style.mark("■", "-"), "yellow")
        spent = duration(sum(one.duration for one in ends))
        facts = counts_text(counts, style) if len(counts) > 1 else items.counted
        first = f"{number} {stage} {style.mark('›', '>')} {name}"
        return f"{first}\n    {style.paint(mark, kind)} {spent}  {facts}\n"

    def _fresh(self, module: str) -> str:
        """The tool was stale when the run was planned."""
        if self._shown.quiet:
            return ""
        mark = self._style.paint(self._style.mark("=", "="), "dim")
        return f"{self._begin(module)}    {mark} fresh: nothing that it uses has changed\n"

    def _end(self, event: ToolFinished) -> Iterator[str]:
        style, name = self._style, self._names[event.module]
        mark, kind, word = {
            "passed": (style.mark("✓", "ok"), "green", ""),
            "done": (style.mark("✓", "ok"), "green", "done"),
            "failed": (style.mark("✗", "FAILED"), "error", ""),
            "unknown": (style.mark("✗", "UNKNOWN"), "error", "unknown"),
        }.get(event.status, (style.mark("■", "-"), "yellow", event.status))
        checks = count(len(event.checks), "check") if event.checks and kind == "green" else ""
        facts = "  ".join(one for one in (pairs_text(event.metrics), checks, word) if one)
        line = f"    {style.paint(mark, kind)} {duration(event.duration)}  {facts}"
        text = wrap(line.rstrip(), style, "      ") + "\n"
        notes = list(event.notes) if self._shown.verbose or event.status in FAILED else []
        if event.status == "interrupted" and event.error and event.error.kind == "crash":
            notes.append(event.error.message)
        text += "".join(wrap(f"      {note}", style, "      ") + "\n" for note in shown(notes))
        if event.status not in FAILED:
            warned = "" if self._shown.quiet else self._indented(self._checks(event))
            yield "" if self._shown.quiet else text + warned
            return
        yield f"{style.paint('failed', 'error')} {name}\n" if self._shown.quiet else text
        yield from self._output(event.module)
        if (error := event.error) is not None:
            is_check = error.kind == "check"
            error = replace(error, traceback=self._checks(event)) if is_check else error
            same = (tool_of(event.module), error.traceback or error.message)
            first = self._failed_as.setdefault(same, event.module)
            is_again = bool(item_text(event.module)) and first != event.module
            again = "" if self._shown.quiet else f"      failed as {self._names[first]} did\n"
            yield again if is_again else self._failure(name, error)

    def _checks(self, event: ToolFinished) -> str:
        """What is known of its checks that did not pass."""
        return checks_text(event.checks, self._style.width - 4) if event.checks else ""

    def _retry(self, event: ToolRetried) -> str:
        style, end = self._style, event.end
        self.progress.end_tool(end.module)
        tool = self._steps[end.module].tool
        error = end.error
        mark = style.paint(style.mark("↻", "RETRY"), "yellow")
        next_one = f"attempt {end.attempt + 1} of {tool.retries + 1} in {duration(event.delay)}"
        line = f"    {mark} {duration(end.duration)}  {next_one}"
        if self._shown.quiet:
            line = f"retrying {self._names[end.module]}: {next_one}"
        if error is None:
            return f"{line}\n"
        return f"{line}\n      {cut(failure_line(error), style.width - 6, style)}\n"

    def _failure(self, name: str, error: Failure) -> str:
        style = self._style
        rule = style.mark("─", "-") * max(4, style.width - len(name) - 6)
        lines = clean(error.traceback or error.message).rstrip("\n").split("\n")
        body = "\n".join(  # what is indented is the user's code
            line if line.startswith(" ") else wrap_prose(line, style, "    ") for line in lines
        )
        hint = f"\n{hint_text(error.hint, style)}" if error.hint else ""
        title = style.paint(f"{style.mark('──', '--')} {name} ", "error")
        return f"{title}{style.paint(rule, 'dim')}\n{body}{hint}\n"

    def _summary(self, report: Report) -> str:
        style = self._style
        lines = [*self._failed_lines(report.failures)]
        lines += self._blocked_lines(report)
        withdrawn = ("not_run",) if report.status == "passed" else ()
        is_over = ("passed", "fresh", *withdrawn)
        has_left = any(one.status not in is_over for one in report.finished)
        if self._resume is not None and has_left:
            resume = [f"  resume with: {self._resume.command}"]
            resume += [f"    {self._resume.again}"] if self._resume.again else []
            lines += [wrap_prose(line, style, "    ") for line in resume]
        parts = [counts_text(report.counts, style)] if any(report.counts.values()) else []
        if warned := sum(one.status == "warned" for end in report.finished for one in end.checks):
            parts.append(style.paint(f"{count(warned, 'check')} warned", "yellow"))
        if report.status == "interrupted" and report.status not in report.counts:
            parts.insert(0, style.paint(report.status, "yellow"))  # between two tools
        if report.errors:
            parts.insert(0, style.paint(count(report.errors, "error"), "error"))
        reason = style.paint(f"  ({self._reason})" if self._reason else "", "dim")
        line = f"{', '.join(parts)} in {duration(report.duration)}{reason}"
        if report.status == "cancelled":  # the reason why it ran is of no more interest
            cancelled = style.paint(f"run cancelled after {duration(report.duration)}", "yellow")
            line = f"{cancelled}: {', '.join(parts)}"
        lines.append(wrap_prose(line, style, "  "))
        return "\n".join(lines) + "\n"

    def _blocked_lines(self, report: Report) -> list[str]:
        """For each failed tool, the tools that did not run because of it, and why where that is a guess."""
        blocked: dict[tuple[str, tuple[str, ...]], list[Step]] = {}
        for one in report.finished:
            if one.blocked_by:
                step = self._steps[one.module]
                blocked.setdefault((one.blocked_by, shown(one.notes)), []).append(step)
        lines = []
        for (by, notes), steps in blocked.items():
            name = self._names[by]
            why = f" ({'; '.join(notes)})" if notes else ""
            line = f"  blocked by {name}: {names_text(step_names(steps), MOST_BLOCKED)}{why}"
            lines.append(wrap(line, self._style, "    "))
        return lines

    def _failed_lines(self, failures: Iterable[ToolFinished]) -> Iterator[str]:
        """A line for each failure. Where items of a tool failed in the same way: for the first, and how many more."""
        alike: dict[tuple[str, ...], list[ToolFinished]] = {}
        for one in failures:
            error = one.error
            said = (
                (str(error.path), str(error.line), failure_reason(error)) if error else ("", "", "")
            )
            own = tool_of(one.module) if item_text(one.module) else one.module
            alike.setdefault((own, one.status, *said), []).append(one)
        for first, *others in alike.values():
            yield self._failed_line(first)
            if others:
                name = self._names[first.module].partition(" ")[0]
                yield f"  and {count(len(others), 'more item')} of {name} failed in the same way"

    def _failed_line(self, one: ToolFinished) -> str:
        """`FAILED tool path:line  ValueError: ...`, cut to the width of the screen: the whole message is above it. In
        a file or pipe, as in the log of a CI system, the line may be longer."""
        error, style = one.error, self._style
        tool = self._steps[one.module].tool
        place = f"{tool.path}:{tool.line}"
        if error and error.path:
            place = f"{error.path}:{error.line}" if error.line else error.path
        word = "UNKNOWN" if one.status == "unknown" else "FAILED"
        about = f"{self._names[one.module]} {shown(place)}"
        line = f"{style.paint(word, 'error')} {about}"
        if error is None:
            return line
        text = failure_reason(error)
        if not style.is_terminal:
            return f"{line}  {cut(text, LONGEST_REASON, style)}"
        room = style.width - len(f"{word} {about}  ")
        if room < LEAST_ROOM:
            return f"{wrap(line, style, '  ')}\n  {cut(text, style.width - 2, style)}"
        return f"{line}  {cut(text, room, style)}"
