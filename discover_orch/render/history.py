"""Recorded runs as text and as JSON: many runs, one run, what changed between two, and the log of a tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import UNSET

from discover_orch.model.conventions import ALL_STAGES
from discover_orch.model.documents import RecordedOutcome, Run, ToolRun, Value, copied
from discover_orch.model.keys import shown_table
from discover_orch.model.parameter import ParamValue
from discover_orch.render.problems import failure_line
from discover_orch.render.style import (
    Style,
    arrow,
    clean,
    count,
    counts_text,
    duration,
    names_text,
    one_line,
    paint_status,
    pairs_text,
    shown,
    status_word,
    table,
    time_text,
    value_text,
    wrap,
)
from discover_orch.state.recorded_run import RunRecord, ToolRecord
from discover_orch.state.run_diff import InputChange, RunDiff, ToolChange, ValueChange

#: So many files of the code, and changes of what a tool used, are named.
MOST_INPUTS = 20
#: Columns of a table of runs for all but the numbers of tools.
BESIDE_COUNTS = 60

_INPUT_NAMES = {
    "folder": "the list of files in {}",
    "glob": "the list of files that match {}",
    "python": "Python",
    "others": "one of many other inputs",
}


#: The origin of the values of an item.
ITEM = "item"
#: The origin of a default.
DEFAULT = "default"


def build_run(record: RunRecord) -> Run:
    """The run as users get it."""
    return copied(
        Run,
        record,
        run=record.run or None,
        params=_build_values(record.params),
        items=record.items or UNSET,
        passed_before=tuple(
            one.name for one in record.tools if record.resumes and one.status == "fresh"
        ),
        tools=tuple(
            copied(RecordedOutcome, tool, params=_build_values(tool.step.arguments))
            for tool in record.tools
        ),
    )


def _build_values(params: Mapping[str, ParamValue]) -> dict[str, Value]:
    return {
        name: Value(value=one.texts if len(one.texts) > 1 else one.shown, origin=one.origin)
        for name, one in params.items()
    }


def runs_text(runs: Sequence[Run], style: Style, *, older: int = 0) -> str:
    """A table of runs; `older` is the number of runs that are not in it."""
    counts = [counts_text(run.counts, Style()) for run in runs]
    width = max(5, min(max(map(len, counts), default=0), style.width - BESIDE_COUNTS))
    rows = [
        (
            run.run or "",
            time_text(run.started),
            paint_status(run.status, style),
            duration(run.duration),
            f"{tools:<{width}}  {_words(run)}",
        )
        for run, tools in zip(shown(runs), counts, strict=True)
    ]
    titles = ("run", "started", "status", "duration", f"{'tools':<{width}}  targets")
    out = table([titles, *rows], style, lead="", right=(0,), has_titles=True)
    if older:
        out.append(style.paint(f"and {count(older, 'older run')} (use --all to show all)", "dim"))
    return "\n".join(out) + "\n"


def _words(run: Run) -> str:
    """The targets, and the values that were typed; the others are shown with a single run."""
    typed = (f"{name}={one.shown}" for name, one in run.params.items() if one.origin[:1] == "-")
    items = [f"{name}={one}" for name, texts in (run.items or {}).items() for one in texts]
    resumes = [f"(resumes {run.resumes})"] if run.resumes else []
    watch = ["(watch)"] if run.kind == "watch" else []
    unchecked = ["(no checks)"] if run.is_unchecked else []
    return " ".join((_targets(run.targets), *items, *typed, *resumes, *unchecked, *watch))


def run_text(run: Run, style: Style) -> str:
    """Everything about one run."""
    run = shown(run)
    seconds = "" if run.duration is None else f" in {duration(run.duration)}"
    watch = " (watch)" if run.kind == "watch" else ""
    facts = [("targets", _targets(run.targets)), ("tools", counts_text(run.counts, Style()))]
    if run.exit_code:
        facts.append(("exit code", str(run.exit_code)))
    if run.resumes:
        passed = ", ".join(run.passed_before)
        facts.append(("resumes", f"run {run.resumes}" + (f" (passed: {passed})" if passed else "")))
    if run.is_unchecked:
        facts.append(("checks", "did not run (--no-checks)"))
    if run.database:
        origin = style.paint(run.database_origin, "dim")
        facts.append(("database", f"{run.database}  {origin}"))
    rows: list[Sequence[str]] = []
    for tool in run.tools:
        attempt = [f"attempt {tool.attempt}"] if tool.attempt > 1 else []
        metrics = [pairs_text(tool.metrics)] if tool.metrics else []
        error = [failure_line(tool.error)] if tool.error else []
        how, took = paint_status(tool.status, style), duration(tool.duration)
        rows.append((tool.name, how, took, "  ".join((*attempt, *metrics, *error))))
        values = (value_text(name, one, style) for name, one in tool.params.items())
        found = (f"{one.name} {one.status}: {one.message}" for one in tool.checks if one.message)
        rows += [("", text) for text in (*values, *found, *tool.notes)]
    out = [
        f"{style.paint(f'run {run.run}', 'bold')}{watch}: {paint_status(run.status, style)}{seconds}"
        f", started {time_text(run.started, has_seconds=True)}",
        *table(facts, style),
        *table(rows, style, lead="    ", kinds=("bold",)),
    ]
    return "\n".join(out) + "\n"


def comparison_text(found: RunDiff, style: Style) -> str:
    """The two runs, the code and the tools that changed, then for each tool its times and what changed."""
    found = shown(found)
    out = table(
        [
            (
                f"{label} {run.run}",
                time_text(run.started),
                paint_status(run.status, style),
                duration(run.duration),
                _targets(run.targets),
            )
            for label, run in (("from run", found.old), ("to run  ", found.new))
        ],
        style,
        lead="",
    )
    if found.sources:
        files = names_text(found.sources, MOST_INPUTS)
        out.append(wrap(f"  changed code: {files}", style, " " * 4))
    out += [f"  {style.paint('+', 'green')} {name}" for name in found.added]
    out += [f"  {style.paint('-', 'red')} {name}" for name in found.removed]
    rows: list[Sequence[str]] = []
    for tool in found.tools:
        old, new = (duration(one) for one in (tool.duration.old, tool.duration.new))
        times = f"{old or '-'} {arrow(style)} {new or '-'}"
        if not old and not new:
            times = status_word(tool.status.new) if tool.status.old == tool.status.new else ""
        rows += [(tool.name, times), *(("", change) for change in _changes(tool, style))]
    out += table(rows, style, lead="    ", kinds=("bold",))
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


def _changes(tool: ToolChange, style: Style) -> list[str]:
    old, new = tool.status.old, tool.status.new
    to = arrow(style)
    changes = []
    if old != new:
        changes.append(f"{paint_status(old, style)} {to} {paint_status(new, style)}")
    if tool.code_changed:
        changes.append("code changed")
    changes += [_value_change(one, "default", to) for one in tool.params]
    inputs = [_input_text(one, to) for one in tool.inputs]
    changes += inputs[:MOST_INPUTS]
    if len(inputs) > MOST_INPUTS:
        changes.append(f"and {count(len(inputs) - MOST_INPUTS, 'more change')} of what it used")
    return [*changes, *(_value_change(one, "none", to) for one in tool.metrics)]


def _value_change(one: ValueChange, nothing: str, to: str) -> str:
    old, new = (nothing if value is None else value for value in (one.old, one.new))
    return f"{one.name}: {old} {to} {new}"


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
    own = {name: Value(value=text, origin=ITEM) for name, text in tool.step.item.items()}
    defaults = {
        name: Value(value=text, origin=DEFAULT) for name, text in tool.step.defaults.items()
    }
    params = {**own, **_build_values(tool.step.arguments), **defaults}
    return copied(ToolRun, tool, run=record.run, started=record.started, params=params)


def metrics_text(rows: Sequence[ToolRun], style: Style) -> str:
    """A table of the runs of one tool, with its metrics and with those parameters that were given in one of them."""
    rows = shown(rows)
    given = [name for row in rows for name, one in row.params.items() if one.origin != DEFAULT]
    params = [*dict.fromkeys(given)]
    metrics = [*dict.fromkeys(name for row in rows for name in row.metrics)]
    flags = ["--" + name.replace("_", "-") for name in params]
    titles = ("run", "started", "status", "duration", *flags, *metrics, "")
    lines = [
        (
            row.run,
            time_text(row.started),
            status_word(row.status),
            duration(row.duration),
            *(row.params[one].shown if one in row.params else DEFAULT for one in params),
            *(str(row.metrics.get(name, "")) for name in metrics),
            "",
        )
        for row in rows
    ]
    right = (0, *range(4 + len(params), len(titles) - 1))
    out = table([titles, *lines], style, lead="", right=right, shares=(4,), has_titles=True)
    return "\n".join(out) + "\n"


def _targets(words: Sequence[str]) -> str:
    return " ".join(words) or ALL_STAGES
