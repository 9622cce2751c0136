"""Which nodes and edges a graph has, and in which columns."""

from __future__ import annotations

from typing import Any

from discover_orch.render.graph_picture import (
    Picture,
    build_picture,
    build_stage_picture,
)


def tool(name: str, **more: Any) -> dict[str, Any]:
    """`reads` and `writes`: words, of which those with a `.` are files."""
    sides = {
        side: [{"file" if "." in one else "table": one} for one in more.pop(side, "").split()]
        for side in ("reads", "writes")
    }
    return {"name": name, "module": f"src.{name}", "after": [], **sides, **more}


def document(**stages: list[dict[str, Any]]) -> dict[str, Any]:
    return {"stages": [{"name": name, "tools": tools} for name, tools in stages.items()]}


def edges(picture: Picture) -> set[str]:
    label = {node.key: node.label for node in picture.nodes}
    return {f"{label[a]} > {label[b]}" for a, b in picture.edges}


def layers(picture: Picture) -> dict[str, int]:
    return {node.label: node.layer for node in picture.nodes}


def test_data_stands_between_its_writer_and_its_readers_and_after_only_where_no_data_says_so() -> (
    None
):
    picture = build_picture(
        document(
            ingest=[
                tool("fetch", reads="in.csv", writes="raw"),
                tool("parse", reads="raw", writes="clean", after=["fetch"]),
                tool("ping", after=["fetch"]),
            ],
            render=[tool("draw", reads="clean", after=["parse", "ping"])],
        )
    )
    assert edges(picture) == {
        "in.csv > fetch",
        "fetch > raw",
        "raw > parse",
        "parse > clean",
        "clean > draw",
        "fetch > ping",
        "ping > draw",
    }
    assert layers(picture) == {
        "in.csv": 0,
        "fetch": 1,
        "raw": 2,
        "ping": 2,
        "parse": 3,
        "clean": 4,
        "draw": 5,
    }


def test_an_update_in_place_is_no_circle() -> None:
    picture = build_picture(
        document(
            s=[
                tool("make", writes="t"),
                tool("update", reads="t", writes="t", after=["make"]),
                tool("own", reads="u", writes="u"),
            ]
        )
    )
    assert edges(picture) == {"make > t", "t > update", "update > t", "own > u"}
    assert layers(picture)["t"] < layers(picture)["update"]


def test_a_glob_stands_for_the_files_that_tools_write() -> None:
    picture = build_picture(
        document(
            a=[tool("one", writes="d/1.csv"), tool("two", writes="d/2.csv")],
            b=[tool("join", reads="d/*.csv", after=["one", "two"]), tool("other", reads="e/*.csv")],
        )
    )
    assert edges(picture) == {
        "one > d/1.csv",
        "two > d/2.csv",
        "d/1.csv > join",
        "d/2.csv > join",
        "e/*.csv > other",
    }


def test_many_files_of_one_kind_are_one_node() -> None:
    names = " ".join(f"d/{n}.csv" for n in range(9))
    picture = build_picture(document(s=[tool("a", writes=names), tool("b", reads=names)]))
    assert edges(picture) == {"a > d/*.csv (9 files)", "d/*.csv (9 files) > b"}


def test_of_a_selection_what_it_exchanges_data_with_is_dim_and_the_rest_is_left_out() -> None:
    chosen = document(
        s=[
            tool("a", writes="t", selected=False),
            tool("b", reads="t", writes="u", selected=True),
            tool("c", reads="v", selected=False),
        ]
    )
    assert {node.label: node.is_dim for node in build_picture(chosen).nodes} == {
        "a": True,
        "b": False,
        "t": False,
        "u": False,
    }


def test_stages_stand_for_their_tools() -> None:
    whole = document(
        a=[tool("x", writes="t", state="passed"), tool("y", state="failed")],
        b=[tool("z", reads="t", state="blocked")],
        c=[tool("w", after=["y"], state="passed")],
    )
    picture = build_stage_picture(whole)
    assert edges(picture) == {"a (2 tools) > b (1 tool)", "a (2 tools) > c (1 tool)"}
    assert [node.state for node in picture.nodes] == ["failed", "blocked", "passed"]
