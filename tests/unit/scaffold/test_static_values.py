"""What a module's top level gives to its names is worked out as Python would, or said to be unknown, with the line."""

from __future__ import annotations

import ast
import textwrap

import pytest

from discover_orch.scaffold.static_values import read_values
from discover_orch.scaffold.value_kinds import Ref, Text, Unknown

COMPUTED = """
PACKAGE = "src.pipeline"
NAMES = ("fetch", "parse")
INGEST = ["fetch", "parse"]
TOOL_MAP = {name: f"{PACKAGE}.{name}" for name in NAMES}
TOOL_MAP["draw"] = PACKAGE + ".draw"
TOOL_MAP |= {"old": "%s.%s" % (PACKAGE, "old")}
STAGES = {"ingest": INGEST, "both": [*INGEST, "draw"], "sum": INGEST + ["draw"]}
STAGES["full"] = sum(STAGES.values(), [])
STAGES.update(all=list(TOOL_MAP), sorted=sorted(TOOL_MAP.keys()), some=[n for n in NAMES if n != "parse"])
for _name in ("x", "y"):
    TOOL_MAP[_name] = ".".join(["src", _name])
LATE = INGEST.copy()
LATE.append("late")
first, second = NAMES

class Runner:
    TOOLS = {"a": f"{PACKAGE}.a"}
    def __init__(self):
        self.stages = {"one": list(self.TOOLS)}
"""


def test_computed_values_are_those_of_python() -> None:
    space: dict[str, object] = {}
    exec(COMPUTED, space)
    found = read_values(ast.parse(COMPUTED))
    for name in ("TOOL_MAP", "STAGES", "LATE", "first", "INGEST"):
        assert found[name] == space[name], name
    assert found["Runner.stages"] == {"one": ["a"]}


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("X = load()", {"X"}),
        ("import os\nX = [os.environ['A'], 'b']", {"X.0"}),
        ("X = {'a': 'b', **more()}", {"X.more()"}),
        ("X = ['a']\nif debug:\n    X = ['b']\n", {"X"}),
        ("X = ['a']\nX.sort()", {"X"}),
        ("X = [n for n in range(3)]", {"X"}),
        ("X = f'{1:>3}'", {"X"}),
    ],
)
def test_what_cannot_be_worked_out_is_unknown_with_its_line(text: str, unknown: set[str]) -> None:
    found = read_values(ast.parse(text))["X"]
    seen = {"X"} if isinstance(found, Unknown) else set()
    if isinstance(found, list):
        seen = {f"X.{place}" for place, one in enumerate(found) if isinstance(one, Unknown)}
    if isinstance(found, dict):
        seen = {f"X.{key.text}" for key in found if isinstance(key, Unknown)}
        assert found["a"] == "b"
    assert seen == unknown


def test_texts_know_their_line_and_imports_what_they_name() -> None:
    found = read_values(
        ast.parse(
            textwrap.dedent(
                """\
                from src.pipeline import fetch as get
                import src.pipeline.parse
                import importlib
                TOOLS = {
                    "fetch": get,
                    "parse": src.pipeline.parse.run,
                    "name": get.__name__,
                    "late": importlib.import_module("src.late"),
                }
                """
            )
        )
    )["TOOLS"]
    assert [key.line for key in found] == [5, 6, 7, 8]
    assert found["fetch"].name == "src.pipeline.fetch"
    assert found["parse"] == Ref(name="src.pipeline.parse.run", line=6)
    assert found["name"] == Text("src.pipeline.fetch", 7)
    assert found["late"].name == "src.late"


def test_text_that_would_grow_without_end_is_no_problem() -> None:
    read_values(ast.parse("X = ['a']\n" + "X = X + X\n" * 60 + "X.extend(X)\n" * 60))
    assert isinstance(read_values(ast.parse("X = '%999999999d' % 1"))["X"], Unknown)
    assert isinstance(read_values(ast.parse("X = '{:>999999999}'.format('a')"))["X"], Unknown)
    rows = "X = ['a']\nfor n in X * 3: pass\n" + "L = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
    deep = "".join(f"{'    ' * depth}for n{depth} in L:\n" for depth in range(8))
    read_values(ast.parse(f"{rows}{deep}{'    ' * 8}X.append('b')\n"))
