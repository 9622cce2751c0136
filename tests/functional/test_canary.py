"""Looking never runs user code, and writes nothing but orch's own index and what it keeps of the meaning of code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Orch, Project

#: Writes a file and raises, when anybody imports it.
ALARM = """
from pathlib import Path
Path(__file__).with_name("AWAKE").write_text("somebody imported me")
raise SystemExit("the canary is awake")
"""
CANARY = {
    "orch.toml": 'stages = ["ingest", "render"]\ngroups = {nightly = ["canary"]}',
    "src/__init__.py": ALARM,
    "src/canary.py": '"""A canary."""\n'
    "from datetime import date\n"
    "from src.helper import Kind\n"
    "STAGE = Kind.INGEST\n"
    "AFTER = ()\n"
    "def run(conn, http, *, since: date | None = None, kind: Kind = Kind.INGEST, flag=False): ...\n"
    + ALARM,
    "src/helper.py": "import enum\nclass Kind(enum.StrEnum):\n    INGEST = 'ingest'\n" + ALARM,
    "src/near.py": "def run(): ...\n" + ALARM,
    "src/off.py": "STAGE = None\ndef run(): ...\n" + ALARM,
    "orchconf.py": "from discover_orch import resource\n"
    "@resource\ndef http(): ...\ndef get_connection(): ...\n" + ALARM,
    "conftest.py": ALARM,
    "old.py": "TOOL_MAP = {'near': 'src.near'}\nSTAGES = {'late': ['near']}\n" + ALARM,
    "sitecustomize_of_mine.py": ALARM,
    "data.csv": "a,b\n",
}
LOOKING = (
    "",
    "--help",
    "--version",
    "--list",
    "list",
    "list --json",
    "list -v",
    "list --sources",
    "list canary --exclude nightly",
    "run -n",
    "run --dry-run -v --json",
    "run -n canary --since 2024-01-01 --kind ingest --flag",
    "run -n +canary+ nightly",
    "run canary --since nonsense",
    "run nope",
    "run canary --help",
    "run --help",
    "list --help",
    "check",
    "check --json",
    "lock --check",
    "lock --check --json",
    "graph",
    "graph ingest --json",
    "status",
    "status canary -v",
    "status --json",
    "history",
    "history --json",
    "logs canary",
    "run -n --changed",
    "run -n --resume",
    "status --help",
    "accept --help",
    "canary",
    "clean",
    "clean canary --json",
    "clean --all",
    "adopt old.py",
    "adopt old.py --check",
    "export cron canary",
    "export github",
    "completion bash",
    "new canary --stage ingest",
    "init",
)
COMPLETIONS = (
    "orch ",
    "orch run ",
    "orch run canary --",
    "orch run --kind ",
    "orch list c",
    "orch status c",
    "orch accept c",
    "orch logs c",
    "orch new x --stage ",
    "orch new x --after c",
)


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time of change, but those of orch's own."""
    return {
        str(path.relative_to(root)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in root.rglob("*")
        if ".orch" not in path.parts
    }


@pytest.mark.parametrize("is_warm", [False, True])
def test_the_canary_sleeps_through_every_look(is_warm: bool, project: Project, orch: Orch) -> None:
    root = project(CANARY)
    before = files(root)
    if is_warm:
        assert orch("list").code == 0
    for line in LOOKING:
        answer = orch(*line.split())
        assert answer.code in (0, 2, 5) or (answer.code == 4 and "adopt" in line), answer.text
        assert "awake" not in answer.out + answer.err, line
        assert files(root) == before, line
        if not is_warm:
            for path in (root / ".orch").rglob("*"):
                path.unlink()
    kept = sorted(os.listdir(root / ".orch"))
    assert kept in ([], [".gitignore", "CACHEDIR.TAG", "files"])


def test_the_canary_sleeps_through_completion(project: Project, orch: Orch) -> None:
    root = project(CANARY)
    before = files(root)
    for line in COMPLETIONS:
        env = {
            "_ORCH_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        }
        answer = orch(env=env)
        assert (answer.code, answer.err) == (0, ""), answer.text
        assert answer.out, line
    assert files(root) == before


def test_the_alarm_works(project: Project, orch: Orch) -> None:
    root = project({"src/canary.py": "STAGE = 's'\ndef run(): ...\n" + ALARM})
    assert orch("run").code == 1
    assert (root / "src" / "AWAKE").exists()


def test_a_tool_named_like_a_module_that_orch_imports_sleeps_too(
    project: Project, orch: Orch
) -> None:
    """`python -m` puts the current folder in front of all others."""
    tool = "STAGE = 's'\ndef run(): ...\n" + ALARM
    names = ("json", "click", "signal", "difflib", "pathspec")
    root = project(
        {
            **{f"{name}.py": tool for name in names},
            "orch.toml": 'packages = ["."]\nexclude = ["x"]',
        }
    )
    for words in (("list",), ("run", "-n"), ("check",), ("graph",), ("run", "--help"), ("nope",)):
        answer = orch(*words)
        assert answer.code in (0, 2), answer.text
    assert not (root / "AWAKE").exists()
