"""What `run()` returns, as metrics: the scalars of a mapping, each as a plain value that JSON can hold.

In: whatever the user's code gave. Out: a dict. Raises nothing of the user's, and keeps no text or number so long
that it would be a burden to everybody after.
"""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LONGEST_TEXT = 1000  # characters
LONGEST_NUMBER = 1 << 1000  # a larger one takes long to write, and is refused by Python beyond


def read_metrics(returned: object) -> Mapping[str, object]:
    """The scalars of a mapping that `run()` returned; whatever else it is or holds is no metric."""
    metrics: dict[str, object] = {}
    try:
        if returned is None or not isinstance(returned, Mapping):
            return metrics
        for name, given in returned.items():
            if isinstance(name, str):
                is_scalar, scalar = _read_scalar(given)
                if is_scalar:
                    metrics[str.__str__(name)[:LONGEST_TEXT]] = scalar
    except Exception:  # a mapping of the user's own class, or one that does not say what it is
        return metrics
    return metrics


def _read_scalar(given: Any) -> tuple[bool, object]:
    """Whether it is a scalar, and which: what raises when it is asked is none."""
    try:
        return _ask_scalar(given)
    except Exception:
        return False, None


def _ask_scalar(given: Any) -> tuple[bool, object]:
    if given is None or isinstance(given, bool):
        return True, given
    if isinstance(given, str):
        return True, str.__str__(given)[:LONGEST_TEXT]
    if isinstance(given, int):
        return abs(given) < LONGEST_NUMBER, int(given)
    if isinstance(given, float):
        return True, float(given)
    item = getattr(given, "item", None)  # a scalar of numpy and its kin
    if callable(item):
        inner = item()
        if inner is None or isinstance(inner, (bool, int, float, str)):
            return _ask_scalar(inner)
    return False, None
