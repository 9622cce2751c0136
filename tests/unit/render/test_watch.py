"""A watch, as text and as JSON."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from discover_orch.model.errors import Location, Problem
from discover_orch.planning.plan import Plan
from discover_orch.render.style import Style
from discover_orch.render.watch import (
    KEYS,
    help_text,
    watch_event_document,
    watch_event_text,
)
from discover_orch.watch.events import (
    CannotRun,
    ChangesFound,
    KeyAnswered,
    NoMeaningfulChange,
    RunStarting,
    WatchEvent,
    WatchNote,
    WatchWaiting,
)

PLAIN = Style(colour=False, unicode=True, width=80)
ASCII = Style(colour=False, unicode=False, width=80)
COLOUR = Style(colour=True, unicode=True, width=80)
EVIL = "a\x1b[31m\x07\n\u202eb\udcff.py"
CLEAN = "a\\x07\\n\\u202eb\\udcff.py"
BROKEN = Problem(
    code="syntax",
    message="'(' was never closed",
    hint="close it",
    location=Location(path="src/a.py", line=3),
)
WAITING = WatchWaiting(tools=12, files=1234, mode="events", scope="stage")
CHANGED = ChangesFound(
    paths=("src/parse.py",),
    tools=("parse", "fetch", "enrich"),
    reasons={"parse": "src/parse.py changed"},
    stages=("ingest", "analyze"),
    stale=3,
    fresh=1,
    not_affected=12,
)


def text(moment: WatchEvent, style: Style = PLAIN, **more: Any) -> str:
    return watch_event_text(moment, style, **more)


# Waiting.


def test_it_says_what_is_watched_and_which_keys_matter() -> None:
    line = "watching 1,234 files for 12 tools (Enter runs again, h shows help, q quits)\n"
    assert text(WAITING) == line
    assert len(line) <= 80


@pytest.mark.parametrize(
    ("mode", "words"), [("polling", " by polling"), ("mixed", " partly by polling")]
)
def test_it_says_when_it_polls(mode: str, words: str) -> None:
    assert (
        text(replace(WAITING, mode=mode, tools=1, files=1))
        == f"watching 1 file for 1 tool{words} (Enter runs again, h shows help, q quits)\n"
    )


def test_failing_tools_have_a_line_of_their_own() -> None:
    assert text(replace(WAITING, failing=("a", "b", "c", "d"))).splitlines() == [
        "4 failing: a, b, c and 1 more",
        "watching 1,234 files for 12 tools (Enter runs again, h shows help, q quits)",
    ]


def test_it_says_that_it_is_paused() -> None:
    line = "paused: changes wait (p resumes, h shows help)\n"
    assert text(replace(WAITING, is_paused=True)) == line


# A change.


def test_one_line_says_what_changed_and_what_it_affects() -> None:
    line = "src/parse.py changed → ingest, analyze: 3 of 4 tools stale, 1 fresh\n"
    assert text(CHANGED) == line
    assert len(line) <= 80
    assert text(CHANGED, time="12:30:59") == f"12:30:59 {line}"


def test_a_terminal_without_such_characters_gets_none() -> None:
    line = "src/parse.py changed -> ingest, analyze: 3 of 4 tools stale, 1 fresh\n"
    assert text(CHANGED, ASCII) == line
    assert line.isascii()


def test_it_says_whether_fresh_tools_run_too() -> None:
    every = replace(CHANGED, stages=("ingest",), fresh=0)
    assert text(every) == "src/parse.py changed → ingest: 3 tools stale\n"
    whole = replace(CHANGED, scope="stage", stages=("ingest",), stale=1, fresh=2)
    assert text(whole) == "src/parse.py changed → ingest: 3 tools, 1 of them stale\n"


def test_with_the_scope_tool_the_tools_are_named_and_what_is_stale_and_left() -> None:
    one = replace(CHANGED, scope="tool", tools=("parse",), left=("enrich", "render"))
    assert text(one) == (
        "src/parse.py changed → parse (1 tool); stale, but not run: enrich, render\n"
    )


def test_of_several_files_three_are_named_and_of_many_the_number() -> None:
    few = replace(CHANGED, paths=("a.py", "b.py", "c.py"))
    assert text(few).startswith("a.py, b.py, c.py changed → ")
    many = replace(CHANGED, paths=tuple(f"{n}.py" for n in range(1500)))
    assert text(many).startswith("1,500 files changed → ingest")
    assert text(replace(many, is_switch=True)).startswith("1,500 files changed (branch switch) → ")


def test_what_was_deleted_is_not_called_changed() -> None:
    both = replace(CHANGED, paths=("a.py", "b.txt"), deleted=("b.txt",))
    assert text(both).startswith("a.py changed, b.txt was deleted → ")
    gone = replace(both, paths=("b.txt", "c.txt"), deleted=("b.txt", "c.txt"))
    assert text(gone).startswith("b.txt, c.txt were deleted → ")
    many = tuple(f"{n}.txt" for n in range(9))
    assert text(replace(both, paths=many, deleted=many)).startswith("9 files were deleted → ")


def test_of_many_stages_the_first_are_named() -> None:
    many = replace(CHANGED, stages=("a", "b", "c", "d", "e"), fresh=0)
    assert text(many) == "src/parse.py changed → a, b, c and 2 more: 3 tools stale\n"


def test_without_a_file_the_reason_is_told() -> None:
    moved = replace(CHANGED, paths=(), reasons={"parse": "pandas: 2.1 → 2.2"})
    assert text(moved).startswith("pandas: 2.1 → 2.2 → ingest, analyze")
    assert text(replace(moved, reasons={})).startswith("changed → ")


def test_it_says_when_nothing_is_affected_or_only_what_does_not_run() -> None:
    nothing = replace(CHANGED, tools=(), stages=())
    assert text(nothing) == "src/parse.py changed → no watched tool is affected\n"
    waits = replace(nothing, action="wait")
    assert text(waits) == "src/parse.py changed → waiting for a fix\n"
    held = text(replace(waits, left=("parse", "enrich")))
    assert held == "src/parse.py changed → waiting for a fix before running parse, enrich\n"
    left = replace(nothing, left=("render",))
    assert text(left) == "src/parse.py changed → nothing to run; stale, but not run: render\n"


def test_tools_that_are_stale_after_their_run_are_named() -> None:
    one = replace(CHANGED, left=("fetch",), stays_stale=("parse",))
    line = " ".join(text(one).split())
    assert line.endswith("; stale, but not run: fetch; still stale afterwards: parse")


def test_removed_tools_are_named() -> None:
    gone = replace(CHANGED, gone=("parse", "old"))
    assert text(gone).endswith(", 1 fresh; removed:\nparse, old\n")
    nothing = replace(gone, tools=(), stages=())
    assert text(nothing).endswith("no watched tool is affected; removed: parse, old\n")


@pytest.mark.parametrize(
    ("action", "end"),
    [
        ("run", "1 fresh\n"),
        ("restart", "1 fresh; cancelling the current run\n"),
        ("after", "1 fresh; runs after the current run\n"),
        ("hold", "1 fresh; runs when the current tool has ended\n"),
    ],
)
def test_it_says_what_happens_to_the_current_run(action: Any, end: str) -> None:
    shown = text(replace(CHANGED, action=action, during_run=True))
    assert shown.replace("\n", " ").endswith(end.replace("\n", " "))
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_a_change_that_the_current_run_will_use() -> None:
    none = replace(CHANGED, action="none", during_run=True)
    assert text(none) == "src/parse.py changed → the current run will use it\n"


# Other moments.


def test_what_was_only_saved_is_said_to_run_nothing() -> None:
    assert text(NoMeaningfulChange(paths=("src/a.py",))) == "saved src/a.py: nothing to run\n"
    many = tuple(f"src/{n}.py" for n in range(9))
    assert text(NoMeaningfulChange(paths=many)) == (
        "saved src/0.py, src/1.py, src/2.py and 6 more: nothing to run\n"
    )


def test_a_broken_file_waits_for_a_fix() -> None:
    assert text(CannotRun(problems=(BROKEN,))) == "waiting for a fix\n"
    held = CannotRun(problems=(BROKEN,), waiting=("parse", "enrich"))
    assert text(held) == "waiting for a fix before running parse, enrich\n"


def test_problems_are_told_elsewhere() -> None:
    assert text(WatchNote(problem=BROKEN)) == ""
    assert "never closed" not in text(CannotRun(problems=(BROKEN,)))


def test_a_run_begins_silently() -> None:
    began = RunStarting(plan=Plan(), is_first=True)
    assert text(began) == text(began, verbose=True) == ""


def test_imports_in_advance_are_shown_if_verbose() -> None:
    began = RunStarting(
        plan=Plan(),
        is_first=False,
        imported=(("pandas", 0.3812, ""), ("os", 0.0001, ""), ("bad", 0.0, "ValueError: no\n")),
    )
    assert text(began) == ""
    assert text(began, verbose=True) == (
        "preloaded: pandas 0.38 s, bad 0.00 s (ValueError: no\\n)\n"
    )
    quick = replace(began, imported=(("os", 0.0001, ""),))
    assert text(quick, verbose=True) == "preloaded: no slow modules\n"


def test_a_key_is_answered_by_its_sentence_or_by_all_keys() -> None:
    assert text(KeyAnswered(key="s", sentence="scope: tool")) == "scope: tool\n"
    assert text(KeyAnswered(key="h")) == help_text(PLAIN)


def test_the_help_names_each_key_on_a_line() -> None:
    first, *lines = help_text(PLAIN).splitlines()
    assert first == "keys (press Enter after each):"
    assert lines[0] == "  Enter  run the last tools again"
    assert len(lines) == len(KEYS)
    assert all(len(line) <= 80 for line in lines)
    assert [line.split()[0] for line in lines] == ["Enter", *"afcspqh"]


# Text from outside.


@pytest.mark.parametrize(
    "moment",
    [
        replace(CHANGED, paths=(EVIL,), stages=(EVIL,), gone=(EVIL,)),
        replace(CHANGED, paths=(), reasons={"a": EVIL}),
        NoMeaningfulChange(paths=(EVIL,)),
        CannotRun(problems=(), waiting=(EVIL,)),
        RunStarting(plan=Plan(), is_first=True, imported=((EVIL, 1.0, EVIL),)),
        KeyAnswered(key="x", sentence=EVIL),
    ],
)
def test_names_cannot_control_the_terminal(moment: WatchEvent) -> None:
    shown = text(moment, verbose=True)
    assert CLEAN in shown
    assert not set(shown) & set("\x1b\x07\u202e\udcff")
    coloured = text(moment, COLOUR, verbose=True)
    assert "\x1b[31m" not in coloured
    assert not set(coloured) & set("\x07\u202e\udcff")


def test_colours_stand_around_whole_lines_or_names() -> None:
    assert text(WAITING, COLOUR).startswith("\x1b[36mwatching")
    assert text(WAITING, COLOUR).endswith("\x1b[0m\n")
    assert "\x1b[1mingest, analyze\x1b[0m: 3 of 4 tools" in text(CHANGED, COLOUR)
    assert "\x1b[2m" in text(CHANGED, COLOUR, time="12:30:59")


# JSON.


def test_waiting_as_json() -> None:
    assert watch_event_document(WAITING) == {
        "event": "watching",
        "tools": 12,
        "files": 1234,
        "mode": "events",
        "scope": "stage",
        "failing": [],
        "paused": False,
    }


def test_a_change_as_json() -> None:
    assert watch_event_document(replace(CHANGED, action="restart", during_run=True)) == {
        "event": "changed",
        "paths": ["src/parse.py"],
        "tools": ["parse", "fetch", "enrich"],
        "stages": ["ingest", "analyze"],
        "stale": [],
        "fresh": 1,
        "stays_stale": [],
        "blocked": {},
        "not_affected": 12,
        "gone": [],
        "deleted": [],
        "reasons": {"parse": "src/parse.py changed"},
        "during_run": True,
        "action": "restart",
    }


def test_the_others_as_json() -> None:
    assert watch_event_document(NoMeaningfulChange(paths=("a.py",))) == {
        "event": "unchanged",
        "paths": ["a.py"],
    }
    assert watch_event_document(CannotRun(problems=(BROKEN,), waiting=("parse",))) == {
        "event": "broken",
        "errors": [
            {
                "path": "src/a.py",
                "line": 3,
                "message": "'(' was never closed",
                "hint": "close it",
                "code": "syntax",
            }
        ],
        "waiting": ["parse"],
    }
    assert watch_event_document(WatchNote(problem=BROKEN)) == {
        "event": "notice",
        "message": "'(' was never closed",
        "hint": "close it",
    }
    assert watch_event_document(KeyAnswered(key="s", sentence="scope: tool")) == {
        "event": "key",
        "key": "s",
        "sentence": "scope: tool",
    }


def test_a_beginning_is_reported_by_the_run() -> None:
    assert watch_event_document(RunStarting(plan=Plan(), is_first=True)) is None


# Diagnostics.
