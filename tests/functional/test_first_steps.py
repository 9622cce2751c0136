"""`orch init` and `orch new`: what they make works at once, and nothing that exists is overwritten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.plugin import PLUGIN
from tests.support.project_builder import clean_environment

TOOL = "STAGE = 'ingest'\ndef run(): ...\n"


def check_with(root: Path, *words: str) -> None:
    """Runs a program of this environment in the project; it must find nothing wrong."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=root,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".orch" not in path.parts
    }


def test_from_an_empty_folder_to_a_tool_of_ones_own(project: Project, orch: Orch) -> None:
    root = project({})
    assert "orch init" in orch("list").err
    first = orch("init")
    assert (first.code, first.err) == (0, "")
    assert "created src/load.py\n" in first.out
    assert "orch new NAME --stage STAGE" in first.out
    ran = orch("run")
    assert ran.code == 0, ran.text
    assert "orders=4" in ran.out
    assert (root / "output/revenue.txt").read_text().splitlines()[0] == "Ada           19.75"

    added = orch("new", "publish", "--stage", "notify", "--after", "summarize")
    assert (added.code, added.err) == (0, ""), added.text
    assert 'added the stage "notify"' in added.out
    assert 'stages = ["ingest", "report", "notify"]' in (root / "pyproject.toml").read_text()
    assert (root / "src/publish.py").read_text().count(
        'STAGE = "notify"\nAFTER = "summarize"\n'
    ) == 1
    assert orch("run", "publish", "--limit", "3", "-q").code == 0
    checked = orch("check")
    assert checked.code == 0
    assert "0 errors" in checked.out or "no problems found" in checked.out


@pytest.mark.slow
def test_what_is_made_passes_ruff_mypy_and_its_own_tests(project: Project, orch: Orch) -> None:
    root = project({})
    orch("init")
    for words in (
        ("publish", "--stage", "report"),
        ("report", "--stage", "report", "--package", "src/shop"),
        ("prices", "--stage", "ingest", "--package", "src/shop", "--after", "load"),
    ):
        assert orch("new", *words).code == 0, words
    assert orch("check").out.startswith("5 tools, no problems found")
    check_with(root, "ruff", "check", ".")
    check_with(root, "ruff", "format", "--check", ".")
    check_with(root, "mypy", "--strict", "src", "tests")
    check_with(root, "pytest", "-q", "-p", "no:cacheprovider", *PLUGIN)


def test_init_keeps_every_file_that_exists(project: Project, orch: Orch) -> None:
    pyproject = '# mine\n[project]\nname = "shop"  # stays'
    files: dict[str, str | bytes] = {
        "pyproject.toml": pyproject,
        "data/orders.csv": "mine\n",
        ".gitignore": "output\n*.tmp",
    }
    root = project(files)
    answer = orch("init")
    assert answer.code == 0, answer.text
    assert "changed pyproject.toml\n" in answer.out
    assert "data/orders.csv" not in answer.out
    after = content(root)
    assert after["data/orders.csv"] == b"mine\n"
    assert after["pyproject.toml"].decode().startswith(pyproject + "\n\n[tool.orch]\n")
    assert after[".gitignore"] == b"output\n*.tmp\ndata.db\ndata.db-*\n*.duckdb\n__pycache__/\n"
    again = orch("init")
    assert again.code == 2
    assert "pyproject.toml: " in again.err
    assert "orch new" in again.err
    assert content(root) == after


