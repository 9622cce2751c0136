"""`signature` by itself: what a `def` says about its arguments, annotation by annotation."""

from __future__ import annotations

import pytest

from discover_orch.model.parameter import Choice, EnumChoice, ParamType, Scalar, ScalarKind
from discover_orch.source.facts import ModuleFacts, RunFacts, UnknownType
from discover_orch.source.read_module import read_module
from discover_orch.source.signature import TypeFacts

HEAD = """
import datetime as dt, decimal, pathlib, uuid
import typing as t
from collections.abc import Sequence
from datetime import date
from enum import Enum, IntEnum, StrEnum, auto
from pathlib import Path
from typing import Annotated, List, Literal, Optional as O, Union
from src.kinds import Mode as M

class Color(Enum):
    RED = "red"
    BLUE = "blue"
class Level(IntEnum):
    LOW = 1
    HIGH = auto()
class Word(StrEnum):
    ONE = auto()
class Empty(Enum):
    pass
class Plain: ...
Since = date | None
Loop = Loop2
Loop2 = Loop
"""


def function(text: str) -> RunFacts:
    facts = read_module((HEAD + text).encode(), module="src.tool", path="src/tool.py")
    assert isinstance(facts, ModuleFacts)
    assert facts.run is not None
    return facts.run


def annotated(text: str) -> TypeFacts:
    return function(f"def run(x: {text}): ...").arguments[0].type


def plain(kind: ScalarKind, *, many: bool = False, optional: bool = False) -> ParamType:
    return ParamType(base=Scalar(kind=kind), many=many, optional=optional)


COLOR = EnumChoice(module="src.tool", name="Color", members=(("RED", "red"), ("BLUE", "blue")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("str", plain("str")),
        ("int", plain("int")),
        ("float", plain("float")),
        ("bool", plain("bool")),
        ("Path", plain("path")),
        ("pathlib.Path", plain("path")),
        ("date", plain("date")),
        ("dt.date", plain("date")),
        ("dt.datetime", plain("datetime")),
        ("decimal.Decimal", plain("decimal")),
        ("uuid.UUID", plain("uuid")),
        ("'dt.date'", plain("date")),
        ("'O[\"int\"]'", plain("int", optional=True)),
        ("int | None", plain("int", optional=True)),
        ("None | int", plain("int", optional=True)),
        ("O[int]", plain("int", optional=True)),
        ("t.Optional[int]", plain("int", optional=True)),
        ("Union[int, None]", plain("int", optional=True)),
        ("Union[int]", plain("int")),
        ("Annotated[int, 'x', 3]", plain("int")),
        ("Annotated[O[int], 'x']", plain("int", optional=True)),
        ("list[int]", plain("int", many=True)),
        ("List[Path]", plain("path", many=True)),
        ("t.List['int']", plain("int", many=True)),
        ("list[int] | None", plain("int", many=True, optional=True)),
        ("list", plain("str", many=True)),
        ("Since", plain("date", optional=True)),
        ("list[Since]", UnknownType(text="list[Since]")),
        ("Literal['a', 'b']", ParamType(base=Choice(values=("a", "b")))),
        ("Literal[1, -2, True]", ParamType(base=Choice(values=(1, -2, True)))),
        ("Literal['a', None]", ParamType(base=Choice(values=("a",)), optional=True)),
        ("list[Literal['a']]", ParamType(base=Choice(values=("a",)), many=True)),
        ("Color", ParamType(base=COLOR)),
        ("list[Color]", ParamType(base=COLOR, many=True)),
        ("'Color | None'", ParamType(base=COLOR, optional=True)),
        ("M", UnknownType(text="M")),
        ("Sequence[int]", UnknownType(text="Sequence[int]")),
        ("int | str", UnknownType(text="int | str")),
        ("list[list[int]]", UnknownType(text="list[list[int]]")),
        ("list[int | None]", UnknownType(text="list[int | None]")),
        ("dict[str, int]", UnknownType(text="dict[str, int]")),
        ("t.Any", UnknownType(text="t.Any")),
        ("None", UnknownType(text="None")),
        ("Plain", UnknownType(text="Plain")),
        ("Empty", UnknownType(text="Empty")),
        ("Loop", UnknownType(text="Loop")),
        ("nowhere", UnknownType(text="nowhere")),
        ("'int |'", UnknownType(text="'int |'")),
        ("f(1)", UnknownType(text="f(1)")),
        ("Literal[b'x']", UnknownType(text="Literal[b'x']")),
    ],
)
def test_annotation(text: str, expected: TypeFacts) -> None:
    assert annotated(text) == expected


def test_members_without_a_constant_are_shown_by_name() -> None:
    kind = annotated("Level")
    assert isinstance(kind, ParamType)
    assert isinstance(kind.base, EnumChoice)
    assert kind.base.members == (("LOW", "1"), ("HIGH", "HIGH"))
    kind = annotated("Word")
    assert isinstance(kind, ParamType)
    assert isinstance(kind.base, EnumChoice)
    assert kind.base.members == (("ONE", "one"),)


