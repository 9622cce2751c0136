"""Problems as text and as JSON: what, where, how to fix it."""

from __future__ import annotations

from discover_orch.model.errors import Location, Problem, problem_json
from discover_orch.render.problems import (
    problem_text,
    problems_of,
    problems_text,
)
from discover_orch.render.style import Style

PLACE = Location(path="src/x.py", line=3)
WRONG = Problem(code="c", message="it is wrong", hint="fix it", location=PLACE)


def test_a_problem_says_what_where_and_how_to_fix_it() -> None:
    assert problem_text(WRONG, Style()) == "error: src/x.py:3: it is wrong\n  hint: fix it"
    warning = Problem(code="c", message="it is odd", severity="warning")
    assert problem_text(warning, Style()) == "warning: it is odd"
    assert problems_text([warning, warning], Style()) == "warning: it is odd\n" * 2
    assert problems_text([], Style()) == ""


def test_text_of_the_users_stays_on_its_line() -> None:
    place = Location(path="src/\x1b[2J\n.py")
    problem = Problem(code="c", message="a\nb\x07", hint="c\nd", location=place)
    lines = problem_text(problem, Style(colour=True)).split("\n")
    assert len(lines) == 2
    assert "\x1b[2J" not in lines[0]
    assert "\x07" not in lines[0]


def test_what_json_says_comes_back() -> None:
    bare = Problem(code="d", message="it is odd", severity="warning")
    document = {"errors": [problem_json(WRONG)], "warnings": [problem_json(bare)]}
    assert problems_of(document) == [WRONG, bare]
    assert {"path", "line", "message", "hint"} <= set(problem_json(WRONG))
