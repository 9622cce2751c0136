"""Marks for the cases of a test."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest


def slow_but(kept: Collection[str | int], cases: Collection[str | int]) -> list[Any]:
    """All cases but the `kept` ones run with the slow tests."""
    assert {*kept} <= {*cases}
    return [one if one in kept else pytest.param(one, marks=pytest.mark.slow) for one in cases]
