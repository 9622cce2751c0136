"""Problems as text and as JSON: what is wrong, where, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from discover_orch.model.errors import Location, Problem, Severity
from discover_orch.render.style import Style, one_line

ERROR: Severity = "error"
WARNING: Severity = "warning"
MOST_SHOWN = 5


def problem_text(problem: Problem, style: Style) -> str:
    """`error: path:line: message`, and the hint on a second line."""
    where = f"{one_line(str(problem.location))}: " if problem.location else ""
    kind = "error" if problem.severity == "error" else "yellow"
    label = style.paint(f"{problem.severity}:", kind)
    text = f"{label} {style.paint(where, 'bold')}{one_line(problem.message)}"
    if problem.hint:
        text += f"\n  {style.paint('hint:', 'cyan')} {one_line(problem.hint)}"
    return text


def problems_text(problems: Iterable[Problem], style: Style) -> str:
    return "".join(problem_text(problem, style) + "\n" for problem in problems)


def first_few(problems: Sequence[Problem]) -> list[Problem]:
    """The first problems and how many more there are, so that warnings do not hide the run below them."""
    if len(problems) <= MOST_SHOWN:
        return list(problems)
    left = len(problems) - MOST_SHOWN + 1
    rest = Problem(
        code="more",
        message=f"{left} more warnings",
        hint="orch check shows them all",
        severity=WARNING,
    )
    return [*problems[: MOST_SHOWN - 1], rest]


def exception_text(type_name: str, message: str, *, has_type: bool) -> str:
    """The first line of an exception's message, after its type if `has_type` or if the message is empty."""
    line = message.strip().partition("\n")[0].rstrip("\r")
    if type_name and (has_type or not line):
        return f"{type_name}: {line}" if line else type_name
    return line


def problems_of(document: Mapping[str, Any]) -> list[Problem]:
    """The problems of a listing's document, errors first."""
    return [
        Problem(
            code=row["code"],
            message=row["message"],
            hint=row["hint"],
            location=Location(path=row["path"], line=row["line"]) if row["path"] else None,
            severity=severity,
        )
        for severity in (ERROR, WARNING)
        for row in document[f"{severity}s"]
    ]
