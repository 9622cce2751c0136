"""Reads JSON of orch's own with the types that it was written with. Pure."""

from __future__ import annotations

from typing import Any

import msgspec


def decode(text: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """The value. Raises ValueError for a text of another shape, or RecursionError; before msgspec 0.21 its own errors
    are no ValueErrors."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    # Also for a lone surrogate, which `json` escapes and msgspec refuses.
    except msgspec.DecodeError:
        import json

        found = json.loads(text)
    try:
        return msgspec.convert(found, decoder.type)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
