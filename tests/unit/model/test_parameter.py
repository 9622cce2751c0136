"""Parameters: from what was typed to what `run()` gets."""

from __future__ import annotations

import datetime
import decimal
import math
import pathlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.parameter import (
    Choice,
    ConvertError,
    EnumChoice,
    EnumMember,
    Param,
    ParamType,
    ScalarKind,
    find_url_passwords,
    hide_url_passwords,
    is_secret_name,
)
from tests.support.values import make_param

ENUM = EnumChoice(module="src.kinds", name="Kind", members=(("RAW", "raw"), ("CLEAN", "clean")))

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


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "1_000", 1000),
        ("int", "-3", -3),
        ("float", "1e3", 1000.0),
        ("float", "inf", math.inf),
        ("bool", "yes", True),
        ("bool", "OFF", False),
        ("bool", "0", False),
        ("date", "2024-01-31", datetime.date(2024, 1, 31)),
        ("datetime", "2024-01-31", datetime.datetime(2024, 1, 31)),
        ("decimal", "1.10", decimal.Decimal("1.10")),
        ("path", "data/x.csv", pathlib.Path("data/x.csv")),
        ("uuid", str(uuid.UUID(int=5)), uuid.UUID(int=5)),
    ],
)
def test_each_type_is_made_from_its_usual_spelling(
    kind: ScalarKind, text: str, value: object
) -> None:
    assert convert(kind, text) == value


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("int", "3.0", "'3.0' is not a whole number"),
        ("int", "", "'' is not a whole number"),
        ("int", "9" * 5000, "is not a whole number"),
        ("float", "1,5", "'1,5' is not a number"),
        ("bool", "maybe", "'maybe' is not true or false"),
        ("date", "31.1.2024", "'31.1.2024' is not a date like 2024-01-31"),
        ("datetime", "noon", "'noon' is not a time like 2024-01-31T12:00:00"),
        ("decimal", "x", "'x' is not a decimal number"),
        ("uuid", "x", "'x' is not a UUID"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(
    kind: ScalarKind, text: str, said: str
) -> None:
    with pytest.raises(ConvertError) as caught:
        convert(kind, text)
    assert str(caught.value).endswith(said)


def test_of_a_single_value_the_last_one_counts_and_a_list_keeps_all() -> None:
    assert convert("int", "1", "2") == 2
    assert convert("int", "1", "2", many=True) == [1, 2]


def test_a_literal_gives_its_own_value() -> None:
    param = Param(name="x", type=ParamType(base=Choice(values=("fast", 3, True))))
    assert [param.convert([text]) for text in ("fast", "3", "true")] == ["fast", 3, True]
    with pytest.raises(ConvertError, match=r"'slow' is not one of fast, 3, True"):
        param.convert(["slow"])


def test_an_enum_is_named_by_value_or_name_and_stays_unimported() -> None:
    param = Param(name="x", type=ParamType(base=ENUM))
    member = EnumMember(module="src.kinds", enum="Kind", name="RAW")
    assert param.convert(["raw"]) == param.convert(["RAW"]) == member
    with pytest.raises(ConvertError, match=r"'x' is not one of raw, clean"):
        param.convert(["x"])


def test_a_type_is_shown_in_one_word() -> None:
    assert str(ParamType(base=ENUM)) == "raw|clean"
    assert str(ParamType(base=Choice(values=("a", 1)), many=True)) == "list[a|1]"
    assert str(make_param("x", "date").type) == "date"


def test_only_a_single_bool_is_a_flag() -> None:
    assert make_param("x", "bool").type.is_flag
    assert not make_param("x", "bool", many=True).type.is_flag
    assert not make_param("x", "int").type.is_flag


def test_an_option_has_dashes_and_without_a_default_it_is_required() -> None:
    param = make_param("start_date", default_source=None)
    assert (param.flag, param.required) == ("--start-date", True)
    assert not make_param("x").required


@pytest.mark.parametrize(
    "name",
    [
        *("token", "api_token", "API_TOKEN", "password", "db-passwd", "secret", "my_api_key"),
        *(
            "passphrase",
            "aws_credentials",
            "AWS_SECRET_ACCESS_KEY",
            "secret_key",
            "ssh-private-key",
        ),
    ],
)
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["tokens", "token_count", "key", "sort_key", "primary_key", "keys", "secretary", "x"]
)
def test_a_name_that_only_resembles_one_is_no_secret(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "shown", "passwords"),
    [
        ("postgresql://ada:p%40ss,w!@host/db", "postgresql://ada:***@host/db", ["p%40ss,w!", "p@ss,w!"]),
        ("to redis://:a@b@cache and http://h:80/x", "to redis://:***@cache and http://h:80/x", ["a@b"]),
        ('{"url": "amqp://u:one@h", "b": "x://v:two@h"}', '{"url": "amqp://u:***@h", "b": "x://v:***@h"}', ["one", "two"]),
        ("https://host:8080/users/a@b?c=d:e@f", "https://host:8080/users/a@b?c=d:e@f", []),
        ('"http://a:80","ada@example.org"', '"http://a:80","ada@example.org"', []),
        ("git@github.com:ada/shop, ssh://git@host, a:b@c", "git@github.com:ada/shop, ssh://git@host, a:b@c", []),
        ("postgresql://postgres:postgres@localhost", "postgresql://postgres:***@localhost", []),
        ("pip install git+https://ghp_0123456789abcdef@github.com/a/b", "pip install git+https://***@github.com/a/b", ["ghp_0123456789abcdef"]),
        ("HTTPS://sk_0123456789abcdef:@api, http://ada@h/x", "HTTPS://***:@api, http://***@h/x", ["sk_0123456789abcdef"]),
        ("https://ghp_0123456789abcdef:x-oauth-basic@h", "https://***:***@h", ["x-oauth-basic", "ghp_0123456789abcdef"]),
        ("mysql+pymysql://ada@h/d trino+https://ada@h ftp://ada@h", "mysql+pymysql://ada@h/d trino+https://ada@h ftp://ada@h", []),
    ],
)  # fmt: skip
def test_the_passwords_of_urls_are_found_in_any_text(
    text: str, shown: str, passwords: list[str]
) -> None:
    assert hide_url_passwords(text) == shown
    assert find_url_passwords(text) == passwords
    assert hide_url_passwords(shown) == shown


@given(st.text(alphabet="a:/@ .", max_size=30), st.text(alphabet="xyz,@:!", min_size=1))
def test_no_password_of_a_url_survives(around: str, password: str) -> None:
    shown = hide_url_passwords(f"{around} db://user:secret{password}@host {around}")
    assert "secret" not in shown
