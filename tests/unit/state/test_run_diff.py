"""What changed from one run to another."""

from __future__ import annotations

from discover_orch.state.run_record import (
    ParamChange,
    RecordedParam,
    RecordedStep,
    RunDiff,
    RunRecord,
    ToolRecord,
    compare_runs,
)


def run(number: str, *tools: ToolRecord, plan: tuple[RecordedStep, ...] = ()) -> RunRecord:
    return RunRecord(run=number, status="passed", tools=tools, plan=plan)


def tool(name: str, status: str = "passed", duration: float | None = 1.0) -> ToolRecord:
    return ToolRecord(name=name, module=f"src.{name}", status=status, duration=duration)


def with_param(**params: str) -> tuple[RecordedStep, ...]:
    return (
        RecordedStep(
            module="src.a",
            name="a",
            params={
                name: RecordedParam(texts=(text,), origin="-") for name, text in params.items()
            },
        ),
    )


def test_equal_runs_have_no_change() -> None:
    found = compare_runs(run("1", tool("a")), run("2", tool("a")))
    assert (found.added, found.removed) == ((), ())
    assert [(one.name, one.is_changed) for one in found.tools] == [("a", False)]


def test_tools_of_one_run_alone_are_added_and_removed() -> None:
    found = compare_runs(run("1", tool("a"), tool("b")), run("2", tool("b"), tool("c")))
    assert [one.name for one in found.removed] == ["a"]
    assert [one.name for one in found.added] == ["c"]
    assert [one.name for one in found.tools] == ["b"]


def test_statuses_and_times_are_told_old_and_new() -> None:
    (found,) = compare_runs(run("1", tool("a")), run("2", tool("a", "failed", None))).tools
    assert (found.statuses, found.durations) == (("passed", "failed"), (1.0, None))
    assert found.is_changed


def test_a_parameter_that_changed_came_or_went_is_told() -> None:
    old = run("1", tool("a"), plan=with_param(x="1", y="1", z="1"))
    new = run("2", tool("a"), plan=with_param(y="2", z="1", w="3"))
    (found,) = compare_runs(old, new).tools
    assert found.params == (
        ParamChange(name="x", old="1", new=None),
        ParamChange(name="y", old="1", new="2"),
        ParamChange(name="w", old=None, new="3"),
    )


def test_code_changed_where_both_runs_say_what_it_was() -> None:
    def coded(code: str) -> RunRecord:
        return run(code, tool("a"), plan=(RecordedStep(module="src.a", name="a", code=code),))

    def changed(found: RunDiff) -> bool | None:
        return found.tools[0].is_code_changed

    assert changed(compare_runs(coded("x"), coded("y"))) is True
    assert changed(compare_runs(coded("x"), coded("x"))) is False
    assert changed(compare_runs(coded(""), coded("x"))) is None
    assert changed(compare_runs(run("1", tool("a")), coded("x"))) is None
