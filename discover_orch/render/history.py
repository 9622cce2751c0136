"""Recorded runs as text and as JSON: many runs, one run, what changed between two, and the log of a tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from discover_orch.model.conventions import ALL_STAGES
from discover_orch.model.documents import RecordedOutcome, Run, ToolRun, Value, copied
from discover_orch.model.table_keys import shown_table
from discover_orch.render.problems import failure_line
from discover_orch.render.style import (
    Style,
    arrow,
    clean,
    column,
    column_width,
    count,
    counts_text,
    cut_name,
    duration,
    indent,
    names_text,
    one_line,
    paint_status,
    pairs_text,
    status_word,
    time_text,
    value_text,
    wrap,
)
from discover_orch.state.recorded_run import RecordedParam, RunRecord, ToolRecord
from discover_orch.state.run_diff import InputChange, RunDiff, ToolChange, ValueChange

#: So many files of the code, and changes of what a tool used, are named.
MOST_INPUTS = 20
#: Columns that the table of runs keeps for targets.
_TARGETS_WIDTH = 12

_INPUT_NAMES = {
    "folder": "the list of files in {}",
    "glob": "the list of files that match {}",
    "python": "Python",
    "others": "one of many other inputs",
}


def build_run(record: RunRecord) -> Run:
    """The run as users get it."""
    return copied(
        Run,
        record,
        run=record.run or None,
        params=_build_values(record.params),
        tools=tuple(copied(RecordedOutcome, tool) for tool in record.tools),
    )


def _build_values(params: Mapping[str, RecordedParam]) -> dict[str, Value]:
    return {
        name: Value(value=one.texts if len(one.texts) > 1 else one.shown, origin=one.origin)
        for name, one in params.items()
    }


def runs_text(records: Sequence[RunRecord], style: Style, *, older: int = 0) -> str:
    """A table of runs; `older` is the number of runs that are not in it."""
    titles = ("run", "started", "status", "duration", "tools", "targets")
    rows = [titles, *([one_line(cell) for cell in _row(record)] for record in records)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    start = sum(widths[:4]) + 8  # of the column "tools"
    # A few long cells leave the titles on one line.
    room = style.width - start - 2 - min(widths[5], _TARGETS_WIDTH)
    widths[4] = max(len("tools"), min(widths[4], room))
    # What does not fit continues below the last column, or below "tools" if the last one is narrow.
    last = start + widths[4] + 2
    pad = " " * (last if last <= style.width - 20 else start)
    out = []
    for number, (run, started, status, took, tools, targets) in enumerate(rows):
        words = [cut_name(word, style.width - len(pad), style) for word in targets.split(" ")]
        head = f"{run:>{widths[0]}}  {started:<{widths[1]}}"
        how = f"{status:<{widths[2]}}"
        how = paint_status(records[number - 1].status, style, widths[2]) if number else how
        line = f"{head}  {how}  {took:<{widths[3]}}  {tools:<{widths[4]}}"
        if len(tools) > widths[4]:
            out.append(wrap(line, style, " " * start))
            line = pad
        else:
            line += "  "
        line = f"{line}{' '.join(words)}".rstrip()
        out.append(wrap(line if number else style.paint(line, "dim"), style, pad))
    if older:
        out.append(style.paint(f"and {count(older, 'older run')} (use --all to show all)", "dim"))
    return "\n".join(out) + "\n"


def run_text(record: RunRecord, style: Style) -> str:
    """Everything about one run."""
    took = "" if record.duration is None else f" in {duration(record.duration)}"
    watch = " (watch)" if record.kind == "watch" else ""
    status = paint_status(record.status, style)
    out = [
        f"{style.paint(f'run {one_line(record.run)}', 'bold')}{watch}: {status}{took}"
        f", started {time_text(record.started, has_seconds=True)}"
    ]
    facts = [("targets", _targets(record.targets)), ("tools", counts_text(record.counts, Style()))]
    if record.exit_code:
        facts.append(("exit code", str(record.exit_code)))
    if record.resumes:
        known = {one.module: one.name for one in record.plan}
        passed = ", ".join(one_line(known.get(one, one)) for one in record.passed_before)
        resumed = f"run {one_line(record.resumes)}"
        facts.append(("resumes", f"{resumed} (passed: {passed})" if passed else resumed))
    if record.database:
        origin = style.paint(record.database_origin, "dim")
        facts.append(("database", f"{one_line(record.database)}  {origin}"))
    out += [wrap(f"  {name:<9}  {text}", style, " " * 13) for name, text in facts]
    names = column_width((tool.name for tool in record.tools), style)
    statuses = column_width((status_word(tool.status) for tool in record.tools), style)
    for tool in record.tools:
        out += _tool_lines(tool, names, statuses, style)
    return "\n".join(out) + "\n"


def comparison_text(found: RunDiff, style: Style) -> str:
    """The two runs, the code and the tools that changed, then for each tool its times and what changed."""
    out = [
        wrap(
            f"{label} {one_line(run.run):<4} {time_text(run.started)}  {paint_status(run.status, style)}"
            + ("" if run.duration is None else f"  {duration(run.duration)}")
            + f"  {_targets(run.targets)}",
            style,
            " " * 14,
        )
        for label, run in (("from run", found.old), ("to run  ", found.new))
    ]
    if found.sources:
        files = names_text(found.sources, MOST_INPUTS)
        out.append(wrap(f"  changed code: {files}", style, " " * 4))
    out += [f"  {style.paint('+', 'green')} {one_line(name)}" for name in found.added]
    out += [f"  {style.paint('-', 'red')} {one_line(name)}" for name in found.removed]
    names = column_width((tool.name for tool in found.tools), style)
    for tool in found.tools:
        name = column(tool.name, names, style, "bold")
        old, new = (duration(one) for one in (tool.duration.old, tool.duration.new))
        times = f"{old or '-'} {arrow(style)} {new or '-'}"
        if not old and not new:
            times = status_word(tool.status.new) if tool.status.old == tool.status.new else ""
        out.append(f"    {name}  {times}".rstrip())
        pad = indent(names + 6, style)
        out += [wrap(pad + change, style, pad + "  ") for change in _changes(tool, style)]
    if not found.is_changed:
        out.append("only the times differ")
    return "\n".join(out) + "\n"


def log_heading(record: RunRecord, tool: ToolRecord) -> str:
    """The line above the output of a tool."""
    return (
        f"run {one_line(record.run)}, {time_text(record.started)}: "
        f"{one_line(tool.name)} {status_word(tool.status)}"
    )


def log_text(data: bytes, style: Style) -> str:
    """Whole lines as a run shows them: cleaned."""
    return clean(data.decode("utf-8", "surrogateescape"), style)


def _pick(value: object, *names: str) -> dict[str, object]:
    return {name: getattr(value, name) for name in names}


def _row(record: RunRecord) -> tuple[str, ...]:
    # Only values that were typed; the others are shown with a single run.
    given = [(name, one.shown) for name, one in record.params.items() if one.origin[:1] == "-"]
    words = [_targets(record.targets), *(f"{name}={shown}" for name, shown in given)]
    if record.resumes:
        words.append(f"(resumes {record.resumes})")
    if record.kind == "watch":
        words.append("(watch)")
    started, took = time_text(record.started), duration(record.duration)
    counts = counts_text(record.counts, Style())
    return record.run, started, record.status, took, counts, " ".join(words)


def _tool_lines(tool: ToolRecord, names: int, statuses: int, style: Style) -> list[str]:
    facts = [pairs_text(tool.metrics)] if tool.metrics else []
    if tool.attempt > 1:
        facts.insert(0, f"attempt {tool.attempt}")
    if tool.error:
        facts.append(failure_line(tool.error))
    name = column(tool.name, names, style, "bold")
    how = paint_status(tool.status, style, statuses)
    pad = indent(names + 6, style)
    given = tool.step.arguments
    values = [value_text(key, one.shown, one.origin, style) for key, one in given.items()]
    return [
        wrap(
            f"    {name}  {how}  {duration(tool.duration):<8}  {'  '.join(facts)}".rstrip(),
            style,
            pad + "  ",
        ),
        *(wrap(pad + text, style, pad + "  ") for text in (*values, *map(one_line, tool.notes))),
    ]


def _changes(tool: ToolChange, style: Style) -> list[str]:
    old, new = tool.status.old, tool.status.new
    to = arrow(style)
    changes = []
    if old != new:
        changes.append(f"{paint_status(old, style)} {to} {paint_status(new, style)}")
    if tool.code_changed:
        changes.append("code changed")
    changes += [_value_change(one, "default", to) for one in tool.params]
    inputs = [one_line(_input_text(one, to)) for one in tool.inputs]
    changes += inputs[:MOST_INPUTS]
    if len(inputs) > MOST_INPUTS:
        changes.append(f"and {count(len(inputs) - MOST_INPUTS, 'more change')} of what it used")
    return [*changes, *(_value_change(one, "none", to) for one in tool.metrics)]


def _value_change(one: ValueChange, nothing: str, to: str) -> str:
    old, new = (nothing if value is None else value for value in (one.old, one.new))
    return one_line(f"{one.name}: {old} {to} {new}")


def _input_text(one: InputChange, to: str) -> str:
    shown = shown_table(one.name) if one.kind == "table" else one.name
    name = _INPUT_NAMES.get(one.kind, "{}").format(shown)
    match one.change, one.kind:
        case "added", _:
            return f"uses {name} now"
        case "removed", _:
            return f"no longer uses {name}"
        case _, "table":
            return f"{name} was written by {_writer(one.old)} {to} by {_writer(one.new)}"
        case "created", kind:
            return f"{name} was {'set' if kind == 'variable' else 'created'}"
        case "deleted", kind:
            return f"{name} {'is no longer set' if kind == 'variable' else 'was deleted'}"
    if one.old is not None and one.new is not None:
        return f"{name}: {one.old} {to} {one.new}"
    return f"{name} changed"


def _writer(version: str | None) -> str:
    run, _, module = (version or "").partition(" ")
    return f"{module} in run {run}"


def build_tool_run(record: RunRecord, tool: ToolRecord) -> ToolRun:
    """The run of one tool as users get it."""
    params = _build_values(tool.step.arguments)
    return copied(ToolRun, tool, run=record.run, started=record.started, params=params)


def metrics_text(rows: Sequence[ToolRun], style: Style) -> str:
    """A table of the runs of one tool, with its parameters and its metrics."""
    params = [*dict.fromkeys(name for row in rows for name in row.params)]
    metrics = [*dict.fromkeys(name for row in rows for name in row.metrics)]
    lines = [("run", "started", "status", "duration", *params, *metrics)]
    lines += [
        (
            row.run,
            time_text(row.started),
            status_word(row.status),
            duration(row.duration),
            *(row.params[one].shown if one in row.params else "default" for one in params),
            *(str(row.metrics.get(name, "")) for name in metrics),
        )
        for row in rows
    ]
    room = max(style.width // 4, 8)
    cells = [
        [*line[:4], *(cut_name(one_line(text), room, style) for text in line[4:])] for line in lines
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    first_metric = 4 + len(params)
    out = []
    for number, line in enumerate(cells):
        text = "  ".join(
            f"{cell:>{width}}" if place == 0 or place >= first_metric else f"{cell:<{width}}"
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        text = text if number else style.paint(text, "dim")
        out.append(wrap(text, style, " " * (widths[0] + 2)))
    return "\n".join(out) + "\n"


def _targets(words: Sequence[str]) -> str:
    return " ".join(map(one_line, words)) or ALL_STAGES
