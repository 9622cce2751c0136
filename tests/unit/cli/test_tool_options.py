"""Flags made from parameters: parsed as texts, explained, completed; orch's own always win."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.cli.options import typed_options
from discover_orch.cli.tool_options import (
    ParamOption,
    choices,
    help_rows,
    mixed_names,
    param_options,
)
from discover_orch.model.parameter import Choice, EnumChoice, Param, ParamType
from discover_orch.model.tool import Tool
from discover_orch.planning.param_values import BoundArgument
from tests.support.values import make_param, make_tool

MODE = ParamType(base=Choice(values=("fast", "slow", 3)))
KIND = ParamType(base=EnumChoice(module="m", name="Kind", members=(("A", "a"), ("B", "b c"))))


def tool(*params: Param, **more: Any) -> Tool:
    return make_tool(params=params, **more)


def parse(
    tools: Iterable[Tool],
    words: str,
    *,
    taken: set[str] | None = None,
    as_flags: Mapping[str, bool] | None = None,
) -> dict[str, tuple[str, ...]]:
    """What the options of these tools make of a command line: those among its words, and all of them."""
    found: list[Any] = []
    for line in (words.split(), None):
        options = param_options(tools, taken or set(), as_flags or {}, line)
        command = click.Command("run", params=[*options, click.Argument(["targets"], nargs=-1)])
        try:
            with command.make_context("run", words.split()) as ctx:
                found.append((typed_options(ctx.params), ctx.params["targets"]))
        except click.UsageError as error:
            found.append(error)
    one, other = found
    if isinstance(one, click.UsageError):
        assert one.format_message() == other.format_message()
        raise one
    assert one == other
    values: dict[str, tuple[str, ...]] = one[0]
    return values


def refusal(tools: Iterable[Tool], words: str, **more: Any) -> str:
    with pytest.raises(click.UsageError) as caught:
        parse(tools, words, **more)
    return caught.value.format_message()


MANY = tool(
    *(make_param("since", "date"), make_param("top", "int", many=True), make_param("a")),
    *(make_param("max_rows", "int"), make_param("dry_run", "bool")),
    make_param("c", default_source=None),
)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("--top 1 analyze --since=nonsense --top x", {"since": ("nonsense",), "top": ("1", "x")}),
        ("", {}),
        ("--a=", {"a": ("",)}),
        ("--max-rows 3 --no-dry-run", {"max_rows": ("3",), "dry_run": ("false",)}),
        ("--max_rows 3 --no-dry_run", {"max_rows": ("3",), "dry_run": ("false",)}),
        ("--dry-run", {"dry_run": ("true",)}),
        ("--dry-run --no-dry-run", {"dry_run": ("false",)}),
    ],
)
def test_options_are_texts_by_the_names_of_parameters(
    words: str, values: dict[str, tuple[str, ...]]
) -> None:
    assert parse([MANY], words) == values
    assert parse([MANY, tool(make_param("since", "str"))], words) == values


def test_a_mistyped_option_is_refused() -> None:
    assert "--sicne" in refusal([tool(make_param("since"), takes_extra=True)], "--sicne x")


def names_among(tools: list[Tool], line: str) -> list[str]:
    options = param_options(tools, {"--output", "-n"}, {}, line.split())
    return [option.param.name for option in options]


def test_of_many_options_only_those_of_the_line_are_made() -> None:
    tools = [tool(make_param("since"), make_param("dry_run", "bool")), tool(make_param("top"))]
    assert names_among(tools, "x --output fail -n") == []
    assert names_among(tools, "--since=1 x") == ["since"]
    assert names_among(tools, "--no-dry_run x -- --top") == ["dry_run", "top"]
    # Of one that is nobody's it is told which ones are like it.
    assert names_among(tools, "--sicne 1") == ["since", "dry_run", "top"]
    assert names_among(tools, "--no-since") == ["since", "dry_run", "top"]


def test_an_option_that_is_not_on_the_line_keeps_its_spellings() -> None:
    tools = [tool(make_param("x", "bool"), make_param("no_x"))]
    assert names_among(tools, "--no-x") == ["x"]
    assert parse(tools, "--no-x") == {"x": ("false",)}


def test_an_option_of_orchs_own_wins() -> None:
    tools = [tool(make_param("output"), make_param("other"))]
    assert [option.param.name for option in param_options(tools, {"--output"}, {})] == ["other"]


def test_a_spelling_that_is_taken_leaves_the_other() -> None:
    options = param_options([tool(make_param("dry_run"))], {"--dry_run"}, {})
    assert [option.opts for option in options] == [["--dry-run"]]
    # but not the other way round: what is shown must work
    assert param_options([tool(make_param("dry_run"))], {"--dry-run"}, {}) == []
    assert param_options([tool(make_param("x", "bool"))], {"--no-x"}, {}) == []


def test_two_parameters_never_share_a_spelling() -> None:
    tools = [tool(make_param("x", "bool"), make_param("no_x"))]
    options = param_options(tools, set(), {})
    spellings = [one for option in options for one in (*option.opts, *option.secondary_opts)]
    assert len(spellings) == len({*spellings})
    assert parse(tools, "--no-x") == {"x": ("false",)}


def test_a_name_that_is_a_flag_here_and_takes_a_value_there_is_mixed() -> None:
    flag, value, other = (
        tool(make_param("x", "bool")),
        tool(make_param("x", "bool", many=True)),
        tool(make_param("y")),
    )
    assert mixed_names([flag, value, other]) == {"x": ([flag], [value])}
    assert mixed_names([flag, other]) == {}
    tools = [flag, value]
    assert parse(tools, "--x fetch", as_flags={"x": True}) == {"x": ("true",)}
    assert parse(tools, "--x fetch", as_flags={"x": False}) == {"x": ("fetch",)}


def test_only_parameters_are_taken_out_of_what_was_parsed() -> None:
    assert typed_options({"targets": ("a",), "param:x": ("1",), "param:y": None, "x": "2"}) == {
        "x": ("1",)
    }


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "no_a", "a_b"]), st.sampled_from(["str", "bool"])),
        max_size=4,
    ),
    st.sets(st.sampled_from(["--a", "--no-b", "--a_b", "--a-b"])),
)
def test_every_option_is_accepted_as_the_help_shows_it(
    pairs: list[tuple[str, Any]], taken: set[str]
) -> None:
    tools = [tool(make_param(name, kind)) for name, kind in pairs]
    for option in param_options(tools, taken, {}):
        flag = option.param.flag
        assert flag not in taken
        words = flag if option.is_flag else f"{flag}=v"
        expected = "true" if option.is_flag else "v"
        assert parse(tools, words, taken=taken) == {option.param.name: (expected,)}


# Completion and help.


def completed(param: Param, incomplete: str) -> list[str]:
    (option,) = param_options([tool(param)], set(), {})
    assert isinstance(option, ParamOption)
    ctx = click.Context(click.Command("run"))
    return [item.value for item in option.shell_complete(ctx, incomplete)]


def test_the_words_of_a_choice_are_completed() -> None:
    assert completed(replace(make_param("mode"), type=MODE), "") == ["fast", "slow", "3"]
    assert completed(replace(make_param("mode"), type=MODE), "s") == ["slow"]
    assert completed(replace(make_param("kind"), type=KIND), "b") == ["b c"]
    assert completed(make_param("since", "date"), "") == []
    assert choices(make_param("x", "bool")) == []


def rows(*params: Param, taken: set[str] | None = None, **more: Any) -> list[tuple[str, str]]:
    return help_rows(tool(*params, **more), taken or set())


@pytest.mark.parametrize(
    ("param", "row"),
    [
        (make_param("since", "date"), ("--since DATE", "")),
        (make_param("top_n", "int", default_source="10"), ("--top-n INT", "[default: 10]")),
        (make_param("x", default_source=None), ("--x STR", "[required]")),
        (make_param("x", "bool", default_source="True"), ("--x/--no-x", "[default: True]")),
        (make_param("x", many=True), ("--x STR ...", "(can be given several times)")),
        (replace(make_param("x"), type=MODE), ("--x [fast|slow|3]", "")),
        (make_param("api_token", default_source="'abc'"), ("--api-token STR", "[default: ***]")),
        (
            replace(make_param("x"), help="First day.\n\x1b[1m"),
            ("--x STR", "First day.\\n\\x1b[1m"),
        ),
    ],
)
def test_help_says_how_to_give_a_parameter_and_what_it_is(
    param: Param, row: tuple[str, str]
) -> None:
    (found,) = rows(param)
    assert found[0] == row[0]
    assert "\x1b" not in found[1]
    if "\\x1b" not in row[1]:
        assert found == row


def test_a_parameter_that_is_shadowed_says_how_it_is_given() -> None:
    assert rows(make_param("output", "path"), taken={"--output"}) == [("-p output=VALUE", "")]


def test_help_shows_the_value_in_force_and_no_secret() -> None:
    limit, key = make_param("limit", "int", default_source="5"), make_param("api_token")
    in_force = (
        BoundArgument(param=limit, texts=("10",), origin="orch.toml"),
        BoundArgument(param=key, texts=("hidden",), origin="ORCH_PARAM_API_TOKEN"),
    )
    assert help_rows(tool(limit, key), set(), in_force) == [
        ("--limit INT", "[default: 10, from orch.toml]"),
        ("--api-token STR", "[default: ***, from ORCH_PARAM_API_TOKEN]"),
    ]


def test_help_says_what_else_can_be_given() -> None:
    assert rows(takes_extra=True) == [("-p KEY=VALUE", "any other value, for **kwargs")]
    unreadable = replace(tool(), is_readable=False)
    assert help_rows(unreadable, set()) == [
        ("-p KEY=VALUE", "the signature of run() cannot be read from the source")
    ]
