"""What GitHub Actions shows of a recorded run: annotations at lines of files, and the summary of the step.

Text of users is escaped as GitHub documents it for workflow commands. In the summary, which is Markdown, it stands in
code spans: elsewhere GitHub makes links of what looks like an address, a person or an issue.
https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from discover_orch.model.errors import Location, Problem
from discover_orch.render.problems import failure_line, failure_reason, folded
from discover_orch.render.style import (
    Style,
    clean,
    count,
    counts_text,
    duration,
    one_line,
    status_word,
)
from discover_orch.state.recorded_run import RunRecord, ToolRecord

#: Annotations of one kind that GitHub shows for a step.
MOST_ANNOTATIONS = 10
#: Tools in the summary of a step, and bytes of their rows. GitHub refuses a summary of more than 1 MiB.
MOST_ROWS, MOST_BYTES = 500, 900_000
#: Characters of one text in the summary, and of a traceback in an annotation.
LONGEST_CELL, LONGEST_TRACEBACK = 300, 4000
_BACKTICKS = re.compile("`+")
_MARKS = {"passed": "✅", "failed": "❌", "unknown": "❌", "blocked": "⛔", "fresh": "💤"}


def problem_annotations(problems: Iterable[Problem], folder: str) -> str:
    """Workflow commands for errors and warnings. `folder` leads from the root of the repository to that of the
    project, as paths in annotations begin at the former."""
    left = {"error": MOST_ANNOTATIONS, "warning": MOST_ANNOTATIONS}
    lines = []
    for one in folded(problems):
        left[one.severity] -= 1
        if left[one.severity] >= 0:
            text = one.message + (f"\nhint: {one.hint}" if one.hint else "")
            lines.append(_command(one.severity, "orch", text, one.location, folder))
    return "".join(lines)


def failure_annotations(record: RunRecord, folder: str) -> str:
    """Workflow commands for the tools that failed, each where it failed, with its traceback."""
    lines = []
    for tool in record.failures[:MOST_ANNOTATIONS]:
        error, step = tool.error, tool.step
        place = Location(path=step.path) if step.path else None
        text = f"{tool.name} {status_word(tool.status)}"
        if error is not None:
            place = Location(path=error.path, line=error.line) if error.path else place
            text = (error.traceback or error.message)[-LONGEST_TRACEBACK:]
        reason = failure_reason(error) if error else status_word(tool.status)
        lines.append(_command("error", f"{tool.name}: {reason}", text, place, folder))
    return "".join(lines)


def step_summary(record: RunRecord, name: str) -> str:
    """The result of the run of the project `name` as Markdown, for the file GITHUB_STEP_SUMMARY."""
    errors = count(len(record.errors), "error") if record.errors else ""
    total = ", ".join(filter(None, (counts_text(record.counts, Style()), errors))) or status_word(
        record.status
    )
    rows: list[str] = []
    left = MOST_BYTES
    for tool in sorted(record.tools, key=lambda tool: not tool.has_failed)[:MOST_ROWS]:
        row = _tool_row(tool)
        left -= len(row.encode("utf-8")) + 1
        if left < 0:
            break
        rows.append(row)
    rest = len(record.tools) - len(rows)
    return "\n".join(
        (
            f"### orch: {_code(name)}",
            "",
            f"{total} in {duration(record.duration or 0.0)}",
            "",
            "| tool | stage | result | time | |",
            "| --- | --- | --- | ---: | --- |",
            *rows,
            *([f"\n{rest:,} more"] if rest > 0 else []),
            "\n",
        )
    )


def _tool_row(tool: ToolRecord) -> str:
    status = f"{_MARKS.get(tool.status, '⚪')} {status_word(tool.status)}"
    facts = "  ".join(f"{key}={value}" for key, value in tool.metrics.items())
    about = failure_line(tool.error) if tool.error and tool.has_failed else facts
    took = duration(tool.duration) if tool.duration else ""
    return f"| {_cell(tool.name)} | {_cell(tool.stage)} | {status} | {took} | {_cell(about)} |"


def _cell(text: str) -> str:
    """A code span in a table (https://github.github.com/gfm/#example-200)."""
    return _code(text).replace("|", r"\|")


def _code(text: str) -> str:
    """A code span (https://github.github.com/gfm/#code-spans)."""
    short = text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL] + "…"
    shown = one_line(short)
    if not shown:
        return ""
    fence = "`" * (max(map(len, _BACKTICKS.findall(shown)), default=0) + 1)
    # Markdown takes a space away at both ends, unless there are only spaces.
    is_bounded = shown[0] == shown[-1] == " " and shown.strip(" ") != ""
    pad = " " if "`" in (shown[0], shown[-1]) or is_bounded else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _command(kind: str, title: str, text: str, place: Location | None, folder: str) -> str:
    properties = {"title": title[:LONGEST_CELL]}
    if place is not None:
        properties["file"] = posixpath.normpath(posixpath.join(folder, place.path))
        if place.line:
            properties["line"] = str(place.line)
    shown = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{kind} {shown}::{_data(text)}\n"


def _data(text: str) -> str:
    """GitHub turns these back before it shows the text."""
    return clean(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
