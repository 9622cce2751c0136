"""What no transcript shows of the status: how long it takes, and a clock that was wrong."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from discover_orch.staleness.memory import Memory
from discover_orch.staleness.reason_sentences import CLOCK_TOLERANCE
from tests.conftest import Project
from tests.support.recorded import (
    record,
    remaining,
    result,
    stale,
    success,
    tool,
)


def count_calls(root: Path) -> int:
    """The function calls that it takes to find out what is stale, those of C functions too."""
    work, count = remaining(root), 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work.freshness()
    finally:
        sys.setprofile(None)
    return count


def test_twice_as_many_tools_that_never_ran_are_twice_the_work(project: Project) -> None:
    counts = []
    for tools in (200, 400):
        files = {f"src/t{number}.py": tool() for number in range(tools)}
        root = project({"orch.toml": "", **files})
        remaining(root).freshness()  # from now on the code is known
        counts.append(count_calls(root))
    assert counts[1] < 2.2 * counts[0], counts


def test_a_success_in_the_future_has_no_known_age(project: Project) -> None:
    root = project({"orch.toml": "", "src/a.py": tool(ORCH={"max_age": "1d"})})
    record(root)
    made, before = result(root, "src.a"), success(root)
    assert stale(root) == {}
    for at, sentences in (
        (datetime.now(UTC) + timedelta(seconds=CLOCK_TOLERANCE / 2), {}),
        (
            datetime.now(UTC) + timedelta(days=400),  # the clock was wrong, and is right now
            {"a": ("the last success is dated in the future, so its age is not known (max_age)",)},
        ),
    ):
        Memory(str(root)).write(replace(made, success=replace(before, at=at.isoformat())))
        assert stale(root) == sentences
