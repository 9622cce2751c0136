"""Problems are values, errors stop: what each carries, and the code that the process answers."""

from __future__ import annotations

import signal

from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.errors import (
    ExitCode,
    nearest,
)


def test_exit_codes_of_signals_are_as_shells_have_them() -> None:
    stopped = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}
    assert {number: 128 + number for number in stopped} == stopped
    assert {ExitCode.HANGUP, ExitCode.INTERRUPTED, ExitCode.TERMINATED} == {*stopped.values()}


@given(st.text(max_size=8), st.lists(st.text(max_size=8), max_size=5))
def test_the_nearest_word_is_one_of_them_and_the_word_itself_wins(
    word: str, candidates: list[str]
) -> None:
    found = nearest(word, candidates)
    assert found is None or found in candidates
    if word and word in candidates:
        assert found == word
