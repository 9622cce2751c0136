"""Problems as text: what, where, how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from discover_orch.model.errors import Location, Problem, Severity
from discover_orch.render.style import Style, one_line

ERROR: Severity = "error"
WARNING: Severity = "warning"
MOST_SHOWN = 5


def problem_text(problem: Problem, style: Style) -> str:
    """One problem on one line, its hint on a second."""
    where = f"{one_line(str(problem.location))}: " if problem.location else ""
    kind = "error" if problem.severity == "error" else "yellow"
    label = style.paint(f"{problem.severity}:", kind)
    text = f"{label} {style.paint(where, 'bold')}{one_line(problem.message)}"
    if problem.hint:
        text += f"\n  {style.paint('hint:', 'cyan')} {one_line(problem.hint)}"
    return text


def problems_text(problems: Iterable[Problem], style: Style) -> str:
    return "".join(problem_text(problem, style) + "\n" for problem in problems)


def few(problems: Sequence[Problem]) -> list[Problem]:
    """The first of many warnings, and a word about the rest: above a run they would hide it."""
    if len(problems) <= MOST_SHOWN:
        return list(problems)
    left = len(problems) - MOST_SHOWN + 1
    rest = Problem(
        code="more",
        message=f"{left} more of these",
        hint="orch check tells them all",
        severity=WARNING,
    )
    return [*problems[: MOST_SHOWN - 1], rest]


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
