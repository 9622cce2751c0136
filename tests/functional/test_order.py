"""In which order tools run: stages, `AFTER`, declared files, module paths."""

from __future__ import annotations

from collections.abc import Mapping

from tests.conftest import Orch, Project


def tool(stage: str | tuple[str, ...], after: object = None, **tag: object) -> str:
    lines = [f"STAGE = {stage!r}"]
    if after is not None:
        lines.append(f"AFTER = {after!r}")
    if tag:
        lines.append(f"ORCH = {tag!r}")
    return "\n".join([*lines, "def run(): ...", ""])


def order(orch: Orch, *words: str) -> list[str]:
    answer = orch("run", "-n", "--json", *words)
    assert answer.code == 0, answer.text
    return [step["name"] for step in answer.json["tools"]]


def test_stages_run_as_configured_and_the_others_as_after_asks_then_by_name(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "orch.toml": 'stages = ["z", "y"]',
            "src/one.py": tool("y"),
            "src/two.py": tool("z"),
            "src/three.py": tool("b"),
            "src/four.py": tool("a", "three"),
            "src/five.py": tool("c"),
        }
    )
    assert order(orch) == ["two", "one", "three", "four", "five"]
    listing = orch("list").out
    assert "z\n" in listing
    assert "a  (not in the configured order: stages = [...])\n" in listing


def refusal(orch: Orch, project: Project, files: Mapping[str, str]) -> str:
    project(files)
    answer = orch("list")
    assert answer.code == 4, answer.text
    assert orch("run", "-n").code == 4
    return answer.err


def test_a_cycle_is_printed_with_its_places(project: Project, orch: Orch) -> None:
    files = {
        "src/a.py": tool("s", "b"),
        "src/b.py": tool("s", "c"),
        "src/c.py": tool("s", "a"),
        "src/d.py": tool("s"),
    }
    said = refusal(orch, project, files)
    assert said.count("error:") == 1
    assert "AFTER forms a cycle" in said
    for place in ("a (src/a.py:2)", "b (src/b.py:2)", "c (src/c.py:2)"):
        assert place in said
    assert orch("run", "-n", "d").code == 0
