"""The listing as text: every tool with its stage, first line, path and options."""

from __future__ import annotations

from typing import Any

from discover_orch.discovery.listing_cache import build_summary
from discover_orch.render import listing
from discover_orch.render.style import Style

WIDE = Style(width=200)


def param(name: str, kind: str = "str", *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "type": kind, "required": required}


def tool(name: str, *params: dict[str, Any], **changes: object) -> dict[str, Any]:
    row = {"name": name, "doc": f"Do {name}.", "path": f"src/{name}.py", "disabled": False}
    return {**row, "params": list(params), "readable": True, **changes}


def listing_text(document: dict[str, Any], style: Style, *, verbose: bool = False) -> str:
    return listing.listing_text(build_summary(document), style, verbose=verbose)


def document(
    *tools: dict[str, Any], configured: bool = True, **stages: list[str]
) -> dict[str, Any]:
    rows = [
        {"name": name, "tools": members, "configured": configured}
        for name, members in stages.items()
    ]
    return {"tools": list(tools), "stages": rows, "errors": [], "warnings": []}


def test_each_tool_stands_under_its_stage_with_all_that_is_known() -> None:
    text = listing_text(
        document(
            tool("fetch", param("limit", "int")), tool("draw"), ingest=["fetch"], render=["draw"]
        ),
        WIDE,
    )
    assert text.splitlines() == [
        "ingest",
        "  fetch  Do fetch.  src/fetch.py  --limit INT",
        "render",
        "  draw   Do draw.   src/draw.py",
        "",
        "2 tools in 2 stages",
    ]


def test_where_it_does_not_fit_a_second_line_has_path_and_options() -> None:
    long = tool("fetch", param("limit", "int"), doc="x" * 100)
    lines = listing_text(document(long, ingest=["fetch"]), Style(width=60)).splitlines()
    assert lines[1].endswith("…")
    assert lines[2].split() == ["src/fetch.py", "--limit", "INT"]
    assert all(len(line) <= 60 for line in lines)
    plain = listing_text(document(long, ingest=["fetch"]), Style(width=60, unicode=False))
    assert plain.isascii()


def test_behind_a_long_name_the_description_ends_after_a_word() -> None:
    name = "transform_all_measurements_into_records"
    long = tool(
        name, doc="Convert the text of each row into numbers, dates and names.", path="a.py"
    )
    line = listing_text(document(long, ingest=[name]), Style()).splitlines()[1]
    assert line == f"  {name}  Convert the text of each row into…"


def test_a_tool_of_several_stages_stands_in_each_and_counts_once() -> None:
    text = listing_text(document(tool("a"), one=["a"], two=["a"]), WIDE)
    assert text.count("src/a.py") == 2
    assert text.splitlines()[-1] == "1 tool in 2 stages"


def test_disabled_tools_are_marked_and_counted_apart() -> None:
    text = listing_text(document(tool("a"), tool("old", disabled=True), one=["a"]), WIDE)
    lines = text.splitlines()
    assert lines[2] == "disabled"
    assert lines[3].startswith("  old")
    assert lines[-1] == "1 tool in 1 stage, 1 disabled"


def test_stages_without_tools_are_not_shown_and_without_tools_nothing_is() -> None:
    assert "empty" not in listing_text(document(tool("a"), one=["a"], empty=[]), WIDE)
    assert listing_text(document(empty=[]), WIDE) == ""


def test_stages_that_are_not_in_the_configured_order_are_marked() -> None:
    two = document(tool("a"), tool("b"), one=["a"], two=["b"], configured=False)
    assert "configured" not in listing_text(two, WIDE)
    two["stages"][0]["configured"] = True
    lines = listing_text(two, WIDE).splitlines()
    assert lines[0] == "one"
    assert lines[2] == "two  (not listed in stages = [...])"


def test_verbose_names_what_was_passed_over_and_why() -> None:
    found = document(tool("a"), one=["a"])
    found["passed_over"] = [
        {"path": "src/x.py", "line": 3, "reason": "a run() but no STAGE"},
        {"path": "src/build", "line": None, "reason": "a folder named build"},
    ]
    text = listing_text(found, WIDE, verbose=True)
    assert "  src/x.py:3  a run() but no STAGE\n  src/build  a folder named build\n" in text
    assert "not tools" not in listing_text(found, WIDE)


def test_a_signature_that_cannot_be_read_is_told() -> None:
    text = listing_text(document(tool("a", readable=False), one=["a"]), WIDE)
    assert "set parameters with -p" in text


def test_text_of_the_users_is_cleaned() -> None:
    bad = tool("a", doc="\x1b[2J\x1b[31mred\n", path="src/\x07.py")
    text = listing_text(document(bad, one=["a"]), Style(width=200, colour=True))
    assert "\x07" not in text
    assert "\x1b[2J" not in text
    assert "\x1b[31m" not in text


def test_sources_stand_below_their_tool() -> None:
    found = document(tool("a", sources=["src/a.py", "src/lib.py"]), one=["a"])
    assert "  a  Do a.  src/a.py\n     ← src/a.py\n     ← src/lib.py\n" in listing_text(found, WIDE)


def test_what_is_clean_already_is_shown_as_it_is() -> None:
    brief = build_summary(document(tool("a"), tool("old", disabled=True), one=["a"]))
    whole = listing.listing_text(brief, WIDE)
    assert listing.listing_text(brief, WIDE, is_clean=True) == whole
