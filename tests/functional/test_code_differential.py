"""Random projects whose tools share modules, with edits of their code: after `run --changed` all is as from scratch.

`tests/support/code_worlds.py` has what code can consist of, and what can happen to it. A failure is shown with its seed and
the smallest history that was found. Before Python 3.12 whole modules count, so more runs, and all is right too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.support.code_differential import play, play_all
from tests.support.code_mutations import PARTS, without
from tests.support.code_worlds import random_history
from tests.support.fork_server import ORCH_AND_WORKERS, ForkServer
from tests.support.promises import IllFormed

MOST = 40  # histories in which it must show that a part of the rule is missing
FULL, CHUNKS = 3_000, 100


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(ORCH_AND_WORKERS) as server:
        yield server


def check(start: int, count: int, server: ForkServer) -> None:
    told, _, _ = play_all(
        ((seed, random_history(seed)) for seed in range(start, start + count)), server
    )
    assert not told, told


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_after_edits_of_shared_code_all_is_as_from_scratch_in_6_histories(
    server: ForkServer,
) -> None:
    check(0, 6, server)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("start", range(1000, 1000 + FULL, FULL // CHUNKS))
def test_after_edits_of_shared_code_all_is_as_from_scratch_in_3000_histories(
    start: int, server: ForkServer
) -> None:
    check(start, FULL // CHUNKS, server)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.version_info < (3, 12), reason="whole modules count")
@pytest.mark.parametrize("part", PARTS)
def test_without_a_part_of_the_rule_stale_work_is_called_fresh(part: str) -> None:
    with ForkServer(without(part)) as server:
        for seed in range(MOST):
            try:
                told, _, _ = play(random_history(seed, PARTS[part][1]), server)
            except IllFormed:
                continue
            if told is not None:
                assert told.promise == "not as from scratch"
                return
    pytest.fail("the law holds without it")
