"""Which run can be gone on with, and what is left of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from discover_orch.planning.resume import find_resumable
from discover_orch.state.recorded_run import RunRecord


def run(number: int, status: str, resumes: int | None = None, kind: str = "run") -> RunRecord:
    other = None if resumes is None else str(resumes)
    return RunRecord(run=str(number), status=status, resumes=other, kind=kind)


def chosen(*records: RunRecord) -> str | None:
    """The records as they came, the oldest first."""
    found = find_resumable(reversed(records))
    return None if found is None else found.run


STATUSES = st.sampled_from(["failed", "interrupted", "killed", "passed", "cancelled", "running"])


@given(st.lists(st.tuples(STATUSES, st.none() | st.integers(0, 9), st.booleans()), max_size=10))
def test_the_choice_is_as_the_contract_says_it(rows: list[tuple[str, int | None, bool]]) -> None:
    records = [
        run(
            number,
            status,
            resumes if resumes is not None and resumes < number else None,
            "watch" if is_watch and resumes is None else "run",
        )
        for number, (status, resumes, is_watch) in enumerate(rows)
    ]

    def is_done(record: RunRecord) -> bool:
        return any(
            one.resumes == record.run and (one.status == "passed" or is_done(one))
            for one in records
        )

    wanted = [
        one.run
        for one in records
        if one.kind == "run" and one.status in ("failed", "interrupted", "killed")
        if not is_done(one)
    ]
    assert chosen(*records) == (wanted[-1] if wanted else None)


def test_only_as_many_records_are_read_as_are_needed() -> None:
    def endless() -> Any:
        yield run(9, "passed")
        yield run(8, "failed")
        raise AssertionError("read on")

    found = find_resumable(endless())
    assert found is not None
    assert found.run == "8"
