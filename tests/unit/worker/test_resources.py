"""Opened once when first needed, closed once, on every path."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from discover_orch.worker.interrupts import Interrupts
from discover_orch.worker.protocol import Prepare
from discover_orch.worker.resources import Resources


def test_an_interrupt_after_the_yield_does_not_lose_what_was_opened() -> None:
    """The generator is suspended at its yield when the exception comes: it must be resumed."""
    log: list[str] = []
    interrupts = Interrupts()

    def resource() -> Iterator[int]:
        log.append("open")
        yield 1
        log.append("close")

    def call(function: Any, /, *args: Any, **named: Any) -> Any:
        given = interrupts.call(function, *args, **named)
        if function is next and "close" not in log:
            raise KeyboardInterrupt
        return given

    conf: Any = SimpleNamespace(a=resource)
    resources = Resources(
        Prepare(root="/nowhere", pythonpath=(), database="sqlite://", resources={"a": ()}),
        load_conf=lambda: conf,
        call=call,
    )
    with pytest.raises(KeyboardInterrupt):
        resources.open(["a"])
    assert resources.close() == []
    assert log == ["open", "close"]
