"""How watching will work here, line by line, and as JSON."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from discover_orch.model.errors import Problem
from discover_orch.render.diagnostics import diagnostics_document, diagnostics_text
from discover_orch.render.style import Style
from discover_orch.watch.diagnostics import Limits, WatchDiagnostics, WatchedFolder

PLAIN = Style(colour=False, unicode=True, width=80)
SRC = WatchedFolder(path="src", is_deep=True, filesystem="ext4", sends_events=True, inside=3)
ROOT = WatchedFolder(path=".", is_deep=False, filesystem="ext4", sends_events=True, inside=1)
OUTLOOK = WatchDiagnostics(
    folders=(SRC, ROOT),
    files=1234,
    tools=12,
    mode="events",
    look=0.00312,
    interval=2.0,
    limits=Limits(watches=524288, instances=128, queue=16384),
    imports=(("pandas", 0.381, ""), ("decimal", 0.012, ""), ("json", 0.001, "")),
    warnings=(),
)


def lines(diagnosis: WatchDiagnostics, style: Style = PLAIN) -> list[str]:
    return diagnostics_text(diagnosis, style).splitlines()


def test_it_says_all_on_a_few_lines() -> None:
    assert diagnostics_text(OUTLOOK, PLAIN) == (
        "mode     events: the system tells of every change\n"
        "files    1,234 for 12 tools; a look at all takes 3.1 ms, one every 2 s\n"
        "folders  src and all below (3 folders), on ext4\n"
        "         . itself, on ext4\n"
        "limits   4 of 524,288 watches, 1 of 128 instances\n"
        "imports  3 modules ahead of each run, 0.39 s: pandas 0.38 s, decimal 0.01 s\n"
    )
    assert all(len(line) <= 80 for line in lines(OUTLOOK))


def test_data_that_tools_were_seen_to_read_is_counted() -> None:
    seen = replace(OUTLOOK, observed=21, listed=1)
    assert lines(seen)[2] == "data     21 files that tools were seen to read, and 1 folder to list"
    assert lines(replace(seen, listed=0))[2] == "data     21 files that tools were seen to read"
    document = diagnostics_document(seen)
    assert (document["observed"], document["listed"]) == (21, 1)


@pytest.mark.parametrize("mode", ["events", "polling", "mixed"])
def test_each_mode_has_its_sentence(mode: str) -> None:
    first = lines(replace(OUTLOOK, mode=mode))[0]
    assert first.startswith(f"mode     {mode}: ")
    assert len(first) > len(f"mode     {mode}: ") + 10


def test_a_file_system_that_is_silent_or_unknown_is_told() -> None:
    silent = replace(SRC, filesystem="nfs4", sends_events=False, inside=1)
    unknown = replace(ROOT, filesystem="")
    text = diagnostics_text(replace(OUTLOOK, folders=(silent, unknown)), PLAIN)
    assert "src and all below (1 folder), on nfs4, which sends no events\n" in text
    assert ". itself, on a file system of unknown kind\n" in text


def test_limits_that_nobody_knows() -> None:
    nothing = lines(replace(OUTLOOK, limits=Limits()))
    assert nothing[4] == "limits   none known on this system"
    some = lines(replace(OUTLOOK, limits=Limits(watches=8192)))
    assert some[4] == "limits   4 of 8,192 watches"


def test_without_imports_it_says_so() -> None:
    assert lines(replace(OUTLOOK, imports=()))[-1] == "imports  nothing is imported ahead"
    quick = replace(OUTLOOK, imports=(("json", 0.001, ""),))
    assert lines(quick)[-1] == "imports  1 module ahead of each run, 0.00 s"


def test_of_many_imports_the_slowest_are_named() -> None:
    many = tuple((f"m{n}", 1.0 - n / 100, "") for n in range(20))
    (line,) = lines(replace(OUTLOOK, imports=many))[5:]
    assert line.count(",") == 5
    assert line.endswith("m0 1.00 s, m1 0.99 s, m2 0.98 s, m3 0.97 s, m4 0.96 s")


def test_what_cannot_be_imported_has_a_line_of_its_own() -> None:
    bad = (("a", 0.5, ""), ("b", 0.0, "ModuleNotFoundError: No module named 'b'"))
    assert lines(replace(OUTLOOK, imports=bad))[5:] == [
        "imports  2 modules ahead of each run, 0.50 s: a 0.50 s",
        "         b cannot be imported: ModuleNotFoundError: No module named 'b'",
    ]


def test_names_from_outside_command_no_terminal() -> None:
    evil = "x\x1b[2J\n\x07"
    diagnosis = replace(
        OUTLOOK, folders=(replace(SRC, path=evil),), imports=((evil, 1.0, evil), ("y", 1.0, evil))
    )
    text = diagnostics_text(diagnosis, PLAIN)
    assert not set(text) & set("\x1b\x07")
    assert len(text.splitlines()) == 4 + 3


def test_labels_are_bold_where_there_are_colours() -> None:
    text = diagnostics_text(OUTLOOK, Style(colour=True, unicode=True, width=80))
    for label in ("mode", "files", "folders", "limits", "imports"):
        assert f"\x1b[1m{label}\x1b[0m" in text


def test_it_is_ascii_where_names_are() -> None:
    assert diagnostics_text(OUTLOOK, Style(unicode=False)).isascii()


def test_the_document_has_all_of_it() -> None:
    doubt = Problem(code="cold-start", message="slow", hint="mend", severity="warning")
    diagnosis = replace(OUTLOOK, warnings=(doubt,), imports=(("bad", 0.5, "ValueError: no"),))
    assert diagnostics_document(diagnosis) == {
        "mode": "events",
        "files": 1234,
        "observed": 0,
        "listed": 0,
        "tools": 12,
        "look": 0.00312,
        "interval": 2.0,
        "folders": [
            {"path": "src", "deep": True, "filesystem": "ext4", "events": True, "folders": 3},
            {"path": ".", "deep": False, "filesystem": "ext4", "events": True, "folders": 1},
        ],
        "limits": {"watches": 524288, "instances": 128, "queue": 16384},
        "imports": [{"module": "bad", "seconds": 0.5, "error": "ValueError: no"}],
        "doubts": [
            {"path": None, "line": None, "message": "slow", "hint": "mend", "code": "cold-start"}
        ],
    }
