"""The caches of `functools` that code of the project makes. They are emptied before each tool (`process_state`)."""

from __future__ import annotations

import functools
import sys
import weakref
from types import CodeType, FrameType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class FunctionCaches:
    """From `follow` on, all that are made."""

    def __init__(self, is_own: Callable[[CodeType], bool]) -> None:
        self._is_own = is_own
        #: How often each did not know a result when all was loaded.
        self.usual: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def follow(self) -> None:
        """From now on, note the caches that code of the project makes."""
        original: Any = functools.lru_cache

        @functools.wraps(original)
        def lru_cache(maxsize: Any = 128, typed: bool = False) -> Any:
            frame: FrameType | None = sys._getframe(1)
            if frame is not None and frame.f_globals is vars(functools):  # `functools.cache`
                frame = frame.f_back
            made = original(maxsize, typed)
            if frame is None or not self._is_own(frame.f_code):
                return made
            if callable(maxsize):  # the function itself
                self.usual[made] = 0
                return made

            def decorate(function: Any) -> Any:
                cached = made(function)
                self.usual[cached] = 0
                return cached

            return decorate

        functools.lru_cache = lru_cache

    def read(self) -> dict[Any, int]:
        """Those that hold something else than when they were loaded, by how often they did not know a result."""
        return {
            cache: misses
            for cache, usual in [*self.usual.items()]
            if (misses := cache.cache_info().misses) != usual
        }

    def empty(self, cache: Any) -> None:
        """One cannot take out only what a tool has added."""
        cache.cache_clear()
        self.usual[cache] = 0
