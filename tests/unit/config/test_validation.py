"""Values that were set: the rule of each kind, decoding of variables, gathering, words."""

from __future__ import annotations

from datetime import date

import pytest

from discover_orch.config.validation import (
    described,
    printable,
    shown,
)


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
