"""Finds secrets in texts, and masks them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from discover_orch.model.parameter import MASK, hide_url_passwords

_CONTROL = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))"
#: Characters. Shorter texts would also match words that are no secrets.
MIN_SECRET_LENGTH = 8


def secret_texts(secrets: Iterable[str]) -> tuple[str, ...]:
    """The texts to mask, the longest first, since one may be part of another. Output comes line by line, so each line
    of a secret is one of them. Each also as `repr` and JSON write it."""
    pieces = {piece.strip() for secret in secrets for piece in (secret, *secret.splitlines())}
    texts = {text for piece in pieces if len(piece) >= MIN_SECRET_LENGTH for text in _forms(piece)}
    return tuple(sorted(texts, key=lambda text: (-len(text), text)))


def _forms(secret: str) -> Iterator[str]:
    yield secret
    if secret.isascii() and secret.isprintable() and not any(one in secret for one in "\\\"'"):
        return
    import json  # few secrets need it

    for is_ascii in (True, False):
        yield json.dumps(secret, ensure_ascii=is_ascii)[1:-1]
    for write in (repr, ascii):
        quoted = write('"' + secret)[2:-1]  # in single quotes, which are escaped
        yield quoted
        yield quoted.replace("\\'", "'")


def mask_text(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    if secrets and "\x1b" in text:
        text = _mask_between_controls(text, secrets)
    return hide_url_passwords(text)


def _mask_between_controls(text: str, secrets: Sequence[str]) -> str:
    """Masks secrets that colours and other control sequences split. The sequences stay."""
    import re  # most output has no colours

    plain = re.sub(_CONTROL, "", text)
    for secret in secrets:
        if secret not in plain:
            continue
        pattern = f"(?:{_CONTROL})*".join(map(re.escape, secret))
        text = re.sub(pattern, lambda found: MASK + "".join(re.findall(_CONTROL, found[0])), text)
    return text
