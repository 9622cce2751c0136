"""A pipeline orchestrator that discovers its tools: each module with `STAGE` and `run()` is a tool."""

from __future__ import annotations

TYPE_CHECKING = (
    False  # type checkers take it for True; each worker imports this file, and `typing` takes 4 ms
)
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

__version__ = "0.1.0"
__all__ = ["__version__", "resource"]


def resource(function: F) -> F:
    """Marks a function in `orchconf.py` as a resource: a `run()` with a parameter of its name gets its result.

    The decorator is read from the source; it returns the function unchanged.
    """
    return function
