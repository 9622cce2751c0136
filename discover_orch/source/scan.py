"""What one look at the project's tree found: a value, made by `scanner`, read by `registry`.

Nothing is judged here: modules that may be tools, files that cannot be read, what `orchconf.py` offers,
and what was passed over with the reason.
"""

from __future__ import annotations

from msgspec import Struct

from discover_orch.model.errors import Problem
from discover_orch.source.facts import BrokenModule, ConfFacts, ModuleFacts


class PassedOver(Struct, frozen=True, kw_only=True):
    """A file or folder that was not taken for a tool, and why, in a few words."""

    path: str
    reason: str
    line: int | None = None


class Scan(Struct, frozen=True, kw_only=True):
    """`modules` have no `Ref` left in them and are sorted by path, as are the others.

    `problems` are those of the search itself: a folder that cannot be read, a misnamed file.
    """

    modules: tuple[ModuleFacts, ...] = ()
    broken: tuple[BrokenModule, ...] = ()
    conf: ConfFacts | None = None
    problems: tuple[Problem, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
