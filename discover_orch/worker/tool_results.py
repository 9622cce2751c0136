"""What a tool must give back: metrics, which `run()` returns, and the files that ORCH declares as outputs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from discover_orch.model.conventions import GLOB_CHARACTERS

LONGEST_TEXT = 1000  # characters
LONGEST_NUMBER = 1 << 1000  # Python refuses to write much longer ones as text


def read_metrics(returned: object) -> Mapping[str, object]:
    """The scalars of the mapping that `run()` returned, as plain values that JSON can hold.

    Everything else is ignored, also values of the user's classes that raise when they are read.
    """
    metrics: dict[str, object] = {}
    try:
        if returned is None or not isinstance(returned, Mapping):
            return metrics
        for name, given in returned.items():
            if isinstance(name, str):
                is_scalar, scalar = _read_scalar(given)
                if is_scalar:
                    metrics[str.__str__(name)[:LONGEST_TEXT]] = scalar
    except Exception:  # a mapping of the user's own class
        return metrics
    return metrics


def note_ignored(returned: object, metrics: Mapping[str, object]) -> list[str]:
    """A sentence on what of the returned value is not in its `metrics`."""
    kept = "only the scalars of a mapping are kept"
    try:
        if returned is None:
            return []
        if not isinstance(returned, Mapping):
            kind = type.__getattribute__(type(returned), "__name__")
            return [f"run() returned a value of type {kind}, which is ignored: {kept}"]
        left = len(returned) - len(metrics)
    except Exception:  # a mapping of the user's own class
        return [f"run() returned a mapping that cannot be read: {kept}"]
    if left <= 0:
        return []
    word = (
        "value that is not a scalar and is" if left == 1 else "values that are not scalars and are"
    )
    return [f"run() returned {left} {word} ignored: {kept}"]


def _read_scalar(given: Any) -> tuple[bool, object]:
    """(is a scalar, its plain value)"""
    try:
        return _convert_scalar(given)
    except Exception:
        return False, None


def _convert_scalar(given: Any) -> tuple[bool, object]:
    if given is None or isinstance(given, bool):
        return True, given
    if isinstance(given, str):
        return True, str.__str__(given)[:LONGEST_TEXT]
    if isinstance(given, int):
        return abs(given) < LONGEST_NUMBER, int(given)
    if isinstance(given, float):
        return True, float(given)
    item = getattr(given, "item", None)  # a scalar of numpy, for example
    if callable(item):
        inner = item()
        if inner is None or isinstance(inner, (bool, int, float, str)):
            return _convert_scalar(inner)
    return False, None


class MissingOutput(Exception):
    """A tool returned without having written a declared output."""

    hint = 'write the file in run(), or remove it from "outputs" in ORCH'


def check_outputs(root: str, outputs: Iterable[str]) -> None:
    """Raises MissingOutput. Paths and globs are relative to `root`; a glob needs one match."""
    missing = [one for one in outputs if not _exists(root, one)]
    if missing:
        word = "output" if len(missing) == 1 else "outputs"
        raise MissingOutput(f"declared {word} not written: {', '.join(missing)}")


def _exists(root: str, path: str) -> bool:
    if os.path.exists(os.path.join(root, path)):  # a file whose name has `[` in it, for example
        return True
    if not GLOB_CHARACTERS & set(path):
        return False
    import glob  # few tools declare a glob

    return next(glob.iglob(path, root_dir=root, recursive=True), None) is not None
