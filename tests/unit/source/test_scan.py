"""What one look found: a value, which an empty project has too."""

from __future__ import annotations

from discover_orch.source.scan import PassedOver, Scan


def test_nothing_found_is_a_scan_too() -> None:
    empty = Scan()
    assert (empty.modules, empty.broken, empty.conf) == ((), (), None)
    assert (empty.problems, empty.passed_over) == ((), ())


def test_scans_are_equal_where_what_they_found_is() -> None:
    one = PassedOver(path="src/x.py", reason="excluded")
    assert Scan(passed_over=(one,)) == Scan(
        passed_over=(PassedOver(path="src/x.py", reason="excluded"),)
    )
    assert Scan(passed_over=(one,)) != Scan()
