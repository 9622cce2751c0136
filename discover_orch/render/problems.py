"""Problems as text: what is wrong, where, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from discover_orch.model.errors import Failure, Problem, Severity
from discover_orch.render.style import Style, cut, names_text, one_line, wrap_prose

ERROR: Severity = "error"
WARNING: Severity = "warning"
MOST_SHOWN = 5
#: Characters of why a tool failed, in a line.
LONGEST_REASON = 200
#: Places that are named beside the first one of a warning that has several.
MOST_PLACES = 5


def problem_text(problem: Problem, style: Style) -> str:
    """`error: path:line: message`, and the hint on a second line."""
    where = style.paint(f"{problem.location}: " if problem.location else "", "bold")
    label = style.paint(f"{problem.severity}:", "error" if problem.severity == ERROR else "yellow")
    lines = [wrap_prose(f"{label} {where}{one_line(problem.message)}", style, "    ")]
    if problem.source:
        source = cut(one_line(problem.source), style.width - 4, style, is_prose=False)
        lines.append(f"    {source}")
    if problem.hint:
        lines.append(hint_text(problem.hint, style, "  "))
    return "\n".join(lines)


def hint_text(hint: str, style: Style, lead: str = "") -> str:
    return wrap_prose(f"{lead}{style.paint('hint:', 'cyan')} {one_line(hint)}", style, "    ")


def problems_text(problems: Iterable[Problem], style: Style, most_places: int = MOST_PLACES) -> str:
    """Each problem once; warnings that differ only in their places are folded."""
    return "".join(problem_text(one, style) + "\n" for one in folded(problems, most_places))


def folded(problems: Iterable[Problem], most_places: int = MOST_PLACES) -> list[Problem]:
    """The problems with one warning for all that say the same: it names its first place, and up to `most_places` of
    the others."""
    groups: dict[Problem, list[Problem]] = {}
    for one in problems:
        key = one.at(None) if one.severity == WARNING and one.path else one
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


def failure_line(error: Failure, most: int = LONGEST_REASON) -> str:
    """Where and why a tool failed, on one line: `src/parse.py:12: ValueError: no such row`."""
    place = f"{error.path}:{error.line}: " if error.path and error.line else ""
    return one_line(place) + cut(failure_reason(error), most, Style(), is_prose=False)


def failure_reason(error: Failure) -> str:
    """Why a tool failed, on one line: the first line of the exception's message after its type. What orch itself says
    has no traceback; it is a sentence and needs no type."""
    line = error.message.strip().partition("\n")[0].rstrip("\r")
    has_type = error.kind == "exception" and bool(error.traceback)
    if error.type and (has_type or not line):
        line = f"{error.type}: {line}" if line else error.type
    return one_line(line)
