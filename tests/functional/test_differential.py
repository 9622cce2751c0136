"""Random pipelines with random histories: after `run --changed`, and whenever a watch waits, a project is as one that
was run from scratch.

`tests/support/worlds.py` has what a pipeline can consist of, `tests/support/histories.py` what can happen to it. A
failure is shown as the smallest script of commands that was found.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.support.differential import CommandPlay, FourWorkersPlay, Play, first_failure
from tests.support.watch_differential import WatchPlay, random_watch_history

FULL, CHUNKS = 5000, 50


def check(seeds: Iterable[int], play: type[Play] = Play) -> None:
    told = first_failure(seeds, play=play)
    assert not told, told


def check_watch(seeds: Iterable[int]) -> None:
    told = first_failure(seeds, random_watch_history, WatchPlay)
    assert not told, told


def test_after_changed_all_is_as_from_scratch_and_the_commands_agree_in_a_history() -> None:
    check(range(1))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_after_changed_all_is_as_from_scratch_and_the_commands_agree_in_24_histories() -> None:
    check(range(1, 25))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_four_workers_give_the_result_of_one_in_8_histories() -> None:
    check(range(70, 78), FourWorkersPlay)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_tools_behind_a_command_give_the_result_of_one_worker_in_4_histories() -> None:
    check(range(100, 104), CommandPlay)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("start", range(1000, 1000 + FULL, FULL // CHUNKS))
def test_after_changed_all_is_as_from_scratch_and_the_commands_agree_in_5000_histories(
    start: int,
) -> None:
    check(range(start, start + FULL // CHUNKS))


def test_when_a_watch_waits_all_is_fresh_and_as_from_scratch_in_a_history() -> None:
    check_watch(range(1))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_when_a_watch_waits_all_is_fresh_and_as_from_scratch_in_20_histories() -> None:
    check_watch(range(1, 21))


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("start", range(1000, 1000 + FULL, FULL // CHUNKS))
def test_when_a_watch_waits_all_is_fresh_and_as_from_scratch_in_5000_histories(
    start: int,
) -> None:
    check_watch(range(start, start + FULL // CHUNKS))
