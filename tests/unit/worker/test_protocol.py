"""What one side writes the other reads, whatever text is in it; one line each."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.errors import Failure
from discover_orch.model.observation import Observation
from discover_orch.model.tool import Choice, EnumChoice, ParamType, Scalar
from discover_orch.worker import protocol
from discover_orch.worker.protocol import (
    Closed,
    DebugEnded,
    DebugStarted,
    Declined,
    Finish,
    Message,
    Preload,
    Preloaded,
    Prepare,
    RunStep,
    StepFinished,
    StepStarted,
    WireArgument,
    decode_message,
    decode_order,
    encode_message,
    encode_order,
)

anything = st.text(st.characters(exclude_categories=()))  # lone surrogates too: names of files
names = st.dictionaries(anything, anything, max_size=3)
maybe = st.none() | anything
numbers = st.integers(0, 10**9)
texts = st.lists(anything, max_size=3).map(tuple)
types = st.builds(
    ParamType,
    base=st.builds(Scalar, kind=st.sampled_from(["str", "int", "bool", "path", "uuid"]))
    | st.builds(Choice, values=st.lists(anything | st.integers() | st.booleans()).map(tuple))
    | st.builds(
        EnumChoice,
        module=anything,
        name=anything,
        members=st.lists(st.tuples(anything, anything), max_size=3).map(tuple),
    ),
    many=st.booleans(),
    optional=st.booleans(),
)
errors = st.builds(
    Failure,
    kind=st.sampled_from(["exception", "exit"]),
    type=anything,
    message=anything,
    path=maybe,
    line=st.none() | numbers,
    traceback=anything,
    hint=anything,
)
prepares = st.builds(
    Prepare,
    root=anything,
    pythonpath=texts,
    database=anything,
    orchconf=maybe,
    has_connection=st.booleans(),
    resources=st.dictionaries(anything, texts, max_size=3),
    environment=st.none() | names,
    observes=st.booleans(),
)
preloads = st.builds(
    Preload,
    root=anything,
    pythonpath=texts,
    modules=st.lists(st.tuples(anything, texts), max_size=3).map(tuple),
)
preloadeds = st.builds(
    Preloaded,
    modules=st.lists(st.tuples(anything, st.floats(0, 1e6), anything), max_size=3).map(tuple),
    shadowed=texts,
)
steps = st.builds(
    RunStep,
    step=numbers,
    module=anything,
    name=anything,
    path=anything,
    arguments=st.dictionaries(
        anything, st.builds(WireArgument, texts=texts, type=types), max_size=2
    ),
    extra=names,
    resources=texts,
    failures=numbers,
)
seens = st.builds(
    Observation,
    read=st.lists(st.tuples(anything, numbers, numbers, numbers), max_size=3).map(tuple),
    listed=st.lists(st.tuples(anything, anything), max_size=3).map(tuple),
    missed=texts,
    written=texts,
    removed=texts,
    tables_read=texts,
    tables_written=texts,
    is_unclear=st.booleans(),
    has_committed=st.booleans(),
    database=anything,
    third_party=texts,
    began=st.tuples(numbers, numbers),
)
finishes = st.builds(
    StepFinished,
    step=numbers,
    status=st.sampled_from(["passed", "failed", "interrupted"]),
    duration=st.floats(0, 1e6),
    error=st.none() | errors,
    metrics=st.dictionaries(
        anything,
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | anything,
        max_size=3,
    ),
    notes=texts,
    loaded=st.lists(st.tuples(anything, anything, anything), max_size=3).map(tuple),
    seen=st.none() | seens,
    setup=st.none() | seens,
    opened=texts,
)


@given(prepares | preloads | steps)
def test_an_order_survives_as_one_line(order: Any) -> None:
    line = encode_order(order)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_order(line) == order


@given(
    finishes
    | preloadeds
    | st.builds(Closed, errors=st.lists(errors, max_size=2).map(tuple), threads=texts)
)
def test_a_message_survives_as_one_line(message: Any) -> None:
    line = encode_message(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_message(line) == message


def test_a_path_and_an_argument_that_are_not_utf_8_cross() -> None:
    order = RunStep(
        step=1,
        module="m",
        name="m",
        path="caf\udce9.py",
        arguments={"a": WireArgument(texts=("\udcff",), type=ParamType(base=Scalar(kind="path")))},
    )
    assert decode_order(encode_order(order)) == order
    message = StepFinished(
        step=1, status="passed", duration=0.5, seen=Observation(written=("caf\udce9.txt",))
    )
    assert decode_message(encode_message(message)) == message


def test_messages_that_differ_only_in_their_kind_are_told_apart() -> None:
    small: list[Message] = [
        StepStarted(step=3),
        Declined(step=3),
        DebugStarted(step=3),
        DebugEnded(step=3),
    ]
    assert [decode_message(encode_message(message)) for message in small] == small


def test_only_what_is_asked_to_observe_does() -> None:
    assert not Prepare(root="/", pythonpath=(), database="").observes
    assert StepFinished(step=1, status="passed", duration=0).seen is None


def test_a_step_in_which_nothing_was_seen_costs_few_bytes() -> None:
    line = encode_message(StepFinished(step=1, status="passed", duration=0, seen=Observation()))
    assert b'"seen":{}' in line
    decoded: Any = decode_message(line)
    assert decoded.seen == Observation()


def test_what_went_wrong_with_imports_ahead_is_a_sentence() -> None:
    """A module that is not installed is a choice that some tools leave open."""
    rows = (("a", 0.1, ""), ("b", 0.0, "ModuleNotFoundError: No module named 'b'"))
    assert Preloaded(modules=()).sentence == Preloaded(modules=rows).sentence == ""
    bad = (*rows, ("c", 0.0, "ValueError: no"), ("d", 0.0, "SystemExit: 2"))
    assert Preloaded(modules=bad).sentence == (
        "preloading failed: c (ValueError: no), d (SystemExit: 2)"
    )
    shadowed = Preloaded(modules=bad, shadowed=("json", "utils"))
    assert shadowed.sentence == (
        "cold start: modules of the project have the names of installed modules: json, utils"
    )


def test_numbers_that_json_does_not_know_survive() -> None:
    message = StepFinished(
        step=1, status="passed", duration=0, metrics={"n": math.nan, "i": math.inf}
    )
    decoded: Any = decode_message(encode_message(message))
    assert math.isnan(decoded.metrics["n"])
    assert decoded.metrics["i"] == math.inf


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"Fatal Python error\n",
        b"[]\n",
        b"{}\n",
        b'{"type": "Declined"}\n',
        encode_order(Finish()),
        b"\xff\n",
    ],
)
def test_what_is_no_message_is_told_apart(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of them: the line is put aside
        decode_message(line)


def test_the_module_is_cheap_to_import() -> None:
    """The first thing that a run needs, before its worker can be started."""
    import subprocess
    import sys

    code = "import sys, discover_orch.execution.supervisor; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "dataclasses",
        "subprocess",
        "asyncio",
        "sqlite3",
        "selectors",
        "click",
        "rich",
    }
    assert not heavy & set(done.stdout.split())
    assert protocol.__doc__
