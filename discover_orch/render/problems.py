"""Problems as text and as JSON: what is wrong, where, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from discover_orch.model.errors import Failure, Location, Problem, Severity
from discover_orch.render.style import Style, cut, names_text, one_line, wrap_prose

ERROR: Severity = "error"
WARNING: Severity = "warning"
MOST_SHOWN = 5
#: Places that are named beside the first one of a warning that has several.
MOST_PLACES = 5


def problem_text(problem: Problem, style: Style) -> str:
    """`error: path:line: message`, and the hint on a second line."""
    where = f"{one_line(str(problem.location))}: " if problem.location else ""
    kind = "error" if problem.severity == "error" else "yellow"
    label = style.paint(f"{problem.severity}:", kind)
    text = wrap_prose(
        f"{label} {style.paint(where, 'bold')}{one_line(problem.message)}", style, "    "
    )
    if problem.source:
        source = one_line(problem.source)
        text += f"\n    {cut(source, style.width - 4, style, is_prose=False)}"
    if problem.hint:
        text += "\n" + wrap_prose(
            f"  {style.paint('hint:', 'cyan')} {one_line(problem.hint)}", style, "    "
        )
    return text


def problems_text(problems: Iterable[Problem], style: Style, most_places: int = MOST_PLACES) -> str:
    """Each problem once; warnings that differ only in their places are folded."""
    return "".join(problem_text(one, style) + "\n" for one in folded(problems, most_places))


def folded(problems: Iterable[Problem], most_places: int = MOST_PLACES) -> list[Problem]:
    """The problems with one warning for all that say the same: it names its first place, and up to `most_places` of
    the others."""
    groups: dict[Problem, list[Problem]] = {}
    for one in problems:
        key = replace(one, location=None) if one.severity == WARNING and one.location else one
        group = groups.setdefault(key, [])
        if one not in group:
            group.append(one)
    return [_with_places(group, most_places) for group in groups.values()]


def _with_places(group: Sequence[Problem], most_places: int) -> Problem:
    first, *others = group
    if not others:
        return first
    places = names_text([str(one.location) for one in others], most_places)
    return replace(first, message=f"{first.message} (also {places})")


def first_few(problems: Iterable[Problem]) -> list[Problem]:
    """The first warnings and how many more there are, so that they do not hide the run below them."""
    found = folded(problems)
    if len(found) <= MOST_SHOWN:
        return found
    rest = Problem(
        code="more",
        message=f"{len(found) - MOST_SHOWN + 1} more warnings",
        hint="orch check shows them all",
        severity=WARNING,
    )
    return [*found[: MOST_SHOWN - 1], rest]


def exception_text(type_name: str, message: str, *, has_type: bool) -> str:
    """The first line of an exception's message, after its type if `has_type` or if the message is empty."""
    line = message.strip().partition("\n")[0].rstrip("\r")
    if type_name and (has_type or not line):
        return f"{type_name}: {line}" if line else type_name
    return line


def failure_line(error: Failure) -> str:
    """Why a tool failed, on one line. What orch itself says is a sentence and needs no type."""
    has_type = error.kind == "exception" and bool(error.traceback)
    return exception_text(error.type, error.message, has_type=has_type)


def problems_of(document: Mapping[str, Any]) -> list[Problem]:
    """The problems of a listing's document, errors first."""
    return [
        Problem(
            code=row["code"],
            message=row["message"],
            hint=row["hint"],
            location=Location(path=row["path"], line=row["line"]) if row["path"] else None,
            severity=severity,
            source=row.get("source", ""),
        )
        for severity in (ERROR, WARNING)
        for row in document[f"{severity}s"]
    ]
