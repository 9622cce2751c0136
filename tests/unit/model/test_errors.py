"""Problems are values, errors stop: what each carries, and the code that the process answers."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.errors import (
    DiscoveryError,
    EmptyError,
    ExitCode,
    Location,
    OrchError,
    Problem,
    ProjectError,
    UsageError,
    nearest,
)


def test_exit_codes_are_those_of_the_contract() -> None:
    assert [int(code) for code in ExitCode] == [0, 1, 2, 3, 4, 5, 129, 130, 143]


def test_exit_codes_of_signals_are_as_shells_have_them() -> None:
    stopped = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}
    assert {number: 128 + number for number in stopped} == stopped
    assert {ExitCode.HANGUP, ExitCode.INTERRUPTED, ExitCode.TERMINATED} == {*stopped.values()}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (UsageError, ExitCode.USAGE),
        (ProjectError, ExitCode.USAGE),
        (DiscoveryError, ExitCode.DISCOVERY),
        (EmptyError, ExitCode.EMPTY),
    ],
)
def test_each_error_ends_the_command_with_its_own_code(
    kind: type[OrchError], code: ExitCode
) -> None:
    assert kind().exit_code is code


def test_an_error_carries_all_its_problems_and_says_them() -> None:
    one, other = Problem(code="a", message="x is wrong"), Problem(code="b", message="so is y")
    error = UsageError(one, other)
    assert error.problems == (one, other)
    assert str(error) == "x is wrong; so is y"


def test_a_place_reads_as_path_and_line() -> None:
    assert str(Location(path="src/a.py", line=3)) == "src/a.py:3"
    assert str(Location(path="src/a.py")) == "src/a.py"


def test_a_problem_is_an_error_unless_it_says_otherwise() -> None:
    assert Problem(code="x", message="x").severity == "error"


def test_the_nearest_word_is_the_one_meant() -> None:
    assert nearest("analyse", ["ingest", "analyze", "render"]) == "analyze"
    assert nearest("analyze", ()) is None
    assert nearest("zzz", ["ingest", "analyze"]) is None
    assert nearest("T1", ["ingest", "t1"]) == "t1"
    assert nearest("stage.A", (name for name in ["stage.B"])) == "stage.B"


@given(st.text(max_size=8), st.lists(st.text(max_size=8), max_size=5))
def test_the_nearest_word_is_one_of_them_and_the_word_itself_wins(
    word: str, candidates: list[str]
) -> None:
    found = nearest(word, candidates)
    assert found is None or found in candidates
    if word and word in candidates:
        assert found == word
