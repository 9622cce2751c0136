"""Random pipelines on each database, with edits, restored backups, other programs and a second checkout: after
`run --changed` all is as a run from scratch makes it in a new database.

`tests/support/database_worlds.py` has what a pipeline can consist of, and what can happen to it. A failure is shown with its
seed and the smallest history that was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec

import pytest

from tests.support.database_differential import first_failure
from tests.support.database_worlds import random_history
from tests.support.fork_server import ORCH_AND_WORKERS, ForkServer

FULL, CHUNKS = 500, 25
DIALECTS = ("sqlite", "postgresql", "duckdb")


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(ORCH_AND_WORKERS) as server:
        yield server


def check(
    seeds: Iterable[int], dialect: str, server: ForkServer, new_postgres: Callable[[], str]
) -> None:
    has_pandas = find_spec("pandas") is not None
    histories = ((seed, random_history(seed, dialect, has_pandas=has_pandas)) for seed in seeds)
    told = first_failure(histories, server, new_postgres)
    assert not told, told


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_on_each_database_all_is_as_from_scratch_in_4_histories(
    dialect: str, server: ForkServer, new_postgres: Callable[[], str]
) -> None:
    check(range(4), dialect, server, new_postgres)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("start", range(1000, 1000 + FULL, FULL // CHUNKS))
def test_on_each_database_all_is_as_from_scratch_in_500_histories(
    start: int, dialect: str, server: ForkServer, new_postgres: Callable[[], str]
) -> None:
    check(range(start, start + FULL // CHUNKS), dialect, server, new_postgres)
