"""`source` by itself: a case a file in `tests/cases/discovery`, and what needs a test alone."""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path

import pytest

from discover_orch.source.facts import (
    ArgumentFacts,
    BrokenTool,
    ModuleFacts,
    RunFacts,
    Tag,
    UnknownType,
)
from discover_orch.source.read_module import read_module

CASES = sorted((Path(__file__).parent.parent.parent / "cases" / "discovery").glob("*.py"))
RUN = "\n\ndef run(): ...\n"


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_case_says_what_it_expects(path: Path) -> None:
    data = path.read_bytes()
    text = data.decode("latin-1" if b"latin-1" in data else "utf-8", "replace")
    (expected,) = re.findall("# expect: (.*)", text)
    assert summary(read_module(data, module="src.pkg.tool", path="tool.py")) == expected.strip()


def summary(facts: ModuleFacts | BrokenTool) -> str:
    """The facts on one line, as the cases write them."""
    if isinstance(facts, BrokenTool):
        place = facts.problems[0].location
        assert place is not None
        line = f"broken {place.line} {facts.problems[0].code} stages {','.join(facts.stages)}"
        return line.strip()
    parts = []
    if facts.stage is not None:
        parts.append(f"stage {tag_text(facts.stage)}")
    if facts.after is not None:
        parts.append(f"after {tag_text(facts.after)}".strip())
    if facts.orch is not None:
        values = "problem" if facts.orch.problem else json.dumps(dict(facts.orch.values))
        parts.append(f"orch {values}")
    if facts.run is not None:
        parts.append(run_text(facts.run))
    if facts.miss:
        parts.append(f"miss {facts.miss}")
    return " | ".join(parts)


def tag_text(tag: Tag) -> str:
    if tag.problem:
        assert not tag.words
        return "problem"
    if tag.is_off:
        return "off"
    return ",".join(tag.words)


def run_text(run: RunFacts) -> str:
    words = ["run"]
    words += ["async"] if run.is_async else []
    words += [argument_text(argument) for argument in run.arguments]
    words += ["**"] if run.takes_extra else []
    words += [] if run.is_readable else ["unreadable"]
    words += [f"yields {run.yield_line}"] if run.yield_line else []
    return " ".join(words)


def argument_text(argument: ArgumentFacts) -> str:
    kind = argument.type
    match kind:
        case UnknownType(text=text):
            shown = f"?{text}"
        case _:
            shown = str(kind).removeprefix("list[").removesuffix("]")
            shown += "*" * kind.many + "?" * kind.optional
    text = f"{'/' * argument.is_positional_only}{argument.name}:{shown}"
    if argument.default_source is None:
        return text
    is_literal = argument.default is not None or argument.default_source == "None"
    return f"{text}={json.dumps(argument.default if is_literal else '?')}"


def facts_of(text: str | bytes) -> ModuleFacts:
    data = text.encode() if isinstance(text, str) else text
    found = read_module(data, module="src.pkg.tool", path="src/pkg/tool.py")
    assert isinstance(found, ModuleFacts)
    return found


def broken_of(text: str | bytes) -> BrokenTool:
    data = text.encode() if isinstance(text, str) else text
    found = read_module(data, module="src.pkg.tool", path="src/pkg/tool.py")
    assert isinstance(found, BrokenTool)
    assert found.problems[0].location is not None
    assert found.problems[0].hint
    assert "\n" not in found.problems[0].message
    return found


def test_half_a_surrogate_pair_in_a_docstring_is_a_problem_where_python_says_so() -> None:
    text = b'X = 1\n\ndef run():\n    "\\ud800 odd"\nSTAGE = "a"\n'
    found = read_module(text, module="src.pkg.tool", path="src/pkg/tool.py")
    if sys.version_info < (3, 13):
        assert isinstance(found, ModuleFacts)
        assert found.doc == "? odd"
    else:
        assert isinstance(found, BrokenTool)
        assert "surrogate" in found.problems[0].message


@pytest.mark.parametrize(
    "text",
    [
        'STAGE = "a"\nx = ' + "(" * 5000 + ")" * 5000,
        'STAGE = "a"\nx = ' + "-" * 60000 + "1",
        'STAGE = "a"\nx = ' + "[" * 150 + "]" * 150 + "\n" + "y = " + "not " * 20000 + "z",
        'STAGE = "a"\n' + "".join(" " * n + "if x:\n" for n in range(120)) + " " * 120 + "y\n",
    ],
)
def test_deep_nesting_is_a_problem_and_no_crash(text: str) -> None:
    broken = broken_of(text)
    assert broken.stages in ((), ("a",))  # Python does not say where it is too deep


@pytest.mark.parametrize("operator", ["+", "|", ".a"])
def test_long_chains_never_raise(operator: str) -> None:
    for length in (100, 900, 1500, 2900, 4000):
        chain = "x" + (f" {operator} x" if operator != ".a" else operator) * length
        text = f'STAGE = "a"\ndef run(a: {chain} = {chain}, b=("x" + {chain})): ...\n'
        read_module(text.encode(), module="a", path="a.py")
        read_module(f"x = 1\nSTAGE = {chain}\n".encode(), module="a", path="a.py")


def test_a_number_beyond_the_limit_of_digits_is_a_problem() -> None:
    broken = broken_of('STAGE = "a"\nx = ' + "9" * 5000 + "\n")
    assert broken.problems[0].location is not None
    assert broken.problems[0].location.line == 2
    facts = facts_of('STAGE = "a"\ndef run(x=0x' + "f" * 20000 + "): ...\n")
    assert facts.run is not None
    assert facts.run.arguments[0].default is None
    assert facts.run.arguments[0].default_source == "..."


def test_text_that_looks_like_a_tag_before_an_error_is_none() -> None:
    assert broken_of('"""\nSTAGE = "no"\n"""\nSTAGE = "yes"\n)\n').stages == ("yes",)
    assert broken_of('STAGE = ("a",\n  "b")\nx = (\n').stages == ("a", "b")
    assert broken_of(')\nSTAGE = "late"\n').stages == ()
    assert broken_of('if x:\n    STAGE = "a"\n)\n').stages == ()


def test_odd_escapes_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        facts = facts_of('STAGE = "a"\nX = "\\d"\nassert (X, "")\nX is 1\n' + RUN)
    assert facts.stage == Tag(line=1, words=("a",))
