"""What the lines of a journal say about a run, and what changed between two runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.state.read_run import read_first_and_last, read_run, read_writer
from discover_orch.state.run_record import RecordedParam, RunRecord, ToolRecord
from tests.support.journals import finished, started, tool_finished, tool_started


def lines(*documents: Mapping[str, Any]) -> list[bytes]:
    return [json.dumps(one).encode() + b"\n" for one in documents]


def read(*documents: Mapping[str, Any], is_alive: bool = False) -> RunRecord:
    record = read_run(lines(*documents), is_alive)
    assert record is not None
    return record


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


def test_a_whole_run_has_everything() -> None:
    record = read(*WHOLE)
    assert (record.run, record.status, record.exit_code, record.duration) == ("1", "failed", 1, 0.5)
    assert (record.started, record.kind) == ("2026-11-24T14:03:22+01:00", "run")
    assert (record.targets, record.database) == (("full",), "sqlite:///data.db")
    assert record.counts == {"passed": 1, "failed": 1}
    fetch, parse = record.tools
    assert (fetch.status, fetch.duration, fetch.metrics) == ("passed", 0.25, {"rows": 3})
    assert fetch.notes == ("it committed by itself",)
    assert parse.error is not None
    assert (parse.error.type, parse.error.path, parse.error.line) == ("E", "a.py", 3)


def test_the_first_line_and_the_last_tell_the_run_without_its_tools() -> None:
    every = lines(*WHOLE)
    record = read_first_and_last(every[0], every[-1])
    assert record is not None
    whole = read(*WHOLE)
    assert (record.status, record.counts, record.plan) == (whole.status, whole.counts, whole.plan)
    assert record.tools == ()
    assert read_first_and_last(every[0], every[-2]) is None
    assert read_first_and_last(every[1], every[-1]) is None


@pytest.mark.parametrize(
    ("is_alive", "run", "first"), [(True, "running", "running"), (False, "killed", "unknown")]
)
def test_what_has_no_end_is_running_or_was_killed(is_alive: bool, run: str, first: str) -> None:
    record = read(started("1"), tool_started("fetch"), is_alive=is_alive)
    assert (record.status, record.exit_code, record.duration) == (run, None, None)
    assert [tool.status for tool in record.tools] == [first, "not_run"]
    assert [tool.has_started for tool in record.tools] == [True, False]
    assert record.counts == {first: 1, "not_run": 1}


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


def test_a_tool_that_did_not_start_took_no_time() -> None:
    record = read(started("1"), tool_finished("fetch", "blocked", duration=0.0), finished("failed"))
    assert record.tools[0] == ToolRecord(name="fetch", module="src.fetch", status="blocked")


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
        assert read_run([*good[:place], line, *good[place:]], False) == read(*WHOLE)
    assert read_run([line], False) is None
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
    read_run(lines(*documents), False)
    read_writer(lines(*documents))
    plan = data.draw(st.lists(JUNK | st.dictionaries(st.sampled_from(PLAN_KEYS), JUNK)))
    record = read_run(lines(started("1", plan=plan)), False)
    assert record is None or isinstance(record.params, dict)


PLAN_KEYS = ["module", "name", "stage", "params", "extra", "secrets", "code"]


def test_the_writer_is_known_as_long_as_there_is_no_end() -> None:
    first = started("1", pid=7, process=8, boot="b")
    writer = read_writer(lines(first))
    assert writer is not None
    assert (writer.pid, writer.process, writer.boot) == (7, 8, "b")
    assert read_writer(lines(first, finished())) is None
    assert read_writer([]) is None


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
        "fetch.since": RecordedParam(texts=("2024",), origin="--since"),
        "parse.since": RecordedParam(texts=("2025",), origin="-p"),
        "n": RecordedParam(texts=("2024",), origin="--since"),
        "k": RecordedParam(texts=("v",), origin="-p"),
        "token": RecordedParam(texts=("***",)),
    }
