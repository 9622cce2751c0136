"""The configuration: where it is found, what is wrong with it and where, what wins over what."""

from __future__ import annotations

import pytest

from tests.conftest import Orch, Project

TOOL = "STAGE = 'ingest'\ndef run(*, since: str = 'never'): ...\n"


def test_nothing_configured_is_fine_and_so_is_a_missing_src(project: Project, orch: Orch) -> None:
    root = project({})
    for words in (("list",), ("run",), ("run", "-n"), ("graph",), ("check",), ("list", "--json")):
        answer = orch(*words)
        assert answer.code == 5, words
        assert f"error: no tools found: there is no folder src in {root}\n" in answer.err
        assert "create src, and in it a module" in answer.err
    assert list(root.iterdir()) == [], "nothing of orch's lies around in a folder without a project"
    assert orch("list", "--json").json["tools"] == []
    project({"src/x.py": TOOL})
    assert orch("list").code == 0


def test_below_a_project_without_configuration_the_hint_names_it(
    project: Project, orch: Orch
) -> None:
    root = project({"src/x.py": TOOL})
    assert orch("run").code == 0
    answer = orch("run", cwd=root / "src")
    assert answer.code == 5
    assert f"hint: the project may be {root}: go there, add -C {root}, or" in answer.err
    assert orch("-C", str(root), "list", cwd=root / "src").code == 0


def test_list_verbose_does_not_send_to_itself_for_the_reasons_that_it_shows(
    project: Project, orch: Orch
) -> None:
    project({"src/x.py": "def run(): ...\n"})
    assert "orch list -v shows the modules that are not tools, and why" in orch("list").err
    shown = orch("list", "-v")
    assert (shown.code, shown.out.split()[:3]) == (5, ["not", "tools", "src/x.py:1"])
    assert "error: no tools found\n  hint: a tool is a module under src" in shown.err
    assert "list -v" not in shown.err


def test_the_root_is_the_nearest_folder_upwards_with_a_configuration(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "pyproject.toml": "[tool.orch]\n",
            "src/outer.py": TOOL,
            "inner/orch.toml": "",
            "inner/src/inner.py": TOOL,
            "inner/other/pyproject.toml": "[tool.black]\n",
        }
    )
    assert orch("list", "--json", cwd=root / "src").json["root"] == str(root)
    found = orch("list", "--json", cwd=root / "inner" / "other").json
    assert (found["root"], found["tools"][0]["name"]) == (str(root / "inner"), "inner")


@pytest.mark.parametrize(
    "words",
    [
        ("-C", "inner", "list"),
        ("list", "-C", "inner"),
        ("run", "-n", "--project", "inner"),
        ("run", "--project=inner", "-n"),
        ("run", "-nC", "inner"),
        ("run", "-nCinner"),
        ("run", "-n", "-C", "nowhere", "-C", "inner"),
        ("graph", "-Cinner"),
        ("--project=inner", "check"),
    ],
)
def test_project_sets_the_root_wherever_it_stands(
    words: tuple[str, ...], project: Project, orch: Orch
) -> None:
    project({"orch.toml": "", "src/outer.py": TOOL, "inner/src/inner.py": "STAGE = 's'\n" + TOOL})
    answer = orch(*words)
    assert answer.code == 0, answer.text
    assert "outer" not in answer.out
    if words[-1] != "check":
        assert "inner" in answer.out


@pytest.mark.parametrize("word", ["list", "run", "graph", "check"])
def test_a_folder_that_is_not_there_gives_the_nearest(
    word: str, project: Project, orch: Orch
) -> None:
    project({"inner/": "", "file": ""})
    for folder, said in (
        ("iner", 'folder "iner" does not exist\n  hint: did you mean "inner"?'),
        ("file", '"file" is not a folder'),
    ):
        for words in ((word, f"-C{folder}"), ("-C", folder, word)):
            answer = orch(*words)
            assert answer.code == 2, answer.text
            assert f"error: {said}" in answer.err


