"""A scene fails where a command shows something else than is recorded, and recording it anew mends it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scenes.runner import (
    Mismatch,
    blank,
    check,
    json_lines,
    matches,
    merge,
    read_scenes,
    record,
)
from tests.support.fork_server import ForkServer

PROJECT = '+ src/a.py\n  STAGE = "s"\n  def run():\n      print("one")\n      print("two")\n'


def failure(path: Path, steps: str, server: ForkServer) -> str:
    """What is said of a scene with these steps, "" if nothing."""
    path.write_text(f"{PROJECT}== name\n{steps}", "utf-8")
    [scene] = read_scenes(path)
    try:
        check(scene, server)
    except Mismatch as mismatch:
        return str(mismatch)
    return ""


def test_what_is_recorded_wrongly_fails(tmp_path: Path, fork_server: ForkServer) -> None:
    for right, wrong in (
        ("$ orch run b\n! ...\nexit 2", "$ orch run b\nexit 2"),
        ("$ orch run b\n! ...\nexit 2", "$ orch run b\n! ...\nexit 1"),
        (
            "$ orch run\n  ...\n      one\n      two\n  ...",
            "$ orch run\n  ...\n      one\n  ...\n      one\n  ...",
        ),
        ("$ orch run\n  ...\n      two\n  ...", "$ orch run\n  ...\n      two"),
        ("$ echo a && echo b >&2\n  a\n! b", "$ echo a && echo b >&2\n  a\n  b"),
        ("$ FOO=b; echo $FOO\n  b", "$ FOO=b; echo $FOO\n  c"),
        ("% orch run b\n  ...\nexit 2", "% orch run b\n  ...\nexit 3"),
    ):
        assert failure(tmp_path / "a.scene", right, fork_server) == ""
        said = failure(tmp_path / "a.scene", wrong, fork_server)
        assert "a.scene:7: " in said
        assert "\n--- " in said


def test_json_is_compared_as_values() -> None:
    actual = {"a": 1, "b": [{"c": None, "d": "x"}, 2, 3], "e": {}}
    for right in (
        {"e": {}, "b": [{"d": "x", "c": None}, 2, 3], "a": 1},
        {"a": "...", "b": "...", "e": "..."},
        {"a": 1, "...": "..."},
        {"a": 1, "b": [{"c": None, "...": "..."}, "..."], "e": {}},
        {"a": 1, "b": [{"c": None, "d": "x"}, 2, 3, "..."], "e": {"...": "..."}},
    ):
        assert matches(right, actual)
        assert matches(right, blank(right, actual))
    for wrong in (
        {},
        {"a": 1},
        {"a": True, "...": "..."},
        {"a": 1.0, "...": "..."},
        {"f": "...", "...": "..."},
        {**actual, "b": [{"c": None, "d": "x"}, 2]},
        {**actual, "b": [2, "..."]},
        {**actual, "b": [{"c": None}, "..."]},
    ):
        assert not matches(wrong, actual)
        assert merge(json.dumps(wrong), json.dumps(actual)) != json.dumps(wrong)


def test_a_key_stands_once_in_an_object_of_a_scene() -> None:
    for text in ('{"a": 1, "b": {"c": 1, "c": 1}}', '{"a": 1}\n{"a": 1, "a": 1}'):
        with pytest.raises(AssertionError, match="a key stands twice"):
            merge(text, '{"a": 1}')


def test_json_in_a_scene_is_read_back_as_it_was() -> None:
    value = {"a": [*range(60)], "b": {"c": ["x" * 50] * 4, "d": [{"e": "y" * 90}] * 2}, "f": []}
    text = json_lines(value)
    assert json.loads(text) == value
    lines = f"{json_lines(value)}\n{json_lines([1])}"
    assert merge(lines, f"{json.dumps(value)}\n[1]\n") == lines
    assert merge(lines, f"{json.dumps(value)}\n[2]\n") == f"{text}\n[2]"


def test_recording_keeps_placeholders_comments_and_other_scenes(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    path = tmp_path / "a.scene"
    steps = '# why\n$ orch list --json\n  {{{}"...": "..."}}\n$ orch run -q\n{}\n$ rm src/a.py\n== other\n$ false\n'
    path.write_text(f"{PROJECT}== name\n{steps.format('', '  ...')}", "utf-8")
    first, other = read_scenes(path)
    assert record(path, [first], fork_server) is False
    changed = steps.format('"version": 2, ', "  nothing")
    path.write_text(f"{PROJECT}== name\n{changed}", "utf-8")
    assert record(path, [read_scenes(path)[0]], fork_server) is True
    assert (
        '# why\n$ orch list --json\n  {"version": 1, "...": "..."}\n$ orch run -q\n  '
        in path.read_text("utf-8")
    )
    assert path.read_text("utf-8").endswith("\n$ rm src/a.py\n== other\n$ false\n")
    check(read_scenes(path)[0], fork_server)
    with pytest.raises(Mismatch):
        check(read_scenes(path)[1], fork_server)
    assert other.name == "other"


def test_what_is_no_part_of_a_scene_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.scene"
    path.write_text("== name\n$ orch list\noutput without its indent\n", "utf-8")
    with pytest.raises(ValueError, match=r"a\.scene:3: not part of a scene: output without"):
        read_scenes(path)
