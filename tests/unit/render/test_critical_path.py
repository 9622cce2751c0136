"""What tools of a recorded run waited for."""

from __future__ import annotations

from discover_orch.render.critical_path import find_critical_path, find_recorded_waits
from discover_orch.state.recorded_run import Attempt, RecordedStep, RunRecord, ToolRecord


def details(workers: int, **tools: tuple[float, float, int, str]) -> RunRecord:
    """`name=(start, end, worker, names that it depends on)`."""
    return RunRecord(
        run="1",
        status="passed",
        workers=workers,
        tools=tuple(
            ToolRecord(
                name=name,
                module=name,
                status="passed",
                step=RecordedStep(module=name, name=name, after=tuple(after.split())),
                attempts=(Attempt(start=start, end=end, worker=worker, status="passed"),),
            )
            for name, (start, end, worker, after) in tools.items()
        ),
    )


def test_side_by_side_each_tool_waits_for_data_for_its_worker_or_for_its_turn() -> None:
    run = details(
        2,
        a=(0.0, 1.0, 1, ""),
        b=(0.0, 3.0, 2, ""),
        c=(1.0, 2.0, 1, "a"),
        d=(2.01, 2.5, 1, "a"),
        e=(3.0, 4.0, 1, ""),
        f=(3.0, 3.0, 2, "b"),
    )
    waits = find_recorded_waits(run)
    assert {name: (one.by, one.why, one.ready) for name, one in waits.items()} == {
        "c": ("a", "depends", 1.0),
        "d": ("c", "worker", 1.0),
        "e": ("b", "order", 0.0),
        "f": ("b", "depends", 3.0),
    }
    assert find_critical_path(run, waits) == ("b", "e")


def test_with_one_worker_the_longest_chain_counts() -> None:
    run = details(
        1,
        a=(0.0, 1.0, 1, ""),
        b=(1.0, 3.0, 1, ""),
        c=(3.0, 5.0, 1, "a"),
        d=(5.0, 5.5, 1, "b"),
    )
    assert find_critical_path(run, find_recorded_waits(run)) == ("a", "c")


def test_a_run_in_which_nothing_started_has_no_path() -> None:
    assert find_critical_path(details(1), find_recorded_waits(details(1))) == ()
