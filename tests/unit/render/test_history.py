"""The history as a person reads it: what comes from users commands no terminal."""

from __future__ import annotations

import json

from discover_orch.model.errors import Failure
from discover_orch.render.history import (
    comparison_document,
    comparison_text,
    log_text,
    metrics_text,
    run_text,
    runs_document,
    runs_text,
)
from discover_orch.render.style import Style
from discover_orch.state.run_details import RunDetails
from discover_orch.state.run_diff import RunDiff, compare_runs
from discover_orch.state.run_record import RecordedParam, RecordedStep, RunRecord, ToolRecord

PLAIN = Style(unicode=False)
EVIL = "a\x1b]0;t\x07\nb\u202e\udcff"


def evil_run(number: str) -> RunRecord:
    """Every text in it would move the cursor."""
    tool = ToolRecord(
        name=EVIL,
        module=EVIL,
        status=EVIL,
        duration=1.0,
        metrics={EVIL: EVIL},
        error=Failure(kind=EVIL, type=EVIL, message=EVIL, path=EVIL, line=1),
        notes=(EVIL,),
    )
    given = RecordedParam(texts=(EVIL,), origin="-" + EVIL)
    return RunRecord(
        run=number,
        status=EVIL,
        started=EVIL,
        kind=EVIL,
        targets=(EVIL,),
        tools=(tool,),
        plan=(RecordedStep(module=EVIL, name=EVIL, params={EVIL: given}, code=number),),
        duration=1.0,
        exit_code=1,
        database=EVIL,
        database_origin=EVIL,
        resumes=EVIL,
        passed_before=(EVIL,),
        counts={EVIL: 1},
    )


def compare(one: RunRecord, other: RunRecord) -> RunDiff:
    """Both runs have used things with such names, and each other versions of them."""
    kinds = ("file", "folder", "glob", "table", "env", "package")
    details = [
        RunDetails(
            versions={EVIL: {f"{kind}:{EVIL}": f"{number} {EVIL}" for kind in kinds}},
            sources={EVIL: number},
        )
        for number in "12"
    ]
    return compare_runs(one, other, details[0], details[1])


def test_text_of_users_cannot_control_the_terminal() -> None:
    one, other = evil_run("1"), evil_run("2" + EVIL)
    for style in (PLAIN, Style(colour=True)):
        for text in (
            runs_text([one, other], style),
            run_text(other, style),
            comparison_text(compare(one, other), style),
            metrics_text([(one, one.tools[0], one.plan[0].arguments)], style),
        ):
            assert "\x1b]" not in text
            assert not set("\x07\u202e\udcff").intersection(text)
            assert "\nb" not in text


def test_every_document_is_json() -> None:
    one, other = evil_run("1"), evil_run("2")
    assert json.loads(json.dumps(runs_document([one])))["runs"][0]["run"] == "1"
    found = json.loads(json.dumps(comparison_document(compare(one, other))))["comparison"]
    assert found["tools"][0]["code_changed"] is True


def test_what_is_missing_leaves_its_column_empty() -> None:
    text = runs_text([RunRecord(run="7", status="killed")], PLAIN)
    assert text.splitlines()[1].split() == ["7", "?", "killed", "full"]


def test_a_log_for_the_terminal_is_cleaned() -> None:
    data = b"a\x1b[31mred\x1b[0m\x1b[2J\nlast\r\xff"
    assert log_text(data, PLAIN) == "ared\\x1b[2J\nlast\\x0d\\udcff"
    assert "\x1b[31mred" in log_text(data, Style(colour=True))
    assert "\x1b[2J" not in log_text(data, Style(colour=True))


def test_no_word_is_broken_at_80_columns() -> None:
    targets = tuple(f"pipeline.long_name_of_a_tool_{number}" for number in range(6))
    message = "the row is wrong, " * 12
    error = Failure(kind="exception", type="ValueError", message=message, path="a.py", line=1)
    tools = tuple(
        ToolRecord(
            name=name, module=name, status="failed", duration=1.0, error=error, notes=(message,)
        )
        for name in targets
    )
    record = RunRecord(
        run="12",
        status="failed",
        started="2026-11-24T14:03:00",
        targets=targets,
        tools=tools,
        duration=61.0,
        counts={"passed": 12, "failed": 1, "blocked": 3, "interrupted": 1},
    )
    other = RunRecord(run="13", status="passed", started="2026-11-24T14:03:00", targets=targets)
    for text in (
        runs_text([record, other], PLAIN),
        run_text(record, PLAIN),
        comparison_text(compare(record, other), PLAIN),
    ):
        assert all(len(line) <= 80 for line in text.splitlines()), text
        assert set(targets) <= {word.strip(",:") for word in text.split()}
