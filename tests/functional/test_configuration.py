"""The configuration: where it is found, what is wrong with it and where, what wins over what."""

from __future__ import annotations

import pytest

from tests.conftest import Orch, Project
from tests.support.permissions import bound_by_permissions

TOOL = "STAGE = 'ingest'\ndef run(*, since: str = 'never'): ...\n"


def test_nothing_configured_is_fine_and_so_is_a_missing_src(project: Project, orch: Orch) -> None:
    root = project({})
    for words in (("list",), ("run",), ("run", "-n"), ("graph",), ("check",), ("list", "--json")):
        answer = orch(*words)
        assert answer.code == 5, words
        assert "error: no tool was found\n" in answer.err
    assert list(root.iterdir()) == [], "nothing of orch's lies around in a folder without a project"
    assert orch("list", "--json").json["tools"] == []
    project({"src/x.py": TOOL})
    assert orch("list").code == 0


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
        ("iner", 'there is no folder "iner"\n  hint: did you mean "inner"?'),
        ("file", '"file" is not a folder'),
    ):
        for words in ((word, f"-C{folder}"), ("-C", folder, word)):
            answer = orch(*words)
            assert answer.code == 2, answer.text
            assert f"error: {said}" in answer.err


def test_everything_that_is_wrong_is_told_at_once_with_its_line(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "pyproject.toml": """
                [tool.orch]
                stage = ["ingest"]
                stages = ["a", "a"]
                jobs = "many"
                exclude = "x"
                strict = "yes"
                transaction = "tol"
                database = "data.db"

                [tool.orch.groups]
                nightly = "a"
                full = ["a"]

                [tool.orch.watch]
                scop = "tool"
                """
        }
    )
    answer = orch("list")
    assert answer.code == 2
    for said in (
        'pyproject.toml:3: "stage" is not a setting of orch\n  hint: did you mean "stages"?',
        'pyproject.toml:4: the stage "a" is listed twice in stages',
        "pyproject.toml:5: jobs must be a whole number, not a string",
        "pyproject.toml:6: exclude must be a list of strings, not a string\n  hint: write exclude",
        "pyproject.toml:7: strict must be true or false, not a string",
        'pyproject.toml:8: transaction must be "tool" or "none"',
        'pyproject.toml:9: database must be a URL, not "data.db"\n  hint: a SQLite file is "sqlite',
        "pyproject.toml:12: groups.nightly must be a list of strings",
        'pyproject.toml:13: "full" cannot be a group of yours',
        'pyproject.toml:16: "scop" is not a setting of watch\n  hint: did you mean "scope"?',
    ):
        assert f"error: {said}" in answer.err


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[tool.orch]\nstages = ["a",\n\njobs = 3\n', "pyproject.toml:4"),
        ("[tool.orch]\nstages = []\nstages = []\n", "pyproject.toml:3"),
        ("[tool.orch\n", "pyproject.toml:1"),
    ],
)
def test_invalid_toml_is_told_with_its_line(
    text: str, place: str, project: Project, orch: Orch
) -> None:
    project({"pyproject.toml": text})
    for words in (("list",), ("run",), ("check",), ("graph",)):
        answer = orch(*words)
        assert answer.code == 2
        assert f"error: {place}: this is not valid TOML: " in answer.err
    assert orch("run", "--help").code == 0, "help is there all the same"


def test_a_configuration_that_cannot_be_read_is_told(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": ""})
    (root / "orch.toml").chmod(0)
    answer = orch("list", prefix=bound_by_permissions())
    assert answer.code == 2
    assert "orch.toml: the configuration cannot be read: Permission denied" in answer.err
    (root / "orch.toml").chmod(0o644)
    project({"orch.toml": b"stages = ['\xff']"})
    assert "error: orch.toml:1: the configuration is not UTF-8" in orch("list").err


def test_a_configured_package_that_is_not_there_is_an_error(project: Project, orch: Orch) -> None:
    project({"orch.toml": '\npackages = ["scr", "src/x.py"]', "src/x.py": TOOL})
    answer = orch("list")
    assert answer.code == 2
    assert 'error: orch.toml:2: "scr" in packages is neither a folder nor a package' in answer.err
    assert 'hint: did you mean "src"?' in answer.err
    assert '"src/x.py" in packages is not a folder' in answer.err


def test_packages_are_folders_or_dotted_packages_under_pythonpath(
    project: Project, orch: Orch
) -> None:
    project({"lib/a/b/x.py": TOOL, "lib/c/y.py": TOOL, "src/z.py": TOOL})
    for text, modules in (
        ('packages = ["a.b"]\npythonpath = ["lib"]', ["a.b.x"]),
        ('packages = ["lib/a", "c"]\npythonpath = ["lib", "."]', ["a.b.x", "c.y"]),
        ('packages = ["."]', ["lib.a.b.x", "lib.c.y", "src.z"]),
    ):
        project({"orch.toml": text})
        tools = orch("list", "--json").json["tools"]
        assert [tool["module"] for tool in tools] == modules, text


def test_orch_toml_stands_at_the_top_and_wins_over_pyproject(project: Project, orch: Orch) -> None:
    project({"src/x.py": TOOL, "orch.toml": "", "pyproject.toml": "[tool.orch]\njobs = 1\n"})
    answer = orch("list")
    assert answer.code == 0
    assert "warning: pyproject.toml: [tool.orch] in pyproject.toml is ignored" in answer.err
    project({"orch.toml": "[tool.orch]\nstages = []\n"})
    assert "in orch.toml the settings stand at the top" in orch("list").err


def test_exclude_takes_gitignore_patterns(project: Project, orch: Orch) -> None:
    paths = ("src/a.py", "src/old/b.py", "src/old/keep.py", "src/c_old.py")
    project(
        {**dict.fromkeys(paths, TOOL), "orch.toml": 'exclude = ["src/old/*", "!keep.py", "*_old*"]'}
    )
    assert [one["path"] for one in orch("list", "--json").json["tools"]] == [
        "src/a.py",
        "src/old/keep.py",
    ]


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


def test_a_wrong_variable_is_told_by_its_name(project: Project, orch: Orch) -> None:
    project({"src/x.py": TOOL})
    answer = orch("list", env={"ORCH_JOBS": "x", "ORCH_GROUPS": "{", "ORCH_STRICT": "perhaps"})
    assert answer.code == 2
    for said in ('ORCH_JOBS must be a whole number, not "x"', "ORCH_GROUPS is not JSON",
                 'ORCH_STRICT must be true or false, not "perhaps"'):  # fmt: skip
        assert f"error: {said}" in answer.err
    near_miss = orch("list", env={"ORCH_STAEGS": "a"})
    assert near_miss.code == 0
    assert "warning: the variable ORCH_STAEGS is not a setting of orch" in near_miss.err
    assert "hint: did you mean ORCH_STAGES?" in near_miss.err


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
