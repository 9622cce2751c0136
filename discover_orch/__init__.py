"""A pipeline orchestrator that discovers its tools: each module with `STAGE` and `run()` is a tool."""

from __future__ import annotations

# Type checkers take it for True. Each worker imports this file, and `typing` takes 4 ms.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from discover_orch.api.project import Project

    F = TypeVar("F", bound=Callable[..., Any])

__version__ = "1.0.0rc1"
__all__ = ["Project", "__version__", "observer", "resource"]


def __getattr__(name: str) -> Any:
    """`Project` is imported when it is first used."""
    if name == "Project":
        from discover_orch.api.project import Project

        globals()[name] = Project
        return Project
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def resource(function: F) -> F:
    """Marks a function in `orchconf.py` as a resource: a `run()` with a parameter of its name gets its result.

    The decorator is read from the source; it returns the function unchanged.
    """
    return function


def observer(function: F) -> F:
    """Marks a function in `orchconf.py` as an observer: a run calls it, in a process of its own, with an iterator over
    the documents of `orch run --json`.

    The decorator is read from the source; it returns the function unchanged.
    """
    return function
