"""What the lines of a journal say about a run, and what changed between two runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.parameter import ParamValue
from discover_orch.state.recorded_run import (
    RunRecord,
    read_ends,
    read_first_and_last,
    read_run,
)
from tests.support.journals import finished, started, tool_finished, tool_started


def lines(*documents: Mapping[str, Any]) -> list[bytes]:
    return [json.dumps(one).encode() + b"\n" for one in documents]


def read(*documents: Mapping[str, Any], is_alive: bool = False) -> RunRecord:
    record = read_run(lines(*documents), lambda *_: is_alive)
    assert record is not None
    return record


def is_alive(*_: object) -> bool:
    return False


WHOLE = (
    started("1"),
    tool_started("fetch"),
    tool_finished("fetch", metrics={"rows": 3}, notes=["it committed by itself"]),
    tool_started("parse"),
    tool_finished(
        "parse",
        "failed",
        error={"kind": "exception", "type": "E", "message": "m", "path": "a.py", "line": 3},
    ),
    finished("failed", counts={"passed": 1, "failed": 1}),
)


def test_a_tool_that_began_again_has_not_ended() -> None:
    record = read(
        started("1"),
        tool_started("fetch"),
        tool_finished("fetch", "failed"),
        tool_started("fetch"),
    )
    assert record.tools[0].status == "unknown"


def test_between_two_attempts_a_tool_has_failed() -> None:
    before = (started("1"), tool_started("fetch"))
    retried = {**tool_finished("fetch", "failed"), "event": "tool_retried", "attempt": 1}
    assert read(*before, retried).tools[0].status == "failed"
    ordered = {"event": "tool_ordered", "module": "src.fetch"}
    assert read(*before, retried, ordered).tools[0].status == "unknown"
    assert read(*before, retried, ordered, tool_finished("fetch")).tools[0].status == "passed"


def test_unknown_keys_and_unknown_events_are_ignored() -> None:
    extra = [{**one, "new": [1, {"a": 2}]} for one in WHOLE]
    extra.insert(2, {"event": "something_new", "module": 3})
    assert read(*extra) == read(*WHOLE)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"[1]\n",
        b"{\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b'{"event":"tool_finished"}\n',
        b'{"event":"tool_finished","name":"parse","module":["src.fetch"],"status":"failed","duration":1}\n',
        b'{"event":"tool_finished","name":"parse","module":"src.fetch","status":"failed","duration":NaN}\n',
        b'{"event":"tool_finished","name":"parse","module":"src.fetch","status":"failed","duration":true}\n',
        b'{"event":"tool_finished","name":"parse","module":"src.fetch","status":"failed","duration":1}',
        b'{"event":"tool_started","module":1}\n',
        b'{"event":"run_started"}\n',
        b'{"event":"run_started","run":"7","targets":[],"tools":["a"],"modules":[]}\n',
        b'{"event":"run_started","run":"7","targets":"x","tools":[],"modules":[]}\n',
        b'{"event":"run_finished","status":"failed"}\n',
        b'{"event":"run_finished","status":"failed","exit_code":1,"duration":1,"counts":{"passed":"1"}}\n',
        b'{"event":["run_finished"]}\n',
    ],
)
def test_a_line_of_another_shape_is_ignored(line: bytes) -> None:
    good = lines(*WHOLE)
    for place in range(len(good) + 1):
        assert read_run([*good[:place], line, *good[place:]], is_alive) == read(*WHOLE)
    assert read_run([line], is_alive) is None
    assert read_first_and_last(line, good[-1]) is None


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(data=st.data())
def test_any_value_of_any_key_gives_a_record_or_none(data: st.DataObject) -> None:
    documents = [dict(one) for one in WHOLE]
    for one in documents:
        for key in data.draw(st.lists(st.sampled_from(sorted(one)), max_size=2)):
            one[key] = data.draw(JUNK)
    read_run(lines(*documents), is_alive)
    plan = data.draw(st.lists(JUNK | st.dictionaries(st.sampled_from(PLAN_KEYS), JUNK)))
    record = read_run(lines(started("1", plan=plan)), is_alive)
    assert record is None or isinstance(record.params, dict)


PLAN_KEYS = ["module", "name", "stage", "params", "extra", "secrets", "code"]


def test_whether_the_writer_lives_is_asked_as_long_as_there_is_no_end() -> None:
    asked: list[object] = []

    def ask(*writer: object) -> bool:
        asked.append(writer)
        return True

    first = started("1", pid=7, process=8, boot="b")
    read_run(lines(first), ask)
    read_run(lines(first, finished()), ask)
    assert asked == [(7, 8, "b")]


def at(second: float, document: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {**document, **more, "time": f"2026-11-24T14:03:{second:09.6f}Z"}


def test_each_attempt_is_kept_with_its_worker_and_an_end_may_be_missing() -> None:
    retried = {**tool_finished("fetch", duration=1), "event": "tool_retried", "status": "failed"}
    documents = (
        at(0, started("1"), workers=2),
        at(1, tool_started("fetch"), worker=2),
        at(2, retried),
        at(3, tool_started("fetch")),
        at(4, tool_finished("fetch", duration=1)),
        at(4, tool_finished("fetch", duration=1)),
        at(4, tool_started("parse"), worker=2),
    )
    fetch, parse = read(*documents).tools
    assert [(one.worker, one.status) for one in fetch.attempts] == [(2, "failed"), (1, "passed")]
    assert [(one.start, one.end, one.status) for one in parse.attempts] == [(4.0, 4.0, "")]
    text = [json.dumps(one, separators=(",", ":")).encode() + b"\n" for one in documents]
    assert [(one.module, one.status) for one in read_ends(text)] == [("src.fetch", "passed")] * 2


def test_an_attempt_begins_when_its_worker_is_free() -> None:
    """The times are those at which orch read the events, which is later than they happened."""
    record = read(
        at(0.0, started("1")),
        at(1.5, tool_started("fetch")),
        at(1.5, tool_finished("fetch", duration=0.25)),
        at(1.5, tool_started("parse")),
        at(2.0, tool_finished("parse", duration=0.75)),
        at(2.0, finished()),
    )
    times = [(one.start, one.end) for tool in record.tools for one in tool.attempts]
    assert times == [(1.25, 1.5), (1.5, 2.0)]


def planned(name: str, **more: Any) -> dict[str, Any]:
    return {"module": f"src.{name}", "name": name, **more}


def test_a_parameter_that_tools_got_differently_is_told_for_each() -> None:
    since = {"texts": ["2024"], "origin": "--since"}
    other = {"texts": ["2025"], "origin": "-p"}
    record = read(
        started(
            "1",
            plan=[
                planned("fetch", params={"since": since, "n": since}),
                planned("parse", params={"since": other}, extra={"k": "v"}, secrets=["token"]),
            ],
        )
    )
    assert record.params == {
        "fetch.since": ParamValue(texts=("2024",), origin="--since"),
        "parse.since": ParamValue(texts=("2025",), origin="-p"),
        "n": ParamValue(texts=("2024",), origin="--since"),
        "k": ParamValue(texts=("v",), origin="-p"),
        "token": ParamValue(texts=("***",)),
    }
