"""Random pipelines of Python, polars, shell and C, beside a program that reads all of their files and writes some: after
`run --changed` a project is as one that was run from scratch, and no reader makes a tool stale.

`tests/support/traced_worlds.py` has what a pipeline can consist of, `tests/support/traced_histories.py` what can happen
to it. A failure is shown with its seed and the smallest history that was found.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support import refused_trace
from tests.support.fork_server import ORCH_AND_WORKERS, ForkServer
from tests.support.traced_differential import compile_program, first_failure
from tests.support.traced_histories import random_declared_history
from tests.support.traced_worlds import STEP_C

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="what native code opens is seen on Linux only"
)
FULL, CHUNKS = 500, 25


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tools of C start."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    return compile_program(tmp_path_factory.mktemp("program"), STEP_C)


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(ORCH_AND_WORKERS) as server:
        yield server


@pytest.fixture(scope="module")
def refused_server() -> Iterator[ForkServer]:
    """There the kernel refuses to trace, as another listener is above."""
    prefix = (sys.executable, "-I", refused_trace.__file__)
    with ForkServer(ORCH_AND_WORKERS, prefix) as server:
        yield server


def check(seeds: Iterable[int], server: ForkServer, program: Path) -> None:
    told = first_failure(seeds, server, program)
    assert not told, told


def check_declared(seeds: Iterable[int], server: ForkServer, program: Path) -> None:
    """What nobody sees there is declared; what Python does is not."""
    told = first_failure(seeds, server, program, random_declared_history)
    assert not told, told


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_beside_other_programs_all_is_as_from_scratch_in_5_histories(
    server: ForkServer, program: Path
) -> None:
    check(range(5), server, program)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_where_the_trace_is_refused_all_is_as_from_scratch_in_3_histories(
    refused_server: ForkServer, program: Path
) -> None:
    check_declared(range(3), refused_server, program)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("start", range(1000, 1000 + FULL, FULL // CHUNKS))
def test_beside_other_programs_all_is_as_from_scratch_in_500_histories(
    server: ForkServer, program: Path, start: int
) -> None:
    check(range(start, start + FULL // CHUNKS), server, program)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("start", range(1000, 1000 + FULL, FULL // CHUNKS))
def test_where_the_trace_is_refused_all_is_as_from_scratch_in_500_histories(
    refused_server: ForkServer, program: Path, start: int
) -> None:
    check_declared(range(start, start + FULL // CHUNKS), refused_server, program)
