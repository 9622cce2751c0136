"""Removes secrets from events before anybody can show or keep them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from discover_orch.execution.events import (
    Event,
    RunNote,
    ToolFinished,
    ToolOutput,
    ToolProgress,
    ToolRetried,
)
from discover_orch.model.errors import Failure
from discover_orch.model.observation import Observation
from discover_orch.model.parameter import MASK, hide_url_passwords

#: The fields of an observation whose names come from the tool.
_NAMES = (
    *(
        "read",
        "listed",
        "missed",
        "written",
        "removed",
        "folders_made",
        "tables_read",
        "tables_written",
        "tables_missed",
    ),
    *("tables_inserted", "tables_created", "tables_dropped", "tables_kept"),
)
#: Characters. Shorter texts would also match words that are no secrets.
MIN_SECRET_LENGTH = 8


def mask_event(event: Event, secrets: Sequence[str]) -> Event:
    """The event without `secrets`, which are those of `secret_texts`, and without the passwords of URLs."""
    match event:
        case ToolOutput(text=text) | ToolProgress(text=text):
            hidden = mask_text(text, secrets)
            return event if hidden == text else replace(event, text=hidden)
        case ToolFinished():
            return _masked_end(event, secrets)
        case ToolRetried(end=end):
            return replace(event, end=_masked_end(end, secrets))
        case RunNote(problem=problem, traceback=traceback):
            return replace(
                event,
                problem=replace(
                    problem,
                    message=mask_text(problem.message, secrets),
                    hint=mask_text(problem.hint, secrets),
                ),
                traceback=mask_text(traceback, secrets),
            )
        case _:
            return event


def _masked_end(end: ToolFinished, secrets: Sequence[str]) -> ToolFinished:
    return replace(
        end,
        error=_masked_failure(end.error, secrets) if end.error else None,
        metrics={
            mask_text(name, secrets): _masked_metric(one, secrets)
            for name, one in end.metrics.items()
        },
        notes=tuple(mask_text(note, secrets) for note in end.notes),
        seen=end.seen and _without(end.seen, secrets),
        setup=end.setup and _without(end.setup, secrets),
    )


def secret_texts(secrets: Iterable[str]) -> tuple[str, ...]:
    """The texts to mask, the longest first, since one may be part of another. Output comes line by line, so each line
    of a secret is one of them."""
    pieces = {piece.strip() for secret in secrets for piece in (secret, *secret.splitlines())}
    long = (piece for piece in pieces if len(piece) >= MIN_SECRET_LENGTH)
    return tuple(sorted(long, key=lambda piece: (-len(piece), piece)))


def mask_text(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    return hide_url_passwords(text)


def _masked_metric(one: object, secrets: Sequence[str]) -> object:
    """A number can be a secret too."""
    if isinstance(one, str):
        return mask_text(one, secrets)
    return MASK if any(secret in str(one) for secret in secrets) else one


def _without(seen: Observation, secrets: Sequence[str]) -> Observation:
    """The observation without the files and tables that have a secret in their name."""
    if not secrets:
        return seen
    return replace(
        seen,
        **{
            name: tuple(one for one in getattr(seen, name) if not _has_secret(one, secrets))
            for name in _NAMES
        },
    )


def _has_secret(one: object, secrets: Sequence[str]) -> bool:
    text = one if isinstance(one, str) else str(one[0]) if isinstance(one, tuple) else ""
    return any(secret in text for secret in secrets)


def _masked_failure(error: Failure, secrets: Sequence[str]) -> Failure:
    return replace(
        error,
        message=mask_text(error.message, secrets),
        traceback=mask_text(error.traceback, secrets),
        hint=mask_text(error.hint, secrets),
    )
