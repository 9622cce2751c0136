"""`select_affected` by itself: which tools a change reaches, by which path, and which are run again for it."""

from __future__ import annotations

import pytest

from discover_orch.discovery.ordering import Stage
from discover_orch.discovery.registry import Registry
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.tool import Tool
from discover_orch.staleness.affected import (
    ImportReach,
    Scope,
    ToolInputs,
    expand,
    find_inputs,
    select_affected,
)


def tool(module: str, *inputs: str) -> Tool:
    path = module.replace(".", "/") + ".py"
    return Tool(module=module, path=path, line=1, name=module, stages=("s",), inputs=inputs)


def reach(*paths: str, missing: str = "", has_unread: bool = False) -> ImportReach:
    return ImportReach(
        paths=frozenset(paths), missing=frozenset(missing.split()), has_unread=has_unread
    )


TOOLS = {"a": tool("a"), "b": tool("b")}
REACHES = {
    "a": reach("a.py", "lib.py", missing="zz.py zz/"),
    "b": reach("b.py", "lib.py", "low.py"),
}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ([], {}),
        (["a.py"], {"a": "a.py"}),
        (["lib.py"], {"a": "lib.py", "b": "lib.py"}),
        (["low.py"], {"b": "low.py"}),
        (["other.py", "zz"], {}),
        (["zz.py"], {"a": "zz.py"}),
        (["zz/y.py"], {"a": "zz/y.py"}),
        (["zz/deep/note.txt"], {"a": "zz/deep/note.txt"}),
        (["zz/"], {"a": "zz/"}),
        (["zzz/y.py", "src/zz/y.py"], {}),
        (["lib.py", "a.py", "low.py"], {"a": "a.py", "b": "lib.py"}),
    ],
)
def test_what_is_reached(changed: list[str], expected: dict[str, str]) -> None:
    assert select_affected(changed, TOOLS, REACHES, REACHES) == expected


def test_a_deleted_module_is_in_the_old_reach_and_a_new_one_in_the_new() -> None:
    before, after = {"a": reach("a.py", "old.py")}, {"a": reach("a.py", "new.py", missing="old.py")}
    assert select_affected(["old.py"], TOOLS, before, after) == {"a": "old.py"}
    assert select_affected(["new.py"], TOOLS, before, after) == {"a": "new.py"}


def test_a_folder_that_is_gone_is_missing_afterwards() -> None:
    before, after = {"a": reach("a.py")}, {"a": reach("a.py", missing="ns/")}
    assert select_affected(["ns/last.txt"], TOOLS, before, after) == {"a": "ns/last.txt"}


def test_new_tools_are_affected_and_gone_ones_are_not_in_the_answer() -> None:
    before, after = {"a": reach("a.py")}, {"b": reach("b.py")}
    assert select_affected(["a.py", "b.py"], TOOLS, before, after) == {"b": "b.py"}
    assert select_affected([], TOOLS, before, after) == {"b": "b.py"}
    assert select_affected([], {}, {}, {"c": reach()}) == {"c": "c"}


def test_what_was_seen_is_added_and_never_taken_away() -> None:
    seen = {"a": frozenset({"plugin.py"}), "b": frozenset[str]()}
    assert select_affected(["plugin.py"], TOOLS, REACHES, REACHES, seen) == {"a": "plugin.py"}
    assert select_affected(["lib.py"], TOOLS, REACHES, REACHES, seen) == {
        "a": "lib.py",
        "b": "lib.py",
    }


SEEN = {
    "a": ToolInputs(reads=frozenset(["x.csv", "[ab].csv"]), missed=frozenset(["late.csv"])),
    "b": ToolInputs(folders=frozenset(["in", "."]), own=frozenset(["in/mine.csv"])),
}


@pytest.mark.parametrize(
    ("changed", "names", "expected"),
    [
        ("x.csv", "", {"a": "x.csv"}),
        ("late.csv", "", {"a": "late.csv"}),
        ("[ab].csv", "", {"a": "[ab].csv"}),
        ("a.csv y.csv", "", {}),
        ("in/x.csv", "", {}),  # what stands in it is no matter
        ("in/x.csv in/w.csv", "in/x.csv in/w.csv", {"b": "in/w.csv"}),
        ("in/deep/x.csv", "in/deep/x.csv", {}),
        ("in/mine.csv", "in/mine.csv", {}),
        ("x.csv", "x.csv", {"a": "x.csv", "b": "x.csv"}),
        ("x.csv lib.py", "x.csv", {"a": "lib.py", "b": "lib.py"}),
    ],
)
def test_what_tools_were_seen_to_need_reaches_them(
    changed: str, names: str, expected: dict[str, str]
) -> None:
    found = select_affected(
        changed.split(), TOOLS, REACHES, REACHES, inputs=SEEN, names=frozenset(names.split())
    )
    assert found == expected


