"""What is remembered of a tool, as rows of JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.dataflow import Dataflow
from discover_orch.staleness.fingerprint import DatabaseIdentity, Fingerprint
from discover_orch.staleness.last_result import (
    LastOutcome,
    Success,
    ToolResult,
    UncertainWrites,
    from_row,
    to_row,
)

TEXTS = st.text(max_size=8)
LISTS = st.lists(TEXTS, max_size=3).map(tuple)
TABLES = st.dictionaries(TEXTS, TEXTS, max_size=3)
SECONDS = st.floats(0, 1e6).map(lambda one: round(one, 6))
NUMBERS = st.integers(0, 1 << 62)
FLOWS = st.builds(
    Dataflow,
    reads=LISTS,
    writes=LISTS,
    tables_read=LISTS,
    tables_written=LISTS,
    folders=LISTS,
    missed=LISTS,
    is_unclear=st.booleans(),
)
FINGERPRINTS = st.builds(
    Fingerprint,
    code=TABLES,
    python=TEXTS,
    distributions=TABLES,
    params=st.dictionaries(TEXTS, LISTS, max_size=3),
    files=TABLES,
    folders=TABLES,
    patterns=TABLES,
    missed=LISTS,
    written=LISTS,
    database=st.none() | st.builds(DatabaseIdentity, name=TEXTS, epoch=NUMBERS),
    scheme=st.integers(1, 9),
)


@st.composite
def successes(draw: st.DrawFn) -> Success:
    one = draw(FINGERPRINTS)
    marks = draw(
        st.dictionaries(st.sampled_from([*one.files]), st.tuples(NUMBERS, NUMBERS, NUMBERS))
        if one.files
        else st.just({})
    )
    return Success(
        run=draw(NUMBERS),
        at=draw(TEXTS),
        duration=draw(SECONDS),
        accepted=draw(st.none() | NUMBERS),
        fingerprint=one,
        marks=marks,
        modules=draw(LISTS),
        flow=draw(FLOWS),
    )


RESULTS = st.builds(
    ToolResult,
    module=TEXTS,
    last=st.builds(LastOutcome, run=TEXTS, status=TEXTS, at=TEXTS, duration=SECONDS),
    success=st.none() | successes(),
    uncertain=st.none()
    | st.builds(
        UncertainWrites,
        moment=st.tuples(NUMBERS, NUMBERS),
        tables=LISTS,
        is_unclear=st.booleans(),
        database=st.none() | st.builds(DatabaseIdentity, name=TEXTS, epoch=NUMBERS),
    ),
)


@given(RESULTS)
def test_a_result_comes_back_as_it_was(result: ToolResult) -> None:
    assert from_row(json.loads(json.dumps(to_row(result)))) == result


def test_what_is_empty_takes_no_room() -> None:
    result = ToolResult(
        module="a", last=LastOutcome(run="1", status="passed"), success=Success(run=1)
    )
    assert set(to_row(result)["success"]) == {  # type: ignore[call-overload]
        *("run", "number", "at", "duration", "scheme", "python")
    }
    assert "success" not in to_row(
        ToolResult(module="a", last=LastOutcome(run="1", status="failed"))
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
KEYS = ("code", "distributions", "params", "files", "folders", "patterns", "missed", "written")
MORE = (
    "database",
    "modules",
    "flow",
    "accepted",
    "run",
    "number",
    "at",
    "duration",
    "python",
    "scheme",
)


def read_or_refuse(row: Any) -> None:
    """Whatever it is: a ValueError, or a value that can be written again."""
    try:
        result = from_row(row)
    except ValueError:
        return
    texts = json.dumps(to_row(result))
    assert json.dumps(to_row(from_row(json.loads(texts)))) == texts


@given(JSON)
def test_no_json_makes_more_than_a_value_error(row: Any) -> None:
    read_or_refuse(row)
    read_or_refuse({"module": "a", "last": row})
    read_or_refuse({"module": "a", "last": ["1", "passed", "", 0.0], "success": row})


@given(st.sampled_from((*KEYS, *MORE)), JSON, st.booleans())
def test_no_part_of_another_shape_makes_more_than_a_value_error(
    key: str, part: Any, is_inside: bool
) -> None:
    success = {"run": 1, "at": "", "duration": 0.0, "python": "3.11", "scheme": 1}
    row = {"module": "a", "last": ["1", "passed", "", 0.0], "success": success}
    success[key] = {"x": part} if is_inside else part
    read_or_refuse(row)


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("files", {"a.csv": "abcd"}),
        ("files", {"a.csv": [["x"], 1, 2, 3]}),
        ("files", {"a.csv": []}),
        ("files", {"a.csv": ["1", "x", 2, 3]}),
        ("missed", [1]),
        ("written", "out.csv"),
        ("modules", {"a": 1}),
        ("params", {"since": "2024"}),
        ("code", {"a.py": None}),
        ("flow", {"reads": [["x"]]}),
        ("flow", ["reads"]),
        ("database", [1]),
        ("run", float("inf")),
    ],
)
def test_what_later_readers_would_stumble_over_is_refused(key: str, part: object) -> None:
    success: dict[str, object] = {
        "run": 1,
        "at": "",
        "duration": 0.0,
        "python": "3.11",
        "scheme": 1,
    }
    success[key] = part
    with pytest.raises(ValueError, match=r"result|number|invalid"):
        from_row({"module": "a", "last": ["1", "passed", "", 0.0], "success": success})


def test_what_was_accepted_is_judged_by_runs_after_that_and_wrote_in_its_own() -> None:
    ran = Success(run=3)
    assert (ran.is_accepted, ran.valid_until) == (False, (3, 0))
    assert Success(run=3, number=2).valid_until == (3, 2) < Success(run=3, accepted=3).valid_until
    accepted = Success(run=3, accepted=7)
    assert (accepted.is_accepted, accepted.run, accepted.valid_until[0]) == (True, 3, 7)
    assert Success(run=0, accepted=0).is_accepted


@pytest.mark.parametrize(
    ("status", "run", "was_accepted_after"),
    [
        ("accepted", "5", True),
        ("accepted", "6", True),
        ("accepted", "4", False),
        ("accepted", "x", False),
        ("passed", "5", False),
    ],
)
def test_accepting_settles_a_run_whose_end_nobody_knows(
    status: str, run: str, was_accepted_after: bool
) -> None:
    result = ToolResult(module="a", last=LastOutcome(run=run, status=status))
    assert result.was_accepted_after("5") == was_accepted_after


def test_what_is_left_has_a_key_only_where_there_is_any() -> None:
    last = LastOutcome(run="3", status="failed")
    assert "left" not in to_row(ToolResult(module="m", last=last))
    left = UncertainWrites(moment=(3, 1), tables=("t",))
    assert to_row(ToolResult(module="m", last=last, uncertain=left))["left"] == {
        "run": 3,
        "number": 1,
        "tables": ("t",),
    }


@pytest.mark.parametrize(
    "left",
    [[], "x", {}, {"run": 1}, {"run": "x", "number": 1}, {"run": 1, "number": 1, "tables": "t"}],
)
def test_what_is_left_of_another_shape_is_no_result(left: object) -> None:
    row = {"module": "m", "last": ["1", "failed", "", 0.0], "left": left}
    with pytest.raises(ValueError, match=r"not a result|invalid literal"):
        from_row(row)
