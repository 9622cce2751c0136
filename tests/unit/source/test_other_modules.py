"""A small project of texts, and what names of its other modules mean in the tags and the `run()` of a tool."""

from __future__ import annotations

import ast

import pytest

from discover_orch.model.parameter import EnumChoice, ParamType, Scalar
from discover_orch.source.facts import ModuleFacts, Tag, UnknownType
from discover_orch.source.read_module import read_module
from discover_orch.source.scope import ModuleScope

RUN = "\ndef run(): ...\n"

PROJECT = {
    "src": "",
    "src.stages": """
from enum import Enum, StrEnum, auto
INGEST = "ingest"
BOTH = (INGEST, "analyze")
OFF = None
class Stage(str, Enum):
    INGEST = "ingest"
    RENDER = "render"
class Auto(StrEnum):
    FIRST = auto()
class Number(Enum):
    ONE = 1
class Base(Enum): ...
class Names:
    LAST = "render"
if INGEST:
    MAYBE = "ingest"
    from src.other import SEEN
    class Hidden:
        X = "x"
""",
    "src.pkg": "from ..stages import Stage as Renamed\nfrom .. import stages\nfrom . import inner\n",
    "src.pkg.inner": """
from src.stages import Stage
import src.stages as deep
PAIR = (Stage.INGEST, 'x')
""",
    "src.other": "__all__ = ['SEEN']\nSEEN = 'seen'\nINGEST = 'hidden'\n",
    "src.twice": "from src.stages import *\nfrom src.third import *\n",
    "src.third": "INGEST = 'third'\n",
    "src.loop": """
from src.pool import X
from src.loop import Y
Z = Z.Z
from src import loop as W
A = W.A
""",
    "src.pool": "from src.loop import X\n",
    "src.jobs": """
from datetime import date
from src.stages import Stage
Since = date | None
def main(conn, mode: Stage, since: Since = None, **extra): ...
async def other(): ...
again = main
short = lambda n=3: n
made = print("x")
class Job: ...
""",
}


def lookup(module: str) -> ModuleScope | None:
    if module not in PROJECT:
        return None
    is_package = any(name.startswith(f"{module}.") for name in PROJECT)
    return ModuleScope(ast.parse(PROJECT[module]), module, is_package, lookup)


def read(text: str) -> ModuleFacts:
    facts = read_module(text.encode(), module="src.tool", path="src/tool.py", lookup=lookup)
    assert isinstance(facts, ModuleFacts)
    return facts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("from src.stages import INGEST\nSTAGE = INGEST", ("ingest",)),
        ("from src.stages import INGEST as I\nSTAGE = I", ("ingest",)),
        ("from src import stages\nSTAGE = stages.INGEST", ("ingest",)),
        ("from .stages import Stage\nSTAGE = Stage.RENDER", ("render",)),
        ("from . import stages\nSTAGE = stages.Stage.RENDER.value", ("render",)),
        ("import src.stages\nSTAGE = src.stages.Stage.RENDER.name", ("RENDER",)),
        ("import src.stages as st\nSTAGE = st.Stage.INGEST", ("ingest",)),
        ("import src.stages as st\nS = st.Stage\nSTAGE = S.INGEST", ("ingest",)),
        ("from src.stages import BOTH\nSTAGE = BOTH", ("ingest", "analyze")),
        ("from src.stages import Stage\nSTAGE = (Stage.INGEST, 'x')", ("ingest", "x")),
        ("from src.stages import Auto\nSTAGE = [Auto.FIRST]", ("first",)),
        ("from src.stages import Names\nSTAGE = Names.LAST", ("render",)),
        ("from src.pkg import Renamed\nSTAGE = Renamed.INGEST", ("ingest",)),
        ("from src import pkg\nSTAGE = pkg.stages.INGEST", ("ingest",)),
        ("from src.pkg.inner import Stage\nSTAGE = Stage.INGEST", ("ingest",)),
        ("from src.pkg import inner\nSTAGE = inner.deep.INGEST", ("ingest",)),
        ("from src.pkg.inner import PAIR\nSTAGE = PAIR", ("ingest", "x")),
        ("from src.stages import Base\nclass S(Base):\n    A = 'a'\nSTAGE = S.A", ("a",)),
        ("class S:\n    A = 'a'\nT = S\nSTAGE = T.A", ("a",)),
    ],
)
def test_stage_through_modules(text: str, words: tuple[str, ...]) -> None:
    stage = read(text + RUN).stage
    assert stage is not None
    assert stage.problem == ""
    assert stage.words == words