@pytest.mark.parametrize(
    ("default", "expected", "value", "source"),
    [
        ("'x'", plain("str"), "x", "'x'"),
        ("3", plain("int"), 3, "3"),
        ("-3", plain("int"), -3, "-3"),
        ("1.5", plain("float"), 1.5, "1.5"),
        ("True", plain("bool"), True, "True"),
        ("None", plain("str", optional=True), None, "None"),
        ("[1, 2]", plain("int", many=True), [1, 2], "[1, 2]"),
        ("('a', 'b')", plain("str", many=True), ["a", "b"], "('a', 'b')"),
        ("[]", plain("str", many=True), [], "[]"),
        ("(1, 'a')", plain("str", many=True), [1, "a"], "(1, 'a')"),
        ("{'a': 1}", plain("str"), {"a": 1}, "{'a': 1}"),
        ("Path('x')", plain("str"), None, "Path('x')"),
        ("1e999", plain("str"), None, "1e309"),
        ("b'x'", plain("str"), None, "b'x'"),
        ("{1}", plain("str"), None, "{1}"),
        ("1j", plain("str"), None, "1j"),
        ("...", plain("str"), None, "..."),
        ("'a' + 'b'", plain("str"), "ab", "'a' + 'b'"),
        (r"'\ud800'", plain("str"), None, r"'\ud800'"),
    ],
)
def test_default_without_annotation(
    default: str, expected: ParamType, value: object, source: str
) -> None:
    (argument,) = function(f"def run(x={default}): ...").arguments
    assert argument.type == expected
    assert argument.default == value
    assert type(argument.default) is type(value)
    assert argument.default_source == source


def test_none_as_default_makes_the_type_optional() -> None:
    (argument,) = function("def run(x: int = None): ...").arguments
    assert argument.type == plain("int", optional=True)


def test_kinds_of_arguments() -> None:
    run = function("def run(a, b=1, /, c=2, *rest, d, e=3, **extra): ...")
    found = [(one.name, one.is_positional_only, one.default_source) for one in run.arguments]
    assert found == [
        ("a", True, None),
        ("b", True, "1"),
        ("c", False, "2"),
        ("d", False, None),
        ("e", False, "3"),
    ]
    assert run.takes_extra
    assert not run.is_async
    assert function("async def run(): ...").is_async


def test_help_comes_from_the_docstring() -> None:
    run = function('def run(a, b):\n    """Do.\n\n    Args:\n        b: The second.\n    """\n')
    assert [argument.help for argument in run.arguments] == ["", "The second."]


def test_a_name_that_the_module_takes_over_is_no_builtin() -> None:
    assert function("int = 3\ndef run(x: int): ...").arguments[0].type == UnknownType(text="int")


def test_a_default_too_deep_to_be_written_is_dots() -> None:
    (argument,) = function(f"def run(x={'-' * 900}1): ...").arguments
    assert argument.default is None or argument.default == 1
    assert argument.default_source is not None


@pytest.mark.parametrize(
    ("kind", "default", "shown", "texts"),
    [
        ("Path", "Path('x')", "x", ("x",)),
        ("Path", "pathlib.Path('a', './b/')", "a/b", ("a/b",)),
        ("Path", "Path()", ".", (".",)),
        ("O[Path]", "Path('a') / 'b' / '..' / 'c'", "a/b/../c", ("a/b/../c",)),
        ("Path", "Path('a') / name", None, ()),
        ("Path", "Path('a', 3)", None, ()),
        ("Path", "'a' / Path('b')", "a/b", ("a/b",)),
        ("Path", "Path(__file__).parent", None, ()),
        ("str", "Path('x')", None, ()),
        ("Color", "Color.BLUE", "blue", ("blue",)),
        ("Color", "Color.BLUE.value", None, ()),
        ("Color", "Color.GREEN", None, ()),
        ("Color", "Word.ONE", None, ()),
        ("Level", "Level.HIGH", "HIGH", ("HIGH",)),
        ("list[Color]", "[Color.RED]", ["red"], ("red",)),
        ("list[Color]", "[Color.RED, name]", None, ()),
        ("list[Color]", "Color.RED", None, ()),
        ("list[Path]", "(Path('a'), Path('b'))", ["a", "b"], ("a", "b")),
        ("date", "date(2024, 1, 31)", None, ("2024-01-31",)),
        ("date", "date(2024, 1)", None, ()),
        ("date", "date(2024, 1, 'x')", None, ()),
        ("date", "date(year=2024, month=1, day=31)", None, ()),
        ("date", "date.today()", None, ()),
        ("decimal.Decimal", "decimal.Decimal('1.50')", None, ()),
    ],
)
def test_default_that_is_made_from_literals(
    kind: str, default: str, shown: object, texts: tuple[str, ...]
) -> None:
    (argument,) = function(f"def run(x: {kind} = {default}): ...").arguments
    assert (argument.default, argument.default_texts) == (shown, texts)
