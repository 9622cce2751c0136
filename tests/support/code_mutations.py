"""The rule of which code counts, without one of its parts each: programs for the server whose forks run orch."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.fork_server import ORCH_AND_WORKERS

_WITHOUT_NAMES = """
from msgspec.structs import replace
from discover_orch.staleness import code_versions
def without(self, path, piece, note=code_versions._Counting._note, **how):
    found = [" ".join(one for one in text.split() if not ({which})) for text in (piece.calls, piece.values)]
    note(self, path, replace(piece, calls=found[0], values=found[1]), **how)
code_versions._Counting._note = without
"""
_WITHOUT_HASH = """
from discover_orch.staleness import code_versions
code_versions._find_hash = lambda pieces, token, find=code_versions._find_hash: "" if {which} else find(pieces, token)
"""
_RAN = """
from discover_orch.worker.ran_functions import RanFunctions
def finish_step(self, finish=RanFunctions.finish_step):
    ran, loads, gap = finish(self)
    return {which}
RanFunctions.finish_step = finish_step
"""
_NOTHING_KEPT = """
from discover_orch.worker.kept_state import KeptState
KeptState.find_changed = lambda *_: ()
"""
_WITHOUT_VALUES = """
from msgspec.structs import replace
from discover_orch.staleness import code_versions
def without(self, path, piece, note=code_versions._Counting._note, **how):
    note(self, path, replace(piece, calls=f"{piece.calls} {piece.values}", values=""), **how)
code_versions._Counting._note = without
"""
_CACHES_KEPT = """
from discover_orch.worker.function_caches import FunctionCaches
FunctionCaches.empty = lambda *_: None
"""
#: Each part of the rule: what leaves it out, and the kinds of definitions in which that shows soon.
PARTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "loaded code": (_WITHOUT_HASH.format(which='token == ""'), ("plain", "constant")),
    "ran": (_RAN.format(which="{}, loads, gap"), ("plain", "calls")),
    "ran while a module was loaded": (
        _RAN.format(which="ran, {}, gap"),
        ("plain", "loaded", "closed"),
    ),
    "kept state": (_NOTHING_KEPT, ("kept", "kept object", "kept global", "kept property")),
    "COMPUTES": (_WITHOUT_NAMES.format(which='one == "*"'), ("plain", "computed", "counts names")),
    "ASKS": (_WITHOUT_NAMES.format(which='"?" in one'), ("asked",)),
    "parameters": (_WITHOUT_HASH.format(which='token[-2:] == "()"'), ("plain", "tried")),
    "handed on": (_WITHOUT_VALUES, ("default", "defaults")),
    "READS_SOURCE": (_WITHOUT_NAMES.format(which='one == "<"'), ("plain", "coded")),
    "HANDS_ON": (_WITHOUT_NAMES.format(which='one[0] == "@"'), ("plain", "formatted")),
    "emptied caches": (_CACHES_KEPT, ("cached",)),
    "docstrings": (_WITHOUT_NAMES.format(which='one == "__doc__"'), ("documented",)),
}


def without(part: str) -> str:
    return ORCH_AND_WORKERS + PARTS[part][0]
