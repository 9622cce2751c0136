"""`orch run --json`: one object a line, and nothing else on stdout, however the run goes."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Orch, Project


def test_all_output_of_a_tool_comes_before_its_end(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": """
                import os, sys
                STAGE = "s"
                def run():
                    for i in range(5000):
                        print(i, file=sys.stdout if i % 2 else sys.stderr)
                    print("end", end="")
            """,
            "src/b.py": 'STAGE = "s"\ndef run(): print("b")\n',
        }
    )
    events = orch("run", "--json").events
    end = next(at for at, one in enumerate(events) if one["event"] == "tool_finished")
    texts = [one for one in events if one["event"] == "tool_output" and one["name"] == "a"]
    assert texts == [one for one in events[:end] if one["event"] == "tool_output"]
    out = "".join(one["text"] for one in texts if one["stream"] == "stdout")
    err = "".join(one["text"] for one in texts if one["stream"] == "stderr")
    assert out.split() == [str(i) for i in range(1, 5000, 2)] + ["end"]
    assert err.split() == [str(i) for i in range(0, 5000, 2)]


def test_text_of_tools_comes_as_it_is(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": """
                import os
                STAGE = "s"
                def run():
                    print("\\x1b[31mred\\x1b[0m\\u2713")
                    os.write(1, b"caf\\xe9\\n")
            """
        }
    )
    texts = [one["text"] for one in orch("run", "--json").events if one["event"] == "tool_output"]
    assert "".join(texts) == "\x1b[31mred\x1b[0m✓\ncaf\\xe9\n"


def test_it_is_strict_json_though_a_metric_is_no_number(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": """
                STAGE = "s"
                def run():
                    return {"nan": float("nan"), "inf": float("inf"), "big": 10**40, "x": "\\ud800"}
            """
        }
    )

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    lines = orch("run", "--json").out.splitlines()
    ends = [json.loads(line, parse_constant=refuse) for line in lines]
    metrics = next(one["metrics"] for one in ends if one["event"] == "tool_finished")
    assert metrics == {"nan": None, "inf": None, "big": 10**40, "x": "\ud800"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nobody"], 2),
        (["a", "--limit", "many"], 2),
        (["--exclude", "full"], 5),
    ],
)
def test_a_refused_run_is_complete_json_too(
    project: Project, orch: Orch, words: list[str], code: int
) -> None:
    project({"src/a.py": 'STAGE = "s"\ndef run(*, limit: int = 1): pass\n'})
    answer = orch("run", *words, "--json")
    assert answer.code == code
    start, end = answer.events
    targets = [word for word in words[:1] if not word.startswith("-")]
    assert (start["event"], start["run"], start["targets"]) == ("run_started", None, targets)
    assert (end["event"], end["status"], end["exit_code"]) == ("run_finished", "failed", code)
    assert end["errors"][0]["message"]
    assert all(one["time"].endswith("Z") for one in (start, end))
    assert answer.err.startswith("error: ")


def test_warnings_and_closing_errors_stay_out_of_stdout(project: Project, orch: Orch) -> None:
    project(
        {
            "orch.toml": 'stages = ["t"]',
            "orchconf.py": """
                from discover_orch import resource
                @resource
                def thing():
                    yield 1
                    raise ValueError("cannot close")
            """,
            "src/a.py": 'STAGE = "s"\ndef run(thing): pass\n',
        }
    )
    answer = orch("run", "--json")
    assert answer.code == 1
    last = answer.events[-1]
    assert (last["status"], last["exit_code"], last["counts"]) == ("failed", 1, {"passed": 1})
    assert "warning: src/a.py:1" in answer.err
    assert "error: orchconf.py:6: closing thing: cannot close (ValueError)" in answer.err
