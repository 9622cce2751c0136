"""Values and contents as bytes: hashes, and JSON of orch's own, read with the types that it was written with. Pure.

The hashes are BLAKE2b. `hashlib` has it too, but its import loads OpenSSL, which takes 3 ms.
"""

from __future__ import annotations

from _blake2 import blake2b
from typing import Any

import msgspec

__all__ = ["blake2b", "content_hash", "decode", "short_hash"]


def content_hash(data: bytes) -> str:
    """The hash of the bytes of a file: 16 bytes, as hex."""
    return blake2b(data, digest_size=16).hexdigest()


def short_hash(data: bytes) -> str:
    """8 bytes, as hex, for what is only compared with an earlier state of itself."""
    return blake2b(data, digest_size=8).hexdigest()


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
