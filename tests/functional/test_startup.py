"""What a look costs before it begins: the modules that it imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import Project
from tests.support.project_builder import clean_environment

#: `copy` of the standard library asks for `org.python.core`, which only Jython has.
ALLOWED = ("discover_orch", "click", "msgspec", "typing_extensions", "org")
#: Of the standard library, these are slow to import, and a listing has no use for them.
NEEDLESS = (
    "sqlite3",
    "multiprocessing",
    "asyncio",
    "concurrent.futures",
    "importlib.metadata",
    "dataclasses",
    "subprocess",
    "socket",
    "logging",
)
UNREACHED = (
    "source.read_module",
    "worker.loader",
    "worker.main",
    "worker.steps",
    "worker.tool_step",
    "execution.supervisor",
    "source.parse",
)
PANDAS = "import pandas\nSTAGE = 'ingest'\ndef run(*, since: str = ''): ...\n"
PLAIN = "STAGE = 'ingest'\ndef run(*, since: str = ''): ...\n"


def imported(root: object, *words: str) -> tuple[set[str], str]:
    """The modules that the process imported beyond a bare interpreter, and what it wrote."""
    found = []
    for command in (["-c", "pass"], ["-m", "discover_orch", *words]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *command],
            cwd=str(root),
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
        found.append(({line.rsplit("|", 1)[1].strip() for line in lines[1:]}, done.stdout))
    (bare, _), (modules, out) = found
    return modules - bare, out


def belongs_to(module: str, *names: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def test_a_warm_list_imports_click_msgspec_and_little_else(project: Project) -> None:
    root = project({"src/a.py": PLAIN, "orch.toml": 'stages = ["ingest"]'})
    imported(root, "list")
    for words in (("list",), ("list", "--json")):
        modules, out = imported(root, *words)
        assert "a" in out
        foreign = {
            one
            for one in modules
            if not belongs_to(one, *ALLOWED)
            and one.partition(".")[0] not in sys.stdlib_module_names
        }
        assert foreign == set(), words
        assert {one for one in modules if belongs_to(one, *NEEDLESS)} == set(), words
        unreached = [f"discover_orch.{name}" for name in UNREACHED]
        assert {one for one in modules if belongs_to(one, *unreached)} == set(), words


def test_only_patterns_cost_what_reads_them(project: Project) -> None:
    root = project({"src/a.py": PLAIN})
    assert "pathspec" not in imported(root, "list")[0]
    project({"orch.toml": 'exclude = ["old"]'})
    assert "pathspec" in imported(root, "list")[0]


def test_tools_that_import_pandas_list_the_same_without_importing_it(project: Project) -> None:
    root = project({"src/a.py": PLAIN})
    _, plain = imported(root, "list")
    project({"src/a.py": PANDAS})
    for _ in range(2):
        modules, out = imported(root, "list")
        assert out == plain
        assert not {one for one in modules if belongs_to(one, "pandas", "numpy")}


def test_a_look_without_parameters_never_loads_what_runs(project: Project) -> None:
    root = project({"src/a.py": PLAIN})
    for words in (("run", "-n"), ("graph",), ("check",), ("run", "--help"), ("list", "-v")):
        modules, _ = imported(root, *words)
        runners = (
            "worker.loader",
            "worker.main",
            "worker.steps",
            "worker.tool_step",
            "execution.supervisor",
            "worker.resources",
            "execution.session",
            "execution.executors",
        )
        assert not [
            one
            for one in modules
            if belongs_to(one, *(f"discover_orch.{name}" for name in runners))
            or belongs_to(one, "watchdog", "sqlite3", "multiprocessing", "asyncio")
        ], words


def test_a_plain_run_loads_no_cryptography_and_no_random_numbers(project: Project) -> None:
    root = project({"src/a.py": PLAIN})
    modules, out = imported(root, "run")
    assert "1 passed" in out
    assert not modules & {"secrets", "hashlib", "_hashlib", "random"}


@pytest.mark.parametrize(
    "code",
    [
        "from discover_orch import resource",
        "from discover_orch.worker.spawn import start_interpreter",
    ],
)
def test_importing_resource_or_starting_an_interpreter_loads_no_msgspec(code: str) -> None:
    code = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"msgspec", "typing", "signal", "contextlib"} & {*done.stdout.split()}