def test_none_of_another_module_switches_off() -> None:
    stage = read("from src.stages import OFF\nSTAGE = OFF" + RUN).stage
    assert stage == Tag(line=2, is_off=True)


@pytest.mark.parametrize(
    "text",
    [
        "from src.stages import NOWHERE\nSTAGE = NOWHERE",
        "from src.stages import MAYBE\nSTAGE = MAYBE",
        "from src.stages import SEEN\nSTAGE = SEEN",
        "from src.stages import Hidden\nSTAGE = Hidden.X",
        "from src.stages import Stage\nSTAGE = Stage.NOWHERE",
        "from src.stages import Stage\nSTAGE = Stage",
        "from src.stages import Stage\nSTAGE = Stage.INGEST.upper",
        "from src.stages import Number\nSTAGE = Number.ONE",
        "from src import stages\nSTAGE = stages",
        "from src.twice import INGEST\nSTAGE = INGEST",
        "from src.loop import X\nSTAGE = X",
        "from src.loop import Y\nSTAGE = Y",
        "from src.loop import Z\nSTAGE = Z",
        "from src.loop import A\nSTAGE = A",
        "import os\nSTAGE = os.name",
        "from ....above import X\nSTAGE = X",
        "from src.jobs import main\nSTAGE = main",
        "STAGE = STAGE",
        "A = B\nB = A\nSTAGE = A",
    ],
)
def test_what_does_not_resolve_is_a_problem(text: str) -> None:
    stage = read(text + RUN).stage
    assert stage is not None
    assert stage.words == ()
    assert stage.problem.startswith("STAGE cannot be read: `")


def test_run_of_another_module_brings_its_arguments() -> None:
    run = read("from src.jobs import main as run\nSTAGE = 'a'\n").run
    assert run is not None
    assert (run.line, run.is_readable, run.takes_extra) == (1, True, True)
    members = (("INGEST", "ingest"), ("RENDER", "render"))
    enum = EnumChoice(module="src.stages", name="Stage", members=members)
    assert {argument.name: argument.type for argument in run.arguments} == {
        "conn": ParamType(base=Scalar(kind="str")),
        "mode": ParamType(base=enum),
        "since": ParamType(base=Scalar(kind="date"), optional=True),
    }


@pytest.mark.parametrize(("name", "is_async"), [("short", False), ("other", True)])
def test_run_through_aliases(name: str, is_async: bool) -> None:
    run = read(f"from src.jobs import {name}\nrun = {name}\nSTAGE = 'a'\n").run
    assert run is not None
    assert run.is_readable
    assert run.is_async is is_async


@pytest.mark.parametrize("name", ["made", "Job", "Since", "nowhere"])
def test_run_that_is_no_function_there_cannot_be_read(name: str) -> None:
    run = read(f"from src.jobs import {name} as run\nSTAGE = 'a'\n").run
    assert run is not None
    assert not run.is_readable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from src.jobs import Since as T", ParamType(base=Scalar(kind="date"), optional=True)),
        ("from src.jobs import date as T", ParamType(base=Scalar(kind="date"))),
        ("from src.jobs import Job as T", UnknownType(text="T")),
        ("from numpy import ndarray as T", UnknownType(text="T")),
    ],
)
def test_types_of_other_modules(text: str, expected: object) -> None:
    run = read(f"{text}\nSTAGE = 'a'\ndef run(x: T): ...\n").run
    assert run is not None
    assert run.arguments[0].type == expected


@pytest.mark.parametrize(
    ("text", "default", "texts"),
    [
        ("x: Stage = Stage.RENDER", "render", ("render",)),
        (
            "x: list[Stage] = [Stage.RENDER, Stage.INGEST]",
            ["render", "ingest"],
            ("render", "ingest"),
        ),
        ("x: Stage = Number.ONE", None, ()),
    ],
)
def test_a_member_of_an_enum_of_another_module_is_a_default(
    text: str, default: object, texts: tuple[str, ...]
) -> None:
    run = read(f"from src.stages import Number, Stage\nSTAGE = 'a'\ndef run({text}): ...\n").run
    assert run is not None
    (argument,) = run.arguments
    assert (argument.default, argument.default_texts) == (default, texts)
