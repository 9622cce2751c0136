"""Hashes of contents: BLAKE2b. `hashlib` has it too, but its import loads OpenSSL, which takes 3 ms."""

from __future__ import annotations

from _blake2 import blake2b

__all__ = ["blake2b", "content_hash", "short_hash"]


def content_hash(data: bytes) -> str:
    """The hash of the bytes of a file: 16 bytes, as hex."""
    return blake2b(data, digest_size=16).hexdigest()


def short_hash(data: bytes) -> str:
    """8 bytes, as hex, for what is only compared with an earlier state of itself."""
    return blake2b(data, digest_size=8).hexdigest()
