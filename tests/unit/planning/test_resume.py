"""Which run can be gone on with, and what is left of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.errors import DiscoveryError, UsageError
from discover_orch.planning.param_values import GivenParams, KeyValue
from discover_orch.planning.resume import Resumption, find_resumable
from discover_orch.source.facts import BrokenModule, ModuleFacts
from discover_orch.staleness.reasons import Freshness
from discover_orch.state.run_record import RecordedParam, RecordedStep, RunRecord, ToolRecord
from tests.support.values import (
    make_argument,
    make_broken,
    make_conf,
    make_facts,
    make_project,
    make_registry,
)

# Which run.


def run(number: int, status: str, resumes: int | None = None, kind: str = "run") -> RunRecord:
    other = None if resumes is None else str(resumes)
    return RunRecord(run=str(number), status=status, resumes=other, kind=kind)


def chosen(*records: RunRecord) -> str | None:
    """The records as they came, the oldest first."""
    found = find_resumable(reversed(records))
    return None if found is None else found.run


STATUSES = st.sampled_from(["failed", "interrupted", "killed", "passed", "cancelled", "running"])


@given(st.lists(st.tuples(STATUSES, st.none() | st.integers(0, 9), st.booleans()), max_size=10))
def test_the_choice_is_as_the_contract_says_it(rows: list[tuple[str, int | None, bool]]) -> None:
    records = [
        run(
            number,
            status,
            resumes if resumes is not None and resumes < number else None,
            "watch" if is_watch and resumes is None else "run",
        )
        for number, (status, resumes, is_watch) in enumerate(rows)
    ]

    def is_done(record: RunRecord) -> bool:
        return any(
            one.resumes == record.run and (one.status == "passed" or is_done(one))
            for one in records
        )

    wanted = [
        one.run
        for one in records
        if one.kind == "run" and one.status in ("failed", "interrupted", "killed")
        if not is_done(one)
    ]
    assert chosen(*records) == (wanted[-1] if wanted else None)


def test_only_as_many_records_are_read_as_are_needed() -> None:
    def endless() -> Any:
        yield run(9, "passed")
        yield run(8, "failed")
        raise AssertionError("read on")

    found = find_resumable(endless())
    assert found is not None
    assert found.run == "8"


# What is left.


def planned(name: str, stage: str = "ingest", **more: Any) -> RecordedStep:
    return RecordedStep(module=f"src.{name}", name=name, stage=stage, **more)


def given_(**texts: str | Sequence[str]) -> dict[str, RecordedParam]:
    return {
        name: RecordedParam(
            texts=(one,) if isinstance(one, str) else tuple(one), origin=f"--{name}"
        )
        for name, one in texts.items()
    }


def record_of(
    *plan: RecordedStep, ends: Mapping[str, str] | None = None, status: str = "failed", **more: Any
) -> RunRecord:
    ends = ends or {}
    tools = tuple(
        ToolRecord(name=one.name, module=one.module, status=ends.get(one.name, "not_run"))
        for one in plan
        if one.name in ends
    )
    return RunRecord(run="7", status=status, plan=plan, tools=tools, targets=("full",), **more)


def registry_of(*facts: ModuleFacts | BrokenModule, **more: Any) -> Registry:
    return make_registry(*facts, **more)


def resumed(
    record: RunRecord,
    registry: Registry,
    values: GivenParams | None = None,
    project: Project | None = None,
) -> Resumption:
    return Resumption(record, registry, project or make_project(), values or GivenParams())


ABC = (planned("a"), planned("b"), planned("c"))
THREE = registry_of(*(make_facts(f"src.{name}") for name in "abc"))
FRESH = {f"src.{name}": Freshness(module=f"src.{name}") for name in "abc"}


def names(resumption: Resumption, freshness: Mapping[str, Freshness] = FRESH) -> list[str]:
    return [step.tool.name for step in resumption.plan(freshness).steps]


def test_what_did_not_pass_is_left_in_the_order_of_that_run() -> None:
    record = record_of(*ABC[::-1], ends={"c": "passed", "b": "failed", "a": "blocked"})
    plan = resumed(record, THREE).plan(FRESH)
    assert [(step.tool.name, step.reason) for step in plan.steps] == [
        ("b", "failed in run 7"),
        ("a", "blocked in run 7"),
    ]
    assert [step.tool.name for step in plan.all_steps] == ["c", "b", "a"]
    assert (plan.resumes, plan.targets) == ("7", ("full",))
    assert plan.intro == "resuming run 7 (failed): 1 tool passed"


def test_a_tool_with_an_unknown_outcome_runs_again() -> None:
    record = record_of(*ABC, ends={"a": "passed", "b": "unknown"}, status="killed")
    plan = resumed(record, THREE).plan(FRESH)
    assert [(step.tool.name, step.reason) for step in plan.steps] == [
        ("b", "outcome unknown in run 7"),
        ("c", "not run in run 7"),
    ]
    assert plan.intro == "resuming run 7 (killed): 1 tool passed"


def test_what_passed_and_is_stale_now_runs_again_and_is_named() -> None:
    record = record_of(*ABC, ends={"a": "passed", "b": "passed", "c": "failed"})
    freshness = {**FRESH, "src.b": Freshness(module="src.b", reasons=("src/b.py changed", "x"))}
    plan = resumed(record, THREE).plan(freshness)
    assert [(step.tool.name, step.reason) for step in plan.steps] == [
        ("b", "passed in run 7 but is stale: src/b.py changed"),
        ("c", "failed in run 7"),
    ]
    assert plan.intro.endswith(": 2 tools passed, stale again: b (src/b.py changed)")


def test_if_nothing_is_left_the_plan_says_so() -> None:
    record = record_of(*ABC, ends=dict.fromkeys("abc", "passed"))
    plan = resumed(record, THREE).plan(FRESH)
    assert plan.steps == ()
    assert plan.intro == "nothing left to run: 3 tools passed in run 7"


def test_a_tool_that_is_gone_is_left_out_and_told() -> None:
    record = record_of(*ABC, planned("old"), ends={"a": "passed", "old": "passed"})
    plan = resumed(record, THREE).plan(FRESH)
    assert [step.tool.name for step in plan.steps] == ["b", "c"]
    (warning,) = plan.warnings
    assert warning.message.startswith("old is left out: it was in run 7")
    assert warning.severity == "warning"
    assert len(plan.all_steps) == 3


def test_a_run_whose_tools_are_all_gone_is_refused() -> None:
    with pytest.raises(UsageError, match="run 7 cannot be resumed: none of its tools"):
        resumed(record_of(planned("old"), ends={"old": "failed"}), THREE)


@pytest.mark.parametrize("module", ["shop.a", "a"])
def test_a_tool_is_found_by_its_file_after_a_change_of_pythonpath(module: str) -> None:
    before = record_of(
        RecordedStep(module="src.shop.a", name="a", stage="ingest"), ends={"a": "failed"}
    )
    registry = registry_of(make_facts(module, path="src/shop/a.py"), make_facts("b"))
    (step,) = resumed(before, registry).plan(FRESH).steps
    assert (step.tool.module, step.reason) == (module, "failed in run 7")


def test_a_tool_that_two_files_could_be_is_gone() -> None:
    registry = registry_of(make_facts("x.a"), make_facts("y.a"), make_facts("src.b"))
    record = record_of(RecordedStep(module="a", name="a", stage="ingest"), planned("b"))
    assert names(resumed(record, registry)) == ["b"]


def test_a_tool_that_changed_its_stage_runs_for_the_one_that_it_has() -> None:
    registry = registry_of(make_facts("src.a", "render"))
    (step,) = resumed(record_of(planned("a")), registry).steps
    assert step.stage == "render"


@pytest.mark.parametrize("module", ["src.b", "orchconf"])
def test_a_broken_file_of_that_run_refuses_it(module: str) -> None:
    registry = registry_of(make_facts("src.a"), make_broken(module), make_facts("src.c"))
    with pytest.raises(DiscoveryError) as caught:
        resumed(record_of(*ABC), registry)
    assert [problem.message for problem in caught.value.problems] == [f"{module} is broken"]


def test_a_broken_file_that_was_not_in_it_is_no_matter() -> None:
    registry = registry_of(make_facts("src.a"), make_broken("src.other"))
    assert names(resumed(record_of(planned("a")), registry)) == ["a"]


# Its parameters.


def takes(*arguments: Any, takes_extra: bool = False, **more: Any) -> Registry:
    return registry_of(make_facts("src.a", arguments=arguments, takes_extra=takes_extra), **more)


def passed(
    record: RunRecord, registry: Registry, values: GivenParams | None = None, **config: Any
) -> dict[str, tuple[tuple[str, ...], str]]:
    (step,) = resumed(record, registry, values, make_project(config)).steps
    found = {one.param.name: (one.texts, one.origin) for one in step.arguments}
    return {**found, **{name: ((text,), "extra") for name, text in step.extra.items()}}


SINCE = make_argument("since", "date")


def test_a_tool_gets_what_it_had_though_the_configuration_says_otherwise_now() -> None:
    record = record_of(planned("a", params=given_(since="2024-01-01")))
    found = passed(record, takes(SINCE), params={"since": "2025-01-01"})
    assert found == {"since": (("2024-01-01",), "--since")}
    assert passed(record_of(planned("a")), takes(SINCE), params={"since": "2025-01-01"}) == {}


def refusals(record: RunRecord, registry: Registry, values: GivenParams | None = None) -> list[str]:
    with pytest.raises(UsageError) as caught:
        resumed(record, registry, values)
    return [problem.message for problem in caught.value.problems]


def test_a_wrong_value_typed_now_is_refused_and_never_replaced_by_the_old_one() -> None:
    record = record_of(planned("a", params=given_(since="2024-01-01")))
    values = GivenParams(options={"since": ("soon",)})
    (message,) = refusals(record, takes(SINCE), values)
    assert message.startswith("invalid --since for a: ")


def test_an_old_value_that_the_type_of_today_does_not_take_is_refused() -> None:
    record = record_of(planned("a", params=given_(since="2024-01-01")))
    (message,) = refusals(record, takes(make_argument("since", "int")))
    assert message.startswith("invalid --since for a: ")


def test_a_value_that_no_tool_takes_is_refused() -> None:
    other = make_facts("src.other", arguments=[make_argument("size", "int"), SINCE])
    registry = registry_of(make_facts("src.a", arguments=[SINCE]), other)
    record = record_of(planned("a"))
    for values in (
        GivenParams(options={"size": ("3",)}),
        GivenParams(pairs=(KeyValue(tool=None, name="size", text="3"),)),
        GivenParams(pairs=(KeyValue(tool="other", name="since", text="2024-01-01"),)),
        GivenParams(pairs=(KeyValue(tool="nobody", name="since", text="2024-01-01"),)),
    ):
        (message,) = refusals(record, registry, values)
        assert "size" in message or "since" in message


def test_an_option_is_never_swallowed_by_keyword_arguments() -> None:
    registry = takes(takes_extra=True)
    record = record_of(planned("a"))
    (message,) = refusals(record, registry, GivenParams(options={"size": ("3",)}))
    assert message == 'no tool of that run has a parameter "size"'
    values = GivenParams(pairs=(KeyValue(tool=None, name="si-ze", text="3"),))
    assert passed(record, registry, values) == {"si_ze": (("3",), "extra")}


def test_keyword_arguments_are_kept_and_may_be_given_anew() -> None:
    record = record_of(planned("a", extra={"x": "1", "y": "2"}))
    values = GivenParams(pairs=(KeyValue(tool=None, name="y", text="3"),))
    found = passed(record, takes(takes_extra=True), values)
    assert found == {"x": (("1",), "extra"), "y": (("3",), "extra")}
    assert passed(record, takes()) == {}  # it takes none any more


def test_a_keyword_argument_that_is_a_resource_now_is_not_passed() -> None:
    registry = takes(make_argument("http"), takes_extra=True, conf=make_conf({"http": ()}))
    assert passed(record_of(planned("a", extra={"http": "x", "y": "1"})), registry) == {
        "y": (("1",), "extra")
    }


SECRET = make_argument("api_key")


def test_a_secret_may_come_from_the_command_line_the_environment_or_the_configuration() -> None:
    record = record_of(planned("a", secrets=("api_key",)))
    values = GivenParams(options={"api_key": ("x",)})
    assert passed(record, takes(SECRET), values) == {"api_key": (("x",), "--api-key")}
    assert passed(record, takes(SECRET), params={"api_key": "y"})["api_key"][0] == ("y",)
    project = make_project(None, ORCH_PARAM_API_KEY="z")
    (step,) = resumed(record, takes(SECRET), None, project).steps
    assert step.arguments[0].texts == ("z",)


def test_a_secret_keyword_argument_is_needed_again() -> None:
    record = record_of(planned("a", secrets=("token",)))
    registry = takes(takes_extra=True)
    assert refusals(record, registry) == ["a needs token again: secrets are not stored"]
    values = GivenParams(pairs=(KeyValue(tool=None, name="token", text="x"),))
    assert passed(record, registry, values) == {"token": (("x",), "extra")}


def test_a_secret_that_the_tool_no_longer_has_is_not_needed() -> None:
    assert passed(record_of(planned("a", secrets=("api_key",))), takes()) == {}


def test_a_secret_of_a_tool_that_passed_is_needed_too_since_it_may_be_stale() -> None:
    record = record_of(planned("a", secrets=("api_key",)), ends={"a": "passed"})
    assert refusals(record, takes(SECRET)) == ["a needs api_key again: secrets are not stored"]


def test_a_parameter_that_is_new_and_has_no_default_is_asked_for() -> None:
    registry = takes(make_argument("since", "date", default_source=None))
    record = record_of(planned("a"))
    assert refusals(record, registry) == ["a requires --since (date)"]
    assert passed(record, registry, params={"since": "2024-01-01"})["since"][0] == ("2024-01-01",)


def test_a_parameter_that_the_tool_no_longer_has_is_left_out() -> None:
    old = planned(
        "a", params=given_(since="2024-01-01", old="x"), extra={"y": "1"}, secrets=("key",)
    )
    record = record_of(old)
    assert set(passed(record, takes(SINCE))) == {"since"}
    warnings = resumed(record, takes(SINCE)).plan({}).warnings
    assert [one.message for one in warnings] == [
        f"{name} is left out: a had it in run 7, but no longer has this parameter"
        for name in ("old", "y", "key")
    ]
    assert resumed(record_of(planned("a")), takes(SINCE)).plan({}).warnings == ()


def test_all_problems_are_reported_together() -> None:
    registry = registry_of(
        make_facts("src.a", arguments=[SECRET]),
        make_facts("src.b", arguments=[make_argument("n", "int")]),
    )
    record = record_of(planned("a", secrets=("api_key",)), planned("b", params=given_(n="x")))
    assert len(refusals(record, registry, GivenParams(options={"m": ("1",)}))) == 3


def test_params_are_given_as_a_fingerprint_has_them() -> None:
    registry = takes(SINCE, SECRET)
    record = record_of(planned("a", params=given_(since="2024-01-01"), secrets=("api_key",)))
    resumption = resumed(record, registry, GivenParams(options={"api_key": ("x",)}))
    assert resumption.params_of(registry.tools["src.a"]) == {"since": "2024-01-01"}
    assert resumption.params_of(make_registry(make_facts("src.z")).tools["src.z"]) is None
