"""Parameters: from what was typed to what `run()` gets."""

from __future__ import annotations

import datetime
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.parameter import ConvertError, ScalarKind
from tests.support.values import make_param

VALUES: dict[ScalarKind, st.SearchStrategy[object]] = {
    "str": st.text(),
    "int": st.integers(),
    "float": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "path": st.text(st.characters(codec="ascii", exclude_characters="\0")).map(pathlib.Path),
    "date": st.dates(),
    "datetime": st.datetimes(timezones=st.none() | st.just(datetime.UTC)),
    "decimal": st.decimals(allow_nan=False),
    "uuid": st.uuids(),
}


def render(value: object) -> str:
    """As a user would type it."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value)


def convert(kind: ScalarKind, *texts: str, many: bool = False) -> object:
    return make_param("x", kind, many=many).convert(texts)


@pytest.mark.parametrize("kind", VALUES)
@given(data=st.data())
def test_what_is_typed_as_it_is_shown_comes_back(kind: ScalarKind, data: st.DataObject) -> None:
    value = data.draw(VALUES[kind])
    found = convert(kind, render(value))
    assert found == value
    assert type(found) is type(value)
    several = data.draw(st.lists(VALUES[kind], max_size=3))
    assert convert(kind, *map(render, several), many=True) == several


@pytest.mark.parametrize("kind", VALUES)
@given(text=st.text(max_size=50))
def test_any_text_is_converted_or_refused_in_one_sentence(kind: ScalarKind, text: str) -> None:
    refusal = ""
    try:
        convert(kind, text)
    except ConvertError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert len(refusal) < 300
