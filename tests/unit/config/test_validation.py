"""Values that were set: the rule of each kind, decoding of variables, gathering, words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from discover_orch.config.validation import (
    InvalidSetting,
    Kind,
    RawSetting,
    SettingReader,
    count,
    decode_variable,
    described,
    entries,
    flag,
    printable,
    seconds,
    shown,
    text,
    texts,
    word,
)
from discover_orch.model.errors import Location


def in_file(value: object) -> RawSetting:
    return RawSetting(key="key", name="key", value=value, origin="orch.toml", path=("key",))


def in_variable(value: object) -> RawSetting:
    return RawSetting(key="key", name="ORCH_KEY", value=value, origin="ORCH_KEY")


@pytest.mark.parametrize(
    ("rule", "value", "result"),
    [
        (texts, ["a", "b"], ("a", "b")),
        (texts, [], ()),
        (text, "", ""),
        (flag, False, False),
        (count, 0, 0),
        (seconds, 0.5, 0.5),
    ],
)
def test_a_value_of_its_kind_passes(
    rule: Callable[[RawSetting], object], value: object, result: object
) -> None:
    assert rule(in_file(value)) == result


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (texts, "a"),
        (texts, ["a", 1]),
        (text, 1),
        (flag, 1),
        (count, True),
        (count, 1.0),
        (count, -1),
        (seconds, True),
        (seconds, float("nan")),
        (entries, []),
    ],
)
def test_another_kind_is_wrong(rule: Callable[[RawSetting], object], value: object) -> None:
    with pytest.raises(InvalidSetting):
        rule(in_file(value))


def test_a_word_is_one_of_a_few_and_the_nearest_is_offered() -> None:
    assert word(in_file("b"), ("a", "b")) == "b"
    with pytest.raises(InvalidSetting) as caught:
        word(in_file("restrat"), ("restart", "queue"))
    assert caught.value.message == 'key must be "restart" or "queue", not "restrat"'
    assert caught.value.hint == 'did you mean "restart"?'


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        ("texts", "a, b,,", ["a", "b"]),
        ("texts", ",", []),
        ("text", "a,b", "a,b"),
        ("flag", "True", True),
        ("flag", "0", False),
        ("count", "-3", -3),
        ("table", '{"a": [1]}', {"a": [1]}),
    ],
)
def test_a_variable_is_decoded_by_its_kind(kind: Kind, written: str, value: object) -> None:
    assert decode_variable(in_variable(written), kind).value == value


@pytest.mark.parametrize(
    ("kind", "written", "hint"),
    [
        ("flag", "yes!", "write ORCH_KEY=true"),
        ("count", "1.5", "write ORCH_KEY=1"),
        ("count", "9" * 99, "write ORCH_KEY=1"),
        ("table", "{", """write ORCH_KEY='{"name": "value"}'"""),
        ("table", "9" * 9_999, """write ORCH_KEY='{"name": "value"}'"""),
        ("table", "[" * 99_999, """write ORCH_KEY='{"name": "value"}'"""),
    ],
)
def test_a_variable_that_cannot_be_decoded_shows_how_to_write_it(
    kind: Kind, written: str, hint: str
) -> None:
    with pytest.raises(InvalidSetting) as caught:
        decode_variable(in_variable(written), kind)
    assert caught.value.hint == hint
    assert len(caught.value.message) < 130


def test_the_reader_gathers_what_is_wrong_and_keeps_what_is_good() -> None:
    reader = SettingReader(file="orch.toml", read_lines=lambda: {("key",): 3, ("key", "b"): 5})
    table = in_file({"a": 1, "b": "x", "c": True})
    assert reader.read(table, lambda given: reader.read_entries(given, count)) == {"a": 1}
    assert [(problem.message, problem.location) for problem in reader.problems] == [
        ("key.b must be a whole number, not a string", Location(path="orch.toml", line=5)),
        ("key.c must be a whole number, not true", Location(path="orch.toml", line=3)),
    ]


def test_a_variable_has_no_place_in_the_file() -> None:
    reader = SettingReader(file="orch.toml", read_lines=lambda: {("key",): 3})
    assert reader.read(in_variable({"a": "x"}).entry("a", "x"), count) is None
    assert reader.problems[0].location is None
    assert reader.problems[0].hint == 'write "a": 1'


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "true"),
        ("x", "a string"),
        (1.5, "a number"),
        ({}, "a table"),
        ([], "a list"),
        (None, "null"),
        (date(2024, 1, 31), "a date or time"),
    ],
)
def test_values_are_described_in_the_words_of_toml(value: object, words: str) -> None:
    assert described(value) == words


def test_values_are_shown_on_one_printable_line() -> None:
    assert shown("a\n\x1b[31m") == r'"a\n\x1b[31m"'
    assert shown(10**5000) == "a number"
    assert shown(True) == "true"
    assert printable("é" * 99) == "é" * 57 + "..."
    assert printable("\udcff") == r"\udcff"
