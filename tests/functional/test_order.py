"""In which order tools run: stages, `AFTER`, declared files, module paths."""

from __future__ import annotations

from collections.abc import Mapping

from tests.conftest import Orch, Project
from tests.support.remembered import change, ran, reasons, statuses


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
    assert "a  (not listed in stages = [...])\n" in listing


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


AGG = """
    STAGE = "agg"
    def run(conn):
        conn.execute("CREATE TABLE IF NOT EXISTS a (n)")
        conn.execute("INSERT INTO a SELECT sum(n) FROM w")
"""
LOAD = """
    STAGE = "load"
    def run(conn):
        conn.execute("DROP TABLE IF EXISTS w")
        conn.execute("CREATE TABLE w (n)")
        conn.execute("INSERT INTO w VALUES (1)")
"""
BY_NAME = "stages agg and load run in alphabetical order, since nothing says which comes first"


def test_an_order_of_stages_that_only_their_names_decide_is_said_with_the_line_to_add(
    project: Project, orch: Orch
) -> None:
    project({"src/a.py": AGG, "src/b.py": LOAD})
    hint = 'hint: add stages = ["agg", "load"] to orch.toml, in the right order'
    for words in (["list"], ["check"], ["run", "-n"], ["run"]):
        answer = orch(*words)
        said = " ".join(answer.text.split())
        assert said.count(f"warning: {BY_NAME}") == 1, answer.text
        assert hint in said
    assert [one["code"] for one in orch("list", "--json").json["warnings"]] == ["stages-by-name"]
    assert orch("run").code == 1  # no such table: w
    for words in (["run", "-n", "load", "agg"], ["run", "-n", "load"], ["status"]):
        assert BY_NAME not in orch(*words).text
    assert orch("run", "load", "agg").code == 0
    project({"src/c.py": "STAGE = 'other'\ndef run(): ...\n"})
    assert "alphabetical" in orch("run", "--changed").text
    assert "alphabetical" not in orch("run", "--changed").text  # nothing is to run
    project({"orch.toml": 'stages = ["load", "agg", "other"]\n'})
    for words in (["list"], ["check"], ["run"]):
        assert "alphabetical" not in orch(*words).text
    assert orch("status", "--exit-code").code == 0


def test_a_stage_that_is_not_configured_is_to_be_added_where_the_others_are(
    project: Project, orch: Orch
) -> None:
    settings = '[project]\nname = "x"\n[tool.orch]\nstages = [\n  "ingest",\n]\n'
    project({"pyproject.toml": settings, "src/a.py": AGG, "src/b.py": LOAD})
    for words in (["list"], ["list"]):  # the second reads the index
        said = orch(*words).err
        assert 'add "agg" to stages in pyproject.toml:4\n' in said
        assert 'add "agg", "load" to stages in pyproject.toml:4, in the right order' in said
    assert 'add "agg" to ORCH_STAGES\n' in orch("list", env={"ORCH_STAGES": "ingest"}).err


def test_observed_data_flow_orders_stages_that_are_not_configured(
    project: Project, orch: Orch
) -> None:
    project({"src/a.py": AGG, "src/b.py": LOAD, "orch.toml": ""})
    assert order(orch) == ["a", "b"]
    run = orch("run", "load", "agg")
    assert run.code == 0, run.text
    assert "the stages now run in the order load, agg" in run.err
    assert order(orch) == ["b", "a"]
    for words in (["list"], ["check"], ["run"]):
        answer = orch(*words)
        assert answer.code == 0
        assert "alphabetical" not in answer.text
    assert [one["name"] for one in orch("list", "--json").json["stages"]] == ["load", "agg"]
    assert orch("status", "--exit-code").code == 0
    assert "now run" not in orch("run").text


def test_a_stage_whose_only_tool_is_broken_keeps_the_others_in_their_order(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/a.py": tool("agg", "b"),
            "src/b.py": tool("load"),
            "src/c.py": tool("mid") + "ORCH = 3\n",
        }
    )
    answer = orch("list", "--json")
    assert answer.code == 4
    assert [one["name"] for one in answer.json["stages"]] == ["load", "agg", "mid"]
    assert [one["code"] for one in answer.json["warnings"]] == []


def test_a_tool_that_was_moved_or_renamed_keeps_what_is_known_of_it(
    project: Project, orch: Orch
) -> None:
    load = "STAGE = 's'\ndef run(): open('raw.txt', 'w').write('1')\n"
    read = "STAGE = 's'\ndef run(): print(open('raw.txt').read())\n"
    root = project({"src/load.py": load, "src/a_read.py": read})
    assert orch("run", "load", "a_read").code == 0
    (root / "src/steps").mkdir()
    (root / "src/a_read.py").rename(root / "src/steps/aa_read.py")
    assert reasons(orch) == {}
    assert ran(orch("run", "--json")) == ["load", "aa_read"]
    assert [*statuses(orch("run", "--json")).values()] == ["passed", "passed"]
    assert reasons(orch) == {}
    (root / "src/load.py").rename(root / "src/zload.py")
    assert orch("accept", "aa_read").code == 0
    assert reasons(orch) == {}
    assert orch("run", "--changed", "--json").code == 0
    # The module path of a tool changes too where `pythonpath` does.
    project({"orch.toml": 'pythonpath = ["src"]\n'})
    assert reasons(orch) == {}
    change(root / "src/zload.py", "'1'", "'2'")
    assert ran(orch("run", "--changed", "--json")) == ["zload", "aa_read"]
    # With other code it is another tool, which is said.
    (root / "src/zload.py").unlink()
    project({"src/steps/zload.py": load.replace("'1'", "'3'")})
    said = "never ran here: zload did, and its code is not the same"
    assert reasons(orch)["zload"] == [said]


def test_copies_of_one_text_do_not_take_over_from_one_another(project: Project, orch: Orch) -> None:
    text = "STAGE = 's'\ndef run(): print('done')\n"
    root = project({"src/a.py": text, "src/b.py": text})
    assert orch("run").code == 0
    (root / "src/a.py").rename(root / "src/c.py")
    (root / "src/b.py").rename(root / "src/d.py")
    assert reasons(orch) == {"c": ["never ran"], "d": ["never ran"]}
