"""The `ORCH` tag: what is accepted, and what is told with the line of its key."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.discovery.orch_tag import RULES, OrchSettings, read_settings
from discover_orch.model.errors import Problem
from discover_orch.source.facts import OrchTag
from tests.support.values import said

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def read(**values: object) -> tuple[OrchSettings, tuple[Problem, ...]]:
    lines = {key: number for number, key in enumerate(values, start=10)}
    return read_settings(OrchTag(line=9, values=values, lines=lines), "src/x.py")


def errors(**values: object) -> list[str]:
    return said([one for one in read(**values)[1] if one.severity == "error"])


def test_no_tag_and_an_empty_one_give_the_defaults() -> None:
    assert read_settings(None, "src/x.py") == (OrchSettings(), ())
    assert read() == (OrchSettings(), ())


def test_every_key_of_the_contract_is_accepted() -> None:
    settings, problems = read(
        name="fetch-raw",
        inputs=["data/*.csv", "./x"],
        outputs="out/report.html",
        retries=3,
        retry_delay=0.5,
        timeout=60,
        tokens={"gpu": 1},
        cancel=False,
        always=True,
        max_age="6h",
        repeatable=True,
        transaction="none",
    )
    assert settings == OrchSettings(
        name="fetch-raw",
        inputs=("data/*.csv", "x"),
        outputs=("out/report.html",),
        has_inputs=True,
        has_outputs=True,
        is_cancellable=False,
        is_always_stale=True,
        is_repeatable=True,
        commits_by_itself=True,
        max_age=21600,
        retries=3,
        retry_delay=0.5,
        timeout=60,
        tokens={"gpu": 1},
    )
    assert [one for one in problems if one.severity == "error"] == []


def test_an_unknown_key_tells_its_line_and_the_nearest() -> None:
    assert errors(name="x", retrys=3, zzz=1) == [
        'src/x.py:11: unknown key "retrys" in ORCH (did you mean "retries"?)',
        f'src/x.py:12: unknown key "zzz" in ORCH (the keys are {", ".join(RULES)})',
    ]


def test_a_tag_that_is_no_literal_dict_is_told_on_its_line() -> None:
    tag = OrchTag(line=7, problem="ORCH is not a dict literal")
    assert said(read_settings(tag, "src/x.py")[1]) == [
        'src/x.py:7: ORCH is not a dict literal (assign a dict literal at the top level, such as ORCH = {"outputs": "report.html"})'
    ]


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("name", 3),
        ("name", ""),
        ("name", "two words"),
        ("name", "-x"),
        ("name", "x+"),
        ("name", "a*"),
        ("name", "stage:x"),
        ("inputs", 3),
        ("inputs", ["a", 3]),
        ("inputs", ""),
        ("inputs", ["a", ""]),
        ("outputs", {"a": "b"}),
        ("outputs", None),
        ("retries", -1),
        ("retries", 1.5),
        ("retries", True),
        ("retries", "3"),
        ("retry_delay", -0.1),
        ("retry_delay", math.nan),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", math.inf),
        ("timeout", True),
        ("timeout", "60"),
        ("tokens", "gpu"),
        ("tokens", {"gpu": 0}),
        ("tokens", {"gpu": 1.5}),
        ("tokens", {"gpu": True}),
        ("tokens", {"": 1}),
        ("cancel", 0),
        ("cancel", "no"),
        ("always", None),
        ("repeatable", 1),
        ("transaction", "tool"),
        ("transaction", None),
        ("max_age", 0),
        ("max_age", "0s"),
        ("max_age", -5),
        ("max_age", True),
        ("max_age", None),
        ("max_age", math.inf),
        ("max_age", "1 day"),
        ("max_age", "60"),
        ("max_age", "-1d"),
        ("max_age", "١d"),
    ],
)
def test_a_value_of_a_wrong_type_or_sense_is_an_error(key: str, wrong: object) -> None:
    (line,) = errors(**{key: wrong})
    assert line.startswith(f'src/x.py:10: "{key}" in ORCH ')
    assert read(**{key: wrong})[0] == OrchSettings()


@pytest.mark.parametrize(
    ("key", "good"),
    [
        ("name", "été"),
        ("name", "a.b-c_2"),
        ("inputs", []),
        ("retries", 0),
        ("retry_delay", 0),
        ("timeout", 0.5),
        ("tokens", {}),
    ],
)
def test_a_value_at_the_edge_of_its_sense_is_accepted(key: str, good: object) -> None:
    assert errors(**{key: good}) == []


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1d", 86400),
        ("6h", 21600),
        ("30m", 1800),
        ("45s", 45),
        ("1.5h", 5400),
        (90, 90),
        (0.5, 0.5),
    ],
)
def test_an_age_is_a_number_of_seconds_or_has_a_unit(written: object, seconds: float) -> None:
    assert read(max_age=written)[0].max_age == seconds


def test_an_empty_list_of_inputs_or_outputs_is_given_and_a_missing_key_is_not() -> None:
    settings, problems = read(inputs=[])
    assert (settings.inputs, settings.has_inputs, settings.has_outputs) == ((), True, False)
    assert problems == ()


def test_one_wrong_key_does_not_cost_the_others() -> None:
    settings, problems = read(name="x", timeout="soon", always=True)
    assert (settings.name, settings.is_always_stale, len(problems)) == ("x", True, 1)


@given(st.dictionaries(st.sampled_from(sorted(RULES)), json_values))
def test_whatever_a_dict_holds_it_is_read_or_told(values: dict[str, object]) -> None:
    settings, problems = read(**values)
    wrong = {one.message.split('"')[1] for one in problems if one.severity == "error"}
    assert wrong <= set(values)
    if "always" in values and "always" not in wrong:
        assert settings.is_always_stale is values["always"]
