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
    check_with(root, "pytest", "-q", "-p", "no:cacheprovider", *PLUGIN)


@pytest.mark.slow
def test_what_is_made_passes_ruff_mypy_and_its_own_tests(project: Project, orch: Orch) -> None:
    root = project({})
    orch("init")
    for words in (
        ("publish", "--stage", "report"),
        ("report", "--stage", "report", "--package", "src.shop"),
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
        "src/load.py": "raise SystemExit\n",
        ".gitignore": "output\n*.tmp",
    }
    root = project(files)
    answer = orch("init")
    assert answer.code == 0, answer.text
    assert "changed pyproject.toml\n" in answer.out
    assert "src/load.py" not in answer.out
    after = content(root)
    assert after["src/load.py"] == b"raise SystemExit\n"
    assert after["pyproject.toml"].decode().startswith(pyproject + "\n\n[tool.orch]\n")
    assert after[".gitignore"] == b"output\n*.tmp\ndata.db\ndata.db-*\n__pycache__/\n"
    again = orch("init")
    assert again.code == 2
    assert "pyproject.toml:5:" in again.err
    assert "orch new" in again.err
    assert content(root) == after


def test_init_in_a_folder_with_tools_adds_only_the_settings(project: Project, orch: Orch) -> None:
    root = project({"src/shop/__init__.py": "", "src/shop/parse.py": TOOL, "orch": "a file"})
    answer = orch("init")
    assert answer.code == 0, answer.text
    assert "kept the existing tool" in answer.out
    assert sorted(content(root)) == [
        *(".gitignore", "orch", "pyproject.toml"),
        *("src/shop/__init__.py", "src/shop/parse.py"),
    ]
    assert 'stages = ["ingest"]\npythonpath = ["src"]\n' in (root / "pyproject.toml").read_text()
    assert orch("list", "--json").json["tools"][0]["module"] == "shop.parse"
    project({"inner/": ""})
    inside = orch("-C", "inner", "init")
    assert inside.code == 0
    assert "inside another one" in inside.err


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
            "src/b/__init__.py": "",
        }
    )
    before = content(root)
    for words, said in {
        "parse-it --stage ingest": "for example: parse_it",
        "test_it --stage ingest": "test_it.py would not be scanned",
        "class --stage ingest": '"class" cannot be the name of a module',
        "shop/load --stage ingest": "--package src/shop",
        "parse --stage ingest": "src/a/parse.py already exists",
        "load --stage ingst": 'did you mean "ingest"?',
        "load --stage all": '"all" cannot be the name of a stage',
        "load --stage full": '"full" cannot be the name of a stage',
        "load --stage ingest --after parse": "use one of a.parse, b.parse",
        "load --stage ingest --after b.parse": "it belongs to a later stage",
        "load --stage ingest --after nothing": "there is no such tool or stage",
        "load --stage ingest --package ../else": "is not in a folder that is scanned (src)",
        "load": "missing option '--stage'",
    }.items():
        answer = orch("new", *words.split())
        assert answer.code == 2, words
        assert said in " ".join(answer.err.split()), answer.text
    assert content(root) == before
    assert orch("new", "load", "--stage", "publish", "--package", "b").code == 0
    assert (
        (root / "orch.toml")
        .read_text()
        .startswith('stages = [\n  "ingest", # first\n  "render",\n  "publish",\n]\n')
    )
    assert (root / "src/b/load.py").exists()
    assert (root / "tests/test_load.py").exists()
    again = orch("new", "load", "--stage", "render", "--package", "src/b/c")
    assert again.code == 0
    assert 'warning: "load" now matches several tools' in again.err
    assert "hint: use one of c.load, b.load\n" in again.err
    assert (root / "src/b/c/__init__.py").exists()
    assert (root / "tests/test_c_load.py").exists()


def test_new_refuses_to_hide_the_standard_library_and_shows_what_it_breaks(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": 'pythonpath = ["src"]\n',
            "src/a/load.py": TOOL,
            "src/parse.py": 'AFTER = "load"\n' + TOOL,
        }
    )
    refused = orch("new", "json", "--stage", "ingest", "--package", "src")
    assert refused.code == 2
    assert "src/json.py would hide the module json of Python's standard library" in refused.err
    assert not (root / "src/json.py").exists()
    assert orch("new", "json", "--stage", "ingest", "--package", "src/shop").code == 0
    answer = orch("new", "load", "--stage", "ingest", "--package", "src/shop")
    assert answer.code == 0
    assert 'error: src/parse.py:1: AFTER names "load", which is ambiguous' in answer.err


def test_a_file_that_cannot_be_written_leaves_nothing_behind(project: Project, orch: Orch) -> None:
    root = project({"tests": "a file where the folder should be"})
    answer = orch("init")
    assert answer.code == 2
    assert "error: tests/test_pipeline.py: cannot read the file: Not a directory" in answer.err
    assert content(root) == {"tests": b"a file where the folder should be"}
    assert sorted(path.name for path in root.iterdir() if path.name != ".orch") == ["tests"]
