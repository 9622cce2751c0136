"""Programs of the system that a test starts."""

from __future__ import annotations

import shutil

import pytest


def find_program(*names: str) -> str:
    """The path of the first one that is installed; skips the test if there is none. `.ci/run` installs them."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"{names[0]} is not installed")
    return found
