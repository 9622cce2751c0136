"""Versions of parameters: equal where `run()` gets equal values, whatever was typed, and different elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from discover_orch.model.parameter import EnumChoice, Param, ParamType
from discover_orch.planning import project_view
from discover_orch.planning.param_values import (
    GivenParams,
    KeyValue,
    default_versions,
    param_versions,
)
from discover_orch.planning.plan import build_plan, step_versions
from tests.conftest import Project
from tests.support.values import make_param, make_project, make_registry, make_selection, make_tool

FILES = {
    "src/kinds.py": """
        from enum import Enum, auto
        class Unit(Enum):
            CELSIUS = "celsius"
            FAHRENHEIT = "fahrenheit"
            ALIAS = "celsius"
            MADE = auto()
        """,
    "src/again/__init__.py": "from src.kinds import Unit\n",
    "src/tool.py": """
        import datetime as dt
        from datetime import date, datetime
        from decimal import Decimal
        from enum import Enum
        from pathlib import Path
        from typing import Literal
        from uuid import UUID
        from src import again, kinds
        from src.again import Unit
        STAGE = "s"
        MONTHS = 3
        class Own(Enum):
            ONE = 1
            TWO = 2
        def run(
            *,
            title: str = "Seattle",
            unit: Unit = Unit.CELSIUS,
            other: kinds.Unit = again.Unit.MADE,
            units: list[Unit] = [Unit.CELSIUS, kinds.Unit.FAHRENHEIT],
            own: Own = Own.TWO,
            path: Path = Path("./x"),
            joined: Path = Path("data", "in") / "a.csv",
            paths: list[Path] = [Path("a"), Path("b")],
            part: float = 1,
            flag: bool = True,
            day: date = date(2024, 1, 31),
            at: dt.datetime = dt.datetime(2024, 1, 31, 12),
            at_once: datetime | None = None,
            money: Decimal = Decimal("1.50"),
            item: UUID = UUID("12345678-1234-5678-1234-567812345678"),
            kind: Literal["1", 1, True] = True,
            many: list[int] = (1, 2),
            plain="default",
            months: int = MONTHS,
            text: str = 3,
            named: Unit = "celsius",
            here: Path = Path(__file__),
            api_token: str = "secret",
            needed: int,
            **extra,
        ): ...
        """,
}


@pytest.fixture
def versions(project: Project) -> Callable[..., dict[str, str]]:
    """The versions of the tool's parameters with `name=text` typed, a text for each value of a list."""
    root = project(FILES)
    view = project_view.read_project(str(root), None, {})
    tool = view.registry.tools["src.tool"]

    def read(folder: str = "", extra: str = "", **texts: str | tuple[str, ...]) -> dict[str, str]:
        options = {name: (text,) if isinstance(text, str) else text for name, text in texts.items()}
        pairs = tuple(
            KeyValue(tool=None, name=name, text=text)
            for name, _, text in [one.partition("=") for one in extra.split()]
        )
        values = GivenParams(options=options, pairs=pairs, folder=folder or str(root))
        found = param_versions(tool, view.registry, view.project, values)
        if "needed" in texts:
            selection = make_selection(view.registry, "tool")
            plan = build_plan(selection, view.registry, view.project, values)
            assert step_versions(plan.steps[0], str(root)) == found
        return found

    return read


DEFAULTS = {
    "title": "Seattle",
    "unit": "celsius",
    "other": "MADE",
    "units": '["celsius", "fahrenheit"]',
    "own": "2",
    "path": "x",
    "joined": "data/in/a.csv",
    "paths": '["a", "b"]',
    "part": "1.0",
    "flag": "True",
    "day": "2024-01-31",
    "at": "default",
    "at_once": "None",
    "money": "default",
    "item": "default",
    "kind": "True",
    "many": "default",  # a tuple is not the list that is typed
    "plain": '"default"',
    "months": "default",
    "text": "default",
    "named": "default",
    "here": "default",
}


