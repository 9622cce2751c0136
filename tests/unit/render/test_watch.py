"""The moments of a watch, line by line, and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from discover_orch.model.errors import Location, Problem
from discover_orch.planning.plan import Plan
from discover_orch.render.style import Style
from discover_orch.render.watch import KEYS, help_text, moment_document, moment_text
from discover_orch.watch.watch_events import (
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
WAITING = WatchWaiting(tools=12, files=1234, folders=3, mode="events", scope="stage")
CHANGED = ChangesFound(
    paths=("src/parse.py",),
    tools=("parse", "fetch", "enrich"),
    reasons={"parse": "src/parse.py changed"},
    stages=("ingest", "analyze"),
    not_affected=12,
)


def text(moment: WatchEvent, style: Style = PLAIN, **more: Any) -> str:
    return moment_text(moment, style, **more)


# Waiting.


def test_it_says_what_is_watched_and_which_keys_matter() -> None:
    line = "watching 1,234 files for 12 tools (Enter runs again, h helps, q quits)\n"
    assert text(WAITING) == line
    assert len(line) <= 80


@pytest.mark.parametrize(
    ("mode", "words"), [("polling", ", by polling"), ("mixed", ", partly by polling")]
)
def test_it_says_when_it_polls(mode: str, words: str) -> None:
    assert (
        text(replace(WAITING, mode=mode, tools=1, files=1))
        == f"watching 1 file for 1 tool{words} (Enter runs again, h helps, q quits)\n"
    )


def test_it_says_that_it_is_paused() -> None:
    line = "paused: changes wait (p goes on, h helps)\n"
    assert text(replace(WAITING, is_paused=True)) == line


# A change.


def test_one_line_says_what_changed_and_what_it_affects() -> None:
    line = "changed src/parse.py → ingest, analyze (3 tools), 12 not affected\n"
    assert text(CHANGED) == line
    assert len(line) <= 80
    assert text(CHANGED, time="12:30:59") == f"12:30:59 {line}"


def test_a_terminal_without_such_characters_gets_none() -> None:
    line = "changed src/parse.py -> ingest, analyze (3 tools), 12 not affected\n"
    assert text(CHANGED, ASCII) == line
    assert line.isascii()


def test_a_single_tool_is_named_itself() -> None:
    one = replace(CHANGED, tools=("parse",), stages=("ingest",), not_affected=0)
    assert text(one) == "changed src/parse.py → parse (1 tool)\n"


def test_of_several_files_three_are_named_and_of_many_the_number() -> None:
    few = replace(CHANGED, paths=("a.py", "b.py", "c.py"))
    assert text(few).startswith("changed a.py, b.py, c.py → ")
    many = replace(CHANGED, paths=tuple(f"{n}.py" for n in range(1500)))
    assert text(many).startswith("1,500 files changed → ingest")
    assert text(replace(many, is_switch=True)).startswith("1,500 files changed (branch switch) → ")


def test_of_many_stages_the_first_are_named() -> None:
    many = replace(CHANGED, stages=("a", "b", "c", "d", "e"), not_affected=0)
    assert text(many) == "changed src/parse.py → a, b, c and 2 more (3 tools)\n"


def test_without_a_file_the_reason_is_told() -> None:
    moved = replace(CHANGED, paths=(), reasons={"parse": "the installed packages changed"})
    assert text(moved).startswith("the installed packages changed → ingest, analyze")
    assert text(replace(moved, reasons={})).startswith("changed → ")


def test_it_says_when_nothing_is_affected() -> None:
    nothing = replace(CHANGED, tools=(), stages=())
    assert text(nothing) == "changed src/parse.py → affects no watched tool\n"
    waits = replace(nothing, action="wait")
    assert text(waits) == "changed src/parse.py → waits for the mend\n"


def test_tools_that_are_no_more_are_named() -> None:
    gone = replace(CHANGED, gone=("parse", "old"))
    assert text(gone).endswith(", 12 not affected; gone: parse, old\n")
    nothing = replace(gone, tools=(), stages=())
    assert text(nothing).endswith("affects no watched tool; gone: parse, old\n")


@pytest.mark.parametrize(
    ("action", "end"),
    [
        ("run", "12 not affected\n"),
        ("restart", "12 not affected, the run is cancelled\n"),
        ("after", "12 not affected, after this run\n"),
        ("hold", "12 not affected, when the running tool has ended\n"),
    ],
)
def test_it_says_what_becomes_of_the_run_that_is_going_on(action: Any, end: str) -> None:
    assert text(replace(CHANGED, action=action, during_run=True)).endswith(end)


def test_what_the_run_takes_in_needs_no_tools() -> None:
    none = replace(CHANGED, action="none", during_run=True)
    assert text(none) == "changed src/parse.py → the run that is going on takes it in\n"


# Other moments.


def test_what_was_only_saved_is_said_to_run_nothing() -> None:
    assert text(NoMeaningfulChange(paths=("src/a.py",))) == "src/a.py saved, nothing to run\n"
    many = tuple(f"src/{n}.py" for n in range(9))
    assert text(NoMeaningfulChange(paths=many)) == (
        "src/0.py, src/1.py, src/2.py and 6 more saved, nothing to run\n"
    )


def test_what_is_broken_waits_for_the_mend() -> None:
    assert text(CannotRun(problems=(BROKEN,))) == "waiting for the mend\n"
    held = CannotRun(problems=(BROKEN,), waiting=("parse", "enrich"))
    assert text(held) == "waiting for the mend, and with it: parse, enrich\n"


def test_problems_are_told_elsewhere() -> None:
    assert text(WatchNote(problem=BROKEN)) == ""
    assert "never closed" not in text(CannotRun(problems=(BROKEN,)))


def test_a_run_begins_silently_unless_it_begins_cold() -> None:
    began = RunStarting(plan=Plan(), names={}, is_first=True)
    assert text(began) == text(began, verbose=True) == ""
    cold = replace(began, cold="cold start: it died")
    assert text(cold) == "cold start: it died\n"


def test_imports_ahead_are_told_to_who_wants_to_know() -> None:
    began = RunStarting(
        plan=Plan(),
        names={},
        is_first=False,
        imported=(("pandas", 0.3812, ""), ("os", 0.0001, ""), ("bad", 0.0, "ValueError: no\n")),
    )
    assert text(began) == ""
    assert text(began, verbose=True) == (
        "imported ahead: pandas 0.38 s, bad 0.00 s (ValueError: no\\n)\n"
    )
    quick = replace(began, imported=(("os", 0.0001, ""),))
    assert text(quick, verbose=True) == "imported ahead: nothing slow\n"


def test_a_key_is_answered_by_its_sentence_or_by_all_keys() -> None:
    assert text(KeyAnswered(key="s", sentence="scope: tool")) == "scope: tool\n"
    assert text(KeyAnswered(key="h")) == help_text(PLAIN)


def test_the_help_names_each_key_on_a_line() -> None:
    first, *lines = help_text(PLAIN).splitlines()
    assert first == "keys, each with Enter:"
    assert lines[0] == "  Enter  run again what ran last"
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
        RunStarting(plan=Plan(), names={}, is_first=True, cold=EVIL, imported=((EVIL, 1.0, EVIL),)),
        KeyAnswered(key="x", sentence=EVIL),
    ],
)
def test_names_from_outside_command_no_terminal(moment: WatchEvent) -> None:
    shown = text(moment, verbose=True)
    assert CLEAN in shown
    assert not set(shown) & set("\x1b\x07\u202e\udcff")
    coloured = text(moment, COLOUR, verbose=True)
    assert "\x1b[31m" not in coloured
    assert not set(coloured) & set("\x07\u202e\udcff")


def test_colours_stand_around_whole_lines_or_names() -> None:
    assert text(WAITING, COLOUR).startswith("\x1b[36mwatching")
    assert text(WAITING, COLOUR).endswith("\x1b[0m\n")
    assert "\x1b[1mingest, analyze\x1b[0m (3 tools)" in text(CHANGED, COLOUR)
    assert text(CHANGED, COLOUR).startswith("changed ") or "\x1b[2m" in text(CHANGED, COLOUR)


# JSON.


def test_waiting_as_json() -> None:
    assert moment_document(WAITING) == {
        "event": "watching",
        "tools": 12,
        "files": 1234,
        "mode": "events",
        "scope": "stage",
        "failing": [],
        "paused": False,
    }


def test_a_change_as_json() -> None:
    assert moment_document(replace(CHANGED, action="restart", during_run=True)) == {
        "event": "changed",
        "paths": ["src/parse.py"],
        "tools": ["parse", "fetch", "enrich"],
        "stages": ["ingest", "analyze"],
        "not_affected": 12,
        "gone": [],
        "reasons": {"parse": "src/parse.py changed"},
        "during_run": True,
        "action": "restart",
    }


def test_the_others_as_json() -> None:
    assert moment_document(NoMeaningfulChange(paths=("a.py",))) == {
        "event": "unchanged",
        "paths": ["a.py"],
    }
    assert moment_document(CannotRun(problems=(BROKEN,), waiting=("parse",))) == {
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
    assert moment_document(WatchNote(problem=BROKEN)) == {
        "event": "notice",
        "message": "'(' was never closed",
        "hint": "close it",
    }
    assert moment_document(KeyAnswered(key="s", sentence="scope: tool")) == {
        "event": "key",
        "key": "s",
        "sentence": "scope: tool",
    }


def test_a_beginning_is_told_by_the_run_unless_it_is_cold() -> None:
    began = RunStarting(plan=Plan(), names={}, is_first=True)
    assert moment_document(began) is None
    document = moment_document(replace(began, cold="cold start: it died"))
    assert document == {
        "event": "notice",
        "message": "cold start: it died",
        "hint": "orch check --watch shows what is imported ahead",
    }


@pytest.mark.parametrize(
    "moment",
    [
        WAITING,
        replace(CHANGED, paths=(EVIL,), reasons={EVIL: EVIL}),
        NoMeaningfulChange(paths=(EVIL,)),
        CannotRun(problems=(BROKEN,)),
        WatchNote(problem=BROKEN),
        KeyAnswered(key=EVIL, sentence=EVIL),
    ],
)
def test_every_document_is_one_line_that_says_which_event_it_is(moment: WatchEvent) -> None:
    line = json.dumps(moment_document(moment))
    assert "\n" not in line
    assert "event" in json.loads(line)
