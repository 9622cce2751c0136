"""`orch check --jobs` says which tools run alone, and which `AFTER` would let them run beside others."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Orch, Project

MAKE = 'STAGE = "s"\ndef run():\n    open("made.txt", "w").write("1")\n'
USE = '# Why.\nSTAGE = "s"  # the only one\n\ndef run():\n    open("{}.txt", "w").write(open("made.txt").read())\n'
SPAWN = 'import subprocess, sys\nSTAGE = "s"\ndef run():\n    subprocess.run([sys.executable, "-c", ""])\n'


def build(project: Project) -> Path:
    """`make`, `use1` and `use2` that read what it writes, `zsum` that reads what these write, and one not observed."""
    join = 'STAGE = "s"\ndef run():\n    print(open("1.txt").read(), open("2.txt").read())\n'
    return project(
        {
            "orch.toml": 'stages = ["s", "last"]\n',
            "src/make.py": MAKE,
            "src/use1.py": USE.format("1"),
            "src/use2.py": USE.format("2"),
            "src/zsum.py": join,
            "src/spawn.py": SPAWN,
            "src/last.py": 'STAGE = "last"\ndef run():\n    pass\n',
        }
    )


def order_of(orch: Orch) -> list[str]:
    return [one["name"] for one in json.loads(orch("run", "-n", "--json").out)["tools"]]


def test_a_tool_that_was_not_observed_completely_runs_alone_until_it_declares_after(
    project: Project, orch: Orch
) -> None:
    root = build(project)
    before = orch("check", "--jobs")
    assert before.code == 0
    assert before.out.count("no success of its present code is recorded: run it once") == 6
    assert orch("run").code == 0
    order = order_of(orch)
    shown = orch("check", "--jobs")
    assert shown.out.startswith("1 of 6 tools runs alone\n")
    assert "src/spawn.py  AFTER = ()  it started a child process" in shown.out
    (root / "src/spawn.py").write_text(SPAWN.replace('"s"\n', '"s"\nAFTER = ()\n'))
    assert order_of(orch) == order
    assert orch("accept", "full").code == 0
    assert orch("check", "--jobs").out == "6 tools: each may run beside others\n"
    answer = orch("run", "--jobs", "3")
    assert answer.code == 0, answer.text
    assert "no two of these tools" not in answer.err


def test_json_has_the_lines(project: Project, orch: Orch) -> None:
    root = build(project)
    orch("run")
    document = json.loads(orch("check", "--jobs", "--json").out)
    lines = {one["name"]: one["line"] for one in document["jobs"]["suggestions"]}
    assert lines == {"spawn": "AFTER = ()"}
    (root / "src/use1.py").write_text(USE.format("2"))
    document = json.loads(orch("check", "--jobs", "--json").out)
    assert [one["name"] for one in document["jobs"]["undecided"]] == ["use1"]
    assert document["jobs"]["declared"] == 4