@pytest.mark.parametrize(
    ("files", "settings", "said"),
    [
        (
            {
                "src/shop/__init__.py": "",
                "src/shop/parse.py": TOOL,
                "jobs/x.py": "",
                "tests/x.py": "",
            },
            'stages = ["ingest"]\npythonpath = ["src"]\n',
            "scanned for tools: src (packages in pyproject.toml)\nother folders with Python code: jobs\n",
        ),
        (
            {
                "shop/deep/parse.py": "def run(): ...\n",
                "jobs/x.py": "",
                ".venv/x.py": "",
                "a/b.txt": "",
            },
            'packages = ["jobs", "shop"]\nstages = []\n',
            "scanned for tools: jobs, shop (packages in pyproject.toml)\na module with STAGE",
        ),
        (
            {"fetch.py": TOOL, "jobs/x.py": ""},
            'packages = ["."]\nstages = ["ingest"]\n',
            "scanned for tools: . (packages in pyproject.toml)\na module with STAGE",
        ),
    ],
)
def test_init_in_a_folder_with_code_adds_only_the_settings(
    files: dict[str, str | bytes], settings: str, said: str, project: Project, orch: Orch
) -> None:
    root = project(files)
    before = content(root)
    answer = orch("init")
    assert answer.code == 0, answer.text
    assert said in answer.out
    after = content(root)
    assert set(after) - set(before) == {".gitignore", "pyproject.toml"}
    written = after["pyproject.toml"].decode()
    assert f"[tool.orch]\n{settings}" in written
    assert ("testpaths" in written) is ("tests/x.py" in files)
    has_tools = TOOL in files.values()
    assert ("orch run  " in answer.out) is has_tools
    assert orch("list").code == (0 if has_tools else 5)


def test_init_changes_nothing_where_the_settings_cannot_be_added(
    project: Project, orch: Orch
) -> None:
    for text in ("[project\n", "tool = {ruff = {}}\n"):
        root = project({"pyproject.toml": text})
        answer = orch("init")
        assert answer.code == 2
        assert "error: pyproject.toml: [tool.orch] cannot be added" in answer.err
        assert content(root) == {"pyproject.toml": text.encode()}


def test_new_refuses_what_would_not_be_a_tool(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orch.toml": 'stages = [\n  "ingest", # first\n  "render",\n]\ngroups = {all = ["full"]}\n',
            "src/a/parse.py": TOOL,
            "src/b/parse.py": TOOL.replace("ingest", "render"),
        }
    )
    before = content(root)
    for words, said in {
        "parse'it --stage ingest": "such as load_orders",
        "test_it --stage ingest": '"test_it" cannot be the name of a tool',
        "class --stage ingest": '"class" cannot be the name of a tool',
        "shop/load --stage ingest": "--package gives the folder",
        "parse --stage ingest": "src/a/parse.py already exists",
        "load --stage all": '"all" cannot be the name of a stage',
        "load --stage full": '"full" cannot be the name of a stage',
        "load --stage ingest --package ../else": "is not in a folder that is scanned (src)",
        "load": "missing option '--stage'",
    }.items():
        answer = orch("new", *words.split())
        assert answer.code == 2, words
        assert said in " ".join(answer.err.split()), answer.text
    assert content(root) == before
    assert orch("new", "load", "--stage", "publish", "--package", "src.b").code == 0
    assert (
        (root / "orch.toml")
        .read_text()
        .startswith('stages = [\n  "ingest", # first\n  "render",\n  "publish",\n]\n')
    )
    assert (root / "src/b/load.py").exists()
    assert (root / "tests/test_load.py").exists()
    assert orch("new", "parse", "--stage", "ingest", "--package", "src/c").code == 0
    assert 'orch_run("src/c/parse.py"' in (root / "tests/test_parse.py").read_text()
    assert "tests/test_load.py already exists" in orch("new", "load", "--stage", "ingest").err
    wrong = orch("new", "late", "--stage", "render", "--after", "nothing")
    assert wrong.code == 4
    assert 'error: src/b/late.py:6: AFTER names "nothing"' in wrong.err
    (root / "orch.toml").write_text('"stages" = ["ingest"]\n')
    refused = orch("new", "other", "--stage", "new")
    assert refused.code == 2
    assert 'add it first to orch.toml: stages = ["ingest", "new"]' in " ".join(refused.err.split())


def test_a_file_that_cannot_be_written_leaves_nothing_behind(project: Project, orch: Orch) -> None:
    root = project({"tests": "a file where the folder should be"})
    answer = orch("init")
    assert answer.code == 2
    assert "error: tests/test_pipeline.py: cannot read the file: Not a directory" in answer.err
    assert content(root) == {"tests": b"a file where the folder should be"}
    assert sorted(path.name for path in root.iterdir() if path.name != ".orch") == ["tests"]
