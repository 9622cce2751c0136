"""Parsing leaves no warning behind."""

from __future__ import annotations

import warnings

import pytest

from discover_orch.source.parse import (
    ignore_warnings,
    parse_strictly,
)


def test_no_warning_leaves_and_none_is_made_an_error() -> None:
    data = b"x = '\\d'\nassert (x, 'always true')\ny = 1 is 1\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ignore_warnings():
            parse_strictly(data)
        with pytest.raises(SyntaxError):
            parse_strictly(data)
