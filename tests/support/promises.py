"""What the tests by random histories have in common: a promise that was not kept, and the smallest history that shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

_History = TypeVar("_History")


class IllFormed(Exception):
    """The world cannot be run from scratch: the generator is wrong, or shrinking went too far."""


class Wrong(AssertionError):
    """orch did not keep its promise; `promise` says which one."""

    def __init__(self, promise: str, details: object = "") -> None:
        super().__init__(f"{promise}: {details}")
        self.promise = promise

    def describe(self) -> str:
        return f"{' '.join(getattr(self, '__notes__', ()))}: {self}"


def shrink(
    history: _History,
    told: Wrong,
    smaller: Callable[[_History], Iterable[_History]],
    failure: Callable[[_History], Wrong | None],
    seconds: float = 60,
) -> tuple[_History, Wrong]:
    """A smaller history in which the same promise is broken, and how."""
    deadline = time.monotonic() + seconds
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for candidate in smaller(history):
            if time.monotonic() > deadline:
                return history, told
            try:
                found = failure(candidate)
            except (IllFormed, KeyError, IndexError):
                continue
            if found is not None and found.promise == told.promise:
                history, told, is_smaller = candidate, found, True
                break
    return history, told


def describe(told: Wrong, files: Mapping[str, str], steps: Iterable[object]) -> str:
    shown = (f"--- {name}\n{text}" for name, text in files.items())
    return "\n".join([told.describe(), *shown, *map(str, steps)])
