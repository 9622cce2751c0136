"""`orch check`: every error, slip and doubt, in one place; it runs nothing."""

from __future__ import annotations

from tests.conftest import Orch, Project

TOOL = "STAGE = 'ingest'\ndef run(): ...\n"


def test_a_project_without_doubts_has_nothing_to_say(project: Project, orch: Orch) -> None:
    project({"src/x.py": TOOL})
    answer = orch("check")
    assert (answer.code, answer.out, answer.err) == (0, "1 healthy tool, nothing to say\n", "")


def test_errors_exit_4_with_the_healthy_rest_counted(project: Project, orch: Orch) -> None:
    project({"src/x.py": TOOL, "src/y.py": "STAGE = 'a'\n(", "src/z.py": "STAGE = 'a'\n"})
    answer = orch("check")
    assert answer.code == 4
    assert "error: src/y.py:2: not valid Python" in answer.out
    assert "warning: src/z.py:1: STAGE without a run()" in answer.out
    assert answer.out.endswith("1 healthy tool, 1 error, 1 warning\n")
    document = orch("check", "--json").json
    assert [one["path"] for one in document["errors"]] == ["src/y.py"]
    assert [one["path"] for one in document["warnings"]] == ["src/z.py"]


def test_warnings_alone_exit_0_and_4_under_strict(project: Project, orch: Orch) -> None:
    project({"src/x.py": TOOL, "orch.toml": "params = {sinse = 1}"})
    assert orch("check").code == 0
    project({"orch.toml": "strict = true\nparams = {sinse = 1}"})
    assert orch("check").code == 4


def test_doubts_that_need_more_than_one_tool(project: Project, orch: Orch) -> None:
    project(
        {
            "orch.toml": """
                packages = ["."]
                stages = ["ingest", "render", "pubish"]
                groups = {nightly = ["fetsh", "ingest"]}
                [params]
                sinse = "2024-01-01"
                [params.fetch]
                limt = 3
                [params.fech]
                x = 1
                """,
            "fetch.py": """
                STAGE = "ingest"
                ORCH = {"inputs": "out.csv", "outputs": "raw.csv"}
                def run(*, since: str = "", limit: int = 1, json: bool = False, force=False): ...
                """,
            "parse.py": """
                STAGE = "render"
                ORCH = {"outputs": ["out.csv", "raw.csv"]}
                def run(*, force: str = ""): ...
                """,
            "json.py": "STAGE = 'publish'\ndef run(): ...\n",
        }
    )
    answer = orch("check", env={"ORCH_PARAM_LIMMIT": "1", "ORCH_PARAM_LIMIT": "1"})
    assert answer.code == 0
    for said in (
        'no tool takes what ORCH_PARAM_LIMMIT sets\n  hint: did you mean "limit"?',
        "fetch.py:4: parameter json of fetch has the name of an option of orch run",
        "--force is an option with a value for parse and a flag for fetch",
        'json.py:2: "json" hides the module json of the standard library',
        "fetch reads out.csv before parse writes it",
        "fetch and parse both write raw.csv",
        'no tool takes the parameter "sinse" of the configuration\n  hint: did you mean "since"?',
        'fetch takes no parameter "limt", though the configuration sets it',
        '[tool.orch.params.fech] names no tool\n  hint: did you mean "fetch"?',
        'group "nightly" names "fetsh", which is neither a stage nor a tool',
        'stage "pubish" is configured and has no tool\n  hint: the tools say "publish"',
        'json.py:1: stage "publish" is not in the configured stages',
    ):
        assert f"{said}" in answer.out
    assert "ORCH_PARAM_LIMIT " not in answer.out


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
    assert "1 healthy tool, 0 errors, 1 warning" in answer.out
