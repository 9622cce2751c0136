"""BLAKE2b. `hashlib` has the same function, but its import loads OpenSSL, which takes 3 ms."""

from __future__ import annotations

from _blake2 import blake2b

__all__ = ["blake2b"]
