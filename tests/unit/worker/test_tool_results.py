"""Metrics are plain scalars, whatever `run()` returned; declared outputs must exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.worker.tool_results import (
    LONGEST_NUMBER,
    LONGEST_TEXT,
    find_missing,
    note_ignored,
    read_metrics,
)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_is_kept_as_long_as_it_can_be_written(sign: int) -> None:
    assert read_metrics({"a": sign * (LONGEST_NUMBER - 1)}) == {"a": sign * (LONGEST_NUMBER - 1)}
    assert read_metrics({"a": sign * LONGEST_NUMBER}) == {}


def test_a_long_text_and_a_long_name_are_cut() -> None:
    longest = "x" * LONGEST_TEXT
    assert read_metrics({longest: longest}) == {longest: longest}
    assert read_metrics({longest + "y": longest + "y"}) == {longest: longest}


class Lazy:
    """As a proxy that is bound to nothing yet."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError("unbound")


def test_what_raises_when_it_is_asked_what_it_is_is_no_metric() -> None:
    assert read_metrics(Lazy()) == {}
    (note,) = note_ignored(Lazy(), {})
    assert note.startswith("run() returned a mapping that cannot be read")


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
