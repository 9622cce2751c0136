"""`orch check`: every error, slip and doubt, in one place; it runs nothing."""

from __future__ import annotations

from tests.conftest import Orch, Project

TOOL = "STAGE = 'ingest'\ndef run(): ...\n"


def test_a_project_without_doubts_has_nothing_to_say(project: Project, orch: Orch) -> None:
    project({"src/x.py": TOOL})
    answer = orch("check")
    assert (answer.code, answer.out, answer.err) == (0, "1 tool, no problems found\n", "")


def test_errors_exit_4_with_the_healthy_rest_counted(project: Project, orch: Orch) -> None:
    project({"src/x.py": TOOL, "src/y.py": "STAGE = 'a'\n(", "src/z.py": "STAGE = 'a'\n"})
    answer = orch("check")
    assert answer.code == 4
    assert "error: src/y.py:2: not valid Python" in answer.out
    assert "warning: src/z.py:1: has STAGE but no run()" in answer.out
    assert answer.out.endswith("1 error, 1 warning (1 tool without errors)\n")
    document = orch("check", "--json").json
    assert [one["path"] for one in document["errors"]] == ["src/y.py"]
    assert [one["path"] for one in document["warnings"]] == ["src/z.py"]


def test_warnings_alone_exit_0_and_4_under_strict(project: Project, orch: Orch) -> None:
    project({"src/x.py": TOOL, "orch.toml": "params = {sinse = 1}"})
    assert orch("check").code == 0
    project({"orch.toml": "strict = true\nparams = {sinse = 1}"})
    assert orch("check").code == 4


def test_what_a_run_of_all_tools_would_refuse_is_a_warning(project: Project, orch: Orch) -> None:
    tool = "STAGE = 's'\nORCH = {'transaction': 'none'}\ndef run(conn): ...\n"
    for settings, message in (
        ('transaction = "run"\njobs = 2', "several workers cannot share one transaction"),
        ('transaction = "run"', 'x has the transaction "none", and transaction = "run" is set'),
        ('database = "sqlite://"\njobs = 2', "several workers cannot share a database in memory"),
    ):
        project({"src/x.py": tool, "orch.toml": settings})
        answer = orch("check")
        assert (answer.code, message in answer.out) == (0, True), answer.text
        refused = orch("run")
        assert (refused.code, message in refused.err) == (2, True), refused.text


def test_a_module_that_a_tool_imports_and_that_cannot_be_read_is_a_doubt(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/a.py": "from src.lib import h\nSTAGE = 's'\ndef run(): ...\n",
            "src/lib/h.py": "import os\nx = (\n",
        }
    )
    answer = orch("check")
    assert answer.code == 0
    assert "src/lib/h.py:2: " in answer.out
    assert "(imported by a)" in answer.out
    assert "0 errors, 1 warning (1 tool without errors)" in answer.out


def test_a_returned_value_that_is_ignored_is_noted(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": "STAGE = 's'\ndef run():\n    rows = 3\n    return [rows]\n",
            "src/b.py": "STAGE = 's'\ndef run(): return {'rows': 3}\n",
        }
    )
    assert "ignored" not in orch("check").text
    assert "ignored" not in orch("run").text
    run = orch("run", "-v").out
    assert run.count("which is ignored") == 1
    assert "run() returned a value of type list, which is ignored" in run
