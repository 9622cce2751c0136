"""Secrets out of events: their texts are replaced before anybody can show or keep them.

In: an event and the texts that must not be seen. Out: the event without them. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from discover_orch.run import Event, Failure, Noticed, ToolFinished, ToolOutput
from discover_orch.value import replace

MASK = "***"


def masked(event: Event, secrets: Sequence[str]) -> Event:
    """`secrets` are texts of 8 or more characters, so that no innocent word is hit."""
    if not secrets:
        return event
    match event:
        case ToolOutput(text=text):
            hidden = hide(text, secrets)
            return event if hidden == text else replace(event, text=hidden)
        case ToolFinished(error=error, metrics=metrics, notes=notes):
            return replace(
                event,
                error=_masked_failure(error, secrets) if error else None,
                metrics={
                    name: hide(one, secrets) if isinstance(one, str) else one
                    for name, one in metrics.items()
                },
                notes=tuple(hide(note, secrets) for note in notes),
            )
        case Noticed(problem=problem):
            message = hide(problem.message, secrets)
            return replace(event, problem=replace(problem, message=message))
        case _:
            return event


def hide(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def _masked_failure(error: Failure, secrets: Sequence[str]) -> Failure:
    return replace(
        error,
        message=hide(error.message, secrets),
        traceback=hide(error.traceback, secrets),
        hint=hide(error.hint, secrets),
    )
