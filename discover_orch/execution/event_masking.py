"""Removes secrets from events before anybody can show or keep them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.execution.run_events import Event, StepsAdded
from discover_orch.model.observation import Observation, Use
from discover_orch.model.secret_masking import MASK, mask_text, secret_texts
from discover_orch.model.tool_events import RunNote, SecretFound

#: In place of something whose name holds a secret.
HIDDEN = Use("gap:used something whose name holds a secret", "unclear")
#: Fields that orch looks tools and files up by, or that have a word of orch.
_NAMES = frozenset(
    {"module", "run", "targets", "tools", "blocked_by", "loaded", "loaded_as", "path"}
    | {"status", "stream", "kind", "type", "code", "severity"}
)


class Masking:
    """Masks the events of a run. A secret that a worker tells is masked from then on."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = [*secrets]
        self._texts = secret_texts(self._secrets)

    def mask(self, event: Event) -> Event | None:
        """None for the event that tells a secret."""
        if not isinstance(event, SecretFound):
            return mask_event(event, self._texts)
        self.add([event.text])
        return None

    def add(self, secrets: Iterable[str]) -> None:
        self._secrets += secrets
        self._texts = secret_texts(self._secrets)

    def mask_notes(self, notes: Iterable[RunNote]) -> Iterator[Event]:
        return (mask_event(note, self._texts) for note in notes)


def mask_event(event: Event, secrets: Sequence[str]) -> Event:
    """The event without `secrets`, which are those of `secret_texts`, and without the passwords of URLs. A plan is for
    the process itself."""
    if isinstance(event, StepsAdded):
        return event
    masked: Event = _masked(event, secrets)
    return masked


def _masked(value: Any, secrets: Sequence[str]) -> Any:
    """Every text in a value is masked, except what only names a tool, a file or a kind."""
    if not value:  # most fields of most events
        return value
    match value:
        case str():
            return mask_text(value, secrets)
        case int() | float():
            return value
        case Observation():
            return _without(value, secrets) if secrets else value
        case Struct():
            old = {one: getattr(value, one) for one in value.__struct_fields__ if one not in _NAMES}
            new = {name: _masked(one, secrets) for name, one in old.items()}
            return value if new == old else replace(value, **new)
        case tuple():
            return tuple(_masked(one, secrets) for one in value)
        case Mapping():  # a number can be a secret too
            return {
                mask_text(name, secrets): MASK
                if any(secret in str(one) for secret in secrets) and not isinstance(one, str)
                else _masked(one, secrets)
                for name, one in value.items()
            }
        case _:
            return value


def _without(seen: Observation, secrets: Sequence[str]) -> Observation:
    """The observation without all that has a secret in its name. What is left out is a gap."""

    def is_clean(text: str) -> bool:
        return not any(secret in text for secret in secrets)

    uses = tuple(use for use in seen.uses if all(map(is_clean, (use.key, use.state, *use.owners))))
    if len(uses) < len(seen.uses):
        uses = (*uses, HIDDEN)
    database = seen.database if is_clean(seen.database) else ""
    return replace(seen, uses=uses, database=database)
