"""What only the kernel saw of a tool while another one ran, and that is the work of the other one."""

from __future__ import annotations

from discover_orch.execution.overlaps import Overlaps
from discover_orch.model.observation import Observation, Use

OWN = Use("file:out/x.parquet", "read", "kernel")
FOLDER = Use("folder:out", "listed", "kernel")
DATABASE = Use("table:*", "read", "kernel")
PYTHON = Use("folder:out", "listed")


def keep(known: frozenset[str] | None, *uses: Use) -> tuple[Use, ...]:
    """Those that count of a tool. Another one ran beside it that uses the database and files in `out`."""
    overlaps = Overlaps()
    overlaps.begin("one", known)
    overlaps.begin("two", frozenset(["out/x.parquet", "out/w.csv"]), has_database=True)
    overlaps.end("one")
    return overlaps.without_others("one", Observation(uses=uses)).uses


def test_a_tool_that_was_observed_alone_keeps_what_was_seen_of_it_then() -> None:
    known = frozenset(["out/x.parquet"])
    assert keep(known, OWN, FOLDER, DATABASE, PYTHON) == (OWN, PYTHON)
    assert keep(known | {"out", "*"}, OWN, FOLDER, DATABASE) == (OWN, FOLDER, DATABASE)


def test_of_a_tool_that_was_never_alone_all_that_the_kernel_saw_may_be_its_own() -> None:
    assert keep(None, OWN, FOLDER, DATABASE) == (OWN, FOLDER, DATABASE)


def test_a_folder_in_which_the_other_tool_uses_nothing_is_its_own() -> None:
    other = Use("folder:in", "listed", "kernel")
    assert keep(frozenset(), other) == (other,)
