"""Which folders must be subscribed to, so that all that was asked for is seen; and what their paths are called.

In: the root and the folders asked for, by name. Out: a `SubscriptionPlan`: real folders, each once, and how far
each must reach; and for the real path of an event the names that the caller knows it by. Looks at links and at what
exists, reads no file. Links are why this is more than a list: watchdog does not follow them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import Literal

from msgspec import Struct

#: How a folder is subscribed to: with all below it, alone, or only for who comes and goes in it.
Extent = Literal["deep", "flat", "near"]

#: Below a watched folder these never count, and ring no bell. A folder that is itself watched always does.
NOISE = re.compile(
    r"(?:^|/)(?:\.git|\.orch|__pycache__|node_modules|\.venv)(?:/|$)"
    r"|(?:^|/)\.#[^/]*$|(?:~|\.swp|\.pyc)$"
)


class WatchedPath(Struct, frozen=True, kw_only=True):
    """A folder that was asked for: under which name, where it really is, and whether all below it counts."""

    name: str
    real: str
    is_deep: bool


class SubscriptionPlan(Struct, frozen=True, kw_only=True):
    """`reaches` by real path, none inside of a deep one. `stakes`: the folders wanted and all above them."""

    wanted: tuple[WatchedPath, ...] = ()
    reaches: Mapping[str, Extent]
    stakes: frozenset[str] = frozenset()

    def names_of(self, path: str) -> list[str]:
        """The names of a real path below the wanted folders: more than one where links lead there too."""
        names: dict[str, None] = {}
        for wanted in self.wanted:
            if not path.startswith(wanted.real):
                continue
            rest = path[len(wanted.real) :]
            if not rest:
                names[wanted.name] = None
                continue
            if rest[0] == "/":
                rest = rest[1:]
            elif wanted.real != "/":
                continue  # a neighbour whose name begins alike
            if ("/" in rest and not wanted.is_deep) or NOISE.search(rest):
                continue
            names[f"{wanted.name}/{rest}" if wanted.name else rest] = None
        return list(names)


def build_plan(root: str, folders: Mapping[str, bool]) -> SubscriptionPlan:
    """`folders`: name relative to the root → whether all below it counts.

    The parent of each is subscribed to as well: it tells that a folder was deleted and made again, that a link
    leads elsewhere now, or that what was missing has come. Not that of the root, where strangers live.
    """
    wanted: list[WatchedPath] = []
    deep: set[str] = set()
    flat: set[str] = set()
    near: set[str] = set()
    stakes: set[str] = set()
    for name, is_deep in folders.items():
        given = os.path.join(root, name) if name else root
        real = os.path.realpath(given)
        above, last = os.path.split(given)
        # A link is another place than the folder that it leads to.
        spot = real if last in ("", ".", "..") else os.path.join(os.path.realpath(above), last)
        wanted.append(WatchedPath(name=name, real=real, is_deep=is_deep))
        is_there = os.path.isdir(real)
        if is_there:
            (deep if is_deep else flat).add(real)
        for place in (real, spot):
            stakes.add(place)
            stakes.update(_above(place))
            if name or not is_there:
                near.add(_nearest(os.path.dirname(place)))
    reaches: dict[str, Extent] = {path: "deep" for path in deep if not is_below(path, deep)}
    tops = set(reaches)
    for path in flat | near:
        if path not in tops and not is_below(path, tops):
            reaches[path] = "flat" if path in flat else "near"
    return SubscriptionPlan(wanted=tuple(wanted), reaches=reaches, stakes=frozenset(stakes))


def is_below(path: str, folders: Collection[str]) -> bool:
    """Whether one of the folders lies above `path`."""
    return any(above in folders for above in _above(path))


def identity_of(path: str) -> tuple[int, int]:
    """Device and inode, or (0, 0) where nothing is."""
    try:
        st = os.stat(path)
    except OSError:
        return (0, 0)
    return (st.st_dev, st.st_ino)


def _above(path: str) -> list[str]:
    found = []
    while (above := os.path.dirname(path)) != path:
        found.append(above)
        path = above
    return found


def _nearest(path: str) -> str:
    """The folder itself, or the nearest one above that exists."""
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path
