"""A pipeline orchestrator that discovers its tools: a module with `STAGE` and `run()` is one."""

from __future__ import annotations

TYPE_CHECKING = (
    False  # what type checkers go by; every worker imports this, and `typing` costs 4 ms
)
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

__version__ = "0.1.0"
__all__ = ["__version__", "resource"]


def resource(function: F) -> F:
    """Marks a function of `orchconf.py` whose result any `run()` can take by its name.

    The mark is read from the source; the function itself comes back unchanged.
    """
    return function
