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
    assert "a  (its order is not configured: stages = [...])\n" in listing


def test_within_a_stage_the_smallest_module_path_that_is_ready_goes_next(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/a.py": tool("s", "d"),
            "src/b.py": tool("s"),
            "src/c.py": tool("s", ("a", "b")),
            "src/d.py": tool("s"),
        }
    )
    assert order(orch) == ["b", "d", "a", "c"]


def test_after_a_stage_means_its_tools_and_the_own_stage_the_others(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "orch.toml": 'stages = ["in", "out"]',
            "src/a.py": tool("out", "out"),
            "src/b.py": tool("out", "stage:in"),
            "src/c.py": tool("in"),
            "src/d.py": tool("out"),
        }
    )
    assert order(orch) == ["c", "b", "d", "a"]
    steps = {step["name"]: step for step in orch("run", "-n", "--json").json["tools"]}
    assert steps["a"]["after"] == ["b", "d"]
    assert steps["b"]["after"] == ["c"]


def test_in_after_a_tool_wins_over_a_stage_of_its_name(project: Project, orch: Orch) -> None:
    project({"src/fetch.py": tool("s"), "src/a.py": tool("s", "fetch"), "src/b.py": tool("fetch")})
    listed = {one["name"]: one for one in orch("list", "--json").json["tools"]}
    assert listed["a"]["after"] == ["fetch"]


def test_declared_files_order_tools_of_a_stage(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": tool("s", inputs="data/*.csv"),
            "src/b.py": tool("s", outputs=["data/raw.csv"]),
        }
    )
    assert order(orch) == ["b", "a"]
    assert "a" in order(orch, "b+")


def test_files_on_a_cycle_among_themselves_are_ignored(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": tool("s", inputs="x", outputs="y"),
            "src/b.py": tool("s", inputs="y", outputs="x"),
        }
    )
    assert order(orch) == ["a", "b"]


def test_a_tool_of_several_stages_runs_once_with_its_first_stage(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "orch.toml": 'stages = ["in", "out"]',
            "src/both.py": tool(("out", "in")),
            "src/last.py": tool("out"),
        }
    )
    assert order(orch) == ["both", "last"]
    assert order(orch, "out") == ["both", "last"]
    steps = orch("run", "-n", "--json").json["tools"]
    assert [step["stage"] for step in steps] == ["in", "out"]


def refusal(orch: Orch, project: Project, files: Mapping[str, str]) -> str:
    project(files)
    answer = orch("list")
    assert answer.code == 4, answer.text
    assert orch("run", "-n").code == 4
    return answer.err


def test_an_after_that_names_nothing_gives_the_nearest(project: Project, orch: Orch) -> None:
    said = refusal(orch, project, {"src/a.py": tool("s", "fetc"), "src/fetch.py": tool("s")})
    assert 'error: src/a.py:2: AFTER names "fetc", which is neither a tool nor a stage' in said
    assert 'hint: did you mean "fetch"?' in said


def test_an_after_that_names_a_later_stage_is_an_error(project: Project, orch: Orch) -> None:
    files = {
        "orch.toml": 'stages = ["in", "out"]',
        "src/a.py": tool("in", "b"),
        "src/b.py": tool("out"),
    }
    said = refusal(orch, project, files)
    assert 'error: src/a.py:2: AFTER names "b" of the later stage "out"' in said


def test_a_cycle_is_printed_with_its_places(project: Project, orch: Orch) -> None:
    files = {
        "src/a.py": tool("s", "b"),
        "src/b.py": tool("s", "c"),
        "src/c.py": tool("s", "a"),
        "src/d.py": tool("s"),
    }
    said = refusal(orch, project, files)
    assert said.count("error:") == 1
    assert "AFTER goes round in a circle" in said
    for place in ("a (src/a.py:2)", "b (src/b.py:2)", "c (src/c.py:2)"):
        assert place in said
    assert orch("run", "-n", "d").code == 0


def test_an_after_that_names_a_disabled_tool_is_a_warning(project: Project, orch: Orch) -> None:
    project({"src/a.py": tool("s", "off"), "src/off.py": "STAGE = None\ndef run(): ...\n"})
    answer = orch("list")
    assert answer.code == 0
    assert 'warning: src/a.py:2: AFTER names "off", which is disabled' in answer.err


def test_a_stage_that_is_not_configured_is_a_slip(project: Project, orch: Orch) -> None:
    project(
        {
            "orch.toml": 'stages = ["ingest", "render"]',
            "src/a.py": tool("ingset"),
            "src/b.py": tool("ingest"),
        }
    )
    answer = orch("list")
    assert answer.code == 0
    assert 'warning: src/a.py:1: stage "ingset" is not in the configured stages' in answer.err
    assert 'hint: did you mean "ingest"?' in answer.err
    project({"orch.toml": 'stages = ["ingest", "render"]\nstrict = true'})
    strict = orch("list", "--json")
    assert strict.code == 4
    assert [one["name"] for one in strict.json["tools"]] == ["b"]
    assert orch("run", "-n", "ingest").code == 4, "it may be the stage that was meant"
    assert orch("run", "-n", "b").code == 0, "a selection by name goes on"
