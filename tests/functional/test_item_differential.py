"""Random pipelines with items: whatever `status` calls fresh is as a clean run makes it, after anything that can happen.

`tests/support/item_worlds.py` has the pipelines, what happens to them, and the oracle. A failure is shown with its seed
and the smallest history that was found.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fork_server import ORCH_AND_WORKERS, ForkServer
from tests.support.item_differential import first_failure
from tests.support.item_worlds import random_history

FULL, CHUNKS = 3_000, 100


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(ORCH_AND_WORKERS) as server:
        yield server


def check(start: int, count: int, server: ForkServer) -> None:
    told = first_failure(
        ((seed, random_history(seed)) for seed in range(start, start + count)), server
    )
    assert not told, told


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_fresh_of_items_is_as_a_clean_run_makes_it_in_12_histories(
    server: ForkServer,
) -> None:
    check(4000, 12, server)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("start", range(1000, 1000 + FULL, FULL // CHUNKS))
def test_what_is_fresh_of_items_is_as_a_clean_run_makes_it_in_3000_histories(
    start: int, server: ForkServer
) -> None:
    check(start, FULL // CHUNKS, server)
