"""In which order tools run: stages, `AFTER`, declared files, module paths."""

from __future__ import annotations

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import change, ran, reasons, statuses


def order(orch: Orch, *words: str) -> list[str]:
    answer = orch("run", "-n", "--json", *words)
    assert answer.code == 0, answer.text
    return [step["name"] for step in answer.json["tools"]]


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
    hint = 'hint: set stages = ["agg", "load"] in orch.toml, in the right order'
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
    # With other code it is another tool.
    (root / "src/zload.py").unlink()
    project({"src/steps/zload.py": load.replace("'1'", "'3'")})
    assert reasons(orch)["zload"] == ["never ran"]


def test_of_copies_that_move_the_name_says_which_is_which(project: Project, orch: Orch) -> None:
    text = "STAGE = 's'\ndef run(): print('done')\n"
    root = project({"src/a.py": text, "src/b.py": text})
    assert orch("run").code == 0
    (root / "src/b").mkdir()
    (root / "src/a.py").rename(root / "src/b/a.py")
    (root / "src/b.py").rename(root / "src/b/b.py")
    assert reasons(orch) == {}


def test_copies_of_one_text_do_not_take_over_from_one_another(project: Project, orch: Orch) -> None:
    text = "STAGE = 's'\ndef run(): print('done')\n"
    root = project({"src/a.py": text, "src/b.py": text})
    assert orch("run").code == 0
    (root / "src/a.py").rename(root / "src/c.py")
    (root / "src/b.py").rename(root / "src/d.py")
    assert reasons(orch) == {"c": ["never ran"], "d": ["never ran"]}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("import pandas; pandas.read_csv('data/raw.csv')", marks=pytest.mark.slow),
        "import pandas; pandas.read_sql('select * from raw', conn)",
        "import duckdb; duckdb.sql('from \"data/raw.csv\"').fetchall()",
        "import sqlalchemy as sa; "
        "sa.create_engine('sqlite:///data.db').connect().execute(sa.text('select * from raw'))",
    ],
)
def test_what_is_missing_is_found_in_the_errors_of_libraries(
    body: str, project: Project, orch: Orch
) -> None:
    load = "    conn.execute('create table raw (x)')\n    open('data/raw.csv', 'w').close()\n"
    project(
        {
            "src/a.py": f"STAGE = 's'\ndef run(conn): {body}\n",
            "src/load.py": f"STAGE = 's'\ndef run(conn):\n{load}",
        }
    )
    answer = orch("run", "-q")
    assert 'and runs later: add AFTER = "load" to' in answer.out, answer.text