def test_what_is_not_given_has_the_version_of_the_default(
    versions: Callable[..., dict[str, str]],
) -> None:
    assert versions() == DEFAULTS
    assert versions(needed="3", api_token="x") == {**DEFAULTS, "needed": "3"}


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("title", "Seattle"),
        ("unit", "celsius"),
        ("unit", "CELSIUS"),
        ("other", "MADE"),
        ("units", ("CELSIUS", "fahrenheit")),
        ("own", "TWO"),
        ("own", "2"),
        ("path", "x"),
        ("path", "./x"),
        ("path", "x/"),
        ("joined", "data//in/./a.csv"),
        ("paths", ("./a", "b")),
        ("part", "1.0"),
        ("part", "1e0"),
        ("flag", "yes"),
        ("day", "2024-01-31"),
        ("day", "20240131"),
        ("day", "2024-W05-3"),
        ("kind", "true"),
        ("plain", "default"),
    ],
)
def test_a_default_that_was_typed_is_the_default(
    versions: Callable[..., dict[str, str]], name: str, typed: str
) -> None:
    assert versions(**{name: typed}) == DEFAULTS


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("title", "seattle"),
        ("title", "./Seattle"),
        ("unit", "fahrenheit"),
        ("unit", "ALIAS"),
        ("units", ("fahrenheit", "celsius")),
        ("path", "../x"),
        ("path", "y/../x"),
        ("paths", ("a, b",)),
        ("flag", "no"),
        ("day", "2024-02-01"),
        ("at", "2024-01-31T12:00+00:00"),
        ("at_once", "2024-01-31"),
        ("kind", "1"),
        ("many", ()),
        ("months", "3"),
        ("text", "3"),
        ("text", "default"),
        ("named", "celsius"),
        ("part", "many"),
    ],
)
def test_another_value_is_another_version(
    versions: Callable[..., dict[str, str]], name: str, typed: str
) -> None:
    found = versions(**{name: typed})
    assert found.pop(name) not in (DEFAULTS[name], "")
    assert found == {key: text for key, text in DEFAULTS.items() if key != name}


def test_a_path_below_the_root_is_the_same_from_everywhere(
    versions: Callable[..., dict[str, str]], project: Project
) -> None:
    root = project({})
    assert versions(path=str(root / "x")) == DEFAULTS
    assert versions(folder=str(root / "data"), path="../x") == DEFAULTS
    assert versions(path=str(root))["path"] == "."
    assert versions(path=f"{root}-2/x")["path"] == f"{root}-2/x"


def test_extra_parameters_count_as_texts_and_secrets_never(
    versions: Callable[..., dict[str, str]],
) -> None:
    found = versions(extra="more=1 some-key=default db_password=x")
    assert found == {**DEFAULTS, "more": "1", "some_key": '"default"'}


def test_the_versions_of_the_defaults_say_which_value_is_the_default(
    versions: Callable[..., dict[str, str]], project: Project
) -> None:
    root = project(FILES)
    tool = project_view.read_project(str(root), None, {}).registry.tools["src.tool"]
    assert default_versions(tool, str(root)) == DEFAULTS


def one_version(param: Param, *texts: str) -> str:
    tool = make_tool("src.parse", params=[param])
    registry = make_registry()
    values = GivenParams(options={param.name: texts})
    return param_versions(tool, registry, make_project(), values)[param.name]


@for_all(st.text(), st.text())
def test_two_texts_have_two_versions_and_none_is_empty(one: str, other: str) -> None:
    param = make_param("x")
    found = one_version(param, one)
    assert (found == one_version(param, other)) == (one == other)
    assert found not in ("", "?", "None", "default")


@for_all(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_two_lists_of_texts_have_two_versions(one: list[str], other: list[str]) -> None:
    param = make_param("x", many=True)
    assert (one_version(param, *one) == one_version(param, *other)) == (one == other)


@for_all(st.dictionaries(st.sampled_from("ABC"), st.sampled_from("ABCx"), min_size=1))
def test_a_member_is_shown_by_what_is_converted_to_it(members: dict[str, str]) -> None:
    choice = EnumChoice(module="src.m", name="E", members=tuple(members.items()))
    for member in members:
        text = choice.text_of(member)
        assert text is None or choice.find_member(text) == member
    param = Param(name="x", type=ParamType(base=choice))
    found = {one_version(param, text): choice.find_member(text) for text in members}
    assert len(found) == len(set(found.values()))
