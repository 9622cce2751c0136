"""What is upstream by data flow, through `+x`, `x+`, `graph` and `check`."""

from __future__ import annotations

from tests.conftest import Orch, Project

LOADERS = {
    "orch.toml": 'stages = ["load", "render"]\n',
    "src/load_2023.py": """
        STAGE = "load"
        def run(conn):
            conn.execute("DROP TABLE IF EXISTS sales")
            conn.execute("CREATE TABLE sales (year, amount)")
            conn.execute("INSERT INTO sales VALUES (2023, 1)")
        """,
    "src/load_2024.py": """
        STAGE = "load"
        def run(conn): conn.execute("INSERT INTO sales VALUES (2024, 2)")
        """,
    "src/report.py": """
        STAGE = "render"
        def run(conn): conn.execute("SELECT sum(amount) FROM sales").fetchall()
        """,
}


def chosen(orch: Orch, *targets: str) -> list[str]:
    return [tool["name"] for tool in orch("run", "-n", "--json", *targets).json["tools"]]


def after(orch: Orch) -> dict[str, list[str]]:
    stages = orch("graph", "--json").json["stages"]
    return {tool["name"]: tool["after"] for stage in stages for tool in stage["tools"]}


def test_a_second_writer_of_a_table_is_downstream_of_the_first(
    project: Project, orch: Orch
) -> None:
    project(LOADERS)
    assert orch("run").code == 0
    assert chosen(orch, "load_2023+") == ["load_2023", "load_2024", "report"]
    assert chosen(orch, "load_2024+") == ["load_2024", "report"]
    assert chosen(orch, "+load_2024") == ["load_2023", "load_2024"]
    assert after(orch) == {
        "load_2023": [],
        "load_2024": ["load_2023"],
        "report": ["load_2023", "load_2024"],
    }


def test_a_second_writer_of_a_file_is_downstream_of_the_first(project: Project, orch: Orch) -> None:
    write = 'STAGE = "s"\ndef run():\n    with open("report.json", "w") as file: file.write("{}")\n'
    project(
        {
            "orch.toml": "",
            "src/aug.py": write,
            "src/mk.py": write,
            "src/other.py": "STAGE = 's'\ndef run(): ...\n",
        }
    )
    assert orch("run").code == 0
    assert after(orch) == {"aug": [], "mk": ["aug"], "other": []}
    assert chosen(orch, "aug+") == ["aug", "mk"]


def test_the_first_of_two_that_update_in_place_is_upstream_and_their_order_stays_to_be_declared(
    project: Project, orch: Orch
) -> None:
    update = 'STAGE = "change"\ndef run(conn): conn.execute("UPDATE t SET x = x + 1")\n'
    project(
        {
            "orch.toml": 'stages = ["make", "change"]',
            "src/make.py": 'STAGE = "make"\ndef run(conn):\n'
            '    conn.execute("DROP TABLE IF EXISTS t")\n    conn.execute("CREATE TABLE t AS SELECT 1 AS x")\n',
            "src/a.py": update,
            "src/b.py": update,
        }
    )
    assert orch("run").code == 0
    assert after(orch) == {"make": [], "a": ["make"], "b": ["make", "a"]}
    answer = orch("check")
    assert "a and b both write the table t" in answer.out


def test_an_empty_declaration_makes_data_flow_known(project: Project, orch: Orch) -> None:
    project(
        {
            "orch.toml": 'stages = ["one", "two", "three"]',
            "src/first.py": 'STAGE = "one"\ndef run(): open("a.txt", "w").close()\n',
            "src/notify.py": 'STAGE = "two"\ndef run(): print("done")\n',
            "src/last.py": 'STAGE = "three"\ndef run(): open("b.txt", "w").close()\n'
            "ORCH = {'inputs': []}\n",
        }
    )
    assert orch("run").code == 0
    assert chosen(orch, "first+") == ["first", "notify", "last"]
    assert chosen(orch, "+last") == ["first", "notify", "last"]
    project({"src/notify.py": 'STAGE = "two"\nORCH = {"outputs": []}\ndef run(): print("done")\n'})
    assert chosen(orch, "first+") == ["first", "notify"]
    assert chosen(orch, "+last") == ["last"]
    project({"src/notify.py": 'STAGE = "two"\nORCH = {"inputs": []}\ndef run(): print("done")\n'})
    assert chosen(orch, "first+") == ["first"]


def test_check_names_what_orch_cannot_see_of_tools_that_have_run(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "orch.toml": 'stages = ["one", "two"]',
            "src/alone.py": """
                import sqlite3
                STAGE = "one"
                def run():
                    with sqlite3.connect(":memory:") as conn:
                        conn.execute("ATTACH 'data.db' AS data")
                        conn.execute("CREATE TABLE IF NOT EXISTS data.t (x)")
                    conn.close()
                """,
            "src/notify.py": 'STAGE = "one"\ndef run(): print("done")\n',
            "src/write.py": 'STAGE = "two"\ndef run(): open("a.txt", "w").close()\n',
        }
    )
    assert orch("check").out == "3 tools, no problems found\n"
    assert orch("run").code == 0
    warnings = {one["path"]: one for one in orch("check", "--json").json["warnings"]}
    assert warnings.keys() == {"src/alone.py", "src/notify.py"}
    assert warnings["src/alone.py"]["message"] == (
        "orch may not see all that alone reads and writes: it used the database in a way that orch cannot see"
    )
    assert warnings["src/notify.py"]["hint"] == (
        'if it writes files, declare them in "outputs"; if only some tools must wait for it, '
        'add to those: AFTER = "notify"'
    )
    write = 'STAGE = "two"\nAFTER = "notify"\ndef run(): open("a.txt", "w").close()\n'
    project({"src/write.py": write})
    warnings = {one["path"]: one for one in orch("check", "--json").json["warnings"]}
    assert warnings.keys() == {"src/alone.py"}