def test_settings_come_from_the_environment_over_the_file(project: Project, orch: Orch) -> None:
    project({"src/x.py": TOOL, "orch.toml": 'stages = ["other"]\n[params]\nsince = "file"\n'})
    set_ = {"ORCH_STAGES": "ingest,last", "ORCH_GROUPS": '{"g": ["x"]}', "ORCH_PARAM_SINCE": "env"}
    answer = orch("run", "-n", "-v", "g", env=set_)
    assert answer.code == 0, answer.text
    assert "since = env  ORCH_PARAM_SINCE\n" in answer.out
    assert "stages = ingest, last  ORCH_STAGES\n" in answer.out
    assert "database = sqlite:///data.db  default\n" in answer.out
    assert (
        "since = typed  --since\n" in orch("run", "-n", "-v", "x", "--since", "typed", env=set_).out
    )
    assert "since = file  orch.toml\n" in orch("run", "-n", "-v", "x").out


def test_the_header_of_settings_masks_the_password_of_the_database(
    project: Project, orch: Orch
) -> None:
    project({"src/x.py": TOOL})
    url = "postgresql://me:hunter2hunter2@host/db"
    for env, words, origin in (
        ({"ORCH_DATABASE": url}, (), "ORCH_DATABASE"),
        ({"DATABASE_URL": url}, (), "DATABASE_URL"),
        ({}, ("--database", url), "--database"),
    ):
        answer = orch("run", "-n", "-v", *words, env=env)
        assert f"database = postgresql://me:***@host/db  {origin}\n" in answer.out
        assert "hunter2" not in answer.out + answer.err


def test_external_writes_is_stale_or_ignore_from_the_file_or_the_environment(
    project: Project, orch: Orch
) -> None:
    project({"orch.toml": 'external_writes = "ignore"\n', "src/x.py": TOOL})
    assert "  external_writes = ignore  orch.toml\n" in orch("run", "-n", "-v").out
    from_environment = orch("run", "-n", "-v", env={"ORCH_EXTERNAL_WRITES": "stale"})
    assert "  external_writes = stale  ORCH_EXTERNAL_WRITES\n" in from_environment.out
    project({"orch.toml": 'external_writes = "ingore"\n'})
    refused = orch("status")
    assert refused.code == 2
    assert (
        'orch.toml:1: external_writes must be "stale" or "ignore", not "ingore"\n'
        '  hint: did you mean "ignore"?\n'
    ) in refused.err


def test_a_parameter_that_no_tool_has_is_a_warning_and_an_error_under_strict(
    project: Project, orch: Orch
) -> None:
    files = {
        "src/parse.py": "STAGE = 's'\ndef run(*, start_date: str = '', n: int = 1): print(n)\n",
        "pyproject.toml": """
            [tool.orch]
            strict = false
            [tool.orch.params]
            start-dat = "2024-01-01"
            n = 2
            [tool.orch.params.parse]
            m = 3
        """,
    }
    project(files)
    first = 'pyproject.toml:5: no tool has a parameter "start_dat"'
    second = 'pyproject.toml:8: parse has no parameter "m"'
    for words in (["list"], ["check"], ["run"]):
        answer = orch(*words)
        assert (answer.code, answer.text.count(first)) == (0, 1), answer.text
    assert len(orch("list", "--json").json["warnings"]) == 2
    said = orch("list").err
    assert f'warning: {first}\n  hint: did you mean "start_date"?' in said
    assert f"warning: {second}" in said

    project({"pyproject.toml": files["pyproject.toml"].replace("strict = false", "strict = true")})
    for words, code in (
        (["list"], 4),
        (["check"], 4),
        (["run"], 2),
        (["run", "-n"], 2),
        (["watch"], 2),
    ):
        answer = orch(*words)
        assert answer.code == code, answer.text
        assert f"error: {first}" in answer.text
        assert f"error: {second}" in answer.text
