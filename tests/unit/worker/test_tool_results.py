"""Metrics are plain scalars, whatever `run()` returned; declared outputs must exist."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.worker.tool_results import (
    LONGEST_NUMBER,
    LONGEST_TEXT,
    MissingOutput,
    check_outputs,
    find_missing,
    note_ignored,
    read_metrics,
)


class Item:
    def __init__(self, inner: object) -> None:
        self.inner = inner

    def item(self) -> object:
        if isinstance(self.inner, Exception):
            raise self.inner
        return self.inner


class Words(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("returned", "metrics"),
    [
        (None, {}),
        (3, {}),
        ("rows", {}),
        ([("a", 1)], {}),
        ({}, {}),
        (
            {"a": 1, "b": 2.5, "c": "x", "d": True, "e": None},
            {"a": 1, "b": 2.5, "c": "x", "d": True, "e": None},
        ),
        ({"a": [1], "b": {}, "c": object(), 3: 4, "d": b"x", "e": 1j}, {}),
        ({"a": Item(3), "b": Item([3]), "c": Item(ValueError())}, {"a": 3}),
        ({"a": 10**5000, "b": "x" * 5000, "c": Words("w")}, {"b": "x" * 1000, "c": "w"}),
    ],
)
def test_the_scalars_of_a_mapping_are_metrics(returned: object, metrics: object) -> None:
    assert read_metrics(returned) == metrics


@pytest.mark.parametrize(
    ("returned", "what"),
    [
        (None, ""),
        ({}, ""),
        ({"a": 1, "b": None}, ""),
        (3, "a value of type int, which is ignored"),
        ([1], "a value of type list, which is ignored"),
        ({"a": 1, "b": [2]}, "1 value that is not a scalar and is ignored"),
        ({"a": [1], 2: 3}, "2 values that are not scalars and are ignored"),
    ],
)
def test_what_is_returned_and_no_metric_is_said(returned: object, what: str) -> None:
    notes = note_ignored(returned, read_metrics(returned))
    assert notes == (
        [f"run() returned {what}: only the scalars of a mapping are kept"] if what else []
    )


class Level(enum.IntEnum):
    LOW = 1


class Mood(enum.StrEnum):
    GOOD = "good"


class Weight(float):
    pass


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("scalar", "plain"),
    [(Level.LOW, 1), (Mood.GOOD, "good"), (Weight(1.5), 1.5), (Item(Item(3)), None), (Item(True), True)],
)  # fmt: skip
def test_a_scalar_of_another_class_is_the_plain_one_that_it_stands_for(
    scalar: object, plain: object
) -> None:
    found = read_metrics({"a": scalar})
    assert found == ({} if plain is None else {"a": plain})
    assert [type(one) for one in found.values()] == [type(plain)] * len(found)


def test_a_name_of_another_class_is_a_plain_one() -> None:
    (name,) = read_metrics({Name("a"): 1})
    assert (name, type(name)) == ("a", str)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_is_kept_as_long_as_it_can_be_written(sign: int) -> None:
    assert read_metrics({"a": sign * (LONGEST_NUMBER - 1)}) == {"a": sign * (LONGEST_NUMBER - 1)}
    assert read_metrics({"a": sign * LONGEST_NUMBER}) == {}


def test_a_long_text_and_a_long_name_are_cut() -> None:
    longest = "x" * LONGEST_TEXT
    assert read_metrics({longest: longest}) == {longest: longest}
    assert read_metrics({longest + "y": longest + "y"}) == {longest: longest}


def test_any_mapping_will_do() -> None:
    class Own(Mapping[str, object]):
        def __getitem__(self, name: str) -> object:
            return len(name)

        def __iter__(self) -> Iterator[str]:
            return iter(["a", "bb"])

        def __len__(self) -> int:
            return 2

    assert read_metrics(Own()) == {"a": 1, "bb": 2}


class Lazy:
    """As a proxy that is bound to nothing yet."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError("unbound")


class Sly(int):
    def __abs__(self) -> int:
        raise RuntimeError


class Hidden:
    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)


@pytest.mark.parametrize("make", [Lazy, Sly, Hidden])
def test_a_value_that_raises_does_not_drop_the_others(make: type) -> None:
    assert read_metrics({"a": 1, "b": make(), "c": 2}) == {"a": 1, "c": 2}


def test_what_raises_when_it_is_asked_what_it_is_is_no_metric() -> None:
    assert read_metrics(Lazy()) == {}
    (note,) = note_ignored(Lazy(), {})
    assert note.startswith("run() returned a mapping that cannot be read")


def test_what_a_mapping_gave_before_it_raised_is_kept() -> None:
    class Torn(dict[str, object]):
        def items(self) -> Any:
            yield "a", 1
            raise RuntimeError

    assert read_metrics(Torn()) == {"a": 1}


def test_an_interrupt_is_not_swallowed() -> None:
    class Slow(dict[str, object]):
        def items(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_metrics(Slow())


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ANYTHING = st.recursive(
    SCALARS | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=9) | st.integers(), ANYTHING))
def test_metrics_survive_json_whatever_was_returned(
    returned: dict[Any, Any],
) -> None:
    found = read_metrics(returned)
    assert json.loads(json.dumps(found)) == found
    plain = (type(None), bool, int, float, str)
    assert found.keys() == {
        name for name, one in returned.items() if type(name) is str and type(one) in plain
    }
    assert all(returned[name] == one for name, one in found.items())


# Declared outputs.


def test_files_folders_and_globs_that_mean_something_are_there(tmp_path: Path) -> None:
    (tmp_path / "out/deep").mkdir(parents=True)
    (tmp_path / "out/deep/a.csv").write_text("")
    (tmp_path / "report.html").write_text("")
    declared = ("report.html", "out", "out/", "out/deep/a.csv", "out/*/*.csv", "**/a.csv")
    assert find_missing(str(tmp_path), declared) == []


def test_what_means_nothing_is_missing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "broken").symlink_to("nowhere")
    declared = ("a.txt", "out/*.csv", "broken", "out")
    assert find_missing(str(tmp_path), declared) == ["a.txt", "out/*.csv", "broken"]


def test_a_path_out_of_the_project_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    assert find_missing(str(tmp_path / "root"), (str(tmp_path / "x"),)) == []


def test_the_sentence_names_all_that_is_missing(tmp_path: Path) -> None:
    check_outputs(str(tmp_path), ())
    with pytest.raises(MissingOutput, match=r"^declared output not written: a$"):
        check_outputs(str(tmp_path), ("a",))
    with pytest.raises(MissingOutput, match=r"^declared outputs not written: a, b$"):
        check_outputs(str(tmp_path), ("a", "b"))
