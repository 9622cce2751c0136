"""Which files the first run of many tools compiles, and which bytecode is used. Runs are in `tests/scenes/run.scene`."""

from __future__ import annotations

import os
import py_compile
import shutil

import pytest

from tests.conftest import Orch, Project


def test_the_first_run_of_many_tools_compiles_tools_and_what_they_may_load_and_no_more(
    project: Project, orch: Orch
) -> None:
    tool = "STAGE = 's'\ndef run(): ...\n"
    root = project(
        {
            **{f"src/t{number:03}.py": tool for number in range(150)},
            "src/t000.py": tool + "def later(): from src import helper, broken\n",
            "src/t001.py": "STAGE = 's'\ndef run(): print(1 is 1)\n",
            "src/helper.py": "raise SystemExit('was loaded')\n",
            "src/broken.py": "return\n",
            "src/other.py": "",
        }
    )

    def compiled() -> set[str]:
        return {path.name.partition(".")[0] for path in root.rglob("*.pyc")}

    assert orch("run", "-n").code == 0
    assert orch("run", "t002", "t003").code == 0
    tools = {f"t{number:03}" for number in range(150)}
    assert {"t002", "t003"} <= compiled() <= tools
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert "SyntaxWarning" in answer.out
    assert tools <= compiled() <= {*tools, "helper"}
    for path in (root / "src").glob("t*.py"):
        path.write_text(path.read_text() + f"print('new {path.stem}')\n")
    answer = orch("run")
    assert all(f"new t{number:03}" in answer.out for number in range(150)), answer.text
    assert orch("run", "--changed").code == 0
    assert len(orch("run", "--changed").out.splitlines()) == 1


@pytest.mark.slow
def test_the_first_run_of_many_tools_compiles_them_once_and_a_look_leaves_nothing(
    project: Project, orch: Orch
) -> None:
    tool = "from lib.tables import write\nSTAGE = 'many'\ndef run(conn): write(conn, __name__)\n"
    table = (
        "def write(conn, name):\n    conn.execute(f'create table \"{name}\" as select 1 as n')\n"
    )
    names = [f"t{number}" for number in range(160)]
    files = {f"src/{name}.py": tool for name in names} | {"src/lib/tables.py": table}
    files["src/warns.py"] = "STAGE = 'many'\ndef run():\n    if 1 is 1: print('ran')\n"
    files["src/broken.py"] = "STAGE = 'other'\nreturn\n"
    root = project({**files, "orch.toml": "pythonpath = ['src']\nstages = ['many', 'other']\n"})
    for words in (("list",), ("status",), ("run", "-n", "many")):
        assert orch(*words).code in (0, 4)
        assert not list(root.rglob("__pycache__"))
    shutil.rmtree(root / ".orch")
    answer = orch("run", "many")
    assert answer.code == 0
    assert "161 passed" in answer.out
    assert "SyntaxWarning" in answer.out + answer.err
    compiled = {path.name.partition(".")[0] for path in root.rglob("*.pyc")}
    assert compiled >= {*names, "tables"}
    assert "161 fresh" in orch("status", "many").out
    project({"src/t7.py": tool + "print(1)\n"})
    assert "160 fresh" in orch("status", "many").out
    project({"src/lib/tables.py": table + "x = 1\n"})
    assert "1 fresh, 160 stale" in orch("status", "many").out


@pytest.mark.parametrize("mode", ["TIMESTAMP", "UNCHECKED_HASH"])
def test_bytecode_that_python_would_not_compare_with_its_source_is_not_used(
    project: Project, orch: Orch, mode: str
) -> None:
    """A source of the same size and time stamp, as after two saves within a second, is other code."""
    tool = 'STAGE = "s"\nimport helper\ndef run(): print("value", helper.VALUE)\n'
    root = project({"orch.toml": 'pythonpath = ["src"]\n', "src/a.py": tool})
    helper = root / "src" / "helper.py"
    helper.write_text("VALUE = 1\n")
    os.utime(helper, (1_600_000_000, 1_600_000_000))
    py_compile.compile(str(helper), invalidation_mode=py_compile.PycInvalidationMode[mode])
    helper.write_text("VALUE = 2\n")
    os.utime(helper, (1_600_000_000, 1_600_000_000))
    assert "value 2" in orch("run").out
