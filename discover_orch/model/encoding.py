"""Values and contents as bytes: hashes, and JSON of orch's own, read with the types that it was written with. Pure.

The hashes are BLAKE2b. `hashlib` has it too, but its import loads OpenSSL, which takes 3 ms.
"""

from __future__ import annotations

from _blake2 import blake2b
from functools import cache
from typing import Any

import msgspec

__all__ = ["blake2b", "build_decoder", "content_hash", "decode", "encode", "short_hash"]


def content_hash(data: bytes) -> str:
    """The hash of the bytes of a file: 16 bytes, as hex."""
    return blake2b(data, digest_size=16).hexdigest()


def short_hash(data: bytes) -> str:
    """8 bytes, as hex, for what is only compared with an earlier state of itself."""
    return blake2b(data, digest_size=8).hexdigest()


def encode(document: object, *, is_sorted: bool = False) -> bytes:
    """JSON. Python's own also holds the lone surrogates of a path or an argument that is not UTF-8, which msgspec
    refuses. `is_sorted`: equal mappings give the same bytes."""
    try:
        return msgspec.json.encode(document, order="sorted" if is_sorted else None)
    except UnicodeEncodeError:
        import json

        plain = msgspec.to_builtins(document)
        return json.dumps(plain, separators=(",", ":"), sort_keys=is_sorted).encode()


def decode(text: bytes, kind: Any) -> Any:
    """The value, of this type. Raises ValueError for a text of another shape, or RecursionError; before msgspec 0.21
    its own errors are no ValueErrors."""
    try:
        try:
            return build_decoder(kind).decode(text)
        except msgspec.DecodeError as error:
            if isinstance(error, msgspec.ValidationError):
                raise
            import json  # for a lone surrogate, which it escapes and msgspec refuses

            return msgspec.convert(json.loads(text), kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


@cache
def build_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Takes 1 ms for a type of many structs. Processes that are forked afterwards share it."""
    return msgspec.json.Decoder(kind)
