"""What is to be run next, and what is owed."""

from __future__ import annotations

from discover_orch.watch.agenda import Agenda
from tests.support.values import make_facts, make_registry

REGISTRY = make_registry(make_facts("a"), make_facts("b", after="a"), make_facts("c"))
ALL = ("a", "b", "c")


def owed(agenda: Agenda, held: str = "") -> dict[str, str]:
    agenda.add_owed(REGISTRY, ALL, lambda module: module == held)
    return agenda.take()


def test_the_first_reason_stays_and_what_was_taken_is_gone() -> None:
    agenda = Agenda()
    agenda.put(["a"], "src/a.py changed")
    agenda.put(["a", "b"], "its stage is affected")
    assert agenda
    assert agenda.take() == {"a": "src/a.py changed", "b": "its stage is affected"}
    assert not agenda


def test_tools_whose_turn_never_came_have_it_when_the_failed_one_runs_again() -> None:
    agenda = Agenda()
    for module, status in (("a", "failed"), ("b", "blocked"), ("c", "not_run")):
        agenda.note(module, status)  # type: ignore[arg-type]
    assert set(owed(agenda)) == {"c"}  # b still needs a
    agenda.put(["a"], "src/a.py changed")
    assert set(owed(agenda)) == {"a", "b", "c"}


def test_a_tool_that_has_run_is_owed_nothing() -> None:
    agenda = Agenda()
    agenda.note("b", "cancelled")
    agenda.note("b", "passed")
    agenda.note("a", "failed")
    agenda.note("a", "passed")
    assert (owed(agenda), agenda.failed) == ({}, set())


def test_what_is_held_or_forgiven_does_not_come() -> None:
    agenda = Agenda()
    for module in ALL:
        agenda.note(module, "not_run")
    agenda.forgive(["a"])
    assert set(owed(agenda, held="b")) == {"c"}
