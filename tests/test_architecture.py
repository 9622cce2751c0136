"""The house: each module can be imported alone, and imports point down only."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project_builder import clean_environment

ROOT = Path(__file__).parent.parent
HAS_DASK = importlib.util.find_spec("distributed") is not None  # only the slow tests need it
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "discover_orch").rglob("*.py")
    if path.name != "__main__.py" and (HAS_DASK or path.name != "dask.py")
)
# Each in a copy of an interpreter that has imported nothing of the package yet.
IMPORT_EACH = """
import os, sys
failed = 0
for module in sys.argv[1:]:
    pid = os.fork()
    if pid == 0:
        __import__(module)
        sys.stderr.flush()
        os._exit(0)
    failed |= os.waitpid(pid, 0)[1]
sys.exit(failed != 0)
"""


@pytest.mark.slow
def test_each_module_is_importable_alone_with_warnings_as_errors() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_EACH, *MODULES],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_imports_point_down_only() -> None:
    """The import contract of pyproject.toml."""
    command = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [os.fspath(command), "--config", os.fspath(ROOT / "pyproject.toml"), "--no-cache"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_map_names_every_package_and_only_modules_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = {path.parent for path in (ROOT / "discover_orch").glob("*/__init__.py")}
    assert [path.name for path in sorted(packages) if path.name not in text] == []
    named = re.findall(r"`((?!src/)(?:\w+/)+\w+\.py)`", text)
    assert named
    gone = [
        name
        for name in named
        if not any((ROOT / top / name).exists() for top in ("", "discover_orch"))
    ]
    assert gone == []


def test_each_package_says_what_it_is_for_and_names_its_doors() -> None:
    """The doors are those of the import contract."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = sorted((ROOT / "discover_orch").glob("*/__init__.py"))
    assert packages
    for path in packages:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert 3 <= len(docstring.splitlines()) <= 10, path
        doors = re.findall(rf"\*\* -> discover_orch\.{path.parent.name}\.(\w+)\"", text)
        assert [door for door in doors if f"`{door}" not in docstring] == [], path


#: Functions that are longer or have more parameters than others, each with the reason.
LARGE = {
    ("api/project.py", "run"): "the options of orch run are its keywords, which editors complete",
    ("api/project.py", "events"): "the same",
}
MOST_LINES, MOST_PARAMETERS = 60, 8


def test_no_function_is_long_or_takes_many_parameters() -> None:
    """What belongs together is one value, and each function has one subject."""
    package = ROOT / "discover_orch"
    found = {
        (os.path.relpath(path, package), node.name)
        for path in (*package.rglob("*.py"), ROOT / "discover_orch_pytest.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_large(node)
    }
    assert found == LARGE.keys()


def is_large(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    names += [one.arg for one in (given.vararg, given.kwarg) if one is not None]
    parameters = len(names) - (names[:1] in (["self"], ["cls"]))
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    return lines > MOST_LINES or parameters > MOST_PARAMETERS
