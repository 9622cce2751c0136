"""The command that goes on: it runs what did not pass, with what was typed, and shows no secret."""

from __future__ import annotations

import shlex

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.cli.again import MOST_NAMES, Again, Typed, split_options
from discover_orch.cli.flags import param_options
from discover_orch.cli.run_command import command
from discover_orch.registry import Registry
from tests.support.values import (
    make_argument,
    make_facts,
    make_plan,
    make_project,
    make_registry,
    make_type,
)


def sample() -> Registry:
    """a takes --since, b --force and --api-token, c anything; d bears the name of its stage."""
    return make_registry(
        make_facts("src.a", arguments=[make_argument("since", "date")]),
        make_facts(
            "src.b",
            arguments=[
                make_argument("force", make_type("bool"), default_source="False"),
                make_argument("api_token"),
            ],
        ),
        make_facts("src.c", "later", takes_extra=True),
        make_facts("src.d", "d"),
        make_facts("src.e", "d"),
        stages=("ingest", "later", "d"),
    )


def options_of(registry: Registry) -> list[click.Parameter]:
    own = command.get_params(click.Context(command))
    return [*own, *param_options(registry.tools.values(), set(), {})]


def again(
    typed: str,
    *targets: str,
    passed: str = "",
    registry: Registry | None = None,
    folder: str | None = None,
    groups: tuple[str, ...] = (),
) -> str:
    """The line to type, after `typed` behind `orch run` and with these targets; `passed` are modules."""
    found = registry or sample()
    made = Again(
        make_plan(found, *targets),
        found,
        make_project({"groups": {name: ["full"] for name in groups}}),
        options=options_of(found),
        words=shlex.split(typed),
        folder=folder,
    )
    return made.command(passed.split()).removeprefix("orch run ")


def test_what_passed_is_left_out_and_the_order_kept() -> None:
    assert again("c b a", "c", "b", "a", passed="src.c") == "b a"
    assert again("", passed="src.a src.b src.d src.e") == "c"


def test_options_that_a_tool_still_takes_stay_as_typed() -> None:
    typed = "a --since=2024-01-31 b --force --since 2024-02-01"
    assert again(typed, "a", "b") == "a b --since=2024-01-31 --force --since 2024-02-01"
    assert again(typed, "a", "b", passed="src.a") == "b --force"
    assert again(typed, "a", "b", passed="src.b") == "a --since=2024-01-31 --since 2024-02-01"
    assert again("b --no-force", "b") == "b --no-force"


def test_pairs_stay_where_somebody_takes_them() -> None:
    typed = "-p since=x -p a.since=y -p k=v"
    assert again(typed, "a", "c") == "a c -p since=x -p a.since=y -p k=v"
    assert again(typed, "a", "c", passed="src.a") == "c -p since=x -p k=v"
    assert again(typed, "a", "c", passed="src.c") == "a -p since=x -p a.since=y"
    assert again("-pk=v", "c") == "c -pk=v"


def test_options_of_orchs_own_stay() -> None:
    typed = "a -v --output fail --database sqlite://"
    assert again(typed, "a") == "a -v --output fail --database sqlite://"


def test_the_project_is_named_where_it_was() -> None:
    assert again("a", "a", folder="../x y") == "orch -C '../x y' run a"
    assert again("a -C x", "a", folder="x") == "a -C x"
    assert again("a --project=x", "a", folder="x") == "a --project=x"


def test_a_word_means_the_tool_and_no_stage_or_group_of_its_name() -> None:
    assert again("full", "full", passed="src.a src.b src.c src.e") == "tool:d"
    assert again("a", "a", groups=("a",)) == "tool:a"


def test_a_stage_of_one_tool_needs_no_more_than_its_name() -> None:
    registry = make_registry(make_facts("src.d", "d"))
    assert again("", registry=registry) == "d"


def test_words_are_quoted_for_the_shell() -> None:
    assert again("c -p 'k=a b; rm -rf ~'", "c") == "c -p 'k=a b; rm -rf ~'"


# Many tools.


def many(count: int) -> Registry:
    return make_registry(*(make_facts(f"src.t{n:03}") for n in range(count)))


def test_beyond_a_screenful_the_targets_stay_and_what_passed_is_excluded() -> None:
    registry = many(40)
    assert again("ingest -q", "ingest", registry=registry, passed="src.t000 src.t001") == (
        "ingest --exclude t000 --exclude t001 -q"
    )
    assert again("ingest --exclude t039", "ingest", registry=registry, passed="src.t000") == (
        "ingest --exclude t000 --exclude t039"
    )


def test_where_many_passed_and_many_are_left_all_run_again() -> None:
    passed = " ".join(f"src.t{n:03}" for n in range(MOST_NAMES + 1))
    assert again("", registry=many(40), passed=passed) == "full"


def test_what_was_excluded_is_not_named_where_all_that_is_left_is() -> None:
    assert again("--exclude a ingest", "b") == "b"


# Secrets.


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("b --api-token hunter22", "b --api-token '***'"),
        ("b --api-token=hunter22", "b '--api-token=***'"),
        ("b --api_token hunter22", "b --api_token '***'"),
        ("b -p api_token=hunter22", "b -p 'api_token=***'"),
        ("b -p b.api-token=hunter22", "b -p 'b.api-token=***'"),
        ("b -papi_token=hunter22", "b '-papi_token=***'"),
        ("b -qvp api_token=hunter22", "b -qvp 'api_token=***'"),
        (
            "b --database postgresql://me:hunter22@host/db",
            "b --database 'postgresql://me:***@host/db'",
        ),
    ],
)
def test_a_secret_is_not_shown(typed: str, shown: str) -> None:
    assert again(typed, "b") == shown


def test_a_secret_for_anybody_is_not_shown_either() -> None:
    assert again("c -p password=hunter22=x", "c") == "c -p 'password=***'"


# Words and options.


def split(typed: str) -> list[tuple[tuple[str, ...], str | None, str]]:
    found = split_options(options_of(sample()), shlex.split(typed))
    return [(one.words, one.option.name if one.option else None, one.value) for one in found]


def test_targets_are_left_out() -> None:
    assert split("a --since x b -q -- --force") == [
        (("--since", "x"), "param:since", "x"),
        (("-q",), "quiet", ""),
    ]


def test_short_options_may_stand_together() -> None:
    assert split("-qv -qvpk=v -vp k=v -C x") == [
        (("-qv",), "verbose", ""),
        (("-qvpk=v",), "pairs", "k=v"),
        (("-vp", "k=v"), "pairs", "k=v"),
        (("-C", "x"), "project", "x"),
    ]


def test_an_option_without_its_value_is_no_trouble() -> None:
    assert split("--since") == [(("--since", ""), "param:since", "")]
    assert split("- --nothing") == [(("--nothing",), None, "")]


words = st.sampled_from(
    [
        "a",
        "b",
        "-q",
        "-v",
        "--since",
        "--since=x",
        "--force",
        "-p",
        "-pk=v",
        "k=v",
        "--",
        "-",
        "--x",
    ]
)


@given(st.lists(words, max_size=6))
def test_every_option_is_found_in_its_order_and_no_word_twice(line: list[str]) -> None:
    found = split_options(options_of(sample()), line)
    assert all(isinstance(one, Typed) for one in found)
    flat = [word for one in found for word in one.words if word]
    rest = iter(line)
    assert all(word in rest for word in flat)
