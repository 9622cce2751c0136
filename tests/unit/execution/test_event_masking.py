"""Secrets are gone from every text of an event, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.execution.event_masking import mask_event
from discover_orch.execution.run_events import Event, Running, RunStarted, Suspended, Ticked
from discover_orch.model.errors import Failure, Location, Problem
from discover_orch.model.secret_masking import MASK, MIN_SECRET_LENGTH, mask_text, secret_texts
from discover_orch.model.tool_events import (
    DebuggerOpened,
    RunFinished,
    RunNote,
    ToolFinished,
    ToolOutput,
    ToolStarted,
)

SECRET = "hunter22-hunter22"
SAID = f"it is {SECRET}!"
HIDDEN = f"it is {MASK}!"


def mask(event: Event) -> Event:
    return mask_event(event, (SECRET,))


def test_output_is_masked() -> None:
    event = ToolOutput(module="a", stream="stderr", text=SAID + SAID)
    assert mask(event) == ToolOutput(module="a", stream="stderr", text=HIDDEN + HIDDEN)


def test_every_text_of_an_end_is_masked() -> None:
    def end(said: str) -> ToolFinished:
        return ToolFinished(
            module="a",
            status="failed",
            duration=1.5,
            error=Failure(
                kind="exception",
                type="E",
                message=said,
                path="a.py",
                line=3,
                traceback=said,
                hint=said,
            ),
            metrics={"text": said, said: 1, "rows": 344, "none": None},
            notes=(said, "fine"),
        )

    assert mask(end(SAID)) == end(HIDDEN)


def test_every_text_of_a_notice_is_masked() -> None:
    def notice(said: str) -> RunNote:
        place = Location(path="a.py", line=3)
        problem = Problem(code="x", message=said, hint=said, severity="warning").at(place)
        return RunNote(problem=problem, traceback=said)

    assert mask(notice(SAID)) == notice(HIDDEN)


@pytest.mark.parametrize(
    "event",
    [
        RunStarted(run="1", targets=("full",), tools=("a",)),
        ToolStarted(module="a"),
        ToolOutput(module="a", stream="stdout", text="nothing\n"),
        ToolFinished(module="a", status="passed", metrics={"rows": 3}),
        Ticked(running=(Running(module="a", seconds=1.0),)),
        Suspended(),
        DebuggerOpened(module="a"),
        RunFinished(status="passed", duration=1.0),
    ],
)
def test_what_holds_no_secret_stays_as_it_is(event: Event) -> None:
    assert mask(event) == event
    assert mask_event(event, ()) == event


def test_a_secret_of_several_lines_is_found_line_by_line() -> None:
    key = "-----BEGIN KEY-----\n  MIIEowIBAAKCAQEA  \nxyz\n-----END KEY-----\n"
    pieces = secret_texts([key])
    printed = "".join(mask_text(line, pieces) for line in key.splitlines(keepends=True))
    assert printed == f"{MASK}\n  {MASK}  \nxyz\n{MASK}\n"
    assert mask_text(f"key={key}", pieces) == f"key={MASK}\n"


def test_pieces_are_of_eight_characters_or_more_the_longest_first() -> None:
    found = secret_texts(["short", "12345678", "1234567\n123456789012", "12345678", " padded  "])
    whole = "1234567\n123456789012"
    assert found == (repr(whole)[1:-1], whole, "123456789012", "12345678")
    assert secret_texts([]) == ()


def test_of_two_secrets_the_longer_is_hidden_whole() -> None:
    assert mask_text("12345678-and-more", secret_texts(["12345678", "12345678-and-more"])) == MASK


words = st.text("abc \n", min_size=1, max_size=20)


@given(st.lists(words, max_size=4), st.lists(words, max_size=6))
def test_no_secret_is_left_in_what_was_printed(secrets: list[str], around: list[str]) -> None:
    pieces = secret_texts(secrets)
    text = "".join(part for pair in zip(around, [*secrets, *around], strict=False) for part in pair)
    hidden = mask_text(text, pieces)
    assert not any(piece in hidden for piece in pieces)
    assert all(len(piece) >= MIN_SECRET_LENGTH for piece in pieces)
    for secret in secrets:
        if len(secret.strip()) >= MIN_SECRET_LENGTH:
            assert secret.strip() not in hidden


@given(words, st.lists(words, max_size=4))
def test_text_without_a_secret_is_left_alone(text: str, secrets: list[str]) -> None:
    pieces = [piece for piece in secret_texts(secrets) if piece not in text]
    assert mask_text(text, pieces) == text
