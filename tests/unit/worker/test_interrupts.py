"""An interrupt is raised where the user's code runs, and kept for later everywhere else."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import traceback
from collections.abc import Iterator

import pytest

from discover_orch.worker.interrupts import Interrupts


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    before = signal.getsignal(signal.SIGINT)
    made = Interrupts()
    made.install()
    yield made
    made.close()
    signal.signal(signal.SIGINT, before)


def interrupt() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "went on"


def test_it_is_raised_in_the_users_code(interrupts: Interrupts) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupts.call(interrupt)
    assert interrupts.is_requested
    assert interrupts.was_raised


def test_between_two_steps_of_the_event_loop_it_shows_where_the_tool_waits(
    interrupts: Interrupts,
) -> None:
    async def wait_for_ever() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(interrupt)
        await loop.create_future()

    with pytest.raises(KeyboardInterrupt) as raised:
        interrupts.call(wait_for_ever)
    places = [(one.name, one.line) for one in traceback.extract_tb(raised.value.__traceback__)]
    assert ("wait_for_ever", "await loop.create_future()") in places


def test_it_waits_while_orchs_code_runs(interrupts: Interrupts) -> None:
    assert interrupt() == "went on"
    assert interrupts.is_requested
    assert not interrupts.was_raised
    with pytest.raises(KeyboardInterrupt):
        interrupts.raise_if_requested()
    assert interrupts.was_raised


def test_it_waits_while_something_is_opened_or_closed(interrupts: Interrupts) -> None:
    assert interrupts.shield(interrupt) == "went on"
    assert interrupts.is_requested
    assert not interrupts.was_raised


def test_what_is_opened_or_closed_has_its_time_and_no_more(interrupts: Interrupts) -> None:
    def hang() -> None:
        interrupt()
        time.sleep(60)

    started = time.monotonic()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            interrupts.shield(hang)
    assert time.monotonic() - started < 30
    assert interrupts.shield(time.sleep, 0.01) is None
    time.sleep(0.3)  # the reminder of the last one comes to nothing


def test_it_is_for_the_debugger_while_that_has_the_prompt(interrupts: Interrupts) -> None:
    interrupts.is_debugging = True
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert not interrupts.is_requested
    interrupts.raise_if_requested()


def test_a_coroutine_is_interrupted(interrupts: Interrupts) -> None:
    log = []

    async def tool() -> None:
        try:
            interrupt()
        finally:
            log.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        interrupts.call(tool)
    assert log == ["cleaned up"]
    assert interrupts.call(lambda: 3) == 3