def test_inputs_are_what_was_seen_less_what_the_tool_writes_itself() -> None:
    flow = Dataflow(reads=("x", "y"), writes=("y", "z"), missed=("m", "z"), folders=("in",))
    other = Dataflow(reads=("w",))
    assert find_inputs(tool("a"), flow, other) == ToolInputs(
        reads=frozenset("wx"), missed=frozenset("m"), folders=frozenset(["in"]), own=frozenset("yz")
    )


def test_an_import_that_cannot_be_read_means_every_module_until_it_was_seen() -> None:
    odd = {"a": reach("a.py", has_unread=True)}
    assert select_affected(["x.csv"], TOOLS, odd, odd) == {}
    assert select_affected(["x.csv", "y.py", "z.py"], TOOLS, odd, odd) == {"a": "y.py"}
    assert select_affected(["y.py"], TOOLS, odd, {"a": reach("a.py")}) == {"a": "y.py"}
    assert select_affected(["y.py"], TOOLS, odd, odd, {"a": frozenset({"x.py"})}) == {}
    assert (
        select_affected(["y.py"], TOOLS, odd, odd, is_module=lambda path: path == "other.py") == {}
    )


INPUTS = [
    ("data/x.csv", "data/x.csv", True),
    ("./data/x.csv", "data/x.csv", True),
    ("data", "data/deep/x.csv", True),
    ("data/", "data/x.csv", True),
    ("data", "database/x.csv", False),
    ("data/*.csv", "data/x.csv", True),
    ("data/*.csv", "data/deep/x.csv", False),
    ("data/*", "data/deep/x.csv", True),
    ("data/**/*.csv", "data/x.csv", True),
    ("data/**/*.csv", "data/very/deep/x.csv", True),
    ("data/**", "data/very/deep/x.csv", True),
    ("**/x.csv", "x.csv", True),
    ("**/x.csv", "data/x.csv", True),
    ("**/x.csv", "data/yx.csv", False),
    ("d?ta/[a-x].csv", "data/x.csv", True),
    ("data/[!x].csv", "data/x.csv", False),
    ("data/[!x].csv", "data/y.csv", True),
    ("data/[z-a].csv", "data/[z-a].csv", True),
    ("data/[x.csv", "data/[x.csv", True),
    ("data/[]&&~~||--[^].csv", "data/].csv", True),
    ("data/[]&&~~||--[^].csv", "data/-.csv", True),
    ("data/[a\\d].csv", "data/\\.csv", True),
    ("data/[a\\d].csv", "data/1.csv", False),
    ("data/[^x].csv", "data/x.csv", True),
    ("data/x+y.csv", "data/x+y.csv", True),
    ("data/x.csv", "data/x-csv", False),
    (".", "anything/x.csv", True),
    ("a\nb/*", "a\nb/c\nd", True),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), INPUTS)
def test_inputs_are_paths_globs_and_folders(pattern: str, path: str, expected: bool) -> None:
    reaches = {"t": reach("t.py")}
    found = select_affected([path], {"t": tool("t", "none.txt", pattern)}, reaches, reaches)
    assert found == ({"t": path} if expected else {})


REGISTRY = Registry(
    tools={name: tool(name) for name in "abcdef"},
    stages=(
        Stage(name="one", tools=("a", "b")),
        Stage(name="two", tools=("b", "c")),
        Stage(name="three", tools=("c", "d", "e")),
    ),
    order=("a", "b", "c", "d", "e"),
    rank={"a": 0, "b": 0, "c": 1, "d": 2, "e": 2},
    before={"e": ("d",)},
    flow={},
)


@pytest.mark.parametrize(
    ("found", "scope", "targets", "expected"),
    [
        ("a", "tool", "abcde", "a"),
        ("ea", "tool", "abcde", "ae"),
        ("a", "tool", "bc", ""),
        ("a", "stage", "abcde", "ab"),
        ("b", "stage", "abcde", "abc"),
        ("d", "stage", "abde", "de"),
        ("a", "stage", "bcde", ""),
        ("d", "downstream", "abcde", "de"),
        ("c", "downstream", "abcde", "cde"),
        ("c", "downstream", "abcd", "cd"),
        ("fx", "stage", "abcdefx", ""),
        ("", "downstream", "abcde", ""),
    ],
)
def test_what_is_run_again(found: str, scope: Scope, targets: str, expected: str) -> None:
    assert expand(list(found), REGISTRY, scope, list(targets)) == tuple(expected)
