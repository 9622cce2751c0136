"""`orch run --json`: one object a line, and nothing else on stdout, however the run goes."""

from __future__ import annotations

from tests.conftest import Orch, Project


def test_all_output_of_a_tool_comes_before_its_end_and_events_have_times(
    project: Project, orch: Orch
) -> None:
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
    times = [one["time"] for one in events]
    assert times == sorted(times)
    assert all(one.endswith(("Z", "+00:00")) for one in times)
    end = next(at for at, one in enumerate(events) if one["event"] == "tool_finished")
    texts = [one for one in events if one["event"] == "tool_output" and one["name"] == "a"]
    assert texts == [one for one in events[:end] if one["event"] == "tool_output"]
    out = "".join(one["text"] for one in texts if one["stream"] == "stdout")
    err = "".join(one["text"] for one in texts if one["stream"] == "stderr")
    assert out.split() == [str(i) for i in range(1, 5000, 2)] + ["end"]
    assert err.split() == [str(i) for i in range(0, 5000, 2)]
