"""Problems as text and as JSON: what, where, how to fix it."""

from __future__ import annotations

from msgspec.structs import replace

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
    assert problems_text([WRONG, warning], Style()).endswith("  hint: fix it\nwarning: it is odd\n")
    assert problems_text([], Style()) == ""


def test_what_several_warnings_say_is_said_once_with_their_places() -> None:
    odd = [
        Problem(
            code="c", message="it is odd", severity="warning", location=Location(path=path, line=1)
        )
        for path in ("a.py", "b.py", "c.py", "d.py")
    ]
    assert problems_text(odd, Style()) == (
        "warning: a.py:1: it is odd (also b.py:1, c.py:1, d.py:1)\n"
    )
    assert problems_text([*odd, *odd], Style(), most_places=1) == (
        "warning: a.py:1: it is odd (also b.py:1 and 2 more)\n"
    )
    assert problems_text([odd[0], odd[0]], Style()) == "warning: a.py:1: it is odd\n"
    errors = [WRONG, replace(WRONG, location=Location(path="src/y.py", line=1))]
    assert problems_text(errors, Style()).count("it is wrong") == 2


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
