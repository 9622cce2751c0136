"""A pipeline orchestrator that discovers its tools: a module with `STAGE` and `run()` is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__version__ = "0.1.0"
__all__ = ["__version__", "resource"]

F = TypeVar("F", bound=Callable[..., Any])


def resource(function: F) -> F:
    """Marks a function of `orchconf.py` whose result any `run()` can take by its name.

    The mark is read from the source; the function itself comes back unchanged.
    """
    return function
